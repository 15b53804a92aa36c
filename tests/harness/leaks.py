"""Finds what a test left on the host: processes, mounts, namespaces, cgroups, links, loop devices."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup")


@dataclass(frozen=True)
class Process:
    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def processes_using(directory: str) -> list[Process]:
    """Processes, other than this one, that run from, hold open, or have mounted something below `directory`."""
    own_mounts = _link("/proc/self/ns/mnt")
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        base = f"/proc/{name}"
        if _uses(base, directory.rstrip("/") + "/", own_mounts):
            found.append(Process(int(name), _command(base)))
    return found


def _uses(base: str, prefix: str, own_mounts: str) -> bool:
    # A container's process shows the store only in its mount table, a monitor only in its open files.
    if _link(f"{base}/ns/mnt") not in ("", own_mounts) and prefix in _text(f"{base}/mountinfo"):
        return True
    for link in ("exe", "cwd"):
        if _link(f"{base}/{link}").startswith(prefix):
            return True
    try:
        descriptors = os.listdir(f"{base}/fd")
    except OSError:
        return False
    monitor = os.path.basename(_link(f"{base}/exe")) == "tiffin-launch"
    return monitor and any(_link(f"{base}/fd/{number}").startswith(prefix) for number in descriptors)


def _command(base: str) -> str:
    return _text(f"{base}/cmdline").replace("\0", " ").strip() or _text(f"{base}/comm").strip()


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def mounts_below(directory: str) -> list[str]:
    """Mounts in this process's table that are on, or come from, something below `directory`."""
    prefix = directory.rstrip("/") + "/"
    lines = _text("/proc/self/mountinfo").splitlines()
    return [f"mount {line.split()[4]}" for line in lines if prefix in line + "/"]


def wait_gone(directory: str, timeout_s: float = 5.0) -> list[str]:
    """What still uses `directory` after `timeout_s`: a process that was just killed takes a moment to go."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = [str(process) for process in processes_using(directory)] + mounts_below(directory)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


@dataclass
class Snapshot:
    """The host's state at one moment, as far as a container engine could change it."""

    mounts: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    loops: frozenset[str] = frozenset()
    namespaces: dict[str, str] = field(default_factory=dict)
    launchers: frozenset[int] = frozenset()

    @classmethod
    def take(cls) -> Snapshot:
        return cls(
            mounts=frozenset(line.split(" ", 4)[4] for line in _text("/proc/self/mountinfo").splitlines()),
            cgroups=frozenset(_cgroups()),
            links=frozenset(os.listdir("/sys/class/net")),
            loops=frozenset(
                _text(f"/sys/block/{name}/loop/backing_file").strip()
                for name in os.listdir("/sys/block")
                if name.startswith("loop") and os.path.exists(f"/sys/block/{name}/loop/backing_file")
            ),
            namespaces=_namespaces(),
            launchers=frozenset(_launchers()),
        )

    def left_since(self, before: Snapshot, *, alone: bool = True) -> list[str]:
        """What is here now and was not `before`, one line each.

        Unless the tests are `alone` on the host, only what bears Tiffin's name: others mount and start things, too.
        """
        anybody = [
            *(f"mount {mount.split()[0]}" for mount in sorted(self.mounts - before.mounts)),
            *(f"network link {name}" for name in sorted(self.links - before.links)),
            *(f"loop device of {path}" for path in sorted(self.loops - before.loops)),
            *(
                f"namespace {namespace} of process {holder}"
                for namespace, holder in sorted(self.namespaces.items())
                if namespace not in before.namespaces
            ),
        ]
        return [
            *(anybody if alone else []),
            *(f"cgroup {path}" for path in sorted(self.cgroups - before.cgroups)),
            *(
                f"process {pid} ({_command(f'/proc/{pid}')})"
                for pid in sorted(self.launchers - before.launchers)
                if os.path.exists(f"/proc/{pid}")
            ),
        ]


def left_after(before: Snapshot, *, alone: bool, timeout_s: float = 5.0) -> list[str]:
    """What is there since `before` and stays for `timeout_s`: ends take a moment."""
    deadline = time.monotonic() + timeout_s
    left = Snapshot.take().left_since(before, alone=alone)
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        still = set(Snapshot.take().left_since(before, alone=alone))
        left = [line for line in left if line in still]
    return left


def _cgroups() -> list[str]:
    """Every cgroup below one whose name begins with "tiffin", in every hierarchy; the shared parents stay."""
    found = []
    for top, directories, _ in os.walk(CGROUPS):
        inside = os.path.relpath(top, CGROUPS).split(os.sep)
        if any(part.startswith("tiffin") for part in inside):
            found.extend(os.path.join(top, name) for name in directories)
    return found


def _namespaces() -> dict[str, str]:
    found: dict[str, str] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in NAMESPACES:
            namespace = _link(f"/proc/{pid}/ns/{kind}")
            if namespace:
                found.setdefault(namespace, f"{pid} ({_command(f'/proc/{pid}')})")
    return found


def _launchers() -> list[int]:
    pids = filter(str.isdigit, os.listdir("/proc"))
    return [int(pid) for pid in pids if os.path.basename(_link(f"/proc/{pid}/exe")) == "tiffin-launch"]
