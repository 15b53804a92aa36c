"""Containers that stand still: who sees it, what still works, what ends them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.errors import ConflictError
from tiffin.model.container import ContainerConfig
from tiffin.state.status import alive

if TYPE_CHECKING:
    from integration.conftest import Runner

COUNT = "trap 'exit 3' TERM; trap 'echo usr1' USR1; while :; do echo x; sleep 0.02; done"


@pytest.fixture
def counter(engine: tiffin.Engine, busybox: str) -> str:
    """A running container named `cc` that listens to signals and writes a line every now and then."""
    engine.create(ContainerConfig(image=busybox, command=("sh", "-c", COUNT), name="cc"))
    engine.start("cc")
    until(lambda: lines(engine) > 0)
    return "cc"


def lines(engine: tiffin.Engine) -> int:
    return sum(1 for _ in engine.logs("cc"))


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def test_it_stands_still_and_runs_on(engine: tiffin.Engine, counter: str) -> None:
    until(lambda: lines(engine) > 0)
    engine.pause(counter)
    state = engine.container(counter).state
    assert (state.status, state.paused) == ("running", True)
    before = lines(engine)
    time.sleep(0.2)
    assert lines(engine) == before
    engine.unpause(counter)
    assert not engine.container(counter).state.paused
    until(lambda: lines(engine) > before)


def test_what_it_is_called(tiffin: Runner, counter: str) -> None:
    assert tiffin.ok("pause", counter) == counter
    status, state = tiffin.ok("ps", "--format", "{{.Status}}/{{.State}}").split("/")
    assert status.startswith("Up ") and status.endswith(" (Paused)") and state == "paused"
    assert tiffin.ok("ps", "-f", "status=paused", "--format", "{{.Names}}") == counter
    assert tiffin.ok("ps", "-f", "status=running", "-q") == ""
    assert tiffin.ok("inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}", counter) == (
        "paused true true"
    )
    counts = "{{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}"
    assert tiffin.ok("info", "-f", counts) == "0 1 0"
    assert tiffin.ok("container", "unpause", counter) == counter
    assert tiffin.ok("info", "-f", counts) == "1 0 0"
    assert "(Paused)" not in tiffin.ok("ps")


def test_what_is_refused(tiffin: Runner, busybox: str, counter: str) -> None:
    assert tiffin("unpause", counter) == (1, "", "tiffin: Container cc is not paused\n")
    tiffin.ok("pause", counter)
    assert tiffin("pause", counter) == (1, "", "tiffin: Container cc is already paused\n")
    refusal = "tiffin: Container cc is paused, unpause the container before exec\n"
    assert tiffin("exec", counter, "true") == (1, "", refusal)
    attach = "tiffin: You cannot attach to a paused container, unpause it first\n"
    assert tiffin("attach", counter) == (1, "", attach)
    start = "tiffin: cannot start a paused container, try unpause instead\n"
    assert tiffin("start", counter) == (1, "", start)
    assert tiffin("rm", counter).err == (
        "tiffin: cannot remove container 'cc': container is paused and must be unpaused first\nor force the removal\n"
    )
    tiffin.ok("create", "--name", "idle", busybox, "true")
    for verb in ("pause", "unpause"):
        assert tiffin(verb, "idle", "nosuch") == (
            1,
            "",
            "tiffin: container 'idle' is not running\n`tiffin start idle` starts it\n"
            "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n",
        )


def test_stop_asks_it_first(engine: tiffin.Engine, counter: str) -> None:
    engine.pause(counter)
    engine.stop(counter, timeout_s=20)
    assert engine.container(counter).state.exit_code == 3


def test_stop_kills_what_does_not_listen(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, command=("sleep", "60"), name="deaf"))
    engine.start("deaf")
    engine.pause("deaf")
    engine.stop("deaf", timeout_s=0.1)
    assert engine.container("deaf").state.exit_code == 137


def test_kill_ends_it(engine: tiffin.Engine, counter: str) -> None:
    engine.pause(counter)
    engine.kill(counter)
    assert engine.wait(counter, timeout_s=10) == 137
    before = lines(engine)
    engine.start(counter)
    until(lambda: lines(engine) > before)  # it listens to signals by then
    engine.pause(counter)
    engine.kill(counter, signal="TERM")  # its stop signal
    assert engine.wait(counter, timeout_s=10) == 3


def test_other_signals_wait_until_it_runs_on(engine: tiffin.Engine, counter: str) -> None:
    until(lambda: lines(engine) > 0)
    engine.pause(counter)
    engine.kill(counter, signal="USR1")
    assert engine.container(counter).state.paused
    assert b"usr1\n" not in [line.data for line in engine.logs(counter)]
    engine.unpause(counter)
    until(lambda: b"usr1\n" in [line.data for line in engine.logs(counter)])


def test_forced_removal(engine: tiffin.Engine, counter: str) -> None:
    engine.pause(counter)
    engine.remove(counter, force=True)
    assert engine.containers(all=True) == []


def test_its_monitor_is_killed(engine: tiffin.Engine, counter: str) -> None:
    engine.pause(counter)
    state = engine.container(counter).state
    os.kill(state.monitor_pid, signal.SIGKILL)
    until(lambda: engine.container(counter).state.status == "exited")
    ended = engine.container(counter).state
    assert (ended.exit_code, ended.paused) == (137, False)
    engine.start(counter)  # what was left frozen is gone first
    assert not alive(state.pid, state.pid_start_ticks)
    assert engine.container(counter).state.status == "running"
    engine.pause(counter)
    os.kill(engine.container(counter).state.monitor_pid, signal.SIGKILL)
    until(lambda: engine.container(counter).state.status == "exited")
    engine.remove(counter)


def test_a_container_that_ends_is_not_paused(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, command=("true",), name="short"))
    engine.start("short")
    engine.wait("short")
    with pytest.raises(ConflictError, match=r"^container 'short' is not running"):
        engine.pause("short")
