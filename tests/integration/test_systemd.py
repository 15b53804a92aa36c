"""systemd as the first process: it boots, manages units, and shuts down when it is asked to stop."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator

import pytest

from harness.images import systemd_tar
from harness.leaks import wait_gone
from integration.conftest import Runner, _remove_containers


@pytest.fixture(scope="module")
def store() -> Iterator[Runner]:
    """A store with the image `systemd`, which takes two seconds to fill."""
    root = tempfile.mkdtemp(prefix="tiffin-", dir="/var/tmp")
    os.chmod(root, 0o755)
    runner = Runner(root)
    runner.ok("import", "--change", 'CMD ["/sbin/init"]', str(systemd_tar()), "systemd", timeout_s=300)
    yield runner
    problems = _remove_containers(root) + wait_gone(root)
    shutil.rmtree(root)
    assert not problems


@pytest.fixture
def booted(store: Runner) -> Iterator[Runner]:
    """The same, with a container `box` that has reached its target."""
    store.ok("run", "-d", "--name", "box", "systemd")
    wait_booted(store)
    yield store
    store.ok("rm", "-f", "box")


def wait_booted(store: Runner) -> None:
    deadline = time.monotonic() + 60
    while True:  # its socket is not there from the first moment
        result = store("exec", "box", "systemctl", "is-system-running", "--wait")
        if result.out == "running\n":
            return
        failed = store("exec", "box", "systemctl", "--failed", "--no-legend").out
        assert result.out != "degraded\n", failed
        assert time.monotonic() < deadline, result
        time.sleep(0.05)


def test_it_boots_runs_units_and_shuts_down(booted: Runner) -> None:
    identity = booted.ok("inspect", "-f", "{{.Id}}", "box")
    run = ("exec", "box", "systemd-run", "--wait", "--pipe", "--quiet")
    assert "0::/system.slice/run-" in booted.ok(*run, "cat", "/proc/self/cgroup")
    assert booted(*run, "sh", "-c", "exit 7").code == 7
    assert booted.ok("exec", "box", "cat", "/etc/machine-id") == identity[:32]
    assert booted.ok("exec", "box", "systemd-detect-virt", "--container") == "container-other"
    assert booted.ok("exec", "box", "ls", "/var/log/journal") == identity[:32]
    assert "Reached target multi-user.target" in booted.ok("exec", "box", "journalctl", "-b", "-o", "cat")
    booted.ok("stop", "-t", "50", "box")
    assert booted.ok("inspect", "-f", "{{.State.ExitCode}} {{.Config.StopSignal}}", "box") in (
        "0 SIGRTMIN+3", "130 SIGRTMIN+3",
    )  # fmt: skip
    booted.ok("start", "box")
    wait_booted(booted)


def test_it_has_no_more_rights_than_others(booted: Runner) -> None:
    status = booted.ok("exec", "box", "grep", "CapBnd", "/proc/1/status").split()[1]
    assert int(status, 16).bit_count() == 14
    mounts = booted.ok("exec", "box", "cat", "/proc/mounts").splitlines()
    cgroups = [line.split()[1:3] for line in mounts if " cgroup" in line]
    assert cgroups == [["/sys/fs/cgroup", "cgroup2"]], "its own part and nothing else"
    assert booted.ok("exec", "box", "cat", "/proc/1/cgroup").splitlines()[-1] == "0::/init.scope"
    assert booted("exec", "box", "sh", "-c", "echo 1 > /proc/sys/kernel/sysrq").code != 0


def test_pausing_and_killing_it(booted: Runner) -> None:
    booted.ok("pause", "box")
    assert booted.ok("ps", "--format", "{{.State}}") == "paused"
    booted.ok("unpause", "box")
    booted.ok("kill", "box")
    assert booted.ok("wait", "box") == "137"


def test_a_limit_holds_inside(store: Runner) -> None:
    store.ok("run", "-d", "--name", "box", "--pids-limit", "60", "systemd")
    wait_booted(store)
    many = "for i in $(seq 100); do sleep 5 & done 2>&1"
    assert "Cannot fork" in store("exec", "box", "systemd-run", "--wait", "--pipe", "sh", "-c", many).out
    store.ok("rm", "-f", "box")


def test_in_a_user_namespace(store: Runner) -> None:
    store.ok("run", "-d", "--userns", "auto", "--name", "box", "systemd")
    wait_booted(store)
    assert store.ok("exec", "box", "systemd-run", "--wait", "--pipe", "--quiet", "id", "-u") == "0"
    pid = store.ok("inspect", "-f", "{{.State.Pid}}", "box")
    assert os.stat(f"/proc/{pid}").st_uid != 0
    store.ok("stop", "-t", "50", "box")
    assert store.ok("inspect", "-f", "{{.State.ExitCode}}", "box") in ("0", "130")
    store.ok("rm", "box")


def test_on_its_terminal(store: Runner) -> None:
    store.ok("run", "-d", "-t", "--name", "box", "systemd")
    wait_booted(store)
    assert "Welcome to " in store.ok("logs", "box")
    store.ok("stop", "box")
    store.ok("rm", "box")


def test_without_it_the_command_is_any(store: Runner) -> None:
    inspected = "{{.Config.StopSignal}}"
    for option, signal in (
        ("--systemd=false", ""),
        ("--systemd=1", "SIGRTMIN+3"),
        ("--stop-signal=INT", "INT"),
    ):
        name = store.ok("create", option, "systemd")
        assert store.ok("inspect", "-f", inspected, name) == signal
        store.ok("rm", name)
    always = ("run", "--rm", "--systemd=always", "systemd", "sh", "-c")
    assert store.ok(*always, "echo $container; mkdir /sys/fs/cgroup/a && findmnt -no FSTYPE /run") == "tiffin\ntmpfs"


def test_what_is_refused(store: Runner) -> None:
    assert store("run", "--systemd", "maybe", "systemd").err == (
        'tiffin: invalid argument "maybe" for "--systemd": it is true, false or always\nSee \'tiffin run --help\'.\n'
    )
    refusal = "conflicting options: --systemd always, but with --init the command is not the first process"
    assert store("run", "--systemd", "always", "--init", "systemd") == (125, "", f"tiffin: {refusal}\n")
