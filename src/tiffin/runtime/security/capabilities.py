"""Capabilities: names, bits, and what `--cap-add`, `--cap-drop` and `--privileged` come to (capabilities(7))."""

from __future__ import annotations

from tiffin.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their bits, include/uapi/linux/capability.h.
_BY_BIT = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES: tuple[str, ...] = tuple(_BY_BIT.split())
BITS: dict[str, int] = {name: bit for bit, name in enumerate(NAMES)}
ALL = (1 << len(NAMES)) - 1

# What Docker gives.
_USUAL = """
CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE
SETFCAP
"""
DEFAULT: tuple[str, ...] = tuple(_USUAL.split())


def mask_of(names: Iterable[str]) -> int:
    """The bit mask of names as in `NAMES`, with or without "CAP_". KeyError for an unknown one."""
    mask = 0
    for name in names:
        mask |= 1 << BITS[name.upper().removeprefix("CAP_")]
    return mask


def names_of(mask: int) -> tuple[str, ...]:
    """The names in a mask, by bit, each with "CAP_" as the OCI runtime spec writes them."""
    return tuple("CAP_" + name for bit, name in enumerate(NAMES) if mask >> bit & 1)


DEFAULT_MASK = mask_of(DEFAULT)


def resolve(
    cap_add: Iterable[str], cap_drop: Iterable[str], privileged: bool, bounding: int
) -> tuple[int, tuple[str, ...]]:
    """The container's capability mask, and the names of those that it should have but the host cannot give.

    Docker's grammar: names in any case, with or without CAP_, or ALL. `--cap-add ALL` gives all but the dropped ones,
    `--cap-drop ALL` only the added ones; else the default set loses the dropped and gains the added.
    `bounding` is the mask that this process may hand on. UsageError for an unknown name.
    """
    add_all, add = _parse(cap_add, "--cap-add")
    drop_all, drop = _parse(cap_drop, "--cap-drop")
    if privileged:
        wanted = ALL
    elif add_all:
        wanted = ALL & ~drop
    elif drop_all:
        wanted = add
    else:
        wanted = DEFAULT_MASK & ~drop | add
    return wanted & bounding, names_of(wanted & ~bounding)


def _parse(names: Iterable[str], option: str) -> tuple[bool, int]:
    everything, mask = False, 0
    for given in names:
        name = given.strip().upper().removeprefix("CAP_")
        if name == "ALL":
            everything = True
        elif name in BITS:
            mask |= 1 << BITS[name]
        else:
            raise UsageError(f"unknown capability {given!r} in {option}", hint="capabilities(7) lists them")
    return everything, mask


def host_bounding(status_file: str = "/proc/self/status") -> int:
    """The bounding set of this process: what no child of it can exceed. HostError when /proc does not tell."""
    try:
        with open(status_file, "rb") as file:
            for line in file:
                if line.startswith(b"CapBnd:"):
                    return int(line.split()[1], 16)
    except OSError as error:
        raise HostError(f"cannot read the capability bounding set: {error.strerror} {status_file!r}") from error
    raise HostError(f"cannot read the capability bounding set: no CapBnd line in {status_file!r}")
