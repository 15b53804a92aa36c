"""Directories of volumes, the driver `local`: `<root>/volumes/<name>/_data`, modes and owner as Docker makes them.

A new volume is filled beside its place (`filling`, then `filled` when complete), so that a killed copy is begun anew
and a killed move is finished, whoever comes next.
"""

from __future__ import annotations

import fcntl
import os

from tiffin.errors import os_error
from tiffin.failpoints import failpoint
from tiffin.storage.removal import remove_tree, tree_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.paths import Paths


class VolumeLock:
    """`with VolumeLock(paths, name): …` keeps every other process and thread from making, filling, removing it.

    flock(2) on the volume's own directory, which is made if it is missing; whoever holds it must look whether the
    volume still has a record. Without `wait`, BlockingIOError when somebody holds it.
    """

    def __init__(self, paths: Paths, name: str, *, wait: bool = True) -> None:
        self._path = f"{paths.volumes}/{name}"
        self._name = name
        self._mode = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        self._fd = -1

    def __enter__(self) -> None:
        try:
            while self._fd < 0:
                fd = self._open()
                try:
                    fcntl.flock(fd, self._mode)
                    if _is_at(fd, self._path):
                        self._fd = fd  # else its holder has removed it, and perhaps somebody made a new one
                finally:
                    if self._fd < 0:
                        os.close(fd)
        except BlockingIOError:
            raise
        except OSError as error:
            raise os_error(error, f"cannot lock the volume {self._name}") from error

    def _open(self) -> int:
        while True:
            try:
                return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
                try:
                    os.mkdir(self._path, 0o700)
                except FileExistsError:
                    pass

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self._fd = -1


def _is_at(fd: int, path: str) -> bool:
    try:
        here = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (here.st_dev, here.st_ino)


def data_path(paths: Paths, name: str) -> str:
    """Where a volume's files are."""
    return f"{paths.volumes}/{name}/_data"


def make(paths: Paths, name: str) -> None:
    """Make the empty directory, unless it is there. The caller holds the volume's lock. Raises `StoreError`."""
    data = data_path(paths, name)
    try:
        if not os.path.isdir(data):
            os.mkdir(data, 0o755)
            os.chmod(data, 0o755)  # whatever the umask
    except OSError as error:
        raise os_error(error, f"cannot make the volume {name}") from error


def fill(paths: Paths, name: str, copy: Callable[[str], bool]) -> None:
    """Have an empty volume hold what `copy` puts into the new directory that it is told to make.

    `copy` returns False when there is nothing to copy. A volume with anything in it is left alone. The caller holds
    the volume's lock. Raises `StoreError`.
    """
    base = f"{paths.volumes}/{name}"
    try:
        if not os.path.isdir(f"{base}/filled"):
            if os.listdir(f"{base}/_data"):
                return
            remove_tree(f"{base}/filling")
            if not copy(f"{base}/filling"):
                return
            failpoint("volume.copied")
            os.rename(f"{base}/filling", f"{base}/filled")
            failpoint("volume.filled")
        _settle(f"{base}/filled", f"{base}/_data")
        failpoint("volume.settled")
    except OSError as error:
        raise os_error(error, f"cannot copy the image's files into the volume {name}") from error


def _settle(source: str, destination: str) -> None:
    """Move what is in `source` into `destination`, which somebody may be using; what is there wins."""
    for item in os.listdir(source):
        if not os.path.lexists(f"{destination}/{item}"):
            os.rename(f"{source}/{item}", f"{destination}/{item}")
    status = os.stat(source)
    os.chown(destination, status.st_uid, status.st_gid)
    os.chmod(destination, status.st_mode & 0o7777)
    for xattr in os.listxattr(source):
        os.setxattr(destination, xattr, os.getxattr(source, xattr))
    os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns))
    remove_tree(source)


def remove(paths: Paths, name: str) -> None:
    """Delete all of a volume. The caller holds its lock. Raises `StoreError`."""
    try:
        remove_tree(f"{paths.volumes}/{name}")
    except OSError as error:
        raise os_error(error, f"cannot remove the files of the volume {name}") from error


def usage(paths: Paths, name: str) -> int:
    """Bytes of disk that its files take."""
    return tree_usage(data_path(paths, name))[0]


def directories(paths: Paths) -> list[str]:
    """Names of the directories that are there, with and without a record."""
    try:
        return sorted(os.listdir(paths.volumes))
    except FileNotFoundError:
        return []
