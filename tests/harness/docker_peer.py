"""A Docker daemon of one's own, from Debian's docker.io: own data, own socket, no networks, and gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.images import busybox_tar

CGROUPS = Path("/sys/fs/cgroup")
START_TIMEOUT_S = 60.0


class DockerPeer:
    """`with DockerPeer(directory) as docker: subprocess.run([*docker.command, "ps"])`."""

    def __init__(self, directory: Path) -> None:
        # Debian's own command line goes with its daemon; another one in PATH may be of any version.
        self.binary = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.directory = directory
        self.cgroup = f"peer-{directory.name}-{os.getpid()}"
        socket = f"unix://{directory}/docker.sock"
        self.command = [self.binary, "--host", socket]
        directory.mkdir(parents=True)
        (directory / "daemon.json").write_text("{}")
        self._log = (directory / "log").open("wb")
        self._daemon = subprocess.Popen(
            [
                "dockerd",
                f"--config-file={directory}/daemon.json",
                f"--data-root={directory}/data",
                f"--exec-root={directory}/exec",
                f"--pidfile={directory}/docker.pid",
                f"--host={socket}",
                "--iptables=false",
                "--bridge=none",
                "--ip-forward=false",
                "--ip-masq=false",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                f"--cgroup-parent=/{self.cgroup}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

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

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run([*self.command, "version"], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                self.close()
                raise RuntimeError(f"dockerd does not start:\n{(self.directory / 'log').read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is left of its containers, and end it: it takes its own containerd along."""
        if self._daemon.poll() is None:
            listed = subprocess.run([*self.command, "ps", "-aq"], capture_output=True, text=True, check=False)
            if listed.stdout.split():
                subprocess.run(
                    [*self.command, "rm", "-f", "-v", *listed.stdout.split()], capture_output=True, check=False
                )
            self._daemon.send_signal(signal.SIGTERM)
            try:
                self._daemon.wait(30)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
        self._log.close()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.directory}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], capture_output=True, check=False)
        for hierarchy in CGROUPS.iterdir():
            top = hierarchy / self.cgroup
            for path, _, _ in os.walk(top, topdown=False):
                os.rmdir(path)
        shutil.rmtree(self.directory, ignore_errors=True)


def installed() -> bool:
    """Whether there is a docker here, and we may start its daemon."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("docker", "dockerd", "containerd"))


@contextmanager
def running() -> Iterator[DockerPeer]:
    """One that knows the image `busybox` of the tests."""
    work = Path(tempfile.mkdtemp(prefix="tiffin-docker-", dir="/var/tmp"))
    try:
        with DockerPeer(work / "docker") as docker:
            docker.ok("import", "--change", 'CMD ["sh"]', "-", "busybox", input=busybox_tar())
            yield docker
    finally:
        shutil.rmtree(work, ignore_errors=True)
