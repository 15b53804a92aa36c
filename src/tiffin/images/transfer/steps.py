"""What a transfer tells while it runs; the words are Docker's, since people and programs know them."""

from __future__ import annotations

import threading
import time

from tiffin.errors import TiffinError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 0.1

WAITING = "Waiting"
PULLING = "Pulling fs layer"
DOWNLOADING = "Downloading"
PULLED = "Pull complete"
HERE_ALREADY = "Already exists"
PREPARING = "Preparing"
PUSHING = "Pushing"
PUSHED = "Pushed"
THERE_ALREADY = "Layer already exists"
MOUNTED = "Mounted from"
COPYING = "Copying"
COPIED = "Copied"
FINAL = (PULLED, HERE_ALREADY, PUSHED, THERE_ALREADY, COPIED)


class Step(Record):
    """`id` is a layer's short digest or a tag, "" for what concerns all; `current` of `total` bytes are done, 0 of 0
    where that is not known."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


class Teller:
    """Hands steps to `progress` from any thread, one at a time."""

    def __init__(self, progress: Callable[[Step], None] | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def say(self, status: str, id: str = "", current: int = 0, total: int = 0) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(Step(status=status, id=id, current=current, total=total))

    def counter(self, status: str, id: str, total: int) -> Callable[[int], None] | None:
        """A function to be given the bytes done so far; it tells ten times a second at most. None: nobody listens."""
        if self._progress is None:
            return None
        next_s = 0.0

        def count(done: int) -> None:
            nonlocal next_s
            now = time.monotonic()
            if now >= next_s:
                next_s = now + EVERY_S
                self.say(status, id, done, total)

        return count


def short(digest: str) -> str:
    """The twelve hex digits that stand for a digest."""
    return digest.partition(":")[2][:12]


class Stopped(TiffinError):
    """Another layer has failed; nobody sees this."""

    def __init__(self) -> None:
        super().__init__("the transfer was given up")
