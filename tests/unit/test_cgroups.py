"""Cgroup layouts, limits and files that need no kernel; the drivers' contract is an integration test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.cgroups import driver as drivers
from tiffin.cgroups import files, limits
from tiffin.cgroups.layout import Hierarchy, Layout, detect
from tiffin.cgroups.v1 import V1Driver
from tiffin.cgroups.v2 import V2Driver
from tiffin.errors import HostError, UsageError
from tiffin.model.resources import Resources

MB = 1 << 20

LEGACY = """\
23 1 8:1 / / rw - ext4 /dev/sda rw
31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,memory
35 31 0:31 /docker/x /mnt/again rw - cgroup cgroup rw,memory
"""
UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def layout_of(tmp_path: Path, text: str) -> Layout:
    file = tmp_path / "mountinfo"
    file.write_text(text)
    return detect(str(file))


def test_legacy_layout(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, LEGACY)
    assert layout == Layout(
        version=1,
        hierarchies=(
            Hierarchy(controllers=("name=systemd",), mount="/sys/fs/cgroup/systemd"),
            Hierarchy(controllers=("cpu", "cpuacct"), mount="/sys/fs/cgroup/cpu,cpuacct"),
            Hierarchy(controllers=("memory",), mount="/sys/fs/cgroup/with space"),
        ),
    )
    assert not layout.hybrid
    assert layout.find("cpuacct") == layout.hierarchies[1]
    assert layout.find("pids") is None


def test_hybrid_layout(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, LEGACY + UNIFIED.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
    assert (layout.version, layout.hybrid, layout.unified) == (1, True, "/sys/fs/cgroup/unified")


def test_unified_layout(tmp_path: Path) -> None:
    assert layout_of(tmp_path, UNIFIED) == Layout(version=2, unified="/sys/fs/cgroup")
    named = "32 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert layout_of(tmp_path, UNIFIED + named).version == 2


def test_no_layout(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        layout_of(tmp_path, "23 1 8:1 / / rw - ext4 /dev/sda rw\n")
    assert str(caught.value) == "no cgroup file system is mounted (mount -t cgroup2 none /sys/fs/cgroup)"
    with pytest.raises(HostError) as caught:
        detect(f"{tmp_path}/none")
    assert str(caught.value) == f"cannot read the mount table '{tmp_path}/none': No such file or directory"


def test_the_driver_follows_the_layout() -> None:
    assert isinstance(drivers.choose_driver("x", Layout(version=2, unified="/c")), V2Driver)
    v1 = Layout(version=1, hierarchies=(Hierarchy(controllers=("memory",), mount="/c"),))
    assert isinstance(drivers.choose_driver("/x/", v1), V1Driver)


BAD = [
    (Resources(memory_bytes=MB), "a memory limit of 1048576 bytes is too small: the least is 6 MB (6291456 bytes)"),
    (
        Resources(memory_reservation_bytes=5),
        "a memory reservation of 5 bytes is too small: the least is 6 MB (6291456 bytes)",
    ),
    (
        Resources(memory_bytes=8 * MB, memory_swap_bytes=7 * MB),
        (
            "the limit of memory plus swap (7340032 bytes) is below the memory limit (8388608 bytes)"
            " (it counts both together)"
        ),
    ),
    (
        Resources(memory_bytes=8 * MB, memory_reservation_bytes=9 * MB),
        "the memory reservation (9437184 bytes) exceeds the memory limit (8388608 bytes)",
    ),
    (Resources(memory_swap_bytes=-2), "the limit of memory plus swap must be positive, or -1 for none: -2"),
    (Resources(cpus=0.001), f"cpus must be within 0.01 and {os.cpu_count()}, which this host has: 0.001"),
    (Resources(cpus=5000), f"cpus must be within 0.01 and {os.cpu_count()}, which this host has: 5000"),
    (Resources(cpus=-1), f"cpus must be within 0.01 and {os.cpu_count()}, which this host has: -1"),
    (Resources(cpu_shares=1), "cpu shares must be within 2 and 262144: 1"),
    (Resources(pids_limit=-2), "the pids limit must be positive, or -1 for none: -2"),
    (Resources(cpuset_cpus="3-1"), "'3-1' is not a list of processors such as 0-2,7"),
    (Resources(cpuset_cpus="0,x"), "'0,x' is not a list of processors such as 0-2,7"),
    (Resources(cpuset_cpus="-"), "'-' is not a list of processors such as 0-2,7"),
    (Resources(cpuset_mems="0-"), "'0-' is not a list of memory nodes such as 0-2,7"),
    (Resources(cpuset_cpus="0,9"), "the processors 0,9 are not all available on this host, which has 0-3"),
    (Resources(cpuset_mems="1"), "the memory nodes 1 are not all available on this host, which has 0"),
]


@pytest.mark.parametrize(("resources", "message"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_limits_that_make_no_sense(resources: Resources, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits.check(resources, online_cpus="0-3", online_mems="0")
    assert str(caught.value) == message


def test_swap_needs_memory() -> None:
    with pytest.raises(UsageError) as caught:
        limits.check_swap_has_memory(Resources(memory_swap_bytes=64 * MB))
    assert str(caught.value) == "a limit of memory plus swap needs a memory limit as well"
    limits.check_swap_has_memory(Resources(memory_swap_bytes=-1))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(memory_bytes=8 * MB), "this host has no 'memory' cgroup controller, so memory cannot be limited"),
        (Resources(cpus=1), "this host has no 'cpu' cgroup controller, so processor time cannot be limited"),
        (
            Resources(cpuset_cpus="0"),
            "this host has no 'cpuset' cgroup controller, so the choice of processors cannot be limited",
        ),
        (
            Resources(pids_limit=5),
            "this host has no 'pids' cgroup controller, so the number of processes cannot be limited",
        ),
    ],
)
def test_missing_controllers_are_named(tmp_path: Path, resources: Resources, message: str) -> None:
    hint = " (see /proc/cgroups, and cgroup_enable= on the kernel's command line)"
    v1 = Layout(version=1, hierarchies=(Hierarchy(controllers=("freezer",), mount=str(tmp_path)),))
    (tmp_path / "cgroup.controllers").write_text("io\n")
    for driver in (V1Driver(v1, "x"), V2Driver(Layout(version=2, unified=str(tmp_path)), "x")):
        driver.validate(Resources(pids_limit=-1, memory_swap_bytes=-1))
        with pytest.raises(HostError) as caught:
            driver.validate(resources)
        assert str(caught.value) == message + hint


def test_swap_that_is_not_counted_is_refused(tmp_path: Path) -> None:
    v1 = Layout(version=1, hierarchies=(Hierarchy(controllers=("memory",), mount=str(tmp_path)),))
    with pytest.raises(HostError) as caught:
        V1Driver(v1, "x").validate(Resources(memory_bytes=8 * MB, memory_swap_bytes=16 * MB))
    assert str(caught.value) == (
        "this kernel does not count swap, so memory plus swap cannot be limited (boot it with swapaccount=1)"
    )


def test_zero_means_unset_as_for_docker() -> None:
    zero = Resources(memory_bytes=0, memory_swap_bytes=0, cpus=0, cpu_shares=0, cpuset_cpus="", pids_limit=0)
    assert limits.normalized(zero) == Resources(pids_limit=-1)
    same = Resources(memory_bytes=8 * MB)
    assert limits.normalized(same) is same


def test_sets() -> None:
    assert limits.parse_set("0-2,7") == {0, 1, 2, 7}
    assert limits.parse_set("5\n") == {5}


def test_weights() -> None:
    assert [limits.weight_of_shares(shares) for shares in (2, 1024, 262144)] == [1, 100, 10000]
    weights = [limits.weight_of_shares(shares) for shares in (2, 128, 512, 1024, 2048, 8192, 262144)]
    assert weights == sorted(set(weights))
    for shares in (2, 100, 512, 1024, 4096, 262144):
        weight = limits.weight_of_shares(shares)
        assert limits.weight_of_shares(limits.shares_of_weight(weight)) == weight
    assert limits.shares_of_weight(100) == 1024


def test_what_the_kernel_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        files.write(f"{tmp_path}/memory.max", "5")
    assert str(caught.value) == f"cannot write '5' to {tmp_path}/memory.max: No such file or directory"
    with pytest.raises(HostError) as caught:
        files.make_directory(f"{tmp_path}/a/b")
    assert str(caught.value) == f"cannot make the cgroup {tmp_path}/a/b: No such file or directory"
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    with pytest.raises(HostError) as caught:
        files.read(str(tmp_path / "kept"))
    assert str(caught.value) == f"cannot read {tmp_path}/kept: Is a directory"
    assert files.read(f"{tmp_path}/none") is None
    assert files.list_names(f"{tmp_path}/none") == []
    assert files.keyed("low 1\noom_kill 3\n", "oom_kill") == 3
    assert files.keyed(None, "x") is None


def test_busy_parents_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's own tree: its processes live at the top, so the kernel lets nobody distribute controllers."""
    import errno

    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("\n")

    def refuse(path: str, value: str) -> None:
        error = OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        raise files.refused(error, path, value) from error

    monkeypatch.setattr(files, "write", refuse)
    driver = V2Driver(Layout(version=2, unified=str(tmp_path)), "tiffin")
    with pytest.raises(HostError) as caught:
        driver.create("ab" * 32, Resources(), ())
    assert str(caught.value) == (
        f"cannot enable cgroup controllers in {tmp_path}, because processes live in it"
        " (move them into a cgroup below it, which then distributes the host's resources)"
    )


