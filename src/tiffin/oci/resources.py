"""`linux.resources` as cgroup files: which value goes into which file, for both cgroup versions.

Sources: runtime-spec config-linux.md "Control groups", Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from tiffin.cgroups import limits
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Exists = Callable[[str, str], bool]

PERIOD_US = 100_000

# controller, place in the resources, file
_V1_PLAIN = (
    ("memory", ("memory", "reservation"), "memory.soft_limit_in_bytes"),
    ("memory", ("memory", "kernelTCP"), "memory.kmem.tcp.limit_in_bytes"),
    ("memory", ("memory", "swappiness"), "memory.swappiness"),
    ("cpu", ("cpu", "shares"), "cpu.shares"),
    ("cpu", ("cpu", "realtimePeriod"), "cpu.rt_period_us"),
    ("cpu", ("cpu", "realtimeRuntime"), "cpu.rt_runtime_us"),
    ("cpu", ("cpu", "period"), "cpu.cfs_period_us"),
    ("cpu", ("cpu", "quota"), "cpu.cfs_quota_us"),
    ("cpu", ("cpu", "burst"), "cpu.cfs_burst_us"),
    ("cpu", ("cpu", "idle"), "cpu.idle"),
    ("cpuset", ("cpu", "cpus"), "cpuset.cpus"),
    ("cpuset", ("cpu", "mems"), "cpuset.mems"),
    ("net_cls", ("network", "classID"), "net_cls.classid"),
)
_V1_THROTTLE = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)
_V2_THROTTLE = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)
_V2_PLAIN = (
    ("memory", ("memory", "reservation"), "memory.low"),
    ("cpu", ("cpu", "burst"), "cpu.max.burst"),
    ("cpu", ("cpu", "idle"), "cpu.idle"),
    ("cpuset", ("cpu", "cpus"), "cpuset.cpus"),
    ("cpuset", ("cpu", "mems"), "cpuset.mems"),
)


class Setting(Record):
    """One value for one file. `name` is the property that asked for it, for the error message."""

    controller: str
    file: str
    value: str
    name: str


def v1_settings(resources: dict[str, Any], exists: Exists) -> list[Setting]:
    """The files of cgroup v1, in the order in which they can be written. `exists(controller, file)` looks at one."""
    found: list[Setting] = []
    _refuse_unified(resources)
    found += _v1_memory(resources.get("memory", {}), exists)
    for controller, (section, key), file in _V1_PLAIN:
        value = resources.get(section, {}).get(key)
        # An old kernel without the file cannot be asked for what its default is anyway.
        if _meant(value) and not (key in ("burst", "idle") and not value):
            found.append(_setting(controller, file, value, f"{section}.{key}"))
    found += _pids(resources)
    found += _v1_block(resources.get("blockIO", {}), exists)
    for entry in resources.get("hugepageLimits", ()):
        for kind in ("", "rsvd."):
            file = f"hugetlb.{entry['pageSize']}.{kind}limit_in_bytes"
            if not kind or exists("hugetlb", file):
                found.append(_setting("hugetlb", file, entry["limit"], "hugepageLimits"))
    for entry in resources.get("network", {}).get("priorities", ()):
        line = f"{entry['name']} {entry['priority']}"
        found.append(_setting("net_prio", "net_prio.ifpriomap", line, "network.priorities"))
    return found + _rdma(resources)


def v2_settings(resources: dict[str, Any], exists: Exists) -> list[Setting]:
    """The files of cgroup v2, as `v1_settings`."""
    if any(_meant(value) for value in resources.get("network", {}).values()):
        raise NotSupportedError("linux.resources.network is not supported with cgroup v2, which has no such controller")
    found = _v2_memory(resources.get("memory", {}), exists)
    for controller, (section, key), file in _V2_PLAIN:
        value = resources.get(section, {}).get(key)
        if _meant(value) and not (key in ("burst", "idle") and not value):
            found.append(_setting(controller, file, "max" if value == -1 else value, f"{section}.{key}"))
    found += _v2_cpu(resources.get("cpu", {}))
    found += _pids(resources)
    found += _v2_block(resources.get("blockIO", {}), exists)
    for entry in resources.get("hugepageLimits", ()):
        for file in (f"hugetlb.{entry['pageSize']}.max", f"hugetlb.{entry['pageSize']}.rsvd.max"):
            if "rsvd" not in file or exists("hugetlb", file):
                found.append(_setting("hugetlb", file, entry["limit"], "hugepageLimits"))
    found += _rdma(resources)
    for file, value in resources.get("unified", {}).items():
        if "/" in file or "." not in file:
            raise UsageError(f"linux.resources.unified has {file!r}, which is not the name of a cgroup file")
        for line in value.splitlines() or [""]:
            found.append(_setting(file.partition(".")[0], file, line, "unified"))
    return found


def _setting(controller: str, file: str, value: object, name: str) -> Setting:
    return Setting(controller=controller, file=file, value=str(value), name=f"linux.resources.{name}")


def _meant(value: Any) -> bool:
    return value is not None and value != "" and value != []


def _refuse_unified(resources: dict[str, Any]) -> None:
    if resources.get("unified"):
        raise NotSupportedError("linux.resources.unified needs cgroup v2, and this host has cgroup v1")


def _pids(resources: dict[str, Any]) -> list[Setting]:
    limit = resources.get("pids", {}).get("limit")
    if not limit:  # 0 is "not set" for everybody who writes these files
        return []
    return [_setting("pids", "pids.max", "max" if limit < 0 else limit, "pids.limit")]


def _v1_memory(memory: dict[str, Any], exists: Exists) -> list[Setting]:
    found = []
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit and limit > 0 and swap and 0 < swap < limit:
        raise _swap_below(swap, limit)
    if limit:
        found.append(_setting("memory", "memory.limit_in_bytes", limit, "memory.limit"))
    if limit == -1 and not swap and exists("memory", "memory.memsw.limit_in_bytes"):
        swap = -1  # no limit on memory, so none on both
    if swap and (swap > 0 or exists("memory", "memory.memsw.limit_in_bytes")):
        found.append(_setting("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap"))
    if memory.get("kernel") and exists("memory", "memory.kmem.limit_in_bytes"):
        # Linux 6.1 took the file away: the kernel's own memory has its share in the limit ever since.
        found.append(_setting("memory", "memory.kmem.limit_in_bytes", memory["kernel"], "memory.kernel"))
    if memory.get("useHierarchy"):
        found.append(_setting("memory", "memory.use_hierarchy", 1, "memory.useHierarchy"))
    if memory.get("disableOOMKiller"):
        found.append(_setting("memory", "memory.oom_control", 1, "memory.disableOOMKiller"))
    return found


def _swap_below(swap: int, limit: int) -> UsageError:
    return UsageError(f"linux.resources.memory.swap ({swap}) counts memory too, but is below the limit ({limit})")


def _v2_memory(memory: dict[str, Any], exists: Exists) -> list[Setting]:
    found = []
    limit, swap = memory.get("limit"), memory.get("swap")
    if memory.get("disableOOMKiller"):
        raise NotSupportedError("linux.resources.memory.disableOOMKiller is not supported with cgroup v2")
    if limit:
        found.append(_setting("memory", "memory.max", "max" if limit < 0 else limit, "memory.limit"))
    if limit == -1 and not swap:
        swap = -1
    if swap and swap > 0:
        if not limit or limit < 0:
            raise UsageError("linux.resources.memory.swap counts memory too, so it needs memory.limit")
        if swap < limit:
            raise _swap_below(swap, limit)
        found.append(_setting("memory", "memory.swap.max", swap - limit, "memory.swap"))
    elif swap and exists("memory", "memory.swap.max"):
        found.append(_setting("memory", "memory.swap.max", "max", "memory.swap"))
    return found


def _v2_cpu(cpu: dict[str, Any]) -> list[Setting]:
    found = []
    if cpu.get("shares"):
        found.append(_setting("cpu", "cpu.weight", limits.weight_of_shares(cpu["shares"]), "cpu.shares"))
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        value = f"{quota if quota and quota > 0 else 'max'} {period or PERIOD_US}"
        found.append(_setting("cpu", "cpu.max", value, "cpu.quota"))
    for name in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(name):
            raise NotSupportedError(f"linux.resources.cpu.{name} is not supported with cgroup v2")
    return found


def _v1_block(block: dict[str, Any], exists: Exists) -> list[Setting]:
    found = []
    # The only scheduler that still weighs is BFQ, whose files have its name.
    own = "" if exists("blkio", "blkio.weight") else "bfq."
    if block.get("weight"):
        found.append(_setting("blkio", f"blkio.{own}weight", block["weight"], "blockIO.weight"))
    if block.get("leafWeight"):
        found.append(_setting("blkio", "blkio.leaf_weight", block["leafWeight"], "blockIO.leafWeight"))
    for entry in block.get("weightDevice", ()):
        device = f"{entry['major']}:{entry['minor']}"
        if entry.get("weight"):
            line = f"{device} {entry['weight']}"
            found.append(_setting("blkio", f"blkio.{own}weight_device", line, "blockIO.weightDevice"))
        if entry.get("leafWeight"):
            line = f"{device} {entry['leafWeight']}"
            found.append(_setting("blkio", "blkio.leaf_weight_device", line, "blockIO.weightDevice"))
    for key, file in _V1_THROTTLE:
        for entry in block.get(key, ()):
            line = f"{entry['major']}:{entry['minor']} {entry['rate']}"
            found.append(_setting("blkio", file, line, f"blockIO.{key}"))
    return found


def _v2_block(block: dict[str, Any], exists: Exists) -> list[Setting]:
    found = []
    bfq = exists("io", "io.bfq.weight")
    file = "io.bfq.weight" if bfq else "io.weight"
    if block.get("leafWeight") or any(entry.get("leafWeight") for entry in block.get("weightDevice", ())):
        raise NotSupportedError("linux.resources.blockIO.leafWeight is not supported with cgroup v2")
    if block.get("weight"):
        found.append(_setting("io", file, _io_weight(block["weight"], bfq), "blockIO.weight"))
    for entry in block.get("weightDevice", ()):
        if entry.get("weight"):
            line = f"{entry['major']}:{entry['minor']} {_io_weight(entry['weight'], bfq)}"
            found.append(_setting("io", file, line, "blockIO.weightDevice"))
    for key, word in _V2_THROTTLE:
        for entry in block.get(key, ()):
            line = f"{entry['major']}:{entry['minor']} {word}={entry['rate']}"
            found.append(_setting("io", "io.max", line, f"blockIO.{key}"))
    return found


def _io_weight(weight: int, bfq: bool) -> int:
    """BFQ kept v1's scale."""
    return weight if bfq else limits.io_weight(weight)


def _rdma(resources: dict[str, Any]) -> list[Setting]:
    found = []
    for device, entry in resources.get("rdma", {}).items():
        words = [device]
        if "hcaHandles" in entry:
            words.append(f"hca_handle={entry['hcaHandles']}")
        if "hcaObjects" in entry:
            words.append(f"hca_object={entry['hcaObjects']}")
        found.append(_setting("rdma", "rdma.max", " ".join(words), "rdma"))
    return found
