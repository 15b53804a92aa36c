"""What containers' use cases write into the events: Docker's names and attributes."""

from __future__ import annotations

import os

from tiffin.state import events, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.parts import Parts

MAX_LAST = 64  # of a plan


def tell(parts: Parts, container: Container, action: str, more: dict[str, str] | None = None) -> None:
    """Write an event of a container, with `more` attributes than it always has."""
    events.write(parts.paths, "container", action, container.id, {**_attributes(container), **(more or {})})


def _attributes(container: Container) -> dict[str, str]:
    return {**dict(container.labels), "image": container.image_name, "name": container.name}


def actor(container: Container, more: dict[str, str] | None = None) -> str:
    """What the launcher writes of a container in its own events."""
    return events.actor(container.id, {**_attributes(container), **(more or {})})


def renamed(parts: Parts, container: Container, old_name: str) -> None:
    """Write the event, and leave the new name for the monitor, which was told the old one."""
    path = f"{parts.paths.container_run(container.id)}/actor"
    try:
        with open(f"{path}.{os.getpid()}", "w", encoding="ascii", opener=_private) as file:
            file.write(actor(container))
        os.rename(f"{path}.{os.getpid()}", path)
    except OSError:
        pass  # it has never run, or its events keep the old name
    tell(parts, container, "rename", {"oldName": f"/{old_name}"})


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def mounted(parts: Parts, container: Container) -> None:
    """Write that the container's volumes are mounted."""
    for mount in container.config.mounts:
        if mount.type == "volume":
            place = {"destination": mount.target, "propagation": "", "read/write": str(not mount.readonly).lower()}
            events.write(parts.paths, "volume", "mount", mount.source, {**_volume(container), **place})


def last_lines(container: Container) -> tuple[str, ...]:
    """What the monitor writes after the end: that the volumes are no longer mounted."""
    names = [mount.source for mount in container.config.mounts if mount.type == "volume"]
    return tuple(events.head("volume", "unmount", name, _volume(container)) for name in names[:MAX_LAST])


def _volume(container: Container) -> dict[str, str]:
    return {"container": container.id, "driver": "local"}


def tell_lost(parts: Parts, container: Container) -> None:
    """Write, once, the end of a container whose monitor was killed and could not. Its lock is held."""
    state = status.read_state(parts.paths, container.id)
    if state.status != "exited" or not state.error or not status.claim_telling(parts.paths, container.id):
        return
    tell(parts, container, "die", {"exitCode": str(state.exit_code)})
    unmounted(parts, container)


def unmounted(parts: Parts, container: Container) -> None:
    """Write that volumes are no longer mounted, for a monitor that cannot."""
    for mount in container.config.mounts:
        if mount.type == "volume":
            events.write(parts.paths, "volume", "unmount", mount.source, _volume(container))
