"""Try mounts without anybody seeing them: in a thread of its own, which has a mount namespace of its own.

unshare(2): for CLONE_NEWNS only the calling thread leaves; the namespace is gone with the thread.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWNS = 0x0002_0000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 2
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_AT_FDCWD = -100
_AT_RECURSIVE, _OPEN_TREE_CLONE, _FROM_EMPTY_PATH, _TO_SYMLINK = 0x8000, 1, 4, 0x10
_AT_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 0x1000, 0x0010_0000


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

    def open_tree(self, path: str, *, recursive: bool) -> int:
        """A copy of the mount at `path` that is in no mount table, as a descriptor; open_tree(2)."""
        flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
        fd = int(self._libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags))
        self._checked(min(fd, 0), "open_tree")
        return fd

    def move_mount(self, tree_fd: int, target: str) -> None:
        """Put what `open_tree` gave at `target`; move_mount(2)."""
        self._checked(
            self._libc.syscall(
                _MOVE_MOUNT, tree_fd, b"", _AT_FDCWD, os.fsencode(target), _FROM_EMPTY_PATH | _TO_SYMLINK
            ),
            "move_mount",
        )

    def map_ids(self, tree_fd: int, userns_fd: int, doing: str) -> None:
        """Have the files of what `open_tree` gave appear with the ids of a user namespace; mount_setattr(2)."""
        attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, userns_fd)
        flags = _AT_EMPTY_PATH | _AT_RECURSIVE
        self._checked(self._libc.syscall(_MOUNT_SETATTR, tree_fd, b"", flags, attributes, len(attributes)), doing)

    def mount_mapped(self, source: str, target: str, userns_fd: int, doing: str, *, recursive: bool = False) -> None:
        """Mount what is at `source` at `target`, with the ids of its files mapped."""
        tree = self.open_tree(source, recursive=recursive)
        try:
            self.map_ids(tree, userns_fd, doing)
            self.move_mount(tree, target)
        finally:
            os.close(tree)

    def enter(self, namespace_fd: int) -> None:
        """Have this thread go to another mount namespace; setns(2)."""
        self._checked(self._libc.setns(namespace_fd, CLONE_NEWNS), "entering the mount namespace")

    def umount(self, target: str, flags: int = MNT_DETACH) -> None:
        self._checked(self._libc.umount2(os.fsencode(target), flags), f"unmounting {target}")


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
    from tiffin.storage.workspace import Workspace

    with Workspace(parent, "probe") as directory:
        return in_private_mounts(lambda calls: work(calls, directory))
