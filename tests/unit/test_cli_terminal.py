"""Detach keys, raw mode, signals to poll, and the relay between a terminal and a channel."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
from collections.abc import Iterator

import pytest

from tiffin.cli.relay import Outcome, Relay, TerminalChannel, write_all
from tiffin.cli.terminal import DetachKeys, RawMode, Signals, parse_detach_keys, window_size
from tiffin.runtime.attach import Attachment


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", b"\x10\x11"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-@,ctrl-[,ctrl-\\", b"\x00\x1b\x1c"),
     ("ctrl-A,b", b"\x01b"), ("ctrl-],ctrl-^,ctrl-_", b"\x1d\x1e\x1f")],
)  # fmt: skip
def test_detach_keys(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize(("text", "word"), [("ctrl-pp", "ctrl-pp"), ("ab", "ab"), ("a,,b", ""), ("ctrl-1", "ctrl-1")])
def test_bad_detach_keys(text: str, word: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_detach_keys(text)
    assert str(caught.value) == (f"unknown key '{word}'; a key is one character, or ctrl- and one of a-z @ [ \\ ] ^ _")


@pytest.mark.parametrize(
    ("pieces", "passed", "detached"),
    [
        ([b"ls\n"], b"ls\n", False),
        ([b"\x10\x11"], b"", True),
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10", b"\x10", b"\x11"], b"\x10", True),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10"], b"", False),
    ],
)
def test_finding_detach_keys(pieces: list[bytes], passed: bytes, detached: bool) -> None:
    keys = DetachKeys(b"\x10\x11")
    out, found = b"", False
    for piece in pieces:
        data, found = keys.feed(piece)
        out += data
    assert (out, found) == (passed, detached)


def test_longer_detach_keys_with_a_repeated_beginning() -> None:
    keys = DetachKeys(b"aab")
    assert [keys.feed(bytes([byte])) for byte in b"aaab"] == [(b"", False), (b"", False), (b"a", False), (b"", True)]


def test_raw_mode_comes_and_goes() -> None:
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with RawMode(slave):
            inside = termios.tcgetattr(slave)
            assert not inside[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
            assert not inside[0] & termios.ICRNL
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_window_size_of_the_first_terminal() -> None:
    master, slave = pty.openpty()
    read, write = os.pipe()
    try:
        assert window_size(read, slave) is None
        termios.tcsetwinsize(slave, (40, 100))
        assert window_size(read, slave) == (40, 100)
    finally:
        for fd in (master, slave, read, write):
            os.close(fd)


def test_signals_wait_to_be_read() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Signals([signal.SIGUSR1]) as signals:
        assert signals.read() == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.read() == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before


class Pipes:
    """A relay's surroundings: what the user types and sees, and the monitor's side of the attachment."""

    def __init__(self) -> None:
        self.stdin_read, self.typed = os.pipe()
        self.stdout, self.stdout_write = os.pipe()
        self.stderr, self.stderr_write = os.pipe()
        read, self.to_client = os.pipe()
        self.from_client, write = os.pipe()
        self.attachment = Attachment(read, write)
        self.signalled: list[int] = []

    def frame(self, kind: int, payload: bytes) -> None:
        os.write(self.to_client, bytes([kind, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload)

    def relay(self, *, keys: DetachKeys | None = None, on_signal: bool = True) -> Outcome:
        def note(number: int) -> bool:
            self.signalled.append(number)
            if on_signal:
                self.frame(3, b"0")
            return on_signal

        with Signals([signal.SIGUSR1]) as signals:
            return Relay(
                self.attachment,
                stdin=self.stdin_read,
                stdout=self.stdout_write,
                stderr=self.stderr_write,
                detach_keys=keys,
                signals=signals,
                on_signal=note,
            ).run()

    def close(self) -> None:
        self.attachment.close()
        for fd in (self.stdin_read, self.typed, self.stdout, self.stdout_write, self.stderr, self.stderr_write,
                   self.to_client, self.from_client):  # fmt: skip
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


def test_output_and_exit_code(pipes: Pipes) -> None:
    pipes.frame(1, b"out")
    pipes.frame(2, b"err")
    pipes.frame(3, b"42")
    assert pipes.relay() == Outcome(exit_code=42)
    assert os.read(pipes.stdout, 100) == b"out"
    assert os.read(pipes.stderr, 100) == b"err"


def test_input_and_its_end(pipes: Pipes) -> None:
    os.write(pipes.typed, b"hello")
    os.close(pipes.typed)
    pipes.typed = -1
    os.close(pipes.to_client)  # the monitor goes after what it has been sent
    pipes.to_client = -1
    relay_outcome = pipes.relay()
    assert relay_outcome == Outcome()


def test_detaching(pipes: Pipes) -> None:
    os.write(pipes.typed, b"a\x10\x11b")
    assert pipes.relay(keys=DetachKeys(b"\x10\x11")) == Outcome(detached=True)
    assert os.read(pipes.from_client, 100) == b"\0\0\0\0\0\0\0\x01a"


def test_signals_are_passed_on(pipes: Pipes) -> None:
    def ring(number: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert pipes.relay() == Outcome(exit_code=0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pipes.signalled == [signal.SIGUSR1]


def test_nobody_reads_the_output(pipes: Pipes) -> None:
    os.close(pipes.stdout)
    pipes.stdout = -1
    pipes.frame(1, b"out")
    assert pipes.relay() == Outcome(reader_gone=True)


def test_writing_everything_to_a_full_non_blocking_pipe() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    data = os.urandom(300_000)
    child = os.fork()
    if child == 0:
        os.close(read)
        os._exit(0 if write_all(write, data) else 1)
    os.close(write)
    found = b""
    while piece := os.read(read, 65536):
        found += piece
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert found == data


def test_terminal_channel() -> None:
    master, slave = pty.openpty()
    sizes: list[tuple[int, int]] = []
    ended, ends = os.pipe()
    channel = TerminalChannel(master, lambda rows, columns: sizes.append((rows, columns)), ended)
    try:
        with RawMode(slave):
            assert channel.send_stdin(b"keys")
            assert os.read(slave, 100) == b"keys"
            os.write(slave, b"shown")
            assert channel.read_frame() == (1, b"shown")
            assert channel.read_frame() == (1, b"")
        assert channel.resize(3, 4)
        assert sizes == [(3, 4)]
        os.close(slave)
        slave = -1
        assert channel.read_frame() is None
    finally:
        for fd in (master, slave, ended, ends):
            if fd >= 0:
                os.close(fd)


def test_a_terminal_that_others_keep_open_ends_with_its_program() -> None:
    master, slave = pty.openpty()
    ended, ends = os.pipe()
    channel = TerminalChannel(master, lambda rows, columns: None, ended)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    try:
        with RawMode(slave):
            assert poll.poll(0) == []
            os.write(slave, b"last words")
            os.close(ends)
            ends = -1
            assert channel.read_frame() == (1, b"last words")
            assert poll.poll(0) != [], "whoever relays hears of the end"
            assert channel.read_frame() is None
            # Somebody who goes on writing is not listened to for ever.
            shown = 0
            os.write(slave, b"x" * 2000)
            while (frame := channel.read_frame()) is not None:
                shown += len(frame[1])
                os.write(slave, b"x" * 2000)
            assert 100 << 10 < shown < 200 << 10
    finally:
        for fd in (master, slave, ended, ends):
            if fd >= 0:
                os.close(fd)


def test_a_signal_that_is_not_passed_on_leaves(pipes: Pipes) -> None:
    def ring(number: int, frame: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert pipes.relay(on_signal=False) == Outcome(detached=True, exit_code=128 + signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGALRM, before)