def test_under_systemd_its_hierarchies_are_joined(tmp_path: Path) -> None:
    for name in ("freezer", "systemd", "unified"):
        (tmp_path / name).mkdir()
    layout = Layout(
        version=1,
        hierarchies=(
            Hierarchy(controllers=("freezer",), mount=f"{tmp_path}/freezer"),
            Hierarchy(controllers=("name=systemd",), mount=f"{tmp_path}/systemd"),
        ),
        unified=f"{tmp_path}/unified",
    )
    plan = V1Driver(layout, "t", under_systemd=True).create("ab", Resources(), ())
    assert plan.tasks == (f"{tmp_path}/freezer/t/ab/tasks", f"{tmp_path}/systemd/t/ab/tasks")
    assert plan.into == f"{tmp_path}/unified/t/ab"
    assert len(plan.remove) == 3
    plain = V1Driver(layout, "u").create("ab", Resources(), ())
    assert (plain.tasks, plain.into) == ((f"{tmp_path}/freezer/u/ab/tasks",), "")


def test_the_view_from_inside() -> None:
    layout = Layout(
        version=1,
        hierarchies=(
            Hierarchy(controllers=("cpu", "cpuacct"), mount="/sys/fs/cgroup/cpu,cpuacct"),
            Hierarchy(controllers=("memory",), mount="/sys/fs/cgroup/memory"),
            Hierarchy(controllers=("net_cls",), mount="/sys/fs/cgroup/net_cls"),
        ),
    )
    quiet = ("nosuid", "nodev", "noexec")
    driver = V1Driver(layout, "t")
    assert driver.mounts(private=True) == (
        ("tmpfs", "tmpfs", "/sys/fs/cgroup", (*quiet, "strictatime", "mode=755", "size=64k")),
        ("cgroup", "cgroup", "/sys/fs/cgroup/cpu,cpuacct", (*quiet, "relatime", "ro", "cpu", "cpuacct")),
        ("cgroup", "cgroup", "/sys/fs/cgroup/cpu", (*quiet, "relatime", "ro", "cpu", "cpuacct")),
        ("cgroup", "cgroup", "/sys/fs/cgroup/cpuacct", (*quiet, "relatime", "ro", "cpu", "cpuacct")),
        ("cgroup", "cgroup", "/sys/fs/cgroup/memory", (*quiet, "relatime", "ro", "memory")),
    )
    assert driver.mounts(private=False, read_only=False) == (
        ("bind", "/sys/fs/cgroup", "/sys/fs/cgroup", ("rbind", "rprivate", *quiet, "rw")),
    )
    unified = V2Driver(Layout(version=2, unified="/sys/fs/cgroup"), "t")
    assert unified.mounts(private=True) == unified.mounts(private=False)
    assert unified.mounts(private=True) == (("cgroup2", "cgroup2", "/sys/fs/cgroup", (*quiet, "relatime", "ro")),)


def test_choosing_a_driver_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tiffin.cgroups.driver import choose_driver; choose_driver();"
        "heavy = {'typing', 'dataclasses', 'enum', 're', 'pathlib', 'subprocess', 'json', 'ctypes', 'signal'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n"
