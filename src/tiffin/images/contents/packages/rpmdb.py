"""The files that RPM keeps headers in: SQLite since 4.16, ndb (SUSE), and Berkeley DB's hash before.

None of them is trusted: lengths and numbers of pages are checked before anything is read at them, and SQLite runs
nothing but a scan of one table.
"""

from __future__ import annotations

import os
from struct import iter_unpack, unpack_from

from tiffin.errors import StoreError, os_error
from tiffin.images.contents.packages import Damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiffin.images.contents.files import ImageFiles
    from tiffin.storage.entry import Entry

    Reader = Callable[[ImageFiles, bytes, Entry], Iterator[bytes]]

_MAX_HEADER = 64 << 20
_MAX_DATABASE = 2 << 30
_MAX_JOURNAL = 256 << 20
_SQLITE_STEPS = 50_000_000  # of its virtual machine; a scan takes some dozens for each package

_NDB_PAGE = 4096
_NDB_BLOCK = 16
_NDB_MAX_PAGES = 1 << 16

_BDB_MAGIC = 0x00061561
_BDB_META = 8
_BDB_PAGES = (2, 13)  # unsorted and sorted hash pages
_BDB_OVERFLOW = 7
_BDB_HEADER = 26
_BDB_INLINE, _BDB_OFF_PAGE = 1, 3


def _open(files: ImageFiles, entry: Entry) -> int:
    if entry.object is None or entry.size > _MAX_DATABASE:
        raise Damaged(f"it has {entry.size} bytes, more than the {_MAX_DATABASE} that are read")
    try:
        return files.objects.open(entry.object)
    except StoreError as error:
        raise Damaged(error.message) from None


def sqlite(files: ImageFiles, path: bytes, entry: Entry) -> Iterator[bytes]:
    """Table Packages, column blob. Objects never change, so they are read where they are."""
    from sqlite3 import DatabaseError

    from tiffin.storage.workspace import Workspace

    journal = files.find(path + b"-wal")
    os.close(_open(files, entry))
    try:
        if journal is None or not journal.size:
            yield from _limited(_scan(files.objects.path(entry.object or ""), immutable=True), entry.size)
            return
        if journal.size > _MAX_JOURNAL or entry.size > _MAX_JOURNAL:
            raise Damaged("its write-ahead log is too large to be read")
        with Workspace(files.temporary, "packages") as directory:
            for suffix, part in (("", entry), ("-wal", journal)):
                with open(f"{directory}/rpmdb.sqlite{suffix}", "wb") as out:
                    out.writelines(files.chunks(part))
            yield from _limited(_scan(f"{directory}/rpmdb.sqlite", immutable=False), entry.size + journal.size)
    except DatabaseError as error:
        raise Damaged(str(error)) from None
    except OSError as error:
        raise os_error(error, "cannot copy a package database") from error


def _scan(path: str, *, immutable: bool) -> Iterator[bytes]:
    import sqlite3
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(path)}?mode={'ro&immutable=1' if immutable else 'rw'}", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_HEADER)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_progress_handler(lambda: 1, _SQLITE_STEPS)
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON"):
            connection.execute(f"PRAGMA {pragma}")
        # A view, a virtual table or a computed column would be a program of whoever made the image.
        row = connection.execute(
            "SELECT type, rootpage FROM sqlite_schema WHERE name = 'Packages' AND type IN ('table', 'view')"
        ).fetchone()
        columns = connection.execute("PRAGMA table_xinfo('Packages')").fetchall() if row else []
        if row is None or row[0] != "table" or not row[1] or any(column[6] for column in columns):
            raise Damaged("it has no table of packages")
        for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY rowid"):
            if isinstance(blob, bytes):
                yield blob
    finally:
        connection.close()


def ndb(files: ImageFiles, path: bytes, entry: Entry) -> Iterator[bytes]:
    """Pages of slots that say in which blocks of 16 bytes a package's blob is; little-endian (rpmpkg.c)."""
    fd = _open(files, entry)
    try:
        magic, version, _, pages = unpack_from("<4sIII", _exactly(fd, 0, 32))
        if magic != b"RpmP" or version != 0 or not 0 < pages <= _NDB_MAX_PAGES:
            raise Damaged("it is no ndb database of version 0")
        slots = _exactly(fd, 32, pages * _NDB_PAGE - 32)
        left = entry.size
        for magic, number, block, blocks in iter_unpack("<4sIII", slots):
            if magic != b"Slot":
                raise Damaged("one of its slots is none")
            if not number:
                continue
            head = _exactly(fd, block * _NDB_BLOCK, 16)
            magic, same, _, length = unpack_from("<4sIII", head)
            if magic != b"BlbS" or same != number or length > blocks * _NDB_BLOCK:
                raise Damaged(f"the blob of package {number} is not where its slot says")
            left = _taken(left, length)
            yield _exactly(fd, block * _NDB_BLOCK + 16, length)
    finally:
        os.close(fd)


