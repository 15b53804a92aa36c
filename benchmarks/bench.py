"""Measures Tiffin beside docker.io, podman, crun and bubblewrap, those that are installed, in one run.

Run as root. Everything that is started is stopped again, and works in a directory of its own.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import arena
import lifecycle
import registry
import sharing
import tiffin
from archives import LOADED, debian_tar, docker_archive
from measure import Spent, interleaved, pss_bytes, timed
from peers import IMAGE, Bundle, CommandPeer, Docker, Podman, Tiffin, output
from report import Row, Target, host, size_row, table, time_row, write_between_markers
from tiffin import Engine

STORE_ROUNDS = 3
IDLE_CONTAINERS = 10
MANY, THOUSAND = 200, 1000
LONG = ("thousand", "sharing")  # a quarter of an hour with every peer, gigabytes: only when asked for by name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="rounds of the quick measurements (default 21)")
    parser.add_argument("--only", default="", help="comma-separated parts: store, run, lifecycle, thousand, …")
    parser.add_argument("--write", metavar="PAGE", help="also put the table between the markers of this page")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    # As in every installed package: an editable one is else compiled anew by each command where Python may not write.
    compileall.compile_dir(os.path.dirname(tiffin.__file__), quiet=1)
    tar, work = debian_tar(), tempfile.mkdtemp(prefix="tiffin-bench-", dir="/var/tmp")
    os.chmod(work, 0o711)
    archive = docker_archive(tar)
    arena.enter(work)
    cgroups = arena.peer_cgroups()
    contest = Contest(work, tar, archive, options.rounds)
    try:
        rows = contest.measure(set(filter(None, options.only.split(","))))
        text = host(contest.versions(), options.rounds) + "\n\n" + table(rows)
    finally:
        contest.close()
        arena.remove_cgroups(cgroups)
        arena.remove_tree(work)
    print(text)
    if options.write:
        write_between_markers(options.write, text)
    return 1 if options.strict and any(row.missed for row in rows) else 0


class Contest:
    """All contenders and what is measured of them."""

    def __init__(self, work: str, tar: str, archive: str, rounds: int) -> None:
        self.work, self.tar, self.archive, self.rounds = work, tar, archive, rounds
        command = os.path.join(os.path.dirname(sys.executable), "tiffin")
        self.tiffin = Tiffin(work, command)
        self.engines: list[CommandPeer] = [self.tiffin]
        if shutil.which("dockerd") and shutil.which("docker"):
            self.engines.append(Docker(work))
        if shutil.which("podman"):
            self.engines.append(Podman(work))

    def versions(self) -> list[str]:
        said = [engine.version().partition(", build")[0] for engine in self.engines]
        said += [output([name, "--version"]).splitlines()[0] for name in ("crun", "bwrap") if shutil.which(name)]
        return said

    def measure(self, only: set[str]) -> list[Row]:
        parts: dict[str, Callable[[], list[Row]]] = {
            "store": self._store,
            "run": self._run,
            "library": self._library,
            "exec": self._exec,
            "memory": self._memory,
            "registry": lambda: registry.measure(self.engines, self.work),
            "lifecycle": lambda: lifecycle.measure(self.engines, self.work, self.rounds),
            "many": lambda: lifecycle.many(self.engines, MANY),
            "thousand": lambda: lifecycle.many(self.engines, THOUSAND),
            "sharing": lambda: sharing.measure(self.engines, self.tar),
        }
        if unknown := only - set(parts):
            raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
        rows: list[Row] = []
        for name, part in parts.items():
            if name == "run":  # the store's own measurements need one without this image
                for engine in self.engines:
                    engine.import_tar(self.tar, IMAGE)
            if name in only or (not only and name not in LONG):
                print(f"measuring: {name} …", file=sys.stderr, flush=True)
                rows += part()
        return rows

    def _store(self) -> list[Row]:
        rows = []
        for what, image, action in (
            ("`import` of a Debian tar", "imported", lambda engine: engine.import_tar(self.tar, "imported")),
            ("`load` of the same as an archive", LOADED, lambda engine: engine.load_archive(self.archive)),
        ):
            series = interleaved(
                {engine.name: _and_remove(engine, image, action) for engine in self.engines}, STORE_ROUNDS
            )
            size = os.path.getsize(self.tar) / 1e6
            rows.append(time_row(f"{what}, {size:.0f} MB", series, [Target("Docker", 1.0)], unit="s"))
            # Docker's command only sends: what its daemon and the children of that take cannot be told apart.
            peaks = {
                engine.name: series[engine.name].peak_bytes for engine in self.engines if not engine.works_in_a_daemon
            }
            rows.append(size_row("peak memory of that", peaks, 100_000_000))
        return rows

    def _run(self) -> list[Row]:
        series = interleaved({engine.name: engine.run for engine in self.engines}, self.rounds)
        return [time_row("`run --rm IMAGE true`", series, [Target("Podman", 0.5), Target("Docker", 0.3)])]

    def _library(self) -> list[Row]:
        with Engine(self.tiffin.root) as engine:
            contenders: dict[str, Callable[[], Spent]] = {"Tiffin": lambda: _run_in_library(engine)}
            bundle = Bundle(self.work, self.tar)
            if shutil.which("crun"):
                bundle.write_config()
                contenders["crun"] = bundle.crun
            if shutil.which("bwrap"):
                contenders["bubblewrap"] = bundle.bubblewrap
            series = interleaved(contenders, self.rounds)
        return [time_row("start to exit, from a warm process", series, [Target("crun", 2.0)])]

    def _exec(self) -> list[Row]:
        for engine in self.engines:
            engine.start_idle("idle")
        series = interleaved({engine.name: _exec_in_idle(engine) for engine in self.engines}, self.rounds)
        for engine in self.engines:
            engine.remove("idle")
        return [time_row("`exec IDLE true`", series, [Target("Docker", 0.6)])]

    def _memory(self) -> list[Row]:
        """Of one container alone, and of each of several, which share the pages of the monitor's program."""
        rows = []
        for count, what in ((1, "one idle container"), (IDLE_CONTAINERS, f"each of {IDLE_CONTAINERS} idle containers")):
            sizes = {engine.name: _monitor_pss(engine, count) for engine in self.engines}
            rows.append(size_row(f"memory (PSS) of the monitor of {what}", sizes, 300_000))
        return rows

    def close(self) -> None:
        for engine in self.engines:
            engine.close()


def _and_remove(engine: CommandPeer, image: str, action: Callable[[CommandPeer], Spent]) -> Callable[[], Spent]:
    def once() -> Spent:
        spent = action(engine)
        engine.remove_image(image)
        return spent

    return once


def _exec_in_idle(engine: CommandPeer) -> Callable[[], Spent]:
    return lambda: engine.exec("idle")


def _monitor_pss(engine: CommandPeer, count: int) -> int:
    names = [f"idle{number}" for number in range(count)]
    monitors = [engine.monitors(container) for container in [engine.start_idle(name) for name in names]]
    if not all(monitors):
        raise RuntimeError(f"the monitors of {engine.name} were not found")
    sizes = [sum(pss_bytes(pid) for pid in pids) for pids in monitors]
    for name in names:
        engine.remove(name)
    return int(statistics.median(sizes))


def _run_in_library(engine: Engine) -> Spent:
    result: list[Any] = []
    spent = timed(lambda: result.append(engine.run(IMAGE, ["true"])))
    if result[0].exit_code != 0:
        raise RuntimeError(f"true ended with {result[0].exit_code}")
    return spent


if __name__ == "__main__":
    sys.exit(main())
