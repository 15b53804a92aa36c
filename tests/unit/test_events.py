"""Events: one file, any number of writers, every line whole and in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tiffin.cli.events import line, message
from tiffin.cli.listing import render_one
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.event import Event
from tiffin.paths import Paths
from tiffin.state import events as log
from tiffin.system.events import fits, read


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(root=str(tmp_path), run=str(tmp_path / "run"))


def write(paths: Paths, action: str, **attributes: str) -> None:
    log.write(paths, "container", action, "ab" * 32, attributes)


def everything(paths: Paths, **options: int) -> list[Event]:
    return list(read(paths, options.get("since"), options.get("until"), {}, follow=False))


def _write_many(paths: Paths, who: int, count: int) -> None:
    for number in range(count):
        log.write(paths, "container", "start", f"{who}", {"number": str(number)})


def test_a_line(paths: Paths) -> None:
    before = time.time_ns()
    log.write(paths, "container", 'exec_create: sh -c "x"\n', "ab", {"name": "wé\udcff", "image": "i"})
    text = Path(paths.events).read_text(encoding="ascii")
    assert text.startswith(
        '{"Type":"container","Action":"exec_create: sh -c \\"x\\"\\n","ID":"ab","Attributes":{"name":"w\\u00e9\\udcff",'
        '"image":"i"},"timeNano":'
    )
    (event,) = everything(paths)
    assert event.attributes == (("image", "i"), ("name", "wé\udcff")) and before <= event.time_ns <= time.time_ns()
    assert os.stat(paths.events).st_mode & 0o777 == 0o600


def test_four_processes_at_once(paths: Paths) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(paths, who, 1000)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = everything(paths)
    times = [event.time_ns for event in found]
    assert len(found) == 4000 and all(one < other for one, other in pairwise(times))
    for who in range(4):
        assert [event.attribute("number") for event in found if event.id == str(who)] == [*map(str, range(1000))]


def test_rotation_while_following_loses_none(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LIMIT_BYTES", 500_000)  # about 4,500 lines: the real limit takes a second, too
    writers = [threading.Thread(target=_write_many, args=(paths, who, 6000)) for who in range(2)]
    followed = read(paths, None, time.time_ns() + 60_000_000_000, {}, follow=True)
    for writer in writers:
        writer.start()
    found = [next(followed) for _ in range(12000)]
    for writer in writers:
        writer.join()
    times = [event.time_ns for event in found]
    assert times == sorted(set(times))
    for who in range(2):
        assert [event.attribute("number") for event in found if event.id == str(who)] == [*map(str, range(6000))]
    assert os.stat(f"{paths.events}.1").st_size >= 500_000 > os.stat(paths.events).st_size
    assert sorted(os.listdir(paths.root)) == ["events", "events.1"]


def test_times_go_on_after_the_clock_was_set_back(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    write(paths, "one")
    monkeypatch.setattr(time, "time_ns", lambda: 1_600_000_000_000_000_000)
    write(paths, "two")
    monkeypatch.setattr(log, "LIMIT_BYTES", 10)
    write(paths, "three")  # in a new file
    base = 1_700_000_000_000_000_000
    assert [(event.action, event.time_ns - base) for event in everything(paths)] == [
        ("one", 0), ("two", 1), ("three", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("torn", [b'{"Type":"cont', b"\0\0\0", b'{"Type":1,"timeNano":1700000000000000000}'])
def test_a_torn_line_is_skipped_and_ended(paths: Paths, torn: bytes) -> None:
    write(paths, "one")
    with open(paths.events, "ab") as file:
        file.write(torn)
    assert [event.action for event in everything(paths)] == ["one"]
    write(paths, "two")
    first, second = everything(paths)
    assert (first.action, second.action) == ("one", "two") and first.time_ns < second.time_ns


def test_a_full_disk_fails_nobody(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    write(paths, "one")
    really = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really(fd, data[:20]))
    write(paths, "two")
    monkeypatch.setattr(os, "write", really)
    size = os.stat(paths.events).st_size
    write(paths, "three")
    assert [event.action for event in everything(paths)] == ["one", "three"]
    assert size < os.stat(paths.events).st_size


def test_no_store_is_no_failure(tmp_path: Path) -> None:
    write(Paths(root=str(tmp_path / "missing"), run="/r"), "one")
    assert not (tmp_path / "missing").exists()


def test_a_stopped_writer_holds_nobody_up_for_ever(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    write(paths, "one")
    monkeypatch.setattr(log, "LOCK_PATIENCE_S", 0.05)
    with open(paths.events) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write(paths, "lost")
    write(paths, "two")
    assert [event.action for event in everything(paths)] == ["one", "two"]


def test_since_and_until(paths: Paths) -> None:
    for action in "abcd":
        write(paths, action)
    times = [event.time_ns for event in everything(paths)]
    assert [event.action for event in everything(paths, since=times[1], until=times[2])] == ["b", "c"]
    assert everything(paths, since=times[3] + 1) == []


def test_following_ends_by_itself(paths: Paths) -> None:
    began = time.monotonic()
    assert list(read(paths, None, time.time_ns() + 100_000_000, {}, follow=True)) == []
    assert 0.1 <= time.monotonic() - began < 5


def test_following_begins_before_there_is_a_file(paths: Paths) -> None:
    followed: Iterator[Event] = read(paths, None, time.time_ns() + 30_000_000_000, {}, follow=True)
    timer = threading.Timer(0.1, write, (paths, "late"))
    timer.start()
    assert next(followed).action == "late"
    timer.join()


EVENT = Event(
    type="container", action="exec_start: sh", id="abc123", time_ns=1_700_000_000_000_000_001,
    attributes=(("env", "prod"), ("image", "debian:12"), ("name", "web")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values", "fit"),
    [
        ("container", ["web"], True), ("container", ["we"], True), ("container", ["abc"], True),
        ("container", ["eb"], False), ("image", ["debian"], True), ("image", ["debian:12"], True),
        ("image", ["deb"], False), ("label", ["env"], True), ("label", ["env=prod"], True),
        ("label", ["env=test"], False), ("label", ["env", "other"], False), ("type", ["image", "container"], True),
        ("type", ["volume"], False), ("event", ["exec_start"], True), ("event", ["exec_start: sh"], True),
        ("event", ["start"], False), ("volume", ["data"], False), ("scope", ["local"], True),
        ("scope", ["swarm"], False), ("network", ["x"], False),
    ],
)  # fmt: skip
def test_filters(name: str, values: list[str], fit: bool) -> None:
    assert fits(EVENT, {name: values}) is fit


def test_filters_that_do_not_exist(paths: Paths) -> None:
    with pytest.raises(UsageError) as caught:
        read(paths, None, None, {"foo": ["bar"]}, follow=False)
    assert caught.value.message == "invalid filter 'foo'"
    with pytest.raises(NotSupportedError) as refused:
        read(paths, None, None, {"node": ["x"]}, follow=False)
    assert refused.value.message == "--filter node is not supported yet: Tiffin runs on one host and has no swarm"


def test_as_docker_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert line(EVENT) == (
            "2023-11-15T03:43:20.000000001+05:30 container exec_start: sh abc123 "
            "(env=prod, image=debian:12, name=web)\n"
        )
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (
        line(EVENT.replace(action="exec_start: a\nb\x1b[m\x9b"))
        .split(" ", 2)[2]
        .startswith("exec_start: a\\nb\\x1b[m\\x9b abc123 (")
    )
    assert render_one("{{json .}}", message(EVENT)) == (
        '{"status":"exec_start: sh","id":"abc123","from":"debian:12","Type":"container","Action":"exec_start: sh",'
        '"Actor":{"ID":"abc123","Attributes":{"env":"prod","image":"debian:12","name":"web"}},"scope":"local",'
        '"time":1700000000,"timeNano":1700000000000000001}\n'
    )
    assert render_one("{{.ID}} {{.From}} {{.Actor.Attributes.name}} {{.TimeNano}}", message(EVENT)) == (
        "abc123 debian:12 web 1700000000000000001\n"
    )
    volume = message(Event(type="volume", action="prune", id="", time_ns=1))
    assert render_one("{{json .}}", volume) == (
        '{"Type":"volume","Action":"prune","Actor":{"ID":"","Attributes":{}},"scope":"local","time":0,"timeNano":1}\n'
    )
