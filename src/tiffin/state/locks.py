"""Locks between processes and threads: flock(2) on the thing's own directory."""

from __future__ import annotations

import fcntl
import os

from tiffin.errors import os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths


class ContainerLock:
    """`with ContainerLock(paths, id): …` keeps every other process and thread from changing that container.

    Released by the kernel when its holder dies. Whoever holds it must look whether the container still has a record:
    the directory is made if it is missing, since a record comes before its directory and goes after it.
    """

    def __init__(self, paths: Paths, container_id: str) -> None:
        self._path = paths.container(container_id)
        self._id = container_id
        self._fd = -1

    def __enter__(self) -> None:
        try:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                os.makedirs(self._path, mode=0o711, exist_ok=True)
                self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise os_error(error, f"cannot lock container {self._id[:12]}") from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
