"""What every cgroup driver must do, on the real kernel: v1 or hybrid here, v2 in the guest of tests/v2."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tiffin.cgroups import devices, files
from tiffin.cgroups.driver import CgroupPlan, choose_driver
from tiffin.cgroups.layout import detect
from tiffin.errors import HostError, UsageError
from tiffin.model.resources import Resources

if TYPE_CHECKING:
    from tiffin.cgroups.driver import CgroupDriver

MB = 1 << 20
ID = "ab" * 32
OTHER = "cd" * 32

# Joins the cgroups given as "file=value" arguments, says so, then runs the code on its standard input.
JOINER = """
import os, sys
for path in sys.argv[2:]:
    with open(path, "w") as file:
        file.write("0")
print("in", flush=True)
exec(sys.argv[1])
"""

WAIT = "import signal; signal.pause()"

Start = Callable[..., "subprocess.Popen[str]"]


def entrances(plan: CgroupPlan) -> list[str]:
    return [*plan.tasks, *([f"{plan.into}/cgroup.procs"] if plan.into else [])]


@pytest.fixture
def driver() -> Iterator[CgroupDriver]:
    parent = f"tiffin-test-{secrets.token_hex(4)}/inner"
    driver = choose_driver(parent)
    yield driver
    for container_id in driver.list_containers():
        driver.remove(container_id)
    mounts = [hierarchy.mount for hierarchy in detect().hierarchies] + [detect().unified]
    for mount in mounts:
        for directory in (f"{mount}/{parent}", os.path.dirname(f"{mount}/{parent}")):
            if os.path.isdir(directory):
                os.rmdir(directory)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python code inside the cgroups of a plan; everything is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(plan: CgroupPlan, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", JOINER, code, *entrances(plan)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "in\n", process.stderr.read() if process.stderr else ""
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def finish(process: subprocess.Popen[str]) -> str:
    # Not communicate(): the first line was read through the buffer, which may hold the rest.
    assert process.stdout is not None
    assert process.stderr is not None
    out, error = process.stdout.read(), process.stderr.read()
    assert process.wait(20) == 0, error
    return out.strip()


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


def test_limits_are_in_effect_as_asked(driver: CgroupDriver) -> None:
    asked = Resources(
        memory_bytes=64 * MB,
        memory_swap_bytes=96 * MB,
        memory_reservation_bytes=32 * MB,
        cpus=0.5,
        cpu_shares=512,
        cpuset_cpus="0",
        cpuset_mems="0",
        pids_limit=77,
    )
    driver.validate(asked)
    driver.create(ID, asked, devices.DEFAULT)
    effective = driver.read(ID)
    if driver.version == 2:  # its weights are coarser than shares
        assert effective.cpu_shares is not None
        assert abs(effective.cpu_shares - 512) < 12
        effective = effective.replace(cpu_shares=512)
    assert effective == asked


def test_memory_alone_allows_as_much_swap(driver: CgroupDriver) -> None:
    driver.create(ID, Resources(memory_bytes=64 * MB), devices.EVERYTHING)
    assert driver.read(ID).memory_swap_bytes == 128 * MB
    driver.create(OTHER, Resources(memory_bytes=64 * MB, memory_swap_bytes=-1), devices.EVERYTHING)
    assert driver.read(OTHER).memory_swap_bytes == -1


def test_without_limits_there_are_none(driver: CgroupDriver) -> None:
    driver.create(ID, Resources(), devices.EVERYTHING)
    effective = driver.read(ID)
    assert effective.cpuset_cpus is not None
    assert effective.replace(cpuset_cpus=None, cpuset_mems=None) == Resources(cpu_shares=1024)
    driver.create(OTHER, Resources(pids_limit=0), devices.EVERYTHING)
    assert driver.read(OTHER).pids_limit is None


def test_processes_enter_and_are_listed(driver: CgroupDriver, start: Start) -> None:
    plan = driver.create(ID, Resources(), devices.DEFAULT)
    assert driver.processes(ID) == []
    first = start(plan, WAIT)
    second = start(driver.joining(ID), WAIT)
    assert driver.processes(ID) == sorted((first.pid, second.pid))
    listed = {int(word) for word in Path(plan.procs_dir, "cgroup.procs").read_text().split()}
    assert listed == {first.pid, second.pid}
    stats = driver.stats(ID)
    assert stats.pids == 2
    assert stats.memory_bytes is not None
    assert stats.memory_bytes > 0
    assert stats.cpu_usage_ns is not None
    until(lambda: (driver.stats(ID).cpu_usage_ns or 0) > 0)


def test_memory_is_limited_and_the_killing_counted(driver: CgroupDriver, start: Start) -> None:
    plan = driver.create(ID, Resources(memory_bytes=32 * MB, memory_swap_bytes=32 * MB), devices.DEFAULT)
    assert re.search(r"^oom_kill 0$", Path(plan.oom_file).read_text(), re.MULTILINE)
    process = start(plan, "hoard = [bytearray(1 << 20) for _ in range(256)]; print('survived')")
    assert process.wait(20) == -signal.SIGKILL
    assert re.search(r"^oom_kill [1-9]", Path(plan.oom_file).read_text(), re.MULTILINE)


def test_the_number_of_processes_is_limited(driver: CgroupDriver, start: Start) -> None:
    plan = driver.create(ID, Resources(pids_limit=3), devices.DEFAULT)
    code = """
