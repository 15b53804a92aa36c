"""Stdio of an `exec` without a terminal.

Pipes and sockets are given to the process as they are: no byte is copied. A terminal or a file of the host is not:
the container would hold a descriptor of it, and could push keys into the one (TIOCSTI) or read past its output in
the other; so a pipe stands between, and this process carries the bytes.
"""

from __future__ import annotations

import os
import select
import stat

from tiffin.cli.relay import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from tiffin.containers.execute import ExecSession

_CHUNK = 64 << 10


def run_plumbed(start: Callable[[int | None, int | None, int | None], ExecSession], *, interactive: bool) -> int:
    """Start a process with our stdio, or pipes to it, and wait for the end. Returns its exit code."""
    with Plumbing(interactive=interactive) as plumbing, start(*plumbing.theirs) as session:
        plumbing.close_theirs()
        plumbing.carry(session)
        return session.wait()


class Plumbing:
    """Descriptors for a process's stdio, and the copying that they need."""

    def __init__(self, *, interactive: bool) -> None:
        self.theirs: list[int | None] = [None, None, None]
        self._given: list[int] = []
        self._feed = -1
        self._outputs: dict[int, int] = {}
        for fd in (0, 1, 2) if interactive else (1, 2):
            if _may_be_shared(fd):
                self.theirs[fd] = fd
            elif _is_open(fd):
                read, write = os.pipe2(os.O_CLOEXEC)
                self.theirs[fd] = read if fd == 0 else write
                self._given.append(read if fd == 0 else write)
                if fd == 0:
                    self._feed = write
                    os.set_blocking(write, False)
                else:
                    self._outputs[read] = fd
                    os.set_blocking(read, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_theirs()
        self._close_feed()
        for fd in self._outputs:
            os.close(fd)

    def close_theirs(self) -> None:
        """Let go of the ends that the process has by now, so that their closing there is seen here."""
        while self._given:
            os.close(self._given.pop())

    def carry(self, session: ExecSession) -> None:
        """Copy until the process has ended and what it wrote is written."""
        waiting = b""
        while True:
            poll = select.poll()
            poll.register(session.fileno(), select.POLLIN)
            for source in self._outputs:
                poll.register(source, select.POLLIN)
            if self._feed >= 0:
                poll.register(self._feed, select.POLLOUT if waiting else 0)  # 0: errors only, the reader has gone
                if not waiting:
                    poll.register(0, select.POLLIN)
            ready = dict(poll.poll())
            for source in [fd for fd in self._outputs if fd in ready]:
                self._copy(source)
            if self._feed >= 0 and self._feed in ready:
                waiting = self._push(waiting)
            elif 0 in ready:
                waiting = self._pull()
            if session.fileno() in ready and not self._more_output():
                return

    def _copy(self, source: int) -> None:
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return
        if not data or not write_all(self._outputs[source], data):
            del self._outputs[source]
            os.close(source)

    def _more_output(self) -> bool:
        """Whether output is waiting; a process in the background may hold the other end open for ever."""
        poll = select.poll()
        for source in self._outputs:
            poll.register(source, select.POLLIN)
        return any(events & select.POLLIN for _, events in poll.poll(0))

    def _pull(self) -> bytes:
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._close_feed()
            return b""
        return self._push(data)

    def _push(self, data: bytes) -> bytes:
        """Hand on what the process takes now; returns the rest."""
        try:
            return data[os.write(self._feed, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._close_feed()
            return b""

    def _close_feed(self) -> None:
        if self._feed >= 0:
            os.close(self._feed)
            self._feed = -1


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _may_be_shared(fd: int) -> bool:
    """Whether a container may hold this descriptor: a pipe, a socket, or /dev/null."""
    try:
        facts = os.fstat(fd)
    except OSError:
        return False
    if stat.S_ISFIFO(facts.st_mode) or stat.S_ISSOCK(facts.st_mode):
        return True
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == os.makedev(1, 3)
