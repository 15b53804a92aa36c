"""What images have in common: contents of files, which the store and the page cache have once.

A content is counted once per image however many names it has there, and only if the image shows it: what a layer above
hides is not. Empty files have none.
"""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.images.host import is_host_id
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image


class ImageShare(Record):
    """Contents of one image: how many, the bytes in them, and how much of both another of the images has, too."""

    id: str
    name: str
    files: int
    size_bytes: int
    shared_files: int
    shared_bytes: int

    @property
    def unique_bytes(self) -> int:
        """What none of the others has."""
        return self.size_bytes - self.shared_bytes


class Pair(Record):
    """Contents that two images, named by their IDs, both have."""

    first: str
    second: str
    files: int
    size_bytes: int


class Sharing(Record):
    """`files` and `size_bytes` count every content of the images once, `disk_bytes` is the disk that these take.

    `separate_bytes` is what it would be if each image had its own.
    """

    images: tuple[ImageShare, ...] = ()
    pairs: tuple[Pair, ...] = ()
    files: int = 0
    size_bytes: int = 0
    separate_bytes: int = 0
    disk_bytes: int = 0

    @property
    def saved_bytes(self) -> int:
        """What there would be more of without sharing."""
        return self.separate_bytes - self.size_bytes


def chosen(store: ImageStore, references: Sequence[str]) -> list[Image]:
    """The images to compare, each once: those named, or all that are here.

    NotFoundError, AmbiguousError; UsageError for `host`.
    """
    if not references:
        return store.list()
    found: dict[str, Image] = {}
    for reference in references:
        image = store.get(reference)
        if is_host_id(image.id):
            raise UsageError("the image 'host' is the host itself: it has nothing in the store to share")
        found.setdefault(image.id, image)
    return list(found.values())


def contents(store: ImageStore, image: Image) -> dict[str, int]:
    """SHA-256 (hex) of every content that the image shows, with its size in bytes. NotFoundError, StoreError."""
    from tiffin.storage.entry import REGULAR
    from tiffin.storage.tree import flatten

    tree = flatten(store.layers.entries(diff_id) for diff_id in image.layers)
    return {
        node.entry.object: node.entry.size
        for _, node in tree.walk()
        if node.entry.kind == REGULAR and node.entry.object is not None
    }


def compare(store: ImageStore, images: Sequence[Image]) -> Sharing:
    """What the images have in common. NotFoundError, StoreError for a layer that cannot be read."""
    found = {image.id: contents(store, image) for image in images}
    users: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for mine in found.values():
        sizes.update(mine)
        for digest in mine:
            users[digest] = users.get(digest, 0) + 1
    shares = []
    for image in images:
        shared = [size for digest, size in found[image.id].items() if users[digest] > 1]
        shares.append(
            ImageShare(
                id=image.id, name=name_of(image), files=len(found[image.id]), size_bytes=sum(found[image.id].values()),
                shared_files=len(shared), shared_bytes=sum(shared),
            )
        )  # fmt: skip
    pairs = []
    for place, first in enumerate(images):
        for second in images[place + 1 :]:
            both = found[first.id].keys() & found[second.id].keys()
            size = sum(sizes[digest] for digest in both)
            pairs.append(Pair(first=first.id, second=second.id, files=len(both), size_bytes=size))
    return Sharing(
        images=tuple(shares), pairs=tuple(pairs), files=len(sizes), size_bytes=sum(sizes.values()),
        separate_bytes=sum(share.size_bytes for share in shares),
        disk_bytes=sum(_disk(store.layers.objects.path(digest)) for digest in sizes),
    )  # fmt: skip


def name_of(image: Image) -> str:
    """How people know the image: its first name, else its short ID."""
    return image.names[0] if image.names else image.id.removeprefix("sha256:")[:12]


def _disk(path: str) -> int:
    import os

    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
