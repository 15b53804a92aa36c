"""run: a container in the foreground, and terminals that nobody else serves. Only people come here, not engines."""

from __future__ import annotations

import os
import sys

from tiffin.errors import HostError
from tiffin.oci.state import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.oci.lifecycle import Request, Runtime

_PR_SET_CHILD_SUBREAPER = 36


def run(runtime: Runtime, request: Request, *, detached: bool, keep: bool) -> int:
    """create, start, and unless detached wait and delete; the program's exit code."""
    if not detached:
        _adopt()
    stored = runtime.create(request)
    try:
        runtime.start(stored)
    except BaseException:
        runtime.delete(request.id, force=True)
        raise
    if detached:
        return 0
    if stored.master >= 0:
        relay(stored.master)
    code = _await(stored.pid)
    if keep:
        return code
    runtime.delete(request.id, force=stored.status() != STOPPED)
    return code


def _adopt() -> None:
    """The container's first process loses its parent, the launcher: it shall become ours, so that we hear its end."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise HostError(f"cannot become a subreaper: {os.strerror(ctypes.get_errno())}")


def _await(pid: int) -> int:
    """Pass signals on until the process has ended; its exit code, 128 + n after signal n."""
    import signal

    def pass_on(number: int, _: object) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def relay(master: int) -> None:
    """Copy between the caller's standard streams and a terminal until that is hung up."""
    import select
    import termios
    import tty

    before = termios.tcgetattr(0) if os.isatty(0) else None
    if before is not None:
        termios.tcsetwinsize(master, termios.tcgetwinsize(0))
        tty.setraw(0)
    try:
        sources = [0, master]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if 0 in ready:
                data = os.read(0, 65536)
                if data:
                    os.write(master, data)
                else:
                    os.write(master, b"\x04")
                    sources.remove(0)
            if master in ready:
                try:
                    data = os.read(master, 65536)
                except OSError:  # EIO: nobody has it open any more
                    return
                if not data:
                    return
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
