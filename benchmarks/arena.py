"""A mount namespace of one's own for the whole benchmark: what the peers mount in it ends with it.

On a hybrid host crun refuses to start while the v2 hierarchy has a controller; the only one that it usually has,
hugetlb, is mounted as v1 inside, where the peers see it and the host does not.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys

CGROUPS = "/sys/fs/cgroup"
CLONE_NEWNS = 0x20000
MNT_DETACH = 2
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
PEER_CGROUPS = ("libpod_parent", "tiffin-bench")

_libc = ctypes.CDLL(None, use_errno=True)


def enter(work: str) -> None:
    """Move this process into a private mount namespace; `work` is a directory for what is mounted."""
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare (run the benchmark as root)")
    _mount("", "/", "", MS_REC | MS_PRIVATE)
    if _hybrid_with_hugetlb():
        _mount_hugetlb(f"{work}/cgroup")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source} on {target}: {os.strerror(number)}")


def _hybrid_with_hugetlb() -> bool:
    try:
        with open(f"{CGROUPS}/unified/cgroup.controllers") as file:
            return file.read().split() == ["hugetlb"]
    except FileNotFoundError:
        return False


def _mount_hugetlb(copy: str) -> None:
    # The tmpfs with the hierarchies is the host's: a directory made in it would be seen there, so it is copied.
    os.makedirs(copy, exist_ok=True)
    _mount("cgroup", copy, "tmpfs", 0, "mode=755")
    for name in os.listdir(CGROUPS):
        source = f"{CGROUPS}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), f"{copy}/{name}")
        elif os.path.isdir(source):
            os.mkdir(f"{copy}/{name}")
            _mount(source, f"{copy}/{name}", "", MS_BIND | MS_REC)
    os.mkdir(f"{copy}/hugetlb")
    _mount("cgroup", f"{copy}/hugetlb", "cgroup", 0, "hugetlb")
    _mount(copy, CGROUPS, "", MS_MOVE)


def peer_cgroups() -> list[str]:
    """The cgroups of the peers, deepest first. Those in hugetlb are all theirs: it was mounted here."""
    found = []
    for top, _, _ in os.walk(CGROUPS, topdown=False):
        inside = os.path.relpath(top, CGROUPS).split(os.sep)
        mine = any(part.startswith(PEER_CGROUPS) for part in inside) or (inside[0] == "hugetlb" and len(inside) > 1)
        if mine:
            found.append(top)
    return found


def remove_cgroups(before: list[str]) -> None:
    """Remove the cgroups that the peers made since `before` and left."""
    for path in peer_cgroups():
        if path in before:
            continue
        try:
            os.rmdir(path)
        except OSError as error:
            print(f"cannot remove {path}: {error.strerror}", file=sys.stderr)


def remove_tree(path: str) -> None:
    """Remove a directory in which peers may have left something mounted."""
    with open("/proc/self/mountinfo") as file:
        mounted = [line.split()[4] for line in file]
    for target in reversed(mounted):
        if target.startswith(path + "/") and _libc.umount2(target.encode(), MNT_DETACH) != 0:
            print(f"cannot unmount {target}: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    shutil.rmtree(path)
