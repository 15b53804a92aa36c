"""Events of real containers: what Docker would tell, from every process, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from harness.leaks import wait_gone

if TYPE_CHECKING:
    from integration.conftest import Runner
    from tiffin.model.event import Event

Engine = package.Engine


def actions(engine: Engine, **filters: str) -> list[str]:
    return [_shown(event) for event in engine.events(filters={key: [value] for key, value in filters.items()})]


def _shown(event: Event) -> str:
    more = {"kill": "signal", "die": "exitCode", "rename": "oldName", "exec_die": "exitCode"}.get(event.action)
    return f"{event.action} {event.attribute(more)}" if more else event.action


def test_the_life_of_a_container(tiffin: Runner, engine: Engine, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "one", "-l", "a=b", "-v", "data:/d:ro", busybox, "sleep", "1000")
    for words in (
        "exec one sh -c true", "rename one two", "pause two", "unpause two", "update --memory 200m two", "top two",
        "cp two:/etc/passwd -", "commit two new:1", "kill -s USR1 two", "restart -t 0 two", "stop -t 0 two",
        "start two", "rm -f two",
    ):  # fmt: skip
        tiffin.ok(*words.split())
    assert actions(engine, type="container") == [
        "create", "start", "exec_create: sh -c true", "exec_start: sh -c true", "exec_die 0", "rename /one", "pause",
        "unpause", "update", "top", "archive-path", "commit", "kill 10", "kill 15", "kill 9", "die 137", "stop",
        "start", "restart", "kill 15", "kill 9", "die 137", "stop", "start", "kill 9", "die 137", "destroy",
    ]  # fmt: skip
    assert actions(engine, type="volume") == ["create", *["mount", "unmount"] * 3]
    assert actions(engine, type="image") == ["tag", "import", "tag"]
    (created, *rest) = engine.events(filters={"type": ["container"]})
    assert created.attributes == (("a", "b"), ("image", "busybox"), ("name", "one"))
    died = next(event for event in rest if event.action == "die")
    assert [key for key, _ in died.attributes] == ["a", "execDuration", "exitCode", "image", "name"]
    assert died.attribute("name") == "two", "the monitor learns of a new name"
    mounted = next(event for event in engine.events(filters={"event": ["mount"]}))
    assert mounted.id == "data" and mounted.attributes == (
        ("container", created.id), ("destination", "/d"), ("driver", "local"), ("propagation", ""),
        ("read/write", "false"),
    )  # fmt: skip


def test_foreground_failure_and_images(tiffin: Runner, engine: Engine, busybox: str) -> None:
    tiffin.ok("run", "--rm", busybox, "true")
    assert tiffin("run", "--rm", busybox, "nosuch").code == 127
    tiffin.ok("tag", busybox, "other:1")
    tiffin.ok("save", "-o", f"{engine.root}/saved.tar", "other:1")
    tiffin.ok("rmi", "other:1")
    tiffin.ok("load", "-i", f"{engine.root}/saved.tar")
    tiffin.ok("create", "--name", "cc", busybox, "true")
    tiffin.ok("container", "prune", "-f")
    tiffin.ok("rmi", "other:1", "busybox")
    os.unlink(f"{engine.root}/saved.tar")
    assert actions(engine, type="container") == [
        "create", "attach", "start", "die 0", "destroy", "create", "attach", "destroy", "create", "destroy", "prune",
    ]  # fmt: skip
    assert actions(engine, type="image") == [
        "tag", "import", "tag", "save", "untag", "load", "untag", "untag", "delete",
    ]  # fmt: skip


def test_out_of_memory(engine: Engine, busybox: str) -> None:
    config = package.ContainerConfig(
        image=busybox, command=("tail", "/dev/zero"), resources=package.Resources(memory_bytes=8 << 20)
    )
    container = engine.create(config)
    engine.start(container.id)
    engine.wait(container.id)
    assert actions(engine, type="container") == ["create", "start", "oom", "die 137"]


def test_a_killed_monitor_is_told_once(engine: Engine, tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "cc", busybox, "sleep", "1000")
    state = engine.container("cc").state
    os.kill(state.monitor_pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while engine.container("cc").state.status == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(3):
        engine.containers(all=True)
    assert actions(engine, type="container") == ["create", "start", "die 137"]
    tiffin.ok("start", "cc")
    tiffin.ok("rm", "-f", "cc")
    assert actions(engine, type="container")[2:] == ["die 137", "start", "kill 9", "die 137", "destroy"]


def test_a_killed_monitor_is_told_by_the_next_start(engine: Engine, tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "cc", "-v", "vv:/v", busybox, "sleep", "1000")
    state = engine.container("cc").state
    os.kill(state.monitor_pid, signal.SIGKILL)
    while engine.container("cc").state.status == "running":
        time.sleep(0.01)
    tiffin.ok("start", "cc")
    assert actions(engine)[2:] == [
        "create", "create", "mount", "start", "die 137", "unmount", "mount", "start",
    ]  # fmt: skip


def test_an_exec_is_told_of_when_its_command_was_killed(engine: Engine, tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "cc", busybox, "sleep", "1000")
    with engine.exec("cc", ["sleep", "1000"]) as session:
        session.signal("KILL")
        assert session.wait() == 137
    assert actions(engine, type="container")[-1] == "exec_die 137"
    tiffin.ok("exec", "-d", "cc", "true")
    assert actions(engine, type="container")[-1] == "exec_start: true "


def test_following_on_the_command_line(engine: Engine, tiffin: Runner, busybox: str) -> None:
    with tiffin.start("events", "-f", "type=container", "--format", "{{.Action}}", stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        time.sleep(0.5)
        tiffin.ok("run", "--rm", busybox, "true")
        found = [follower.stdout.readline() for _ in range(5)]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
    assert found == [b"create\n", b"attach\n", b"start\n", b"die\n", b"destroy\n"]


def test_until_ends_it_and_a_closed_pipe_too(engine: Engine, tiffin: Runner, busybox: str) -> None:
    began = time.monotonic()
    assert tiffin("events", "--until", "-1s").code == 0
    assert time.monotonic() - began < 8
    with tiffin.start("events", "--since", "1h", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        tiffin.ok("tag", busybox, "x:1")
        tiffin.ok("tag", busybox, "x:2")
        assert follower.wait(10) == 141
        assert follower.stderr is not None and follower.stderr.read() == b""


def test_json_and_errors(engine: Engine, tiffin: Runner, busybox: str) -> None:
    rows = [
        json.loads(line) for line in tiffin.ok("system", "events", "--until", "0s", "--format", "json").splitlines()
    ]
    assert [row["Action"] for row in rows] == ["tag", "import"]
    assert rows[0]["Actor"]["Attributes"] == {"name": "busybox:latest"}
    assert tiffin("events", "--since", "xx").err == (
        'tiffin: invalid argument "xx" for "--since": not a time: "xx" (RFC 3339 like 2024-05-01T12:00:00Z, or an age '
        "like 42m)\nSee 'tiffin events --help'.\n"
    )
    wrong = tiffin("events", "-f", "foo=bar", "--until", "0s")
    assert wrong.err.startswith("tiffin: invalid filter 'foo'\nthe filters are container, daemon, event")
    wrong = tiffin("events", "-f", "foo", "--until", "0s")
    assert wrong.err.startswith(
        'tiffin: invalid argument "foo" for "-f, --filter": bad format of filter (expected name=value)\n'
    )
    wrong = tiffin("events", "--until", "0s", "--format", "{{.Foo}}")
    assert wrong.err.startswith(
        'tiffin: template parsing error: template: :1:2: executing "" at <.Foo>: can\'t evaluate field Foo in type '
        "events.Message\nThe fields are Action, Actor, From,"
    )


@pytest.mark.parametrize("writers", [2])
def test_monitors_and_commands_at_once(engine: Engine, busybox: str, writers: int) -> None:
    def many() -> None:
        for _ in range(5):
            engine.run(busybox, ["true"])

    threads = [threading.Thread(target=many) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(engine.events(filters={"type": ["container"]}))
    times = [event.time_ns for event in found]
    assert times == sorted(set(times)) and len(found) == writers * 5 * 5
    for container_id in {event.id for event in found}:
        own = [event.action for event in found if event.id == container_id]
        assert own == ["create", "attach", "start", "die", "destroy"]


def test_events_that_cannot_be_written_stop_no_container(engine: Engine, tiffin: Runner, busybox: str) -> None:
    """Nor whatever else keeps events from being written: here they are a directory."""
    os.rename(f"{engine.root}/events", f"{engine.root}/kept")
    os.mkdir(f"{engine.root}/events")
    tiffin.ok("run", "--rm", busybox, "true")
    os.rmdir(f"{engine.root}/events")
    os.rename(f"{engine.root}/kept", f"{engine.root}/events")
    assert actions(engine, type="container") == []
    assert wait_gone(engine.root) == []


@pytest.mark.parametrize("left", [b'{"Type":"container","Act', b"\n" * (4 << 20), b'"timeNano":2700000000000000000}\n'])
def test_the_monitor_writes_by_the_same_rules(engine: Engine, busybox: str, left: bytes) -> None:
    """After a torn line, into a new file, and later than a clock that was ahead."""
    container = engine.create(package.ContainerConfig(image=busybox, command=("true",)))
    with open(f"{engine.root}/events", "ab") as file:
        file.write(left)
    engine.start(container.id)
    engine.wait(container.id)
    found = list(engine.events(filters={"type": ["container"]}))
    assert [event.action for event in found] == ["create", "start", "die"]
    if left.startswith(b'"'):
        assert [event.time_ns - 2_700_000_000_000_000_000 for event in found[1:]] == [1, 2]
    with open(f"{engine.root}/events", "rb") as file:
        text = file.read()
    assert text.endswith(b"}\n") and os.path.exists(f"{engine.root}/events.1") == left.startswith(b"\n")


def test_resizing(engine: Engine, busybox: str) -> None:
    container = engine.create(package.ContainerConfig(image=busybox, command=("sleep", "1000"), tty=True))
    attachment = engine.start(container.id, attach=True, tty_size=(20, 80))
    assert attachment is not None
    with attachment:
        attachment.resize(30, 90)
        deadline = time.monotonic() + 10
        while actions(engine, event="resize") == [] and time.monotonic() < deadline:
            time.sleep(0.02)
        (event,) = engine.events(filters={"event": ["resize"]})
        assert (event.attribute("height"), event.attribute("width")) == ("30", "90")
        engine.stop(container.id, timeout_s=0)
