"""`image tree`: all images by what they rest on, with what each one adds, shares and would free."""

from __future__ import annotations

from tiffin.errors import NotFoundError, UsageError
from tiffin.images.host import is_host_id
from tiffin.images.lineage.bases import Lineage
from tiffin.images.lineage.outdated import moved_here
from tiffin.model.record import Record
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.state.blobs import Base


class TreeNode(Record):
    """An image and what rests on it.

    Without an image it is what several have in common: `layer_count` layers that no image here has by themselves, or,
    with a `base`, one that is only recorded. Of an image `base` is what it was made upon. Sizes are bytes on disk of
    files' contents: `adds_bytes` of those that the node above does not have, `shared_bytes` of those that any other
    image has as well. `frees_bytes` is all that goes with the image alone: contents, layers and what was prepared for
    mounting.
    `moved` tells that the name of its recorded base means another image by now.
    """

    image: Image | None
    layer_count: int
    base: Base | None = None
    moved: bool = False
    adds_bytes: int = 0
    shared_bytes: int = 0
    frees_bytes: int = 0
    children: tuple[TreeNode, ...] = ()


def tree(store: ImageStore, references: Sequence[str] = ()) -> list[TreeNode]:
    """The roots; with `references` only those images, what they rest on and what rests on them. Raises as `get`."""
    store.finish()
    wanted = set()
    for reference in references:
        image = store.get(reference)
        if is_host_id(image.id):
            raise UsageError("the image 'host' is in no tree: it has no layers, it is the host itself")
        wanted.add(image.id)
    return _Grown(store).roots(wanted)


def walk(nodes: Iterable[TreeNode], depth: int = 0) -> Iterator[tuple[int, TreeNode]]:
    """Every node with its depth, a node before what rests on it."""
    stack = [(depth, node) for node in reversed(tuple(nodes))]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        stack += [(depth + 1, child) for child in reversed(node.children)]


class _Branch:
    """A node while the tree grows."""

    def __init__(self, image: Image | None, layers: tuple[str, ...], base: Base | None = None) -> None:
        self.image = image
        self.layers = layers
        self.base = base
        self.below: list[_Branch] = []


class _Grown:
    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._lineage = Lineage(store)
        self._names = records.all_names(store.database)
        self._contents = _Contents(store, self._lineage.images)

    def roots(self, wanted: set[str]) -> list[TreeNode]:
        lineage = self._lineage
        branches = {image.id: _Branch(image, image.layers) for image in lineage.images}
        missing: dict[tuple[str, str, tuple[str, ...]], _Branch] = {}
        top: list[_Branch] = []
        for image in lineage.images:
            branch = branches[image.id]
            parent = lineage.parent(image)
            if parent is not None:
                branches[parent.id].below.append(branch)
                continue
            gone = self._missing(image)
            if gone is None:
                top.append(branch)
                continue
            layers = image.layers[: gone.layer_count]
            key = gone.name, gone.base_id or gone.digest, layers
            if key not in missing:
                missing[key] = _Branch(None, layers, gone)
                top.append(missing[key])
            missing[key].below.append(branch)
        for branch in (*branches.values(), *missing.values()):
            branch.below = _grouped(branch.below, branch.layers)
        return self._finished(_grouped(top, ()), wanted)

    def _finished(self, roots: list[_Branch], wanted: set[str]) -> list[TreeNode]:
        """The branches as nodes: what leads to the `wanted` images (all, if none are) and what rests on those."""
        order: list[tuple[_Branch, _Branch | None]] = []
        pending: list[tuple[_Branch, _Branch | None]] = [(root, None) for root in roots]
        kept: set[int] = set()
        while pending:  # not by recursion: a chain of bases may be long
            branch, above = pending.pop()
            order.append((branch, above))
            pending += [(child, branch) for child in branch.below]
            image = branch.image
            if not wanted or (image is not None and image.id in wanted) or id(above) in kept:
                kept.add(id(branch))
        done: dict[int, TreeNode] = {}
        for branch, above in reversed(order):
            children = [done[id(child)] for child in branch.below if id(child) in done]
            if children or id(branch) in kept:
                done[id(branch)] = self._node(branch, above, tuple(sorted(children, key=_order)))
        return sorted((done[id(root)] for root in roots if id(root) in done), key=_order)

    def _missing(self, image: Image) -> Base | None:
        """The base that is recorded, where it is not here."""
        base = self._lineage.bases.get(image.id)
        if base is None or self._lineage.recorded(image) is not None or base.base_id == image.id:
            return None
        return base if base.name or base.digest or base.base_id else None

    def _node(self, branch: _Branch, above: _Branch | None, children: tuple[TreeNode, ...]) -> TreeNode:
        contents = self._contents
        image = branch.image
        base = self._lineage.bases.get(image.id) if image is not None else branch.base
        mine = contents.of(branch.layers)
        return TreeNode(
            image=image,
            layer_count=len(branch.layers),
            base=base,
            moved=image is not None and base is not None and moved_here(image, base, self._names, self._lineage),
            adds_bytes=contents.size(mine - contents.of(above.layers) if above is not None else mine),
            shared_bytes=contents.shared(mine) if image is not None else 0,
            frees_bytes=contents.freed(image, mine) if image is not None else 0,
            children=children,
        )


