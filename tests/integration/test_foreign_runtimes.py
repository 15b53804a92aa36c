"""The same containers through other OCI runtimes: crun and runc do what our own launcher does."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from harness.terminal import Terminal
from launcher_fixtures import wait_until
from tiffin.errors import UsageError

if TYPE_CHECKING:
    from integration.conftest import Runner

Opener = Callable[..., Terminal]
FOREIGN = ("crun", "runc")

V1 = os.path.isdir("/sys/fs/cgroup/memory")
LIMITS = (
    "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us "
    "pids/pids.max cpuset/cpuset.cpus; sort devices/devices.list"
    if V1
    else "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max cpuset.cpus"
)
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Sig(Blk|Ign))' /proc/self/status"
# What a container is made of, in the program's own words. Options of run, and the command.
SAME: list[tuple[list[str], str]] = [
    (["--hostname", "box"], "hostname; pwd; env | sort; umask; ulimit -n; cat /etc/hosts; id"),
    ([], "echo out; echo err >&2; exit 3"),
    ([], STATUS),
    ([], "cut -d' ' -f5 /proc/self/mountinfo | grep -v cgroup | sort -u"),
    ([], "grep -E ' (/proc/sys|/sys|/proc/bus) ' /proc/self/mountinfo | cut -d' ' -f5,6 | cut -d, -f1"),
    ([], "for f in kcore keys timer_list; do wc -c < /proc/$f; done; ls /sys/firmware /proc/acpi"),
    ([], "echo x 2>/dev/null > /proc/sys/kernel/hostname; echo $?; mkdir /sys/fs/cgroup/x 2>/dev/null; echo $?"),
    ([], "cd /dev; stat -L -c '%n %t %T %a' null zero full random urandom tty ptmx; ls | grep -v core"),
    ([], "unshare -m true; echo $?; mount -t tmpfs x /mnt; echo $?; chown 5 /etc; echo $?; ls /proc/self/fd | wc -l"),
    ([], "cut -d: -f3 /proc/self/cgroup | grep -v '^/$' | wc -l; cat /proc/1/comm; echo $$"),
    (["-u", "1000:5", "--group-add", "7", "-w", "/new/dir"], "id; pwd; stat -c %U%a .; " + STATUS),
    (["--ulimit", "nofile=100:200", "--cap-drop", "ALL", "--cap-add", "CHOWN"], "ulimit -n; ulimit -Hn; " + STATUS),
    (["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"], STATUS),
    (["--read-only", "--tmpfs", "/t:size=1m"], "touch /x; touch /t/x && df /t | tail -1; touch /dev/shm/x /etc/hosts"),
    (["-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0"], LIMITS),
    (["--sysctl", "kernel.msgmax=4096", "--shm-size", "1m"], "cat /proc/sys/kernel/msgmax; df /dev/shm | tail -1"),
    (["--device", "/dev/full:/dev/mine:r"], "stat -c '%t %T %a' /dev/mine; head -c 1 /dev/mine | wc -c"),
    (["--privileged"], "mount -t tmpfs x /mnt; echo $?; test -e /dev/kmsg; echo $?; grep Seccomp: /proc/1/status"),
    (["--uts", "host", "--ipc", "host", "--pid", "host"], "hostname; test -d /proc/$PPID; echo $?"),
    (["--entrypoint", "/bin/echo"], "from the entrypoint"),
]  # fmt: skip
# Errors that are the user's: the same class and words whoever finds them.
FAILING = ["nope", "/bin/nope", "/etc", "/etc/passwd", "/etc/passwd/x"]


@pytest.fixture(autouse=True, params=FOREIGN)
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def said(tiffin: Runner, image: str, runtime: str, options: list[str], script: str) -> tuple[int, str, str]:
    command = [script] if "--entrypoint" in options else ["sh", "-c", script]
    result = tiffin("run", "--rm", "--runtime", runtime, *options, image, *command)
    # Its ID is the hostname where nothing else was said.
    anonymous = re.compile(r"\b[0-9a-f]{12}\b")
    return result.code, anonymous.sub("ID", result.out), anonymous.sub("ID", result.err)


@pytest.mark.parametrize(("options", "script"), SAME)
def test_the_same_container(tiffin: Runner, busybox: str, runtime: str, options: list[str], script: str) -> None:
    assert said(tiffin, busybox, runtime, options, script) == said(tiffin, busybox, "native", options, script)


@pytest.mark.parametrize("program", FAILING)
def test_the_same_errors(tiffin: Runner, busybox: str, runtime: str, program: str) -> None:
    own = tiffin("run", "--rm", busybox, program)
    other = tiffin("run", "--rm", "--runtime", runtime, busybox, program)
    assert (other.code, other.err.splitlines()[0]) == (own.code, own.err.splitlines()[0])
    assert tiffin.ok("ps", "-aq") == ""


def test_its_own_errors_are_told(tiffin: Runner, busybox: str, runtime: str) -> None:
    result = tiffin("run", "--rm", "--runtime", runtime, "-v", "/etc/hostname:/bin/busybox/x", busybox, "true")
    assert result.code in (125, 127) and re.match(rf"tiffin: ({runtime}: .|exec: )", result.err)
    assert tiffin.ok("ps", "-aq") == ""


def test_a_life(tiffin: Runner, engine: library.Engine, busybox: str, runtime: str) -> None:
    script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    tiffin.ok("run", "-d", "--name", "life", "--runtime", runtime, busybox, "sh", "-c", script)
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Status}}", "life") == f"{runtime} running"
    info = engine.container("life")
    # Our monitor is the parent; the host's mount table knows nothing of the root.
    assert f"PPid:\t{info.state.monitor_pid}\n" in Path(f"/proc/{info.state.pid}/status").read_text()
    assert info.container.id not in Path("/proc/self/mountinfo").read_text()
    assert tiffin.ok("exec", "life", "sh", "-c", "hostname; cat /proc/1/comm") == f"{info.container.hostname}\nsh"
    assert str(info.state.pid) in tiffin.ok("top", "life")
    tiffin.ok("pause", "life")
    assert tiffin.ok("ps", "--format", "{{.Status}}").endswith("(Paused)")
    tiffin.ok("unpause", "life")
    tiffin.ok("stop", "life")
    assert tiffin.ok("wait", "life") == "7"
    assert tiffin.ok("logs", "life") == "up\nbye"
    tiffin.ok("start", "life")
    tiffin.ok("kill", "life")
    assert tiffin.ok("wait", "life") == "137"
    tiffin.ok("rm", "life")


def test_input_and_a_terminal(tiffin: Runner, busybox: str, runtime: str, terminal: Opener) -> None:
    result = tiffin("run", "--rm", "-i", "--runtime", runtime, busybox, "cat", input="through\n" * 10000)
    assert result.code == 0 and result.out == "through\n" * 10000
    assert tiffin.ok("run", "--rm", "--runtime", runtime, busybox, "cat") == ""
    with terminal("run", "-it", "--rm", "--runtime", runtime, busybox, size=(33, 101)) as screen:
        screen.expect("/ # ")
        screen.line("stty size; tty")
        screen.expect("33 101")
        screen.expect("/dev/pts/0")
        screen.resize(20, 90)
        screen.line("sleep 0.2; stty size")
        screen.expect("20 90")
        screen.line("exit 5")
        assert screen.wait() == 5
    assert tiffin.ok("ps", "-aq") == ""


def test_memory_runs_out(tiffin: Runner, busybox: str, runtime: str) -> None:
    script = "x=x; while :; do x=$x$x; done"
    result = tiffin("run", "--name", "oom", "--runtime", runtime, "-m", "20m", busybox, "sh", "-c", script)
    assert result.code == 137
    assert tiffin.ok("inspect", "-f", "{{.State.OOMKilled}}", "oom") == "true"


def test_a_killed_monitor(tiffin: Runner, engine: library.Engine, busybox: str, runtime: str) -> None:
    import signal

    tiffin.ok("run", "-d", "--name", "lost", "--runtime", runtime, busybox, "sleep", "1000")
    state = engine.container("lost").state
    os.kill(state.monitor_pid, signal.SIGKILL)
    while engine.container("lost").state.status == "running":
        time.sleep(0.01)
    # The next command that looks ends what the kernel has not.
    assert tiffin.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (137)")
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{state.pid}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{state.pid}")
    tiffin.ok("start", "lost")
    tiffin.ok("rm", "-f", "lost")


def test_as_the_engines_default(tiffin: Runner, engine_root: str, busybox: str, runtime: str) -> None:
    with library.Engine(engine_root, runtime=runtime) as other:
        assert other.run(busybox, ["echo", "hi"]).stdout == "hi\n"
        assert other.info()["DefaultRuntime"] == runtime
    create = tiffin("create", "--name", "by-env", busybox, "true", env={"TIFFIN_RUNTIME": runtime})
    assert create.code == 0
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.Runtime}}", "by-env") == runtime
    own = tiffin("run", "--name", "own1", "--runtime", "native", busybox, "true", env={"TIFFIN_RUNTIME": runtime})
    assert own.code == 0 and tiffin.ok("inspect", "-f", "{{.HostConfig.Runtime}}", "own1") == "native"
    assert runtime in tiffin.ok("info")


def test_by_path(tiffin: Runner, busybox: str, runtime: str, tmp_path: Path) -> None:
    wrapper = tmp_path / runtime
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {shutil.which(runtime)} "$@"\n')
    wrapper.chmod(0o755)
    assert tiffin.ok("run", "--rm", "--runtime", str(wrapper), busybox, "echo", "hi") == "hi"
    verbs = [word for line in (tmp_path / "calls").read_text().splitlines() for word in line.split()]
    assert [word for word in verbs if word in ("create", "start", "delete")] == ["create", "start", "delete"]


@pytest.mark.parametrize("name", ["nope", "/nope", "./crun", "/etc/passwd"])
def test_unknown_runtimes(tiffin: Runner, engine_root: str, busybox: str, name: str) -> None:
    result = tiffin("run", "--rm", "--runtime", name, busybox, "true")
    assert result.code == 125 and result.err.startswith(f"tiffin: unknown or invalid runtime name: {name}\n")
    with library.Engine(engine_root, runtime=name) as other, pytest.raises(UsageError):
        other.run(busybox, ["true"])


def test_health_and_restarts(tiffin: Runner, engine: library.Engine, busybox: str, runtime: str) -> None:
    options = ("--health-cmd", "test -e /healthy", "--health-interval", "100ms", "--health-retries", "2")
    tiffin.ok("run", "-d", "--name", "checked", "--runtime", runtime, *options, busybox, "sleep", "30")
    health = "{{.State.Health.Status}}"
    wait_until(lambda: tiffin.ok("inspect", "-f", health, "checked") == "unhealthy", "unhealthy")
    assert tiffin("exec", "checked", "touch", "/healthy").code == 0
    wait_until(lambda: tiffin.ok("inspect", "-f", health, "checked") == "healthy", "healthy")
    assert tiffin("healthcheck", "run", "checked").code == 0
    tiffin.ok("rm", "-f", "checked")
    again = ("--restart", "on-failure:2")
    tiffin.ok("run", "-d", "--name", "again", "--runtime", runtime, *again, busybox, "sh", "-c", "echo ran; exit 4")
    wait_until(lambda: tiffin.ok("ps", "-a", "--format", "{{.State}}") == "exited", "the last end")
    assert tiffin.ok("inspect", "-f", "{{.RestartCount}} {{.State.ExitCode}}", "again") == "2 4"
    assert tiffin.ok("logs", "again") == "ran\nran\nran"
    tiffin.ok("rm", "again")


def test_a_pod_without_ipc(tiffin: Runner, busybox: str, runtime: str) -> None:
    tiffin.ok("pod", "create", "--name", "mixed", "--share", "net,uts", "--hostname", "together")
    tiffin.ok("run", "-d", "--pod", "mixed", "--runtime", runtime, "--name", "first", busybox, "sleep", "30")
    say = "hostname; readlink /proc/self/ns/net"
    theirs = tiffin.ok("exec", "first", "sh", "-c", say)
    assert theirs.startswith("together\n")
    for name in (runtime, "native"):
        assert tiffin.ok("run", "--rm", "--pod", "mixed", "--runtime", name, busybox, "sh", "-c", say) == theirs
    tiffin.ok("pod", "rm", "-f", "mixed")


def test_what_is_refused(tiffin: Runner, busybox: str, runtime: str) -> None:
    tiffin.ok("create", "--name", "donor", "--ipc", "shareable", busybox, "true")
    tiffin.ok("pod", "create", "--name", "shared")
    for option, message in (
        ("--init", f"--init does not go with --runtime {runtime} so far: the init is a part of Tiffin's own launcher"),
        (
            "--memory-merge",
            f"--memory-merge does not go with --runtime {runtime} so far: it is Tiffin's own launcher that asks the "
            "kernel for it",
        ),
        ("--log-driver=passthrough", f"--log-driver passthrough does not go with --runtime {runtime} so far"),
        ("--userns=auto", f"a user namespace does not go with --runtime {runtime} so far"),
        (
            "--systemd=always",
            f"--systemd always does not go with --runtime {runtime} so far: its cgroups are mounted by Tiffin's own "
            "launcher",
        ),
        (
            "--ipc=container:donor",
            f"--ipc container:NAME does not go with --runtime {runtime} so far: /dev/shm comes out of the other "
            "container's mounts",
        ),
        (
            "--pod=shared",
            f"a pod whose containers share their ipc namespace does not go with --runtime {runtime} so far: /dev/shm "
            "comes out of another container's mounts",
        ),
        ("--pass-fd=a:1", f"descriptors cannot be passed to a program under --runtime {runtime} so far"),
    ):
        result = tiffin("run", "--rm", "--runtime", runtime, option, busybox, "true")
        assert result.code == 125 and result.err.splitlines()[0] == f"tiffin: {message}"
