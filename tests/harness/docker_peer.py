"""A Docker of our own to compare with: its own daemon, store and socket, no networks. Made once per session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.images import busybox_tar

START_TIMEOUT_S = 30.0
CGROUP_PARENT = "tiffin-test-docker"


class Docker:
    """`docker("run", …)` asks the private daemon; it knows the image `busybox` of the tests."""

    def __init__(self, socket: str) -> None:
        self.command = ("docker", "--host", socket)

    def __call__(
        self, *arguments: str, input: bytes = b"", timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """A command, however it ends."""
        return subprocess.run(
            [*self.command, *arguments], input=input, capture_output=True, check=False, timeout=timeout_s
        )

    def ok(self, *arguments: str, input: bytes = b"") -> str:
        """The output of a command that must succeed, without the last line end."""
        done = self(*arguments, input=input)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr!r}"
        return done.stdout.decode("utf-8", "replace").removesuffix("\n")

    def inspect(self, *arguments: str) -> Any:
        """What `inspect` says, as data."""
        return json.loads(self.ok("inspect", *arguments))


def installed() -> bool:
    """Whether there is a docker here, and we may start its daemon."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("docker", "dockerd", "containerd"))


@contextmanager
def running() -> Iterator[Docker]:
    """A daemon for as long as it is needed. What it has mounted goes with it."""
    work = tempfile.mkdtemp(prefix="tiffin-docker-", dir="/var/tmp")
    daemon = None
    try:
        socket = f"unix://{work}/socket"
        Path(f"{work}/daemon.json").write_text("{}")
        with open(f"{work}/log", "wb") as log:
            daemon = subprocess.Popen(_argv(work, socket), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        docker = Docker(socket)
        _await(docker, daemon, work)
        docker.ok("import", "--change", 'CMD ["sh"]', "-", "busybox", input=busybox_tar())
        yield docker
        for container in docker.ok("ps", "-aq").split():
            docker.ok("rm", "-fv", container)
    finally:
        if daemon is not None:
            _stop(daemon)
        _remove(work)


def _argv(work: str, socket: str) -> Sequence[str]:
    return [
        "dockerd", f"--config-file={work}/daemon.json", f"--data-root={work}/data", f"--exec-root={work}/exec",
        f"--pidfile={work}/pid", f"--host={socket}", "--iptables=false", "--bridge=none", "--ip-forward=false",
        "--ip-masq=false", "--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{CGROUP_PARENT}",
    ]  # fmt: skip


def _await(docker: Docker, daemon: subprocess.Popen[bytes], work: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while docker("version").returncode != 0:
        if time.monotonic() > deadline or daemon.poll() is not None:
            raise RuntimeError(f"dockerd does not start:\n{Path(f'{work}/log').read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _remove(work: str) -> None:
    """The directories, what is still mounted below them, and the daemon's cgroups."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{work}/"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
    shutil.rmtree(work, ignore_errors=True)
    for base in ("/sys/fs/cgroup", *map(str, Path("/sys/fs/cgroup").glob("*"))):
        for top, _, _ in os.walk(f"{base}/{CGROUP_PARENT}", topdown=False):
            try:
                os.rmdir(top)
            except OSError:
                continue
