"""Paths of /proc and /sys that a container does not see or cannot change, and the sysctls that it may set."""

from __future__ import annotations

import os

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiffin.runtime.security.options import SecurityOptions

# Docker's list: they tell about, or reach, the whole host. A path that does not exist is skipped by the launcher.
MASKED: tuple[str, ...] = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY: tuple[str, ...] = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_IPC_SYSCTLS = frozenset(
    "kernel." + name for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def masked_paths(options: SecurityOptions, privileged: bool, cpus: str = "/sys/devices/system/cpu") -> tuple[str, ...]:
    """What to hide, in the order to hide it; for a privileged container nothing but what `mask=` names.

    With the host's thermal throttle counters, which tell one tenant what another is doing.
    """
    if privileged or options.system_paths_unconfined:
        return options.mask
    throttled: list[str] = []
    if os.path.isdir(f"{cpus}/cpu0/thermal_throttle"):
        names = sorted(
            (name for name in os.listdir(cpus) if name.startswith("cpu") and name[3:].isdigit()),
            key=lambda name: int(name[3:]),
        )
        throttled = [f"/sys/devices/system/cpu/{name}/thermal_throttle" for name in names]
    return (*_kept((*MASKED, *throttled), options.unmask), *options.mask)


def readonly_paths(options: SecurityOptions, privileged: bool) -> tuple[str, ...]:
    """What to make read-only; nothing for a privileged container."""
    if privileged or options.system_paths_unconfined:
        return ()
    return _kept(READONLY, options.unmask)


def _kept(paths: tuple[str, ...], unmask: tuple[str, ...]) -> tuple[str, ...]:
    if not unmask:
        return paths
    if any(pattern.upper() == "ALL" for pattern in unmask):
        return ()
    from fnmatch import fnmatchcase

    return tuple(path for path in paths if not any(fnmatchcase(path, pattern.rstrip("/")) for pattern in unmask))


def check_sysctls(sysctls: Iterable[tuple[str, str]], *, network: str, ipc: str) -> None:
    """Refuse with UsageError what belongs to the host and not to one of the container's own namespaces.

    `network` and `ipc` are the modes of `ContainerConfig`; "host" and "container:…" share somebody else's.
    """
    for key, _ in sysctls:
        name = key.replace("/", ".")
        if name.startswith("net."):
            _own(key, "network", network)
        elif name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            _own(key, "IPC", ipc)
        else:
            raise UsageError(
                f"the sysctl {key!r} belongs to the whole host, so a container cannot have its own",
                hint="net.*, fs.mqueue.* and kernel.{msg*,sem,shm*} can be set",
            )


def _own(key: str, kind: str, mode: str) -> None:
    if mode == "host" or mode.startswith(("container:", "ns:")):
        raise UsageError(
            f"the sysctl {key!r} cannot be set, because the container shares the {kind} namespace ({mode})"
        )