def _order(node: TreeNode) -> tuple[str, int, str]:
    """By name; images without one last, older ones first."""
    image = node.image
    if image is None:
        if node.base is None:
            return _order(node.children[0])
        return node.base.name or "~", 0, node.base.base_id or node.base.digest
    name = image.names[0] if image.names else image.digests[0] if image.digests else ""
    return name or "~", image.created_ns, image.id


def _grouped(branches: list[_Branch], above: tuple[str, ...]) -> list[_Branch]:
    """`branches`, all below something with the layers `above`: those that begin alike further on get a node between."""
    groups: dict[str, list[_Branch]] = {}
    alone: list[_Branch] = []
    depth = len(above)
    for branch in branches:
        if branch.image is None or len(branch.layers) <= depth or branch.layers[:depth] != above:
            alone.append(branch)
        else:
            groups.setdefault(branch.layers[depth], []).append(branch)
    for group in groups.values():
        common = _common([branch.layers for branch in group])
        if len(group) == 1 or any(branch.layers == common for branch in group):
            alone += group
            continue
        between = _Branch(None, common)
        between.below = _grouped(group, common)
        alone.append(between)
    return alone


def _common(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shortest, longest = min(lists), max(lists)
    count = 0
    while count < len(shortest) and count < len(longest) and shortest[count] == longest[count]:
        count += 1
    return shortest[:count]


class _Contents:
    """Which objects images and layers need, who else does, and the disk that they take."""

    def __init__(self, store: ImageStore, images: Sequence[Image]) -> None:
        self._store = store
        self._of_layer: dict[str, frozenset[str]] = {}
        self._sizes: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._layer_users: dict[str, int] = {}
        for image in images:
            self._count(self.of(image.layers))
            for diff_id in set(image.layers):
                self._layer_users[diff_id] = self._layer_users.get(diff_id, 0) + 1
        # What a cut-off pull has left keeps its contents, too, until the next prune.
        for diff_id in store.layers:
            if diff_id not in self._layer_users:
                try:
                    self._count(self.of((diff_id,)))
                except NotFoundError:
                    continue  # gone since

    def _count(self, objects: frozenset[str]) -> None:
        for digest in objects:
            self._users[digest] = self._users.get(digest, 0) + 1

    def of(self, layers: tuple[str, ...]) -> frozenset[str]:
        for diff_id in layers:
            if diff_id not in self._of_layer:
                self._of_layer[diff_id] = frozenset(self._store.layers.objects_of(diff_id))
        return frozenset().union(*(self._of_layer[diff_id] for diff_id in layers))

    def size(self, objects: Iterable[str]) -> int:
        import os

        total = 0
        for digest in objects:
            size = self._sizes.get(digest)
            if size is None:
                try:
                    size = os.stat(self._store.layers.objects.path(digest)).st_blocks * 512
                except FileNotFoundError:
                    size = 0  # `system check` tells
                self._sizes[digest] = size
            total += size
        return total

    def shared(self, objects: frozenset[str]) -> int:
        return self.size(digest for digest in objects if self._users[digest] > 1)

    def freed(self, image: Image, objects: frozenset[str]) -> int:
        from tiffin.storage.removal import tree_usage

        layers = [diff_id for diff_id in set(image.layers) if self._layer_users[diff_id] == 1]
        return (
            self.size(digest for digest in objects if self._users[digest] == 1)
            + sum(self._store.layers.size_on_disk(diff_id) for diff_id in layers)
            + tree_usage(f"{self._store.paths.images}/{image.id.removeprefix('sha256:')}")[0]
        )
