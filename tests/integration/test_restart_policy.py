"""Restart policies with real containers: who is started again, when, and how that is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from harness.leaks import wait_gone
from tiffin.errors import ConflictError, UsageError
from tiffin.model.container import ContainerConfig, ContainerState, Mount, RestartPolicy

if TYPE_CHECKING:
    from integration.conftest import Runner

LOOP = "echo began; exit 3"


def start(
    engine: tiffin.Engine, image: str, policy: str = "always", script: str = LOOP, name: str = "rr", **options: object
) -> None:
    word, _, retries = policy.partition(":")
    engine.create(
        ContainerConfig(
            image=image,
            name=name,
            command=("sh", "-c", script),
            restart=RestartPolicy(name=word, maximum_retries=int(retries or 0)),
            **options,  # type: ignore[arg-type]
        )
    )
    engine.start(name)


def until(
    engine: tiffin.Engine, fits: Callable[[ContainerState], object], name: str = "rr", timeout_s: float = 20
) -> ContainerState:
    deadline = time.monotonic() + timeout_s
    while True:
        state = engine.container(name).state
        if fits(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.005)


def count(engine: tiffin.Engine, name: str = "rr") -> int:
    return int(engine.inspect_container(name)["RestartCount"])


def begun(engine: tiffin.Engine, name: str = "rr") -> int:
    return sum(line.data == b"began\n" for line in engine.logs(name))


def long_waiting(engine: tiffin.Engine, name: str = "rr") -> ContainerState:
    """Until it waits for more than a second: what follows is about a container that waits."""
    return until(engine, lambda state: state.status == "restarting" and state.restart_count >= 5, name)


def test_a_loop_at_full_speed_is_held_back(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    began = time.monotonic()
    start(engine, busybox)
    long_waiting(engine)
    took = time.monotonic() - began
    assert took >= 0.1 + 0.2 + 0.4 + 0.8, "doubled from 100 ms on"
    stamps = [line.timestamp for line in engine.logs("rr")]
    assert len(stamps) == 5
    status = tiffin.ok("ps", "--format", "{{.Names}} {{.State}} {{.Status}}")
    assert re.fullmatch(r"rr restarting Restarting \(3\) (Less than a second|\d seconds?) ago", status)
    assert tiffin.ok("ps", "-q", "--filter", "status=restarting") == tiffin.ok("ps", "-q")
    facts = json.loads(tiffin.ok("inspect", "rr"))[0]
    state = facts["State"]
    assert (state["Status"], state["Running"], state["Restarting"], state["Pid"], state["ExitCode"]) == (
        "restarting", True, True, 0, 3,
    )  # fmt: skip
    assert facts["RestartCount"] == 5
    assert facts["HostConfig"]["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
    waiting = engine.container("rr").state.monitor_pid
    with open(f"/proc/{waiting}/smaps_rollup") as file:
        own = next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))
    assert own <= 100, f"{own} kB of its own beside the program, which all share"


def test_on_failure(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox, "on-failure:2")
    state = until(engine, lambda state: state.status == "exited")
    assert (state.exit_code, state.error) == (3, "")
    assert (count(engine), begun(engine)) == (2, 3)
    start(engine, busybox, "on-failure", "echo began", name="fine")
    assert engine.wait("fine") == 0
    time.sleep(0.3)
    assert (engine.container("fine").state.status, begun(engine, "fine")) == ("exited", 1)
    engine.start("rr")  # by the user: the count begins anew
    until(engine, lambda state: state.status == "exited" and begun(engine) == 6)


@pytest.mark.parametrize("how", ["stop", "kill", "start", "restart", "remove"])
def test_verbs_on_one_that_waits(engine: tiffin.Engine, busybox: str, how: str) -> None:
    start(engine, busybox)
    waiting = long_waiting(engine)
    before = begun(engine)
    began = time.monotonic()
    if how == "remove":
        with pytest.raises(ConflictError) as caught:
            engine.remove("rr")
        assert caught.value.message == "cannot remove container 'rr': container is restarting"
        engine.remove("rr", force=True)
        assert engine.containers(all=True) == []
    else:
        getattr(engine, how)("rr")
    assert time.monotonic() - began < 0.7, "at once, not after the pause"
    assert not os.path.exists(f"/proc/{waiting.monitor_pid}/exe") or how in ("start", "restart")
    if how in ("start", "restart"):
        until(engine, lambda state: begun(engine) > before)
        assert count(engine) <= 2
    elif how != "remove":
        state = engine.container("rr").state
        assert (state.status, state.exit_code, state.error) == ("exited", 3, "")
        time.sleep(1.8)
        assert (engine.container("rr").state.status, begun(engine)) == ("exited", before)


def test_other_verbs_on_one_that_waits(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox)
    long_waiting(engine)
    said = "Container rr is restarting, wait until the container is running"
    for refused in (
        lambda: engine.exec_run("rr", ["true"]),
        lambda: engine.pause("rr"),
        lambda: engine.top("rr"),
    ):
        with pytest.raises(ConflictError) as caught:
            refused()
        assert caught.value.message == said
    with pytest.raises(ConflictError, match="You cannot attach to a restarting container, wait until it is running"):
        engine.attach("rr")
    engine.kill("rr", signal="HUP")  # as Docker: nobody is there to hear it, and it goes on
    assert engine.wait("rr", timeout_s=10) == 3, "the end of the next run"
    engine.rename("rr", "ss")
    assert [info.container.name for info in engine.containers()] == ["ss"]
    assert next(iter(engine.logs("ss", tail=1))).data == b"began\n"


def test_stopped_by_the_user_while_it_runs(engine: tiffin.Engine, busybox: str) -> None:
    for name, end in (("s1", lambda: engine.stop("s1", timeout_s=0)), ("s2", lambda: engine.kill("s2"))):
        start(engine, busybox, "always", "echo began; sleep 60", name)
        until(engine, lambda state: state.status == "running" and begun(engine, name), name)  # noqa: B023
        end()
        until(engine, lambda state: state.status == "exited", name)
        time.sleep(0.4)
        assert (engine.container(name).state.status, begun(engine, name)) == ("exited", 1)
    start(engine, busybox, "always", "echo began; sleep 60", "s3")
    until(engine, lambda state: begun(engine, "s3") == 1, "s3")
    os.kill(engine.container("s3").state.pid, signal.SIGKILL)  # not by us: it has crashed
    until(engine, lambda state: begun(engine, "s3") == 2, "s3")


def test_stop_against_a_loop(engine: tiffin.Engine, busybox: str) -> None:
    """Whatever moment it meets, a stop is the end of it."""
    for number in range(12):
        name = f"loop{number}"
        start(engine, busybox, "always", "exit 1", name)
        time.sleep(0.02 * number)
        engine.stop(name, timeout_s=0)
        assert engine.container(name).state.status == "exited"
    before = [count(engine, f"loop{number}") for number in range(12)]
    time.sleep(1.0)
    assert {info.state.status for info in engine.containers(all=True)} == {"exited"}
    assert [count(engine, f"loop{number}") for number in range(12)] == before


def test_remove_against_a_loop(engine: tiffin.Engine, busybox: str) -> None:
    for number in range(8):
        start(engine, busybox, "always", "exit 1", f"loop{number}")
        time.sleep(0.03 * number)
        engine.remove(f"loop{number}", force=True)
    time.sleep(0.5)
    assert engine.containers(all=True) == [] and os.listdir(f"{engine.root}/containers") == []
    assert wait_gone(engine.root) == []


def test_a_launch_that_fails_is_tried_again(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    start(
        engine, busybox, "always", "echo began; sleep 0.2",
        mounts=(Mount(type="bind", source=str(source), target="/m"),),
    )  # fmt: skip
    source.rmdir()
    state = until(engine, lambda state: state.status == "restarting" and state.error)
    assert (state.exit_code, state.error) == (125, f"cannot bind {source} on /m: No such file or directory")
    tried = count(engine)
    until(engine, lambda state: count(engine) >= tried + 2)
    source.mkdir()
    until(engine, lambda state: begun(engine) >= 2)
    source.rmdir()
    until(engine, lambda state: state.status == "restarting" and state.error)
    engine.stop("rr")
    assert engine.container("rr").state.status in ("exited", "created")
    time.sleep(1.0)
    assert engine.container("rr").state.status in ("exited", "created")


def test_failures_are_counted(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mounts = (Mount(type="bind", source=str(source), target="/m"),)
    start(engine, busybox, "on-failure:3", "sleep 0.1; exit 4", mounts=mounts)
    source.rmdir()
    until(engine, lambda _: count(engine) == 3)
    # It is counted a moment before its waiting is told, and told no more when the last try begins. Who waited
    # becomes a Python that does not show at first whose it is.
    until(engine, lambda _: wait_gone(engine.root) == [] and engine.container("rr").state.status == "created")
    state = engine.container("rr").state
    assert (state.status, state.error) == ("created", f"cannot bind {source} on /m: No such file or directory")


def test_a_killed_waiting_monitor(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    start(engine, busybox)
    waiting = long_waiting(engine)
    os.kill(waiting.monitor_pid, signal.SIGKILL)
    state = until(engine, lambda state: state.status == "exited")
    assert (state.exit_code, state.error) == (
        3, "its monitor was killed while it waited to start the container again",
    )  # fmt: skip
    assert re.fullmatch(r"Exited \(3\) .* ago", tiffin.ok("ps", "-a", "--format", "{{.Status}}"))
    before = begun(engine)
    assert tiffin("start", "--boot") == (0, "rr\n", "")
    until(engine, lambda state: begun(engine) > before)


def test_update(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "rr", busybox, "sh", "-c", "echo began; sleep 0.4; exit 1")
    tiffin.ok("update", "--restart", "on-failure:1", "rr")  # of the run that is under way
    until(engine, lambda state: state.status == "exited" and begun(engine) == 2)
    assert engine.inspect_container("rr")["HostConfig"]["RestartPolicy"] == {
        "Name": "on-failure", "MaximumRetryCount": 1,
    }  # fmt: skip
    engine.update("rr", restart=RestartPolicy(name="always"))
    engine.start("rr")
    until(engine, lambda state: begun(engine) >= 4)
    engine.update("rr", restart=RestartPolicy())
    until(engine, lambda state: state.status == "exited")
    tiffin.ok("run", "-d", "--rm", "--name", "tt", busybox, "sleep", "60")
    assert tiffin("update", "--restart", "always", "tt").err == (
        "tiffin: Restart policy cannot be updated because AutoRemove is enabled for the container\n"
    )
    assert tiffin("update", "--restart", "sometimes", "rr").code == 1


def test_refused(tiffin: Runner, engine: tiffin.Engine, busybox: str) -> None:
    assert tiffin("run", "--rm", "--restart", "always", busybox, "true") == (
        125, "", "tiffin: conflicting options: cannot specify both --restart and --rm\n",
    )  # fmt: skip
    assert tiffin("run", "--restart", "often", busybox).err == (
        "tiffin: invalid restart policy: unknown policy 'often'; "
        "use one of 'no', 'always', 'on-failure', or 'unless-stopped'\n"
    )
    tiffin.ok("run", "--rm", "--restart", "no", busybox, "true")
    with pytest.raises(UsageError, match="cannot specify both --restart and --rm"):
        engine.create(ContainerConfig(image=busybox, auto_remove=True, restart=RestartPolicy(name="always")))


def test_in_the_foreground(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    """As Docker: clients are disconnected at the end of a run."""
    assert tiffin("run", "--name", "rr", "--restart", "on-failure:2", busybox, "sh", "-c", LOOP) == (3, "began\n", "")
    until(engine, lambda state: state.status == "exited" and begun(engine) == 3)


def test_waiters_hear_of_each_end(engine: tiffin.Engine, busybox: str) -> None:
    codes: list[int] = []
    start(engine, busybox, "always", "echo began; sleep 0.3; exit 9")
    waiter = threading.Thread(target=lambda: codes.append(engine.wait("rr", timeout_s=10)))
    waiter.start()
    waiter.join(15)
    assert codes == [9]
    engine.stop("rr", timeout_s=0)


def test_found_without_an_environment(engine_root: str, busybox: str, tmp_path: Path) -> None:
    """The monitor's environment is empty; where PYTHONPATH led to Tiffin, its cleanup still finds it."""
    source = os.path.dirname(os.path.dirname(tiffin.__file__))
    (tmp_path / "tiffin").symlink_to(f"{source}/tiffin")
    # -S: site's directories, where Tiffin may be installed, are not looked at.
    run = [sys.executable, "-S", "-c", "import sys; from tiffin.cli.main import main; sys.exit(main())"]
    command = [*run, "--root", engine_root, "run", "-d", "--rm", busybox, "true"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}, cwd="/", timeout=60, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    container = f"{engine_root}/containers/{done.stdout.strip()}"
    deadline = time.monotonic() + 20
    while os.path.exists(container):
        assert time.monotonic() < deadline, "its monitor did not find Tiffin"
        time.sleep(0.02)
