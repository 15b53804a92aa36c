"""The tree of images as lines that fit the terminal, and as rows for --format."""

from __future__ import annotations

import os
import sys

from tiffin.cli import listing
from tiffin.cli.colour import BOLD, styled
from tiffin.cli.go_format import Fields
from tiffin.cli.table import aligned, ellipsis
from tiffin.cli.terminal import window_size
from tiffin.cli.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiffin.images.lineage.tree import TreeNode

_HEADINGS = {
    "Tree": "IMAGE",
    "ID": "IMAGE ID",
    "Adds": "ADDS",
    "Shared": "SHARED",
    "Frees": "FREES",
    "Names": "NAMES",
    "Parent": "PARENT",
    "Base": "BASE",
    "BaseDigest": "BASE DIGEST",
    "BaseID": "BASE ID",
    "BaseMoved": "BASE MOVED",
    "Depth": "DEPTH",
    "Layers": "LAYERS",
    "AddsBytes": "ADDS",
    "SharedBytes": "SHARED",
    "FreesBytes": "FREES",
}
_COLUMNS = ("Tree", "ID", "Adds", "Shared", "Frees")
_GIVEN_UP = ("ID", "Shared", "Adds")  # in that order, where there is no room
_LEAST_NAME, _GAP = 24, 2
_UNICODE = ("├── ", "└── ", "│   ", "    ")
_ASCII = ("|-- ", "`-- ", "|   ", "    ")


class Row(Fields):
    type_name = "image"


def show(nodes: Sequence[TreeNode], format: str | None, *, full: bool) -> None:
    """Print the tree, or a line for each of its images (parents first) as `format` asks."""
    rows = list(_rows(nodes, _UNICODE if _speaks_unicode() else _ASCII, full))
    if format:
        listing.show(format, [row for node, row in rows if node.image is not None], _HEADINGS, _COLUMNS)
    elif rows:
        _draw([row for _, row in rows])


def _draw(rows: list[Row]) -> None:
    columns, width = list(_COLUMNS), _width()
    room = None
    if width is not None:
        for given_up in ("", *_GIVEN_UP):
            if given_up:
                columns.remove(given_up)
            room = width - sum(_widest(rows, column) + _GAP for column in columns[1:])
            if room >= min(_LEAST_NAME, _widest(rows, "Tree")):
                break
        assert room is not None
        room = max(room, 8)
    cells = [[_HEADINGS[column] for column in columns]]
    for row in rows:
        name = str(row["Tree"])
        cells.append([name if room is None else _cut(name, room), *(str(row[column]) for column in columns[1:])])
    lines = [line.rstrip() for line in aligned(cells, minimum=0, space=_GAP)]
    print("\n".join([styled(lines[0], BOLD), *lines[1:]]))


def _cut(name: str, room: int) -> str:
    if _speaks_unicode():
        return ellipsis(name, room)
    return name if len(name) <= room else name[: room - 2] + ".."


def _widest(rows: list[Row], column: str) -> int:
    return max(len(_HEADINGS[column]), *(len(str(row[column])) for row in rows))


def _width() -> int | None:
    """Columns of the terminal that is written to; None when it is none."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    found = window_size(1)
    return found[1] if found else None


def _speaks_unicode() -> bool:
    """Whether the user's locale is UTF-8: Python makes of C one of its own, LC_CTYPE=C.UTF-8 (PEP 538)."""
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return False
    kind = os.environ.get("LC_CTYPE", "")
    named = os.environ.get("LC_ALL") or (kind if kind != "C.UTF-8" else "") or os.environ.get("LANG", "")
    return named.lower().replace("-", "").endswith("utf8") or ".utf8@" in named.lower().replace("-", "")


def _rows(nodes: Sequence[TreeNode], marks: Sequence[str], full: bool) -> Iterator[tuple[TreeNode, Row]]:
    """One per node; not by recursion, since a chain of bases may be long."""
    between, last, goes_on, nothing = marks
    stack = [(node, "", "", 0, "") for node in reversed(nodes)]
    while stack:
        node, mark, indent, depth, parent = stack.pop()
        yield node, _row(node, mark, depth, parent, full)
        below = node.image.id if node.image is not None else parent
        for place, child in enumerate(reversed(node.children)):
            own, further = (last, nothing) if place == 0 else (between, goes_on)
            stack.append((child, indent + own, indent + further, depth + 1, below))


def _row(node: TreeNode, mark: str, depth: int, parent: str, full: bool) -> Row:
    image, base = node.image, node.base
    cut: Callable[[str], str] = str if full else _short
    # Of a base that is not here the ID is known, or at least the digest.
    gone = (base.base_id or base.digest) if image is None and base is not None else ""
    return Row(
        Adds=size(node.adds_bytes) if node.layer_count or image is not None else "",
        AddsBytes=node.adds_bytes,
        Base=base.name if base is not None else "",
        BaseDigest=base.digest if base is not None else "",
        BaseID=base.base_id if base is not None else "",
        BaseMoved=node.moved,
        Depth=depth,
        Frees=size(node.frees_bytes) if image is not None else "",
        FreesBytes=node.frees_bytes,
        ID=cut(image.id if image is not None else gone),
        Layers=node.layer_count,
        Names=", ".join(image.names) if image is not None else "",
        Parent=cut(parent),
        Shared=size(node.shared_bytes) if image is not None else "",
        SharedBytes=node.shared_bytes,
        Tree=mark + _label(node),
    )


def _label(node: TreeNode) -> str:
    if node.image is None:
        if node.base is not None:
            return f"{node.base.name or '<none>'} (not here)"
        return "(1 layer)" if node.layer_count == 1 else f"({node.layer_count} layers)"
    name = ", ".join(node.image.names) or next(iter(node.image.digests), "<none>")
    return f"{name} (base moved)" if node.moved and node.image.names else name


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
