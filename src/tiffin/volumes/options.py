"""Options of the driver `local`: volumes that are mounts, made in each container's own mount namespace at its start.

The host's mount table never changes, so a mount goes with the last container that has it. A tmpfs is a new one each
time it is mounted: a second container takes it from one that runs.
"""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.storage.rootfs import MountStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiffin.model.container import Mount
    from tiffin.paths import Paths

MS_BIND = 0x1000
# linux/magic.h: file systems that begin empty at each mount(2).
FRESH = {"tmpfs": 0x0102_1994, "ramfs": 0x8584_58F6}


def check_options(name: str, options: Mapping[str, str]) -> None:
    """Raises `UsageError` with Docker's words, `NotSupportedError` for a quota."""
    for key in options:
        if key not in ("type", "device", "o", "size"):
            raise UsageError(f'create {name}: invalid option: "{key}"')
    if "size" in options:
        raise NotSupportedError(
            f"create {name}: quota size requested but no quota support",
            hint="Tiffin sets no project quotas; a tmpfs volume has a size: "
            "-o type=tmpfs -o device=tmpfs -o o=size=100m",
        )
    for key, needed in (("device", ("type",)), ("type", ("device",)), ("o", ("device", "type"))):
        for other in needed:
            if options.get(key) and not options.get(other):
                raise UsageError(f'create {name}: missing required option: "{other}"')


def step(paths: Paths, mount: Mount) -> MountStep | None:
    """The mount at the volume's directory that a container needs; None for a volume that is just a directory."""
    options = dict(mount.volume_options)
    device, kind = options.get("device", ""), options.get("type", "")
    if not device:
        return None
    flags, data = parse(options.get("o", ""))
    if kind in ("nfs", "nfs4", "cifs"):
        data = _with_address(data)
    place = f"{paths.volumes}/{mount.source}/_data"
    shown = f"mount {device}:{place}" + (f", data: {data}" if data else "")
    return MountStep(
        source=device,
        target=place,
        fstype="" if flags & MS_BIND else kind,
        flags=flags,
        data="" if flags & MS_BIND else data,
        doing=f"mount volume '{place}': failed to mount local volume: {shown}",
    )


def directory(mount: Mount) -> str:
    """The host's directory that a volume is another name of; "" for every other kind."""
    options = dict(mount.volume_options)
    return options.get("device", "") if parse(options.get("o", ""))[0] & MS_BIND else ""


def parse(text: str) -> tuple[int, str]:
    """MS_* flags and the file system's own options, of a list as mount(8) takes it."""
    from tiffin.runtime.mount_options import MS_CLEARED, MS_FLAGS, MS_REC, PROPAGATION

    flags = 0
    data = []
    for word in text.split(",") if text else ():
        if word in ("bind", "rbind"):
            flags |= MS_BIND | (MS_REC if word == "rbind" else 0)
        elif word in MS_FLAGS:
            flags |= MS_FLAGS[word]
        elif word in MS_CLEARED:
            flags &= ~MS_FLAGS[MS_CLEARED[word]]
        elif word in PROPAGATION:
            flags |= PROPAGATION[word]
        elif word not in ("defaults", ""):
            data.append(word)
    return flags, ",".join(data)


def _with_address(data: str) -> str:
    """The kernel's NFS and CIFS want numbers where people write names."""
    words = data.split(",")
    for place, word in enumerate(words):
        if word.startswith("addr="):
            words[place] = f"addr={_address(word.removeprefix('addr='))}"
    return ",".join(words)


def _address(name: str) -> str:
    import socket

    try:
        return str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError as error:
        what = "failed to mount local volume: error resolving passed in network volume address"
        raise UsageError(f"{what}: {name}: {error.strerror}") from error


def joined(mount: Mount, running: list[tuple[int, int, str]]) -> tuple[int, int, str, int] | None:
    """Where a volume that begins empty is mounted already: process, its start, path inside, f_type; None: nowhere.

    `running` are (process, start ticks, target) of the containers that use the volume.
    """
    magic = FRESH.get(dict(mount.volume_options).get("type", ""))
    if magic is None:
        return None
    for pid, ticks, target in running:
        if _has_mount(pid, target, dict(mount.volume_options)["type"]):
            return pid, ticks, target, magic
    return None


def _has_mount(pid: int, target: str, kind: str) -> bool:
    from tiffin.storage.host import unescaped

    found = False
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            for line in file:
                fields = os.fsdecode(line).split(" ")
                if unescaped(fields[4]) == target:
                    found = fields[3] == "/" and fields[fields.index("-") + 1] == kind
    except OSError:
        return False
    return found
