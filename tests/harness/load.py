"""Load: many containers at once, many commands at once, and containers that take all they can get."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import tiffin
from tiffin.model.container import ContainerConfig, Mount

MIB = 1 << 20


def available_bytes() -> int:
    """What the kernel could still give, once nothing is cached (proc_meminfo(5), MemAvailable)."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))


def command(root: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "tiffin", "--root", root, *words]


@dataclass
class Many:
    """Figures of `count` idle containers alive at once: seconds; memory in bytes, processes and open files of each.

    `last_start_s` is the mean of the last hundred, `mounts` are those in the mount namespace of one. Of an attempt are
    `half_memory_bytes`, when half of them ran, and `stopped`, why they are not as many as were asked for.
    """

    count: int
    start_s: float
    slowest_start_s: float
    memory_bytes: float
    ps_s: float
    list_s: float
    exec_s: float
    remove_s: float
    last_start_s: float
    half_memory_bytes: float
    processes: float
    files: float
    mounts: int
    stopped: str = ""


def many(
    engine: tiffin.Engine, image: str, count: int, *, measure_memory: bool = True, patience_s: float | None = None
) -> Many:
    """Start them through the library, look, and remove them through the library.

    Memory is everything: what the kernel has less available afterwards, with its caches dropped before and after. With
    `patience_s` it is an attempt: when something stops it, or that time is over, it goes on with those that it has.
    """
    engine.run(image, ["true"])
    before = available_bytes() if measure_memory else 0
    running, opened = _processes(), _open_files()
    laps: list[float] = []
    ids = []
    stopped = ""
    half_memory = 0.0
    while len(ids) < count and not stopped:
        began = time.perf_counter()
        try:
            container = engine.create(ContainerConfig(image=image, command=("sleep", "100000")))
            engine.start(container.id)
        except tiffin.TiffinError as error:
            if patience_s is None:
                raise
            stopped = str(error)
            break
        laps.append(time.perf_counter() - began)
        ids.append(container.id)
        if patience_s is not None and len(ids) == count // 2:
            half_memory = (before - available_bytes()) / len(ids)
        if patience_s is not None and sum(laps) > patience_s:
            stopped = f"{patience_s:.0f} s were over"
    if stopped:
        for info in engine.containers(all=True):
            if info.state.status != "running":
                engine.remove(info.container.id, force=True)
    count = len(ids)
    processes, files = (_processes() - running) / count, (_open_files() - opened) / count
    with open(f"/proc/{engine.container(ids[-1]).state.pid}/mountinfo") as file:
        mounts = len(file.readlines())
    memory = (before - available_bytes()) / count if measure_memory else 0.0
    ps_s = min(_timed(lambda: _quiet(command(engine.root, "ps"))) for _ in range(3))
    list_s = min(_timed(lambda: len(engine.containers())) for _ in range(3))
    exec_s = min(_timed(lambda: engine.exec_run(ids[count // 2], ["true"])) for _ in range(3))
    assert len(engine.containers()) == count
    began = time.perf_counter()
    for container_id in ids:
        engine.remove(container_id, force=True)
    return Many(
        count=count,
        start_s=sum(laps) / count,
        slowest_start_s=max(laps),
        memory_bytes=memory,
        ps_s=ps_s,
        list_s=list_s,
        exec_s=exec_s,
        remove_s=time.perf_counter() - began,
        half_memory_bytes=half_memory,
        last_start_s=sum(laps[-100:]) / len(laps[-100:]),
        processes=processes,
        files=files,
        mounts=mounts,
        stopped=stopped,
    )


def _processes() -> int:
    return sum(name.isdigit() for name in os.listdir("/proc"))


def _open_files() -> int:
    """Of the whole host (proc_sys_fs(5), file-nr)."""
    with open("/proc/sys/fs/file-nr") as file:
        return int(file.read().split()[0])


def _quiet(words: list[str]) -> None:
    subprocess.run(words, stdout=subprocess.DEVNULL, timeout=120, check=True)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass
class Parallel:
    """`done` runs in `seconds`, by `workers` at once; `failures` are their error texts."""

    workers: int
    seconds: float
    done: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def parallel(root: str, image: str, workers: int, seconds: float) -> Parallel:
    """Everybody runs `tiffin run --rm IMAGE echo N` over and over."""
    result = Parallel(workers, seconds)
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            words = command(root, "run", "--rm", image, "echo", str(number))
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            with lock:
                result.slowest_s = max(result.slowest_s, time.monotonic() - began)
                result.done += 1
                if done.returncode or done.stdout != f"{number}\n":
                    result.failures.append(f"{done.returncode}: {done.stderr or done.stdout}".strip())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return result


# What a container does that takes all it can get: options of its config, its command, and what its end must be.
GREEDY: dict[str, tuple[dict[str, object], str, int]] = {
    "10,000 processes": (
        {},
        "i=0; while [ $i -lt 10000 ]; do sleep 600 & i=$((i+1)); done; ls -d /proc/[0-9]* | wc -l; kill -9 -1",
        0,
    ),
    "a full tmpfs": (
        {"mounts": (Mount(type="tmpfs", target="/t", tmpfs_options=("size=64m",)),)},
        "for i in 1 2 3; do dd if=/dev/zero of=/t/fill$i bs=1M 2>/dev/null; done; test $(du -m /t | cut -f1) -ge 63",
        0,
    ),
    "1 GB of output": (
        {},
        "yes 'The quick brown fox jumps over the lazy dog, and does so again' | head -c 1073741824",
        0,
    ),
}


@dataclass
class Neighbour:
    """How a neighbour felt it: seconds of an exec in it, the median of those alone and of those beside."""

    name: str
    alone_s: float
    beside_s: float
    greedy_s: float
    exit_code: int


def neighbour(engine: tiffin.Engine, image: str, name: str) -> Neighbour:
    """Run one of `GREEDY` beside an idle container, in which a command is executed again and again."""
    options, script, _ = GREEDY[name]
    idle = engine.create(ContainerConfig(image=image, command=("sleep", "1000")))
    engine.start(idle.id)

    def lap() -> float:
        return _timed(lambda: engine.exec_run(idle.id, ["true"]))

    alone = sorted(lap() for _ in range(20))
    greedy = engine.create(ContainerConfig(image=image, command=("sh", "-c", script), **options))  # type: ignore[arg-type]
    began = time.perf_counter()
    engine.start(greedy.id)
    beside = []
    while engine.container(greedy.id).state.status == "running" and time.perf_counter() - began < 300:
        beside.append(lap())
    code = engine.wait(greedy.id, timeout_s=10)
    taken = time.perf_counter() - began
    engine.remove(greedy.id, force=True)
    engine.remove(idle.id, force=True)
    beside.sort()
    return Neighbour(name, alone[len(alone) // 2], beside[len(beside) // 2], taken, code)
