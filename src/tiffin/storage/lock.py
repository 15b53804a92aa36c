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

    def __init__(self, path: str, exclusive: bool) -> None:
        self._path = path
        self._exclusive = exclusive
        self._fd = -1

    def __enter__(self) -> StoreLock:
        try:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                make_directory(os.path.dirname(self._path))
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX if self._exclusive else fcntl.LOCK_SH)
        except OSError as error:
            self.__exit__()
            raise os_error(error, "cannot lock the store") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def store_lock(paths: Paths, exclusive: bool) -> StoreLock:
    """`with store_lock(paths, exclusive=False):` around adding layers or images and recording them.

    Any number may hold it shared; prune holds it alone. A thread must not ask for it exclusively while it holds it.
    """
    return StoreLock(f"{paths.root}/store.lock", exclusive)
