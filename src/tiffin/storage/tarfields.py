"""The fields of tar headers: numbers, names, pax records, sparse maps. Everything is checked here."""

from __future__ import annotations

from tiffin.errors import InvalidImageError
from tiffin.storage.entry import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME_MAX = 255
PATH_MAX = 4095
XATTR_VALUE_MAX = 65535
_MAX_NUMBER = (1 << 63) - 1


def number(field: bytes) -> int:
    """A numeric header field: octal with blanks or NULs around, or GNU's base-256, which can be negative."""
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big")
        bits = len(field) * 8
        value = value - (1 << bits) if first & 0x40 else value & ~(1 << (bits - 1))
        if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
            raise InvalidImageError("the archive has a number that does not fit in 64 bits")
        return value
    text = field.partition(b"\0")[0].strip()
    if not text:
        return 0
    if not text.lstrip(b"-").isdigit() or len(text) > 24:
        raise InvalidImageError(f"the archive has {shown(field)} where a number should be")
    try:
        return int(text, 8)
    except ValueError:
        raise InvalidImageError(f"the archive has {shown(field)} where a number should be") from None


def clean_path(name: bytes) -> bytes:
    """`name` relative to the root, without `.`, `..` and doubled slashes; b"" is the root.

    An absolute name is taken as relative, as Docker does. Raises `InvalidImageError` for a name that leaves the
    root or that no Linux file system can hold.
    """
    if name[:2] == b"./":
        name = name[2:]
    if b"." in name[:3] or b"/." in name or b"//" in name or name[:1] == b"/" or b"\0" in name:
        parts: list[bytes] = []
        for part in name.split(b"/"):
            if part == b"..":
                if not parts:
                    raise InvalidImageError(f"the archive names a path outside of itself: {shown(name)}")
                parts.pop()
            elif part and part != b".":
                parts.append(part)
        name = b"/".join(parts)
        if b"\0" in name:
            raise InvalidImageError(f"the archive has a name with a NUL byte: {shown(name)}")
    elif name[-1:] == b"/":
        name = name[:-1]
    if len(name) > NAME_MAX:
        for part in name.split(b"/"):
            if len(part) > NAME_MAX:
                raise InvalidImageError(f"the archive has a name of {len(part)} bytes, Linux allows 255: {shown(part)}")
        if len(name) > PATH_MAX:
            raise InvalidImageError(f"the archive has a path of {len(name)} bytes, Linux allows 4095: {shown(name)}")
    return name