import time
made = 0
try:
    while made < 10:
        if os.fork() == 0:
            time.sleep(30)
        made += 1
except BlockingIOError as error:
    print(made, error.errno, flush=True)
"""
    process = start(plan, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "2 11\n"
    driver.kill_all(ID)
    assert driver.processes(ID) == []


def test_processor_time_is_limited(driver: CgroupDriver, start: Start) -> None:
    plan = driver.create(ID, Resources(cpus=0.2), devices.DEFAULT)
    start(plan, "while True: pass")
    began, used = time.monotonic(), driver.stats(ID).cpu_usage_ns or 0
    time.sleep(0.6)
    took_ns, used = (time.monotonic() - began) * 1e9, (driver.stats(ID).cpu_usage_ns or 0) - used
    assert 0 < used < 0.4 * took_ns


def attach_device_program(directory: str, program: bytes) -> None:
    """bpf(2): load a BPF_PROG_TYPE_CGROUP_DEVICE program and attach it."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    instructions = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    log = ctypes.create_string_buffer(65536)
    attributes = struct.pack(
        "=IIQQIIQI", 15, len(program) // 8, ctypes.addressof(instructions), ctypes.addressof(licence),
        1, len(log), ctypes.addressof(log), 0,
    ).ljust(128, b"\0")  # fmt: skip
    loaded = libc.syscall(number, 5, attributes, len(attributes))
    assert loaded >= 0, f"{os.strerror(ctypes.get_errno())}: {log.value.decode()}"
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        attributes = struct.pack("=IIII", target, loaded, 6, 0).ljust(128, b"\0")
        assert libc.syscall(number, 8, attributes, len(attributes)) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(target)
        os.close(loaded)


OPENER = """
for path, flags in (("{kmsg}", os.O_RDONLY), ("/dev/null", os.O_RDWR), ("/dev/zero", os.O_RDONLY)):
    try:
        os.close(os.open(path, flags))
        print("opened")
    except OSError as error:
        print(error.errno)
try:
    os.mknod("{made}", 0o20600, os.makedev(1, 11))
    print("made")
except OSError as error:
    print(error.errno)
"""


def test_devices_are_limited(driver: CgroupDriver, start: Start, tmp_path: Path) -> None:
    node = f"/dev/tiffin-test-{os.getpid()}"
    os.mknod(node, 0o20600, os.makedev(1, 11))
    readable = devices.DeviceRule(type="c", major=1, minor=11, access="r")
    code = OPENER.format(kmsg=node, made=tmp_path / "made")
    try:
        for container_id, rules, answer in (
            (ID, devices.DEFAULT, "1 opened opened made"),
            (OTHER, (*devices.DEFAULT, readable), "opened opened opened made"),
            ("ef" * 32, devices.EVERYTHING, "opened opened opened made"),
            ("0f" * 32, (devices.DeviceRule(type="c", major=1, minor=3),), "1 opened 1 1"),
        ):  # fmt: skip
            plan = driver.create(container_id, Resources(), rules)
            if plan.device_program:
                attach_device_program(*plan.device_program)
            assert " ".join(finish(start(plan, code)).split()) == answer, rules
            (tmp_path / "made").unlink(missing_ok=True)
    finally:
        os.unlink(node)


