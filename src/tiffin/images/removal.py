"""`tiffin rmi`: names first, then the image, then what no other image needs."""

from __future__ import annotations

from tiffin.errors import ConflictError, NotFoundError, StoreError, UsageError
from tiffin.failpoints import failpoint
from tiffin.images.host import is_host_id
from tiffin.images.reference import is_id, parse_reference
from tiffin.state import blobs
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.state.db import Database


_MOST_NAMED = 10


def remove(store: ImageStore, reference: str, *, force: bool) -> list[str]:
    """See `ImageStore.remove`."""
    image = store.get(reference)
    if is_host_id(image.id):
        raise UsageError("the image 'host' cannot be removed: it is the host itself")
    from tiffin.images.unfinished import Changing

    with Changing(store) as changing:
        layers, lines = _drop(store, image, _name_meant(image, reference), force)
        if layers is None:
            return lines
        failpoint("image.dropped")
        if changing.alone():
            _remove_files(store, image, layers)
        else:
            changing.leave()
    _tell_untagged(store, image, [*image.names, *image.digests])
    store.tell("delete", image, image.id)
    return [*lines, f"Deleted: {image.id}", *(f"Deleted: {diff_id}" for diff_id in layers)]


def _drop(store: ImageStore, image: Image, name: str, force: bool) -> tuple[list[str] | None, list[str]]:
    """Take the name, or the image: the layers that nobody needs any more (None: the image stays), and lines to show."""
    database = store.database
    with database.transaction(durable=True):
        image = records.image_by_id(database, image.id) or image
        others = [other for other in image.names if other != name]
        if name and name in (*image.names, *image.digests) and others:
            records.drop_names(database, [name])
            store.tell("untag", image, name)
            return None, [f"Untagged: {name}"]
        if not name and len(image.names) > 1 and not force:
            raise ConflictError(
                f"the image {_short(image)} has several names: {', '.join(image.names)}",
                hint="remove it by its names, or use --force to remove them all",
            )
        names = [*image.names, *image.digests]
        lines = [f"Untagged: {dropped}" for dropped in names]
        _refuse_mounted(store, image, name or _short(image))
        if _held_by_container(store, image, name or _short(image), force):
            records.drop_names(database, names)
            _tell_untagged(store, image, names)
            return None, lines
        records.drop_image(database, image.id)
        gone = records.drop_layers(database, dict.fromkeys(reversed(image.layers)))
        blobs.drop_unused_manifests(database)
        kept = len(set(image.layers)) - len(gone)
        resting = _resting(database, image) if kept else []
        if resting:
            layers = "1 layer" if kept == 1 else f"{kept} layers"
            lines.append(f"Kept: {layers} that {_joined(resting)} {'rests' if len(resting) == 1 else 'rest'} on")
        return gone, lines


def _resting(database: Database, image: Image) -> list[str]:
    """The images that begin with all of this one's layers, by their first names."""
    from tiffin.images.lineage.bases import begins_with

    candidates = (records.image_by_id(database, image_id) for image_id in
                  records.images_with(database, image.layers[-1], len(image.layers) - 1))  # fmt: skip
    found = [other for other in candidates if other is not None and begins_with(other, image)]
    found.sort(key=lambda other: (not other.names, other.names))
    return [other.names[0] if other.names else _short(other) for other in found]


def _joined(names: list[str]) -> str:
    shown = names if len(names) <= _MOST_NAMED else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def _tell_untagged(store: ImageStore, image: Image, names: list[str]) -> None:
    for name in names:
        store.tell("untag", image, name)


def _name_meant(image: Image, reference: str) -> str:
    """The name of the image that `reference` is, or "" when it is an ID."""
    if is_id(reference):
        return ""
    try:
        key = parse_reference(reference).key
    except UsageError:
        return ""
    return key if key in (*image.names, *image.digests) else ""


def _refuse_mounted(store: ImageStore, image: Image, shown: str) -> None:
    """ConflictError when the image is mounted on the host: its files are needed there."""
    from tiffin.images.mounts import held

    places = held(store.paths).get(image.id)
    if places:
        raise ConflictError(
            f"cannot remove the image {shown}: it is mounted at {', '.join(places)}",
            hint=f"`tiffin image unmount {shown}` first; --force does not help here",
        )


def _held_by_container(store: ImageStore, image: Image, shown: str, force: bool) -> bool:
    """Whether containers keep the image; ConflictError when it cannot be taken from them."""
    from tiffin.state.status import read_state

    containers = records.containers_of(store.database, image.id)
    if not containers:
        return False
    for container_id, container in containers:
        if read_state(store.paths, container_id).status in ("running", "restarting"):
            raise ConflictError(
                f"cannot remove the image {shown}: the running container {container} ({container_id[:12]}) uses it",
                hint=f"`tiffin rm --force {container}` first; --force does not help here",
            )
    container_id, container = containers[0]
    if not force or not (image.names or image.digests):
        more = f" and {len(containers) - 1} more were" if len(containers) > 1 else " was"
        how = f"{more} made from it" if records.made_from(store.database, container_id, image.id) else " has it mounted"
        raise ConflictError(
            f"cannot remove the image {shown}: the container {container} ({container_id[:12]}){how}",
            hint=f"`tiffin rm {container}` first" + ("" if force else ", or --force to remove only the image's names"),
        )
    return True


def _remove_files(store: ImageStore, image: Image, layers: list[str]) -> None:
    """Remove what the records no longer reach; nobody else changes the store meanwhile.

    The records are asked again, since the same image may have come back in between.
    """
    from tiffin.storage.kept import drop_kept
    from tiffin.storage.prepared import PreparedImages
    from tiffin.storage.rootfs import DRIVERS

    if records.image_by_id(store.database, image.id) is None:
        for driver in DRIVERS:  # an earlier kernel may have had another one
            PreparedImages(store.paths, driver).remove(image.id)
    failpoint("image.unprepared")
    drop_kept(store.paths, blobs.all_digests(store.database))
    gone = [diff_id for diff_id in layers if not records.layer_known(store.database, diff_id)]
    _remove_layers(store, gone)


def _remove_layers(store: ImageStore, gone: list[str]) -> None:
    """Remove layers and the objects that only they had. A damaged layer leaves its objects to prune."""
    objects: set[str] = set()
    try:
        for diff_id in gone:
            objects.update(store.layers.objects_of(diff_id))
    except (NotFoundError, StoreError):
        objects.clear()
    for diff_id in gone:
        store.layers.remove(diff_id)
        failpoint("layer.removed")
    try:
        # Every layer in the store counts, also one that no record knows yet.
        for diff_id in store.layers if objects else ():
            objects.difference_update(store.layers.objects_of(diff_id))
    except (NotFoundError, StoreError):
        return
    for digest in objects:
        store.layers.objects.remove(digest)


def _short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:12]
