"""Python's installed distributions (packaging.python.org, "Recording installed projects", "Core metadata"):
NAME.dist-info and the older NAME.egg-info, in any directory called site-packages or dist-packages.
"""

from __future__ import annotations

import posixpath

from tiffin.images.contents.packages import PYPI, Damaged, Package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.images.contents.packages import Sources
    from tiffin.storage.tree import Node

_PLACES = (b"site-packages", b"dist-packages")
_MAX_METADATA = 8 << 20
_MAX_RECORD = 64 << 20
_MAX_CLASSIFIERS = 20
_LICENSE_CLASSIFIER = "License :: OSI Approved :: "


def packages(sources: Sources) -> Iterator[Package]:
    """What is installed, wherever an interpreter would find it."""
    for path, node in sources.files.tree.walk():
        if path.rpartition(b"/")[2] not in _PLACES or not node.children:
            continue
        for name in sorted(node.children):
            if name.endswith((b".dist-info", b".egg-info")):
                try:
                    yield from _distribution(sources, path, name, node.children[name])
                except Damaged as error:
                    sources.warn(path + b"/" + name, error)


def _distribution(sources: Sources, place: bytes, name: bytes, node: Node) -> Iterator[Package]:
    directory = place + b"/" + name
    paths = [directory]
    if node.children is None:  # an .egg-info may be the metadata itself
        metadata = directory
    else:
        metadata = directory + (b"/METADATA" if name.endswith(b".dist-info") else b"/PKG-INFO")
        paths += [directory + b"/" + child for child in node.children]
    text = sources.text(metadata, _MAX_METADATA)
    if text is None:
        return
    fields = headers(text)
    project = " ".join(fields.get("name", [""])[0].split())
    if not project:
        raise Damaged("its metadata has no name")
    paths += _recorded(sources, place, directory)
    yield Package(
        kind=PYPI,
        name=project,
        version=fields.get("version", [""])[0].strip(),
        source=project,
        license=_license(fields),
        summary=fields.get("summary", [""])[0].partition("\n")[0].strip(),
        supplier=(fields.get("author-email") or fields.get("author") or [""])[0].partition("\n")[0].strip(),
        homepage=fields.get("home-page", [""])[0].partition("\n")[0].strip(),
        files=sources.existing(paths),
    )


def headers(text: str) -> dict[str, list[str]]:
    """The headers of an e-mail-like text (RFC 822) up to the first empty line, names in lower case."""
    found: dict[str, list[str]] = {}
    last: list[str] | None = None
    for line in text.split("\n"):
        if not line.strip():
            break
        if line[0] in " \t":
            if last is not None and len(last[-1]) < 10_000:
                last[-1] += "\n" + line.strip()
            continue
        key, colon, value = line.partition(":")
        last = found.setdefault(key.strip().lower(), []) if colon else None
        if last is not None:
            last.append(value.strip())
    return found


def _recorded(sources: Sources, place: bytes, directory: bytes) -> Iterator[bytes]:
    """Paths from RECORD, which are relative to `place`, or from installed-files.txt, relative to `directory`."""
    import csv

    text = sources.data(directory + b"/RECORD", _MAX_RECORD)
    if text is not None:
        rows = csv.reader(text.decode("utf-8", "surrogateescape").split("\n"))
        try:
            for row in rows:
                if row and row[0]:
                    yield posixpath.normpath(posixpath.join(place, row[0].encode("utf-8", "surrogateescape")))
        except (csv.Error, UnicodeError) as error:
            raise Damaged(f"its RECORD makes no sense in line {rows.line_num}: {error}") from None
        return
    for line in (sources.data(directory + b"/installed-files.txt", _MAX_RECORD) or b"").splitlines():
        if line:
            yield posixpath.normpath(posixpath.join(directory, line))


def _license(fields: dict[str, list[str]]) -> str:
    """The SPDX expression where there is one, else a short text of `License`, else the classifiers' names."""
    for key in ("license-expression", "license"):
        text = fields.get(key, [""])[0]
        if text and "\n" not in text and len(text) < 100 and text.upper() != "UNKNOWN":
            return text
    names = [
        _abbreviation(line.removeprefix(_LICENSE_CLASSIFIER))
        for line in fields.get("classifier", ())[:1000]
        if line.startswith(_LICENSE_CLASSIFIER)
    ]
    return " and ".join(names[:_MAX_CLASSIFIERS])


def _abbreviation(name: str) -> str:
    """ "GPLv3+" of "GNU General Public License v3 or later (GPLv3+)"."""
    _, open_, inside = name.partition("(")
    return inside.rstrip(") ") if open_ and inside.strip(") ") else name
