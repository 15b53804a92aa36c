"""What the store holds that nobody needs, what it costs, and whether it is whole.

The database knows which images, layers and containers exist; callers pass that in. For `collect` they hold
`store_lock(paths, exclusive=True)` from before they read the database until it returns, so that nothing which
another process is still putting together can be taken for garbage. Containers are recorded before their directory
is made, images after.
"""

from __future__ import annotations

import os

from tiffin.errors import StoreError, TiffinError, os_error
from tiffin.failpoints import failpoint
from tiffin.model.record import Record
from tiffin.storage.kept import all_kept
from tiffin.storage.objects import NEW_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tiffin.paths import Paths
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.rootfs import RootfsDriver


class Garbage(Record):
    """What `collect` would remove. `layers` are diff_ids, `images` IDs of prepared images, `containers` IDs,
    `objects` SHA-256 in hex, `litter` paths of unfinished work, `blobs` paths of kept blobs.
    `size_bytes` is the disk that all of it takes.
    """

    objects: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    size_bytes: int = 0


class ImageUsage(Record):
    """What only this image has, and what others have too, in bytes, by two measures.

    `unique_bytes` and `shared_bytes` are sizes of the files that the image shows, which add up to its size.
    `unique_disk_bytes` and `shared_disk_bytes` are disk: of contents, each once and hidden ones as well, of layers' own
    files, and of what drivers made of the image. The first of them is what its removal would free.
    """

    image_id: str
    unique_bytes: int
    shared_bytes: int
    unique_disk_bytes: int
    shared_disk_bytes: int


class StoreUsage(Record):
    """Disk taken, in bytes. `prepared_bytes` is what drivers made of images."""

    objects: int
    objects_bytes: int
    layers: int
    layers_bytes: int
    prepared_bytes: int
    images: tuple[ImageUsage, ...]


def find_garbage(
    paths: Paths,
    objects: ObjectStore,
    layers: LayerStore,
    *,
    known_layers: Collection[str],
    known_images: Collection[str],
    known_containers: Collection[str],
    known_blobs: Collection[str] = (),
) -> Garbage:
    """What nothing known needs.

    Raises `StoreError` or `NotFoundError` when a known layer cannot be read, since its objects are unknown then.
    """
    from tiffin.storage.removal import tree_usage

    known = set(known_layers)
    size = 0
    needed: set[str] = set()
    for diff_id in known:
        needed.update(layers.objects_of(diff_id))
    unneeded_layers = sorted(diff_id for diff_id in layers if diff_id not in known)
    for diff_id in unneeded_layers:
        size += layers.size_on_disk(diff_id)
    unneeded_objects = sorted(digest for digest in objects if digest not in needed)
    for digest in unneeded_objects:
        size += _disk(objects.path(digest))
    images = sorted(f"sha256:{name}" for name in _names(paths.images) if f"sha256:{name}" not in known_images)
    for image_id in images:
        size += tree_usage(f"{paths.images}/{image_id.removeprefix('sha256:')}")[0]
    containers = sorted(name for name in _names(f"{paths.root}/containers") if name not in known_containers)
    for container_id in containers:
        size += tree_usage(paths.container(container_id))[0]
    litter = [f"{paths.temporary}/{name}" for name in _names(paths.temporary)]
    for directory in (paths.objects, paths.layers):
        litter += [f"{directory}/{name}" for name in _names(directory) if name.startswith(NEW_PREFIX)]
    unneeded_blobs = []
    for digest, path in all_kept(paths):
        if not digest:
            litter.append(path)
        elif digest not in known_blobs:
            unneeded_blobs.append(path)
            size += _disk(path)
    for path in litter:
        size += _disk(path) + tree_usage(path)[0]
    return Garbage(
        objects=tuple(unneeded_objects), layers=tuple(unneeded_layers), images=tuple(images),
        containers=tuple(containers), litter=tuple(sorted(litter)), blobs=tuple(unneeded_blobs), size_bytes=size,
    )  # fmt: skip


def collect(paths: Paths, objects: ObjectStore, layers: LayerStore, garbage: Garbage) -> int:
    """Remove garbage that `find_garbage` found under the same exclusive lock; returns `garbage.size_bytes`.

    Layers go before objects: a killed prune leaves objects without layers, never the reverse. Raises `StoreError`.
    """
    from tiffin.storage.removal import remove_tree
    from tiffin.storage.writable import remove_writable

    try:
        for container_id in garbage.containers:
            remove_writable(paths, container_id)
        failpoint("prune.containers")
        for image_id in garbage.images:
            remove_tree(f"{paths.images}/{image_id.removeprefix('sha256:')}")
        failpoint("prune.images")
        for diff_id in garbage.layers:
            layers.remove(diff_id)
        failpoint("prune.layers")
        for digest in garbage.objects:
            objects.remove(digest)
        failpoint("prune.objects")
        for path in garbage.blobs:
            os.unlink(path)
        for path in garbage.litter:
            if os.path.isdir(path) and not os.path.islink(path):
                remove_tree(path)
            elif os.path.lexists(path):
                os.unlink(path)
    except OSError as error:
        raise os_error(error, "cannot prune the store") from error
    return garbage.size_bytes


