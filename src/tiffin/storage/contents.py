"""Files as a stream of entries with their contents: from a directory tree that somebody may be changing, or a tar."""

from __future__ import annotations

import errno
import os
import stat

from tiffin.storage.entry import BLOCK, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SOCKET, SYMLINK, Entry, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from tiffin.model.idmap import IdMap
    from tiffin.storage.tarstream import TarReader

    class Content(Protocol):
        """What a regular file holds: `segments` are (offset, length) of its data, in order; the rest is zeros."""

        segments: list[tuple[int, int]]

        def read(self, most: int) -> bytes:
            """The next bytes of the segments, b"" after the last."""

    Item = tuple[Entry, Content | None]

KINDS = {
    stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO, stat.S_IFSOCK: SOCKET, stat.S_IFLNK: SYMLINK,
}  # fmt: skip
CHUNK_BYTES = 1 << 20


class FileContent:
    """A regular file, as long as it was when it was looked at: growth is left out, a loss is filled with zeros."""

    def __init__(self, fd: int, size: int, blocks: int) -> None:
        self._fd = fd
        self.segments = _segments(fd, size) if blocks * 512 < size else [(0, size)] if size else []
        self._number = 0
        self._done = 0

    def read(self, most: int) -> bytes:
        while self._number < len(self.segments):
            offset, length = self.segments[self._number]
            if self._done == length:
                self._number += 1
                self._done = 0
                continue
            wanted = min(most, length - self._done)
            data = os.pread(self._fd, wanted, offset + self._done) or bytes(wanted)
            self._done += len(data)
            return data
        return b""


class TarContent:
    """The data of a `TarReader`'s current entry."""

    def __init__(self, reader: TarReader, size: int) -> None:
        self._reader = reader
        self.segments = [(0, size)] if reader.segments is None else [s for s in reader.segments if s[1]]
        self._left = reader.data_size

    def read(self, most: int) -> bytes:
        if not self._left:
            return b""
        buffer, start, end = self._reader.take(min(most, self._left))
        self._left -= end - start
        return buffer[start:end]


def _segments(fd: int, size: int) -> list[tuple[int, int]]:
    found = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            return [(0, size)]
        if start < size:
            found.append((start, at - start))
    return found


def look(fd: int, path: bytes, *, xattrs: bool = True) -> Entry:
    """The entry of what `fd` (O_PATH is enough) has open, called `path`."""
    status = os.fstat(fd)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    link = b""
    if kind == SYMLINK:
        link = os.readlink(b"", dir_fd=fd)
    is_device = kind in (CHARACTER, BLOCK)
    return Entry(
        path, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
        status.st_mtime_ns // 1_000_000_000, status.st_mtime_ns % 1_000_000_000,
        status.st_size if kind == REGULAR else 0, None, link,
        os.major(status.st_rdev) if is_device else 0, os.minor(status.st_rdev) if is_device else 0,
        _xattrs(fd) if xattrs and kind in (REGULAR, DIRECTORY) else (),
    )  # fmt: skip


def _xattrs(fd: int) -> tuple[tuple[bytes, bytes], ...]:
    path = f"/proc/self/fd/{fd}"
    try:
        names = sorted(os.listxattr(path))
    except OSError:
        return ()
    found = []
    for name in names:
        if name.startswith(("security.", "trusted.overlay.")) and name != "security.capability":
            continue  # labels are this host's, and overlay's marks its own
        try:
            found.append((os.fsencode(name), os.getxattr(path, name)))
        except OSError:
            continue
    return tuple(found)


CAPABILITY = b"security.capability"
_REVISION_2, _REVISION_3, _REVISION_MASK = 0x0200_0000, 0x0300_0000, 0xFF00_0000


def plain_capability(name: bytes, value: bytes) -> bytes:
    """A file's capabilities without the user namespace's root that they count for (capabilities(7), "version 3")."""
    head = int.from_bytes(value[:4], "little")
    if name != CAPABILITY or len(value) != 24 or head & _REVISION_MASK != _REVISION_3:
        return value
    return (head & ~_REVISION_MASK | _REVISION_2).to_bytes(4, "little") + value[4:20]


def rooted_capability(name: bytes, value: bytes, root_uid: int) -> bytes:
    """The inverse: capabilities that count where `root_uid` of the host is root."""
    head = int.from_bytes(value[:4], "little")
    if name != CAPABILITY or len(value) != 20 or head & _REVISION_MASK != _REVISION_2:
        return value
    return (head & ~_REVISION_MASK | _REVISION_3).to_bytes(4, "little") + value[4:] + root_uid.to_bytes(4, "little")


def open_leaf(directory: int, name: bytes) -> int:
    """Whatever is called `name` there, a symlink too, with O_PATH."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


class FileItems:
    """Items of trees: `tree` of a whole one, `single` of one inode. Names of one inode after its first are links.

    `warn` is told what cannot be in a stream (sockets) or vanished. With `ids` the files are those of a container in a
    user namespace, and the items have the ids that they have in it.
    """

    def __init__(self, warn: Callable[[str], None], ids: IdMap | None = None) -> None:
        self._warn = warn
        self._ids = ids
        self._linked: dict[tuple[int, int], bytes] = {}

    def single(self, fd: int, path: bytes) -> Iterator[Item]:
        """The item of one inode, without what is in it; none when it is a socket."""
        entry = look(fd, path)
        if self._ids is not None:
            entry.uid, entry.gid = self._ids.inside(entry.uid, entry.gid)
            entry.xattrs = tuple((name, plain_capability(name, value)) for name, value in entry.xattrs)
        if entry.kind == SOCKET:
            self._warn(f"sockets are not copied: {shown(path)}")
            return
        if entry.kind != DIRECTORY:
            status = os.fstat(fd)
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                first = self._linked.setdefault(inode, path)
                if first != path:
                    yield Entry(path, HARDLINK, entry.mode, entry.uid, entry.gid, 0, 0, link=first), None
                    return
        if entry.kind != REGULAR:
            yield entry, None
            return
        # The magic link leads to the very inode that was looked at, so nothing else is ever opened for reading.
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = FileContent(readable, entry.size, os.fstat(fd).st_blocks)
            entry.sparse = content.segments != ([(0, entry.size)] if entry.size else [])
            yield entry, content
        finally:
            os.close(readable)

    def tree(self, fd: int, path: bytes) -> Iterator[Item]:
        """What `fd` has open and all that is in it, parents first, by name."""
        yield from self.single(fd, path)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return
        stack = [_Level(fd, path)]
        try:
            while stack:
                level = stack[-1]
                if not level.names:
                    os.close(stack.pop().fd)
                    continue
                name = level.names.pop()
                try:
                    child = open_leaf(level.fd, name)
                except FileNotFoundError:
                    continue  # removed meanwhile
                inside = level.path + b"/" + name if level.path else name
                try:
                    yield from self.single(child, inside)
                    if stat.S_ISDIR(os.fstat(child).st_mode):
                        stack.append(_Level(child, inside))
                finally:
                    os.close(child)
        finally:
            for level in stack:
                os.close(level.fd)


class _Level:
    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        self.path = path
        self.names = [os.fsencode(name) for name in sorted(os.listdir(self.fd), reverse=True)]


def tar_items(reader: TarReader) -> Iterator[Item]:
    """Items of a tar stream, to its end."""
    while (entry := reader.next()) is not None:
        content = TarContent(reader, entry.size) if entry.kind == REGULAR else None
        yield entry, content
        while content is not None and content.read(CHUNK_BYTES):
            pass
