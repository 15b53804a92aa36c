"""The files of an image as its last layer leaves them, without mounting anything."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.images.host import is_host_id
from tiffin.images.reference import HOST
from tiffin.storage.entry import DIRECTORY, REGULAR, SYMLINK
from tiffin.storage.tree import MAX_SYMLINKS, flatten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.entry import Entry
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.tree import Node, Tree

_CHUNK_BYTES = 1 << 20


class FileTooLarge(Exception):
    """A file of an image has more bytes than its reader is ready for."""


class ImageFiles:
    """All files of one image. Paths are relative and in bytes, as in layers; the root is b"".

    `entries` maps each path to its entry. A hard link has the entry of the file that it is another name of, whose
    `path` is then another one than the key.
    """

    def __init__(self, tree: Tree, objects: ObjectStore, temporary: str) -> None:
        self.tree = tree
        self.objects = objects
        self.temporary = temporary  # where unfinished work goes, see storage/workspace.py
        self.entries: dict[bytes, Entry] = {path: node.entry for path, node in tree.walk()}
        self._directories: dict[bytes, bytes | None] = {}

    def find(self, path: bytes) -> Entry | None:
        """What is at a path, symlinks resolved inside the image; None when nothing is there."""
        node = self.tree.lookup(path)
        return node.entry if node is not None else None

    def names(self, path: bytes) -> list[bytes]:
        """The names in a directory, in the order of their bytes; none when it is no directory."""
        node = self.tree.lookup(path)
        return sorted(node.children) if node is not None and node.children else []

    def real(self, path: bytes) -> bytes | None:
        """The path under which `entries` has what `path` names: links on the way resolved, the last name kept.

        None when there is no such file. "/bin/sh" is b"usr/bin/sh" where /bin is a link to usr/bin.
        """
        parent, _, name = path.strip(b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            return self._directory(path)
        directory = self._directory(parent)
        if directory is None:
            return None
        found = directory + b"/" + name if directory else name
        return found if found in self.entries else None

    def read(self, entry: Entry, most: int) -> bytes:
        """The content of a regular file. Raises `FileTooLarge` beyond `most` bytes, `StoreError` when it is missing."""
        return b"".join(self.chunks(entry, most))

    def chunks(self, entry: Entry, most: int | None = None) -> Iterator[bytes]:
        """The same in pieces."""
        if entry.kind != REGULAR or entry.object is None:
            return
        if most is not None and entry.size > most:
            raise FileTooLarge(f"it has {entry.size} bytes, more than the {most} that are read")
        fd = self.objects.open(entry.object)
        try:
            left = entry.size
            while left and (data := os.read(fd, min(left, _CHUNK_BYTES))):
                left -= len(data)
                yield data
        finally:
            os.close(fd)

    def _directory(self, path: bytes) -> bytes | None:
        """The real path of a directory; None when there is none."""
        if path not in self._directories:
            self._directories[path] = self._resolve(path)
        return self._directories[path]

    def _resolve(self, path: bytes) -> bytes | None:
        pending = path.split(b"/")[::-1]
        trail: list[tuple[bytes, Node]] = []
        links = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del trail[-1:]
                continue
            node = ((trail[-1][1] if trail else self.tree.root).children or {}).get(name)
            if node is None:
                return None
            if node.entry.kind == SYMLINK:
                links += 1
                if links > MAX_SYMLINKS:
                    return None
                if node.entry.link[:1] == b"/":
                    trail.clear()
                pending += node.entry.link.split(b"/")[::-1]
            elif node.entry.kind == DIRECTORY:
                trail.append((name, node))
            else:
                return None
        return b"/".join(name for name, _ in trail)


def files_of(store: ImageStore, image: Image) -> ImageFiles:
    """The files of an image that is here. UsageError for `host`, whose files are not in the store."""
    if is_host_id(image.id):
        raise UsageError(
            f"the image '{HOST}' is the host itself: its files are not in the store",
            hint="make an image of a directory with `tar -C DIR -c . | tiffin import - NAME`",
        )
    tree = flatten(store.layers.entries(diff_id) for diff_id in image.layers)
    return ImageFiles(tree, store.layers.objects, store.paths.temporary)


def flattened(store: ImageStore, image: Image) -> dict[bytes, Entry]:
    """Every path of an image with its entry, parents before children; the root is b"". Raises as `files_of`."""
    return files_of(store, image).entries
