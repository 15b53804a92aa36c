"""Carries bytes between this process's stdio and a container's, until it ends or the user detaches."""

from __future__ import annotations

import os
import select

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from tiffin.cli.terminal import DetachKeys, Signals

    class Channel(Protocol):
        """What `tiffin.runtime.attach.Attachment` and `TerminalChannel` have in common."""

        def fileno(self) -> int: ...
        def write_fileno(self) -> int: ...
        @property
        def pending(self) -> int: ...
        def buffered(self) -> bool: ...
        def read_frame(self) -> tuple[int, bytes] | None: ...
        def send_stdin(self, data: bytes) -> bool: ...
        def close_stdin(self) -> bool: ...
        def flush(self) -> bool: ...
        def resize(self, rows: int, columns: int) -> bool: ...


_STDOUT, _STDERR, _EXIT = 1, 2, 3
_CHUNK = 32 << 10
# What the kernel may hold of a terminal's output when its program has ended, and how long it may take to show it.
_LAST_BYTES = 128 << 10
_LAST_S = 0.2


class Outcome(Record):
    """How a relay ended: with the container's `exit_code`, by the user leaving, by a gone reader, or cut off.

    Who leaves by a signal has 128 and its number as `exit_code`; by the detach keys, none.
    """

    exit_code: int | None = None
    detached: bool = False
    reader_gone: bool = False


class Relay:
    """One attachment's traffic. `stdin`, `stdout`, `stderr` are descriptors, or None for what is not attached."""

    def __init__(
        self,
        channel: Channel,
        *,
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        detach_keys: DetachKeys | None,
        signals: Signals,
        on_signal: Callable[[int], bool],
    ) -> None:
        self._channel = channel
        self._stdin = stdin
        self._outputs = {_STDOUT: stdout, _STDERR: stderr}
        self._detach_keys = detach_keys
        self._signals = signals
        self._on_signal = on_signal
        self._outcome: Outcome | None = None

    def run(self) -> Outcome:
        """Relay until there is an outcome."""
        while self._outcome is None:
            if self._channel.buffered():
                self._receive()
                continue
            self._serve(self._poll())
        return self._outcome

    def _serve(self, ready: dict[int, int]) -> None:
        if self._signals.fileno() in ready:
            self._handle_signals()
        if ready.get(self._channel.write_fileno(), 0) & ~select.POLLIN:
            self._channel.flush()
        if self._outcome is None and ready.get(self._channel.fileno(), 0) & ~select.POLLOUT:
            self._receive()
        if self._outcome is None and self._stdin is not None and self._stdin in ready:
            self._feed()

    def _poll(self) -> dict[int, int]:
        wanted = {self._signals.fileno(): select.POLLIN, self._channel.fileno(): select.POLLIN}
        if self._channel.pending:
            fd = self._channel.write_fileno()
            wanted[fd] = wanted.get(fd, 0) | select.POLLOUT
        elif self._stdin is not None:
            wanted[self._stdin] = select.POLLIN
        poll = select.poll()
        for fd, events in wanted.items():
            poll.register(fd, events)
        return dict(poll.poll())

    def _receive(self) -> None:
        frame = self._channel.read_frame()
        if frame is None:
            self._outcome = Outcome()
            return
        kind, payload = frame
        if kind == _EXIT:
            self._outcome = Outcome(exit_code=int(payload))
        elif (fd := self._outputs.get(kind)) is not None and not write_all(fd, payload):
            self._outcome = Outcome(reader_gone=True)

    def _feed(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # the terminal hung up
        if not data:
            self._stdin = None
            self._channel.close_stdin()
            return
        detached = False
        if self._detach_keys is not None:
            data, detached = self._detach_keys.feed(data)
        if data:
            self._channel.send_stdin(data)
        if detached:
            self._outcome = Outcome(detached=True)

    def _handle_signals(self) -> None:
        from signal import SIGWINCH

        from tiffin.cli.terminal import window_size

        for number in self._signals.read():
            if number == SIGWINCH:
                if size := window_size(0, 1, 2):
                    self._channel.resize(*size)
            elif not self._on_signal(number):
                self._outcome = Outcome(detached=True, exit_code=128 + number)


class TerminalChannel:
    """The master side of a terminal, with the face of an attachment: what it says is all standard output.

    `ended` becomes readable when the terminal's program has ended. What that left behind may have the terminal open for
    long; nobody waits for it.
    """

    def __init__(self, master: int, resize: Callable[[int, int], None], ended: int) -> None:
        self._master = master
        self._resize = resize
        self._ended = ended
        self._outgoing = bytearray()
        self._last_bytes = _LAST_BYTES
        self._last_s = _LAST_S
        os.set_blocking(master, False)
        self._either = select.epoll()
        for fd in (master, ended):
            self._either.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        return self._either.fileno()

    def write_fileno(self) -> int:
        return self._master

    @property
    def pending(self) -> int:
        return len(self._outgoing)

    def buffered(self) -> bool:
        return False

    def read_frame(self) -> tuple[int, bytes] | None:
        """What the terminal shows next; None at its end: its other side is closed (EIO), or open in others only."""
        ended = _ready(self._ended, 0)
        if ended and not self._has_last_words():
            return None
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return _STDOUT, b""
        except OSError:
            return None
        if ended:
            self._last_bytes -= len(data)
        return (_STDOUT, data) if data else None

    def _has_last_words(self) -> bool:
        """Whether there is more that the ended program can have written: the kernel keeps it, but not for long."""
        if self._last_bytes <= 0:
            return False
        if _ready(self._master, 0):
            return True
        from time import monotonic

        began = monotonic()
        late = self._last_s > 0 and _ready(self._master, self._last_s)
        self._last_s -= monotonic() - began
        return late

    def send_stdin(self, data: bytes) -> bool:
        self._outgoing += data
        return self.flush()

    def close_stdin(self) -> bool:
        return self.send_stdin(b"\x04")  # a terminal has no other end of input than its VEOF character

    def flush(self) -> bool:
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._master, self._outgoing)]
        except BlockingIOError:
            return True
        except OSError:
            self._outgoing.clear()
            return False
        return True

    def resize(self, rows: int, columns: int) -> bool:
        self._resize(rows, columns)
        return True


def _ready(fd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def write_all(fd: int, data: bytes) -> bool:
    """Write everything, also to a descriptor that somebody made non-blocking. False when the reader is gone."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except (BrokenPipeError, ConnectionResetError):
            return False
    return True
