"""Stopping and starting as one step."""

from __future__ import annotations

from tiffin.containers import end, events, start
from tiffin.state.locks import ContainerLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.parts import Parts


def restart(parts: Parts, container: Container, timeout_s: float | None, signal: int | str | None) -> None:
    """Stop it if it runs, as `stop` does, and start it. Errors as those of both.

    The lock is held from the one to the other: the end of a container that is to be removed after it removes nothing,
    since whoever comes for that finds it running.
    """
    with ContainerLock(parts.paths, container.id):
        now = start.still_there(parts, container)
        end.stop(parts, now, timeout_s, signal, locked=True)
        start.launch(parts, now, attach=False, tty_size=None)
    events.tell(parts, now, "restart")
