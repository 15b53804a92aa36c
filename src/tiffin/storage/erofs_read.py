"""Reads the EROFS images that erofs.py writes: find a path, list a directory. Nothing else of EROFS is understood."""

from __future__ import annotations

import os
import stat

from tiffin.errors import StoreError
from tiffin.storage.erofs import (
    BLOCK_BYTES,
    CHUNK_BASED,
    DIRENT,
    FLAT_INLINE,
    INCOMPAT_CHUNKED_FILE,
    INODE,
    INODE_BYTES,
    MAGIC,
    META_BLOCK,
    SLOT_BYTES,
    SUPER,
    SUPER_OFFSET,
    XATTR_ENTRY,
    XATTR_PREFIXES,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SYMLINKS = 40
_PREFIX_BY_INDEX = {index: prefix for prefix, index in XATTR_PREFIXES}
_REDIRECT = b"trusted.overlay.redirect"
_METACOPY = b"trusted.overlay.metacopy"
_ESCAPED = b"trusted.overlay.overlay."


class Inode:
    """An inode as stored. `mode` has its type bits; `xattrs` are those of the image, `object` the redirect in hex."""

    __slots__ = (
        "_union", "gid", "layout", "links", "mode", "mtime_ns", "mtime_s", "nid", "number", "object", "rdev", "size",
        "tail_offset", "uid", "xattrs",
    )  # fmt: skip

    nid: int
    layout: int
    mode: int
    size: int
    number: int
    uid: int
    gid: int
    mtime_s: int
    mtime_ns: int
    links: int
    rdev: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    object: str | None
    tail_offset: int
    _union: int


class ErofsReader:
    """An image file opened for reading; a context manager. Raises `StoreError` when it is damaged."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = SUPER.unpack(self._bytes(SUPER_OFFSET, SUPER.size))
            if fields[0] != MAGIC or fields[14] != INCOMPAT_CHUNKED_FILE or fields[10] != META_BLOCK:
                raise self._damaged("its superblock is wrong")
            self._root = fields[5]
            self.inodes: int = fields[6]
            self.blocks: int = fields[9]
            if os.fstat(self._fd).st_size != self.blocks * BLOCK_BYTES:
                raise self._damaged("it has the wrong size")
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> ErofsReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _damaged(self, why: str) -> StoreError:
        return StoreError(f"the image file {self._path!r} is damaged: {why}", hint="remove the image and load it again")

    def _bytes(self, offset: int, size: int) -> bytes:
        # A place beyond what an off_t can say is past the end as well.
        data = os.pread(self._fd, size, offset) if offset + size < 1 << 63 else b""
        if len(data) != size:
            raise self._damaged("it is truncated")
        return data

    def inode(self, nid: int) -> Inode:
        """The inode with this number (its place, in 32-byte slots)."""
        offset = META_BLOCK * BLOCK_BYTES + nid * SLOT_BYTES
        (form, icount, mode, _, size, union, number, uid, gid, mtime_s, mtime_ns, links) = INODE.unpack(
            self._bytes(offset, INODE_BYTES)
        )
        if form & 1 != 1 or form >> 1 not in (0, FLAT_INLINE, CHUNK_BASED):
            raise self._damaged(f"inode {nid} has the unknown format {form}")
        found = Inode()
        found.nid, found.layout, found.mode, found.size, found.number = nid, form >> 1, mode, size, number
        found.uid, found.gid, found.mtime_ns, found.links = uid, gid, mtime_ns, links
        found.mtime_s = mtime_s - (1 << 64) if mtime_s >> 63 else mtime_s
        found.rdev = ((union >> 8) & 0xFFF, (union & 0xFF) | ((union >> 12) & 0xFFF00))
        found._union = union
        area = 12 + 4 * (icount - 1) if icount else 0
        found.tail_offset = offset + INODE_BYTES + area
        found.object = None
        xattrs = []
        for name, value in self._xattrs(offset + INODE_BYTES, area):
            if name == _REDIRECT:
                found.object = value.decode("ascii", "replace").replace("/", "")
            elif name.startswith(_ESCAPED):
                xattrs.append((b"trusted.overlay." + name[len(_ESCAPED) :], value))
            elif name != _METACOPY:
                xattrs.append((name, value))
        found.xattrs = tuple(xattrs)
        return found

    def _xattrs(self, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        data = self._bytes(offset, size) if size else b""
        at = 12
        while at + 4 <= len(data):
            name_size, index, value_size = XATTR_ENTRY.unpack_from(data, at)
            at += 4
            end = at + name_size + value_size
            if index not in _PREFIX_BY_INDEX or end > len(data):
                raise self._damaged("an extended attribute is wrong")
            yield _PREFIX_BY_INDEX[index] + data[at : at + name_size], data[at + name_size : end]
            at = end + (-end % 4)

    def content(self, inode: Inode) -> bytes:
        """What a directory or symlink holds."""
        if inode.layout == CHUNK_BASED or inode.size > self.blocks * BLOCK_BYTES:
            raise self._damaged(f"inode {inode.nid} has no content of its own")
        whole = inode.size if inode.layout != FLAT_INLINE else inode.size - inode.size % BLOCK_BYTES
        data = self._bytes(inode._union * BLOCK_BYTES, whole) if whole else b""
        return data + self._bytes(inode.tail_offset, inode.size - whole)

    def names(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        """(name, nid) of a directory, sorted, without `.` and `..`."""
        content = self.content(directory)
        for start in range(0, len(content), BLOCK_BYTES):
            for name, nid in self._block(content[start : start + BLOCK_BYTES]):
                if name not in (b".", b".."):
                    yield name, nid

    def _block(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        (first,) = (DIRENT.unpack_from(block)[1],) if len(block) >= 12 else (0,)
        if first < 12 or first % 12 or first > len(block):
            raise self._damaged("a directory is wrong")
        places = [DIRENT.unpack_from(block, at) for at in range(0, first, 12)]
        ends = [place[1] for place in places[1:]] + [len(block)]
        for (nid, start, _), end in zip(places, ends, strict=True):
            yield block[start:end].rstrip(b"\0"), nid

    def _child(self, directory: Inode, name: bytes) -> int | None:
        if not stat.S_ISDIR(directory.mode):
            return None
        content = self.content(directory)
        low, high = 0, (len(content) + BLOCK_BYTES - 1) // BLOCK_BYTES
        while high - low > 1:  # the last block whose first name is not above `name`
            middle = (low + high) // 2
            first, _ = next(self._block(content[middle * BLOCK_BYTES : (middle + 1) * BLOCK_BYTES]))
            low, high = (middle, high) if first <= name else (low, middle)
        for found, nid in self._block(content[low * BLOCK_BYTES : (low + 1) * BLOCK_BYTES]):
            if found == name:
                return nid
        return None

    def lookup(self, path: str | bytes, *, follow: bool = True) -> Inode | None:
        """The inode at `path`, symlinks resolved inside the image, the last one only if `follow`; None if missing."""
        pending = [part for part in reversed(os.fsencode(path).split(b"/")) if part not in (b"", b".")]
        trail = [self.inode(self._root)]
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            nid = self._child(trail[-1], name)
            if nid is None:
                return None
            inode = self.inode(nid)
            if stat.S_ISLNK(inode.mode) and (pending or follow):
                links += 1
                if links > MAX_SYMLINKS:
                    return None
                target = self.content(inode)
                if target[:1] == b"/":
                    del trail[1:]
                pending += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                continue
            trail.append(inode)
        return trail[-1]

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Every (path, inode), parents first; the root is b"". Inodes with several names come several times."""
        stack = [(b"", self._root)]
        while stack:
            path, nid = stack.pop()
            inode = self.inode(nid)
            yield path, inode
            if stat.S_ISDIR(inode.mode):
                prefix = path + b"/" if path else b""
                stack += [(prefix + name, child) for name, child in reversed(list(self.names(inode)))]
