"""The file format of a layer: all of its tar stream but the files' contents, and its entries ready to use.

    "TIFFLYR1"
    frames, each zlib (level 1) data:
        H  bytes of the tar stream that are no content: headers, padding, what follows the end
        P  contents: u64 bytes of H before it, u64 length, u64 offset in the object, u32 object number
        O  objects: SHA-256, 32 bytes each, numbered from 0 in order of first use
        E  entries: u32 count, count fixed records, then path, link and xattrs of each
    index: per frame u8 kind, u64 offset, u32 bytes as stored, u32 bytes as meant
    tail: SHA-256 of the tar (diff_id), u64 tar bytes, u64 file bytes, u64 entries, u64 index offset, u32 frames,
        u32 CRC of index and tail so far, "TIFFLYRE"

Little-endian. H interleaved with the contents that P lists is the tar stream again.
"""

from __future__ import annotations

import os
import zlib
from struct import Struct

from tiffin.errors import StoreError
from tiffin.storage.entry import Entry
from tiffin.storage.objects import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"TIFFLYR1"
MAGIC_END = b"TIFFLYRE"
FRAME_BYTES = 256 << 10
ENTRIES_PER_FRAME = 4096
NO_OBJECT = 0xFFFF_FFFF
SPARSE = 1

_PAYLOAD = Struct("<QQQI")
_ENTRY = Struct("<BBHIIqIQIHIHHI")  # kind flags mode uid gid mtime_s mtime_ns size object major minor path link xattrs
_INDEX = Struct("<BQII")
_TAIL = Struct("<32sQQQQI")
_END_BYTES = _TAIL.size + 4 + 8
_U32 = Struct("<I")
_XATTR = Struct("<HI")