@pytest.mark.skipif(detect().unified == "", reason="no v2 tree is mounted")
def test_the_device_program_does_what_the_rules_say(start: Start) -> None:
    """The eBPF twin of v1's lines, attached in the v2 tree, which hybrid hosts have as well."""
    directory = f"{detect().unified}/tiffin-test-{secrets.token_hex(4)}"
    node = f"/dev/tiffin-test-bpf-{os.getpid()}"
    os.mknod(node, 0o20600, os.makedev(1, 11))
    os.mkdir(directory)
    try:
        read_only = devices.DeviceRule(type="c", major=1, minor=11, access="r")
        attach_device_program(directory, devices.v2_program((*devices.DEFAULT, read_only)))
        code = f"""
for path, flags in (("{node}", os.O_RDONLY), ("{node}", os.O_RDWR), ("/dev/null", os.O_RDWR), ("/dev/fuse", os.O_RDWR)):
    try:
        os.close(os.open(path, flags))
        print("opened")
    except OSError as error:
        print(error.errno)
"""
        out = finish(start(CgroupPlan(into=directory), code)).split()
        assert out[:3] == ["opened", "1", "opened"]
        if os.path.exists("/dev/fuse"):
            assert out[3] == "1"
    finally:
        os.unlink(node)
        until(lambda: not Path(directory, "cgroup.procs").read_text())
        os.rmdir(directory)


def test_limits_change_while_it_runs(driver: CgroupDriver, start: Start) -> None:
    first = Resources(memory_bytes=64 * MB, memory_swap_bytes=64 * MB, cpus=0.5, pids_limit=10)
    start(driver.create(ID, first, devices.DEFAULT), WAIT)
    driver.update(ID, Resources(memory_bytes=256 * MB, memory_swap_bytes=512 * MB))
    driver.update(ID, Resources(cpus=1, cpu_shares=2048, pids_limit=-1, memory_reservation_bytes=48 * MB))
    effective = driver.read(ID)
    assert (effective.memory_bytes, effective.memory_swap_bytes) == (256 * MB, 512 * MB)
    assert (effective.cpus, effective.pids_limit) == (1.0, None)
    assert effective.memory_reservation_bytes == 48 * MB
    driver.update(ID, Resources(memory_bytes=128 * MB, memory_swap_bytes=192 * MB))
    effective = driver.read(ID)
    assert (effective.memory_bytes, effective.memory_swap_bytes) == (128 * MB, 192 * MB)
    driver.update(ID, Resources(memory_bytes=192 * MB))
    assert driver.read(ID).memory_swap_bytes == 192 * MB
    with pytest.raises(UsageError) as caught:
        driver.update(ID, Resources(memory_bytes=256 * MB))
    assert str(caught.value) == (
        "the memory limit (268435456 bytes) would exceed the limit of memory plus swap (201326592 bytes)"
        " (change both in one update)"
    )
    driver.update(ID, Resources(memory_swap_bytes=-1))
    assert driver.read(ID).memory_swap_bytes == -1


def test_freezing_stops_and_thawing_continues(driver: CgroupDriver, start: Start) -> None:
    start(driver.create(ID, Resources(), devices.DEFAULT), "while True: pass")
    driver.freeze(ID)
    before = driver.stats(ID).cpu_usage_ns
    time.sleep(0.05)
    assert driver.stats(ID).cpu_usage_ns == before
    driver.thaw(ID)
    until(lambda: driver.stats(ID).cpu_usage_ns != before)


FORKING = """
import time
while True:
    try:
        if os.fork() and os.fork():
            time.sleep(0.01)
            os._exit(0)
    except BlockingIOError:
        time.sleep(0.001)
"""


def test_killing_outruns_forking(driver: CgroupDriver, start: Start) -> None:
    start(driver.create(ID, Resources(pids_limit=20), devices.DEFAULT), FORKING)
    until(lambda: len(driver.processes(ID)) > 5)
    driver.kill_all(ID)
    assert driver.processes(ID) == []
    assert driver.exists(ID)


def test_killing_what_is_frozen(driver: CgroupDriver, start: Start) -> None:
    process = start(driver.create(ID, Resources(), devices.DEFAULT), WAIT)
    driver.freeze(ID)
    driver.kill_all(ID)
    assert process.wait(5) == -signal.SIGKILL


def test_removal_takes_processes_and_cgroups_below_along(driver: CgroupDriver, start: Start) -> None:
    plan = driver.create(ID, Resources(pids_limit=20), devices.DEFAULT)
    for directory in plan.remove:
        os.makedirs(f"{directory}/made/inside")
    start(plan, FORKING)
    driver.remove(ID)
    assert not driver.exists(ID)
    assert not any(os.path.exists(directory) for directory in plan.remove)
    driver.remove(ID)
    driver.kill_all(ID)


def test_containers_are_listed(driver: CgroupDriver) -> None:
    assert driver.list_containers() == []
    assert not driver.exists(ID)
    driver.create(OTHER, Resources(), devices.DEFAULT)
    driver.create(ID, Resources(), devices.DEFAULT)
    assert driver.list_containers() == [ID, OTHER]
    assert driver.exists(ID)
    driver.remove(ID)
    assert driver.list_containers() == [OTHER]


