"""Volumes of a container: which ones it gets, and what its image has at their places."""

from __future__ import annotations

import os

from tiffin.errors import NotFoundError, UsageError
from tiffin.failpoints import failpoint
from tiffin.model.container import Mount
from tiffin.model.volume import Volume
from tiffin.state import containers as container_records
from tiffin.state import volumes as records
from tiffin.state.db import now_ns
from tiffin.storage import volumes as storage
from tiffin.volumes import manage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container, ContainerConfig
    from tiffin.parts import Parts


def resolve(parts: Parts, config: ContainerConfig, of_image: tuple[str, ...]) -> ContainerConfig:
    """The config with all mounts that the container gets, every volume with its name.

    As Docker: what the user mounts wins over what other containers have at the same place, and this over the image's
    volumes. NotFoundError for a container of `volumes_from`, UsageError.
    """
    mounts = {_place(mount.target): mount for mount in _inherited(parts, config)}
    own: set[str] = set()
    for mount in config.mounts:
        if mount.type == "volume" and mount.source:
            manage.check_name(mount.source)
        elif mount.type == "volume":
            mount = mount.replace(source=os.urandom(32).hex(), anonymous=True)
        if mount.type == "volume":
            mount = _with_options(parts, mount)
        place = _place(mount.target)
        if place in own:
            raise UsageError(f"Duplicate mount point: {place}")
        own.add(place)
        mounts[place] = mount
    for target in of_image:
        if not target.startswith("/") or _place(target) == "/":
            raise UsageError(f"the image {config.image!r} has a volume at {target!r}, where none can be")
        if _place(target) not in mounts:
            volume = Mount(type="volume", source=os.urandom(32).hex(), target=_place(target), anonymous=True)
            mounts[_place(target)] = volume
    return config.replace(mounts=tuple(mounts.values()))


def _with_options(parts: Parts, mount: Mount) -> Mount:
    """The mount with the options of its volume: those of one that is there count, as Docker has it."""
    manage.check_driver(mount.source, mount.volume_driver)
    if not mount.anonymous:
        try:
            return mount.replace(volume_options=records.get(parts.database, mount.source).options)
        except NotFoundError:
            pass
    if mount.volume_options:
        from tiffin.volumes.options import check_options

        check_options(mount.source, dict(mount.volume_options))
    return mount


def _place(target: str) -> str:
    return "/" + os.path.normpath(target).lstrip("/")


def _inherited(parts: Parts, config: ContainerConfig) -> list[Mount]:
    found = []
    for text in config.volumes_from:
        reference, _, mode = text.partition(":")
        if not text:
            raise UsageError("volumes-from specification cannot be an empty string")
        if not reference:
            raise UsageError('invalid name or ID supplied: ""')
        # Said without a container of that name, too, as Docker does.
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise UsageError(f"invalid mode: {mode}", hint="it is ro or rw")
        container = container_records.get(parts.database, reference)
        for mount in container.config.mounts:
            if mount.type in ("bind", "volume"):
                readonly = mount.readonly or mode == "ro"
                relabel = {"z": "shared", "Z": "private"}.get(mode, "")
                mount = mount.replace(readonly=readonly, relabel=relabel)
                found.append(mount.replace(nocopy=True, inherited=True, create_source=False))
    return found


def wanted(mounts: tuple[Mount, ...]) -> list[tuple[Volume, bool]]:
    """The volumes among the mounts, and whether each may be made: another container's is there already."""
    found: dict[str, tuple[Volume, bool]] = {}
    for mount in mounts:
        if mount.type != "volume":
            continue
        if mount.anonymous:
            volume = manage.new_anonymous(mount.volume_labels)
            volume = volume.replace(name=mount.source, options=mount.volume_options)
        else:
            volume = Volume(
                name=mount.source,
                created_ns=now_ns(),
                labels=tuple(sorted(mount.volume_labels)),
                options=mount.volume_options,
            )
        found.setdefault(mount.source, (volume, not mount.inherited))
    return list(found.values())


def anonymous(container: Container) -> list[str]:
    """Names of the volumes that go with the container if asked."""
    return [mount.source for mount in container.config.mounts if mount.type == "volume" and mount.anonymous]


def prepare(parts: Parts, container: Container) -> None:
    """Have the directories of all volumes, and in new ones what the image has at their place.

    Repeated at each start, since a killed create leaves it undone. Raises `UsageError` for a volume over a file.
    """
    unfilled = records.unfilled(parts.database, container.id)
    for mount in container.config.mounts:
        if mount.type != "volume":
            continue
        try:
            if mount.source in unfilled:
                _fill(parts, container, mount)
            elif not os.path.isdir(storage.data_path(parts.paths, mount.source)):
                manage.ensure(parts, mount.source)
        except NotFoundError as error:
            raise NotFoundError(f"the volume {mount.source} of container {container.name!r} is missing") from error
    if unfilled:
        records.mark_filled(parts.database, container.id)
        failpoint("create.filled")


def _fill(parts: Parts, container: Container, mount: Mount) -> None:
    manage.ensure(parts, mount.source)
    if mount.nocopy or mount.volume_options or mount.subpath:
        return  # what is mounted there is nobody's to fill
    with storage.VolumeLock(parts.paths, mount.source):
        storage.fill(parts.paths, mount.source, lambda directory: _copy(parts, container, mount.target, directory))


def _copy(parts: Parts, container: Container, target: str, directory: str) -> bool:
    from tiffin.storage import copy_out

    if parts.is_host(container.image_id):
        from tiffin.storage.host import HostDriver

        return copy_out.copy_from_host(target, directory, HostDriver(parts.paths).empty_places())
    layers = parts.images.get(container.image_id).layers
    return copy_out.copy_from_image(parts.layers, parts.objects, layers, target, directory)
