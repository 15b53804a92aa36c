"""Make a real directory tree from a flattened image, as root, with everything that the layers said."""

from __future__ import annotations

import errno
import fcntl
import os

from tiffin.errors import StoreError
from tiffin.storage.entry import DIRECTORY, KIND_MODES, REGULAR, SYMLINK, Entry, shown
from tiffin.storage.erofs import escaped_xattr
from tiffin.storage.writable import set_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.tree import Node, Tree

FICLONE = 0x4004_9409
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(tree: Tree, objects: ObjectStore, destination: str) -> None:
    """Fill the new directory `destination`. Raises `OSError`, `StoreError`; what it made so far stays then.

    Every name is made in a directory that is already open, so a symlink of the image is never followed.
    """
    unpack_node(tree.root, objects, destination)


def unpack_node(node: Node, objects: ObjectStore, destination: str) -> None:
    """The same with one directory of a tree."""
    os.mkdir(destination, 0o700)
    _Unpacking(objects).directory(node, os.open(destination, _DIRECTORY))


class _Unpacking:
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._made: dict[Node, str] = {}  # inodes with several names: their path under /proc, for link(2)
        self._held: list[int] = []

    def directory(self, root: Node, root_fd: int) -> None:
        """Iterative: an image may nest as deep as it likes, up to the limit on open files."""
        stack = [(root, root_fd, sorted((root.children or {}).items(), reverse=True))]
        try:
            while stack:
                node, fd, names = stack[-1]
                if not names:
                    self._attributes(node.entry, fd)
                    os.close(fd)
                    stack.pop()
                    continue
                name, child = names.pop()
                if child.children is not None:
                    os.mkdir(name, 0o700, dir_fd=fd)
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                    stack.append((child, below, sorted(child.children.items(), reverse=True)))
                else:
                    self._leaf(name, child, fd)
        finally:
            for _, fd, _ in stack:
                os.close(fd)
            for fd in self._held:
                os.close(fd)

    def _leaf(self, name: bytes, node: Node, directory: int) -> None:
        entry = node.entry
        if node.names > 1 and node in self._made:
            os.link(self._made[node], name, dst_dir_fd=directory, follow_symlinks=True)
            return
        if entry.kind == REGULAR:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                if entry.object is not None:
                    self._copy(entry.object, fd, entry.size)
                self._attributes(entry, fd)
            finally:
                os.close(fd)
        else:
            if entry.kind == SYMLINK:
                os.symlink(entry.link, name, dir_fd=directory)
            else:
                device = os.makedev(entry.major, entry.minor)
                os.mknod(name, KIND_MODES[entry.kind] | 0o600, device, dir_fd=directory)
            self._special(entry, name, directory)
        if node.names > 1:
            held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            self._held.append(held)
            self._made[node] = f"/proc/self/fd/{held}"

    def _copy(self, digest: str, fd: int, size: int) -> None:
        source = self._objects.open(digest)
        try:
            if os.fstat(source).st_size != size:
                raise _wrong_size(digest)
            try:
                fcntl.ioctl(fd, FICLONE, source)
                return
            except OSError:
                pass  # another file system, or one that cannot share blocks
            at = 0
            while at < size:
                try:
                    at = os.lseek(source, at, os.SEEK_DATA)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    break  # only a hole is left
                end = os.lseek(source, at, os.SEEK_HOLE)
                os.lseek(source, at, os.SEEK_SET)
                os.lseek(fd, at, os.SEEK_SET)
                while at < end:
                    count = os.sendfile(fd, source, None, end - at)
                    if not count:
                        raise _wrong_size(digest)
                    at += count
            os.ftruncate(fd, size)
        finally:
            os.close(source)

    def _attributes(self, entry: Entry, fd: int) -> None:
        """Owner first: changing it takes set-user-ID bits and capabilities away (chown(2))."""
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        self._xattrs(entry, f"/proc/self/fd/{fd}")
        _times(entry, f"/proc/self/fd/{fd}", None)

    def _special(self, entry: Entry, name: bytes, directory: int) -> None:
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        path = os.path.join(os.fsencode(f"/proc/self/fd/{directory}"), name)
        if entry.kind != SYMLINK:
            os.chmod(path, entry.mode)
        self._xattrs(entry, path)
        _times(entry, name, directory)

    def _xattrs(self, entry: Entry, path: str | bytes) -> None:
        plain = entry.kind in (REGULAR, DIRECTORY)
        for name, value in entry.xattrs:
            if name.startswith(b"user.") and not plain:
                continue  # Linux never shows these on anything else, xattr(7)
            try:
                os.setxattr(path, escaped_xattr(name), value, follow_symlinks=plain)
            except OSError as error:
                raise StoreError(
                    f"the store's file system cannot keep the extended attribute {shown(name)} of {shown(entry.path)}: "
                    f"{error.strerror}"
                ) from error


def _wrong_size(digest: str) -> StoreError:
    return StoreError(f"object {digest} has the wrong size", hint="remove the image and load it again")


def _times(entry: Entry, path: str | bytes, directory: int | None) -> None:
    mtime_ns = entry.mtime_s * 1_000_000_000 + entry.mtime_ns
    if directory is None:
        set_times(path, mtime_ns, follow=True)
    else:
        set_times(path, mtime_ns, dir_fd=directory)
