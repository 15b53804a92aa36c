"""The launcher's checks and restarts, driven directly in every variant: sanitized, and without new system calls."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_fixtures import VARIANTS, Box, LaunchFailed, boxes, process_exists, wait_until
from tiffin.containers.health import enter_offset
from tiffin.runtime.ops import Plan
from tiffin.state.health import Health, parse

MS = 1_000_000


@pytest.fixture(params=list(VARIANTS))
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Box]:
    with boxes(request.param, tmp_path_factory, tmp_path) as make:
        yield make()


def again(box: Box) -> list[str]:
    return ["/bin/busybox", "touch", str(box.directory / "again")]


def checked(box: Box, *test: str, timeout_ms: int = 5000, freezer: str = "") -> Callable[[Plan], object]:
    """Adds a check, ten times a second, whose plan lies in the box."""
    plan = Plan()
    plan.add("ENTER", 1, 0, 0x20000 | 0x20000000)
    plan.add("EXEC", test[0], list(test), ["PATH=/bin"])
    data = bytes(plan)
    (box.directory / "plan").write_bytes(data)

    def add(launch: Plan) -> None:
        launch.add("RESTART", str(box.directory), again(box))
        fields = (100 * MS, timeout_ms * MS, 0, 100 * MS, 2)
        launch.add("HEALTH", str(box.directory / "plan"), enter_offset(data), *fields)
        if freezer:
            launch.add("FREEZER", freezer, "1")

    return add


def health(box: Box) -> Health:
    found = parse((box.run_dir / "health").read_bytes(), 10**9)
    assert found is not None
    return found


def test_checks(box: Box) -> None:
    box.start(box.plan("sleep", "60", monitor=checked(box, "sh", "-c", "echo looked; exit 4")))
    assert health(box).status == "starting"
    wait_until(lambda: health(box).status == "unhealthy" and len(health(box).log) == 5, "five results")
    assert {(entry.exit_code, entry.output) for entry in health(box).log} == {(4, "looked\n")}
    os.kill(box.monitors[-1][1], signal.SIGKILL)
    assert box.ended().code == 137
    kept = parse((box.directory / "health").read_bytes(), 0)
    assert kept is not None and (kept.status, len(kept.log)) == ("unhealthy", 5)


def test_a_check_that_hangs_and_floods(box: Box) -> None:
    test = ("sh", "-c", "trap '' TERM; yes & sleep 60")
    box.start(box.plan("sh", "-c", "echo up; sleep 60", monitor=checked(box, *test, timeout_ms=400)))
    client = box.attach()
    wait_until(lambda: health(box).status == "unhealthy", "two timeouts")
    entry = health(box).log[0]
    assert entry.exit_code == -1 and entry.output.startswith("Health check exceeded timeout (1s): y\ny\n")
    client.close()
    with open(f"/proc/{box.monitor}/fd/0"):
        assert len(os.listdir(f"/proc/{box.monitor}/fd")) < 20, "no descriptor is left behind by a check"


def test_what_cannot_run(box: Box) -> None:
    box.start(box.plan("sleep", "60", monitor=checked(box, "/nowhere")))
    wait_until(lambda: health(box).log, "a result")
    assert (health(box).log[0].exit_code, health(box).log[0].output) == (
        -1, 'exec: "/nowhere": executable file not found in $PATH',
    )  # fmt: skip


def test_frozen(box: Box) -> None:
    freezer = box.directory / "freezer"
    freezer.write_text("1\n")
    box.start(box.plan("sleep", "60", monitor=checked(box, "true", freezer=str(freezer))))
    time.sleep(0.5)
    assert health(box).log == ()
    freezer.write_text("0\n")
    wait_until(lambda: health(box).status == "healthy", "a check")


def test_no_plan_no_start(box: Box) -> None:
    add = checked(box, "true")
    (box.directory / "plan").unlink()
    plan = box.plan("sleep", "60", monitor=add)
    with pytest.raises(LaunchFailed) as caught:
        box.start(plan)
    assert plan.ops[caught.value.op][0] == "HEALTH" and caught.value.text == "prepare the health check\n"
    assert os.listdir(box.run_dir) == []


def restarted(box: Box) -> Callable[[Plan], object]:
    return lambda plan: plan.add("RESTART", str(box.directory), again(box))


@pytest.mark.parametrize(
    ("policy", "restarts", "code", "counts"),
    [
        ("always 0", "", 0, "1 100"),
        ("unless-stopped 0", "3 400", 0, "4 800"),
        ("always 0", "9 60000", 1, "10 60000"),
        ("on-failure 0", "", 1, "1 100"),
        ("on-failure 3", "2 100", 1, "3 200"),
        ("on-failure 3", "3 100", 1, None),
        ("on-failure 0", "", 0, None),
        ("no 0", "", 1, None),
        ("", "", 1, None),
        ("nonsense", "x y", 1, None),
    ],
)
def test_decisions(box: Box, policy: str, restarts: str, code: int, counts: str | None) -> None:
    (box.directory / "restart").write_text(f"{policy}\n")
    if restarts:
        (box.directory / "restarts").write_text(f"{restarts}\n")
    box.start(box.plan("sh", "-c", f"exit {code}", monitor=restarted(box)))
    wait_until(box.exit_file.exists, "the exit file")
    if counts is None:
        assert box.ended().code == code
        assert not (box.directory / "again").exists()
        return
    words = (box.run_dir / "status").read_text().split()
    assert (words[0], len(words), words[5], words[9]) == ("restarting", 10, str(code), counts.split()[0])
    assert (box.directory / "restarts").read_text() == f"{counts}\n"
    assert process_exists(int(words[1]))
    delay_s = int(counts.split()[1]) / 1000
    assert abs(int(words[4]) / 1e9 - delay_s - int(words[8]) / 1e9) < 5
    if delay_s < 1:
        wait_until((box.directory / "again").exists, "what starts it again")
    else:
        os.kill(int(words[1]), signal.SIGKILL)


def test_stopped_on_purpose(box: Box) -> None:
    (box.directory / "restart").write_text("always 0\n")
    (box.directory / "stopped").write_text("user\n")
    box.start(box.plan("false", monitor=restarted(box)))
    assert box.ended().code == 1
    assert not (box.directory / "again").exists() and not (box.directory / "restarts").exists()
