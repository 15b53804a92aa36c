"""A container's files from outside: its root as a descriptor, whether it runs or not."""

from __future__ import annotations

import os
from contextlib import contextmanager

from tiffin.errors import ConflictError, HostError, NotFoundError, os_error
from tiffin.model import idmap
from tiffin.state import status
from tiffin.state.locks import ContainerLock
from tiffin.storage import detached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.model.container import Container, Mount
    from tiffin.parts import Parts


@contextmanager
def locked(parts: Parts, container: Container) -> Iterator[None]:
    """Nobody starts or removes the container meanwhile; it may end. NotFoundError when it was removed."""
    with ContainerLock(parts.paths, container.id):
        if parts.database.row("SELECT 1 FROM containers WHERE id = ? AND removing = 0", (container.id,)) is None:
            from tiffin.containers.start import drop_empty

            drop_empty(parts.paths.container(container.id))
            raise NotFoundError(f"no such container: {container.name}")
        yield


@contextmanager
def opened(parts: Parts, container: Container, *, mounts: bool) -> Iterator[int]:
    """The root as a descriptor (O_PATH); call inside `locked`, since a stopped container is mounted for it.

    With `mounts` what the user mounted is there, too; /proc, /sys and /dev never are. Raises `HostError`.
    """
    try:
        root = _running(parts, container, mounts)
        if root is None:
            root = _stopped(parts, container, mounts)
    except OSError as error:
        what = f" ({error.filename})" if error.filename else ""
        raise HostError(f"cannot open the files of container {container.name!r}: {error.strerror}{what}") from error
    try:
        yield root
    finally:
        os.close(root)


def _running(parts: Parts, container: Container, mounts: bool) -> int | None:
    state = status.read_state(parts.paths, container.id)
    if not state.pid:
        return None
    try:
        namespace = os.open(f"/proc/{state.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # ended just now
    try:
        # Looked at after opening, so that it is not a later process of that number.
        if status.start_ticks(state.pid) != state.pid_start_ticks:
            return None
        return detached.of_process(namespace, _mount_point(parts, container), submounts=mounts)
    finally:
        os.close(namespace)


def _stopped(parts: Parts, container: Container, mounts: bool) -> int:
    state = status.read_state(parts.paths, container.id)
    if state.pid and status.alive(state.pid, state.pid_start_ticks):
        raise ConflictError(f"container {container.name!r} is ending at this moment", hint="try again")
    driver = parts.driver(container.driver)
    ids = idmap.of(container)
    if not driver.image_ready(container.image_id):
        driver.prepare_image(container.image_id, parts.images.get(container.image_id).layers)
    if not os.path.isdir(driver.upper(container.id) or ""):
        driver.create(container.id, container.image_id, ids)
    config = container.config
    target = _mount_point(parts, container)
    # A temporary container's mount was volatile, and overlay takes only another such one.
    steps = driver.steps(container.id, container.image_id, target, volatile=config.auto_remove, mapped=ids is not None)
    binds = []
    for mount in config.mounts if mounts else ():
        source = _source(parts, mount)
        if source:
            mapped = ids is not None and (mount.idmap or mount.type == "volume")
            binds.append(detached.Bind(source, mount.target, mount.readonly, mount.subpath, mapped))
    if ids is None:
        return detached.mounted(steps, target, binds, read_only=config.read_only)
    from tiffin.runtime.userns import open_namespace

    userns = open_namespace(ids)
    try:
        return detached.mounted(steps, target, binds, read_only=config.read_only, userns_fd=userns)
    finally:
        os.close(userns)


def _source(parts: Parts, mount: Mount) -> str:
    """Where the files of a mount are on the host; "" for those that are only there while the container runs."""
    if mount.type == "bind":
        return mount.source
    if mount.type != "volume":
        return ""
    if not mount.volume_options:
        return f"{parts.paths.volumes}/{mount.source}/_data"
    from tiffin.volumes.options import directory

    return directory(mount)


def _mount_point(parts: Parts, container: Container) -> str:
    place = f"{parts.paths.container(container.id)}/rootfs"
    try:
        os.makedirs(place, mode=0o755, exist_ok=True)
    except OSError as error:
        raise os_error(error, f"cannot open the files of container {container.name!r}") from error
    return place
