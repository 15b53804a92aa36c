"""The lock that keeps prune from taking what another process is still putting together."""

from __future__ import annotations

import fcntl
import os
import struct

from tiffin.errors import os_error
from tiffin.storage.objects import make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.paths import Paths

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of fcntl(2)
_POLL_S = 0.05


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


class LayerLock:
    """`with LayerLock(paths, diff_id, stopped): …` while a layer is put together: whoever wants it too waits.

    One byte of a file for each layer, locked for this open file (fcntl(2), F_OFD_SETLK), so threads exclude each other
    as well, and a killed process lets go. Two layers may share a byte; that costs a wait. `waited` tells whether
    another one had it. `stopped` is asked meanwhile: when it says so, InterruptedError.
    """

    def __init__(self, paths: Paths, diff_id: str, stopped: Callable[[], bool]) -> None:
        self._path = f"{paths.root}/layers.lock"
        self._byte = int(diff_id.partition(":")[2][:12], 16)
        self._stopped = stopped
        self._fd = -1
        self.waited = False

    def __enter__(self) -> LayerLock:
        import time

        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, self._byte, 1, 0)
        while True:
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
                return self
            except BlockingIOError:
                self.waited = True
            except BaseException:
                self.__exit__()
                raise
            if self._stopped():
                self.__exit__()
                raise InterruptedError
            time.sleep(_POLL_S)

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
