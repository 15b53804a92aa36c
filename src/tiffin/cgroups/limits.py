"""Checks and conversions of limits that both cgroup versions share."""

from __future__ import annotations

import os

from tiffin.errors import HostError, UsageError
from tiffin.model.resources import Resources

MINIMUM_MEMORY_BYTES = 6 << 20
CPU_PERIOD_US = 100_000
MINIMUM_CPUS = 0.01  # 1 ms of every 100 ms, the kernel's least quota
SHARES = (2, 262_144)
DEFAULT_SHARES = 1024


def normalized(resources: Resources) -> Resources:
    """The same limits with Docker's "0 means unset" turned into None, and "0 processes" into unlimited."""
    changes: dict[str, object] = {
        name: None
        for name in (
            "memory_bytes",
            "memory_swap_bytes",
            "memory_reservation_bytes",
            "cpus",
            "cpu_shares",
            "cpuset_cpus",
            "cpuset_mems",
        )
        if getattr(resources, name) is not None and not getattr(resources, name)
    }
    if resources.pids_limit == 0:
        changes["pids_limit"] = -1
    return resources.replace(**changes) if changes else resources


def check(resources: Resources, *, online_cpus: str | None = None, online_mems: str | None = None) -> None:
    """Refuse with UsageError what makes no sense on any host, or not with the processors and memory nodes here.

    `resources` are normalized; `online_*` are lists such as "0-3", None when the host does not tell.
    """
    _check_memory(resources)
    if resources.cpus is not None:
        available = os.cpu_count() or 1
        if not MINIMUM_CPUS <= resources.cpus <= available:
            raise UsageError(
                f"cpus must be within {MINIMUM_CPUS} and {available}, which this host has: {resources.cpus:g}"
            )
    if resources.cpu_shares is not None and not SHARES[0] <= resources.cpu_shares <= SHARES[1]:
        raise UsageError(f"cpu shares must be within {SHARES[0]} and {SHARES[1]}: {resources.cpu_shares}")
    if resources.pids_limit is not None and resources.pids_limit < -1:
        raise UsageError(f"the pids limit must be positive, or -1 for none: {resources.pids_limit}")
    for what, asked, online in (
        ("processors", resources.cpuset_cpus, online_cpus),
        ("memory nodes", resources.cpuset_mems, online_mems),
    ):
        if asked is None:
            continue
        numbers = parse_set(asked, what)
        if online is not None and not numbers <= parse_set(online, what):
            raise UsageError(f"the {what} {asked} are not all available on this host, which has {online}")


def _check_memory(resources: Resources) -> None:
    memory, swap = resources.memory_bytes, resources.memory_swap_bytes
    reservation = resources.memory_reservation_bytes
    for what, value in (("memory limit", memory), ("memory reservation", reservation)):
        if value is not None and value < MINIMUM_MEMORY_BYTES:
            raise UsageError(
                f"a {what} of {value} bytes is too small: the least is 6 MB ({MINIMUM_MEMORY_BYTES} bytes)"
            )
    if swap is not None and swap < -1:
        raise UsageError(f"the limit of memory plus swap must be positive, or -1 for none: {swap}")
    if memory is not None and swap is not None and swap != -1 and swap < memory:
        raise UsageError(
            f"the limit of memory plus swap ({swap} bytes) is below the memory limit ({memory} bytes)",
            hint="it counts both together",
        )
    if memory is not None and reservation is not None and reservation > memory:
        raise UsageError(f"the memory reservation ({reservation} bytes) exceeds the memory limit ({memory} bytes)")


def check_update(memory: int | None, total: int | None) -> None:
    """Refuse a change after which memory could exceed memory plus swap; None is no limit, and so is a total of -1."""
    if total is None or total == -1 or (memory is not None and memory <= total):
        return
    shown = "none" if memory is None else f"{memory} bytes"
    raise UsageError(
        f"the memory limit ({shown}) would exceed the limit of memory plus swap ({total} bytes)",
        hint="change both in one update",
    )


def check_swap_has_memory(resources: Resources) -> None:
    """A new container's swap limit needs a memory limit (an existing one may have it already)."""
    if resources.memory_bytes is None and (resources.memory_swap_bytes or 0) > 0:
        raise UsageError("a limit of memory plus swap needs a memory limit as well")


def parse_set(text: str, what: str = "processors") -> set[int]:
    """The numbers of a list such as "0-2,7". UsageError for anything else."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{text!r} is not a list of {what} such as 0-2,7")
        low, high = int(first), int(last or first)
        if high < low or high > 65535:
            raise UsageError(f"{text!r} is not a list of {what} such as 0-2,7")
        numbers.update(range(low, high + 1))
    return numbers


NEEDS = (
    ("memory", ("memory_bytes", "memory_swap_bytes", "memory_reservation_bytes"), "memory"),
    ("cpu", ("cpus", "cpu_shares"), "processor time"),
    ("cpuset", ("cpuset_cpus", "cpuset_mems"), "the choice of processors"),
    ("pids", ("pids_limit",), "the number of processes"),
)


def check_controllers(resources: Resources, available: frozenset[str]) -> None:
    """HostError naming the controller that a limit needs and the host lacks; no limit needs none."""
    for controller, fields, subject in NEEDS:
        if controller in available:
            continue
        values = [getattr(resources, field) for field in fields]
        if any(value not in (None, -1) for value in values):
            raise HostError(
                f"this host has no {controller!r} cgroup controller, so {subject} cannot be limited",
                hint="see /proc/cgroups, and cgroup_enable= on the kernel's command line",
            )


def quota_us(cpus: float) -> int:
    """Microseconds of processor time in each period of `CPU_PERIOD_US`."""
    return round(cpus * CPU_PERIOD_US)


def weight_of_shares(shares: int) -> int:
    """cgroup v2's cpu.weight (1 to 10,000) for v1's cpu.shares (2 to 262,144), with 1024 as 100.

    The curve that the OCI runtimes have used since 2025, through both ends and the default: 10^(l²/612 + 125·l/612 -
    7/34) with l = log2(shares).
    """
    import math

    if shares <= SHARES[0]:
        return 1
    if shares >= SHARES[1]:
        return 10_000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def shares_of_weight(weight: int) -> int:
    """The least shares that come to at least `weight`; 1024 for the default 100."""
    if weight == 100:
        return DEFAULT_SHARES
    low, high = SHARES
    while low < high:
        middle = (low + high) // 2
        if weight_of_shares(middle) >= weight:
            high = middle
        else:
            low = middle + 1
    return low
