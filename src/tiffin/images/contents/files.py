"""The files of an image as its last layer leaves them, without mounting anything."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.images.host import is_host_id
from tiffin.images.reference import HOST
from tiffin.storage.entry import REGULAR, SYMLINK
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
_MAX_PATH = 4096  # PATH_MAX: no program has ever opened a longer one


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
        self.entries: dict[bytes, Entry] = {}
        self._by_path: dict[bytes, Node] = {}  # directories
        self._paths: dict[int, bytes] = {}  # theirs, by identity
        self._links: dict[tuple[int, bytes], Node | None] = {}  # where the link of this name in a directory leads
        self._real: dict[bytes, bytes | None] = {}
        for path, node in tree.walk():
            self.entries[path] = node.entry
            if node.children is not None:
                self._by_path[path] = node
                self._paths[id(node)] = path

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
        if path not in self._real:
            node = self._walk(self.tree.root, path)
            self._real[path] = None if node is None else self._paths[id(node)]
        return self._real[path]

    def _walk(self, start: Node, path: bytes) -> Node | None:
        """The directory at `path`; each link on the way is followed once for all paths."""
        if len(path) > _MAX_PATH:
            return None
        node = start
        for name in path.split(b"/"):
            child = self._step(node, name)
            if child is not None and child.entry.kind == SYMLINK:
                key = (id(node), name)
                if key not in self._links:
                    self._links[key] = self._follow(node, child)
                child = self._links[key]
            if child is None:
                return None
            node = child
        return node if node.children is not None else None

    def _follow(self, start: Node, link: Node) -> Node | None:
        """Where a link in the directory `start` leads, through at most `MAX_SYMLINKS` of them."""
        node = start
        pending: list[bytes] = []
        found: Node | None = link
        links = 0
        while True:
            if found is None:
                return None
            if found.entry.kind == SYMLINK:
                links += 1
                target = found.entry.link
                if links > MAX_SYMLINKS or len(target) > _MAX_PATH:
                    return None
                node = self.tree.root if target[:1] == b"/" else node
                pending += target.split(b"/")[::-1]
            else:
                node = found
            if not pending:
                return node
            found = self._step(node, pending.pop())

    def _step(self, node: Node, name: bytes) -> Node | None:
        if node.children is None or name in (b"", b"."):
            return node if node.children is not None else None
        if name == b"..":
            return self._by_path[self._paths[id(node)].rpartition(b"/")[0]]
        return node.children.get(name)


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
