"""Reading logs, over rotated files: the Kubernetes CRI text format "TIMESTAMP STREAM F|P TEXT", or Docker's JSON.

The monitor writes one file and renames it to `.1`, `.2`, … when it is full.
"""

from __future__ import annotations

import os
import time

from tiffin.errors import ConflictError
from tiffin.model.record import Record
from tiffin.state import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from tiffin.model.container import Container
    from tiffin.parts import Parts

POLL_S = 0.05
BLOCK_BYTES = 1 << 16


class LogLine(Record):
    """One line, or the piece of a long one, as the container wrote it; `timestamp` is RFC 3339 in UTC.

    `attributes` are the labels and variables that the log was asked to tell, by name.
    """

    timestamp: str
    stream: str
    data: bytes
    attributes: tuple[tuple[str, str], ...] = ()


def read(
    parts: Parts,
    container: Container,
    *,
    follow: bool = False,
    since_ns: int | None = None,
    until_ns: int | None = None,
    tail: int | None = None,
) -> Iterator[LogLine]:
    """The container's output, oldest first; with `follow` until the container ends.

    `since_ns` and `until_ns` are nanoseconds since the epoch, `tail` a number of lines from the end.
    """
    format = _format(parts, container)
    since = rfc3339(since_ns) if since_ns is not None else ""
    until = rfc3339(until_ns) if until_ns is not None else "~"
    for raw in _raw_lines(parts, container, format, follow, tail, until_ns):
        line = format.parse(raw)
        if line is None or line.timestamp < since:
            continue
        if line.timestamp > until:
            if follow:
                return
            continue  # the clock may have been set back after it
        yield line


class Format(Record):
    """Where a log is, and how to read its lines."""

    path: str
    parse: Callable[[bytes], LogLine | None]
    is_full: Callable[[bytes], bool]


def _format(parts: Parts, container: Container) -> Format:
    log = container.config.log
    if log.driver == "cri" and not log.options:
        return Format(path=f"{parts.paths.container(container.id)}/output.log", parse=parse, is_full=_is_full)
    from tiffin.containers import log_drivers, log_json

    path = log_drivers.file_path(parts.paths, container)
    if not path:
        raise ConflictError(
            "configured logging driver does not support reading",
            hint=f"container {container.name} was created with --log-driver {log.driver}",
        )
    if log.driver == "json-file":
        return Format(path=path, parse=log_json.parse, is_full=log_json.is_full)
    attributes = tuple(sorted(log_drivers.attributes(container).items()))

    def with_attributes(raw: bytes) -> LogLine | None:
        line = parse(raw)
        return line and line.replace(attributes=attributes)

    return Format(path=path, parse=with_attributes if attributes else parse, is_full=_is_full)


