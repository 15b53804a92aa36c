"""Tar archives for tests: well-formed ones by Python's tarfile, hostile ones header by header."""

from __future__ import annotations

import io
import tarfile
from typing import Any

BLOCK = 512


class TarMaker:
    """`TarMaker().file("a", b"…").directory("d").done()`; keyword arguments are attributes of `tarfile.TarInfo`."""

    def __init__(self, format: int = tarfile.PAX_FORMAT) -> None:
        self._out = io.BytesIO()
        self._tar = tarfile.open(  # noqa: SIM115, closed by done()
            fileobj=self._out, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
        )

    def _add(
        self, name: str, kind: bytes, data: bytes = b"", xattrs: dict[str, str] | None = None, **values: Any
    ) -> TarMaker:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.size = len(data)
        info.mtime = 1_600_000_000
        for key, value in values.items():
            setattr(info, key, value)
        if xattrs:
            info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs.items()}
        self._tar.addfile(info, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes = b"", **values: Any) -> TarMaker:
        return self._add(name, tarfile.REGTYPE, data, **values)

    def directory(self, name: str, **values: Any) -> TarMaker:
        return self._add(name, tarfile.DIRTYPE, **{"mode": 0o755, **values})

    def symlink(self, name: str, target: str, **values: Any) -> TarMaker:
        return self._add(name, tarfile.SYMTYPE, linkname=target, **values)

    def hardlink(self, name: str, target: str, **values: Any) -> TarMaker:
        return self._add(name, tarfile.LNKTYPE, linkname=target, **values)

    def device(self, name: str, kind: str, major: int, minor: int, **values: Any) -> TarMaker:
        types = {"c": tarfile.CHRTYPE, "b": tarfile.BLKTYPE}
        return self._add(name, types[kind], devmajor=major, devminor=minor, **values)

    def fifo(self, name: str, **values: Any) -> TarMaker:
        return self._add(name, tarfile.FIFOTYPE, **values)

    def done(self) -> bytes:
        self._tar.close()
        return self._out.getvalue()


def header(
    name: bytes = b"file",
    *,
    size: int | bytes = 0,
    kind: bytes = b"0",
    link: bytes = b"",
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    gid: bytes = b"0000000\0",
    mtime: bytes = b"00000000000\0",
    checksum: bytes | None = None,
    magic: bytes = b"ustar\00000",
    devices: bytes = b"0000000\0" * 2,
    prefix: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """One header block with exactly these fields; the right checksum unless one is given."""
    size_field = size if isinstance(size, bytes) else b"%011o\0" % size
    fields = (
        name.ljust(100, b"\0") + mode + uid + gid + size_field + mtime + b" " * 8 + kind + link.ljust(100, b"\0")
        + magic + bytes(64) + devices + (tail or prefix.ljust(155, b"\0") + bytes(12))
    )  # fmt: skip
    assert len(fields) == BLOCK
    field = b"%06o\0 " % sum(fields) if checksum is None else checksum
    return fields[:148] + field + fields[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def record(name: bytes, data: bytes = b"", **fields: Any) -> bytes:
    """A header and its data."""
    return header(name, size=len(data), **fields) + padded(data)


def pax(*records: tuple[bytes, bytes]) -> bytes:
    """A pax extended header for the entry that follows."""
    return record(b"pax", b"".join(_pax_record(key, value) for key, value in records), kind=b"x")


def _pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


END = bytes(2 * BLOCK)
