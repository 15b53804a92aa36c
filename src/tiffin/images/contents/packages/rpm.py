"""RPM's database: a header for each package (rpm.org, "RPM V4 file format"), in one of three kinds of files."""

from __future__ import annotations

from struct import iter_unpack, unpack_from

from tiffin.images.contents.packages import RPM, Damaged, Package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.images.contents.packages import Sources

_PLACES = (b"usr/lib/sysimage/rpm", b"var/lib/rpm", b"usr/share/rpm")

_NAME, _VERSION, _RELEASE, _EPOCH, _SUMMARY = 1000, 1001, 1002, 1003, 1004
_VENDOR, _LICENSE, _URL, _ARCH, _OLD_FILES, _SOURCE = 1011, 1014, 1020, 1022, 1027, 1044
_DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORY_NAMES = 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _TRANSLATED = 4, 6, 8, 9
_MAX_TAGS = 0xFFFF
_MAX_PATH = 4096
_KEY = "gpg-pubkey"  # keys are kept as if they were packages


def packages(sources: Sources) -> Iterator[Package]:
    """What is installed, from the first database of each place that the image has."""
    from tiffin.images.contents.packages import rpmdb

    seen = set()
    for place in _PLACES:
        real = sources.files.real(place + b"/.")
        if real is None or real in seen:
            continue
        seen.add(real)
        for name, reader in rpmdb.READERS.items():
            path = real + b"/" + name
            entry = sources.regular(path)
            if entry is None or not entry.size:
                continue
            try:
                for blob in reader(sources.files, path, entry):
                    yield from _guarded(sources, path, blob)
            except Damaged as error:
                sources.warn(path, error)
            break


def _guarded(sources: Sources, path: bytes, blob: bytes) -> Iterator[Package]:
    try:
        package = _package(sources, Header(blob))
    except Damaged as error:
        sources.warn(path, f"one of its packages: {error}")
        return
    if package.name != _KEY:
        yield package


class Header:
    """A header: numbers of tags with their values. Raises `Damaged`.

    Two big-endian counts, of tags and of bytes; for each tag its number, type, offset and count; then the bytes.
    """

    def __init__(self, blob: bytes) -> None:
        if len(blob) < 8:
            raise Damaged("its header is too short")
        count, size = unpack_from(">II", blob)
        if count > _MAX_TAGS or 8 + 16 * count + size > len(blob):
            raise Damaged("its header is longer than its record")
        self._data = blob[8 + 16 * count : 8 + 16 * count + size]
        self._tags = {tag: rest for tag, *rest in iter_unpack(">IIII", blob[8 : 8 + 16 * count])}

    def text(self, tag: int) -> str:
        """A string; of translations the first, which is not translated. Empty without the tag."""
        values = self.strings(tag, 1)
        return values[0].decode("utf-8", "replace") if values else ""

    def strings(self, tag: int, most: int | None = None) -> list[bytes]:
        """An array of strings, or one string as an array of one."""
        kind, offset, count = self._tags.get(tag, (0, 0, 0))
        if kind not in (_STRING, _STRINGS, _TRANSLATED):
            return []
        count = 1 if kind == _STRING else count
        if most is not None:
            count = min(count, most)
        if count > len(self._data) - offset:
            raise Damaged(f"its tag {tag} has more strings than bytes")
        found = []
        for _ in range(count):
            end = self._data.find(b"\0", offset)
            if end < 0:
                raise Damaged(f"its tag {tag} does not end")
            found.append(self._data[offset:end])
            offset = end + 1
        return found

    def numbers(self, tag: int) -> tuple[int, ...]:
        """An array of 32-bit numbers."""
        kind, offset, count = self._tags.get(tag, (0, 0, 0))
        if kind != _INT32:
            return ()
        if offset + 4 * count > len(self._data):
            raise Damaged(f"its tag {tag} is longer than its data")
        return unpack_from(f">{count}I", self._data, offset)

    def paths(self) -> Iterator[bytes]:
        """The package's files: since RPM 4 as base names with the numbers of their directories' names."""
        yield from self.strings(_OLD_FILES)
        directories = self.strings(_DIRECTORY_NAMES)
        for name, number in zip(self.strings(_BASE_NAMES), self.numbers(_DIRECTORY_INDEXES), strict=False):
            if number >= len(directories):
                raise Damaged("a file of it is in a directory that it does not have")
            if len(name) + len(directories[number]) <= _MAX_PATH:
                yield directories[number] + name


def _package(sources: Sources, header: Header) -> Package:
    epoch = header.numbers(_EPOCH)
    release = header.text(_RELEASE)
    version = header.text(_VERSION) + (f"-{release}" if release else "")
    source, source_version = _source(header.text(_SOURCE))
    name = header.text(_NAME)
    return Package(
        kind=RPM,
        name=name,
        version=f"{epoch[0]}:{version}" if epoch else version,
        architecture=header.text(_ARCH),
        source=source or name,
        source_version=source_version or version,
        license=header.text(_LICENSE),
        summary=header.text(_SUMMARY),
        supplier=header.text(_VENDOR),
        homepage=header.text(_URL),
        files=sources.existing(header.paths()),
    )


def _source(file: str) -> tuple[str, str]:
    """Name and version of "bash-5.2.26-3.fc40.src.rpm"."""
    stem = file.removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc")
    rest, _, release = stem.rpartition("-")
    name, _, version = rest.rpartition("-")
    return (name, f"{version}-{release}") if name else ("", "")
