"""A container's directory in the store: its writable layer and the mount points of its root."""

from __future__ import annotations

import os

from tiffin.errors import ConflictError, os_error
from tiffin.storage.objects import make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.model.idmap import IdMap
    from tiffin.paths import Paths


def create_writable(
    paths: Paths,
    container_id: str,
    *,
    mode: int,
    uid: int,
    gid: int,
    mtime_ns: int,
    xattrs: Sequence[tuple[bytes, bytes]] = (),
    directories: Sequence[str] = (),
    fill: Callable[[str], None] | None = None,
    ids: IdMap | None = None,
) -> None:
    """Make `upper`, `work` and the named `directories`. The root directory of the container looks as `upper` does.

    `fill` puts what else is needed into the new upper directory, which appears complete or not at all: a create that
    was killed can be repeated. Raises `ConflictError` when it is there already, `StoreError`.
    """
    base = paths.container(container_id)
    new = f"{base}/upper.new"
    if os.path.isdir(f"{base}/upper"):
        raise ConflictError(f"container {container_id} has a writable layer already")
    try:
        make_directory(base)
        for name in ("work", *directories):
            make_directory(f"{base}/{name}")
        try:
            os.mkdir(new, 0o700)
        except FileExistsError:
            from tiffin.storage.removal import remove_tree

            remove_tree(new)
            os.mkdir(new, 0o700)
        if fill is not None:
            fill(new)
        if ids is not None:
            # Overlay makes its work directory as root of the host, so `upper` cannot be seen through a mapped mount:
            # what is in it has the host's ids of the container's users.
            uid, gid = ids.outside(uid, gid)
        if uid or gid:
            os.chown(new, uid, gid)
        os.chmod(new, mode)
        if xattrs:
            from tiffin.storage.erofs import escaped_xattr

            for xattr, value in xattrs:
                os.setxattr(new, escaped_xattr(xattr), value)
        set_times(new, mtime_ns)
        os.rename(new, f"{base}/upper")
    except OSError as error:
        raise os_error(error, f"cannot make the writable layer of container {container_id}") from error


def takes_volatile(release: str) -> bool:
    """Whether overlay of the kernel with that release (uname(2)) has "volatile": since Linux 5.10."""
    version = [int(part) for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    return version >= [5, 10]


def sync_options(base: str, volatile: bool) -> tuple[str, ...]:
    """Overlay's options for a container that nobody will look at again: without `volatile` the end of each one would
    wait for a sync of the whole file system below (overlayfs.rst, "Volatile mount").
    """
    if not volatile or not takes_volatile(os.uname().release):
        return ()
    if os.path.isdir(f"{base}/work/work"):
        from tiffin.storage.removal import remove_tree

        try:
            # Overlay's mark of an earlier volatile mount, which it refuses to mount again.
            remove_tree(f"{base}/work/work")
        except OSError as error:
            raise os_error(error, "cannot prepare the writable layer") from error
    return ("volatile",)


def remove_writable(paths: Paths, container_id: str) -> None:
    """Delete the container's whole directory. Nothing there is fine; raises `StoreError`."""
    from tiffin.storage.removal import remove_tree

    try:
        remove_tree(paths.container(container_id))
    except OSError as error:
        raise os_error(error, f"cannot remove the files of container {container_id}") from error


def writable_usage(paths: Paths, container_id: str) -> tuple[int, int]:
    """(bytes of disk, inodes) of the writable layer; (0, 0) when there is none."""
    from tiffin.storage.removal import tree_usage

    return tree_usage(f"{paths.container(container_id)}/upper")


_MAX_TIME_NS = (1 << 63) - 1


def set_times(path: str | bytes, mtime_ns: int, *, dir_fd: int | None = None, follow: bool = False) -> None:
    """Set both times of `path`; times that utimensat cannot take are clamped."""
    mtime_ns = max(-_MAX_TIME_NS, min(_MAX_TIME_NS, mtime_ns))
    os.utime(path, ns=(mtime_ns, mtime_ns), dir_fd=dir_fd, follow_symlinks=follow)
