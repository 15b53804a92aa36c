"""The file system that a stack of layers makes, as metadata in memory.

The rules are those of the OCI image spec (layer.md) and of what overlay shows of unpacked layers; docs/STORAGE.md
lists them. A layer cannot reach outside of the tree: names were cleaned when it was read, symlinks are resolved here.
"""

from __future__ import annotations

from tiffin.errors import InvalidImageError
from tiffin.storage.entry import (
    CHARACTER,
    DIRECTORY,
    HARDLINK,
    OPAQUE,
    REGULAR,
    SYMLINK,
    WHITEOUT,
    Entry,
    shown,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_SYMLINKS = 40


class Node:
    """One inode. `children` is None but for directories; `names` counts the names that lead to it."""

    __slots__ = ("children", "entry", "layer", "names")

    def __init__(self, entry: Entry, layer: int) -> None:
        self.entry = entry
        self.layer = layer
        self.names = 1
        self.children: dict[bytes, Node] | None = {} if entry.kind == DIRECTORY else None


class Tree:
    """A whole file system. `root` is a directory; `lookup` and `walk` find the rest."""

    def __init__(self) -> None:
        self.root = Node(_implicit(b""), -1)

    def lookup(self, path: str | bytes, *, follow: bool = True) -> Node | None:
        """The inode at `path`, symlinks resolved inside the tree; the last one only if `follow`. None if missing."""
        raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
        pending = [part for part in reversed(raw.split(b"/")) if part not in (b"", b".")]
        trail = [self.root]
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            children = trail[-1].children
            node = children.get(name) if children is not None else None
            if node is None:
                return None
            if node.entry.kind == SYMLINK and (pending or follow):
                links += 1
                if links > MAX_SYMLINKS:
                    return None
                if node.entry.link[:1] == b"/":
                    del trail[1:]
                pending += [part for part in reversed(node.entry.link.split(b"/")) if part not in (b"", b".")]
                continue
            trail.append(node)
        return trail[-1]

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """Every (path, inode), parents before children, in the order of their bytes; the root is b""."""
        stack = [(b"", self.root)]
        while stack:
            path, node = stack.pop()
            yield path, node
            if node.children:
                prefix = path + b"/" if path else b""
                stack += [(prefix + name, node.children[name]) for name in sorted(node.children, reverse=True)]

    def file_bytes(self) -> int:
        """Sum of the regular files' sizes, each inode once."""
        seen: set[int] = set()
        total = 0
        for _, node in self.walk():
            if node.entry.kind == REGULAR and (node.names == 1 or id(node) not in seen):
                seen.add(id(node))
                total += node.entry.size
        return total


def flatten(layers: Iterable[Sequence[Entry]]) -> Tree:
    """Apply layers, base first. Raises `InvalidImageError` for a hard link to nothing or to a directory."""
    tree = Tree()
    for number, entries in enumerate(layers):
        _Application(tree, number).apply(entries)
    _count_names(tree)
    return tree


def _implicit(path: bytes) -> Entry:
    return Entry(path, DIRECTORY, 0o755, 0, 0, 0, 0)


class _Application:
    """One layer being applied."""

    def __init__(self, tree: Tree, number: int) -> None:
        self._tree = tree
        self._number = number
        self._directories: dict[bytes, dict[bytes, Node]] = {}  # by path, as this layer's names reach them

    def apply(self, entries: Sequence[Entry]) -> None:
        # A layer's whiteouts hide what is below it, never what it brings itself, wherever they stand in the tar.
        for entry in entries:
            if entry.kind == WHITEOUT or (entry.kind == CHARACTER and not entry.major and not entry.minor):
                self._remove(entry.path)
            elif entry.kind == OPAQUE:
                node = self._below(entry.path)
                if node is not None and node.children is not None:
                    node.children.clear()
        number = self._number
        directories = self._directories
        has_aufs = False
        for entry in entries:
            kind = entry.kind
            if kind >= WHITEOUT:
                if kind == OPAQUE:
                    self._directory(entry.path)
                continue
            path = entry.path
            parent, _, name = path.rpartition(b"/")
            children = directories.get(parent)
            if children is None:
                children = self._directory(parent)
            old = children.get(name)
            if kind == DIRECTORY:
                if not path:
                    self._tree.root.entry = entry
                elif old is not None and old.children is not None:
                    old.entry = entry
                    old.layer = number
                else:
                    if old is not None:
                        directories.clear()
                    node = children[name] = Node(entry, number)
                    directories[path] = node.children  # type: ignore[assignment]
                continue
            if kind == HARDLINK:
                children[name] = self._link_target(entry)
            elif kind == CHARACTER and not entry.major and not entry.minor:
                children.pop(name, None)  # overlay's own whiteout, as engines that tar an upper directory leave it
            else:
                children[name] = Node(entry, number)
            if old is not None:
                directories.clear()
            if name[:8] == b".wh..wh.":
                has_aufs = True
        if has_aufs or b".wh..wh.plnk" in (self._tree.root.children or ()):
            self._drop_aufs()

    def _below(self, path: bytes) -> Node | None:
        """What the layers so far have at `path`, without following symlinks."""
        node = self._tree.root
        for name in path.split(b"/") if path else ():
            child = node.children.get(name) if node.children is not None else None
            if child is None:
                return None
            node = child
        return node

    def _remove(self, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        node = self._below(parent)
        if node is not None and node.children is not None:
            node.children.pop(name, None)

    def _directory(self, path: bytes) -> dict[bytes, Node]:
        """The children of the directory `path`, which is made where it is missing or something else.

        A symlink that this very layer brought is followed when it leads to a directory, as unpacking would; one of
        a layer below is covered by a new directory, as overlay would.
        """
        known = self._directories.get(path)
        if known is not None:
            return known
        if not path:
            children = self._tree.root.children
        else:
            parent, _, name = path.rpartition(b"/")
            siblings = self._directory(parent)
            node = siblings.get(name)
            if node is not None and node.entry.kind == SYMLINK and node.layer == self._number:
                node = self._tree.lookup(path)
            if node is None or node.children is None:
                node = siblings[name] = Node(_implicit(path), self._number)
            children = node.children
        assert children is not None
        self._directories[path] = children
        return children

    def _link_target(self, entry: Entry) -> Node:
        parent, _, name = entry.link.rpartition(b"/")
        above = self._tree.lookup(parent)
        node = above.children.get(name) if above is not None and above.children is not None else None
        if not entry.link or (node is not None and node.children is not None):
            raise InvalidImageError(f"the hard link {shown(entry.path)} leads to the directory {shown(entry.link)}")
        if node is None:
            raise InvalidImageError(f"the hard link {shown(entry.path)} leads to the missing file {shown(entry.link)}")
        return node

    def _drop_aufs(self) -> None:
        """AUFS's own files, `.wh..wh.*`, served at most as hard-link targets."""
        for _, node in list(self._tree.walk()):
            if node.children:
                for name in [name for name in node.children if name[:8] == b".wh..wh."]:
                    del node.children[name]


def _count_names(tree: Tree) -> None:
    stack = [tree.root]
    seen: dict[int, Node] = {}
    while stack:
        node = stack.pop()
        for child in node.children.values():  # type: ignore[union-attr]
            if child.children is not None:
                stack.append(child)
            elif id(child) in seen:
                child.names += 1
            else:
                seen[id(child)] = child
                child.names = 1
