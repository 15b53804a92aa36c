"""A container's root as one file descriptor: a mount that is in nobody's mount table and goes with the descriptor.

open_tree(2) with OPEN_TREE_CLONE makes it, from within the mount namespace where the root is: a thread goes there and
comes back with the descriptor. So the host's mount table never changes, and nothing is left when we are killed.
"""

from __future__ import annotations

import errno
import os

from tiffin.storage.host import unescaped
from tiffin.storage.inroot import open_in_root
from tiffin.storage.probe import MS_PRIVATE, MS_REC, in_private_mounts
from tiffin.storage.rootfs import IDMAP, MS_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.storage.probe import MountCalls
    from tiffin.storage.rootfs import MountStep

MS_BIND, MS_REMOUNT = 0x1000, 0x20

# What the kernel makes up, where reading has effects or no end and where writing sets the host up.
KERNEL_TYPES = frozenset(
    "proc sysfs cgroup cgroup2 devpts mqueue debugfs tracefs securityfs bpf pstore configfs efivarfs fusectl "
    "binfmt_misc selinuxfs hugetlbfs".split()
)


class Bind:
    """A host path, or what `subpath` names beneath it, to show at `target` inside.

    It is `mapped` with the ids of the container's user namespace.
    """

    __slots__ = ("mapped", "readonly", "source", "subpath", "target")

    def __init__(self, source: str, target: str, readonly: bool, subpath: str = "", mapped: bool = False) -> None:
        self.mapped = mapped
        self.source = source
        self.subpath = subpath
        self.target = target
        self.readonly = readonly


def mounted(
    steps: Sequence[MountStep],
    target: str,
    binds: Sequence[Bind] = (),
    *,
    read_only: bool = False,
    attributes: int = 0,
    userns_fd: int = -1,
) -> int:
    """The root that `steps` make at `target`, with `binds` in it, as a descriptor (O_PATH) to be closed by the caller.

    `attributes` are MS_* flags of that root, such as MS_NOSUID; `userns_fd` is the user namespace whose ids steps and
    binds are mapped to. A bind whose source or place is missing is left out. Raises `OSError`.
    """
    root_flags = attributes | (MS_RDONLY if read_only else 0)
    found: list[int] = []

    def work(calls: MountCalls) -> None:
        done: list[str] = []
        try:
            for step in steps:
                if step.fstype == IDMAP:
                    calls.mount_mapped(step.source, step.target, userns_fd, "mapping ids")
                else:
                    calls.mount(step.source, step.target, step.fstype, step.flags, step.data, "mounting the root")
                done.append(step.target)
            if root_flags:
                calls.mount("none", target, "", MS_REMOUNT | MS_BIND | root_flags, "", "a root that is limited")
            for bind in binds:
                _bind(calls, target, bind, userns_fd)
            found.append(calls.open_tree(target, recursive=bool(binds)))
        finally:
            # Now and not with the namespace, whose end the kernel may put off beyond the descriptor's.
            for place in reversed(done):
                calls.umount(place)

    _raise(in_private_mounts(work), found)
    return found[0]


def of_process(namespace_fd: int, place: str, *, submounts: bool) -> int:
    """The root of a mount namespace (`/proc/PID/ns/mnt`), as `mounted` gives it.

    With `submounts` what is mounted below is there, too, but for /dev and the kernel's own file systems; `place` is
    any directory to do that at. Without, it is the root's file system alone. Raises `OSError`.
    """
    found: list[int] = []

    def work(calls: MountCalls) -> None:
        own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            calls.enter(namespace_fd)
            tree = calls.open_tree("/", recursive=submounts)
            calls.enter(own)
        finally:
            os.close(own)
        if not submounts:
            found.append(tree)
            return
        try:
            calls.move_mount(tree, place)
        finally:
            os.close(tree)
        try:
            calls.mount("none", place, "", MS_REC | MS_PRIVATE, "", "private mounts")
            for path in _kernels(place):
                if os.path.lexists(path):
                    calls.umount(path)
            if left := _kernels(place):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), left[0].removeprefix(place))
            found.append(calls.open_tree(place, recursive=True))
        finally:
            calls.umount(place)

    _raise(in_private_mounts(work), found)
    return found[0]


def _raise(failure: OSError | None, found: list[int]) -> None:
    if failure is not None:
        for fd in found:
            os.close(fd)
        raise failure


def _bind(calls: MountCalls, root: str, bind: Bind, userns_fd: int) -> None:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            inside = open_in_root(root_fd, bind.target, os.O_PATH)
        except OSError:
            return
        try:
            if not os.path.exists(bind.source):
                return
            source = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
            try:
                if bind.subpath:
                    # Whoever has the source mounted may be changing it: links in it lead to places in it.
                    below, source = source, -1
                    try:
                        source = open_in_root(below, bind.subpath, os.O_PATH)
                    except OSError:
                        return
                    finally:
                        os.close(below)
                found, place = f"/proc/self/fd/{source}", f"/proc/self/fd/{inside}"
                doing = f"showing {bind.source}"
                if bind.mapped:
                    calls.mount_mapped(found, place, userns_fd, doing, recursive=True)
                else:
                    calls.mount(found, place, "", MS_BIND | MS_REC, "", doing)
            finally:
                if source >= 0:
                    os.close(source)
        finally:
            os.close(inside)
        if bind.readonly:
            covered = open_in_root(root_fd, bind.target, os.O_PATH)
            try:
                flags = MS_REMOUNT | MS_BIND | MS_RDONLY
                calls.mount("none", f"/proc/self/fd/{covered}", "", flags, "", f"showing {bind.source}")
            finally:
                os.close(covered)
    finally:
        os.close(root_fd)


def _kernels(place: str) -> list[str]:
    """Mount points below `place` that nobody is to copy to or from; outermost ones only."""
    found: list[str] = []
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            fields = os.fsdecode(line).split(" ")
            point = unescaped(fields[4])
            if not point.startswith(f"{place}/"):
                continue
            kind = fields[fields.index("-") + 1]
            if kind in KERNEL_TYPES or point == f"{place}/dev":
                found.append(point)
    return [path for path in found if not any(path.startswith(f"{other}/") for other in found)]
