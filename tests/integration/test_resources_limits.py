"""Limits of processor time and memory, measured: at the start, and again after each was changed on the running one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.cgroups.driver import choose_driver
from tiffin.model.container import ContainerConfig
from tiffin.model.resources import Resources

if TYPE_CHECKING:
    from tiffin.cgroups.driver import CgroupDriver

MB = 1 << 20
SPIN = "while :; do :; done"
V1 = choose_driver().version == 1


def start(engine: tiffin.Engine, image: str, name: str, script: str, resources: Resources) -> str:
    config = ContainerConfig(image=image, command=("sh", "-c", script), name=name, resources=resources)
    container_id = engine.create(config).id
    engine.start(name)
    return container_id


def used_ns(driver: CgroupDriver, container_id: str) -> int:
    return driver.stats(container_id).cpu_usage_ns or 0


def share(first: str, second: str, over_s: float = 1.0) -> float:
    """The part of the time of both that the first one got."""
    driver = choose_driver()
    before = used_ns(driver, first), used_ns(driver, second)
    time.sleep(over_s)
    one, other = used_ns(driver, first) - before[0], used_ns(driver, second) - before[1]
    return one / (one + other)


def part(container_id: str, over_s: float = 1.0) -> float:
    """How much of one processor's time it got."""
    driver = choose_driver()
    before, began = used_ns(driver, container_id), time.monotonic()
    time.sleep(over_s)
    return (used_ns(driver, container_id) - before) / 1e9 / (time.monotonic() - began)


def comes_to(measure: Callable[[], float], expected: float, tolerance: float = 0.1) -> None:
    """Others use these processors as well, so it may take some tries."""
    seen = []
    for _ in range(4):
        seen.append(measure())
        if abs(seen[-1] - expected) <= tolerance * expected:
            return
    pytest.fail(f"{seen} instead of {expected}")


def test_shares_divide_a_processor(engine: tiffin.Engine, busybox: str) -> None:
    one = start(engine, busybox, "one", SPIN, Resources(cpu_shares=3072, cpuset_cpus="0"))
    two = start(engine, busybox, "two", SPIN, Resources(cpu_shares=1024, cpuset_cpus="0"))
    by_weight = 0.75 if V1 else 0.71  # shares of 1:3 are weights of 100:245 in v2
    comes_to(lambda: share(one, two), by_weight)
    engine.update("one", Resources(cpu_shares=1024))
    comes_to(lambda: share(one, two), 0.5)


def test_idle_time_is_what_others_leave(engine: tiffin.Engine, busybox: str) -> None:
    idle = start(engine, busybox, "idle", SPIN, Resources(cpu_idle=True, cpuset_cpus="0"))
    busy = start(engine, busybox, "busy", SPIN, Resources(cpuset_cpus="0"))
    assert min(share(idle, busy) for _ in range(2)) < 0.05
    engine.update("idle", Resources(cpu_shares=1024))
    comes_to(lambda: share(idle, busy), 0.5)
    engine.update("idle", Resources(cpu_idle=True))
    assert min(share(idle, busy) for _ in range(2)) < 0.05
    engine.update("idle", Resources(cpu_idle=False))
    comes_to(lambda: share(idle, busy), 0.5)


def test_a_quota_bounds_the_time(engine: tiffin.Engine, busybox: str) -> None:
    container_id = start(engine, busybox, "cc", SPIN, Resources(cpu_quota_us=10_000, cpu_period_us=50_000))
    comes_to(lambda: part(container_id), 0.2)
    engine.update("cc", Resources(cpu_quota_us=5_000))
    comes_to(lambda: part(container_id), 0.1)
    engine.update("cc", Resources(cpus=0.15))
    comes_to(lambda: part(container_id), 0.15)
    assert engine.container("cc").container.config.resources == Resources(cpus=0.15)


# By page faults of the program's own: in a system call a want of memory is an error.
ALLOCATE = """awk 'BEGIN { s = "x"; for (i = 0; i < 24; i++) s = s s }'"""


def test_memory_beyond_the_limit_is_killed(engine: tiffin.Engine, busybox: str) -> None:
    small = Resources(memory_bytes=16 * MB, memory_swap_bytes=16 * MB)
    start(engine, busybox, "cc", f"exec {ALLOCATE}", small)
    assert engine.wait("cc", timeout_s=20) == 137
    assert engine.container("cc").state.oom_killed
    start(engine, busybox, "dd", f"while [ ! -e /go ]; do sleep 0.05; done; {ALLOCATE}", small)
    engine.update("dd", Resources(memory_bytes=160 * MB, memory_swap_bytes=160 * MB))
    assert engine.exec_run("dd", ["touch", "/go"]).exit_code == 0
    assert engine.wait("dd", timeout_s=20) == 0
    assert not engine.container("dd").state.oom_killed


@pytest.mark.skipif(not V1, reason="v2 always kills")
def test_nothing_is_killed_when_that_is_off(engine: tiffin.Engine, busybox: str) -> None:
    small = Resources(memory_bytes=16 * MB, memory_swap_bytes=16 * MB, oom_kill_disable=True)
    container_id = start(engine, busybox, "cc", ALLOCATE, small)
    control = Path(choose_driver().planned(container_id, Resources(oom_kill_disable=True))[0].path)
    deadline = time.monotonic() + 10
    while "under_oom 1" not in (text := control.read_text()):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    time.sleep(0.3)
    assert engine.container("cc").state.status == "running"
    engine.update("cc", Resources(memory_bytes=160 * MB, memory_swap_bytes=160 * MB))
    assert engine.wait("cc", timeout_s=20) == 0
