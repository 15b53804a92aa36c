"""Health: the monitor's file, the merge of image and user, the plan of a check, the options."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tiffin.cgroups.driver import CgroupPlan
from tiffin.cli.options import parse
from tiffin.cli.policies import health_check
from tiffin.cli.run import RUN
from tiffin.containers.health import command, enter_offset, merged, with_defaults
from tiffin.errors import InvalidImageError, UsageError
from tiffin.images.config import parse_config
from tiffin.model.container import HealthCheck, container_from_dict
from tiffin.model.image import health_check as of_image
from tiffin.model.image import health_object
from tiffin.paths import Paths
from tiffin.runtime.compile import Confinement, compile_exec
from tiffin.state.health import HealthResult, go_duration, of_run, read_health, read_status
from tiffin.state.health import parse as parse_file

SECOND = 10**9
CHECK = HealthCheck(test=("CMD-SHELL", "true"), interval_ns=SECOND, retries=2)


def asked(*words: str) -> HealthCheck | None:
    return health_check(parse(RUN, [*words, "img"]))


def test_the_file() -> None:
    health = parse_file(b"health unhealthy 3 2\n5 6 1 ran 0 4\na\nb\n\n7 8 -1 timeout 0 0\n\n", 90 * SECOND)
    assert health is not None
    assert (health.status, health.failing_streak) == ("unhealthy", 3)
    assert health.log == (
        HealthResult(start_ns=5, end_ns=6, exit_code=1, output="a\nb\n"),
        HealthResult(start_ns=7, end_ns=8, exit_code=-1, output="Health check exceeded timeout (1m30s)"),
    )


@pytest.mark.parametrize(
    ("how", "text", "shown"),
    [
        ("cut 0", "abc", "abc..."),
        ("timeout 0", "so far", "Health check exceeded timeout (1s): so far"),
        ("failed 2", "exec nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("failed 3", "setns", "setns: No such process"),
    ],
)
def test_outputs(how: str, text: str, shown: str) -> None:
    health = parse_file(f"health starting 0 1\n1 2 -1 {how} {len(text)}\n{text}\n".encode(), SECOND)
    assert health is not None and health.log[0].output == shown


@pytest.mark.parametrize("data", [b"", b"health\n", b"running 1 2 3\n"])
def test_no_file(data: bytes) -> None:
    assert parse_file(data, 0) is None


def test_a_file_cut_short_shows_what_is_whole() -> None:
    health = parse_file(b"health healthy 0 2\n1 2 0 ran 0 1\nx\n3 4", 0)
    assert health is not None and len(health.log) == 1


def test_the_run_directory_comes_first(tmp_path: Path) -> None:
    paths = Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"))
    assert (read_status(paths, "c"), read_health(paths, "c")) == ("", None)
    for directory, word in ((paths.container("c"), "unhealthy"), (paths.container_run("c"), "starting")):
        Path(directory).mkdir(parents=True)
        (Path(directory) / "health").write_text(f"health {word} 0 0\n")
        health = read_health(paths, "c")
        assert health is not None and (read_status(paths, "c"), health.status) == (word, word)


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0s"), (30 * SECOND, "30s"), (90 * SECOND, "1m30s"), (3600 * SECOND, "1h0m0s"), (1_500_000_000, "1.5s"),
        (500_000_000, "500ms"), (1_500_000, "1.5ms"), (2000, "2µs"), (7, "7ns"),
    ],
)  # fmt: skip
def test_go_duration(nanoseconds: int, shown: str) -> None:
    assert go_duration(nanoseconds) == shown


def test_merge() -> None:
    assert merged(None, None) is None
    assert merged(None, CHECK) == CHECK
    assert merged(HealthCheck(retries=9), CHECK) == CHECK.replace(retries=9)
    assert merged(HealthCheck(test=("NONE",)), CHECK) == CHECK.replace(test=("NONE",))
    for field, title in (("interval_ns", "Interval"), ("timeout_ns", "Timeout"), ("start_period_ns", "StartPeriod")):
        with pytest.raises(UsageError) as caught:
            merged(HealthCheck(**{field: 999_999}), None)  # type: ignore[arg-type]
        assert caught.value.message == f"{title} in Healthcheck cannot be less than 1ms"


def test_defaults_are_dockers() -> None:
    assert with_defaults(HealthCheck(interval_ns=1)) == HealthCheck(
        interval_ns=1_000_000, timeout_ns=30 * SECOND, start_interval_ns=5 * SECOND, retries=3
    )


@pytest.mark.parametrize(
    ("test", "argv"),
    [
        ((), ()), (("NONE",), ()), (("CMD",), ()), (("CMD", "a", "b c"), ("a", "b c")),
        (("CMD-SHELL", "a && b"), ("/bin/sh", "-c", "a && b")), (("OTHER", "x"), ()),
    ],
)  # fmt: skip
def test_command(test: tuple[str, ...], argv: tuple[str, ...]) -> None:
    assert command(HealthCheck(test=test)) == argv


def test_where_the_process_to_enter_is_named() -> None:
    process = {
        "terminal": False, "user": {"uid": 1, "gid": 1, "additionalGids": []}, "args": ["x"], "env": [], "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), ()),
        "noNewPrivileges": False, "rlimits": [],
    }  # fmt: skip
    plan = compile_exec(
        process, pid=0x1234, start_ticks=0x5678, kinds=["pid"], cgroup=CgroupPlan(into="/x"), confinement=Confinement()
    )
    data = bytes(plan)
    assert struct.unpack_from("<QQ", data, enter_offset(data)) == (0x1234, 0x5678)


def test_options() -> None:
    assert asked() is None
    assert asked("--health-cmd", "curl -f x", "--health-interval=1m30s", "--health-retries", "5") == HealthCheck(
        test=("CMD-SHELL", "curl -f x"), interval_ns=90 * SECOND, retries=5
    )
    assert asked("--health-timeout=250ms", "--health-start-period=1h", "--health-start-interval=2s") == HealthCheck(
        timeout_ns=250_000_000, start_period_ns=3600 * SECOND, start_interval_ns=2 * SECOND
    )
    assert asked("--no-healthcheck") == HealthCheck(test=("NONE",))
    assert asked("--no-healthcheck=false") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--no-healthcheck --health-cmd x", "--no-healthcheck conflicts with --health-* options"),
        ("--health-retries -1", "--health-retries cannot be negative"),
        ("--health-interval=-1s", "--health-interval cannot be negative"),
        ("--health-start-period=-1s", "--health-start-period cannot be negative"),
        ("--health-timeout 5", 'invalid argument "5" for "--health-timeout": invalid duration "5"'),
    ],
)
def test_bad_options(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(*words.split())
    assert caught.value.message == message


def test_image_configs() -> None:
    raw = {"Test": ["CMD", "x"], "Interval": SECOND, "Retries": 2}
    check = of_image(raw)
    assert check == HealthCheck(test=("CMD", "x"), interval_ns=SECOND, retries=2)
    assert health_object(check) == raw
    assert of_image(None) is None and of_image({}) is None


@pytest.mark.parametrize(
    ("check", "what"),
    [
        ('"x"', "Test is not a list of texts"),
        ('{"Test": "x"}', "Test is not a list of texts"),
        ('{"Test": ["a\\u0000"]}', "Test is not a list of texts"),
        ('{"Interval": -1}', "Interval is not a whole number of at least 0"),
        ('{"Retries": 1.5}', "Retries is not a whole number of at least 0"),
        ('{"Timeout": 9223372036854775808}', "Timeout is not a whole number of at least 0"),
    ],
)
def test_hostile_image_configs(check: str, what: str) -> None:
    rest = '"architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}'
    config = f'{{{rest}, "config": {{"Healthcheck": {check}}}}}'
    with pytest.raises(InvalidImageError) as caught:
        parse_config(config.encode())
    assert caught.value.message == f"the image config has a Healthcheck whose {what}"


def test_a_record_keeps_it() -> None:
    values = {
        "id": "c" * 64, "name": "x1", "image_id": "i", "image_name": "i", "driver": "d", "created_ns": 1,
        "config": {"image": "i", "health": CHECK.to_dict(), "restart": {"name": "on-failure", "maximum_retries": 3}},
        "argv": ["a"], "env": [], "workdir": "/", "user": "", "hostname": "h", "stop_signal": 15, "stop_timeout_s": 10,
    }  # fmt: skip
    config = container_from_dict(values).config
    assert (config.health, config.restart.name, config.restart.maximum_retries) == (CHECK, "on-failure", 3)


@pytest.mark.parametrize(
    ("health", "status", "shown"),
    [("healthy", "running", "healthy"), ("starting", "running", "starting"), ("healthy", "exited", "unhealthy"),
     ("", "exited", ""), ("healthy", "restarting", "healthy")],
)  # fmt: skip
def test_nothing_that_has_ended_is_healthy(health: str, status: str, shown: str) -> None:
    assert of_run(health, status) == shown