def test_creating_again_starts_afresh(driver: CgroupDriver, start: Start) -> None:
    process = start(driver.create(ID, Resources(memory_bytes=64 * MB), devices.DEFAULT), WAIT)
    driver.create(ID, Resources(pids_limit=5), devices.EVERYTHING)
    assert process.wait(5) == -signal.SIGKILL
    effective = driver.read(ID)
    assert (effective.memory_bytes, effective.pids_limit) == (None, 5)


def test_leftovers_in_some_hierarchies_make_no_difference(driver: CgroupDriver) -> None:
    """Whoever is killed while he removes cgroups leaves some of them."""
    whole = driver.create(ID, Resources(), devices.DEFAULT)
    for directory in whole.remove[:-1]:
        os.rmdir(directory)
    again = driver.create(ID, Resources(pids_limit=5), devices.DEFAULT)
    assert again == whole
    assert all(os.path.isdir(directory) for directory in again.remove)
    assert driver.read(ID).pids_limit == 5


def parents(driver: CgroupDriver) -> set[str]:
    made = driver.create(ID, Resources(), devices.DEFAULT)
    driver.remove(ID)
    return {os.path.dirname(directory) for directory in made.remove}


def test_the_parent_goes_when_it_is_empty(driver: CgroupDriver) -> None:
    above = parents(driver)
    assert all(os.path.isdir(directory) for directory in above)
    driver.create(OTHER, Resources(), devices.DEFAULT)
    driver.remove_parent()
    assert all(os.path.isdir(directory) for directory in above)
    driver.remove(OTHER)
    driver.remove_parent()
    driver.remove_parent()
    assert not any(os.path.isdir(directory) for directory in above)
    assert driver.list_containers() == []
    driver.create(ID, Resources(pids_limit=5), devices.DEFAULT)
    assert driver.read(ID).pids_limit == 5


def test_parents_come_and_go_under_many(driver: CgroupDriver, start: Start) -> None:
    """Everybody takes the empty parent away while the others make theirs in it, with every limit and any process."""
    above = parents(driver)
    limits = Resources(memory_bytes=64 * MB, cpus=1, pids_limit=100)
    failures: list[str] = []
    gone = 0

    def work(number: int) -> None:
        nonlocal gone
        container_id = f"{number:064x}"
        try:
            for lap in range(40):
                plan = driver.create(container_id, limits, devices.DEFAULT)
                effective = driver.read(container_id)
                if (effective.memory_bytes, effective.pids_limit) != (64 * MB, 100) or not effective.cpuset_cpus:
                    failures.append(str(effective))
                if lap == 20:
                    process = start(plan, "print('works')")
                    failures.extend(word for word in finish(process).split() if word not in ("in", "works"))
                driver.remove(container_id)
                driver.remove_parent()
                gone += not any(map(os.path.isdir, above))
        except HostError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert gone > 0
    assert driver.list_containers() == []
    assert not any(map(os.path.isdir, above))


def test_what_is_not_there_is_said(driver: CgroupDriver) -> None:
    for use in (driver.joining, driver.read, driver.stats, driver.freeze, driver.thaw):
        with pytest.raises(HostError) as caught:
            use(ID)
        assert str(caught.value) == "the container abababababab has no cgroups: it does not run"
    assert driver.processes(ID) == []


def test_nothing_is_left_after_a_refusal(driver: CgroupDriver) -> None:
    if driver.version == 1:
        rule = devices.DeviceRule(type="c", major=1, minor=3, access="q")
        with pytest.raises(HostError) as caught:
            driver.create(ID, Resources(), (rule,))
        assert re.fullmatch(r"cannot write 'c 1:3 q' to .*/devices.allow: Invalid argument", str(caught.value))
    with pytest.raises(UsageError) as usage:
        driver.create(ID, Resources(cpuset_cpus="60000"), devices.DEFAULT)
    assert re.fullmatch(
        r"the processors 60000 are not all available on this host, which has [0-9,-]+", str(usage.value)
    )
    assert not driver.exists(ID)


VIEWER = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
check(libc.unshare(0x02020000))
check(libc.mount(b"none", b"/", None, 0x44000, None))
check(libc.mount(b"tmpfs", b"/sys", b"tmpfs", 0, None))  # nothing there yet, as in a new container
flags = dict(ro=1, nosuid=2, nodev=4, noexec=8, relatime=0x200000, strictatime=0x1000000)
for fstype, source, target, options in {mounts!r}:
    os.makedirs(target, exist_ok=True)
    number, data = 0, []
    for option in options:
        number |= flags.get(option, 0)
        if option not in flags and option != "rw":
            data.append(option)
    check(libc.mount(source.encode(), target.encode(), fstype.encode(), number, ",".join(data).encode()))