def berkeley(files: ImageFiles, path: bytes, entry: Entry) -> Iterator[bytes]:
    """A hash of package numbers to headers, most of which are on overflow pages (Berkeley DB's db_page.h)."""
    fd = _open(files, entry)
    try:
        meta = _exactly(fd, 0, 72)
        order = next((order for order in "<>" if unpack_from(f"{order}I", meta, 12)[0] == _BDB_MAGIC), "")
        if not order or meta[25] != _BDB_META:
            raise Damaged("it is no hash of Berkeley DB")
        if meta[24]:
            raise Damaged("it is encrypted")
        (size,) = unpack_from(f"{order}I", meta, 20)
        if not 512 <= size <= 65536 or size & (size - 1):
            raise Damaged(f"its pages cannot have {size} bytes")
        yield from _Hash(fd, order, size, entry.size).values()
    finally:
        os.close(fd)


class _Hash:
    """A Berkeley DB hash of pages of one size."""

    def __init__(self, fd: int, order: str, page_size: int, total: int) -> None:
        self._fd = fd
        self._order = order
        self._size = page_size
        self._pages = total // page_size
        self._left = total

    def values(self) -> Iterator[bytes]:
        for number in range(1, self._pages):
            page = self._page(number)
            if page[25] in _BDB_PAGES:
                yield from self._on(page)

    def _page(self, number: int) -> bytes:
        if not 0 < number < self._pages:
            raise Damaged(f"it has no page {number}")
        return _exactly(self._fd, number * self._size, self._size)

    def _on(self, page: bytes) -> Iterator[bytes]:
        """Items lie from the page's end downwards, keys before their values; `count` offsets follow the header."""
        (count,) = unpack_from(f"{self._order}H", page, 20)
        if _BDB_HEADER + 2 * count > self._size:
            raise Damaged("a page has more items than it can hold")
        offsets = unpack_from(f"{self._order}{count}H", page, _BDB_HEADER)
        for key, value in zip(offsets[::2], offsets[1::2], strict=False):
            if not _BDB_HEADER <= value < key <= self._size:
                raise Damaged("the items of a page overlap")
            if page[value] == _BDB_OFF_PAGE and value + 12 <= self._size:
                first, length = unpack_from(f"{self._order}II", page, value + 4)
                yield self._overflow(first, length)
            elif page[value] == _BDB_INLINE and key - value > 8:  # the shortest is the number of the next package
                yield page[value + 1 : key]

    def _overflow(self, number: int, length: int) -> bytes:
        self._left = _taken(self._left, length)
        parts = []
        left = length
        while left:
            page = self._page(number)
            (used,) = unpack_from(f"{self._order}H", page, 22)
            if page[25] != _BDB_OVERFLOW or not used or _BDB_HEADER + used > self._size:
                raise Damaged(f"page {number} does not continue a header")
            parts.append(page[_BDB_HEADER : _BDB_HEADER + min(used, left)])
            left -= len(parts[-1])
            (number,) = unpack_from(f"{self._order}I", page, 16)
        return b"".join(parts)


def _exactly(fd: int, offset: int, length: int) -> bytes:
    if length > _MAX_HEADER * 4:
        raise Damaged(f"a part of it has {length} bytes")
    data = os.pread(fd, length, offset)
    if len(data) < length:
        raise Damaged("it ends too early")
    return data


def _taken(left: int, length: int) -> int:
    """What is left of a database after a header: without that, many records could name the same bytes."""
    if length > _MAX_HEADER:
        raise Damaged(f"a header has {length} bytes, more than the {_MAX_HEADER} that are read")
    if length > left:
        raise Damaged("its headers are longer than it is itself")
    return left - length


def _limited(blobs: Iterator[bytes], left: int) -> Iterator[bytes]:
    for blob in blobs:
        left = _taken(left, len(blob))
        yield blob


READERS: dict[bytes, Reader] = {b"rpmdb.sqlite": sqlite, b"Packages.db": ndb, b"Packages": berkeley}
