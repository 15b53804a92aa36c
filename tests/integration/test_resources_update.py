"""Changes of limits on a running container: each in its file, all or none, in an order that the kernel takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.cgroups.driver import choose_driver
from tiffin.errors import HostError, UsageError
from tiffin.model.container import ContainerConfig
from tiffin.model.resources import Resources

if TYPE_CHECKING:
    from integration.conftest import Runner

MB = 1 << 20
v1_only = pytest.mark.skipif(choose_driver().version != 1, reason="these are files of v1")


def start(engine: tiffin.Engine, image: str, resources: Resources | None = None) -> str:
    config = ContainerConfig(image=image, command=("sleep", "600"), name="cc", resources=resources or Resources())
    container_id = engine.create(config).id
    engine.start("cc")
    return container_id


def place_of(container_id: str, file: str) -> Path:
    return Path(f"/sys/fs/cgroup/{file.partition('.')[0]}/tiffin/{container_id}/{file}")


FILES = (
    "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.idle", "cpu.rt_runtime_us",
    "cpu.rt_period_us", "cpuset.cpus", "cpuset.mems", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes", "memory.swappiness", "memory.oom_control", "pids.max", "blkio.bfq.weight",
    "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
)  # fmt: skip


def state(container_id: str) -> dict[str, str]:
    """What all files of limits say, but for those that this kernel has not."""
    places = {file: place_of(container_id, file) for file in FILES}
    return {file: place.read_text() for file, place in places.items() if place.exists()}


@v1_only
def test_each_is_written_live(engine: tiffin.Engine, busybox: str) -> None:
    """And again at the next start, when all of them are written to new cgroups."""
    container_id = start(engine, busybox)
    expected: dict[str, str] = {}
    for changes, files in (
        (Resources(cpu_shares=512), {"cpu.shares": "512\n"}),
        (Resources(cpu_quota_us=20_000, cpu_period_us=40_000),
         {"cpu.cfs_quota_us": "20000\n", "cpu.cfs_period_us": "40000\n"}),
        (Resources(cpu_burst_us=10_000), {"cpu.cfs_burst_us": "10000\n"}),
        (Resources(cpu_rt_period_us=500_000, cpu_rt_runtime_us=5_000),
         {"cpu.rt_period_us": "500000\n", "cpu.rt_runtime_us": "5000\n"}),
        (Resources(cpuset_cpus="0"), {"cpuset.cpus": "0\n"}),
        (Resources(cpuset_mems="0"), {"cpuset.mems": "0\n"}),
        (Resources(memory_bytes=64 * MB, memory_swap_bytes=96 * MB),
         {"memory.limit_in_bytes": f"{64 * MB}\n", "memory.memsw.limit_in_bytes": f"{96 * MB}\n"}),
        (Resources(memory_bytes=128 * MB, memory_swap_bytes=128 * MB),
         {"memory.limit_in_bytes": f"{128 * MB}\n", "memory.memsw.limit_in_bytes": f"{128 * MB}\n"}),
        (Resources(memory_bytes=32 * MB, memory_swap_bytes=48 * MB),
         {"memory.limit_in_bytes": f"{32 * MB}\n", "memory.memsw.limit_in_bytes": f"{48 * MB}\n"}),
        (Resources(memory_reservation_bytes=16 * MB), {"memory.soft_limit_in_bytes": f"{16 * MB}\n"}),
        (Resources(memory_swappiness=0), {"memory.swappiness": "0\n"}),
        (Resources(memory_swappiness=35), {"memory.swappiness": "35\n"}),
        (Resources(pids_limit=77), {"pids.max": "77\n"}),
    ):  # fmt: skip
        engine.update("cc", changes)
        expected |= files
        now = state(container_id)
        assert {file: now[file] for file in expected} == expected, changes
    asked = engine.container("cc").container.config.resources
    engine.restart("cc", timeout_s=0)
    now = state(container_id)
    assert {file: now[file] for file in expected} == expected
    assert engine.container("cc").container.config.resources == asked


@v1_only
def test_burst_and_quota_in_their_order(engine: tiffin.Engine, busybox: str) -> None:
    """The kernel wants the burst within the quota at every moment."""
    container_id = start(engine, busybox, Resources(cpu_quota_us=20_000, cpu_burst_us=20_000))
    for quota, burst in ((50_000, 50_000), (10_000, 5_000), (10_000, 10_000), (2_000, 1_000)):
        engine.update("cc", Resources(cpu_quota_us=quota, cpu_burst_us=burst))
        now = state(container_id)
        assert (now["cpu.cfs_quota_us"], now["cpu.cfs_burst_us"]) == (f"{quota}\n", f"{burst}\n")
    with pytest.raises(UsageError) as caught:
        engine.update("cc", Resources(cpu_burst_us=3_000))
    assert str(caught.value) == "--cpu-burst (3000 microseconds) exceeds the quota (2000 microseconds)"
    engine.update("cc", Resources(cpu_burst_us=-1, cpu_quota_us=-1))
    now = state(container_id)
    assert (now["cpu.cfs_quota_us"], now["cpu.cfs_burst_us"]) == ("-1\n", "0\n")


@pytest.fixture
def vanished() -> Iterator[str]:
    """The node of a device that is not there any more: a number that is for experiments."""
    path = f"/dev/tiffin-gone-{os.getpid()}"
    os.mknod(path, 0o60600, os.makedev(240, 77))
    yield path
    os.unlink(path)


@v1_only
def test_what_the_kernel_refuses_late_changes_nothing(engine: tiffin.Engine, busybox: str, vanished: str) -> None:
    before = Resources(
        memory_bytes=64 * MB, memory_swap_bytes=64 * MB, cpu_shares=512, cpu_quota_us=20_000, cpu_burst_us=10_000,
        pids_limit=50, io_read_bps=7 * MB, memory_swappiness=20,
    )  # fmt: skip
    container_id = start(engine, busybox, before)
    live = state(container_id)
    assert f" {7 * MB}\n" in live["blkio.throttle.read_bps_device"]
    changes = Resources(
        memory_bytes=128 * MB, memory_swap_bytes=256 * MB, memory_reservation_bytes=32 * MB, memory_swappiness=50,
        cpu_quota_us=5_000, cpu_burst_us=1_000, cpu_period_us=50_000, cpu_idle=True, cpu_rt_runtime_us=1_000,
        cpuset_cpus="0", oom_kill_disable=True, pids_limit=60, io_weight=300, io_read_bps=9 * MB, io_write_iops=50,
        device_write_iops=((vanished, 10),),
    )  # fmt: skip
    with pytest.raises(HostError) as caught:
        engine.update("cc", changes)
    assert caught.value.message == (
        "cannot update container cc: cannot write '240:77 10' to "
        f"{place_of(container_id, 'blkio.throttle.write_iops_device')}: No such device"
    )
    assert state(container_id) == live
    assert engine.container("cc").container.config.resources == before
    engine.update("cc", changes.replace(device_write_iops=None, io_weight=None))
    now = state(container_id)
    assert all(now[file] != live[file] for file in live if file not in UNTOUCHED)


UNTOUCHED = (
    "blkio.bfq.weight",
    "cpuset.mems",
    "cpu.rt_period_us",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
)


@v1_only
def test_a_dry_run_writes_nothing(tiffin: Runner, engine: tiffin.Engine, busybox: str) -> None:
    container_id = start(engine, busybox, Resources(memory_bytes=64 * MB, memory_swap_bytes=64 * MB))
    live = state(container_id)
    words = ("update", "--dry-run", "-m", "128m", "--memory-swap", "256m", "--cpu-quota", "5000", "cc")
    assert tiffin.ok(*words).splitlines() == [
        f"{place_of(container_id, 'memory.memsw.limit_in_bytes')}: {64 * MB} -> {256 * MB}",
        f"{place_of(container_id, 'memory.limit_in_bytes')}: {64 * MB} -> {128 * MB}",
        f"{place_of(container_id, 'cpu.cfs_quota_us')}: -1 -> 5000",
    ]
    assert state(container_id) == live
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.CpuQuota}}", "cc") == f"{64 * MB} 0"
    result = tiffin("update", "--dry-run", "-m", "128m", "cc")
    assert result == (
        1, "",
        f"tiffin: the memory limit ({128 * MB} bytes) would exceed the limit of memory plus swap ({64 * MB} bytes)\n"
        "change both in one update\n",
    )  # fmt: skip
    engine.stop("cc", timeout_s=0)
    stopped = "cc does not run: nothing is written, its next start has the new limits"
    assert tiffin.ok("update", "--dry-run", "--cpus", "1", "cc") == stopped


def test_one_takes_the_place_of_the_other(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox, Resources(cpus=1))
    with pytest.raises(UsageError) as caught:
        engine.update("cc", Resources(cpu_period_us=50_000))
    assert caught.value.message == "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
    for changes, after in (
        (Resources(cpu_quota_us=5_000, cpu_period_us=50_000), Resources(cpu_quota_us=5_000, cpu_period_us=50_000)),
        (Resources(cpu_period_us=60_000), Resources(cpu_quota_us=5_000, cpu_period_us=60_000)),
        (Resources(cpus=0.5), Resources(cpus=0.5)),
    ):
        engine.update("cc", changes)
        assert engine.container("cc").container.config.resources == after
        effective = choose_driver().read(engine.container("cc").container.id).cpus
        assert effective == pytest.approx(after.cpus or (after.cpu_quota_us or 0) / (after.cpu_period_us or 1))


@v1_only
def test_other_runtimes_keep_the_limits(tiffin: Runner, busybox: str) -> None:
    """What a config.json has no word for is in the cgroups before the runtime sees them."""
    options = ("--io-read-bps", "5m", "--cpu-burst", "3000", "--cpu-quota", "20000", "--memory-swappiness", "30")
    container_id = tiffin.ok("run", "-d", "--runtime", "runc", *options, busybox, "sleep", "60")
    now = state(container_id)
    assert now["blkio.throttle.read_bps_device"].endswith(f" {5 * MB}\n")
    assert (now["cpu.cfs_burst_us"], now["cpu.cfs_quota_us"]) == ("3000\n", "20000\n")
    assert now["memory.swappiness"] == "30\n"
