"""`restart`, `rename`, `wait`, `top` and `port` with real containers."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.model.container import ContainerConfig

if TYPE_CHECKING:
    from integration.conftest import Runner

POLITE = "trap 'exit 3' TERM; trap 'exit 4' USR1; echo up; while :; do sleep 0.02; done"


def create(engine: tiffin.Engine, image: str, script: str = POLITE, name: str = "cc", **options: object) -> str:
    config = ContainerConfig(image=image, command=("sh", "-c", script), name=name, **options)  # type: ignore[arg-type]
    return engine.create(config).id


def ready(engine: tiffin.Engine, name: str = "cc", count: int = 1) -> None:
    """Until its script has set its traps, for the `count`th time."""
    for number, line in enumerate(engine.logs(name, follow=True), 1):
        if line.data == b"up\n" and number == count:
            return


def test_restart_stops_and_starts(engine: tiffin.Engine, busybox: str) -> None:
    create(engine, busybox)
    engine.restart("cc")  # idle is fine
    ready(engine)
    first = engine.container("cc").state
    engine.restart("cc", signal="USR1", timeout_s=20)
    second = engine.container("cc").state
    assert second.status == "running" and second.started_ns > first.started_ns and second.pid != first.pid
    ready(engine, count=2)
    engine.pause("cc")
    engine.restart("cc", timeout_s=20)
    third = engine.container("cc").state
    assert (third.status, third.paused) == ("running", False)
    with pytest.raises(NotFoundError):
        engine.restart("nosuch")


def test_restart_kills_what_does_not_listen(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "deaf", busybox, "sleep", "60")
    began = time.monotonic()
    assert tiffin.ok("restart", "-t", "0", "deaf") == "deaf"
    assert time.monotonic() - began < 8
    assert tiffin.ok("ps", "--format", "{{.Names}}") == "deaf"
    assert tiffin("restart", "deaf", "nosuch", "-t0") == (
        1, "deaf\n", "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n",
    )  # fmt: skip


def test_restart_of_one_that_is_removed_at_its_end(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--rm", "--name", "cc", busybox, "sh", "-c", POLITE)
    ready(engine)
    for _ in range(3):
        engine.restart("cc", timeout_s=0)
    time.sleep(0.5)  # the cleanups of the three ends
    assert engine.container("cc").state.status == "running"
    stopper = threading.Timer(0.1, engine.stop, ("cc",), {"timeout_s": 0})
    stopper.start()
    assert engine.wait("cc", condition="removed", timeout_s=20) in (3, 137)  # it may be polite in no time
    stopper.join()


def test_a_result_survives_a_restart(engine: tiffin.Engine, busybox: str) -> None:
    results = []
    runner = threading.Thread(target=lambda: results.append(engine.run(busybox, ["sh", "-c", POLITE], name="cc")))
    runner.start()
    deadline = time.monotonic() + 10
    while not engine.containers() and time.monotonic() < deadline:
        time.sleep(0.01)
    ready(engine)
    engine.restart("cc", timeout_s=20)
    runner.join(20)
    assert [(result.exit_code, result.stdout) for result in results] == [(3, "up\n")]
    engine.remove("cc", force=True)


def test_rename(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    container_id = create(engine, busybox)
    create(engine, busybox, name="dd")
    engine.start("cc")
    assert tiffin("rename", "cc", "ee") == (0, "", "")
    assert engine.container("ee").container.id == container_id
    assert tiffin.ok("inspect", "-f", "{{.Name}}", container_id) == "/ee"
    assert tiffin("stop", "-t0", "cc").err.startswith("tiffin: no such container: cc\n")
    assert tiffin("container", "rename", container_id, "dd") == (
        1,
        "",
        f"tiffin: the container name 'dd' is already in use by container {engine.container('dd').container.id[:12]}\n"
        "remove or rename that container, or choose another name\n",
    )
    same = "tiffin: Renaming a container with the same name as its current name\n"
    assert tiffin("rename", "ee", "/ee").err == same
    assert tiffin("rename", "ee", " ").err == "tiffin: Neither old nor new names may be empty\n"
    assert tiffin("rename", "ee", "-x y").code == 125
    assert tiffin("rename", "nosuch", "ff").err.startswith("tiffin: no such container: nosuch\n")
    create(engine, busybox, name="cc")  # the name is free again
    engine.stop("ee", timeout_s=0)
    engine.start("ee")
    assert engine.container("ee").state.status == "running"


def test_wait_for_the_next_end(engine: tiffin.Engine, busybox: str) -> None:
    create(engine, busybox, script="sleep 0.2; exit 7")
    with pytest.raises(ConflictError) as caught:
        engine.wait("cc", timeout_s=0.05, condition="next-exit")
    assert caught.value.message == "container 'cc' was not started within 0.05 s"
    for _ in range(2):  # before its first start, and after an end
        starter = threading.Timer(0.1, engine.start, ("cc",))
        starter.start()
        assert engine.wait("cc", condition="next-exit", timeout_s=20) == 7
        starter.join()
    assert engine.wait("cc") == 7  # at once
    remover = threading.Timer(0.1, engine.remove, ("cc",))
    remover.start()
    with pytest.raises(ConflictError) as caught:
        engine.wait("cc", condition="next-exit", timeout_s=20)
    assert caught.value.message == "container 'cc' was removed before it ran again"
    remover.join()


def test_wait_for_the_removal(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    create(engine, busybox, script="exit 5")
    engine.start("cc")
    engine.wait("cc")
    with pytest.raises(ConflictError) as caught:
        engine.wait("cc", timeout_s=0.1, condition="removed")
    assert caught.value.message == "container 'cc' is still there after 0.1 s"
    remover = threading.Timer(0.1, engine.remove, ("cc",))
    remover.start()
    assert engine.wait("cc", condition="removed", timeout_s=20) == 5
    remover.join()
    tiffin.ok("run", "-d", "--rm", "--name", "dd", busybox, "sh", "-c", "sleep 0.3; exit 6")
    assert tiffin.ok("wait", "--condition", "removed", "dd") == "6"
    assert engine.containers(all=True) == []


def test_wait_for_nonsense(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("create", "--name", "cc", busybox, "true")
    assert tiffin("wait", "--condition", "ended", "cc") == (
        1, "", "tiffin: invalid condition: 'ended'\nthe conditions are not-running, next-exit, removed\n",
    )  # fmt: skip


def test_top(engine: tiffin.Engine, busybox: str) -> None:
    create(engine, busybox, script="echo up; sleep 60 & exec sleep 61", user="1000:1000")
    with pytest.raises(ConflictError, match=r"^container 'cc' is not running"):
        engine.top("cc")
    engine.start("cc")
    ready(engine)
    deadline = time.monotonic() + 5
    while {row[7] for row in engine.top("cc").rows} != {"sleep 60", "sleep 61"} and time.monotonic() < deadline:
        time.sleep(0.01)
    table = engine.top("cc")
    assert table.titles == ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
    pid = engine.container("cc").state.pid
    by_command = {row[7]: row for row in table.rows}
    assert set(by_command) == {"sleep 60", "sleep 61"}
    first, second = by_command["sleep 61"], by_command["sleep 60"]
    assert first[1] == second[2] == str(pid) and first[2] == str(engine.container("cc").state.monitor_pid)
    assert (first[5], first[6]) == ("?", "00:00:00")
    assert int(first[3]) >= 0  # a percentage of a life that has only begun
    named = engine.top("cc", ["uid", "pid=ID", "comm", "ni", "s", "rss", "vsz", "etimes"])
    assert named.titles == ("UID", "ID", "COMMAND", "NI", "S", "RSS", "VSZ", "ELAPSED")
    for row in named.rows:
        assert row[0] == "1000" and row[2] == "sleep" and row[3] == "0" and row[4] == "S"
        assert int(row[5]) > 0 and int(row[6]) >= int(row[5]) and 0 <= int(row[7]) < 60
    with pytest.raises(UsageError) as caught:
        engine.top("cc", ["pid", "shoe"])
    assert caught.value.message == "unknown column 'shoe'"


def test_top_agrees_with_ps(engine: tiffin.Engine, busybox: str) -> None:
    import shutil
    import subprocess

    if shutil.which("ps") is None:
        pytest.skip("no ps here")
    create(engine, busybox, script="echo up; sleep 60 & exec sleep 61", tty=True)
    engine.start("cc")
    time.sleep(0.2)
    # Times of day are left to the test below: ps rounds the boot's time otherwise than the kernel does.
    columns = "pid,ppid,pgid,sid,user,uid,gid,ni,pri,nlwp,stat,comm,args,vsz"
    found = engine.top("cc", columns.split(","))
    pids = ",".join(row[0] for row in found.rows)
    # One by one: ps cuts and pads what is not the last column.
    for column in columns.split(","):
        told = subprocess.run(
            ["ps", "-ww", "-o", f"{column}=", "-p", pids], capture_output=True, text=True, check=True,
            env={**os.environ, "LC_ALL": "C"},
        ).stdout.splitlines()  # fmt: skip
        index = columns.split(",").index(column)
        assert [row[index].strip() for row in found.rows] == [line.strip() for line in told], column
    # Not ps's answer: it believes in a terminal only when the host has one of the same number.
    assert {row[0] for row in engine.top("cc", ["tname"]).rows} == {"pts/0"}


def test_top_tells_when_processes_began(engine: tiffin.Engine, busybox: str) -> None:
    create(engine, busybox, script="sleep 60")
    began = time.time()
    engine.start("cc")
    (row,) = engine.top("cc", ["lstart", "stime", "bsdstart"]).rows
    told = time.mktime(time.strptime(row[0].strip(), "%a %b %d %H:%M:%S %Y"))
    assert abs(told - began) < 5
    clock = time.strftime("%H:%M", time.localtime(told))
    assert row[1].strip() == row[2].strip() == clock


def test_a_command_cannot_write_to_the_terminal(engine: tiffin.Engine, busybox: str) -> None:
    create(engine, busybox, script="exec sh -c 'while :; do sleep 0.1; done' '\x1b[31mred\n'")
    engine.start("cc")
    time.sleep(0.2)
    commands = [row[0] for row in engine.top("cc", ["args"]).rows]
    assert "sh -c while :; do sleep 0.1; done ?[31mred?" in commands


def test_top_on_the_command_line(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "cc", busybox, "sleep", "60")
    pid = tiffin.ok("inspect", "-f", "{{.State.Pid}}", "cc")
    header, row = tiffin.ok("top", "cc").splitlines()
    assert header == "".join(title.ljust(20) for title in "UID PID PPID C STIME TTY TIME".split()) + "CMD"
    assert row.split()[:2] == ["root", pid] and row.endswith("sleep 60")
    assert tiffin.ok("top", "cc", "-o", "pid,args=WHAT") == f"{'PID':20}WHAT\n{pid:20}sleep 60"
    assert tiffin.ok("container", "top", "cc", "aux").split()[:4] == ["USER", "PID", "%CPU", "%MEM"]
    assert tiffin("top", "cc", "--forest").code == 125
    tiffin.ok("pause", "cc")
    assert tiffin.ok("top", "cc", "-o", "pid") == f"PID\n{pid}"


def test_port(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("create", "--name", "cc", busybox, "true")
    assert tiffin("port", "cc") == (0, "", "")
    assert tiffin("port", "cc", "80") == (1, "", "tiffin: No public port '80/tcp' published for cc\n")
    assert tiffin("container", "port", "cc", "53/UDP").err == "tiffin: No public port '53/udp' published for cc\n"
    assert tiffin("port", "cc", "http").err == "tiffin: invalid port 'http'\nit is a number, such as 80, or 53/udp\n"
    assert tiffin("port", "nosuch").code == 1


def test_several_are_ended_at_once(engine: tiffin.Engine, tiffin: Runner, busybox: str) -> None:
    """The slowest decides how long it takes; what is said keeps the order of the names."""
    names = [f"c{number}" for number in range(6)]
    for name in names:
        create(engine, busybox, "trap '' TERM; echo up; while :; do sleep 0.02; done", name)
        engine.start(name)
        ready(engine, name)
    began = time.monotonic()
    stopped = tiffin("stop", "-t", "2", *names[:3], "nosuch", *names[3:])
    assert 2 <= time.monotonic() - began < 6
    assert stopped.out.splitlines() == names and stopped.code == 1
    assert stopped.err == "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n"
    assert {engine.container(name).state.exit_code for name in names} == {137}
    for name in names:
        engine.start(name)
    removed = tiffin("rm", "-f", *names[:4], "nosuch", *names[4:])
    assert removed.out.splitlines() == names and removed.code == 0
    assert removed.err == "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n"
    assert engine.containers(all=True) == []
