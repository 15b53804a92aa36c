"""Health checks of real containers, run by their monitors."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import tiffin
from tiffin.errors import ConflictError, LaunchError, UsageError
from tiffin.model.container import ContainerConfig, HealthCheck
from tiffin.state.health import Health

if TYPE_CHECKING:
    from integration.conftest import Runner

MS = 1_000_000


def start(engine: tiffin.Engine, image: str, test: str, command: str = "sleep 60", **options: Any) -> str:
    """A container that is checked ten times a second."""
    fields = {"interval_ns": 100 * MS, "timeout_ns": 5000 * MS, "retries": 2}
    names = {name: options.pop(name) for name in tuple(options) if name in HealthCheck._fields}
    health = HealthCheck(test=("CMD-SHELL", test), **{**fields, **names})
    name: str = options.pop("name", "hc")
    engine.create(ContainerConfig(image=image, name=name, command=("sh", "-c", command), health=health, **options))
    engine.start(name)
    return name


def until(engine: tiffin.Engine, fits: Callable[[Health], object], name: str = "hc", timeout_s: float = 15) -> Health:
    deadline = time.monotonic() + timeout_s
    while True:
        health = engine.health(name)
        if health is not None and fits(health):
            return health
        assert time.monotonic() < deadline, health
        time.sleep(0.01)


def test_from_starting_to_unhealthy_to_healthy(engine: tiffin.Engine, busybox: str) -> None:
    name = start(engine, busybox, "echo looked; test -e /ok")
    first = engine.health(name)
    assert first is not None and (first.status, first.log) == ("starting", ())
    bad = until(engine, lambda health: health.status == "unhealthy")
    assert bad.failing_streak >= 2
    assert (bad.log[-1].exit_code, bad.log[-1].output) == (1, "looked\n")
    assert bad.log[-1].start_ns < bad.log[-1].end_ns <= time.time_ns()
    until(engine, lambda health: len(health.log) == 5 and health.failing_streak > 6)
    engine.exec_run(name, ["touch", "/ok"])
    good = until(engine, lambda health: health.status == "healthy")
    assert good.failing_streak == 0 and len(good.log) == 5 and good.log[-1].exit_code == 0
    times = [entry.start_ns for entry in good.log]
    assert times == sorted(times)
    assert engine.container(name).state.health == "healthy"


def test_what_inspect_and_ps_show(tiffin: Runner, busybox: str) -> None:
    health = ("--health-cmd", "test -e /ok", "--health-interval", "200ms", "--health-retries", "1")
    tiffin.ok("run", "-d", "--name", "web", *health, busybox, "sleep", "60")
    tiffin.ok("run", "-d", "--name", "plain", busybox, "sleep", "60")
    config = json.loads(tiffin.ok("inspect", "-f", "{{json .Config.Healthcheck}}", "web"))
    assert config == {"Test": ["CMD-SHELL", "test -e /ok"], "Interval": 200 * MS, "Retries": 1}
    assert "Health" not in json.loads(tiffin.ok("inspect", "-f", "{{json .State}}", "plain"))
    deadline = time.monotonic() + 10
    while "(unhealthy)" not in tiffin.ok("ps", "--filter", "name=web", "--format", "{{.Status}}"):
        assert time.monotonic() < deadline
    state = json.loads(tiffin.ok("inspect", "-f", "{{json .State.Health}}", "web"))
    assert (state["Status"], state["FailingStreak"] >= 1) == ("unhealthy", True)
    assert set(state["Log"][-1]) == {"Start", "End", "ExitCode", "Output"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", state["Log"][-1]["Start"])
    assert tiffin.ok("ps", "--filter", "health=unhealthy", "--format", "{{.Names}}") == "web"
    assert tiffin.ok("ps", "--filter", "health=none", "--format", "{{.Names}}") == "plain"
    assert tiffin.ok("ps", "--filter", "health=healthy", "-q") == ""
    assert tiffin("ps", "--filter", "health=sick") == (
        1, "", "tiffin: invalid filter 'health=sick'\nhealth is one of healthy, none, starting, unhealthy\n",
    )  # fmt: skip
    assert tiffin("healthcheck", "run", "web") == (1, "unhealthy\n", "")
    tiffin.ok("exec", "web", "touch", "/ok")
    assert tiffin("healthcheck", "run", "web") == (0, "", "")
    assert tiffin("healthcheck", "run", "plain") == (
        125, "", "tiffin: container 'plain' has no defined healthcheck\n",
    )  # fmt: skip
    tiffin.ok("stop", "-t", "0", "web")
    kept = json.loads(tiffin.ok("inspect", "-f", "{{json .State.Health}}", "web"))
    assert kept["Status"] in ("healthy", "unhealthy") and kept["Log"]
    assert "health" not in tiffin.ok("ps", "-a", "--filter", "name=web", "--format", "{{.Status}}")


def test_the_images_check(engine: tiffin.Engine, tiffin: Runner, busybox_archive: bytes) -> None:
    import io

    changes = ['HEALTHCHECK --interval=100ms --retries=7 CMD ["sh", "-c", "echo of the image"]']
    engine.import_image(io.BytesIO(busybox_archive), "checked", changes=changes)
    tiffin.ok("run", "-d", "--name", "hc", "checked", "sleep", "60")
    assert until(engine, lambda health: health.status == "healthy").log[-1].output == "of the image\n"
    tiffin.ok("run", "-d", "--name", "quiet", "--no-healthcheck", "checked", "sleep", "60")
    assert engine.health("quiet") is None
    tiffin.ok("run", "-d", "--name", "other", "--health-cmd", "echo mine", "checked", "sleep", "60")
    config = json.loads(tiffin.ok("inspect", "-f", "{{json .Config.Healthcheck}}", "other"))
    assert config == {"Test": ["CMD-SHELL", "echo mine"], "Interval": 100 * MS, "Retries": 7}
    engine.commit("other", "committed")
    image = json.loads(engine.image("committed").raw_config)
    assert image["config"]["Healthcheck"] == config


def test_a_check_that_hangs(engine: tiffin.Engine, busybox: str) -> None:
    """It is killed with what it has started, and meanwhile the monitor serves the container's output."""
    test = "trap '' TERM INT HUP; echo begun; sleep 61 & sleep 62"
    name = start(engine, busybox, test, "while :; do echo beat; sleep 0.1; done", timeout_ns=700 * MS)
    lines = []
    began = time.monotonic()
    for line in engine.logs(name, follow=True):
        lines.append(line)
        if len(lines) == 12:
            break
    assert time.monotonic() - began < 5
    health = until(engine, lambda health: health.status == "unhealthy")
    assert health.log[-1].exit_code == -1
    assert health.log[-1].output == "Health check exceeded timeout (700ms): begun\n"
    took_ns = health.log[-1].end_ns - health.log[-1].start_ns
    assert 700 * MS <= took_ns < 3000 * MS
    table = engine.top(name, ["args"]).rows
    assert sum(row[0] == "sleep 61" for row in table) <= 1, table
    before = time.monotonic()
    result = engine.healthcheck(name)
    assert (result.exit_code, result.stdout) == (-1, "begun\n")
    assert result.stderr == "Health check exceeded timeout (700ms)\n"
    assert time.monotonic() - before < 5
    before = time.monotonic()
    engine.stop(name, timeout_s=0)
    assert time.monotonic() - before < 5


