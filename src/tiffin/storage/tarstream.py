"""A streaming reader of tar archives, for archives that somebody hostile may have written.

Reads ustar, GNU and pax (tar(5) of libarchive, POSIX.1-2001 pax, "Basic Tar Format" of GNU tar), with sparse files of
all three GNU kinds. Python's tarfile is four times slower and does not show the bytes between the contents.
"""

from __future__ import annotations

import zlib
from struct import Struct

from tiffin.errors import InvalidImageError, os_error
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
    shown,
)  # fmt: skip
from tiffin.storage.limits import DEFAULT_LIMITS, Limits
from tiffin.storage.tarfields import Pax, clean_path, number, sparse_map_of_header, sparse_segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

CHUNK_BYTES = 256 << 10
_HEADER = Struct("<100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_ZERO_BLOCK = bytes(512)
_KINDS = {
    b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": HARDLINK, b"2": SYMLINK, b"3": CHARACTER,
    b"4": BLOCK, b"5": DIRECTORY, b"6": FIFO, b"D": DIRECTORY,
}  # fmt: skip
_WITH_DATA = (b"0", b"\0", b"7", b"S", b"D")
_LINKS = (HARDLINK, SYMLINK)
_DEVICES = (CHARACTER, BLOCK)


class _Header:
    """A header block and what the records before it said. `started`: such records were there."""

    __slots__ = ("block", "long_link", "long_name", "pax", "size", "started")

    def __init__(self) -> None:
        self.block = b""
        self.size = 0
        self.long_name: bytes | None = None
        self.long_link: bytes | None = None
        self.pax: Pax | None = None
        self.started = False


class TarReader:
    """Entries of a tar stream, one `next()` at a time.

    Between two calls the caller must consume `data_size` bytes with `take`. Everything else of the stream goes to
    `literal`, in order, so that literals and contents together are the stream again; every chunk read also goes to
    `tee`. Memory stays bounded. Raises `InvalidImageError`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        literal: Callable[[bytes], None],
        tee: Callable[[bytes], None],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._read = stream.read
        self._literal = literal
        self._tee = tee
        self._limits = limits
        self._defaults: Pax | None = None
        self.buffer = b""
        self.position = 0
        self._before = 0  # bytes of the stream before `buffer`
        self._padding = 0
        self._entries = 0
        self.data_size = 0
        self.segments: list[tuple[int, int]] | None = None  # of a sparse file: (offset, length) of the stored data

    @property
    def offset(self) -> int:
        """Bytes of the stream consumed so far."""
        return self._before + self.position

    def _fill(self, wanted: int) -> bool:
        """Have at least `wanted` bytes buffered; False when the stream ends before."""
        have = len(self.buffer) - self.position
        parts = [self.buffer[self.position :]] if have else []
        self._before += self.position
        while have < wanted:
            try:
                chunk = self._read(CHUNK_BYTES)
            except OSError as error:
                raise os_error(error, "cannot read the layer") from error
            if not chunk:
                break
            self._tee(chunk)
            parts.append(chunk)
            have += len(chunk)
        self.buffer = parts[0] if len(parts) == 1 else b"".join(parts)
        self.position = 0
        return have >= wanted

    def have(self, size: int) -> bool:
        """Whether `size` bytes (small: they are held) follow; they are then at `buffer[position:]`."""
        return len(self.buffer) - self.position >= size or self._fill(size)

    def take(self, most: int) -> tuple[bytes, int, int]:
        """Up to `most` bytes of the current entry's data as (buffer, start, end). Raises at the stream's end."""
        if self.position >= len(self.buffer) and not self._fill(1):
            raise self.truncated()
        start = self.position
        end = min(len(self.buffer), start + most)
        self.position = end
        return self.buffer, start, end

    def truncated(self) -> InvalidImageError:
        """The error for a stream that ended too early."""
        return InvalidImageError(f"the archive is truncated: it ends at byte {self._before + len(self.buffer)}")

    def _literal_run(self, size: int) -> None:
        while size:
            buffer, start, end = self.take(size)
            self._literal(buffer[start:end])
            size -= end - start

    def _held(self, size: int, what: str) -> bytes:
        """The data of a record that must be understood whole, with its padding."""
        if size > self._limits.max_header_bytes:
            raise InvalidImageError(
                f"the archive has a {what} of {size} bytes; the limit is {self._limits.max_header_bytes}"
            )
        padded = size + (-size % 512)
        if not self.have(padded):
            raise self.truncated()
        data = self.buffer[self.position : self.position + padded]
        self.position += padded
        self._literal(data)
        return data[:size]

    def next(self) -> Entry | None:
        """The next entry, or None at the end of the archive, when the whole stream has been read."""
        header = self._header()
        if header is None:
            return None
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise InvalidImageError(f"the archive has more than {self._limits.max_entries} entries")
        block = header.block
        (name, mode, uid, gid, _, mtime, _, kind_byte, link, magic, major, minor, prefix) = _HEADER.unpack(block)
        if header.long_name is not None:
            name = header.long_name
        else:
            if not name[99]:
                name = name[: name.index(b"\0")]
            if prefix[0] and magic[:6] == b"ustar\0":
                name = prefix.partition(b"\0")[0] + b"/" + name
        link = header.long_link if header.long_link is not None else link.partition(b"\0")[0]
        size = header.size
        times: tuple[int, int] | None = None
        uid_number = gid_number = None
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        pax = header.pax
        if pax is not None:
            name = pax.sparse_name or pax.path or name
            link = pax.link or link
            size = size if pax.size is None else pax.size
            times, uid_number, gid_number, xattrs = pax.mtime, pax.uid, pax.gid, pax.xattrs
        kind = _KINDS.get(kind_byte, 0)
        if not kind:
            raise InvalidImageError(f"the archive entry {shown(name)} has the unknown type {shown(kind_byte)}")
        if kind == REGULAR and name.endswith(b"/"):
            kind = DIRECTORY  # as tars older than POSIX write them
        path = clean_path(name)
        if not path and kind != DIRECTORY:
            raise InvalidImageError(f"the archive entry {shown(name)} is no directory but stands for the root")
        size = self._begin_data(header, kind, size, name)
        base = path.rpartition(b"/")[2]
        if base[:4] == b".wh.":
            if base == b".wh..wh..opq":
                return Entry(path[: -len(base) - 1] if b"/" in path else b"", OPAQUE, 0, 0, 0, 0, 0)
            if base[:8] != b".wh..wh.":
                return Entry(_hidden(path, base, name), WHITEOUT, 0, 0, 0, 0, 0)
        link = self._link(kind, link, name) if kind in _LINKS else b""
        device = _device(major, minor, name) if kind in _DEVICES else (0, 0)
        uid_number = number(uid) if uid_number is None else uid_number
        gid_number = number(gid) if gid_number is None else gid_number
        if not 0 <= uid_number < 0xFFFF_FFFF or not 0 <= gid_number < 0xFFFF_FFFF:
            raise InvalidImageError(f"the archive entry {shown(name)} has the wrong owner {uid_number}:{gid_number}")
        seconds, nanoseconds = times or (number(mtime), 0)
        return Entry(
            path, kind, number(mode) & 0o7777, uid_number, gid_number, seconds, nanoseconds, size, None, link,
            device[0], device[1], xattrs, self.segments is not None,
        )  # fmt: skip

    def _header(self) -> _Header | None:
        """The next entry's header block with what the records before it add; None at the end."""
        found = _Header()
        found.pax = self._defaults
        while True:
            skip = self._padding
            wanted = skip + 512
            if len(self.buffer) - self.position < wanted and not self._fill(wanted):
                self._end_without_trailer(skip, found.started)
                return None
            self._padding = 0
            position = self.position
            end = self.position = position + wanted
            found.block = block = self.buffer[end - 512 : end]
            self._literal(self.buffer[position:end] if skip else block)
            self._check(block, block[148:156])
            if block == _ZERO_BLOCK:
                if found.started:
                    raise InvalidImageError(f"the archive is damaged: an entry is missing at byte {self.offset - 512}")
                self._end()
                return None
            found.size = size = number(block[124:136])
            if size < 0:
                raise InvalidImageError(f"the archive has an entry with a negative size at byte {self.offset - 512}")
            kind = block[156:157]
            if kind in (b"x", b"X"):
                found.pax = Pax(self._held(size, "pax header"), self._defaults)
                found.started = True
            elif kind == b"L":
                found.long_name = self._held(size, "long name").partition(b"\0")[0]
                found.started = True
            elif kind == b"K":
                found.long_link = self._held(size, "long link name").partition(b"\0")[0]
                found.started = True
            elif kind == b"g":
                self._defaults = found.pax = Pax(self._held(size, "global pax header"), self._defaults)
            elif kind == b"V":  # GNU tar's volume label
                self._literal_run(size + (-size % 512))
            else:
                return found

    def _begin_data(self, header: _Header, kind: int, size: int, name: bytes) -> int:
        """Set `data_size` and `segments` for the caller; returns the size of the file that the data make."""
        self.segments = None
        kind_byte = header.block[156:157]
        pax = header.pax
        real_size = size
        if kind_byte not in _WITH_DATA:
            size = real_size = 0  # POSIX lets links and devices state a size without having data
        elif kind == DIRECTORY:
            self._literal_run(size + (-size % 512))  # GNU tar's list of names in an incremental dump
            size = real_size = 0
        elif pax is not None and pax.is_sparse:
            self.segments, real_size, used = self._pax_sparse(pax, size, name)
            size -= used
        elif kind_byte == b"S":
            self.segments, real_size = sparse_map_of_header(header.block, self._sparse_extension)
        if self.segments is not None:
            sparse_segments(self.segments, real_size, size, name)
        self.data_size = size
        self._padding = -size % 512
        return real_size

    def _check(self, block: bytes, field: bytes) -> None:
        # Adler-32's low half is 1 + the sum of the bytes, modulo 65521; `sum(block)` would take ten times as long.
        total = (zlib.adler32(block) & 0xFFFF) - 1 - sum(field) + 256
        try:
            if (total - int(field[:6], 8)) % 65521 == 0:
                return
        except ValueError:
            if block == _ZERO_BLOCK:
                return
        where = self.offset - 512
        digits = field.strip(b"\0 ")
        if digits.isdigit() and not set(digits) & {0x38, 0x39}:
            signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b"        " + block[156:])
            stated = int(digits, 8)
            if (total - stated) % 65521 == 0 or stated == signed:  # some old tars added signed chars
                return
        if where == 0:
            raise InvalidImageError("this is not a tar archive: its first header has a wrong checksum")
        raise InvalidImageError(f"the archive is damaged: the header at byte {where} has a wrong checksum")

    def _end_without_trailer(self, skip: int, in_entry: bool) -> None:
        """The stream ended without the two zero blocks: fine between entries (Go's and Python's readers agree)."""
        rest = len(self.buffer) - self.position
        if self.offset + rest == 0:
            raise InvalidImageError("the archive is empty (0 bytes)")
        if rest != skip or in_entry:
            raise self.truncated()
        self._literal(self.buffer[self.position :])
        self.position = len(self.buffer)

    def _end(self) -> None:
        """After the first zero block: another must follow; what comes then belongs to nobody, but to the digest."""
        if self.have(512):
            block = self.buffer[self.position : self.position + 512]
            if block != _ZERO_BLOCK:
                where = self.offset - 512
                raise InvalidImageError(f"the archive is damaged: data follow a lone zero block at byte {where}")
        while self.have(1):
            self._literal(self.buffer[self.position :])
            self.position = len(self.buffer)
        self._padding = 0

    def _link(self, kind: int, link: bytes, name: bytes) -> bytes:
        if not link:
            raise InvalidImageError(f"the archive entry {shown(name)} is a link to nothing")
        if kind == HARDLINK:
            return clean_path(link)
        if len(link) > 4095:
            raise InvalidImageError(f"the archive has a symlink of {len(link)} bytes, Linux allows 4095: {shown(name)}")
        return link

    def _sparse_extension(self) -> bytes:
        if not self.have(512):
            raise self.truncated()
        block = self.buffer[self.position : self.position + 512]
        self.position += 512
        self._literal(block)
        return block

    def _pax_sparse(self, pax: Pax, size: int, name: bytes) -> tuple[list[tuple[int, int]], int, int]:
        """Segments, real size, and how many bytes of the data the map itself took (format 1.0)."""
        if pax.sparse_size is None:
            raise InvalidImageError(f"the archive entry {shown(name)} is sparse without a size")
        if pax.sparse_map is not None:
            return pax.sparse_map, pax.sparse_size, 0
        text = bytearray()
        lines = 0
        wanted = 1
        while lines < wanted:
            if len(text) >= min(size, self._limits.max_header_bytes):
                raise InvalidImageError(f"the archive entry {shown(name)} has a wrong sparse map")
            block = self._sparse_extension()
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                wanted += 2 * _decimal(bytes(text.partition(b"\n")[0]), name)
        values = [_decimal(item, name) for item in bytes(text).split(b"\n", wanted)[1:wanted]]
        return list(zip(values[::2], values[1::2], strict=True)), pax.sparse_size, len(text)


def _device(major: bytes, minor: bytes, name: bytes) -> tuple[int, int]:
    device = number(major), number(minor)
    if not 0 <= device[0] < 1 << 12 or not 0 <= device[1] < 1 << 20:
        raise InvalidImageError(
            f"the archive entry {shown(name)} has the device number {device[0]}:{device[1]}, Linux ends at 4095:1048575"
        )
    return device


def _decimal(text: bytes, name: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise InvalidImageError(f"the archive entry {shown(name)} has a wrong sparse map")
    return int(text)


def _hidden(path: bytes, base: bytes, name: bytes) -> bytes:
    hidden = base[4:]
    if hidden in (b"", b".", b".."):
        raise InvalidImageError(f"the archive entry {shown(name)} is a whiteout of no file")
    return path[: len(path) - len(base)] + hidden
