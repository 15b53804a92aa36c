"""Looking for damage and litter."""

from __future__ import annotations

from tiffin.errors import TiffinError
from tiffin.state import blobs
from tiffin.state import containers as records
from tiffin.state import images as image_records
from tiffin.storage import collect
from tiffin.storage.lock import store_lock
from tiffin.storage.rootfs import DRIVERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts


def check(parts: Parts, *, contents: bool) -> list[str]:
    """One sentence per finding; none when all is well. `contents` reads every object and layer again."""
    try:
        problems = [f"the state database is damaged: {finding}" for finding in parts.database.check()]
        if problems:
            return problems
        with store_lock(parts.paths, exclusive=True):
            pass  # a child of a killed command may take a moment to end with it; what it leaves is finished then
        parts.images.finish()
        with store_lock(parts.paths, exclusive=True):
            images = image_records.all_images(parts.database)
            problems += _litter(parts)
            problems += collect.check_store(
                parts.objects,
                parts.layers,
                [parts.driver(name) for name in DRIVERS],
                {image.id: image.layers for image in images},
                contents=contents,
            )
    except TiffinError as error:
        return [str(error)]
    from tiffin.images.mounts import check as check_mounts
    from tiffin.pods.manage import check as check_pods
    from tiffin.volumes.manage import check as check_volumes

    of_mounts = check_mounts(parts.paths, {image.id for image in images})
    return problems + _containers(parts) + check_volumes(parts) + check_pods(parts) + of_mounts


def _litter(parts: Parts) -> list[str]:
    images = image_records.all_images(parts.database)
    garbage = collect.find_garbage(
        parts.paths,
        parts.objects,
        parts.layers,
        known_layers={diff_id for image in images for diff_id in image.layers}.union(blobs.waiting(parts.database)),
        known_images={image.id for image in images},
        known_containers=records.ids(parts.database),
        known_blobs=blobs.all_digests(parts.database),
    )
    found = []
    for count, what in (
        (len(garbage.layers), "layers that no image has"),
        (len(garbage.objects), "objects that no layer has"),
        (len(garbage.images), "prepared images without a record"),
        (len(garbage.containers), "container directories without a record"),
        (len(garbage.blobs), "kept blobs that no image has"),
        (len(garbage.litter), "pieces of unfinished work"),
    ):
        if count:
            found.append(f"{count} {what} ({_PRUNE})")
    return found


_PRUNE = "harmless; `tiffin system prune` removes them"


def _containers(parts: Parts) -> list[str]:
    known = {image.id for image in image_records.all_images(parts.database)}
    return [
        f"container {container.name} ({container.id[:12]}) has lost its image {container.image_name!r}"
        for container, _ in records.all_containers(parts.database)
        if container.image_id not in known and not parts.is_host(container.image_id)
    ]
