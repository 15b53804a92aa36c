"""Load and kill at full size, with the loops that the tests run in small: `make reliability`.

Run as root. Works in a directory of its own, which is gone at the end.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

import tiffin
from harness.images import busybox_tar
from harness.killer import kill
from harness.load import GREEDY, Many, available_bytes, many, neighbour, parallel
from report import processor, write_between_markers

BEGIN = "<!-- figures: written by `make reliability WRITE=1` -->"
END = "<!-- end of figures -->"
TRIED_BEGIN = "<!-- attempt: written by `make reliability TRY=5000 WRITE=1` -->"
TRIED_END = "<!-- end of attempt -->"
PATIENCE_S = 300
MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="200,1000", help="how many containers at once (default 200,1000)")
    parser.add_argument("--kills", type=int, default=1000, help="rounds of the killer loop (default 1000)")
    parser.add_argument("--seconds", type=float, default=60, help="of 64 commands at once (default 60)")
    attempt = "instead: try so many containers at once, for 5 minutes, and say what stops it"
    parser.add_argument("--try", dest="attempt", type=int, default=0, metavar="COUNT", help=attempt)
    parser.add_argument("--write", metavar="PAGE", help="also put the table between the markers of this page")
    options = parser.parse_args()
    if options.attempt:
        text = "\n".join(_tried(options.attempt))
        print(text)
        if options.write:
            write_between_markers(options.write, text, TRIED_BEGIN, TRIED_END)
        return 0
    lines = [
        f"Linux {os.uname().release}, {processor()}, {os.cpu_count()} processors.",
        "",
        "| | figure | bound |",
        "| --- | --- | --- |",
    ]
    for count in map(int, filter(None, options.counts.split(","))):
        lines += _many(count)
    lines += _parallel(options.seconds)
    for name in GREEDY:
        lines += _neighbour(name)
    lines += _killed(options.kills)
    text = "\n".join(lines)
    print(text)
    if options.write:
        write_between_markers(options.write, text, BEGIN, END)
    return 0


class Store:
    """`with Store() as root`: a new store with the image `busybox`."""

    def __enter__(self) -> str:
        self.root = tempfile.mkdtemp(prefix="tiffin-load-", dir="/var/tmp")
        with tiffin.Engine(self.root) as engine:
            engine.import_image(io.BytesIO(busybox_tar()), "busybox")
        return self.root

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root)


def _said(text: str) -> None:
    print(f"measuring: {text} …", file=sys.stderr, flush=True)


def _many(count: int) -> list[str]:
    _said(f"{count} containers")
    with Store() as root, tiffin.Engine(root) as engine:
        found = many(engine, "busybox", count)
        left = len(engine.containers(all=True)) + len(engine.check())
    return [
        f"| {count:,} containers at once: create and start, each, through the library | {_started(found)} | ≤ 30 ms |",
        f"| memory of each with everything counted | {_mb(found)} | ≤ 1 MB |",
        f"| `ps` then | {found.ps_s * 1000:.0f} ms | ≤ 300 ms |",
        f"| `exec` in one of them then, through the library | {found.exec_s * 1000:.1f} ms | |",
        f"| removing all of them, one after the other | {found.remove_s:.1f} s | ≤ 20 s |",
        f"| left afterwards | {left} | 0 |",
    ]


def _tried(count: int) -> list[str]:
    """More than is promised: how far it goes, and which limit of this host would be met first."""
    _said(f"{count} containers")
    with Store() as root, tiffin.Engine(root) as engine:
        available = available_bytes()
        found = many(engine, "busybox", count, patience_s=PATIENCE_S)
        left = len(engine.containers(all=True)) + len(engine.check())
    limits = (
        _memory_limit(found, count // 2, available),
        (_number("kernel/pid_max") / found.processes, f"`kernel.pid_max`, at {found.processes:.0f} processes each"),
        (_number("user/max_mnt_namespaces"), "`user.max_mnt_namespaces` and its kind, one of each"),
        (_number("fs/file-nr", 2) / found.files, f"`fs.file-max`, at {found.files:.0f} open files each"),
    )
    stopped = f"{found.count:,} of {count:,}, then: {found.stopped}" if found.stopped else f"all {count:,}"
    return [
        f"| {count:,} containers tried at once | {stopped} |",
        "| --- | --- |",
        f"| create and start, each, through the library | {_started(found)} |",
        f"| the last hundred of them | {found.last_start_s * 1000:.1f} ms |",
        f"| memory of each with everything counted | {_mb(found)} |",
        f"| `ps` then | {found.ps_s * 1000:.0f} ms |",
        f"| listing them through the library | {found.list_s * 1000:.0f} ms |",
        f"| `exec` in one of them then, through the library | {found.exec_s * 1000:.1f} ms |",
        f"| removing all of them, one after the other | {found.remove_s:.1f} s |",
        f"| left afterwards | {left} |",
        "",
        "What would stop it on this host, and at how many:",
        "",
        *(f"- {int(most):,}: {what}" for most, what in sorted(limits)),
        f"- never: `fs.mount-max`, {_number('fs/mount-max'):,} in each mount namespace; every container has its own,"
        f" with {found.mounts} mounts.",
    ]


def _memory_limit(found: Many, half: int, available: int) -> tuple[float, str]:
    """Two points are known of a parabola: for each pair of memory cgroup and file system the kernel keeps something."""
    more = 0.0
    if found.count > half:
        more = max(0.0, (found.memory_bytes - found.half_memory_bytes) / (found.count - half))
    alone = found.memory_bytes - more * found.count
    most = (math.sqrt(alone**2 + 4 * more * available) - alone) / (2 * more) if more else available / alone
    each = f"each takes {alone / 1e6:.2f} MB, and {more / 1e3:.2f} MB more for every thousand that there are:"
    each += " the kernel keeps something for every pair of a memory cgroup and a file system"
    return most, f"memory, of which {available / 1e9:.1f} GB were free; {each}"


def _started(found: Many) -> str:
    return f"{found.start_s * 1000:.1f} ms (slowest {found.slowest_start_s * 1000:.0f} ms)"


def _mb(found: Many) -> str:
    return f"{found.memory_bytes / 1e6:.2f} MB"


def _number(name: str, word: int = 0) -> int:
    """A kernel's limit, proc(5)."""
    with open(f"/proc/sys/{name}", encoding="ascii") as file:
        return int(file.read().split()[word])


