"""Reading events: those that are kept, and those to come. See `state/events.py` for the file."""

from __future__ import annotations

import json
import os
import time

from tiffin.errors import NotSupportedError, UsageError, os_error
from tiffin.model.event import Event
from tiffin.state.events import END_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiffin.paths import Paths

LOOK_AGAIN_S = 0.03
_CHUNK = 1 << 18

FILTERS = ("container", "daemon", "event", "image", "label", "network", "plugin", "scope", "type", "volume")
_SWARM = ("config", "node", "secret", "service")


def read(
    paths: Paths, since_ns: int | None, until_ns: int | None, filters: Mapping[str, Sequence[str]], *, follow: bool
) -> Iterator[Event]:
    """See `Engine.events`. Bad filters are refused before anything is read."""
    check_filters(filters)
    return _chosen(paths, since_ns, until_ns, filters, follow)


def check_filters(filters: Mapping[str, Sequence[str]]) -> None:
    """UsageError for a filter that does not exist, NotSupportedError for one that is for swarms."""
    for name in filters:
        if name in _SWARM:
            raise NotSupportedError(f"--filter {name} is not supported yet: Tiffin runs on one host and has no swarm")
        if name not in FILTERS:
            raise UsageError(f"invalid filter '{name}'", hint=f"the filters are {', '.join(FILTERS)}")


def _chosen(
    paths: Paths, since_ns: int | None, until_ns: int | None, filters: Mapping[str, Sequence[str]], follow: bool
) -> Iterator[Event]:
    for event in poll(paths, since_ns, until_ns, filters, follow=follow):
        if event is None:
            time.sleep(LOOK_AGAIN_S)
        else:
            yield event


def poll(
    paths: Paths, since_ns: int | None, until_ns: int | None, filters: Mapping[str, Sequence[str]], *, follow: bool
) -> Iterator[Event | None]:
    """The same, with None where there is nothing more for the moment: the caller waits, in its own way."""
    for line, moment in _lines(paths.events, since_ns or 0, until_ns, follow):
        if not line:
            yield None
            continue
        if until_ns is not None and moment > until_ns:
            return
        event = _event(line, moment)
        if event is not None and fits(event, filters):
            yield event


def _event(line: bytes, moment: int) -> Event | None:
    """None for a line that a crash has damaged."""
    try:
        fields = json.loads(line)
        attributes = tuple(sorted((str(key), str(value)) for key, value in fields["Attributes"].items()))
        return Event(
            type=fields["Type"], action=fields["Action"], id=fields["ID"], attributes=attributes, time_ns=moment
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _lines(path: str, since_ns: int, until_ns: int | None, follow: bool) -> Iterator[tuple[bytes, int]]:
    """Lines with their times, from `since_ns` on; an empty one where there is nothing more for the moment.

    Each time is later than the one before, whatever was rotated in between.
    """
    last = since_ns - 1
    while True:
        files = _open_both(path)
        try:
            for index, fd in enumerate(files):
                newest = index == len(files) - 1
                rest = b""
                while True:
                    # Asked before reading: whoever renames it has written the last line under this name.
                    current = newest and follow and _is_named(fd, path)
                    over = until_ns is not None and time.time_ns() > until_ns
                    chunk = _read(fd)
                    if chunk:
                        *lines, rest = (rest + chunk).split(b"\n")
                        for line in lines:
                            moment = _time(line)
                            if moment > last:
                                last = moment
                                yield line, moment
                    elif not current or over:
                        break
                    else:
                        yield b"", 0
        finally:
            for fd in files:
                os.close(fd)
        if not follow or (until_ns is not None and time.time_ns() > until_ns):
            return
        if not files:
            yield b"", 0


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError as error:
        raise os_error(error, "cannot read the events") from error


def _time(line: bytes) -> int:
    """The time at a line's end, 0 without one."""
    end = line[1 - END_BYTES :]
    digits = end[len(b'"timeNano":') : -1]
    return int(digits) if end.startswith(b'"timeNano":') and end.endswith(b"}") and digits.isdigit() else 0


def _is_named(fd: int, path: str) -> bool:
    try:
        named = os.stat(path)
    except OSError:
        return True  # it is being renamed, or was removed: go on with what there is
    mine = os.fstat(fd)
    return (named.st_ino, named.st_dev) == (mine.st_ino, mine.st_dev)


def _open_both(path: str) -> list[int]:
    """The older file, if there is one, and the newer: such as were there at one and the same moment."""
    while True:
        files = [fd for fd in (_open(f"{path}.1"), _open(path)) if fd >= 0]
        if _identities(path) == [(status.st_ino, status.st_dev) for status in map(os.fstat, files)]:
            return files
        for fd in files:
            os.close(fd)


def _identities(path: str) -> list[tuple[int, int]]:
    found = []
    for name in (f"{path}.1", path):
        try:
            status = os.stat(name)
        except OSError:
            continue
        found.append((status.st_ino, status.st_dev))
    return found


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise os_error(error, "cannot read the events") from error


def fits(event: Event, filters: Mapping[str, Sequence[str]]) -> bool:
    """Docker's rules: containers, volumes and so on by the beginning of name or ID, images by all of it."""
    return all(_fits(event, name, values) for name, values in filters.items() if values)


def _fits(event: Event, name: str, values: Sequence[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "event":
        plain = event.action.partition(":")[0]
        return event.action in values or plain in values
    if name == "scope":
        return "local" in values
    if name == "label":
        attributes = dict(event.attributes)
        return all(_has(attributes, value) for value in values)
    if name == "image":
        image = event.attribute("name" if event.type == "image" else "image")
        return not {event.id, image, _without_tag(image)}.isdisjoint(values)
    return any(event.id.startswith(value) or event.attribute("name").startswith(value) for value in values)


def _has(attributes: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _without_tag(name: str) -> str:
    repository, _, tag = name.rpartition(":")
    return repository if repository and "/" not in tag else name
