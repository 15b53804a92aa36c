"""`exec` to the end with captured output, without ever blocking on a full pipe."""

from __future__ import annotations

import os
import select

from tiffin.containers.result import Result
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.engine import Engine

CHUNK_BYTES = 1 << 16


def exec_run(
    engine: Engine, container: str, command: Sequence[str], input: bytes | None, options: dict[str, Any]
) -> Result:
    """Run `command`, feed it `input`, collect both outputs. UsageError for a terminal or the background."""
    for option in ("tty", "detach"):
        if options.get(option):
            raise UsageError(
                f"exec_run collects output to the end, which {option}=True does not allow", hint="use `exec`"
            )
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    in_read, in_write = os.pipe() if input is not None else (-1, -1)
    theirs = [fd for fd in (out_write, err_write, in_read) if fd >= 0]
    ours = [fd for fd in (out_read, err_read, in_write) if fd >= 0]
    try:
        try:
            stdin = in_read if in_read >= 0 else None
            session = engine.exec(container, command, stdin=stdin, stdout=out_write, stderr=err_write, **options)
        finally:
            for fd in theirs:
                os.close(fd)
        with session:
            output = _collect(ours, out_read, err_read, in_write, input or b"")
            return Result(
                exit_code=session.wait(),
                stdout_bytes=b"".join(output[out_read]),
                stderr_bytes=b"".join(output[err_read]),
            )
    finally:
        for fd in ours:
            os.close(fd)


def _collect(ours: list[int], out: int, err: int, feed: int, input: bytes) -> dict[int, list[bytes]]:
    output: dict[int, list[bytes]] = {out: [], err: []}
    rest = memoryview(input)
    poll = select.poll()
    for fd in (out, err):
        poll.register(fd, select.POLLIN)
    if feed >= 0:
        os.set_blocking(feed, False)
        poll.register(feed, select.POLLOUT)
    while out in ours or err in ours:
        for fd, _ in poll.poll():
            if fd == feed:
                try:
                    rest = rest[os.write(feed, rest) :] if rest else rest
                except BrokenPipeError:
                    rest = rest[:0]
                done = not rest
            else:
                data = os.read(fd, CHUNK_BYTES)
                output[fd].append(data)
                done = not data
            if done:
                poll.unregister(fd)
                ours.remove(fd)
                os.close(fd)
    return output
