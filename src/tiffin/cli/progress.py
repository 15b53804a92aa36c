"""How far a long command is: one line on a terminal's standard error, from its second second on, wiped at the end."""

from __future__ import annotations

import os
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Self

PATIENCE_S = 1.0
EVERY_S = 0.2
_BAR_COLUMNS = 20
_WIPE = "\r\x1b[K"


class Progress:
    """`with Progress("Loading", total_bytes=size) as progress: work(progress=progress.callback)`.

    The callback takes the number of bytes done so far and only keeps it: a thread draws, also when nothing moves.
    It is None when nobody would see anything: no terminal, or `quiet`.
    """

    def __init__(self, doing: str, *, total_bytes: int | None = None, quiet: bool = False) -> None:
        self._doing = doing
        self._total = total_bytes
        self._done = 0
        self._text = ""
        self._started = time.monotonic()
        self._drawn = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.visible = not quiet and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
        self.callback: Callable[[int], None] | None = self._advance if self.visible else None

    def __enter__(self) -> Self:
        if self.visible:
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def wipe(self) -> None:
        """The line goes, for good: somebody else writes to the terminal from now on."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    def say(self, text: str) -> None:
        """Show a word on what is done just now, instead of bytes."""
        self._text = text

    def _advance(self, done_bytes: int) -> None:
        self._done = done_bytes

    def _draw(self) -> None:
        wait_s = PATIENCE_S
        while not self._ended.wait(wait_s):
            wait_s = EVERY_S
            self._drawn = True
            self._write(_WIPE + self.line(time.monotonic() - self._started)[: _columns() - 1])
        if self._drawn:
            self._write(_WIPE)

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            pass  # the terminal is gone: there is nobody to tell

    def line(self, elapsed_s: float) -> str:
        """What is shown after `elapsed_s`: a bar and the time that is left where the size is known."""
        from tiffin.cli.units import size

        if self._text:
            return f"{self._doing}: {duration(elapsed_s)}  {self._text}"
        if not self._done:
            return f"{self._doing}: {duration(elapsed_s)}"
        rate = self._done / elapsed_s
        shown = f"{size(self._done)}, {size(int(rate))}/s"
        if not self._total or self._done > self._total:
            return f"{self._doing}: {shown}, {duration(elapsed_s)}"
        full = _BAR_COLUMNS * self._done // self._total
        bar = "█" * full + "░" * (_BAR_COLUMNS - full)
        left = duration((self._total - self._done) / rate)
        return f"{self._doing}: {bar} {100 * self._done // self._total:3}%  {shown} of {size(self._total)}, {left} left"


class Counted:
    """A stream that tells how many bytes went into it."""

    def __init__(self, out: IO[bytes], callback: Callable[[int], None]) -> None:
        self._out, self._callback, self._count = out, callback, 0

    def write(self, data: bytes) -> int:
        written = self._out.write(data)
        self._count += written
        self._callback(self._count)
        return written

    def flush(self) -> None:
        self._out.flush()


def counted(out: IO[bytes], progress: Progress) -> IO[bytes]:
    """`out`, counting for `progress` if anybody looks."""
    return out if progress.callback is None else Counted(out, progress.callback)  # type: ignore[return-value]


def size_of(stream: IO[bytes]) -> int | None:
    """How many bytes a regular file has; None for what has no size, such as a pipe."""
    import stat

    found = os.fstat(stream.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def duration(seconds: float) -> str:
    """Such as 7s, 1m05s or 2h07m."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole // 60 % 60:02}m"


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
