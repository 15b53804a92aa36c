"""What users do all day beside `run` and `exec`: look, remove, start again, copy, commit; and many containers."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial

from measure import Series, Spent, interleaved, timed
from peers import IMAGE, CommandPeer
from report import Row, Target, size_row, time_row

LISTED = 100
COPIED_BYTES = 100 << 20
SLOW_ROUNDS = 5
EVENTS = 500
READING = (Target("Docker", 1.0),)
READ_LIMIT_S = 0.060


def measure(engines: Sequence[CommandPeer], work: str, rounds: int) -> list[Row]:
    """The rows of all of it, for engines that have the image `IMAGE`."""
    return [
        *_reading(engines, rounds),
        *_removing(engines, rounds),
        *_starting(engines, rounds),
        *_copying(engines, work),
        *_events(engines),
    ]


def _reading(engines: Sequence[CommandPeer], rounds: int) -> list[Row]:
    """Among 100 stopped containers: made, never started."""
    names = [f"listed{number}" for number in range(LISTED)]
    for engine in engines:
        for name in names:
            engine.ask("create", "--name", name, "--network", "none", IMAGE, "true")
    rows = []
    for what, words in (
        (f"`ps -a` of {LISTED} containers", ("ps", "-a")),
        ("`inspect` of one of them", ("inspect", names[50])),
        ("`images`", ("images",)),
    ):
        series = interleaved({engine.name: partial(engine.time, *words) for engine in engines}, rounds)
        row = time_row(what, series, list(READING))
        missed = series["Tiffin"].median_s > READ_LIMIT_S
        verdict = f"{row.verdict}; ≤ {READ_LIMIT_S * 1000:.0f} ms: {'MISSED' if missed else 'reached'}"
        rows.append(row._replace(verdict=verdict, missed=row.missed or missed))
    for engine in engines:
        engine.ask("rm", *names)
    return rows


def _removing(engines: Sequence[CommandPeer], rounds: int) -> list[Row]:
    def once(engine: CommandPeer) -> Spent:
        engine.ask("run", "--name", "ended", "--network", "none", *engine.run_options, IMAGE, "true")
        return engine.time("rm", "ended")

    series = interleaved({engine.name: partial(once, engine) for engine in engines}, rounds)
    return [time_row("`rm` of an ended container", series, [Target("Docker", 1.0)])]


def _starting(engines: Sequence[CommandPeer], rounds: int) -> list[Row]:
    def once(engine: CommandPeer) -> Spent:
        spent = engine.time("start", "idle")
        engine.ask("kill", "idle")
        engine.ask("wait", "idle")
        return spent

    for engine in engines:
        engine.start_idle("idle")
        engine.ask("kill", "idle")
        engine.ask("wait", "idle")
    series = interleaved({engine.name: partial(once, engine) for engine in engines}, rounds)
    for engine in engines:
        engine.remove("idle")
    return [time_row("`start` of a stopped container", series, [Target("Docker", 1.0)])]


def _copying(engines: Sequence[CommandPeer], work: str) -> list[Row]:
    """A file of 100 MB that cannot be compressed: in, out, and as a commit."""
    path, back = f"{work}/copied", f"{work}/back"
    with open(path, "wb") as file:
        file.writelines(os.urandom(1 << 20) for _ in range(COPIED_BYTES >> 20))
    for engine in engines:
        engine.start_idle("copies")

    def commit(engine: CommandPeer) -> Spent:
        spent = engine.time("commit", "copies", "committed")
        engine.remove_image("committed")
        return spent

    rows = []
    for what, once in (
        ("`cp` of 100 MB into a container", lambda engine: engine.time("cp", path, "copies:/copied")),
        ("`cp` of 100 MB out of it", lambda engine: engine.time("cp", "copies:/copied", back)),
        ("`commit` of 100 MB", commit),
    ):
        series = interleaved({engine.name: partial(once, engine) for engine in engines}, SLOW_ROUNDS)
        rows.append(time_row(what, series, [Target("Docker", 1.0)], unit="s"))
    for engine in engines:
        engine.remove("copies")
    os.unlink(path)
    os.unlink(back)
    return rows


def _events(engines: Sequence[CommandPeer]) -> list[Row]:
    """How long it takes until who follows has read of a container's renames, through the library or the API."""
    series: dict[str, Series] = {}
    for engine in engines:
        if (rename := engine.renamer()) is None:
            continue
        with engine.following() as follower:
            assert follower.stdout is not None
            begun = time.perf_counter()
            for number in range(EVENTS):
                rename(f"renamed{number}")
            for _ in range(EVENTS):
                if b"rename" not in follower.stdout.readline():
                    raise RuntimeError(f"{engine.name} lost an event")
            series[engine.name] = _series((time.perf_counter() - begun) / EVENTS)
        engine.remove(f"renamed{EVENTS - 1}")
    row = time_row(f"an event, of {EVENTS} renames in a row, until it is read", series, [Target("Docker", 1.0)])
    rates = ", ".join(f"{name} {1 / one.median_s:,.0f}/s" for name, one in series.items())
    return [row._replace(what=f"{row.what} ({rates})")]


def many(engines: Sequence[CommandPeer], count: int) -> list[Row]:
    """`count` idle containers of each engine, one engine after the other: time for each, and memory with everything."""
    starts: dict[str, Series] = {}
    removals: dict[str, Series] = {}
    listings: dict[str, Series] = {}
    sizes: dict[str, int] = {}
    for engine in engines:
        print(f"  {count} containers of {engine.name} …", file=sys.stderr, flush=True)
        names = [f"many{number}" for number in range(count)]
        before = _available_bytes()
        begun = time.perf_counter()
        for name in names:
            engine.start_idle(name)
        starts[engine.name] = _series((time.perf_counter() - begun) / count)
        sizes[engine.name] = max(0, (before - _available_bytes()) // count)
        listings[engine.name] = _series(statistics.median(engine.time("ps").seconds for _ in range(3)))
        removals[engine.name] = _series(timed(partial(engine.remove, *names)).seconds)
    docker = [Target("Docker", 1.0)]
    return [
        time_row(f"`run -d`, each of {count}", starts, docker),
        size_row(f"memory of each of {count}, with everything", sizes, 1_000_000),
        time_row(f"`ps` of {count}", listings, docker),
        time_row(f"`rm -f` of {count} at once", removals, docker, unit="s"),
    ]


def _series(seconds: float) -> Series:
    series = Series()
    series.spent.append(Spent(seconds, 0))
    return series


def _available_bytes() -> int:
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
