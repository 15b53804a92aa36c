"""Directories for unfinished work, which do not outlive it: what a killed process leaves, the next one removes."""

from __future__ import annotations

import fcntl
import os

from tiffin.storage.objects import make_directory
from tiffin.storage.removal import remove_tree

PREFIX = "work-"
# Whose remains tell something, so that only who reads them may take them away.
KEPT = ("store",)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Workspace:
    """`with Workspace(parent, "image") as directory: …` a new directory in `parent`, gone at the end.

    Whoever works in one holds a lock on it (flock(2)), so the work of the dead can be told from that of the living.
    Raises `OSError`.
    """

    def __init__(self, parent: str, kind: str) -> None:
        self._parent = parent
        self._kind = kind
        self.path = ""
        self._fd = -1
        self._kept = False

    def __enter__(self) -> str:
        make_directory(self._parent)
        if self._kind not in KEPT:
            sweep(self._parent)
        while self._fd < 0:
            self.path = f"{self._parent}/{PREFIX}{self._kind}-{os.urandom(8).hex()}"
            try:
                make_directory(self.path)
            except FileNotFoundError:
                continue  # another one has taken it for abandoned before it was locked
            self._fd = _lock(self.path)
        return self.path

    def __exit__(self, *_: object) -> None:
        try:
            if not self._kept:
                remove_tree(self.path)
        finally:
            os.close(self._fd)
            self._fd = -1

    def keep(self) -> None:
        """Leave it behind, as if this process were killed at the end of its work."""
        self._kept = True


def sweep(parent: str, kind: str = "") -> None:
    """Remove what no living process works in: of that kind, or of every kind whose remains tell nothing."""
    for name in _names(parent, kind):
        fd = _lock(f"{parent}/{name}")
        if fd >= 0:
            try:
                remove_tree(f"{parent}/{name}")
            finally:
                os.close(fd)


def abandoned(parent: str, kind: str) -> bool:
    """Whether there is one of that kind whose process is dead."""
    for name in _names(parent, kind):
        fd = _lock(f"{parent}/{name}")
        if fd >= 0:
            os.close(fd)
            return True
    return False


def _names(parent: str, kind: str) -> list[str]:
    try:
        names = os.listdir(parent)
    except FileNotFoundError:
        return []
    if kind:
        return [name for name in names if name.startswith(f"{PREFIX}{kind}-")]
    told = tuple(f"{PREFIX}{kept}-" for kept in KEPT)
    return [name for name in names if name.startswith(PREFIX) and not name.startswith(told)]


def _lock(path: str) -> int:
    """A descriptor that holds the directory's lock; -1 when another has it, or it is gone."""
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return -1
