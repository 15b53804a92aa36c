"""Limits that only cgroup v2 has, measured; run in the guest of tests/v2."""

from __future__ import annotations

import time

import tiffin
from integration.test_resources_limits import start
from tiffin.cgroups.driver import choose_driver
from tiffin.model.resources import Resources

MB = 1 << 20


def test_memory_beyond_high_is_taken_back(engine: tiffin.Engine, busybox: str) -> None:
    """The pages of a file are dropped, so that it gets no further than that, and nothing is killed."""
    script = "while :; do dd if=/dev/zero of=/file bs=1M count=48 2>/dev/null; done"
    container_id = start(engine, busybox, "cc", script, Resources(memory_high_bytes=16 * MB))
    driver = choose_driver()
    for high in (16 * MB, 32 * MB):
        engine.update("cc", Resources(memory_high_bytes=high))
        most, end = 0, time.monotonic() + 2
        while time.monotonic() < end:
            most = max(most, driver.stats(container_id).memory_bytes or 0)
            time.sleep(0.02)
        assert 0.5 * high < most < 1.3 * high
    assert engine.container("cc").state.status == "running"
