"""`image split`: an image's files in layers by package, so that images with the same packages have the same layers.

The first layer has the files of no package, the last one every directory and symbolic link as the image has it. Those
between hold a package or a group of packages each: their files, and the directories these lie in without times. What
is made when a package is installed, such as links and times of directories, tells images apart that have the same
package, so it is in the last layer alone. What all layers add up to is what the image was.
"""

from __future__ import annotations

import os

from tiffin.errors import ConflictError, UsageError
from tiffin.images.lineage.flatten import add_with_layers, flattened, ingest_items, items, refuse_host
from tiffin.images.store import tag_keys
from tiffin.storage.entry import DIRECTORY, REGULAR, SYMLINK, Entry
from tiffin.storage.tree import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiffin.images.contents.packages import Package
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.layers import IngestedLayer
    from tiffin.storage.tree import Tree

    Leaf = tuple[bytes, Node]

# dpkg writes down there when it installed what: these files are no part of a package that two images can share.
_NOTES = b"var/lib/dpkg/"
_LAST = (DIRECTORY, SYMLINK)
LEAST_LAYERS, MOST_LAYERS = 3, 127
DEFAULT_LAYERS = 20


def split_image(
    store: ImageStore,
    reference: str,
    name: str = "",
    *,
    layers: int = DEFAULT_LAYERS,
    progress: Callable[[int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Image:
    """A new image of at most so many `layers`: the biggest packages have one each, the others share one.

    ConflictError when the image has no packages, UsageError for too few or too many layers, NotFoundError.
    """
    from tiffin.images.contents.packages import packages_of

    if not LEAST_LAYERS <= layers <= MOST_LAYERS:
        raise UsageError(f"an image can be split into {LEAST_LAYERS} to {MOST_LAYERS} layers, not {layers}")
    image = store.get(reference)
    refuse_host(image, "split")
    names = tag_keys([name] if name else [])
    with store.adding():
        packages = packages_of(store, image, warn=warn)
        if not packages:
            raise ConflictError(
                f"cannot split {reference}: no packages were found in it",
                hint="the databases of dpkg, apk, rpm and Python packages are looked for",
            )
        tree = flattened(store, image)
        written = _Written(store, tree, progress)
        made = []
        for number, (title, leaves) in enumerate(_groups(tree, packages, layers - 1)):
            made.append((written.layer(leaves, timed=not number), title))
        made.append((written.last(), "directories and links"))
        steps = [(layer, {"created_by": "tiffin image split", "comment": title}) for layer, title in made]
        new = add_with_layers(store, image, steps, names)
    for key in names:
        store.tell("tag", new, key)
    return new


def _groups(tree: Tree, packages: Sequence[Package], most: int) -> list[tuple[str, list[Leaf]]]:
    """Titles and files of the layers but the last: those of no package, then at most `most - 1` of packages."""
    owners = _owners(tree, packages)
    base: list[Leaf] = []
    of_package: dict[int, list[Leaf]] = {}
    for path, node in tree.walk():
        if node.entry.kind not in _LAST:
            owner = owners.get(id(node))
            (base if owner is None else of_package.setdefault(owner, [])).append((path, node))
    sizes = {owner: _size(leaves) for owner, leaves in of_package.items()}
    ordered = sorted(of_package, key=lambda owner: (-sizes[owner], owner))
    alone = ordered if len(ordered) < most else ordered[: most - 2]
    rest = ordered[len(alone) :]
    groups = [("files of no package", base)]
    groups += [(_title(packages[owner]), of_package[owner]) for owner in alone]
    if rest:
        together = sorted((leaf for owner in rest for leaf in of_package[owner]), key=lambda leaf: leaf[0])
        groups.append((_title(packages[rest[0]]) if len(rest) == 1 else f"{len(rest)} packages", together))
    return groups


def _owners(tree: Tree, packages: Sequence[Package]) -> dict[int, int]:
    """Inodes to packages, by their places in `packages`; what several packages have names of belongs to none."""
    by_path: dict[bytes, int] = {}
    for number, package in enumerate(packages):
        for path in map(os.fsencode, package.files):
            if not path.startswith(_NOTES):
                by_path.setdefault(path, number)
    owners: dict[int, int] = {}
    disputed: set[int] = set()
    for path, node in tree.walk():
        if node.entry.kind in _LAST:
            continue
        owner = by_path.get(path)
        if owner is None or owners.setdefault(id(node), owner) != owner:
            disputed.add(id(node))
    return {node: owner for node, owner in owners.items() if node not in disputed}


def _size(leaves: list[Leaf]) -> int:
    """Bytes of the files, each inode once."""
    return sum({id(node): node.entry.size for _, node in leaves if node.entry.kind == REGULAR}.values())


def _title(package: Package) -> str:
    return f"{package.kind} {package.name} {package.version}"


class _Written:
    """The layers as they are made, one after the other."""

    def __init__(self, store: ImageStore, tree: Tree, progress: Callable[[int], None] | None) -> None:
        self._store = store
        self._tree = tree
        self._progress = progress
        self._bytes = 0
        self._directories = {path: node for path, node in tree.walk() if node.entry.kind == DIRECTORY}

    def layer(self, leaves: list[Leaf], *, timed: bool) -> IngestedLayer:
        found: dict[bytes, Node] = {}
        for path, node in leaves:
            parent = path.rpartition(b"/")[0]
            while parent and parent not in found:
                found[parent] = self._directory(parent, timed)
                parent = parent.rpartition(b"/")[0]
            found[path] = node
        return self._ingest(iter(sorted(found.items(), key=_place)))

    def last(self) -> IngestedLayer:
        return self._ingest(leaf for leaf in self._tree.walk() if leaf[1].entry.kind in _LAST)

    def _directory(self, path: bytes, timed: bool) -> Node:
        node = self._directories[path]
        if timed:
            return node
        of = node.entry
        return Node(Entry(path, DIRECTORY, of.mode, of.uid, of.gid, 0, 0, xattrs=of.xattrs), 0)

    def _ingest(self, found: Iterator[Leaf]) -> IngestedLayer:
        before = self._bytes

        def told(count: int) -> None:
            self._bytes = before + count
            if self._progress is not None:
                self._progress(self._bytes)

        return ingest_items(self._store, items(self._store.layers.objects, found), told)


def _place(leaf: Leaf) -> list[bytes]:
    """The order of `Tree.walk`: parents first, and what is in a directory together."""
    return leaf[0].split(b"/")