class Pax:
    """What the records of a pax extended header say (POSIX.1-2001 pax, "pax Extended Header"); None where silent.

    `defaults` are those of an earlier global header. An empty value takes a default back.
    """

    __slots__ = (
        "gid", "is_sparse", "link", "mtime", "path", "size", "sparse_map", "sparse_name", "sparse_size", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, data: bytes, defaults: Pax | None) -> None:
        self.path = self.link = b""
        self.size = self.uid = self.gid = self.sparse_size = None  # type: int | None
        self.mtime: tuple[int, int] | None = None
        self.sparse_name: bytes | None = None
        self.is_sparse = False
        self.sparse_map: list[tuple[int, int]] | None = None
        xattrs: dict[bytes, bytes] = {}
        if defaults is not None:
            for slot in ("path", "link", "size", "uid", "gid", "mtime"):
                setattr(self, slot, getattr(defaults, slot))
            xattrs.update(defaults.xattrs)
        offsets: list[int] = []
        lengths: list[int] = []
        for key, value in records(data):
            if key == b"path":
                self.path = value
            elif key == b"linkpath":
                self.link = value
            elif key == b"mtime":
                self.mtime = pax_time(value) if value else None
            elif key == b"size":
                self.size = _natural(key, value)
            elif key == b"uid":
                self.uid = _natural(key, value)
            elif key == b"gid":
                self.gid = _natural(key, value)
            elif key.startswith(b"SCHILY.xattr."):
                _put_xattr(xattrs, key[13:], value)
            elif key.startswith(b"LIBARCHIVE.xattr."):
                name, value = _libarchive_xattr(key[17:], value)
                if name not in xattrs:  # bsdtar writes both kinds
                    _put_xattr(xattrs, name, value)
            elif key.startswith(b"GNU.sparse."):
                self.is_sparse = True
                what = key[11:]
                if what in (b"size", b"realsize"):
                    self.sparse_size = _natural(key, value)
                elif what == b"name":
                    self.sparse_name = value
                elif what == b"offset":
                    offsets.append(_natural(key, value) or 0)
                elif what == b"numbytes":
                    lengths.append(_natural(key, value) or 0)
                elif what == b"map":
                    numbers = [_natural(key, item) or 0 for item in value.split(b",")] if value else []
                    if len(numbers) % 2:
                        raise InvalidImageError("the archive has a sparse map with an odd number of fields")
                    self.sparse_map = list(zip(numbers[::2], numbers[1::2], strict=True))
                elif what == b"major" and value not in (b"0", b"1"):
                    raise InvalidImageError(f"the archive has a sparse file of the unknown format {shown(value)}")
        if offsets or lengths:
            if len(offsets) != len(lengths):
                raise InvalidImageError("the archive has a sparse map with an odd number of fields")
            self.sparse_map = list(zip(offsets, lengths, strict=True))
        self.xattrs: tuple[tuple[bytes, bytes], ...] = tuple(sorted(xattrs.items()))


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The "length key=value\\n" records of a pax header. Raises `InvalidImageError`."""
    found = []
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 9)
        digits = data[at:blank] if blank > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        end = at + length
        if length < 5 or end > len(data) or data[end - 1] != 10:
            if not data[at:].strip(b"\0"):
                break
            raise InvalidImageError("the archive has a malformed pax header")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise InvalidImageError("the archive has a malformed pax header")
        found.append((key, value))
        at = end
    return found


def pax_time(value: bytes) -> tuple[int, int]:
    """Seconds and nanoseconds of a pax time, a decimal number that may be negative and have any number of digits."""
    whole, _, fraction = value.partition(b".")
    digits = whole.lstrip(b"-")
    if not digits.isdigit() or len(digits) > 18 or (fraction and not fraction.isdigit()):
        raise InvalidImageError(f"the archive has {shown(value)} where a time should be")
    seconds = int(whole)
    nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    if whole[:1] == b"-" and nanoseconds:
        return seconds - 1, 1_000_000_000 - nanoseconds
    return seconds, nanoseconds


def _natural(key: bytes, value: bytes) -> int | None:
    if not value:
        return None
    if not value.isdigit() or len(value) > 19 or int(value) > _MAX_NUMBER:
        raise InvalidImageError(f"the archive has {shown(value)} for {shown(key)} where a number should be")
    return int(value)


def _put_xattr(xattrs: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if not 0 < len(name) <= NAME_MAX or b"\0" in name:
        raise InvalidImageError(f"the archive has an extended attribute with a name that cannot be: {shown(name)}")
    if len(value) > XATTR_VALUE_MAX:
        raise InvalidImageError(
            f"the archive has an extended attribute of {len(value)} bytes, Linux allows 65535: {shown(name)}"
        )
    xattrs[name] = value


def _libarchive_xattr(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """libarchive's own records have the name URL-encoded and the value in base64 without padding."""
    from base64 import b64decode
    from binascii import Error
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(name), b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Error:
        raise InvalidImageError(f"the archive has an extended attribute that is not base64: {shown(name)}") from None


def sparse_map_of_header(block: bytes, more: Callable[[], bytes]) -> tuple[list[tuple[int, int]], int]:
    """Segments and real size of an old GNU sparse header; `more` reads its extension blocks."""
    real_size = number(block[483:495])
    fields = block[386:482]
    extended = block[482]
    while extended:
        extension = more()
        fields += extension[:504]
        extended = extension[504]
        if len(fields) > 1 << 20:
            raise InvalidImageError("the archive has a sparse map of more than 43690 segments")
    segments = []
    for at in range(0, len(fields) - 23, 24):
        if not fields[at + 12 : at + 24].strip(b"\0"):
            break
        segments.append((number(fields[at : at + 12]), number(fields[at + 12 : at + 24])))
    return segments, real_size


def sparse_segments(segments: list[tuple[int, int]], real_size: int, stored: int, name: bytes) -> None:
    """Raises `InvalidImageError` unless the segments ascend, fit the file, and add up to what the archive stores."""
    at = total = 0
    for offset, length in segments:
        if offset < at or length < 0:
            raise InvalidImageError(f"the archive entry {shown(name)} has a sparse map out of order")
        at = offset + length
        total += length
    if at > real_size or total != stored:
        raise InvalidImageError(f"the archive entry {shown(name)} has a sparse map that does not fit its data")