print(sorted(os.listdir("/sys/fs/cgroup")))
for path in {probe!r}:
    print(str(os.getpid()) in open(path + "/cgroup.procs").read().split())
    try:
        os.mkdir(path + "/x")
        os.rmdir(path + "/x")
        print("writable")
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_the_containers_own_view(driver: CgroupDriver, start: Start, read_only: bool) -> None:
    plan = driver.create(ID, Resources(), devices.DEFAULT)
    mounts = driver.mounts(private=True, read_only=read_only)
    if driver.version == 2:
        probe = ["/sys/fs/cgroup"]
    else:
        probe = [target for fstype, _, target, _ in mounts if fstype == "cgroup"]
        assert "/sys/fs/cgroup/memory" in probe
    lines = finish(start(plan, VIEWER.format(mounts=mounts, probe=probe))).splitlines()[1:]
    answer = "30" if read_only else "writable"
    assert lines == ["True", answer] * len(probe)


def test_a_delegated_cgroup_and_its_limits(driver: CgroupDriver, start: Start) -> None:
    """What is lent can be written to, and what limits it cannot be seen from inside."""
    plan = driver.create(ID, Resources(pids_limit=50), devices.DEFAULT, delegated=(0, 0))
    mounts = driver.mounts(private=True, delegated=True)
    assert [(fstype, target) for fstype, _, target, _ in mounts] == [("cgroup2", "/sys/fs/cgroup")]
    process = start(plan, VIEWER.format(mounts=mounts, probe=["/sys/fs/cgroup"]) + LOOSEN)
    assert finish(process).splitlines()[1:] == ["True", "writable"]
    assert driver.read(ID).pids_limit == 50
    assert driver.create(ID, Resources(), devices.DEFAULT).into != plan.into, "the next one may have none"


LOOSEN = """
try:
    open("/sys/fs/cgroup/pids.max", "w").write("max")
except OSError:
    pass
"""


def test_creating_is_fast(driver: CgroupDriver) -> None:
    """The budget is 1.5 ms; measured 0.4. Five times that here, since the machine may be busy."""
    limits = Resources(memory_bytes=64 * MB, cpus=1, pids_limit=100)
    driver.create(ID, limits, devices.DEFAULT)
    best = 1.0
    for _ in range(10):
        driver.remove(ID)
        began = time.perf_counter()
        driver.create(ID, limits, devices.DEFAULT)
        best = min(best, time.perf_counter() - began)
    assert best < 0.0075


def test_it_says_what_is_frozen(driver: CgroupDriver, start: Start) -> None:
    assert not driver.frozen(ID)
    start(driver.create(ID, Resources(), devices.DEFAULT), WAIT)
    start(driver.create(OTHER, Resources(), devices.DEFAULT), WAIT)
    assert not driver.frozen(ID)
    freezer = driver.freezer(ID)
    assert freezer is not None
    assert not Path(freezer[0]).read_text().startswith(freezer[1])
    driver.freeze(ID)
    assert driver.frozen(ID)
    assert Path(freezer[0]).read_text().startswith(freezer[1])
    assert not driver.frozen(OTHER)
    driver.thaw(ID)
    assert not driver.frozen(ID)


def test_a_refused_update_changes_nothing(driver: CgroupDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.create(ID, Resources(pids_limit=77), devices.DEFAULT)
    before = driver.read(ID)

    def write(path: str, value: str) -> None:
        if path.endswith("/pids.max"):  # the last one
            raise HostError("the kernel says no")
        original(path, value)

    original = files.write
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", write)
        with pytest.raises(HostError, match="the kernel says no"):
            driver.update(
                ID,
                Resources(
                    memory_bytes=64 * MB,
                    memory_swap_bytes=96 * MB,
                    memory_reservation_bytes=32 * MB,
                    cpus=0.5,
                    cpu_shares=512,
                    cpuset_cpus="0",
                    pids_limit=5,
                ),
            )
    assert driver.read(ID) == before


def test_whether_swap_is_counted(driver: CgroupDriver) -> None:
    driver.create(ID, Resources(memory_bytes=64 * MB), devices.EVERYTHING)
    assert driver.counts_swap() == (driver.read(ID).memory_swap_bytes == 128 * MB)