def test_much_output_and_no_program(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox, "yes | head -c 1000000", name="loud")
    output = until(engine, lambda health: health.log, "loud").log[0].output
    assert output == "y\n" * 2048 + "..."
    engine.create(
        ContainerConfig(
            image=busybox, name="none", command=("sleep", "60"),
            health=HealthCheck(test=("CMD", "nosuch"), interval_ns=100 * MS),
        )
    )  # fmt: skip
    engine.start("none")
    entry = until(engine, lambda health: health.log, "none").log[0]
    assert (entry.exit_code, entry.output) == (-1, 'exec: "nosuch": executable file not found in $PATH')


def test_it_is_confined_like_exec(engine: tiffin.Engine, busybox: str) -> None:
    look = "id; cat /proc/self/cgroup; grep -E 'Cap|Seccomp|NoNew' /proc/self/status; pwd; env | sort"
    name = start(
        engine, busybox, look, user="1000:100", workdir="/tmp", cap_add=("NET_ADMIN",), env=("A=1",),
        security_opts=("no-new-privileges",),
    )  # fmt: skip
    output = until(engine, lambda health: health.log).log[0].output
    assert output == engine.exec_run(name, ["sh", "-c", look]).stdout
    assert "Seccomp:\t2" in output and "uid=1000" in output