def disk_usage(
    paths: Paths, objects: ObjectStore, layers: LayerStore, images: Mapping[str, Sequence[str]]
) -> StoreUsage:
    """What is on disk; `images` maps image IDs to their diff_ids. Raises `StoreError`, `NotFoundError`."""
    from tiffin.storage.removal import tree_usage

    per_layer: dict[str, list[str]] = {}
    per_image: dict[str, set[str]] = {}
    users: dict[str, int] = {}  # of objects, and of layers by their diff_ids
    for image_id, diff_ids in images.items():
        mine: set[str] = set(diff_ids)
        for diff_id in diff_ids:
            if diff_id not in per_layer:
                per_layer[diff_id] = layers.objects_of(diff_id)
            mine.update(per_layer[diff_id])
        per_image[image_id] = mine
        for name in mine:
            users[name] = users.get(name, 0) + 1
    disk = {name: layers.size_on_disk(name) if name in per_layer else _disk(objects.path(name)) for name in users}
    usages = []
    for image_id, mine in per_image.items():
        shown = _shown_sizes(layers, images[image_id])
        shared = sum(size for digest, size in shown.items() if users[digest] > 1)
        prepared = tree_usage(f"{paths.images}/{image_id.removeprefix('sha256:')}")[0]
        usages.append(
            ImageUsage(
                image_id=image_id, unique_bytes=sum(shown.values()) - shared, shared_bytes=shared,
                unique_disk_bytes=sum(disk[name] for name in mine if users[name] == 1) + prepared,
                shared_disk_bytes=sum(disk[name] for name in mine if users[name] > 1),
            )
        )  # fmt: skip
    count, objects_bytes = objects.disk_usage()
    all_layers = list(layers)
    return StoreUsage(
        objects=count,
        objects_bytes=objects_bytes,
        layers=len(all_layers),
        layers_bytes=sum(layers.size_on_disk(diff_id) for diff_id in all_layers),
        prepared_bytes=tree_usage(paths.images)[0],
        images=tuple(usages),
    )


def _shown_sizes(layers: LayerStore, diff_ids: Sequence[str]) -> dict[str, int]:
    """Bytes by content of the files that these layers show together, as many times as there are inodes with it."""
    from tiffin.storage.entry import REGULAR
    from tiffin.storage.tree import flatten

    sizes: dict[str, int] = {}
    seen: set[int] = set()
    for _, node in flatten(layers.entries(diff_id) for diff_id in diff_ids).walk():
        entry = node.entry
        if entry.kind == REGULAR and entry.object is not None and id(node) not in seen:
            seen.add(id(node))
            sizes[entry.object] = sizes.get(entry.object, 0) + entry.size
    return sizes


def check_store(
    objects: ObjectStore,
    layers: LayerStore,
    drivers: Sequence[RootfsDriver],
    images: Mapping[str, Sequence[str]],
    *,
    contents: bool = False,
) -> list[str]:
    """Problems, a sentence each; an empty list when all is well.

    Every layer must be readable and its objects present with the right size, every image prepared for one driver (a
    start prepares it for another, after a change of kernel). With `contents` every layer is written out again against
    its digest, which reads every object.
    """
    problems = []
    checked: set[str] = set()
    for image_id, diff_ids in images.items():
        for diff_id in diff_ids:
            if diff_id not in checked:
                checked.add(diff_id)
                problems += _check_layer(objects, layers, diff_id, contents)
        if not any(driver.image_ready(image_id) for driver in drivers):
            names = " or ".join(driver.name for driver in drivers)
            problems.append(f"image {image_id} is not prepared for the storage driver {names}")
    return problems + [problem for driver in drivers for problem in driver.check()]


def _check_layer(objects: ObjectStore, layers: LayerStore, diff_id: str, contents: bool) -> list[str]:
    from tiffin.storage.entry import REGULAR

    problems = []
    try:
        sizes = {
            entry.object: entry.size
            for entry in layers.entries(diff_id)
            if entry.kind == REGULAR and entry.object is not None
        }
    except TiffinError as error:
        return [str(error)]
    for digest, size in sizes.items():
        try:
            found = os.stat(objects.path(digest)).st_size
        except OSError:
            problems.append(f"object {digest} of layer {diff_id} is missing")
            continue
        if found != size:
            problems.append(f"object {digest} of layer {diff_id} has {found} bytes instead of {size}")
    if problems or not contents:
        return problems
    try:
        layers.write_tar(diff_id, _Nowhere())  # type: ignore[arg-type]
    except StoreError as error:
        damaged = [digest for digest in sizes if not objects.verify(digest)]
        return [f"object {digest} of layer {diff_id} is damaged" for digest in damaged] or [str(error)]
    return []


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)


def _names(directory: str) -> Iterable[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return ()


def _disk(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
