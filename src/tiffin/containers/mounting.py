"""What a container's mounts need at each start, beyond what its spec says by itself."""

from __future__ import annotations

import os
from contextlib import ExitStack

from tiffin.errors import NotFoundError, NotSupportedError, UsageError
from tiffin.state import containers as records
from tiffin.state import status
from tiffin.volumes import checks, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.container import Container, Mount
    from tiffin.parts import Parts
    from tiffin.runtime.security.lsm import Labels
    from tiffin.runtime.spec import Joined
    from tiffin.storage.rootfs import MountStep


def needed(container: Container) -> bool:
    """Whether any of this is for the container: most have nothing but plain volumes and directories."""
    return any(_is_special(mount) for mount in container.config.mounts)


def _is_special(mount: Mount) -> bool:
    return bool(
        mount.type == "image"
        or mount.subpath
        or mount.relabel
        or mount.volume_options
        or mount.propagation not in ("private", "rprivate")
    )


class Mounting:
    """The steps before the root, and what the spec's mounts are told; locks are held until it is left."""

    def __init__(self, parts: Parts, container: Container) -> None:
        self._parts = parts
        self._container = container
        self._locks = ExitStack()
        self.steps: list[MountStep] = []
        self._changes: dict[str, dict[str, Any]] = {}
        self._donors: dict[int, int] = {}

    def __enter__(self) -> Mounting:
        return self

    def prepare(self, labels: Labels) -> None:
        """Look at the sources, make what is to be mounted before the root. UsageError, NotFoundError, HostError."""
        for place, mount in enumerate(self._container.config.mounts):
            if _is_special(mount):
                self._prepare(mount, place, labels)

    def __exit__(self, *_: object) -> None:
        self._locks.close()

    def apply(self, spec: dict[str, Any], joined: Joined) -> Joined:
        """Tell the spec's mounts what was found out; `joined` with the containers that mounts are shared with."""
        for mount in spec["mounts"]:
            mount.update(self._changes.get(mount["destination"], {}))
        for mount in self._container.config.mounts:
            if mount.propagation in ("shared", "rshared"):
                spec["linux"]["rootfsPropagation"] = "rshared"
        donors = dict(joined.donors) | self._donors
        return joined.replace(donors=tuple(donors.items()))

    def _prepare(self, mount: Mount, place: int, labels: Labels) -> None:
        checks.check_propagation(mount)
        change: dict[str, Any] = {}
        source = mount.source
        if mount.type == "image":
            source = change["source"] = self._image(mount, place)
        elif mount.type == "volume":
            source = f"{self._parts.paths.volumes}/{mount.source}/_data"
            if mount.volume_options:
                change.update(self._volume(mount))
        if mount.subpath:
            change["subpath"] = mount.subpath
            if mount.type == "bind" or (mount.type == "volume" and not mount.volume_options):
                check_subpath(source, mount.subpath)
        if mount.relabel and labels.mount_label:
            from tiffin.storage.relabel import relabel

            relabel(source, labels.mount_label, shared=mount.relabel == "shared")
        self._changes[mount.target] = change

    def _image(self, mount: Mount, place: int) -> str:
        parts = self._parts
        # By its ID, which the record of the container keeps from removal.
        image = parts.images.get(mount.source)
        driver = parts.driver(None)
        if not driver.image_ready(image.id):
            driver.prepare_image(image.id, image.layers)
        base = f"{parts.paths.container(self._container.id)}/images/{place}"
        for name in ("lower", "root"):
            os.makedirs(f"{base}/{name}", mode=0o755, exist_ok=True)
        mapped = bool(self._container.uid_maps)
        self.steps += driver.view(image.id, f"{base}/lower", f"{base}/root", mapped=mapped)
        return f"{base}/root"

    def _volume(self, mount: Mount) -> dict[str, Any]:
        step = options.step(self._parts.paths, mount)
        if step is None:
            return {}
        if dict(mount.volume_options).get("type") in options.FRESH:
            from tiffin.storage.volumes import VolumeLock

            # Two that start at once must not make two of them.
            self._locks.enter_context(VolumeLock(self._parts.paths, mount.source))
            found = options.joined(mount, self._running(mount.source))
            if found is not None:
                pid, ticks, target, magic = found
                self._donors[pid] = ticks
                return {"source": f"/proc/{pid}/ns/mnt", "joined": (target, magic)}
        self.steps.append(step)
        return {}

    def _running(self, volume: str) -> list[tuple[int, int, str]]:
        found = []
        for other in _others(self._parts, self._container, volume):
            state = status.read_state(self._parts.paths, other.id)
            if state.status == "running":
                found += [
                    (state.pid, state.pid_start_ticks, mount.target)
                    for mount in other.config.mounts
                    if mount.type == "volume" and mount.source == volume
                ]
        return found


def check(parts: Parts, container: Container, *, new_ids: bool) -> None:
    """Raises `NotSupportedError` for what a user namespace, or a volume that begins empty, does not go with.

    `new_ids` are those that no other container has, whatever the container's maps say so far.
    """
    for mount in container.config.mounts:
        if container.uid_maps and mount.propagation in ("shared", "rshared"):
            raise NotSupportedError(
                f"the mount at {mount.target} cannot be {mount.propagation} in a user namespace: what its root mounts "
                "there would be mounted on the host",
                hint="rslave shows inside what the host mounts, and nothing the other way",
            )
        kind = dict(mount.volume_options).get("type", "")
        if mount.type != "volume" or kind not in options.FRESH:
            continue
        if mount.subpath:
            raise NotSupportedError(f"a subpath of the {kind} volume {mount.source} is not supported yet")
        for other in _others(parts, container, mount.source):
            if new_ids or (other.uid_maps, other.gid_maps) != (container.uid_maps, container.gid_maps):
                raise NotSupportedError(
                    f"the {kind} volume {mount.source} cannot be shared with container {other.name!r}, whose user "
                    "namespace has other ids",
                    hint="containers in one user namespace can share it, and any can share a volume without options",
                )


def _others(parts: Parts, container: Container, volume: str) -> list[Container]:
    from tiffin.state import volumes

    found = (records.current(parts.database, other) for other, _ in volumes.users_of(parts.database, volume))
    return [other for other in found if other is not None and other.id != container.id]


def check_subpath(base: str, subpath: str) -> None:
    """Docker's errors for a subpath that is missing or leads out of its source; the launcher opens it safely."""
    path = f"{base}/{subpath}"
    inside = os.path.realpath(base)
    try:
        found = os.path.realpath(path)
    except OSError:
        return  # somebody is changing it at this moment; the launcher has the last word anyway
    if found != inside and not found.startswith(f"{inside.rstrip('/')}/"):
        raise UsageError(f'path concatenation escapes the base directory, base: "{base}", subpath: "{subpath}"')
    if not os.path.lexists(found):
        raise NotFoundError(f"cannot access path {path}: lstat {path}: no such file or directory")
