"""The engines that Tiffin is measured against, each with a store, a daemon and cgroups of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection

from measure import Spent, processes_with, run_command

IMAGE = "bench"
START_TIMEOUT_S = 30.0


def output(argv: Sequence[str], env: dict[str, str] | None = None) -> str:
    """What a command says; RuntimeError when it fails."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout.strip()


class CommandPeer:
    """An engine with Docker's command line: what all of them are asked."""

    name = ""
    works_in_a_daemon = False
    command: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    environment: dict[str, str] | None = None
    transfer_options: tuple[str, ...] = ()
    store = ""

    def daemon_pid(self) -> int:
        """The process that does the work for the commands; 0 when they do it themselves."""
        return 0

    def ask(self, *arguments: str) -> str:
        return output([*self.command, *arguments], self.environment)

    def time(self, *arguments: str) -> Spent:
        return run_command([*self.command, *arguments], env=self.environment)

    def version(self) -> str:
        return self.ask("--version")

    def run(self) -> Spent:
        return self.time("run", "--rm", "--network", "none", *self.run_options, IMAGE, "true")

    def start_idle(self, name: str) -> str:
        """Start a container that does nothing; its full ID."""
        return self.ask("run", "-d", "--name", name, "--network", "none", *self.run_options, IMAGE, "sleep", "infinity")

    def remove(self, *names: str) -> None:
        self.ask("rm", "-f", *names)

    def exec(self, name: str) -> Spent:
        return self.time("exec", name, "true")

    def import_tar(self, path: str, name: str) -> Spent:
        return self.time("import", path, name)

    def load_archive(self, path: str) -> Spent:
        return self.time("load", "-i", path)

    def remove_image(self, name: str) -> None:
        """Remove an image and all that was stored for it: the next import finds nothing that it could reuse."""
        self.ask("rmi", "-f", name)

    def monitors(self, container_id: str) -> list[int]:
        """The processes that stay for one container, without the container's own."""
        raise NotImplementedError

    def renamer(self) -> Callable[[str], None] | None:
        """Make a container, and what gives it another name without starting a process; None if there is no such way."""
        return None

    @contextmanager
    def following(self) -> Iterator[subprocess.Popen[bytes]]:
        """`events`, with a line for every rename from now on."""
        process = subprocess.Popen(
            [*self.command, "events", "--filter", "event=rename", "--format", "{{.Action}}"],
            stdout=subprocess.PIPE,
            env={**os.environ, **(self.environment or {})},
        )
        try:
            time.sleep(1)
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def close(self) -> None:
        """Stop everything and leave nothing."""


