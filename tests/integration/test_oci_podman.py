"""Podman on `tiffin-runtime`: what it calls, and how it reads the answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiffin
from harness.terminal import Terminal

# This host may not be able to raise limits, and Podman's own are higher than many.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
RUN = ("run", "--network", "none", *LIMITS)


class Podman:
    def __init__(self, root: Path) -> None:
        runtime = root / "tiffin-runtime"
        source = Path(tiffin.__file__).parents[1]
        runtime.write_text(
            f"#!{sys.executable} -S\n"
            f"import sys; sys.path.insert(0, {str(source)!r})\n"
            "from tiffin.oci.main import main\nsys.exit(main())\n"
        )
        runtime.chmod(0o755)
        (root / "containers.conf").write_text(
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "{root}/tmp"\n'
        )
        self.environment = {**os.environ, "CONTAINERS_CONF": str(root / "containers.conf"), "XDG_RUNTIME_DIR": ""}
        self.command = [
            "podman", "--root", f"{root}/root", "--runroot", f"{root}/run", "--tmpdir", f"{root}/tmp",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "--runtime", str(runtime),
        ]  # fmt: skip

    def __call__(self, *words: str, input: bytes | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *words], input=input, capture_output=True, env=self.environment, timeout=60, check=False
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *words: str, input: bytes | None = None) -> str:
        done = self(*words, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def podman(busybox_archive: bytes) -> Iterator[Podman]:
    """Podman with a store of its own and the image `busybox`."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    root = Path(tempfile.mkdtemp(prefix="tiffin-podman-", dir="/var/tmp"))
    root.chmod(0o755)
    podman = Podman(root)
    try:
        podman.ok("import", "--change", "CMD sh", "-", "busybox", input=busybox_archive)
        yield podman
    finally:
        podman("rm", "--all", "--force", "--time", "0")
        shutil.rmtree(root)


def test_one_command(podman: Podman) -> None:
    done = podman(*RUN, "--rm", "--user", "1000", "busybox", "sh", "-c", "id; exit 3")
    assert (done.returncode, done.stdout) == (
        3,
        "uid=1000(alice) gid=1000(alice) groups=29(audio),100(users),1000(alice)\n",
    )


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/nosuch", 127), ("/etc/passwd", 126)])
def test_podman_understands_why_a_program_did_not_run(podman: Podman, command: str, code: int) -> None:
    assert podman(*RUN, "--rm", "busybox", command).returncode == code


def test_a_service(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    limits = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5")
    script = "trap 'exit 4' TERM; while :; do sleep 0.05; done"
    podman.ok(*RUN, "-d", "--name", "service", *limits, "-v", f"{tmp_path}:/data:ro", "busybox", "sh", "-c", script)
    try:
        looked = podman.ok(
            "exec", "-e", "A=b", "-w", "/data", "service", "sh", "-c", "cat file; echo $A; touch x 2>&1 || :"
        )
        assert looked == "of the host\nb\ntouch: x: Read-only file system\n"
        assert podman("exec", "service", "sh", "-c", "exit 5").returncode == 5
        assert podman("exec", "service", "nosuch").returncode == 127
        read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
        assert podman.ok("exec", "service", "sh", "-c", read) == f"{64 << 20}\n"
        podman.ok("pause", "service")
        assert podman.ok("inspect", "-f", "{{.State.Status}}", "service") == "paused\n"
        podman.ok("unpause", "service")
        assert "sleep" in podman.ok("top", "service", "args")
        podman.ok("stop", "--time", "5", "service")
        assert podman.ok("inspect", "-f", "{{.State.ExitCode}}", "service") == "4\n"
        podman.ok("start", "service")
        podman.ok("kill", "service")
    finally:
        podman.ok("rm", "--force", "--time", "0", "service")


def test_a_read_only_root_with_writable_tmpfs(podman: Podman) -> None:
    script = "touch /x 2>&1; touch /tmp/x && ls /etc/passwd"
    done = podman(*RUN, "--rm", "--read-only", "--tmpfs", "/etc", "busybox", "sh", "-c", script)
    assert done.stdout == "touch: /x: Read-only file system\n/etc/passwd\n"


def test_a_user_namespace(podman: Podman) -> None:
    maps = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    script = "id -u; cat /proc/self/uid_map; touch /x && stat -c %u /x"
    words = podman.ok(*RUN, "--rm", *maps, "busybox", "sh", "-c", script).split()
    assert words == ["0", "0", "100000", "65536", "0"]


def test_privileged(podman: Podman) -> None:
    bounding = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    seen = podman.ok(*RUN, "--rm", "--privileged", "busybox", "grep", "CapEff", "/proc/self/status")
    assert seen.split()[1] == bounding.split()[1]


@pytest.mark.tty
def test_a_terminal(podman: Podman) -> None:
    settings = [f"{name}={podman.environment[name]}" for name in ("CONTAINERS_CONF", "XDG_RUNTIME_DIR")]
    terminal = Terminal(["env", *settings, *podman.command, *RUN, "--rm", "-it", "busybox", "sh"], size=(30, 90))
    try:
        terminal.expect("# ")
        terminal.send("tty; stty size; exit 6\r")
        terminal.expect("/dev/pts/0")
        terminal.expect("30 90")
    finally:
        terminal.close()
