"""Try mounts without anybody seeing them: in a thread of its own, which has a mount namespace of its own.

unshare(2): for CLONE_NEWNS only the calling thread leaves; the namespace is gone with the thread.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWNS = 0x0002_0000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 2


class MountCalls:
    """mount(2) and umount2(2); failures raise `OSError` with the step's words in place of a file name."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _checked(self, result: int, doing: str) -> None:
        if result != 0:
            number = self._ctypes.get_errno()
            raise OSError(number, os.strerror(number), doing)

    def unshare(self, flags: int) -> None:
        self._checked(self._libc.unshare(flags), "a mount namespace of its own")

    def mount(self, source: str, target: str, fstype: str, flags: int, data: str, doing: str) -> None:
        encode = os.fsencode
        number = self._ctypes.c_ulong(flags)
        self._checked(self._libc.mount(encode(source), encode(target), encode(fstype), number, encode(data)), doing)

    def umount(self, target: str) -> None:
        self._checked(self._libc.umount2(os.fsencode(target), MNT_DETACH), f"unmounting {target}")


def in_private_mounts(work: Callable[[MountCalls], None]) -> OSError | None:
    """Run `work` in a thread whose mounts nobody else sees; returns the `OSError` that it raised, if any."""
    from threading import Thread

    failure: list[BaseException] = []

    def run() -> None:
        try:
            calls = MountCalls()
            calls.unshare(CLONE_NEWNS)
            calls.mount("none", "/", "", MS_REC | MS_PRIVATE, "", "private mounts")
            work(calls)
        except BaseException as error:  # handed to the caller's thread below
            failure.append(error)

    thread = Thread(target=run, name="tiffin-probe")
    thread.start()
    thread.join()
    if not failure:
        return None
    if isinstance(failure[0], OSError):
        return failure[0]
    raise failure[0]


def try_mounts(parent: str, work: Callable[[MountCalls, str], None]) -> OSError | None:
    """`in_private_mounts` with a new directory below `parent` for `work`, which is gone afterwards."""
    from tiffin.storage.objects import make_directory
    from tiffin.storage.removal import remove_tree

    directory = f"{parent}/probe-{os.getpid()}-{os.urandom(6).hex()}"
    make_directory(directory)
    try:
        return in_private_mounts(lambda calls: work(calls, directory))
    finally:
        remove_tree(directory)
