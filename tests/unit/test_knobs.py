"""The table of limits, and the writes that come of it; the kernel has its say in tests/integration/test_resources_*."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import resources_table
from tiffin.cgroups import blockdev, files, limits
from tiffin.cgroups.knobs import KNOBS
from tiffin.cgroups.layout import Hierarchy, Layout
from tiffin.cgroups.settings import Setting, Settings
from tiffin.cgroups.v1 import V1Driver
from tiffin.cgroups.v2 import V2Driver
from tiffin.cli.resource_flags import LIMIT_NAMES
from tiffin.errors import HostError, UsageError
from tiffin.model.resources import Resources

MB = 1 << 20
TESTS = Path(__file__).parents[1]


def test_every_limit_is_in_the_table() -> None:
    assert [knob.field for knob in KNOBS if knob.field not in Resources._fields] == []
    assert sorted(knob.field for knob in KNOBS) == sorted(Resources._fields)
    assert {knob.option.removeprefix("--") for knob in KNOBS} == LIMIT_NAMES


@pytest.mark.parametrize("knob", KNOBS, ids=[knob.field for knob in KNOBS])
def test_every_proof_is_there(knob: object) -> None:
    name, _, function = knob.proof.partition("::")  # type: ignore[attr-defined]
    (file,) = TESTS.glob(f"*/{name}")
    assert f"\ndef {function}(" in file.read_text()


def test_the_document_is_current() -> None:
    text = resources_table.DOCUMENT.read_text()
    assert text == resources_table.document(text), "run `make parity`"


def collected(version: int, directory: Path, asked: Resources, *, new: bool = False) -> list[tuple[str, str]]:
    settings = Settings(version, lambda file: f"{directory}/{file}").collect(asked, new=new)
    return [(os.path.basename(setting.path), setting.value) for setting in settings]


def fill(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_version_two(tmp_path: Path) -> None:
    fill(tmp_path, memory__swap__max="max\n", memory__max="max\n", cpu__max="20000 50000\n", cpu__max__burst="9000\n")
    fill(tmp_path, pids__max="max\n", io__weight="default 100\n", cpu__idle="0\n", cpu__weight="100\n")
    asked = Resources(
        memory_bytes=64 * MB, memory_swap_bytes=96 * MB, memory_reservation_bytes=32 * MB, memory_min_bytes=16 * MB,
        memory_high_bytes=48 * MB, oom_group=True, cpu_period_us=40_000, cpu_burst_us=5_000, cpuset_cpus="0",
        pids_limit=-1, io_weight=500, rdma=(("mlx4_0", "hca_handle=2 hca_object=5"),), misc=(("sev", "4"),),
        cpu_idle=True,
    )  # fmt: skip
    assert collected(2, tmp_path, asked) == [
        ("memory.max", str(64 * MB)),
        ("memory.swap.max", str(32 * MB)),
        ("memory.low", str(32 * MB)),
        ("memory.min", str(16 * MB)),
        ("memory.high", str(48 * MB)),
        ("memory.oom.group", "1"),
        ("cpu.max.burst", "5000"),
        ("cpu.max", "20000 40000"),
        ("cpu.weight", "100"),
        ("cpu.idle", "1"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
        ("io.weight", "default 4950"),
        ("rdma.max", "mlx4_0 hca_handle=2 hca_object=5"),
        ("misc.max", "sev 4"),
    ]
    lifted = Resources(memory_high_bytes=-1, memory_min_bytes=-1, cpu_quota_us=-1, cpu_burst_us=-1, oom_group=False)
    fill(tmp_path, memory__high="5\n", memory__min="5\n", memory__oom__group="1\n")
    assert collected(2, tmp_path, lifted) == [
        ("memory.min", "0"),
        ("memory.high", "max"),
        ("memory.oom.group", "0"),
        ("cpu.max.burst", "0"),
        ("cpu.max", "max 50000"),
    ]


def test_huge_pages(tmp_path: Path) -> None:
    asked = Resources(hugetlb=(("2MB", 8 * MB), ("1GB", -1)))
    assert collected(1, tmp_path, asked) == [
        ("hugetlb.2MB.limit_in_bytes", str(8 * MB)), ("hugetlb.1GB.limit_in_bytes", "-1")
    ]  # fmt: skip
    assert collected(2, tmp_path, asked) == [("hugetlb.2MB.max", str(8 * MB)), ("hugetlb.1GB.max", "max")]
    for name in ("hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB"):
        (tmp_path / name).mkdir()
    assert limits.huge_page_sizes(str(tmp_path)) == ["64KB", "2MB", "1GB"]
    assert limits.huge_page_sizes(f"{tmp_path}/none") == []


def test_rates_of_version_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.cgroups import settings

    monkeypatch.setattr(settings, "disk_of", {"/dev/a": "8:0", "/dev/a1": "8:0", "/dev/b": "8:16"}.__getitem__)
    asked = Resources(io_read_bps=100, device_read_bps=(("/dev/a", 50), ("/dev/a1", 70), ("/dev/b", 900)))
    found = Settings(2, lambda file: f"{tmp_path}/{file}").collect(asked, disks=("8:0", "8:16", "8:32"), new=True)
    assert [setting.value for setting in found] == ["8:0 rbps=50", "8:16 rbps=100", "8:32 rbps=100"]
    lifted = Resources(io_read_bps=-1)
    found = Settings(2, lambda file: f"{tmp_path}/{file}").collect(
        lifted, whole=asked.replace(io_read_bps=-1), disks=("8:16", "8:32")
    )
    assert [setting.value for setting in found] == ["8:16 rbps=900", "8:32 rbps=max"]
    assert found[1].undone("8:0 rbps=5 wbps=max\n8:32 rbps=7 wbps=8 riops=max wiops=max\n") == (
        "8:32 rbps=7 wbps=8 riops=max wiops=max"
    )
    assert found[1].undone("8:0 rbps=5\n") == "8:32 rbps=max"


def test_what_is_put_back() -> None:
    flag = Setting(path="memory.oom_control", value="1", undo="flag")
    assert flag.undone("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") == "0"
    weight = Setting(path="io.weight", value="default 500", undo="keyed", reset="default")
    assert weight.undone("default 100\n8:0 200\n") == "default 100"
    assert Setting(path="cpu.max", value="max 1000").undone("max 100000\n") == "max 100000\n"


@pytest.mark.parametrize(
    ("version", "resources", "message"),
    [
        (1, Resources(memory_high_bytes=64 * MB),
         "--memory-high has no counterpart in cgroup v1, which this host has"
         " (boot it with systemd.unified_cgroup_hierarchy=1)"),
        (1, Resources(oom_group=True),
         "--oom-group has no counterpart in cgroup v1, which this host has"
         " (boot it with systemd.unified_cgroup_hierarchy=1)"),
        (2, Resources(memory_swappiness=5),
         "--memory-swappiness has no counterpart in cgroup v2, which this host has"
         " (vm.swappiness holds for the whole host there)"),
        (2, Resources(cpu_rt_runtime_us=5),
         "--cpu-rt-runtime has no counterpart in cgroup v2, which this host has"
         " (it takes cgroup v1 and a kernel with CONFIG_RT_GROUP_SCHED)"),
        (1, Resources(cpu_burst_us=5),
         "this kernel has no cpu.cfs_burst_us, which --cpu-burst takes"
         " (it takes Linux 5.14 with CONFIG_CFS_BANDWIDTH)"),
        (2, Resources(cpu_idle=True), "this kernel has no cpu.idle, which --cpu-idle takes (it takes Linux 5.15)"),
        (1, Resources(io_weight=100),
         "this host has no 'blkio' cgroup controller, so the use of block devices cannot be limited"
         " (see /proc/cgroups, and cgroup_enable= on the kernel's command line)"),
        (2, Resources(misc=(("a", "1"),)),
         "this host has no 'misc' cgroup controller, so the use of miscellaneous resources cannot be limited"
         " (see /proc/cgroups, and cgroup_enable= on the kernel's command line)"),
    ],
)  # fmt: skip
def test_what_this_host_has_not(tmp_path: Path, version: int, resources: Resources, message: str) -> None:
    (tmp_path / "some").mkdir()
    for directory in (tmp_path, tmp_path / "some"):
        (directory / "cgroup.controllers").write_text("cpu memory\n")
    hierarchy = Hierarchy(controllers=("cpu", "memory"), mount=str(tmp_path))
    v1, v2 = Layout(version=1, hierarchies=(hierarchy,)), Layout(version=2, unified=str(tmp_path))
    driver = V1Driver(v1, "x") if version == 1 else V2Driver(v2, "x")
    with pytest.raises(HostError) as caught:
        driver.validate(resources)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(cpus=1, cpu_quota_us=5000), "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
        (Resources(cpus=1, cpu_period_us=5000), "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
        (Resources(cpu_period_us=999), "--cpu-period must be within 1000 and 1000000 microseconds: 999"),
        (Resources(cpu_quota_us=999), "--cpu-quota must be at least 1000 microseconds, or -1 for none: 999"),
        (Resources(cpu_burst_us=-2), "--cpu-burst must be positive, or -1 for none: -2"),
        (Resources(cpu_quota_us=5000, cpu_burst_us=6000),
         "--cpu-burst (6000 microseconds) exceeds the quota (5000 microseconds)"),
        (Resources(cpu_idle=True, cpu_shares=5),
         "--cpu-idle and --cpu-shares contradict each other: what is idle has the least weight"),
        (Resources(cpu_rt_runtime_us=-1), "--cpu-rt-runtime must be positive: -1"),
        (Resources(cpu_rt_runtime_us=500, cpu_rt_period_us=400),
         "--cpu-rt-runtime (500 microseconds) exceeds the period (400 microseconds)"),
        (Resources(memory_high_bytes=-2), "--memory-high must be positive, or -1 for none: -2"),
        (Resources(memory_bytes=8 * MB, memory_min_bytes=9 * MB),
         f"--memory-min ({9 * MB} bytes) exceeds the memory limit ({8 * MB} bytes)"),
        (Resources(memory_high_bytes=8 * MB, memory_min_bytes=9 * MB),
         f"--memory-min ({9 * MB} bytes) exceeds --memory-high ({8 * MB} bytes)"),
        (Resources(memory_swappiness=101), "Invalid value: 101, valid memory swappiness range is 0-100"),
        (Resources(io_weight=1001), "the weight must be within 10 and 1000: 1001"),
        (Resources(device_weights=(("/dev/a", 9),)), "the weight of /dev/a must be within 10 and 1000: 9"),
        (Resources(io_write_iops=2**32),
         f"the rate for --io-write-iops must be within 1 and {2**32 - 1}: {2**32} (-1 lifts the limit)"),
        (Resources(device_read_bps=(("/dev/a", -2),)),
         f"the rate of /dev/a for --device-read-bps must be within 1 and {2**63 - 1}: -2 (-1 lifts the limit)"),
        (Resources(hugetlb=(("2MB", -2),)), "the limit of 2MB pages must be positive, or -1 for none: -2"),
        (Resources(misc=(("a b", "1"),)), "--misc has 'a b' with '1', which is no name and maximum"),
    ],
)  # fmt: skip
def test_limits_that_contradict(resources: Resources, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits.check(resources)
    assert str(caught.value) == message


def test_page_sizes_that_are_not_here() -> None:
    known = ", ".join(limits.huge_page_sizes()) or "none"
    with pytest.raises(UsageError) as caught:
        limits.check(Resources(hugetlb=(("3MB", MB),)))
    assert str(caught.value) == f"this host has no huge pages of 3MB (it has {known})"


def test_disks_below_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    upper.mkdir()
    lower.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:50 / /over\\040there rw - overlay overlay rw,lowerdir={lower}:/none,upperdir={upper},workdir=/w\n"
        "3 1 0:51 / /over\\040there/tmp rw - tmpfs tmpfs rw\n"
    )
    kind, source, options = blockdev._mount_of("/over there/x", str(table))
    assert (kind, source) == ("overlay", "overlay")
    assert blockdev._mount_of("/over there/tmp", str(table))[0] == "tmpfs"
    assert blockdev._mount_of("/over thereabouts", str(table))[:2] == ("ext4", "/dev/sda1")
    monkeypatch.setattr(blockdev, "_mount_of", lambda path: (kind, source, options))
    assert blockdev._without_number("/over there", 0) == set(blockdev.disks_of([str(upper)]))
    assert files.read("/proc/self/mountinfo")
