"""The lock that keeps prune from taking what another process is still putting together."""

from __future__ import annotations

import fcntl
import os

from tiffin.errors import os_error
from tiffin.storage.objects import make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths


class StoreLock:
    """Held while in the `with` block; flock(2), so a killed process lets go of it."""

    def __init__(self, path: str, exclusive: bool, wait: bool) -> None:
        self._path = path
        self._mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
        self._fd = -1

    def __enter__(self) -> StoreLock:
        try:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                make_directory(os.path.dirname(self._path))
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, self._mode)
        except BlockingIOError:
            self.__exit__()
            raise
        except OSError as error:
            self.__exit__()
            raise os_error(error, "cannot lock the store") from error
        return self

    def try_exclusive(self) -> bool:
        """Hold it alone from now on; False when others hold it too."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # flock(2): a conversion lets go of the lock first, so it may have been lost.
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def store_lock(paths: Paths, exclusive: bool, *, wait: bool = True) -> StoreLock:
    """`with store_lock(paths, exclusive=False):` around adding layers or images and recording them.

    Any number may hold it shared; prune holds it alone. A thread must not ask for it exclusively while it holds it.
    Without `wait`, BlockingIOError when others have it.
    """
    return StoreLock(f"{paths.root}/store.lock", exclusive, wait)
