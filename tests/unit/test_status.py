"""What the files of a container say about its state."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tiffin.paths import Paths
from tiffin.state import status

ID = "c" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"))
    os.makedirs(paths.container(ID))
    os.makedirs(paths.container_run(ID))
    return paths


def put(path: str, text: str) -> None:
    Path(path).write_text(text)


def running_line(pid: int, boot: str | None = None) -> str:
    ticks = status.start_ticks(pid)
    return f"running {pid} {ticks} {pid} {ticks} 111 {boot or status.boot_id()}\n"


def test_created(paths: Paths) -> None:
    assert status.read_state(paths, ID).status == "created"


def test_running(paths: Paths) -> None:
    status.write_starting(paths, ID)
    put(f"{paths.container_run(ID)}/status", running_line(os.getpid()))
    state = status.read_state(paths, ID)
    assert (state.status, state.pid, state.monitor_pid, state.started_ns) == ("running", os.getpid(), os.getpid(), 111)


def test_exited(paths: Paths) -> None:
    put(f"{paths.container(ID)}/exit", "exited 137 9 1 100 200\n")
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code, state.oom_killed) == ("exited", 137, True)
    assert (state.started_ns, state.finished_ns) == (100, 200)


def test_launching_now_is_created(paths: Paths) -> None:
    status.write_starting(paths, ID)
    assert status.read_state(paths, ID).status == "created"


def test_failed(paths: Paths) -> None:
    status.write_failed(paths, ID, 127, 'exec: "x": executable file not found in $PATH')
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code) == ("created", 127)
    assert state.error == 'exec: "x": executable file not found in $PATH'


def test_a_dead_monitor_means_killed(paths: Paths) -> None:
    status.write_starting(paths, ID)
    child = subprocess.Popen(["sleep", "60"])
    put(f"{paths.container_run(ID)}/status", running_line(child.pid))
    assert status.read_state(paths, ID).status == "running"
    child.kill()
    child.wait()
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code) == ("exited", 137)
    assert state.error == "its monitor was killed, and the kernel ended the container with it"


def test_a_reused_pid_is_not_the_monitor(paths: Paths) -> None:
    status.write_starting(paths, ID)
    me = os.getpid()
    put(f"{paths.container_run(ID)}/status", f"running {me} 1 {me} 1 111 {status.boot_id()}\n")
    assert status.read_state(paths, ID).status == "exited"


def test_another_boot(paths: Paths) -> None:
    put(f"{paths.container(ID)}/exit", "starting 1 1 another-boot 99\n")
    put(f"{paths.container_run(ID)}/status", running_line(os.getpid(), "another-boot"))
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code, state.error) == ("exited", 255, "the host went down while it ran")
    os.unlink(f"{paths.container_run(ID)}/status")
    assert status.read_state(paths, ID).exit_code == 255


def test_a_launcher_killed_before_it_began(paths: Paths) -> None:
    put(f"{paths.container(ID)}/exit", f"starting 999999999 1 {status.boot_id()} 99\n")
    assert status.read_state(paths, ID).status == "exited"


def test_removing_shows_over_everything(paths: Paths) -> None:
    put(f"{paths.container(ID)}/exit", "exited 0 0 0 1 2\n")
    assert status.read_state(paths, ID, removing=True).status == "removing"


def test_only_the_very_process_is_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        ticks = status.start_ticks(process.pid)
        assert not status.send_signal(process.pid, ticks + 1, 9), "a later process with that number"
        assert process.poll() is None
        assert status.send_signal(process.pid, ticks, 9)
        process.wait()
        assert not status.send_signal(process.pid, ticks, 9)


def test_a_new_start_waits_for_the_last_monitor(paths: Paths) -> None:
    put(f"{paths.container(ID)}/exit", "exited 0 0 0 111 222\n")
    assert status.wait_for_monitor(paths, ID)  # it has taken its files away
    file = f"{paths.container_run(ID)}/status"
    put(file, running_line(os.getpid()))
    assert not status.wait_for_monitor(paths, ID, timeout_s=0.02)
    remover = threading.Timer(0.05, os.unlink, (file,))
    remover.start()
    assert status.wait_for_monitor(paths, ID)
    assert not os.path.exists(file)
    remover.join()
    put(file, running_line(os.getpid(), boot="another"))
    assert status.wait_for_monitor(paths, ID)
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    put(file, f"running {dead.pid} 1 {dead.pid} 1 111 {status.boot_id()}\n")
    assert status.wait_for_monitor(paths, ID)
