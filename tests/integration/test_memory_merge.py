"""--memory-merge: the kernel's mark on processes, what comes of it, and what is said where it cannot be."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from launcher_fixtures import built
from tiffin.errors import LaunchError

if TYPE_CHECKING:
    from integration.conftest import Runner

SETTINGS = Path("/sys/kernel/mm/ksm")
MB = 1 << 20
# 64 MB of equal pages, held for as long as nobody reads them.
FILL = "dd if=/dev/zero bs=64M count=1 | sleep 1000"
NEEDED = "it takes Linux 6.7 or later, built with CONFIG_KSM"


def supported() -> bool:
    version = tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2])
    return version >= (6, 7) and SETTINGS.is_dir()


@pytest.fixture
def merging() -> Iterator[None]:
    """The kernel's thread switched off and its settings untouched; as they were afterwards."""
    if not supported():
        yield
        return
    names = ("advisor_mode", "pages_to_scan", "sleep_millisecs", "run")
    with open(f"{tempfile.gettempdir()}/tiffin-test-ksm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it is one for the whole host
        before = {name: read(name) for name in names if (SETTINGS / name).exists()}
        if "advisor_mode" in before:
            before["advisor_mode"] = before["advisor_mode"].partition("[")[2].partition("]")[0]
            write("advisor_mode", "none")
        for name, value in (("run", "0"), ("pages_to_scan", "100"), ("sleep_millisecs", "20")):
            write(name, value)
        yield
        if before["run"] == "0":
            write("run", "2")  # nothing stays merged
        for name, value in before.items():
            if name != "pages_to_scan" or before.get("advisor_mode", "none") == "none":
                write(name, value)


def read(name: str) -> str:
    return (SETTINGS / name).read_text().strip()


def write(name: str, value: str) -> None:
    (SETTINGS / name).write_text(value)


def marks(text: str) -> list[str]:
    """What ksm_stat says of each process; kernels before 6.14 do not say whether a process is marked."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("ksm_merge_any:")]


def is_refused(tiffin: Runner, image: str) -> bool:
    """On a kernel that cannot do it, check that this is what is said."""
    if supported():
        return False
    refused = tiffin("create", "--memory-merge", image, "true")
    assert refused.code == 1
    assert refused.err.startswith("tiffin: memory cannot be merged on this host: it")
    assert refused.err.endswith(f"\n{NEEDED}\n")
    assert tiffin.ok("ps", "-aq") == ""
    return True


@pytest.mark.usefixtures("merging")
def test_equal_pages_of_two_containers(tiffin: Runner, engine: package.Engine, busybox: str) -> None:
    if is_refused(tiffin, busybox):
        return
    for name, option in (("one", "--memory-merge"), ("two", "--memory-merge=true"), ("plain", "--memory-merge=false")):
        tiffin.ok("run", "-d", "--name", name, option, busybox, "sh", "-c", FILL)
    assert (read("run"), read("pages_to_scan")) == ("1", "1000")
    write("pages_to_scan", "20000")  # there may be much else on this host to look at
    deadline = time.monotonic() + 60
    stats = {each.name: each for each in engine.stats_all()}
    while min(stats[name].merged_pages for name in ("one", "two")) < 64 * MB // os.sysconf("SC_PAGE_SIZE"):
        assert time.monotonic() < deadline, stats
        time.sleep(0.2)
        stats = {each.name: each for each in engine.stats_all()}
    for name in ("one", "two"):
        assert stats[name].memory_merge and 64 * MB <= stats[name].merged_bytes < 66 * MB
        assert 60 * MB < stats[name].merge_profit_bytes < stats[name].merged_bytes
    plain = stats["plain"]
    assert (plain.memory_merge, plain.merged_pages, plain.merged_bytes, plain.merge_profit_bytes) == (False, 0, 0, 0)
    # What is merged is no longer counted against a container.
    assert stats["one"].memory_bytes + stats["two"].memory_bytes < 32 * MB < 64 * MB <= plain.memory_bytes
    heading, *rows = tiffin.ok("stats", "--no-stream").splitlines()
    assert heading.split()[-2:] == ["PIDS", "MERGED"]
    assert {row.split()[1]: row.split()[-1][:2] for row in rows} == {"one": "64", "two": "64", "plain": "0B"}
    assert "MERGED" not in tiffin.ok("stats", "--no-stream", "plain")
    shown = tiffin.ok("stats", "--no-stream", "--format", "{{.MergedPages}} {{.MergedBytes}} {{.MergeProfit}}", "one")
    assert shown.startswith("16") and shown.split()[1][:3] == "64." and shown.split()[2].endswith("MiB")
    assert tiffin.ok("info").splitlines()[-1].startswith("MemoryMerging: on, ")


@pytest.mark.usefixtures("merging")
def test_every_process_is_marked(tiffin: Runner, busybox: str) -> None:
    if is_refused(tiffin, busybox):
        return
    look = "cat /proc/self/ksm_stat"
    expected = marks(Path("/proc/self/ksm_stat").read_text()) and ["yes"]
    # By its own program, by one that it starts, beside an init, in a user namespace, as nobody, under a filter.
    for options in (
        (),
        ("--init",),
        ("--userns", "auto"),
        ("--user", "65534"),
        ("--security-opt", "no-new-privileges"),
    ):
        words = ("run", "--rm", "--memory-merge", *options, busybox)
        assert marks(tiffin.ok(*words, "cat", "/proc/self/ksm_stat")) == expected
        assert marks(tiffin.ok(*words, "sh", "-c", f"(sh -c '{look}'); true")) == expected
    check = f"{look} > /new; mv /new /seen"  # whole whenever it is looked at
    tiffin.ok(
        "run", "-d", "--name", "cc", "--memory-merge", "--health-cmd", check, "--health-interval", "100ms",
        busybox, "sleep", "1000",
    )  # fmt: skip
    assert marks(tiffin.ok("exec", "cc", "cat", "/proc/self/ksm_stat")) == expected
    deadline = time.monotonic() + 20
    while tiffin("exec", "cc", "grep", "-q", "rmap", "/seen").code:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert marks(tiffin.ok("exec", "cc", "cat", "/seen")) == expected
    unmarked = [word.replace("yes", "no") for word in expected]
    assert marks(tiffin.ok("run", "--rm", busybox, "cat", "/proc/self/ksm_stat")) == unmarked


@pytest.mark.usefixtures("merging")
def test_it_is_changed_between_two_runs(tiffin: Runner, engine: package.Engine, busybox: str) -> None:
    if is_refused(tiffin, busybox):
        return
    tiffin.ok("run", "-d", "--name", "cc", "--memory", "64m", busybox, "sleep", "1000")
    assert read("run") == "0"
    shown = ("inspect", "-f", "{{.HostConfig.MemoryMerge}}", "cc")
    refused = tiffin("update", "--memory-merge", "--pids-limit", "9", "cc")
    assert refused == (
        1, "", "tiffin: --memory-merge of container 'cc' cannot be changed while it runs\nstop it first\n"
    )  # fmt: skip
    assert tiffin.ok(*shown) == "false" and engine.container("cc").container.config.resources.pids_limit is None
    assert tiffin.ok("update", "--memory-merge=false", "--pids-limit", "9", "cc") == "cc"
    tiffin.ok("stop", "-t", "0", "cc")
    assert tiffin.ok("update", "--memory-merge", "cc") == "cc"
    tiffin.ok("start", "cc")
    assert tiffin.ok(*shown) == "true" and read("run") == "1"
    assert set(marks(tiffin.ok("exec", "cc", "cat", "/proc/self/ksm_stat"))) <= {"yes"}
    resources = engine.container("cc").container.config.resources
    assert (resources.memory_bytes, resources.pids_limit, resources.memory_merge) == (64 * MB, 9, True)


@pytest.mark.usefixtures("merging")
def test_settings_that_cannot_be_written(tiffin: Runner, busybox: str) -> None:
    """Somewhere with a /sys that is read-only the container starts, and the user is told what to do."""
    if is_refused(tiffin, busybox):
        return
    command = tiffin.argv("run", "--rm", "--memory-merge", busybox, "echo", "ran")
    script = 'mount -o remount,bind,ro /sys && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "ran\n"
    assert done.stderr == (
        "tiffin: warning: no memory is merged: merging cannot be switched on here (Read-only file system: "
        f"{SETTINGS}/pages_to_scan); as root of the host: echo 1 > {SETTINGS}/run\n"
    )
    assert read("run") == "0"
    state = json.loads(tiffin.ok("info", "--format", "{{json .Tiffin.MemoryMerging}}"))
    assert (state["run"], state["pages_to_scan"], tiffin.ok("info").splitlines()[-1]) == (0, 100, "MemoryMerging: off")


@pytest.mark.usefixtures("merging")
def test_a_kernel_that_refuses(
    engine: package.Engine, busybox: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher's own word, where looking at the host did not tell."""
    monkeypatch.setenv("TIFFIN_LAUNCHER", str(built("enosys", tmp_path_factory)))
    monkeypatch.setattr("tiffin.runtime.ksm.check", lambda: None)
    monkeypatch.setattr("tiffin.runtime.ksm.switch_on", lambda warn: None)
    resources = package.Resources(memory_merge=True)
    container = engine.create(package.ContainerConfig(image=busybox, command=("true",), resources=resources))
    with pytest.raises(LaunchError) as raised:
        engine.start(container.id)
    assert raised.value.message == "cannot have the kernel merge the container's memory: Invalid argument"
    assert raised.value.hint == NEEDED
