"""Writing events: one file of JSON lines that every process of an engine appends to, with no process in charge of it.

A line is `{"Type":…,"Action":…,"ID":…,"Attributes":{…},"timeNano":NNNNNNNNNNNNNNNNNNN}`. It is appended by one
writev(2) or write(2) while its writer holds the file's lock (flock(2)), inside which its time is taken too: after that
of the line before, even when the clock was set back. So the order of lines is the order of times. The time stands at
the end, where the next writer finds it at a known place. `src/launcher/event.c` does the same for the monitors.

A file that has grown beyond `LIMIT_BYTES` becomes `events.1`, in place of the one before, by whoever comes next and
still under its lock; writers that waited for that lock see that its name now means another file, and go there. What
a crash or a full disk cut short has no line end; the next writer sets one before its own line, and readers skip it.

No command fails because its event could not be written.
"""

from __future__ import annotations

import fcntl
import os
import time

from tiffin.plain_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiffin.paths import Paths

LIMIT_BYTES = 4 << 20
LOCK_PATIENCE_S = 5.0
_END = b'"timeNano":%019d}\n'
END_BYTES = len(_END % 0)
_BEFORE_TIME = _END.partition(b"%")[0]
_LOOK_BACK_BYTES = 1 << 16


def write(paths: Paths, type: str, action: str, id: str, attributes: Mapping[str, str]) -> None:
    """Append an event."""
    append(paths.events, head(type, action, id, attributes) + "},")


def head(type: str, action: str, id: str, attributes: Mapping[str, str]) -> str:
    """A line up to its last attribute, where the launcher can go on."""
    return f'{{"Type":"{type}","Action":{dumps(action)},{actor(id, attributes)}'


def actor(id: str, attributes: Mapping[str, str]) -> str:
    """The part of a line that tells whom the event is about."""
    inside = ",".join([f"{dumps(key)}:{dumps(value)}" for key, value in attributes.items()])
    return f'"ID":{dumps(id)},"Attributes":{{{inside}'


def append(path: str, text: str) -> None:
    """Append a line that lacks only its time."""
    try:
        fd = _locked(path)
    except OSError:
        return
    try:
        size = os.fstat(fd).st_size
        before, torn = _last(fd, size) if size else (_last_of_rotated(path), False)
        line = b"\n" * torn + text.encode("ascii", "replace") + _END % max(time.time_ns(), before + 1)
        if os.write(fd, line) < len(line):
            os.ftruncate(fd, size)  # the disk is full
    except OSError:
        return
    finally:
        os.close(fd)


def _locked(path: str) -> int:
    """The file, opened and locked, still under its name and with room in it."""
    deadline = 0.0
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # Held for some microseconds, unless its holder was stopped; nobody waits for that one for ever.
                    now = time.monotonic()
                    deadline = deadline or now + LOCK_PATIENCE_S
                    if now > deadline:
                        raise
                    time.sleep(0.00005)
            mine, named = os.fstat(fd), _stat(path)
            if named is not None and (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev):
                if mine.st_size < LIMIT_BYTES:
                    return fd
                os.rename(path, f"{path}.1")
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _last(fd: int, size: int) -> tuple[int, bool]:
    """The time of the last line, and whether something torn stands after it."""
    end = os.pread(fd, END_BYTES, max(0, size - END_BYTES))
    if (found := _time(end)) is not None:
        return found, False
    tail = os.pread(fd, _LOOK_BACK_BYTES, max(0, size - _LOOK_BACK_BYTES))
    torn = not tail.endswith(b"\n")
    position = len(tail)
    while (position := tail.rfind(b"}\n", 0, position)) >= 0:
        if (found := _time(tail[position + 2 - END_BYTES : position + 2])) is not None:
            return found, torn
    return 0, torn


def _time(end: bytes) -> int | None:
    digits = end[len(_BEFORE_TIME) : -2]
    whole = len(end) == END_BYTES and end.startswith(_BEFORE_TIME) and end.endswith(b"}\n") and digits.isdigit()
    return int(digits) if whole else None


def _last_of_rotated(path: str) -> int:
    """The time of the last line before a new file."""
    try:
        fd = os.open(f"{path}.1", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        size = os.fstat(fd).st_size
        return _last(fd, size)[0] if size else 0
    finally:
        os.close(fd)
