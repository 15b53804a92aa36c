"""Every limit, with its option and its file in either version: one table, by which all else goes.

What is asked for is checked against it (`check_host`), written by it (`settings.py`), and docs/RESOURCES.md is
made of it. Sources: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from tiffin.errors import HostError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tiffin.model.resources import Resources


class Knob(Record):
    """One limit.

    `v1` and `v2` are its files, empty where the version has none: SIZE stands for a page size, and of several names
    (separated by spaces) any one will do. `without` says what to do then, or what gives a kernel the file.
    `proof` is the test that measures it; `live` is False for what holds from the next start on.
    """

    field: str
    option: str
    v1: str = ""
    v2: str = ""
    without: str = ""
    live: bool = True
    proof: str


_V2_BOOT = "boot it with systemd.unified_cgroup_hierarchy=1"
_RT = "it takes cgroup v1 and a kernel with CONFIG_RT_GROUP_SCHED"
_THROTTLE = "it takes a kernel with CONFIG_BLK_DEV_THROTTLING"
_BFQ = "it takes a kernel with CONFIG_BFQ_GROUP_IOSCHED: modprobe bfq"
_LIMITS = "test_resources_limits.py::"
_IO = "test_resources_io.py::"
_UPDATE = "test_resources_update.py::"
_UNIT = "test_knobs.py::"

KNOBS = (
    Knob(
        field="memory_bytes", option="--memory", v1="memory.limit_in_bytes", v2="memory.max",
        proof=_LIMITS + "test_memory_beyond_the_limit_is_killed",
    ),
    Knob(
        field="memory_swap_bytes", option="--memory-swap", v1="memory.memsw.limit_in_bytes", v2="memory.swap.max",
        without="boot it with swapaccount=1", proof="test_cgroup_contract.py::test_limits_change_while_it_runs",
    ),
    Knob(
        field="memory_reservation_bytes", option="--memory-reservation", v1="memory.soft_limit_in_bytes",
        v2="memory.low", proof="test_cgroup_contract.py::test_limits_change_while_it_runs",
    ),
    Knob(
        field="memory_min_bytes", option="--memory-min", v2="memory.min", without=_V2_BOOT,
        proof=_UNIT + "test_version_two",
    ),
    Knob(
        field="memory_high_bytes", option="--memory-high", v2="memory.high", without=_V2_BOOT,
        proof="resources_v2.py::test_memory_beyond_high_is_taken_back",
    ),
    Knob(
        field="memory_swappiness", option="--memory-swappiness", v1="memory.swappiness",
        without="vm.swappiness holds for the whole host there", proof=_UPDATE + "test_each_is_written_live",
    ),
    Knob(
        field="oom_kill_disable", option="--oom-kill-disable", v1="memory.oom_control",
        without="--memory-high slows processes down instead of killing them",
        proof=_LIMITS + "test_nothing_is_killed_when_that_is_off",
    ),
    Knob(
        field="oom_group", option="--oom-group", v2="memory.oom.group", without=_V2_BOOT,
        proof=_UNIT + "test_version_two",
    ),
    Knob(
        field="memory_merge", option="--memory-merge", live=False,
        proof="test_memory_merge.py::test_equal_pages_of_two_containers",
    ),
    Knob(
        field="cpus", option="--cpus", v1="cpu.cfs_quota_us", v2="cpu.max",
        without="it takes a kernel with CONFIG_CFS_BANDWIDTH", proof=_LIMITS + "test_a_quota_bounds_the_time",
    ),
    Knob(
        field="cpu_quota_us", option="--cpu-quota", v1="cpu.cfs_quota_us", v2="cpu.max",
        without="it takes a kernel with CONFIG_CFS_BANDWIDTH", proof=_LIMITS + "test_a_quota_bounds_the_time",
    ),
    Knob(
        field="cpu_period_us", option="--cpu-period", v1="cpu.cfs_period_us", v2="cpu.max",
        without="it takes a kernel with CONFIG_CFS_BANDWIDTH", proof=_LIMITS + "test_a_quota_bounds_the_time",
    ),
    Knob(
        field="cpu_burst_us", option="--cpu-burst", v1="cpu.cfs_burst_us", v2="cpu.max.burst",
        without="it takes Linux 5.14 with CONFIG_CFS_BANDWIDTH", proof=_UPDATE + "test_burst_and_quota_in_their_order",
    ),
    Knob(
        field="cpu_shares", option="--cpu-shares", v1="cpu.shares", v2="cpu.weight",
        proof=_LIMITS + "test_shares_divide_a_processor",
    ),
    Knob(
        field="cpu_idle", option="--cpu-idle", v1="cpu.idle", v2="cpu.idle", without="it takes Linux 5.15",
        proof=_LIMITS + "test_idle_time_is_what_others_leave",
    ),
    Knob(
        field="cpu_rt_runtime_us", option="--cpu-rt-runtime", v1="cpu.rt_runtime_us",
        without=_RT, proof=_UPDATE + "test_each_is_written_live",
    ),
    Knob(
        field="cpu_rt_period_us", option="--cpu-rt-period", v1="cpu.rt_period_us",
        without=_RT, proof=_UPDATE + "test_each_is_written_live",
    ),
    Knob(
        field="cpuset_cpus", option="--cpuset-cpus", v1="cpuset.cpus", v2="cpuset.cpus",
        proof=_LIMITS + "test_shares_divide_a_processor",
    ),
    Knob(
        field="cpuset_mems", option="--cpuset-mems", v1="cpuset.mems", v2="cpuset.mems",
        proof=_UPDATE + "test_each_is_written_live",
    ),
    Knob(
        field="pids_limit", option="--pids-limit", v1="pids.max", v2="pids.max",
        proof="test_cgroup_contract.py::test_the_number_of_processes_is_limited",
    ),
    Knob(
        field="io_weight", option="--blkio-weight", v1="blkio.weight blkio.bfq.weight", v2="io.bfq.weight io.weight",
        without=_BFQ, proof=_IO + "test_weights_that_the_scheduler_ignores_are_told",
    ),
    Knob(
        field="device_weights", option="--blkio-weight-device", v1="blkio.weight_device blkio.bfq.weight_device",
        v2="io.bfq.weight io.weight", without=_BFQ, proof=_IO + "test_a_weight_of_one_device",
    ),
    *(
        Knob(field=field, option=option, v1=f"blkio.throttle.{v1}", v2="io.max", without=_THROTTLE, proof=_IO + proof)
        for field, option, v1, proof in (
            ("io_read_bps", "--io-read-bps", "read_bps_device", "test_rates_hold_for_every_device"),
            ("io_write_bps", "--io-write-bps", "write_bps_device", "test_rates_hold_for_every_device"),
            ("io_read_iops", "--io-read-iops", "read_iops_device", "test_operations_are_counted"),
            ("io_write_iops", "--io-write-iops", "write_iops_device", "test_operations_are_counted"),
            ("device_read_bps", "--device-read-bps", "read_bps_device", "test_rates_of_one_device"),
            ("device_write_bps", "--device-write-bps", "write_bps_device", "test_rates_of_one_device"),
            ("device_read_iops", "--device-read-iops", "read_iops_device", "test_rates_of_one_device"),
            ("device_write_iops", "--device-write-iops", "write_iops_device", "test_rates_of_one_device"),
        )
    ),
    Knob(
        field="hugetlb", option="--hugetlb", v1="hugetlb.SIZE.limit_in_bytes", v2="hugetlb.SIZE.max",
        without="it takes a kernel with CONFIG_CGROUP_HUGETLB", proof=_UNIT + "test_huge_pages",
    ),
    Knob(
        field="rdma", option="--rdma", v1="rdma.max", v2="rdma.max",
        without="it takes a kernel with CONFIG_CGROUP_RDMA", proof=_UNIT + "test_version_two",
    ),
    Knob(
        field="misc", option="--misc", v1="misc.max", v2="misc.max",
        without="it takes a kernel with CONFIG_CGROUP_MISC", proof=_UNIT + "test_version_two",
    ),
)  # fmt: skip

DEVICE_RATES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")
_SUBJECTS = {
    "memory": "memory",
    "cpu": "processor time",
    "cpuset": "the choice of processors",
    "pids": "the number of processes",
    "blkio": "the use of block devices",
    "io": "the use of block devices",
    "hugetlb": "the use of huge pages",
    "rdma": "the use of RDMA devices",
    "misc": "the use of miscellaneous resources",
}


def asks(value: Any) -> bool:
    """Whether it needs anything of the kernel; "no limit" and "not" do not."""
    return value is not None and value is not False and value != -1


def files_of(knob: Knob, version: int, resources: Resources) -> Iterator[tuple[str, ...]]:
    """The files that it takes, each with the names of which any one will do."""
    names = tuple((knob.v1 if version == 1 else knob.v2).split())
    if knob.field == "hugetlb":
        for size, _ in resources.hugetlb or ():
            yield tuple(name.replace("SIZE", size) for name in names)
    else:
        yield names


def check_host(
    resources: Resources, version: int, controllers: frozenset[str], exists: Callable[[str], bool | None]
) -> None:
    """HostError for the first limit that this host cannot set, with what would provide it; UsageError for no device.

    `exists` tells whether a container's cgroup has a file, None when there is no cgroup yet to tell it by.
    """
    for knob in KNOBS:
        if knob.field == "memory_merge" or not asks(getattr(resources, knob.field)):
            continue
        for names in files_of(knob, version, resources):
            if not names:
                raise HostError(
                    f"{knob.option} has no counterpart in cgroup v{version}, which this host has", hint=knob.without
                )
            controller = names[0].partition(".")[0]
            if controller not in controllers:
                raise HostError(
                    f"this host has no {controller!r} cgroup controller, so {_SUBJECTS[controller]} cannot be limited",
                    hint="see /proc/cgroups, and cgroup_enable= on the kernel's command line",
                )
            if all(exists(name) is False for name in names):
                if knob.field == "memory_swap_bytes":
                    raise swap_not_counted()
                raise HostError(f"this kernel has no {names[-1]}, which {knob.option} takes", hint=knob.without or None)

    _check_devices(resources, version)


def _check_devices(resources: Resources, version: int) -> None:
    pairs = [pair for name in DEVICE_RATES for pair in getattr(resources, name) or ()]
    if not pairs and not resources.device_weights:
        return
    from tiffin.cgroups import blockdev

    for path, rate in pairs:
        if rate != -1:
            blockdev.disk_of(path)
    for path, _ in resources.device_weights or ():
        disk = blockdev.disk_of(path)
        if version == 1 and not blockdev.weighs(disk, version):
            name, active = blockdev.disk_name(disk), blockdev.scheduler(disk)
            raise HostError(
                f"--blkio-weight-device {path}: the IO scheduler of {name} is {active}, which takes no weights",
                hint=f"echo bfq > /sys/block/{name}/queue/scheduler",
            )


def swap_not_counted() -> HostError:
    return HostError(
        "this kernel does not count swap, so memory plus swap cannot be limited", hint="boot it with swapaccount=1"
    )