class Docker(CommandPeer):
    """Debian's docker.io: a daemon with its own root, without networks."""

    name = "Docker"
    works_in_a_daemon = True

    def __init__(self, work: str) -> None:
        self.work = f"{work}/docker"
        self.store = f"{self.work}/data"
        os.makedirs(self.work)
        address = f"unix://{self.work}/docker.sock"
        self.command = ("/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker", "--host", address)
        with open(f"{self.work}/daemon.json", "w") as file:
            file.write("{}")
        self._log = open(f"{self.work}/log", "wb")  # noqa: SIM115 -- the daemon's output for as long as it runs
        self.daemon = subprocess.Popen(
            [
                "dockerd",
                f"--config-file={self.work}/daemon.json",
                f"--data-root={self.work}/data",
                f"--exec-root={self.work}/exec",
                f"--pidfile={self.work}/docker.pid",
                f"--host={address}",
                "--iptables=false",
                "--bridge=none",
                "--ip-forward=false",
                "--ip-masq=false",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                "--cgroup-parent=/tiffin-bench-docker",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._await_daemon()

    def daemon_pid(self) -> int:
        return self.daemon.pid

    def _await_daemon(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ask("version")
                return
            except RuntimeError:
                if time.monotonic() > deadline or self.daemon.poll() is not None:
                    self.close()
                    with open(f"{self.work}/log", errors="replace") as file:
                        raise RuntimeError(f"dockerd does not start:\n{file.read()[-2000:]}") from None
                time.sleep(0.1)

    def version(self) -> str:
        return "Docker " + self.ask("version", "--format", "{{.Server.Version}}")

    def monitors(self, container_id: str) -> list[int]:
        return processes_with("containerd-shim", container_id)

    def renamer(self) -> Callable[[str], None]:
        container = self.ask("create", "--network", "none", IMAGE, "true")
        connection = HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"{self.work}/docker.sock")

        def rename(name: str) -> None:
            connection.request("POST", f"/containers/{container}/rename?name={name}")
            reply = connection.getresponse()
            reply.read()
            if reply.status != 204:
                raise RuntimeError(f"Docker does not rename: {reply.status}")

        return rename

    def close(self) -> None:
        if self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self._log.close()


class Podman(CommandPeer):
    """Debian's podman on crun, with its own root."""

    name = "Podman"
    transfer_options = ("--tls-verify=false",)

    def __init__(self, work: str) -> None:
        self.work = f"{work}/podman"
        self.store = f"{self.work}/root"
        self.command = (
            "podman",
            f"--root={self.work}/root",
            f"--runroot={self.work}/run",
            f"--tmpdir={self.work}/tmp",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        )
        if not _may_raise_limits():
            # Podman asks for more than root without CAP_SYS_RESOURCE may have, and gives up.
            self.run_options = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")

    def monitors(self, container_id: str) -> list[int]:
        return [pid for pid in processes_with("conmon", container_id) if _comm(pid) == "conmon"]

    def remove(self, *names: str) -> None:
        self.ask("rm", "-f", "-t", "0", *names)

    def close(self) -> None:
        self.ask("rm", "-f", "-t", "0", "--all")


class Tiffin(CommandPeer):
    """The command that is installed beside this Python."""

    name = "Tiffin"

    def __init__(self, work: str, command: str) -> None:
        self.root = self.store = f"{work}/tiffin"
        self.command = (command, "--root", self.root)

    def remove_image(self, name: str) -> None:
        super().remove_image(name)
        self.ask("system", "prune", "--force")  # the files of an image stay until then

    def monitors(self, container_id: str) -> list[int]:
        from tiffin import Engine

        with Engine(self.root) as engine:
            return [engine.container(container_id).state.monitor_pid]

    def renamer(self) -> Callable[[str], None]:
        from tiffin import ContainerConfig, Engine

        engine = Engine(self.root)
        container = engine.create(ContainerConfig(image=IMAGE, command=("true",))).id
        return lambda name: engine.rename(container, name)

    def close(self) -> None:
        for container in self.ask("ps", "-aq").split():
            self.remove(container)


class Bundle:
    """An unpacked root file system for the programs that know no images: crun and bubblewrap."""

    def __init__(self, work: str, tar: str) -> None:
        self.path = f"{work}/bundle"
        self.rootfs = f"{self.path}/rootfs"
        os.makedirs(self.rootfs)
        with tarfile.open(tar) as archive:
            archive.extractall(self.rootfs, numeric_owner=True, filter="fully_trusted")

    def write_config(self) -> None:
        output(["crun", "spec", f"--bundle={self.path}"])
        with open(f"{self.path}/config.json") as file:
            config = json.load(file)
        config["process"].update(terminal=False, args=["true"])
        config["process"].pop("rlimits", None)  # asks for more than root without CAP_SYS_RESOURCE may have
        config["linux"]["cgroupsPath"] = "/tiffin-bench-crun/empty"
        with open(f"{self.path}/config.json", "w") as file:
            json.dump(config, file)

    def crun(self) -> Spent:
        return run_command(["crun", "run", f"--bundle={self.path}", "tiffin-bench"])

    def bubblewrap(self) -> Spent:
        options = ["--unshare-all", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev"]
        return run_command(["bwrap", *options, "true"])


def _may_raise_limits() -> bool:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


def _comm(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
