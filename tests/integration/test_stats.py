"""What running containers use, as figures and as Docker's table."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import tiffin as package

if TYPE_CHECKING:
    from harness.terminal import Terminal
    from integration.conftest import Runner

Engine = package.Engine


def test_figures(engine: Engine, busybox: str) -> None:
    script = "dd if=/dev/zero of=/dev/shm/f bs=1M count=20 2>/dev/null; while :; do :; done & exec sleep 1000"
    config = package.ContainerConfig(
        image=busybox, command=("sh", "-c", script),
        resources=package.Resources(memory_bytes=100 << 20, pids_limit=7),
    )  # fmt: skip
    container = engine.create(config)
    engine.start(container.id)
    deadline = time.monotonic() + 10
    while (first := engine.stats(container.id)).memory_bytes < 20 << 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    second = engine.stats(container.name)
    assert (second.id, second.name) == (container.id, container.name)
    assert 20 << 20 <= second.memory_bytes < 40 << 20 and second.memory_limit_bytes == 100 << 20
    assert second.pids == 2 and second.pids_limit == 7
    assert (second.network_received_bytes, second.network_sent_bytes) == (0, 0)
    spent, elapsed = second.cpu_usage_ns - first.cpu_usage_ns, second.time_ns - first.time_ns
    assert 0 < spent < 1.5 * elapsed, "one thread is busy"
    assert [stats.id for stats in engine.stats_all()] == [container.id]
    engine.stop(container.id, timeout_s=0)
    assert engine.stats_all() == []
    with pytest.raises(package.ConflictError) as caught:
        engine.stats(container.id)
    assert caught.value.message == f"container {container.name!r} is not running"


def test_the_file_cache_is_not_counted(engine: Engine, tiffin: Runner, busybox: str) -> None:
    script = "dd if=/dev/zero of=/f bs=1M count=30 2>/dev/null; sync; echo done; exec sleep 1000"
    tiffin.ok("run", "-d", "--name", "cc", busybox, "sh", "-c", script)
    deadline = time.monotonic() + 20
    while "done" not in tiffin.ok("logs", "cc") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.stats("cc").memory_bytes < 15 << 20


def test_the_table(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "runs", "--memory", "50m", busybox, "sleep", "1000")
    tiffin.ok("create", "--name", "idle", busybox, "true")
    heading, row = tiffin.ok("stats", "--no-stream").splitlines()
    assert heading == "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O   PIDS"
    figures = r"\d\.\d\d% +[\d.]+KiB / 50MiB +\d\.\d\d% +0B / 0B +[\d.]+k?M?B / [\d.]+B +1"
    assert re.fullmatch(rf"[0-9a-f]{{12}}   runs      {figures}", row), row
    names = tiffin.ok("stats", "-a", "--no-stream", "--format", "{{.Name}}: {{.PIDs}} {{.MemUsage}} {{.NetIO}}")
    assert names.splitlines()[0] == "idle: 0 0B / 0B 0B / 0B" and names.splitlines()[1].startswith("runs: 1 ")
    facts = json.loads(tiffin.ok("stats", "--no-stream", "--no-trunc", "--format", "json", "runs"))
    dockers = ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]
    assert sorted(facts) == sorted([*dockers, "MergeProfit", "MergedBytes", "MergedPages"])
    assert len(facts["ID"]) == 64 and facts["Container"] == "runs"
    missing = tiffin("stats", "--no-stream", "nosuch")
    assert (missing.code, missing.err.splitlines()[0]) == (1, "tiffin: no such container: nosuch")


def test_a_stream_outlives_its_containers(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "one", busybox, "sleep", "1000")
    tiffin.ok("run", "-d", "--name", "two", busybox, "sleep", "1000")
    timer = threading.Timer(1.0, lambda: tiffin.ok("rm", "-f", "one"))
    timer.start()
    with tiffin.start("stats", "--format", "{{.Name}}", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stream:
        assert stream.stdout is not None and stream.stderr is not None
        seen = [stream.stdout.readline().decode().strip() for _ in range(6)]
        stream.stdout.close()
        tiffin.ok("rm", "-f", "two")
        timer.join()
        stream.terminate()
        stream.wait(10)
        assert stream.stderr.read() == b""
    assert seen[:2] == ["two", "one"] and seen[-2:] == ["two", "two"]


def test_a_terminal_is_redrawn(tiffin: Runner, busybox: str, terminal: Callable[..., Terminal]) -> None:
    tiffin.ok("run", "-d", "--name", "one", busybox, "sleep", "1000")
    screen = terminal("stats")
    screen.expect("PIDS")
    screen.expect("one")
    screen.expect("\x1b\\[H")
    screen.send("\x03")
    assert screen.wait() == 130
