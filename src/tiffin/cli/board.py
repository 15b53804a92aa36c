"""What a pull or push tells: lines, JSON, or on a terminal a line per layer that is kept up to date."""

from __future__ import annotations

import os
import sys
import threading
import time

from tiffin.images.transfer import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Self

    from tiffin.images.transfer.steps import Step

EVERY_S = 0.1
_MOVING = (steps.DOWNLOADING, steps.PUSHING, steps.COPYING)
_UNFINISHED = (steps.PULLING, steps.PREPARING, steps.WAITING, *_MOVING)
_BAR_COLUMNS = (10, 50)


class Lines:
    """A line for each step but the moving ones."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, step: Step) -> None:
        if step.status not in _MOVING:
            self._out.write(f"{step.id}: {step.status}\n" if step.id else f"{step.status}\n")
            self._out.flush()


class Json:
    """A JSON object a line, as Docker's API has them."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, step: Step) -> None:
        message: dict[str, object] = {"status": step.status}
        if step.total:
            message["progressDetail"] = {"current": step.current, "total": step.total}
        if step.id:
            message["id"] = step.id
        self.tell(message)

    def tell(self, message: dict[str, object]) -> None:
        from json import dumps

        self._out.write(dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._out.flush()


class Board:
    """A line per layer, redrawn in place ten times a second; other steps are lines above and below.

    No more lines than the terminal has are redrawn: when an image has more layers, finished ones are counted instead.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._layers: dict[str, Step] = {}
        self._drawn = 0
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._settle()

    def show(self, step: Step) -> None:
        with self._lock:
            if step.id and (step.id in self._layers or step.status in _UNFINISHED or step.status in steps.FINAL):
                known = step.id in self._layers and step.status in _MOVING
                self._layers[step.id] = step
                now = time.monotonic()
                if not known or now - self._drawn_s >= EVERY_S:
                    self._drawn_s = now
                    self._draw(self._rows())
                return
            self._settle()
            self._out.write(f"{step.id}: {step.status}\n" if step.id else f"{step.status}\n")
            self._out.flush()

    def _settle(self) -> None:
        """The layers' lines stay as they are from now on."""
        if self._layers:
            self._draw([self._row(step, _size(self._out)[0]) for step in self._layers.values()])
        self._layers.clear()
        self._drawn = 0

    def _rows(self) -> list[str]:
        columns, lines = _size(self._out)
        room = max(1, lines - 2)
        layers = list(self._layers.values())
        if len(layers) <= room:
            return [self._row(step, columns) for step in layers]
        done = sum(step.status not in _UNFINISHED for step in layers)
        moving = [step for step in layers if step.status in _MOVING] or [
            step for step in layers if step.status in _UNFINISHED
        ]
        rows = [self._row(step, columns) for step in moving[: room - 1]]
        return [*rows, f"{done} of {len(layers)} layers are done"[: columns - 1]]

    @staticmethod
    def _row(step: Step, columns: int) -> str:
        from tiffin.cli.units import size

        text = f"{step.id}: {step.status}"
        if step.status in _MOVING and step.total:
            figures = f"{size(step.current)}/{size(step.total)}"
            room = min(_BAR_COLUMNS[1], columns - len(text) - len(figures) - 5)
            if room >= _BAR_COLUMNS[0]:
                full = min(room, room * step.current // step.total)
                arrow = "=" * full + (">" if full < room else "")
                figures = f"[{arrow:<{room}}] {figures}"
            text = f"{text} {figures}"
        return text[: columns - 1]

    def _draw(self, rows: list[str]) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # Rows that are not needed any more are wiped, and the cursor ends below the last one that is.
        text = up + "".join(f"\r{row}\x1b[K\n" for row in rows) + "\x1b[J"
        self._drawn = len(rows)
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            pass  # the terminal is gone: there is nobody to tell


def presenter(out: IO[str] | None = None) -> Lines | Board:
    """What suits the stream, by default standard output."""
    stream = out or sys.stdout
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Board(stream)
    return Lines(stream)


def _size(out: IO[str]) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(out.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, lines or 24
