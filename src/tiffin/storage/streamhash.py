"""SHA-256 of a stream, computed by a second thread while the first one works on the content."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_QUEUED_CHUNKS = 16


class StreamHash:
    """`update` hands a chunk over; `digest` waits for the last. `close` ends the thread, at the latest.

    hashlib releases the interpreter lock for large chunks, so that this costs the caller almost nothing on a machine
    with two cores.
    """

    def __init__(self) -> None:
        from hashlib import sha256
        from queue import Queue
        from threading import Thread

        self._hash = sha256()
        self._queue: Queue[Any] = Queue(_QUEUED_CHUNKS)
        self._thread = Thread(target=self._work, name="tiffin-hash", daemon=True)
        self._thread.start()
        self.size = 0

    def _work(self) -> None:
        update = self._hash.update
        get = self._queue.get
        while (chunk := get()) is not None:
            update(chunk)

    def update(self, chunk: bytes) -> None:
        """Add `chunk`, which must not change afterwards."""
        self.size += len(chunk)
        self._queue.put(chunk)

    def digest(self) -> bytes:
        """The 32 bytes; ends the thread."""
        self.close()
        return self._hash.digest()

    def close(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
