"""A command in a terminal of its own, typed into and read like a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType
from typing import Self


class Terminal:
    """Runs `argv` as the session leader of a new terminal of `size` (rows, columns)."""

    def __init__(
        self, argv: list[str], *, size: tuple[int, int] = (24, 80), timeout_s: float = 20.0, cwd: str | None = None
    ) -> None:
        self.argv = argv
        self.timeout_s = timeout_s
        self.output = b""
        self._searched = 0
        self._master, slave = pty.openpty()
        self.resize(*size)
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def text(self) -> str:
        """All output so far, line ends as the terminal got them."""
        return self.output.decode("utf-8", "replace")

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self._master, data) :]

    def line(self, text: str) -> None:
        """Type `text` and press return."""
        self.send(text + "\r")

    def expect(self, pattern: str, timeout_s: float | None = None) -> re.Match[str]:
        """Read until `pattern` matches what came since the last match; AssertionError if it never does."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            found = re.search(pattern, self.text[self._searched :])
            if found:
                self._searched += found.end()
                return found
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} did not appear in the output of {self.argv}:\n{self.text}")

    def wait(self, timeout_s: float | None = None) -> int:
        """Read to the end and return the exit code (128+n for a signal)."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while self._read(deadline - time.monotonic()):
            pass
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.argv} did not end:\n{self.text}") from None
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Hang up; whoever does not leave for that within a second is killed."""
        with contextlib.suppress(OSError):
            os.close(self._master)
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, patience_s: float) -> bool:
        """Take what is there; False at the end of the output or of the patience."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, patience_s))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.output += data
        return bool(data)


def _take_terminal() -> None:
    """In the child: make the terminal on its stdin the one that controls its session, with the keys that end things.

    Whoever runs the tests in the background has these signals ignored, which a terminal's first program never has.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
