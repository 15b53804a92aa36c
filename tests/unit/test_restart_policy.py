"""Restart policies: their words, their files, and the state of a container that is to be started again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.containers import policy
from tiffin.errors import UsageError
from tiffin.model.container import RestartPolicy
from tiffin.paths import Paths
from tiffin.state import restarts, status

ID = "c" * 64


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"))
    os.makedirs(paths.container(ID))
    os.makedirs(paths.container_run(ID))
    return paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", ("no", 0)), ("", ("no", 0)), ("always", ("always", 0)), ("unless-stopped", ("unless-stopped", 0)),
        ("on-failure", ("on-failure", 0)), ("on-failure:5", ("on-failure", 5)),
    ],
)  # fmt: skip
def test_parse(text: str, expected: tuple[str, int]) -> None:
    found = policy.parse(text)
    policy.check(found, auto_remove=False)
    assert (found.name, found.maximum_retries) == expected


@pytest.mark.parametrize(
    ("text", "auto_remove", "message"),
    [
        (":3", False, "invalid restart policy format: no policy provided before colon"),
        ("on-failure:x", False, "invalid restart policy format: maximum retry count must be an integer"),
        ("on-failure:-1", False, "invalid restart policy: maximum retry count cannot be negative"),
        ("always:3", False, "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
        ("sometimes", False, "invalid restart policy: unknown policy 'sometimes'; "
         "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"),
        ("always", True, "conflicting options: cannot specify both --restart and --rm"),
    ],
)  # fmt: skip
def test_refusals(text: str, auto_remove: bool, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        policy.check(policy.parse(text), auto_remove=auto_remove)
    assert caught.value.message == message


def test_files(paths: Paths) -> None:
    directory = Path(paths.container(ID))
    restarts.begin(paths, ID, RestartPolicy(name="on-failure", maximum_retries=3), again=False)
    assert (directory / "restart").read_text() == "on-failure 3\n"
    restarts.mark_stopped(paths, ID)
    assert restarts.stopped_by_user(paths, ID)
    restarts.mark_stopped(paths, ID, shutdown=True)
    assert restarts.stopped_by_user(paths, ID), "a shutdown does not hide that the user had stopped it"
    (directory / "restarts").write_text("4 1600\n")
    assert restarts.count(paths, ID) == 4
    restarts.begin(paths, ID, RestartPolicy(name="always"), again=True)
    assert restarts.count(paths, ID) == 4 and (directory / "restart").read_text() == "on-failure 3\n"
    restarts.begin(paths, ID, RestartPolicy(), again=False)
    assert os.listdir(directory) == [] and restarts.count(paths, ID) == 0
    restarts.mark_stopped(paths, ID, shutdown=True)
    assert not restarts.stopped_by_user(paths, ID)
    restarts.mark_stopped(paths, "d" * 64)  # gone meanwhile: nothing to mark


def waiting(paths: Paths, pid: int, *, boot: str | None = None, ticks: int | None = None) -> None:
    ticks = status.start_ticks(pid) if ticks is None else ticks
    boot = boot or status.boot_id()
    Path(f"{paths.container_run(ID)}/status").write_text(f"restarting {pid} {ticks} {boot} 99 3 1 10 20 2\n")


@pytest.mark.parametrize("exit_file", ["exited 3 0 1 10 20\n", "starting 1 1 BOOT 10\n"])
def test_waiting(paths: Paths, exit_file: str) -> None:
    Path(f"{paths.container(ID)}/exit").write_text(exit_file.replace("BOOT", status.boot_id()))
    waiting(paths, os.getpid())
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code, state.oom_killed, state.started_ns, state.finished_ns) == (
        "restarting", 3, True, 10, 20,
    )  # fmt: skip
    assert (state.restart_count, state.monitor_pid, state.pid, state.error) == (2, os.getpid(), 0, "")
    assert status.read_state(paths, ID, removing=True).status == "removing"


def test_waiting_after_a_launch_that_failed(paths: Paths) -> None:
    Path(f"{paths.container(ID)}/exit").write_text("failed 127 no such program\n")
    waiting(paths, os.getpid())
    state = status.read_state(paths, ID)
    assert (state.status, state.error) == ("restarting", "no such program")


def test_nobody_waits_any_more(paths: Paths) -> None:
    Path(f"{paths.container(ID)}/exit").write_text("exited 3 0 1 10 20\n")
    waiting(paths, os.getpid(), ticks=1)
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code) == ("exited", 3)
    assert state.error == "its monitor was killed while it waited to start the container again"
    waiting(paths, os.getpid(), boot="11111111-2222-3333-4444-555555555555")
    state = status.read_state(paths, ID)
    assert (state.status, state.error) == ("exited", "the host went down before it was started again")
    status.forget_waiting(paths, ID)
    status.forget_waiting(paths, ID)
    assert (status.read_state(paths, ID).status, status.read_state(paths, ID).error) == ("exited", "")


def test_an_end_that_nobody_recorded(paths: Paths) -> None:
    Path(f"{paths.container(ID)}/exit").write_text("starting 1 1 11111111-2222-3333-4444-555555555555 5\n")
    state = status.read_state(paths, ID)
    assert (state.exit_code, state.error) == (255, "the host went down while it ran")
    status.write_exited(paths, ID, state.replace(finished_ns=7))
    state = status.read_state(paths, ID)
    assert (state.status, state.exit_code, state.started_ns, state.finished_ns, state.error) == (
        "exited",
        255,
        5,
        7,
        "",
    )
