"""What can go, shown first; and its removal."""

from __future__ import annotations

from tiffin.containers import end
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.images import mounts
from tiffin.model.record import Record
from tiffin.state import blobs, events, status
from tiffin.state import containers as records
from tiffin.state import images as image_records
from tiffin.state import volumes as volume_records
from tiffin.storage import volumes as volume_storage
from tiffin.storage.collect import Garbage, collect, find_garbage
from tiffin.storage.lock import store_lock
from tiffin.storage.removal import tree_usage
from tiffin.volumes import manage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.model.container import Container
    from tiffin.model.image import Image
    from tiffin.model.volume import Volume
    from tiffin.parts import Parts


class PrunePlan(Record):
    """What `prune` would remove. `size_bytes` is the disk that this frees, as far as it can be told beforehand."""

    containers: tuple[Container, ...] = ()
    images: tuple[Image, ...] = ()
    volumes: tuple[Volume, ...] = ()
    garbage: Garbage = Garbage()
    stray_volumes: tuple[str, ...] = ()
    size_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        garbage = self.garbage
        return not (
            self.containers or self.images or self.volumes or self.stray_volumes
            or garbage.objects or garbage.layers or garbage.images or garbage.containers or garbage.litter
            or garbage.blobs
        )  # fmt: skip


class Pruned(Record):
    """What `prune` did remove; `size_bytes` is the disk that it freed."""

    containers: tuple[Container, ...] = ()
    images: tuple[Image, ...] = ()
    volumes: tuple[Volume, ...] = ()
    size_bytes: int = 0


def plan(
    parts: Parts,
    *,
    containers: bool,
    images: bool,
    all_images: bool,
    volumes: str = "",
    choose: Callable[[tuple[Volume, ...]], tuple[Volume, ...]] | None = None,
    goes: Callable[[Container | Image], bool] | None = None,
) -> PrunePlan:
    """Look, and remove nothing."""
    end.finish_removals(parts)
    goes = goes or (lambda _: True)
    ended = tuple(filter(goes, _ended(parts))) if containers else ()
    unused = tuple(filter(goes, _unused(parts, all_images, {container.id for container in ended}))) if images else ()
    with store_lock(parts.paths, exclusive=True):
        garbage = _garbage(parts) if images else Garbage()
        # What these images share among each other goes with them, so it is looked for as if they were gone.
        size = _garbage(parts, gone=unused).size_bytes if unused else garbage.size_bytes
    for container in ended:
        size += parts.driver(container.driver).usage(container.id)[0]
    idle = unused_volumes(parts, volumes, {container.id for container in ended})
    if choose is not None:
        idle = choose(idle)
    strays = tuple(manage.strays(parts)) if images or volumes else ()
    size += sum(volume_storage.usage(parts.paths, name) for name in (*(volume.name for volume in idle), *strays))
    return PrunePlan(
        containers=ended, images=unused, volumes=idle, garbage=garbage, stray_volumes=strays, size_bytes=size
    )


def unused_volumes(parts: Parts, which: str, going: set[str]) -> tuple[Volume, ...]:
    """Volumes that no container but those that are `going` needs: none, "anonymous" ones or "all"."""
    if which not in ("", "anonymous", "all"):
        raise UsageError(f"there are no volumes of the kind {which!r} to prune", hint='it is "anonymous" or "all"')
    if not which:
        return ()
    users = volume_records.users(parts.database)
    return tuple(
        volume
        for volume in volume_records.all_volumes(parts.database)
        if (volume.anonymous or which == "all")
        and all(container_id in going for container_id, _ in users.get(volume.name, ()))
    )


def prune(parts: Parts, what: PrunePlan) -> Pruned:
    """Remove what the plan lists, except what came into use since."""
    if what.empty:
        parts.remove_cgroup_parent()
        return Pruned()
    freed = 0
    containers = []
    for container in what.containers:
        size, _ = parts.driver(container.driver).usage(container.id)
        try:
            end.remove(parts, container, force=False)
        except (ConflictError, NotFoundError):
            continue
        containers.append(container)
        freed += size
    of_containers = freed
    volumes = []
    for volume in what.volumes:
        size = volume_storage.usage(parts.paths, volume.name)
        try:
            manage.remove(parts, volume.name)
        except (ConflictError, NotFoundError):
            continue
        volumes.append(volume)
        freed += size
    for name in what.stray_volumes:
        freed += volume_storage.usage(parts.paths, name)
        manage.remove_stray(parts, name)
    before = _image_bytes(parts)
    images = []
    for image in what.images:
        try:
            parts.images.remove(image.id, force=True)
        except (ConflictError, NotFoundError):
            continue
        images.append(image)
    if what.images or what.garbage != Garbage():
        with store_lock(parts.paths, exclusive=True):
            with parts.database.transaction():
                blobs.drop_waiting(parts.database)
            collect(parts.paths, parts.objects, parts.layers, _garbage(parts))
    of_images = max(0, before - _image_bytes(parts))
    for kind, removed, size in (
        ("container", containers, of_containers),
        ("volume", volumes, freed - of_containers),
        ("image", images, of_images),
    ):
        if removed:
            events.write(parts.paths, kind, "prune", "", {"reclaimed": str(size)})
    freed += of_images
    parts.remove_cgroup_parent()
    return Pruned(containers=tuple(containers), images=tuple(images), volumes=tuple(volumes), size_bytes=max(0, freed))


def _ended(parts: Parts) -> list[Container]:
    found = []
    for container, _ in records.all_containers(parts.database):
        state = status.read_state(parts.paths, container.id)
        if state.status in ("exited", "created"):
            found.append(container)
    return found


def _unused(parts: Parts, everything: bool, going: set[str]) -> list[Image]:
    staying = [container for container, _ in records.all_containers(parts.database) if container.id not in going]
    used = {container.image_id for container in staying}
    used |= {mount.source for container in staying for mount in container.config.mounts if mount.type == "image"}
    used |= mounts.held(parts.paths).keys()
    return [
        image
        for image in image_records.all_images(parts.database)
        if image.id not in used and (everything or not (image.names or image.digests))
    ]


def _garbage(parts: Parts, gone: tuple[Image, ...] = ()) -> Garbage:
    leaving = {image.id for image in gone}
    images = [image for image in image_records.all_images(parts.database) if image.id not in leaving]
    return find_garbage(
        parts.paths,
        parts.objects,
        parts.layers,
        known_layers={diff_id for image in images for diff_id in image.layers},
        known_images={image.id for image in images},
        known_containers=records.ids(parts.database),
        known_blobs=blobs.all_digests(parts.database),
    )


def _image_bytes(parts: Parts) -> int:
    layers = sum(parts.layers.size_on_disk(diff_id) for diff_id in parts.layers)
    prepared_and_kept = tree_usage(parts.paths.images)[0] + tree_usage(f"{parts.paths.root}/blobs")[0]
    return parts.objects.disk_usage()[1] + layers + prepared_and_kept
