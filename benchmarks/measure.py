"""Measuring: one process from start to exit, several contenders in turn, memory that a process holds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Spent(NamedTuple):
    """What one action cost.

    `peak_bytes` is the largest resident set of the process and its waited-for children, but never less than this
    program's own at that moment: the kernel counts from before the exec (getrusage(2)).
    """

    seconds: float
    peak_bytes: int


def run_command(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Spent:
    """Start `argv` with its output thrown away, wait for it; RuntimeError with its stderr when it fails."""
    read, write = os.pipe()
    with open(os.devnull, "r+b") as null:
        actions = [
            (os.POSIX_SPAWN_DUP2, null.fileno(), 0),
            (os.POSIX_SPAWN_DUP2, null.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, write, 2),
        ]
        begun = time.perf_counter()
        pid = os.posix_spawnp(argv[0], list(argv), {**os.environ, **(env or {})}, file_actions=actions)
        os.close(write)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - begun
    os.set_blocking(read, False)
    try:
        said = os.read(read, 4096).decode("utf-8", "replace")
    except BlockingIOError:  # a detached child keeps the other end
        said = ""
    os.close(read)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {code}\n{said}")
    return Spent(seconds, usage.ru_maxrss * 1024)


def timed(action: Callable[[], object]) -> Spent:
    """Time a call in this process."""
    begun = time.perf_counter()
    action()
    return Spent(time.perf_counter() - begun, 0)


class Series:
    """The measurements of one contender, round by round."""

    def __init__(self) -> None:
        self.spent: list[Spent] = []

    @property
    def median_s(self) -> float:
        return statistics.median(one.seconds for one in self.spent)

    @property
    def peak_bytes(self) -> int:
        return max(one.peak_bytes for one in self.spent)

    def ratio_to(self, other: Series) -> float:
        """The median of the ratios within each round: what slows a whole round down cancels out."""
        pairs = zip(self.spent, other.spent, strict=True)
        return statistics.median(mine.seconds / theirs.seconds for mine, theirs in pairs)


def interleaved(contenders: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, Series]:
    """Measure every contender once a round, each round beginning with another one; one round more warms up."""
    names = list(contenders)
    series = {name: Series() for name in names}
    for name in names:
        contenders[name]()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            series[name].spent.append(contenders[name]())
    return series


def pss_bytes(pid: int) -> int:
    """A process's proportional set size (proc_pid_smaps(5)): shared pages count by their share."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:")


def _kilobytes(path: str, key: str) -> int:
    with open(path) as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"{path} has no {key}")


def processes_with(*words: str) -> list[int]:
    """Processes whose command line contains every one of `words`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if all(word in command for word in words) and int(name) != os.getpid():
            found.append(int(name))
    return found
