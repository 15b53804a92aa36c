"""The user's terminal: raw mode, size, detach keys, and signals as something to poll."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse_detach_keys(text: str) -> bytes:
    """The bytes of a sequence such as "ctrl-p,ctrl-q" or "a,b"; "" is the default sequence. ValueError."""
    keys = bytearray()
    for word in (text or DEFAULT_DETACH_KEYS).split(","):
        if len(word) == 1 and word.isascii():
            keys.append(ord(word))
        elif word.lower().startswith("ctrl-") and len(word) == 6 and word[5].lower() in _CONTROL:
            keys.append(_CONTROL.index(word[5].lower()))
        else:
            raise ValueError(f"unknown key '{word}'; a key is one character, or ctrl- and one of a-z @ [ \\ ] ^ _")
    return bytes(keys)


class DetachKeys:
    """Finds the detach sequence in what is typed, also when it comes in pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence is complete. A beginning of it is held back until it is clear."""
        data = self._held + typed
        found = data.find(self._keys)
        if found >= 0:
            self._held = b""
            return data[:found], True
        hold = next((n for n in range(min(len(self._keys) - 1, len(data)), 0, -1) if data.endswith(self._keys[:n])), 0)
        self._held = data[len(data) - hold :]
        return data[: len(data) - hold], False


def window_size(*fds: int) -> tuple[int, int] | None:
    """Rows and columns of the first of `fds` that is a terminal with a size."""
    for fd in fds:
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return None


class RawMode:
    """Keys go through as they are typed, and none makes a signal; the former mode comes back at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        import termios as t

        self._before = t.tcgetattr(self._fd)
        iflag, oflag, cflag, lflag, ispeed, ospeed, cc = t.tcgetattr(self._fd)
        iflag &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
        oflag &= ~t.OPOST
        lflag &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
        cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
        cc[t.VMIN], cc[t.VTIME] = 1, 0
        t.tcsetattr(self._fd, t.TCSADRAIN, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self._before is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            except termios.error:
                return  # the terminal is gone, and its mode with it


class Signals:
    """While inside, `signals` interrupt nothing; they wait to be read from `fileno()`.

    Handlers that called the engine would run in the middle of whatever it does, and of half-sent frames.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = tuple(signals)
        self._handlers: dict[int, Any] = {}
        self._read = self._write = -1
        self._former = -1

    def __enter__(self) -> Self:
        import signal

        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in self._signals:
            self._handlers[number] = signal.signal(number, _leave_to_the_pipe)
        return self

    def __exit__(self, *_: object) -> None:
        import signal

        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._former)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def read(self) -> list[int]:
        """The numbers of the signals that came, oldest first."""
        try:
            return [number for number in os.read(self._read, 512) if number in self._signals]
        except BlockingIOError:
            return []


def _leave_to_the_pipe(number: int, frame: object) -> None:
    pass
