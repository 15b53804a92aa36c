"""Checks and conversions of limits that both cgroup versions share."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.resources import Resources

MINIMUM_MEMORY_BYTES = 6 << 20
CPU_PERIOD_US = 100_000
RT_PERIOD_US = 1_000_000
MINIMUM_CPUS = 0.01  # 1 ms of every 100 ms, the kernel's least quota
SHARES = (2, 262_144)
IO_WEIGHTS = (10, 1000)
MAXIMUM_RATES = {"bps": 2**63 - 1, "iops": 2**32 - 1}  # what the kernel's numbers hold
_PERIOD_US = (1000, 1_000_000)
_ZERO_IS_UNSET = (
    "memory_bytes", "memory_swap_bytes", "memory_reservation_bytes", "memory_min_bytes", "memory_high_bytes", "cpus",
    "cpu_quota_us", "cpu_period_us", "cpu_shares", "cpu_rt_runtime_us", "cpu_rt_period_us", "cpuset_cpus",
    "cpuset_mems", "io_weight", "device_weights", "device_read_bps", "device_write_bps", "device_read_iops",
    "device_write_iops", "hugetlb", "rdma", "misc",
)  # fmt: skip
DEFAULT_SHARES = 1024


def normalized(resources: Resources) -> Resources:
    """The same limits with Docker's "0 means unset" turned into None, and "0 processes" into unlimited."""
    changes: dict[str, object] = {
        name: None for name in _ZERO_IS_UNSET if getattr(resources, name) is not None and not getattr(resources, name)
    }
    if resources.memory_swappiness == -1:
        changes["memory_swappiness"] = None
    if resources.pids_limit == 0:
        changes["pids_limit"] = -1
    return resources.replace(**changes) if changes else resources


def check(resources: Resources, *, online_cpus: str | None = None, online_mems: str | None = None) -> None:
    """Refuse with UsageError what makes no sense on any host, or not with the processors and memory nodes here.

    `resources` are normalized; `online_*` are lists such as "0-3", None when the host does not tell.
    """
    _check_memory(resources)
    _check_more_memory(resources)
    _check_bandwidth(resources)
    _check_block(resources)
    if resources.hugetlb or resources.rdma or resources.misc:
        _check_pairs(resources)
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


def _check_more_memory(resources: Resources) -> None:
    memory, least, high = resources.memory_bytes, resources.memory_min_bytes, resources.memory_high_bytes
    for option, value in (("memory-min", least), ("memory-high", high)):
        if value is None or value == -1:
            continue
        if value < 1:
            raise UsageError(f"--{option} must be positive, or -1 for none: {value}")
        if memory is not None and value > memory:
            raise UsageError(f"--{option} ({value} bytes) exceeds the memory limit ({memory} bytes)")
    if least is not None and high is not None and -1 != high < least:
        raise UsageError(f"--memory-min ({least} bytes) exceeds --memory-high ({high} bytes)")
    swappiness = resources.memory_swappiness
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise UsageError(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _check_bandwidth(resources: Resources) -> None:
    quota, period, burst = resources.cpu_quota_us, resources.cpu_period_us, resources.cpu_burst_us
    for what, value in (("Quota", quota), ("Period", period)):
        if value is not None and resources.cpus is not None:
            raise UsageError(f"Conflicting options: Nano CPUs and CPU {what} cannot both be set")
    if period is not None and not _PERIOD_US[0] <= period <= _PERIOD_US[1]:
        raise UsageError(f"--cpu-period must be within {_PERIOD_US[0]} and {_PERIOD_US[1]} microseconds: {period}")
    if quota is not None and quota != -1 and quota < _PERIOD_US[0]:
        raise UsageError(f"--cpu-quota must be at least {_PERIOD_US[0]} microseconds, or -1 for none: {quota}")
    if quota is None and resources.cpus is not None:
        quota = quota_us(resources.cpus)
    if burst is not None and burst < -1:
        raise UsageError(f"--cpu-burst must be positive, or -1 for none: {burst}")
    if burst is not None and quota is not None and -1 != quota < burst:
        raise UsageError(f"--cpu-burst ({burst} microseconds) exceeds the quota ({quota} microseconds)")
    if resources.cpu_idle and resources.cpu_shares is not None:
        raise UsageError("--cpu-idle and --cpu-shares contradict each other: what is idle has the least weight")
    runtime, rt_period = resources.cpu_rt_runtime_us, resources.cpu_rt_period_us
    for option, value in (("cpu-rt-runtime", runtime), ("cpu-rt-period", rt_period)):
        if value is not None and value < 1:
            raise UsageError(f"--{option} must be positive: {value}")
    if runtime is not None and runtime > (rt_period or RT_PERIOD_US):
        raise UsageError(
            f"--cpu-rt-runtime ({runtime} microseconds) exceeds the period ({rt_period or RT_PERIOD_US} microseconds)"
        )


def _check_block(resources: Resources) -> None:
    weights = [("", resources.io_weight), *(resources.device_weights or ())]
    for path, weight in weights:
        if weight is not None and not IO_WEIGHTS[0] <= weight <= IO_WEIGHTS[1]:
            of = f" of {path}" if path else ""
            raise UsageError(f"the weight{of} must be within {IO_WEIGHTS[0]} and {IO_WEIGHTS[1]}: {weight}")
    for direction in ("read", "write"):
        for unit, maximum in MAXIMUM_RATES.items():
            everywhere = getattr(resources, f"io_{direction}_{unit}")
            single = getattr(resources, f"device_{direction}_{unit}") or ()
            rates = [("io", "", everywhere), *(("device", f" of {path}", rate) for path, rate in single)]
            for option, of, rate in rates:
                if rate is None or rate == -1:
                    continue
                if not 1 <= rate <= maximum:
                    raise UsageError(
                        f"the rate{of} for --{option}-{direction}-{unit} must be within 1 and {maximum}: {rate}",
                        hint="-1 lifts the limit",
                    )


def _check_pairs(resources: Resources) -> None:
    for size, limit in resources.hugetlb or ():
        if limit < -1:
            raise UsageError(f"the limit of {size} pages must be positive, or -1 for none: {limit}")
        known = huge_page_sizes()
        if size not in known:
            have = ", ".join(known) or "none"
            raise UsageError(f"this host has no huge pages of {size}", hint=f"it has {have}")
    for option, pairs in (("rdma", resources.rdma), ("misc", resources.misc)):
        for name, words in pairs or ():
            if not name or not words or any(letter in f"{name}{words}" for letter in "\n\0") or " " in name:
                raise UsageError(f"--{option} has {name!r} with {words!r}, which is no name and maximum")


def huge_page_sizes(directory: str = "/sys/kernel/mm/hugepages") -> list[str]:
    """The sizes of huge pages here as cgroup files name them, such as "2MB", in order."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    sizes = sorted(int(name[len("hugepages-") : -len("kB")]) for name in names if name.startswith("hugepages-"))
    return [f"{kb >> 20}GB" if kb >= 1 << 20 else f"{kb >> 10}MB" if kb >= 1 << 10 else f"{kb}KB" for kb in sizes]


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


def io_weight(weight: int) -> int:
    """v1's 10 to 1000 on the scale of v2's io.weight, 1 to 10,000."""
    return 1 + (max(weight, IO_WEIGHTS[0]) - IO_WEIGHTS[0]) * 9999 // 990
