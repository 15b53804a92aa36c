"""The figures as a Markdown table, each beside its target."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

from measure import Series

BEGIN = "<!-- figures: written by `make bench WRITE=1` -->"
END = "<!-- end of figures -->"


class Target(NamedTuple):
    """What a row must reach: at most `limit` times `peer`'s figure, or at most `limit` bytes (no peer)."""

    peer: str
    limit: float


class Row(NamedTuple):
    """One line: what was measured, the figure of each engine as text, and how Tiffin stands."""

    what: str
    figures: dict[str, str]
    verdict: str
    missed: bool


def time_row(what: str, series: dict[str, Series], targets: list[Target], *, unit: str = "ms") -> Row:
    """A line of times; a target whose peer was not measured is said to be unknown."""
    scale = 1000 if unit == "ms" else 1
    digits = 1 if unit == "ms" else 2
    figures = {name: f"{one.median_s * scale:.{digits}f} {unit}" for name, one in series.items()}
    words, missed = [], False
    for target in targets:
        if target.peer not in series:
            words.append(f"≤ {target.limit:g} × {target.peer}: not measured, it is not installed")
            continue
        ratio = series["Tiffin"].ratio_to(series[target.peer])
        missed |= ratio > target.limit
        mark = "MISSED" if ratio > target.limit else "reached"
        words.append(f"{ratio:.2f} × {target.peer} (≤ {target.limit:g}: {mark})")
    return Row(what, figures, "; ".join(words), missed)


def size_row(what: str, sizes: dict[str, int], limit_bytes: int, unit_bytes: int = 1_000_000) -> Row:
    """A line of sizes in MB with Tiffin's limit."""
    figures = {name: f"{size / unit_bytes:.{2 if size < 10 * unit_bytes else 0}f} MB" for name, size in sizes.items()}
    missed = sizes["Tiffin"] > limit_bytes
    return Row(what, figures, f"≤ {limit_bytes / unit_bytes:g} MB: {'MISSED' if missed else 'reached'}", missed)


def table(rows: list[Row]) -> str:
    """A Markdown table with one column per engine."""
    names = ["Tiffin"]
    for row in rows:
        names += [name for name in row.figures if name not in names]
    lines = [
        "| | " + " | ".join(names) + " | Tiffin's target |",
        "|---|" + "---:|" * len(names) + "---|",
    ]
    for row in rows:
        cells = [row.figures.get(name, "") for name in names]
        lines.append(f"| {row.what} | " + " | ".join(cells) + f" | {row.verdict} |")
    return "\n".join(lines)


def host(versions: list[str], rounds: int) -> str:
    """One paragraph: where and against what."""
    return (
        f"Linux {platform.release()}, {processor()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
        f"{', '.join(versions)}. Medians of {rounds} interleaved rounds (3 for import and load); a ratio is the median "
        "of the ratios within each round. All containers run with `--network none`."
    )


def processor() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def write_between_markers(path: str, text: str, begin_mark: str = BEGIN, end_mark: str = END) -> None:
    """Replace what stands between the two markers in a file."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    before, begin, rest = page.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise RuntimeError(f"{path} has no place for the figures: it needs the lines {begin_mark} and {end_mark}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin_mark}\n\n{text}\n\n{end_mark}{after}")