def _parallel(seconds: float) -> list[str]:
    _said("64 commands at once")
    with Store() as root:
        found = parallel(root, "busybox", 64, seconds)
        with tiffin.Engine(root) as engine:
            left = len(engine.containers(all=True)) + len(engine.check())
    for failure in found.failures[:5]:
        print(failure, file=sys.stderr)
    rate = f"{found.done} runs, the slowest {found.slowest_s:.1f} s"
    return [
        f"| 64 × `run --rm` over and over for {seconds:.0f} s | {rate} | |",
        f"| failures among them, and what was left | {len(found.failures)}, {left} | 0, 0 |",
    ]


def _neighbour(name: str) -> list[str]:
    _said(f"a neighbour of {name}")
    with Store() as root, tiffin.Engine(root) as engine:
        found = neighbour(engine, "busybox", name)
    felt = f"{found.alone_s * 1000:.1f} ms alone, {found.beside_s * 1000:.1f} ms beside"
    return [f"| {name} in {found.greedy_s:.1f} s: an `exec` in a neighbour | {felt} | answered |"]


def _killed(rounds: int) -> list[str]:
    _said(f"{rounds} kills")
    root = tempfile.mkdtemp(prefix="tiffin-kill-", dir="/var/tmp")
    begun = time.perf_counter()
    tallies, problems = kill(root, busybox_tar(), rounds, seed=int(begun * 1000) % 2**31)
    seconds = time.perf_counter() - begun
    for problem in problems:
        print(problem, file=sys.stderr)
    shutil.rmtree(root)
    amid = sum(count for what, count in tallies.items() if not what.endswith("(was done)"))
    what = f"{tallies.total():,} kills in {seconds:.0f} s, {amid} amid the work, {tallies['monitor']} of them monitors"
    return [f"| killer loop: {what}; problems at the end | {len(problems)} | 0 |"]


if __name__ == "__main__":
    sys.exit(main())