def rfc3339(when_ns: int) -> str:
    """A time in UTC with nanoseconds, so that texts sort as times do."""
    seconds, fraction = divmod(when_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


def parse(raw: bytes) -> LogLine | None:
    """One line of the file; None if it is not one (a disk that was full may leave half a line)."""
    pieces = raw.rstrip(b"\n").split(b" ", 3)
    if len(pieces) != 4 or pieces[1] not in (b"stdout", b"stderr") or pieces[2] not in (b"F", b"P"):
        return None
    data = pieces[3] + b"\n" if pieces[2] == b"F" else pieces[3]
    return LogLine(timestamp=pieces[0].decode("ascii", "replace"), stream=pieces[1].decode(), data=data)


def _raw_lines(
    parts: Parts, container: Container, format: Format, follow: bool, tail: int | None, until_ns: int | None
) -> Iterator[bytes]:
    path = format.path
    count = container.config.log.max_files
    files = _open_all(path, count)
    try:
        # What is written from here on is for followers only: a fast writer would never let anybody else finish.
        end = files[-1].seek(0, os.SEEK_END) if files else 0
        if files:
            files[-1].seek(0)
        if tail is not None:
            _seek_tail(files, tail, end, format.is_full)
        while len(files) > 1:
            yield from _complete(files[0])
            files.pop(0).close()
        if files and follow:
            yield from _follow(parts, container, path, files, until_ns)
        elif files:
            yield from _complete(files[0], end)
    finally:
        for file in files:
            file.close()


def _open_all(path: str, count: int) -> list[BinaryIO]:
    """Open files, oldest first.

    They are opened from the newest on: a rotation in between shows one file twice, which its inode tells, where the
    other order would miss one.
    """
    found: dict[int, BinaryIO] = {}
    for number in range(count + 1):
        try:
            file = open(f"{path}.{number}" if number else path, "rb")  # noqa: SIM115 - the caller closes it
        except FileNotFoundError:
            continue
        inode = os.fstat(file.fileno()).st_ino
        if inode in found:
            file.close()
        else:
            found[inode] = file
    return list(reversed(found.values()))


def _complete(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """The whole lines from here on, those that end after `end` left out."""
    at = file.tell()
    for line in file:
        at += len(line)
        if not line.endswith(b"\n") or (end is not None and at > end):
            return
        yield line


def _follow(
    parts: Parts, container: Container, path: str, files: list[BinaryIO], until_ns: int | None
) -> Iterator[bytes]:
    """Lines as they come, over rotations, until the container has ended and all was read. `files` is the open one."""
    half = b""
    while True:
        ended = status.read_state(parts.paths, container.id).status != "running"
        rotated = _rotated(path, files[0])
        if os.fstat(files[0].fileno()).st_size < files[0].tell():
            files[0].seek(0)  # the only file there may be, begun anew
            half = b""
        while chunk := files[0].readline():
            half += chunk
            if half.endswith(b"\n"):
                yield half
                half = b""
        if rotated:
            files.append(_next_file(path, container.config.log.max_files, files[0]))
            files.pop(0).close()
        elif ended or (until_ns is not None and time.time_ns() > until_ns):
            return
        else:
            time.sleep(POLL_S)


def _next_file(path: str, count: int, file: BinaryIO) -> BinaryIO:
    """The file that came after `file`; the oldest that is left if that one is gone, too."""
    inode = os.fstat(file.fileno()).st_ino
    files = _open_all(path, count)
    inodes = [os.fstat(candidate.fileno()).st_ino for candidate in files]
    chosen = files.pop(inodes.index(inode) + 1 if inode in inodes else 0)
    for other in files:
        other.close()
    return chosen


def _rotated(path: str, file: BinaryIO) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _is_full(line: bytes) -> bool:
    return line.split(b" ", 3)[2:3] == [b"F"]


def _seek_tail(
    files: list[BinaryIO], tail: int, end: int | None = None, is_full: Callable[[bytes], bool] = _is_full
) -> None:
    """Position the files so that `tail` lines remain; drop those that are not needed.

    What the last file has got after `end` does not count; a last line without an end does.
    """
    left = tail
    for index in range(len(files) - 1, -1, -1):
        newest = index == len(files) - 1
        found, offset = _last_lines(files[index], left, end if newest else None, is_full, unended=newest)
        files[index].seek(offset)
        left -= found
        if left <= 0:
            for _ in range(index):
                files.pop(0).close()
            return


def _last_lines(
    file: BinaryIO, count: int, end: int | None, is_full: Callable[[bytes], bool], *, unended: bool
) -> tuple[int, int]:
    """How many of the last `count` output lines are in the file, and where they begin. Pieces of one count as one.

    `unended`: the last piece in the file is a line, too.
    """
    if end is None:
        end = file.seek(0, os.SEEK_END)
    data = b""
    at = end
    while at > 0:
        size = min(max(BLOCK_BYTES, len(data)), at)  # twice as much each time, since all of it is split again
        at -= size
        file.seek(at)
        data = file.read(size) + data
        *whole, half = data.split(b"\n")  # splitlines() would take a carriage return for an end, too
        lines = [line + b"\n" for line in whole] + ([half] if half else [])
        usable = lines if at == 0 else lines[1:]
        full = sum(1 for line in usable if is_full(line))
        if full > count or at == 0:
            break
    else:
        return 0, end
    seen = 0
    keep = 0
    for line in reversed(usable):
        last_piece = unended and keep == 0 and line.endswith(b"\n")
        if last_piece or is_full(line):
            if seen == count:
                break
            seen += 1
        keep += len(line)
    return seen, end - keep
