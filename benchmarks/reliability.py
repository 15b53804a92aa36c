"""Load and kill at full size, with the loops that the tests run in small: `make reliability`.

Run as root. Works in a directory of its own, which is gone at the end.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))

import tiffin
from harness.images import busybox_tar
from harness.killer import kill
from harness.load import GREEDY, many, neighbour, parallel
from report import processor, write_between_markers

BEGIN = "<!-- figures: written by `make reliability WRITE=1` -->"
END = "<!-- end of figures -->"
MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="200,1000", help="how many containers at once (default 200,1000)")
    parser.add_argument("--kills", type=int, default=1000, help="rounds of the killer loop (default 1000)")
    parser.add_argument("--seconds", type=float, default=60, help="of 64 commands at once (default 60)")
    parser.add_argument("--write", metavar="PAGE", help="also put the table between the markers of this page")
    options = parser.parse_args()
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
    each = f"{found.start_s * 1000:.1f} ms (slowest {found.slowest_start_s * 1000:.0f} ms)"
    return [
        f"| {count:,} containers at once: create and start, each, through the library | {each} | ≤ 30 ms |",
        f"| memory of each with everything counted | {found.memory_bytes / 1e6:.2f} MB | ≤ 1 MB |",
        f"| `ps` then | {found.ps_s * 1000:.0f} ms | ≤ 300 ms |",
        f"| `exec` in one of them then, through the library | {found.exec_s * 1000:.1f} ms | |",
        f"| removing all of them, one after the other | {found.remove_s:.1f} s | ≤ 20 s |",
        f"| left afterwards | {left} | 0 |",
    ]


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