class LayerWriter:
    """Writes the format to `fd`, in bounded memory."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._offset = len(MAGIC)
        self._index: list[tuple[int, int, int, int]] = []
        self._literal = bytearray()
        self._literal_run = 0
        self._payloads = bytearray()
        self._digests = bytearray()
        self._numbers: dict[str, int] = {}
        self._fixed: list[bytes] = []
        self._variable: list[bytes] = []
        self.entries = 0
        write_all(fd, MAGIC)

    def literal(self, data: bytes) -> None:
        self._literal += data
        self._literal_run += len(data)
        if len(self._literal) >= FRAME_BYTES:
            self._frame(b"H", self._literal)
            self._literal = bytearray()

    def content(self, digest: str, length: int, offset: int = 0) -> None:
        """`length` bytes of the object come next in the tar stream."""
        self._payloads += _PAYLOAD.pack(self._literal_run, length, offset, self.number(digest))
        self._literal_run = 0
        if len(self._payloads) >= FRAME_BYTES:
            self._frame(b"P", self._payloads)
            self._payloads = bytearray()

    def number(self, digest: str) -> int:
        known = self._numbers.get(digest)
        if known is None:
            known = self._numbers[digest] = len(self._numbers)
            self._digests += bytes.fromhex(digest)
        return known

    def entry(self, entry: Entry) -> None:
        xattrs = b""
        if entry.xattrs:
            xattrs = b"".join(_XATTR.pack(len(name), len(value)) + name + value for name, value in entry.xattrs)
        path, link = entry.path, entry.link
        self._fixed.append(
            _ENTRY.pack(
                entry.kind, SPARSE if entry.sparse else 0, entry.mode, entry.uid, entry.gid, entry.mtime_s,
                entry.mtime_ns, entry.size, NO_OBJECT if entry.object is None else self.number(entry.object),
                entry.major, entry.minor, len(path), len(link), len(xattrs),
            )
        )  # fmt: skip
        self._variable.append(path + link + xattrs if link or xattrs else path)
        self.entries += 1
        if len(self._fixed) >= ENTRIES_PER_FRAME or len(xattrs) > FRAME_BYTES:
            self._entry_frame()

    def _entry_frame(self) -> None:
        self._frame(b"E", _U32.pack(len(self._fixed)) + b"".join(self._fixed) + b"".join(self._variable))
        self._fixed = []
        self._variable = []

    def _frame(self, kind: bytes, data: bytes | bytearray) -> None:
        stored = zlib.compress(data, 1)
        write_all(self._fd, stored)
        self._index.append((kind[0], self._offset, len(stored), len(data)))
        self._offset += len(stored)

    def finish(self, diff_id: bytes, tar_bytes: int, file_bytes: int) -> None:
        """`diff_id` is the 32 bytes of the digest."""
        self._frame(b"H", self._literal)
        self._frame(b"P", self._payloads)
        self._frame(b"O", self._digests)
        self._entry_frame()
        end = b"".join(_INDEX.pack(*item) for item in self._index)
        end += _TAIL.pack(diff_id, tar_bytes, file_bytes, self.entries, self._offset, len(self._index))
        write_all(self._fd, end + _U32.pack(zlib.crc32(end)) + MAGIC_END)


class LayerFile:
    """A layer file opened for reading; a context manager. Raises `StoreError` when it is damaged."""

    def __init__(self, path: str, name: str) -> None:
        self.name = name
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._open()
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < _END_BYTES + len(MAGIC) or os.pread(self._fd, 8, 0) != MAGIC:
            raise self.damaged("it is truncated or no layer file")
        end = os.pread(self._fd, _END_BYTES, size - _END_BYTES)
        if end[-8:] != MAGIC_END:
            raise self.damaged("it is truncated")
        diff_id, self.tar_bytes, self.file_bytes, _entries, at, frames = _TAIL.unpack_from(end)
        if at + frames * _INDEX.size != size - _END_BYTES:
            raise self.damaged("its index is wrong")
        index = os.pread(self._fd, frames * _INDEX.size, at)
        if zlib.crc32(end[: _TAIL.size], zlib.crc32(index)) != _U32.unpack_from(end, _TAIL.size)[0]:
            raise self.damaged("its index has a wrong checksum")
        self.diff_id = "sha256:" + diff_id.hex()
        self._index = list(_INDEX.iter_unpack(index))

    def __enter__(self) -> LayerFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def damaged(self, why: str) -> StoreError:
        return StoreError(f"layer {self.name} is damaged: {why}", hint="remove its image and load it again")

    def _frames(self, kind: bytes) -> Iterator[bytes]:
        for found, offset, stored, meant in self._index:
            if found != kind[0]:
                continue
            try:
                data = zlib.decompress(os.pread(self._fd, stored, offset), bufsize=meant or 1)
            except (zlib.error, OSError) as error:
                raise self.damaged(str(error)) from error
            if len(data) != meant:
                raise self.damaged("a part has the wrong size")
            yield data

    def objects(self) -> list[str]:
        """SHA-256 (hex) of every object, in order of first use."""
        return [data[at : at + 32].hex() for data in self._frames(b"O") for at in range(0, len(data), 32)]

    def literals(self) -> Iterator[bytes]:
        return self._frames(b"H")

    def payloads(self) -> Iterator[tuple[int, int, int, int]]:
        """(literal bytes before, length, offset in the object, object number)."""
        for data in self._frames(b"P"):
            yield from _PAYLOAD.iter_unpack(data)

    def entries(self) -> Iterator[Entry]:
        objects: list[str | None] = [*self.objects()]
        for data in self._frames(b"E"):
            (count,) = _U32.unpack_from(data)
            at = 4 + count * _ENTRY.size
            if at > len(data):
                raise self.damaged("a part has the wrong size")
            for fields in _ENTRY.iter_unpack(memoryview(data)[4:at]):
                (kind, flags, mode, uid, gid, mtime_s, mtime_ns, size, number, major, minor, path, link, xattr) = fields
                end = at + path
                name = data[at:end]
                target = b""
                xattrs: tuple[tuple[bytes, bytes], ...] = ()
                if link:
                    target = data[end : end + link]
                    end += link
                if xattr:
                    xattrs = _xattrs(data[end : end + xattr])
                    end += xattr
                at = end
                yield Entry(
                    name, kind, mode, uid, gid, mtime_s, mtime_ns, size,
                    None if number == NO_OBJECT else objects[number], target, major, minor, xattrs, flags != 0,
                )  # fmt: skip


def _xattrs(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    at = 0
    while at < len(data):
        name, value = _XATTR.unpack_from(data, at)
        at += _XATTR.size
        found.append((data[at : at + name], data[at + name : at + name + value]))
        at += name + value
    return tuple(found)
