"""dpkg's database (deb822(5), dpkg-query(1)): `status`, or a file for each package in `status.d` as images without
dpkg have it; lists of files in `info`; licences from copyright files in the machine-readable format 1.0.
"""

from __future__ import annotations

from tiffin.images.contents.packages import DEB, Package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.images.contents.packages import Sources

_DATABASE = b"var/lib/dpkg"
_MAX_STATUS = 128 << 20
_MAX_LIST = 32 << 20
_MAX_COPYRIGHT = 4 << 20
_ABSENT = ("not-installed", "config-files")
_COPYRIGHT_FORMAT = "www.debian.org/doc/packaging-manuals/copyright-format/1.0"

Paragraph = dict[str, str]


def packages(sources: Sources) -> Iterator[Package]:
    """What is installed, by the status files."""
    notes = _Notes(sources)
    text = sources.text(_DATABASE + b"/status", _MAX_STATUS)
    for paragraph in paragraphs(text or ""):
        yield from _package(sources, notes, paragraph, ())
    directory = _DATABASE + b"/status.d"
    for name in sources.files.names(directory):
        path = directory + b"/" + name
        if name.endswith(b".md5sums"):
            continue
        sums = path + b".md5sums"
        paths = [line.partition(b"  ")[2] for line in (sources.data(sums, _MAX_LIST) or b"").splitlines()]
        for paragraph in paragraphs(sources.text(path, _MAX_STATUS) or ""):
            yield from _package(sources, notes, paragraph, (*paths, path, sums))


def paragraphs(text: str) -> Iterator[Paragraph]:
    """The stanzas of a deb822 text. Names of fields in lower case; lines of a value keep their line ends."""
    fields: Paragraph = {}
    lines: list[str] = []
    name = ""

    def close() -> None:
        if name:
            fields.setdefault(name, "\n".join(lines))

    for line in text.split("\n"):
        if not line.strip():
            close()
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            lines.append(line.strip())
        elif line[0] != "#":
            close()
            key, colon, value = line.partition(":")
            name, lines = (key.strip().lower(), [value.strip()]) if colon else ("", [])
    close()
    if fields:
        yield fields


def _package(sources: Sources, notes: _Notes, fields: Paragraph, paths: tuple[bytes, ...]) -> Iterator[Package]:
    status = fields.get("status", "").split()
    name = fields.get("package", "")
    if not name or (status and status[-1] in _ABSENT):
        return
    architecture = fields.get("architecture", "")
    source, _, version = fields.get("source", "").partition(" (")
    files = sources.existing([*paths, *notes.files(name, architecture)])
    yield Package(
        kind=DEB,
        name=name,
        version=fields.get("version", ""),
        architecture=architecture,
        source=source.strip() or name,
        source_version=version.rstrip(")").strip() or fields.get("version", ""),
        license=_license(sources, name),
        summary=fields.get("description", "").partition("\n")[0],
        supplier=fields.get("maintainer", "").partition("\n")[0],
        homepage=fields.get("homepage", "").partition("\n")[0],
        files=files,
    )


class _Notes:
    """`info`, where the lists of files are, and the diversions that change these (dpkg-divert(1))."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._by_package: dict[bytes, list[bytes]] = {}
        for name in sources.files.names(_DATABASE + b"/info"):
            stem, dot, _ = name.rpartition(b".")
            if dot:
                self._by_package.setdefault(stem, []).append(_DATABASE + b"/info/" + name)
        lines = (sources.data(_DATABASE + b"/diversions", _MAX_LIST) or b"").splitlines()
        self._diverted = {
            lines[at]: (lines[at + 1], lines[at + 2]) for at in range(0, len(lines) - 2, 3)
        }  # path: (where others' file goes, whose own file it is)

    def files(self, name: str, architecture: str) -> Iterator[bytes]:
        """The paths of a package, and those of the notes on it."""
        package = name.encode("utf-8", "replace")
        for stem in (package, package + b":" + architecture.encode("utf-8", "replace")):
            for path in self._by_package.get(stem, ()):
                yield path
                if path.endswith(b".list"):
                    yield from self._listed(path, package)

    def _listed(self, path: bytes, package: bytes) -> Iterator[bytes]:
        for line in (self._sources.data(path, _MAX_LIST) or b"").splitlines():
            to, owner = self._diverted.get(line, (line, package))
            yield line if owner == package else to


def _license(sources: Sources, name: str) -> str:
    """The licences of a machine-readable copyright file, joined by "and", in its own short names; else empty."""
    text = sources.text(b"usr/share/doc/%s/copyright" % name.encode("utf-8", "replace"), _MAX_COPYRIGHT)
    if not text or _COPYRIGHT_FORMAT not in text[:1000]:
        return ""
    found: dict[str, None] = {}
    for number, fields in enumerate(paragraphs(text)):
        short = " ".join(fields.get("license", "").partition("\n")[0].split())
        # Stanzas without files only hold texts; the first one's licence is that of the package as a whole.
        if short and len(short) < 1000 and ("files" in fields or number == 0):
            found[short] = None
    several = len(found) > 1
    return " and ".join(f"({short})" if several and " " in short else short for short in found)
