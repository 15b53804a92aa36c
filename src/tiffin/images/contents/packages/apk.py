"""Alpine's database (apk-tools, "installed"): stanzas of lines "LETTER:value", with directories (F) and files (R)."""

from __future__ import annotations

from tiffin.images.contents.packages import APK, Package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiffin.images.contents.packages import Sources

_DATABASES = (b"lib/apk/db/installed", b"usr/lib/apk/db/installed", b"var/lib/apk/db/installed")
_MAX_BYTES = 256 << 20


def packages(sources: Sources) -> Iterator[Package]:
    """What is installed, from each of the places that the database had over the years."""
    seen = set()
    for path in _DATABASES:
        real = sources.files.real(path)
        data = sources.data(path, _MAX_BYTES) if real and real not in seen else None
        seen.add(real)
        for stanza in (data or b"").split(b"\n\n"):
            yield from _package(sources, stanza)


def _package(sources: Sources, stanza: bytes) -> Iterator[Package]:
    fields: dict[bytes, str] = {}
    paths: list[bytes] = []
    directory = b""
    for line in stanza.split(b"\n"):
        key, value = line[:2], line[2:].strip()
        if key == b"F:":
            directory = value
            paths.append(directory)
        elif key == b"R:":
            paths.append(directory + b"/" + value if directory else value)
        elif key not in fields:
            fields[key] = value.decode("utf-8", "replace")
    name = fields.get(b"P:")
    if not name:
        return
    version = fields.get(b"V:", "")
    yield Package(
        kind=APK,
        name=name,
        version=version,
        architecture=fields.get(b"A:", ""),
        source=fields.get(b"o:") or name,
        source_version=version,
        license=fields.get(b"L:", ""),
        summary=fields.get(b"T:", ""),
        supplier=fields.get(b"m:", ""),
        homepage=fields.get(b"U:", ""),
        files=sources.existing(paths),
    )
