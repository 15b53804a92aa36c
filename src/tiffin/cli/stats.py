"""`stats`."""

from __future__ import annotations

import os
import sys
import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb
from tiffin.cli.units import binary_size, size
from tiffin.errors import ConflictError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import Container
    from tiffin.model.stats import Stats

_HEADINGS = {
    "BlockIO": "BLOCK I/O",
    "CPUPerc": "CPU %",
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "MemPerc": "MEM %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MergeProfit": "MERGE PROFIT",
    "MergedBytes": "MERGED",
    "MergedPages": "MERGED PAGES",
    "Name": "NAME",
    "NetIO": "NET I/O",
    "PIDs": "PIDS",
}
_COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]
_INTERVAL_S = 1.0
_FIRST_INTERVAL_S = 0.5
_HOME, _CLEAR_LINE, _CLEAR_BELOW, _CLEAR = "\033[H", "\033[K", "\033[J", "\033[2J"


class Row(Fields):
    type_name = "container stats"
    merges = False
    """Whether the kernel was asked to merge its memory."""


class _Watch:
    """The containers that are shown, and what each had used when it was last looked at."""

    def __init__(self, context: Context, parsed: Parsed) -> None:
        self._engine = context.engine
        self._full = parsed.flag("no-trunc")
        self._all = parsed.flag("all")
        self._asked = [(word, self._engine.container(word).container) for word in parsed.arguments]
        self._before: dict[str, Stats] = {}

    def look(self) -> list[Row]:
        """A row for each; how busy a processor was is counted since the last look."""
        return [row for word, container in self._shown() if (row := self._row(word, container)) is not None]

    def _shown(self) -> list[tuple[str, Container]]:
        if self._asked:
            return self._asked
        return [(info.container.id, info.container) for info in self._engine.containers(all=self._all)]

    def _row(self, word: str, container: Container) -> Row | None:
        try:
            now = self._engine.stats(container.id)
        except NotFoundError:
            return None
        except ConflictError:
            return self._idle(word, container) if self._asked or self._all else None
        before = self._before.get(container.id)
        self._before[container.id] = now
        share = 100 * now.memory_bytes / now.memory_limit_bytes if now.memory_limit_bytes else 0.0
        return self._filled(
            word,
            container,
            now.memory_merge,
            BlockIO=f"{size(now.block_read_bytes)} / {size(now.block_written_bytes)}",
            CPUPerc=f"{_cpu_percent(before, now):.2f}%",
            MemPerc=f"{share:.2f}%",
            MemUsage=f"{binary_size(now.memory_bytes)} / {binary_size(now.memory_limit_bytes)}",
            MergeProfit=_signed_size(now.merge_profit_bytes),
            MergedBytes=binary_size(now.merged_bytes),
            MergedPages=str(now.merged_pages),
            NetIO=f"{size(now.network_received_bytes)} / {size(now.network_sent_bytes)}",
            PIDs=str(now.pids),
        )

    def _idle(self, word: str, container: Container) -> Row:
        """As Docker shows one that does not run."""
        figures = {"BlockIO": "0B / 0B", "CPUPerc": "0.00%", "MemPerc": "0.00%", "MemUsage": "0B / 0B"}
        merged = {"MergeProfit": "0B", "MergedBytes": "0B", "MergedPages": "0"}
        merges = bool(container.config.resources.memory_merge)
        return self._filled(word, container, merges, **figures, **merged, NetIO="0B / 0B", PIDs="0")

    def _filled(self, word: str, container: Container, merges: bool, **figures: str) -> Row:
        shown = container.id if self._full else container.id[:12]
        row = Row({"Container": word, "ID": shown, "Name": container.name, **figures})
        row.merges = merges
        return row


def _signed_size(number: int) -> str:
    return f"-{binary_size(-number)}" if number < 0 else binary_size(number)


def _cpu_percent(before: Stats | None, now: Stats) -> float:
    """100 is one processor for all of the time, as with Docker."""
    if before is None or now.time_ns <= before.time_ns:
        return 0.0
    return max(0.0, 100 * (now.cpu_usage_ns - before.cpu_usage_ns) / (now.time_ns - before.time_ns))


def _stats(context: Context, parsed: Parsed) -> int:
    format = parsed.text("format")
    watch = _Watch(context, parsed)
    watch.look()
    time.sleep(_FIRST_INTERVAL_S)
    if parsed.flag("no-stream"):
        _show(format, watch.look())
        return 0
    redraw = os.isatty(1)
    if redraw:
        sys.stdout.write(_CLEAR)
    while True:
        rows = watch.look()
        if redraw:
            _redrawn(lambda rows=rows: _show(format, rows))  # type: ignore[misc]
        else:
            _show(format, rows)
        sys.stdout.flush()
        time.sleep(_INTERVAL_S)


def _show(format: str | None, rows: list[Row]) -> None:
    columns = [*_COLUMNS, "MergedBytes"] if any(row.merges for row in rows) else _COLUMNS
    listing.show(format, rows, _HEADINGS, columns)


def _redrawn(show: Callable[[], None]) -> None:
    """From the top of the screen, each line over the one that was there: nothing flickers."""
    import io
    from contextlib import redirect_stdout

    text = io.StringIO()
    with redirect_stdout(text):
        show()
    lines = "".join(f"{line}{_CLEAR_LINE}\n" for line in text.getvalue().splitlines())
    sys.stdout.write(f"{_HOME}{lines}{_CLEAR_BELOW}")


STATS = Verb(
    name="stats",
    summary="Show what running containers use of processors, memory, network and disks",
    run=_stats,
    arguments="[CONTAINER...]",
    maximum=None,
    options=(
        Option(name="all", short="a", kind="bool", help="Also those that do not run"),
        listing.FORMAT,
        Option(name="no-stream", kind="bool", help="Show it once"),
        listing.NO_TRUNC,
    ),
    description=(
        "Once a second until it is interrupted. 100% is one processor for all of the time; memory is counted without "
        "the file cache that the kernel can drop at once. MERGED, shown where a container has --memory-merge, is how "
        "much of its memory shares its place with equal memory."
    ),
    examples=(
        ("tiffin stats --no-stream", "once"),
        ("tiffin stats --format '{{.Name}}: {{.CPUPerc}}' web db", "two figures of two containers"),
        ("tiffin stats --format '{{.Name}}: {{.MergedPages}} {{.MergeProfit}}'", "what --memory-merge has come to"),
    ),
)
