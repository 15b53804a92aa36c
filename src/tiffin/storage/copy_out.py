"""Copy a directory of an image, or of the host, to a real one: content, owners, modes, times, xattrs, links."""

from __future__ import annotations

import errno
import os
import stat

from tiffin.errors import UsageError
from tiffin.storage.removal import MAX_DEPTH
from tiffin.storage.writable import set_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_from_image(
    layers: LayerStore, objects: ObjectStore, diff_ids: Sequence[str], path: str, destination: str
) -> bool:
    """Make the new directory `destination` of what the flattened layers have at `path`, symlinks resolved inside.

    False when they have nothing there. Raises `UsageError` when it is no directory, `OSError`, `StoreError`.
    """
    from tiffin.storage.tree import flatten
    from tiffin.storage.unpack import unpack_node

    node = flatten(layers.entries(diff_id) for diff_id in diff_ids).lookup(path)
    if node is None:
        return False
    if node.children is None:
        raise _no_directory(path)
    unpack_node(node, objects, destination)
    return True


def copy_from_host(path: str, destination: str, empty: Collection[str]) -> bool:
    """The same of the host's root; `empty` are real paths of directories that count as empty, as mount points do."""
    real = os.path.realpath(path)
    if not os.path.lexists(real) or any(real.startswith(f"{place}/") for place in empty):
        return False
    if not os.path.isdir(real):
        raise _no_directory(path)
    os.mkdir(destination, 0o700)
    source = os.open(real, _DIRECTORY)
    _Copying(frozenset(empty)).directory(real.rstrip("/"), source, os.open(destination, _DIRECTORY))
    return True


def _no_directory(path: str) -> UsageError:
    return UsageError(
        f"cannot mount volume over existing file, file exists {path}", hint="a volume needs a directory, or nothing"
    )


class _Copying:
    def __init__(self, empty: frozenset[str]) -> None:
        self._empty = empty
        self._names: dict[tuple[int, int], str] = {}  # inodes with several names: a descriptor of the copy

    def directory(self, path: str, source: int, target: int) -> None:
        """Depth first, through open directories only: what changes meanwhile cannot lead elsewhere."""
        held: list[int] = []
        device = os.fstat(source).st_dev
        stack = [(path, source, target, self._list(path, source))]
        try:
            while stack:
                path, source, target, names = stack[-1]
                if not names:
                    _attributes(os.fstat(source), source, target)
                    stack.pop()
                    os.close(source)
                    os.close(target)
                    continue
                name = names.pop()
                try:
                    below = self._entry(name, source, target, held)
                except FileNotFoundError:
                    continue  # it went away meanwhile
                if below is None:
                    continue
                if len(stack) >= MAX_DEPTH:
                    for fd in below:
                        os.close(fd)
                    raise OSError(errno.ENAMETOOLONG, "directories nest too deep", f"{path}/{name}")
                inside = f"{path}/{name}"
                other = os.fstat(below[0]).st_dev != device  # another file system, which the container would not see
                stack.append((inside, *below, [] if other else self._list(inside, below[0])))
        finally:
            for _, source, target, _ in stack:
                os.close(source)
                os.close(target)
            for fd in held:
                os.close(fd)

    def _list(self, path: str, fd: int) -> list[str]:
        return [] if path in self._empty else sorted(os.listdir(fd), reverse=True)

    def _entry(self, name: str, source: int, target: int, held: list[int]) -> tuple[int, int] | None:
        """Copy what `name` is; for a directory the two descriptors to go on with."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=source)
            os.mkdir(name, 0o700, dir_fd=target)
            return below, os.open(name, _DIRECTORY, dir_fd=target)
        key = (status.st_dev, status.st_ino)
        if key in self._names:
            os.link(self._names[key], name, dst_dir_fd=target, follow_symlinks=True)
            return None
        if stat.S_ISREG(status.st_mode):
            _file(name, source, target)
        else:
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            else:
                os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
            set_times(name, status.st_mtime_ns, dir_fd=target)
        if status.st_nlink > 1:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            held.append(fd)
            self._names[key] = f"/proc/self/fd/{fd}"
        return None


def _file(name: str, source: int, target: int) -> None:
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(new, old, None, 1 << 24):
                pass
            _attributes(os.fstat(old), old, new)
        finally:
            os.close(new)
    finally:
        os.close(old)


def _attributes(status: os.stat_result, source: int, target: int) -> None:
    """Owner first: changing it takes set-user-ID bits and capabilities away (chown(2))."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENODATA):
                raise
    set_times(f"/proc/self/fd/{target}", status.st_mtime_ns, follow=True)