def test_start_period(engine: tiffin.Engine, busybox: str) -> None:
    start(
        engine, busybox, "false", interval_ns=30_000 * MS, start_period_ns=1500 * MS,
        start_interval_ns=100 * MS, retries=1,
    )  # fmt: skip
    health = until(engine, lambda health: len(health.log) == 5)
    assert (health.status, health.failing_streak) == ("starting", 0)
    start(
        engine, busybox, "true", name="good", interval_ns=30_000 * MS, start_period_ns=20_000 * MS,
        start_interval_ns=100 * MS,
    )  # fmt: skip
    until(engine, lambda health: health.status == "healthy", "good")
    time.sleep(0.5)
    good = engine.health("good")
    assert good is not None and len(good.log) == 1, "after the first success the usual interval holds"


def test_paused_containers_are_not_checked(engine: tiffin.Engine, busybox: str) -> None:
    name = start(engine, busybox, "true")
    until(engine, lambda health: health.status == "healthy")
    engine.pause(name)
    time.sleep(0.3)
    before = engine.health(name)
    time.sleep(0.6)
    assert engine.health(name) == before
    with pytest.raises(ConflictError, match="is paused"):
        engine.healthcheck(name)
    engine.unpause(name)
    until(engine, lambda health: health != before)


def test_a_new_run_begins_anew(engine: tiffin.Engine, busybox: str) -> None:
    name = start(engine, busybox, "false")
    until(engine, lambda health: health.status == "unhealthy")
    engine.restart(name, timeout_s=0)
    health = engine.health(name)
    assert health is not None and health.status == "starting" and health.failing_streak <= 1


def test_bad_checks_are_refused(engine: tiffin.Engine, busybox: str) -> None:
    with pytest.raises(UsageError, match="Timeout in Healthcheck cannot be less than 1ms"):
        engine.create(ContainerConfig(image=busybox, health=HealthCheck(test=("CMD", "x"), timeout_ns=5)))
    engine.create(ContainerConfig(image=busybox, name="no", command=("sleep", "9")))
    engine.start("no")
    with pytest.raises(UsageError, match="has no defined healthcheck"):
        engine.healthcheck("no")


def test_the_monitor_stays_small(engine: tiffin.Engine, busybox: str) -> None:
    """Checks cost memory while one runs; between them the monitor has what it always has and their results."""
    start(engine, busybox, "true", interval_ns=3500 * MS)
    pid = engine.container("hc").state.monitor_pid
    until(engine, lambda health: health.log)
    time.sleep(2.6)
    with open(f"/proc/{pid}/smaps_rollup") as file:
        pss = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    assert pss <= 300, f"{pss} kB"


def test_a_killed_launcher_is_a_failed_check(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox, "sleep 50", retries=9)
    monitor = engine.container("hc").state.monitor_pid
    deadline = time.monotonic() + 10
    role = 0
    while not role and time.monotonic() < deadline:
        with open(f"/proc/{monitor}/task/{monitor}/children") as file:
            for child in map(int, file.read().split()):
                with open(f"/proc/{child}/cmdline") as line:
                    role = child if "exec" in line.read() else role
    time.sleep(0.2)
    os.kill(role, signal.SIGKILL)
    entry = until(engine, lambda health: health.log).log[0]
    assert (entry.exit_code, entry.output) == (-1, "the launcher of the check was killed: Input/output error")


def test_a_missing_plan_is_a_failed_check(engine: tiffin.Engine, busybox: str) -> None:
    start(engine, busybox, "true")
    os.unlink(f"{engine.root}/run/containers/{engine.container('hc').container.id}/health.plan")
    health = until(engine, lambda health: health.status == "unhealthy")
    assert health.log[-1].output == "start the check: No such file or directory"


def test_no_start_without_the_plan(engine: tiffin.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiffin.containers import health

    fields = ("/nowhere/plan", 24, 10**9, 10**9, 0, 10**9, 1)
    monkeypatch.setattr(health, "prepare", lambda *_: fields)
    with pytest.raises(LaunchError) as caught:
        start(engine, busybox, "true")
    assert caught.value.message == "cannot prepare the health check: No such file or directory"
