"""Waiting for a container's end, its next end, its removal. No daemon tells of a start: it is looked for."""

from __future__ import annotations

import time

from tiffin.containers import end
from tiffin.errors import ConflictError, UsageError
from tiffin.model.container import Container, ContainerState
from tiffin.state import containers as records
from tiffin.state import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts

CONDITIONS = ("not-running", "next-exit", "removed")
LOOK_AGAIN_S = (0.005, 0.1)  # at first, and in the long run


def wait(parts: Parts, container: Container, timeout_s: float | None, condition: str = "not-running") -> int:
    """Wait; the exit code. UsageError for an unknown condition, ConflictError after `timeout_s`."""
    if condition not in CONDITIONS:
        raise UsageError(f"invalid condition: {condition!r}", hint=f"the conditions are {', '.join(CONDITIONS)}")
    clock = _Clock(timeout_s)
    if condition == "removed":
        return _removed(parts, container, clock)
    before = status.read_state(parts.paths, container.id)
    if (condition == "next-exit" and before.status != "running") or before.status == "restarting":
        _started_since(parts, container, before, clock)
    ended = end.wait_state(parts, container, clock.left())
    if ended is None:
        raise ConflictError(f"container {container.name!r} still runs after {timeout_s:g} s")
    return ended.exit_code


def _started_since(parts: Parts, container: Container, before: ContainerState, clock: _Clock) -> None:
    """Wait until it was started once more; it may have ended again since."""
    while True:
        now = status.read_state(parts.paths, container.id)
        if before.status == "restarting" and now.status == "exited":
            return  # it was stopped
        if now.status == "running" or (now.status, now.started_ns) not in (
            (before.status, before.started_ns),
            ("created", 0),
        ):
            return
        if not records.exists(parts.database, container.id):
            raise ConflictError(f"container {container.name!r} was removed before it ran again")
        clock.pause(f"container {container.name!r} was not started within {clock.limit_s:g} s")


def _removed(parts: Parts, container: Container, clock: _Clock) -> int:
    code = 0
    while records.exists(parts.database, container.id):
        state = status.read_state(parts.paths, container.id)
        if state.status == "running":
            ended = end.wait_state(parts, container, clock.left())
            if ended is None:
                clock.expired(f"container {container.name!r} still runs after {clock.limit_s:g} s")
                continue
            state = ended
        if state.status == "exited":
            code = state.exit_code
        clock.pause(f"container {container.name!r} is still there after {clock.limit_s:g} s")
    return code


class _Clock:
    """A deadline, and pauses that grow until it."""

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = 0.0 if limit_s is None else limit_s
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self._pause_s = LOOK_AGAIN_S[0]

    def left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def expired(self, message: str) -> None:
        """ConflictError with that message when the time is over."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise ConflictError(message)

    def pause(self, message: str) -> None:
        """Sleep a little. ConflictError with that message when the time is over."""
        self.expired(message)
        time.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 1.5, LOOK_AGAIN_S[1])
