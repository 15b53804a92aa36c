"""The search for what tests leave behind finds what is there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.leaks import Snapshot, mounts_below, processes_using, wait_gone


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tiffin-leaks-", dir="/var/tmp") as path:
        yield path


def test_finds_a_process_in_the_directory(directory: str) -> None:
    process = subprocess.Popen(["sleep", "60"], cwd=f"{directory}/.")
    try:
        assert processes_using(directory) == []  # it stands on the directory, not below it
    finally:
        process.kill()
        process.wait()
    os.mkdir(f"{directory}/work")
    process = subprocess.Popen(["sleep", "60"], cwd=f"{directory}/work")
    try:
        assert [str(found) for found in processes_using(directory)] == [f"process {process.pid} (sleep 60)"]
        assert wait_gone(directory, timeout_s=0.1) == [f"process {process.pid} (sleep 60)"]
    finally:
        process.kill()
        process.wait()
    assert wait_gone(directory) == []


def test_finds_a_process_with_its_own_mounts(directory: str) -> None:
    target = f"{directory}/mounted"
    os.mkdir(target)
    script = f"mount -t tmpfs tmpfs {target} && echo ready && exec sleep 60"
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert [found.pid for found in processes_using(directory)] == [process.pid]
        assert mounts_below(directory) == [], "it is in the other process's table"
    finally:
        process.kill()
        process.communicate()


def test_finds_a_mount(directory: str) -> None:
    before = Snapshot.take()
    target = f"{directory}/mounted"
    os.mkdir(target)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    try:
        assert mounts_below(directory) == [f"mount {target}"]
        assert f"mount {target}" in Snapshot.take().left_since(before)
    finally:
        subprocess.run(["umount", target], check=True)
    assert mounts_below(directory) == []


def test_finds_a_namespace() -> None:
    before = Snapshot.take()
    process = subprocess.Popen(["unshare", "--uts", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        left = Snapshot.take().left_since(before)
        assert [line for line in left if line.startswith("namespace uts:") and f"process {process.pid} " in line]
    finally:
        process.kill()
        process.communicate()


def test_finds_a_cgroup() -> None:
    hierarchy = Path("/sys/fs/cgroup")
    if not (hierarchy / "cgroup.controllers").exists():
        hierarchy /= "pids"
    parent = hierarchy / f"tiffin-leaks-{os.getpid()}"
    before = Snapshot.take()
    (parent / "left").mkdir(parents=True)
    try:
        assert f"cgroup {parent}/left" in Snapshot.take().left_since(before)
    finally:
        (parent / "left").rmdir()
        parent.rmdir()
