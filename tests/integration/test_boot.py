"""What a boot brings back, and what it clears away."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.model.container import ContainerConfig, Mount, RestartPolicy

if TYPE_CHECKING:
    from integration.conftest import Runner

ANOTHER_BOOT = "11111111-2222-3333-4444-555555555555"


def create(engine: tiffin.Engine, image: str, name: str, policy: str, **options: object) -> str:
    config = ContainerConfig(
        image=image, name=name, command=("sleep", "60"), restart=RestartPolicy(name=policy), **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return engine.create(config).id


def reboot(engine: tiffin.Engine, *names: str) -> None:
    """Leave what a host leaves that goes down: nothing was said, and everything is of another boot."""
    for name in names:
        info = engine.container(name)
        os.kill(info.state.monitor_pid, 9)
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{info.state.pid}") and time.monotonic() < deadline:
            time.sleep(0.01)
        run_dir = f"{engine.root}/run/containers/{info.container.id}"
        words = Path(f"{run_dir}/status").read_text().split()
        Path(f"{run_dir}/status").write_text(" ".join([*words[:-1], ANOTHER_BOOT]) + "\n")
        started_ns = info.state.started_ns
        Path(f"{engine.root}/containers/{info.container.id}/exit").write_text(
            f"starting 1 1 {ANOTHER_BOOT} {started_ns}\n"
        )


def test_after_a_crash_of_the_host(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    names = ["c-always", "b-unless", "a-no", "d-failure"]
    for name, policy in zip(names, ("always", "unless-stopped", "no", "on-failure"), strict=True):
        create(engine, busybox, name, policy)
        engine.start(name)
    create(engine, busybox, "never-started", "always")
    reboot(engine, *names)
    assert [info.state.exit_code for info in engine.containers(all=True) if info.container.name == "a-no"] == [255]
    assert tiffin("start", "--boot") == (0, "c-always\nb-unless\n", ""), "in the order of their creation"
    states = {info.container.name: info.state for info in engine.containers(all=True)}
    assert {name: state.status for name, state in states.items()} == {
        "c-always": "running", "b-unless": "running", "a-no": "exited", "d-failure": "exited",
        "never-started": "created",
    }  # fmt: skip
    ended = states["a-no"]
    assert (ended.exit_code, ended.error) == (255, "")
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(ended.finished_ns - boot_ns) < 10**9, "it had ended by the time the host came up"
    container_id = engine.container("a-no").container.id
    assert not os.path.exists(f"{engine.root}/run/containers/{container_id}")
    assert tiffin("start", "--boot") == (0, "", ""), "once more is harmless"


def test_what_the_user_stopped(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    for name, policy in (("aa", "always"), ("uu", "unless-stopped"), ("ss", "unless-stopped")):
        create(engine, busybox, name, policy)
        engine.start(name)
    tiffin.ok("stop", "-t", "0", "aa", "uu")
    tiffin.ok("stop", "-t", "0", "--all", "--boot")  # what the unit does when the host goes down
    assert engine.containers() == []
    assert tiffin("start", "--boot") == (0, "aa\nss\n", "")
    engine.start("uu")
    engine.stop("uu", timeout_s=0, shutdown=True)
    assert [result.name for result in engine.start_boot()] == ["uu"]


def test_one_failure_keeps_nobody(engine: tiffin.Engine, tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    create(engine, busybox, "bad", "always", mounts=(Mount(type="bind", source=str(source), target="/m"),))
    create(engine, busybox, "good", "always")
    for name in ("bad", "good"):
        engine.start(name)
        engine.stop(name, timeout_s=0)
    source.rmdir()
    code, out, err = tiffin("start", "--boot")
    assert (code, out) == (1, "good\n")
    assert err == f"tiffin: cannot bind {source} on /m: No such file or directory\n"
    results = engine.start_boot()
    assert [(result.name, result.error is None) for result in results] == [("bad", False)]


def test_start_and_stop_all(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    for name in ("aa", "bb"):
        create(engine, busybox, name, "no")
    assert sorted(tiffin.ok("start", "--all").splitlines()) == ["aa", "bb"]
    assert tiffin("start", "--all") == (0, "", "")
    assert sorted(tiffin.ok("stop", "-a", "-t", "0").splitlines()) == ["aa", "bb"]
    assert tiffin("stop", "--all", "aa") == (
        1, "", "tiffin: --all takes no containers\nSee 'tiffin stop --help'.\n",
    )  # fmt: skip
    assert tiffin("start", "--boot", "aa").err == "tiffin: --boot takes no containers\nSee 'tiffin start --help'.\n"
    assert tiffin("stop").err.startswith("tiffin: 'tiffin stop' requires at least 1 argument\n")
    assert tiffin("start").err.startswith("tiffin: 'tiffin start' requires at least 1 argument\n")


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told_of_the_monitor(
    engine: tiffin.Engine, tiffin: Runner, busybox: str, tmp_path: Path, abstract: bool
) -> None:
    create(engine, busybox, "aa", "no")
    address = f"@tiffin-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(20)
        assert tiffin("start", "aa", env={"NOTIFY_SOCKET": address}).code == 0
        assert manager.recv(1000).decode() == f"MAINPID={engine.container('aa').state.monitor_pid}\nREADY=1\n"


def test_generate(engine: tiffin.Engine, tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    create(engine, busybox, "aa", "no")
    text = tiffin.ok("generate", "systemd", "--time", "3", "--restart-policy", "always", "aa")
    assert text.startswith("# container-aa.service\n[Unit]\n") and "\nRestart=always\n" in text
    assert " stop --timeout 3 " in text
    result = tiffin("generate", "systemd", "--files", "--boot", cwd=str(tmp_path))
    assert result == (0, f"{tmp_path}/tiffin-boot.service\n", "")
    assert (tmp_path / "tiffin-boot.service").read_text().startswith("[Unit]\n")
    assert tiffin("generate", "systemd").err.startswith("tiffin: name one container, or give --boot\n")
    assert tiffin("generate", "systemd", "--new", "aa").code == 125
    assert tiffin("generate", "systemd", "nosuch").code == 1
