"""Making containers stand still, and run on. Whether one does is asked of its cgroup, so nobody can have it wrong."""

from __future__ import annotations

from tiffin.errors import ConflictError, HostError
from tiffin.failpoints import failpoint
from tiffin.model.container import Container, ContainerState
from tiffin.state import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts


def read_state(parts: Parts, container_id: str, *, removing: bool = False) -> ContainerState:
    """The state as files and cgroups tell it now."""
    state = status.read_state(parts.paths, container_id, removing=removing)
    if state.status == "running" and parts.cgroups.frozen(container_id):
        return state.replace(paused=True)
    return state


def running(parts: Parts, container: Container) -> ContainerState:
    """The state of a container that must run. ConflictError otherwise."""
    state = read_state(parts, container.id)
    if state.status == "restarting":
        raise ConflictError(f"Container {container.name} is restarting, wait until the container is running")
    if state.status != "running":
        raise ConflictError(
            f"container {container.name!r} is not running", hint=f"`tiffin start {container.name}` starts it"
        )
    return state


def pause(parts: Parts, container: Container) -> None:
    """Freeze every process, returning when they stand still. ConflictError unless it runs and is not paused."""
    if running(parts, container).paused:
        raise ConflictError(f"Container {container.name} is already paused")
    try:
        parts.cgroups.freeze(container.id)
        failpoint("pause.frozen")
    except HostError:
        running(parts, container)  # it has ended meanwhile
        raise
    _tell(parts, container, "pause")


def unpause(parts: Parts, container: Container) -> None:
    """Let it run on. ConflictError unless it is paused."""
    if not running(parts, container).paused:
        raise ConflictError(f"Container {container.name} is not paused")
    resume(parts, container.id)
    _tell(parts, container, "unpause")


def _tell(parts: Parts, container: Container, action: str) -> None:
    from tiffin.containers.events import tell

    tell(parts, container, action)


def resume(parts: Parts, container_id: str) -> None:
    """Let a container run on if it is paused: what is frozen takes no signal on v1, and only SIGKILL on v2."""
    try:
        if parts.cgroups.frozen(container_id):
            parts.cgroups.thaw(container_id)
            failpoint("pause.thawed")
    except HostError:
        if parts.cgroups.frozen(container_id):
            raise
