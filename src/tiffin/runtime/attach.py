"""The attach protocol: frames between a container's monitor and whoever watches or feeds it.

A frame is [type u8][0 0 0][length u32 big-endian] and its payload. From the monitor: 1 stdout, 2 stderr (with a
terminal all is 1), 3 the exit code in ASCII. To the monitor: 0 stdin, 4 resize (u16 rows, u16 columns, big-endian),
5 close stdin, 6 "I clean up" (only from whoever started the container).
"""

from __future__ import annotations

import os
import select
import struct

from tiffin.errors import ConflictError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

STDIN, STDOUT, STDERR, EXIT, RESIZE, CLOSE_STDIN, CLEANS_UP = 0, 1, 2, 3, 4, 5, 6
MAX_PAYLOAD = 32 << 10
READ_BYTES = 128 << 10


class Attachment:
    """A connection to a container's output and input. Use as a context manager, or `close()` it.

    Closing it detaches; the container runs on. Nothing that is sent ever waits: what the monitor does not take yet is
    queued, and goes out while `read_frame` waits or when `flush` is called. Feed more only while nothing is `pending`.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        for fd in {read_fd, write_fd}:
            os.set_blocking(fd, False)
        self._buffer = b""
        self._position = 0
        self._outgoing = bytearray()
        self._gone = False
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in {self._read_fd, self._write_fd} - {-1}:
            os.close(fd)
        self._read_fd = self._write_fd = -1

    def fileno(self) -> int:
        """Readable when `read_frame` has something to read."""
        return self._read_fd

    def write_fileno(self) -> int:
        """Writable when `flush` can send some of what is pending."""
        return self._write_fd

    @property
    def pending(self) -> int:
        """Bytes queued because the container does not read them yet."""
        return len(self._outgoing)

    def buffered(self) -> bool:
        """Whether a whole frame can be had without waiting."""
        have = len(self._buffer) - self._position
        if have < 8:
            return False
        return have >= 8 + int.from_bytes(self._buffer[self._position + 4 : self._position + 8], "big")

    def read_frame(self) -> tuple[int, bytes] | None:
        """The next (type, payload); None when the monitor has closed the connection. Waits for it."""
        while (frame := self.try_read_frame()) is None and not self.ended:
            self._wait()
        return frame

    def try_read_frame(self) -> tuple[int, bytes] | None:
        """The next (type, payload) if it is here; None when it is not yet, or never (`ended` tells)."""
        while not self.buffered():
            try:
                data = os.read(self._read_fd, READ_BYTES)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended = True
                return None
            self._buffer = self._buffer[self._position :] + data
            self._position = 0
        start = self._position + 8
        end = start + int.from_bytes(self._buffer[start - 4 : start], "big")
        kind = self._buffer[self._position]
        self._position = end
        return kind, self._buffer[start:end]

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        if self._outgoing:
            poll.register(self._write_fd, select.POLLOUT | (select.POLLIN if self._write_fd == self._read_fd else 0))
        poll.poll()
        self.flush()

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """All frames until the connection ends."""
        while (frame := self.read_frame()) is not None:
            yield frame

    def send(self, kind: int, payload: bytes = b"") -> bool:
        """Queue one frame and send what goes. False when the monitor is gone."""
        self._outgoing += struct.pack(">B3xI", kind, len(payload)) + payload
        return self.flush()

    def flush(self) -> bool:
        """Send what the monitor takes now. False when it is gone."""
        while self._outgoing and not self._gone:
            try:
                written = os.write(self._write_fd, self._outgoing)
            except BlockingIOError:
                return True
            except (BrokenPipeError, ConnectionResetError):
                self._gone = True
                break
            del self._outgoing[:written]
        if self._gone:
            self._outgoing.clear()
        return not self._gone

    def send_stdin(self, data: bytes) -> bool:
        """Give the container input, in frames that the monitor takes whole."""
        return all(self.send(STDIN, data[at : at + MAX_PAYLOAD]) for at in range(0, len(data), MAX_PAYLOAD))

    def close_stdin(self) -> bool:
        """End the container's input."""
        return self.send(CLOSE_STDIN)

    def resize(self, rows: int, columns: int) -> bool:
        """Tell a container with a terminal its new size."""
        return self.send(RESIZE, struct.pack(">HH", rows, columns))

    def acknowledge(self) -> bool:
        """Promise to do what the end asks for; the monitor then leaves it to us."""
        return self.send(CLEANS_UP)


def connect(run_dir: str) -> Attachment:
    """Attach to a running container. ConflictError when it does not run."""
    import socket

    directory = -1
    try:
        directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with connection:
            # Through the descriptor, since a socket's address has only 108 bytes (unix(7)).
            connection.connect(f"/proc/self/fd/{directory}/attach.sock")
            fd = connection.detach()
        return Attachment(fd, fd)
    except OSError as error:
        raise ConflictError("the container is not running", hint="`tiffin start` starts it") from error
    finally:
        if directory >= 0:
            os.close(directory)
