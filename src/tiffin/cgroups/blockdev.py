"""Which disks carry a file: what block IO is limited and weighed by (sysfs(5), proc(5) on mountinfo).

The kernel throttles where a file system hands its requests over: the whole disk for a partition, otherwise the device
itself, be it a disk, a loop device, device mapper's or an array. File systems without a device of their own (btrfs
numbers its subvolumes, overlay has layers) are followed to those below.
"""

from __future__ import annotations

import os
import stat

from tiffin.cgroups import files
from tiffin.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_DEPTH = 8  # overlays on overlays


def disk_of(path: str) -> str:
    """ "MAJOR:MINOR" of the disk that a device's node is, or is a partition of. UsageError for anything else."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UsageError(f"cannot limit the device {path}: {error.strerror}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise UsageError(f"cannot limit {path}: it is not a block device")
    return _whole(found.st_rdev)


def disks_of(paths: Iterable[str]) -> tuple[str, ...]:
    """The disks that carry files, or are them, in order; what is on no disk (tmpfs, NFS) or missing has none."""
    found: set[str] = set()
    for path in paths:
        found |= _beneath(path, 0)
    return tuple(sorted(found, key=lambda number: tuple(map(int, number.split(":")))))


def disk_name(number: str) -> str:
    """What the kernel calls it, such as "sda"; its number when it is gone."""
    try:
        return os.path.basename(os.path.realpath(f"/sys/dev/block/{number}", strict=True))
    except OSError:
        return number


def scheduler(number: str) -> str:
    """The disk's IO scheduler, such as "mq-deadline"; "none" for disks without a queue."""
    words = (files.read(f"/sys/dev/block/{number}/queue/scheduler") or "").split()
    return next((word.strip("[]") for word in words if word.startswith("[")), "none")


def weighs(number: str, version: int, root: str = "") -> bool:
    """Whether the disk goes by weights: BFQ does, and with v2 io.cost, if it is on. `root` is that of the v2 tree."""
    if scheduler(number) in ("bfq", "cfq"):
        return True
    if version == 1:
        return False
    lines = (files.read(f"{root}/io.cost.qos") or "").splitlines()
    return any(line.split()[0] == number and "enable=1" in line.split() for line in lines if line)


def _whole(device: int) -> str:
    number = f"{os.major(device)}:{os.minor(device)}"
    place = f"/sys/dev/block/{number}"
    if os.path.exists(f"{place}/partition"):
        return files.read(f"{os.path.dirname(os.path.realpath(place))}/dev") or number
    return number


def _beneath(path: str, depth: int) -> set[str]:
    try:
        found = os.stat(path)
    except OSError:
        return set()
    if stat.S_ISBLK(found.st_mode):
        return {_whole(found.st_rdev)}
    if os.major(found.st_dev):
        return {_whole(found.st_dev)}
    return _without_number(path, depth) if depth < _MAX_DEPTH else set()


def _without_number(path: str, depth: int) -> set[str]:
    """The disks below a file system whose own number is made up."""
    kind, source, options = _mount_of(os.path.realpath(path))
    disks: set[str] = set()
    if kind == "overlay":
        for option in options.split(","):
            name, _, value = option.partition("=")
            if name in ("upperdir", "lowerdir", "lowerdir+", "datadir+"):
                for place in value.split(":"):
                    disks |= _beneath(place, depth + 1) if place else set()
        return disks
    for place in source.split(":") if source.startswith("/dev/") else ():  # bcachefs names all of its own
        disks |= {_whole(os.stat(place).st_rdev)} if _is_block(place) else set()
    if kind == "btrfs":
        name = os.path.basename(os.path.realpath(source))
        for top in files.list_names("/sys/fs/btrfs"):
            members = _names(f"/sys/fs/btrfs/{top}/devices")
            if name in members:
                disks |= {disk for member in members for disk in _beneath(f"/dev/{member}", depth + 1)}
    return disks


def _is_block(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _mount_of(path: str, mountinfo: str = "/proc/self/mountinfo") -> tuple[str, str, str]:
    """Type, source and options of the mount that a path is in: the last of the longest."""
    from tiffin.cgroups.layout import unescape

    best, found = -1, ("", "", "")
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise HostError(f"cannot read the mount table {mountinfo!r}: {error.strerror}") from error
    for line in lines:
        before, _, after = line.partition(" - ")
        place = unescape(before.split()[4])
        if len(place) >= best and (path == place or path.startswith(place.rstrip("/") + "/")):
            kind, source, options = [*after.split(" ", 2), "", ""][:3]
            best, found = len(place), (kind, unescape(source), unescape(options))
    return found
