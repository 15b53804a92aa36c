"""Writing tar streams: ustar headers, pax records where those are too small (POSIX.1-2001 pax, "ustar Interchange")."""

from __future__ import annotations

from tiffin.storage.contents import CHUNK_BYTES
from tiffin.storage.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    OPAQUE,
    REGULAR,
    SYMLINK,
    WHITEOUT,
    Entry,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiffin.storage.contents import Content, Item

_TYPES = {
    REGULAR: b"0", HARDLINK: b"1", SYMLINK: b"2", CHARACTER: b"3", BLOCK: b"4", DIRECTORY: b"5", FIFO: b"6",
    WHITEOUT: b"0", OPAQUE: b"0",
}  # fmt: skip
END = bytes(1024)


def tar_stream(items: Iterable[Item], *, exact: bool = False) -> Iterator[bytes]:
    """The items as a tar stream. Whiteouts and opaque marks become `.wh.` files (OCI image spec, layer.md).

    `exact` keeps holes and nanoseconds (GNU tar's sparse format 1.0, pax times), which not every tar can read.
    """
    for entry, content in items:
        sparse = content is not None and exact and entry.sparse
        if content is None:
            yield _headers(entry, 0, exact, b"")
        elif sparse:
            yield from _sparse(entry, content)
        else:
            yield _headers(entry, entry.size, exact, b"")
            yield from _data(content, entry.size)
    yield END


def _data(content: Content, size: int) -> Iterator[bytes]:
    at = 0
    for offset, length in content.segments:
        yield from _zeros(offset - at)
        yield from _run(content, length)
        at = offset + length
    yield from _zeros(size - at)
    if size % 512:
        yield bytes(-size % 512)


def _run(content: Content, length: int) -> Iterator[bytes]:
    while length and (data := content.read(min(length, CHUNK_BYTES))):
        length -= len(data)
        yield data


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        step = min(count, CHUNK_BYTES)
        yield bytes(step)
        count -= step


def _sparse(entry: Entry, content: Content) -> Iterator[bytes]:
    segments = content.segments
    text = b"%d\n" % len(segments) + b"".join(b"%d\n%d\n" % segment for segment in segments)
    text += bytes(-len(text) % 512)
    stored = sum(length for _, length in segments)
    extra = b"".join((
        _record(b"GNU.sparse.major", b"1"), _record(b"GNU.sparse.minor", b"0"),
        _record(b"GNU.sparse.name", _name(entry)), _record(b"GNU.sparse.realsize", b"%d" % entry.size),
    ))  # fmt: skip
    yield _headers(entry, len(text) + stored, True, extra)
    yield text
    for _, length in segments:
        yield from _run(content, length)
    yield bytes(-stored % 512)


def _name(entry: Entry) -> bytes:
    path = entry.path
    if entry.kind == DIRECTORY:
        return path + b"/" if path else b"./"
    if entry.kind == OPAQUE:
        return path + b"/.wh..wh..opq" if path else b".wh..wh..opq"
    if entry.kind == WHITEOUT:
        parent, slash, base = path.rpartition(b"/")
        return parent + slash + b".wh." + base
    return path


def _headers(entry: Entry, size: int, exact: bool, records: bytes) -> bytes:
    name = _name(entry)
    link = entry.link if entry.kind in (HARDLINK, SYMLINK) else b""
    if len(name) > 100:
        records += _record(b"path", name)
    if len(link) > 100:
        records += _record(b"linkpath", link)
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if value >= 1 << 21:
            records += _record(key, b"%d" % value)
    if size >= 1 << 33:
        records += _record(b"size", b"%d" % size)
    seconds = entry.mtime_s
    if (exact and entry.mtime_ns) or not 0 <= seconds < 1 << 33:
        records += _record(b"mtime", _time(seconds, entry.mtime_ns if exact else 0))
    for xattr, content in entry.xattrs if entry.kind not in (HARDLINK, WHITEOUT, OPAQUE) else ():
        records += _record(b"SCHILY.xattr." + xattr, content)
    block = _block(name[:100], entry.mode, entry.uid, entry.gid, size, seconds, _TYPES[entry.kind], link[:100],
                   entry.major, entry.minor)  # fmt: skip
    if not records:
        return block
    before = _block(b"PaxHeaders/" + name[-80:].strip(b"/"), 0o644, 0, 0, len(records), 0, b"x", b"", 0, 0)
    return before + records + bytes(-len(records) % 512) + block


def _block(
    name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, link: bytes, major: int, minor: int
) -> bytes:
    head = name.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0" % (
        mode, uid if uid < 1 << 21 else 0, gid if gid < 1 << 21 else 0,
    ) + b"%011o\0%011o\0" % (size if size < 1 << 33 else 0, mtime if 0 <= mtime < 1 << 33 else 0)  # fmt: skip
    tail = kind + link.ljust(100, b"\0") + b"ustar\x0000" + bytes(64) + b"%07o\0%07o\0" % (major, minor) + bytes(167)
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 256) + tail


def _record(key: bytes, value: bytes) -> bytes:
    body = len(key) + len(value) + 3
    length = body + len(str(body))
    if length - body != len(str(length)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _time(seconds: int, nanoseconds: int) -> bytes:
    if not nanoseconds:
        return b"%d" % seconds
    if seconds < 0:
        return b"-%d.%09d" % (-seconds - 1, 1_000_000_000 - nanoseconds)
    return b"%d.%09d" % (seconds, nanoseconds)


class Streamed:
    """Chunks as a file that can be read to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def read(self, size: int = -1) -> bytes:
        parts = [self._held]
        have = len(self._held)
        while (size < 0 or have < size) and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        joined = b"".join(parts)
        if size < 0:
            self._held = b""
            return joined
        self._held = joined[size:]
        return joined[:size]
