"""Run to completion with captured output: what `tiffin.run` does."""

from __future__ import annotations

import select
import time

from tiffin.containers import create, end, start
from tiffin.containers.result import Result
from tiffin.errors import ConflictError, NotFoundError
from tiffin.model.container import ContainerConfig
from tiffin.runtime import attach as protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.runtime.attach import Attachment


def run(parts: Parts, config: ContainerConfig, *, input: bytes | None, timeout_s: float | None) -> Result:
    """Create, start, feed, collect, wait; remove when `config.auto_remove`. Removed as well when anything fails.

    ConflictError when it still runs after `timeout_s`; it is killed then.
    """
    if input is not None:
        config = config.replace(interactive=True)
    container = create.create(parts, config)
    done = False
    try:
        attachment = start.start(parts, container, attach=True)
        assert attachment is not None
        with attachment:
            try:
                result = _converse(attachment, container, input, timeout_s)
            finally:
                attachment.acknowledge()  # whatever happened, the removal below is ours
        done = True
    finally:
        if config.auto_remove or not done:
            try:
                end.remove(parts, container, force=not done)
            except NotFoundError:
                pass  # another command saw that it had ended and was to be removed
            except ConflictError:
                if not done:
                    raise
                # It was restarted meanwhile, and its next end removes it.
    return result


def _converse(attachment: Attachment, container: Container, input: bytes | None, timeout_s: float | None) -> Result:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    rest = memoryview(input or b"")
    closed = input is None
    output: dict[int, list[bytes]] = {protocol.STDOUT: [], protocol.STDERR: []}
    while True:
        while not attachment.pending and not closed:
            if rest:
                attachment.send_stdin(bytes(rest[: protocol.MAX_PAYLOAD]))
                rest = rest[protocol.MAX_PAYLOAD :]
            else:
                attachment.close_stdin()
                closed = True
        if not attachment.buffered():
            _wait(attachment, deadline, container)
        if (frame := attachment.try_read_frame()) is None:
            if attachment.ended:
                raise ConflictError(f"the monitor of container {container.name!r} was killed")
            continue
        kind, payload = frame
        if kind == protocol.EXIT:
            return Result(
                exit_code=int(payload),
                stdout_bytes=b"".join(output[protocol.STDOUT]),
                stderr_bytes=b"".join(output[protocol.STDERR]),
            )
        if kind in output:
            output[kind].append(payload)


def _wait(attachment: Attachment, deadline: float | None, container: Container) -> None:
    poll = select.poll()
    poll.register(attachment.fileno(), select.POLLIN)
    if attachment.pending:
        poll.register(attachment.write_fileno(), select.POLLOUT)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(left):
        raise ConflictError(f"container {container.name!r} still ran after the time allowed, and was killed")
    attachment.flush()
