"""What is wrong with a mount that was asked for, in Docker's words."""

from __future__ import annotations

import os

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Mount

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
# What runc lets somebody cover in /proc; the rest is what others take the kernel's word from.
PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip
# Relabelling these would lock the host out of its own files.
NEVER_RELABELLED = frozenset(("/", "/etc", "/home", "/usr"))


def check_mount(mount: Mount) -> None:
    """Raises `UsageError` for what no host could mount."""
    if mount.type not in ("bind", "volume", "tmpfs", "image"):
        raise _bad(mount, "mount type unknown")
    if not mount.target:
        raise _bad(mount, "field Target must not be empty")
    if not mount.target.startswith("/"):
        raise _bad(mount, f"invalid mount path: '{mount.target}' mount path must be absolute")
    target = "/" + os.path.normpath(mount.target).lstrip("/")
    if target == "/":
        raise _bad(mount, "invalid specification: destination can't be '/'")
    if mount.type in ("bind", "image") and not mount.source:
        raise _bad(mount, "field Source must not be empty")
    if mount.type == "tmpfs" and mount.source:
        raise _bad(mount, "field Source must not be specified")
    if mount.type == "bind" and not mount.source.startswith("/"):
        raise _bad(mount, f"invalid mount path: '{mount.source}' mount path must be absolute")
    if mount.propagation not in PROPAGATIONS:
        raise _bad(mount, f"invalid propagation mode: {mount.propagation}")
    if mount.subpath and (mount.subpath.startswith("/") or _leaves(mount.subpath)):
        raise _bad(mount, "subpath must be a relative path within the volume")
    _check_proc(mount, target)
    source = os.path.normpath(mount.source)
    if mount.relabel and mount.type == "bind" and source in NEVER_RELABELLED:
        raise UsageError(f"SELinux relabeling of {source} is not allowed")


def _bad(mount: Mount, reason: str) -> UsageError:
    return UsageError(f'invalid mount config for type "{mount.type}": {reason}')


def _leaves(path: str) -> bool:
    return os.path.normpath(path).split("/")[0] == ".."


def _check_proc(mount: Mount, target: str) -> None:
    """As runc does it, but before anything is mounted; the launcher looks again, where links may lead elsewhere."""
    if target == "/proc" and not (mount.type == "bind" and os.path.normpath(mount.source) == "/proc"):
        raise UsageError('"/proc" cannot be mounted because it is not of type proc')
    if target.startswith("/proc/") and target not in PROC_FILES:
        raise UsageError(f'"{target}" cannot be mounted because it is inside /proc')


def check_source(mount: Mount) -> None:
    """Raises `UsageError` when the source of a bind is not there, or not mounted as its propagation needs it."""
    if mount.type != "bind":
        return
    if not mount.create_source and not os.path.exists(mount.source):
        raise _bad(mount, f"bind source path does not exist: {mount.source}")


def check_propagation(mount: Mount) -> None:
    """Raises `UsageError` when the host's mount at a bind's source is not shared as the bind wants to share it.

    Docker's check, at each start: a mount with the source is shared, or a slave, as proc_pid_mountinfo(5) tells.
    """
    if mount.type != "bind" or mount.propagation in ("private", "rprivate"):
        return
    point, fields = mounted_at(os.path.realpath(mount.source))
    shared = any(field.startswith("shared:") for field in fields)
    if mount.propagation in ("shared", "rshared"):
        if not shared:
            raise UsageError(f"path {mount.source} is mounted on {point} but it is not a shared mount")
    elif not shared and not any(field.startswith("master:") for field in fields):
        raise UsageError(f"path {mount.source} is mounted on {point} but it is not a shared or slave mount")


def mounted_at(path: str) -> tuple[str, list[str]]:
    """The mount point that a path lies under, and the optional fields of that mount."""
    from tiffin.storage.host import unescaped

    best: tuple[str, list[str]] = ("/", [])
    with open("/proc/thread-self/mountinfo", "rb") as file:
        for line in file:
            fields = os.fsdecode(line).split(" ")
            point = unescaped(fields[4])
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):  # later mounts cover earlier ones
                best = (point, fields[6 : fields.index("-")])
    return best
