"""`image flatten`: one layer of all that an image's layers add up to, with the same config."""

from __future__ import annotations

import json

from tiffin.errors import StoreError, UsageError
from tiffin.images.config import parse_config
from tiffin.images.host import is_host_id
from tiffin.images.store import tag_keys
from tiffin.state import blobs
from tiffin.storage.entry import DIRECTORY, HARDLINK, REGULAR, Entry
from tiffin.storage.tree import flatten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.contents import Item
    from tiffin.storage.layers import IngestedLayer
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.tree import Node, Tree


def flatten_image(
    store: ImageStore, reference: str, name: str = "", *, progress: Callable[[int], None] | None = None
) -> Image:
    """A new image of one layer; the same image gives the same one every time. `progress` gets bytes written.

    NotFoundError, UsageError for the image `host` and a bad name, StoreError.
    """
    image = store.get(reference)
    refuse_host(image, "flattened")
    names = tag_keys([name] if name else [])
    with store.adding():
        layer = ingest_items(store, items(store.layers.objects, flattened(store, image).walk()), progress)
        step = {"created_by": "tiffin image flatten", "comment": f"flattened from {image.id}"}
        made = add_with_layers(store, image, [(layer, step)], names)
    for key in names:
        store.tell("tag", made, key)
    return made


def refuse_host(image: Image, done: str) -> None:
    """UsageError for the pseudo image."""
    if is_host_id(image.id):
        raise UsageError(f"the image 'host' cannot be {done}: it has no layers, it is the host itself")


def flattened(store: ImageStore, image: Image) -> Tree:
    """The file system of an image."""
    return flatten(store.layers.entries(diff_id) for diff_id in image.layers)


def items(objects: ObjectStore, found: Iterable[tuple[bytes, Node]]) -> Iterator[Item]:
    """Paths and inodes of a tree as entries with contents; an inode's names after the first one are hard links.

    Nothing is written as sparse: the objects' holes depend on the file system, and ingest finds runs of zeros again.
    """
    import os

    first: dict[int, bytes] = {}
    for path, node in found:
        of = node.entry
        if node.names > 1 and of.kind != DIRECTORY:
            target = first.setdefault(id(node), path)
            if target != path:
                yield Entry(path, HARDLINK, of.mode, of.uid, of.gid, 0, 0, link=target), None
                continue
        entry = Entry(
            path, of.kind, of.mode, of.uid, of.gid, of.mtime_s, of.mtime_ns, of.size, None, of.link, of.major,
            of.minor, of.xattrs,
        )  # fmt: skip
        if of.kind != REGULAR or of.object is None:
            yield entry, None
            continue
        fd = objects.open(of.object)
        try:
            yield entry, _Whole(fd, of.size)
        finally:
            os.close(fd)


class _Whole:
    """The content of an object, read from its beginning to its end."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._at = 0
        self._size = size
        self.segments = [(0, size)]

    def read(self, most: int) -> bytes:
        import os

        data = os.pread(self._fd, most, self._at)
        if not data and self._at < self._size:
            raise StoreError(f"an object of {self._size} bytes has only {self._at}", hint="run `tiffin system check`")
        self._at += len(data)
        return data


def ingest_items(
    store: ImageStore, found: Iterator[Item], progress: Callable[[int], None] | None = None
) -> IngestedLayer:
    """Make a layer of entries."""
    from tiffin.images.codecs import Counted
    from tiffin.storage.tarwrite import Streamed, tar_stream

    chunks = tar_stream(found, exact=True)
    try:
        return store.layers.ingest(Counted(Streamed(chunks), progress))  # type: ignore[arg-type]
    finally:
        chunks.close()  # type: ignore[attr-defined]
        found.close()  # type: ignore[attr-defined]


def add_with_layers(
    store: ImageStore, image: Image, layers: list[tuple[IngestedLayer, dict[str, str]]], names: list[str]
) -> Image:
    """File an image as `image`, but of these layers, each with its step of the history.

    What it was made upon stays known by name, though its layers are no longer the first ones.
    """
    document: dict[str, Any] = json.loads(image.raw_config)
    created = {"created": document["created"]} if document.get("created") else {}
    made = {
        **document,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer, _ in layers]},
        "history": [{**created, **step} for _, step in layers],
    }
    raw = json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
    base = blobs.base_of(store.database, image.id)
    return store.add(
        parse_config(raw),
        [(layer.diff_id, layer.size_bytes) for layer, _ in layers],
        names,
        base=base.replace(layer_count=0) if base is not None else None,
    )
