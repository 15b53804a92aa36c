"""A Docker daemon of one's own, from Debian's docker.io: own data, own socket, no networks, and gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

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
        for hierarchy in CGROUPS.iterdir():
            top = hierarchy / self.cgroup
            for path, _, _ in os.walk(top, topdown=False):
                os.rmdir(path)
        shutil.rmtree(self.directory, ignore_errors=True)
