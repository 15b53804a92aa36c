"""The exec role by itself: a further process in a running container."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import signal
import socket
import struct
import termios
from pathlib import Path

import pytest

from launcher_fixtures import (
    ALL_NAMESPACES,
    CLONE_NEWNS,
    CLONE_NEWPID,
    Box,
    Started,
    process_exists,
    wait_until,
)
from tiffin.runtime.ops import Plan


@pytest.fixture
def started(box: Box) -> Started:
    return box.start(box.plan("sleep", "1000"))


class Outcome:
    """What an exec said and wrote."""

    def __init__(self, status: str, out: bytes, err: bytes, code: int) -> None:
        self.lines, self.out, self.err, self.code = status.splitlines(), out, err, code


def read_all(fd: int) -> bytes:
    data = b""
    while more := os.read(fd, 1 << 16):
        data += more
    os.close(fd)
    return data


def run(box: Box, plan: Plan, *flags: str, stdin: bytes = b"") -> Outcome:
    """Run an exec plan to its end with pipes as its streams."""
    ends = [os.pipe() for _ in range(3)]
    stdio = {0: ends[0][0], 1: ends[1][1], 2: ends[2][1]}
    process, sock = box.execute(plan, *flags, stdio=stdio)
    for fd in stdio.values():
        os.close(fd)
    os.write(ends[0][1], stdin)
    os.close(ends[0][1])
    out, err = read_all(ends[1][0]), read_all(ends[2][0])
    status = read_all(sock.detach()).decode()
    return Outcome(status, out, err, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def test_runs_inside(box: Box, started: Started) -> None:
    script = "cat; readlink /proc/self/ns/net; readlink /proc/self/ns/pid; ls /proc/self/fd; ls /; exit 9"
    outcome = run(box, box.exec_plan(started, "sh", "-c", script), stdin=b"input\n")
    names = [os.readlink(f"/proc/{started.pid}/ns/{kind}") for kind in ("net", "pid")]
    assert outcome.out.decode().split() == ["input", *names, "0", "1", "2", "3", *sorted(os.listdir(box.root))]
    assert outcome.code == 9
    assert outcome.lines[0].startswith("S ") and outcome.lines[1:] == ["X 9"]


def test_reports_the_pid_on_the_host(box: Box, started: Started) -> None:
    process, sock = box.execute(box.exec_plan(started, "sleep", "1000"))
    with sock:
        words = sock.recv(100).decode().split()
        pid = int(words[1])
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        assert (int(words[2]), int(stat[1])) == (int(stat[19]), process)
        assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{started.pid}/ns/pid")
        # The waiting parent never entered.
        assert os.readlink(f"/proc/{process}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        os.kill(pid, signal.SIGKILL)
        assert sock.recv(100) == b"X 137\n"
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_passes_signals_on(box: Box, started: Started, number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    script = f"trap 'exit 33' {name}; echo ready >&2; while :; do sleep 0.01; done"
    ready, theirs = os.pipe()
    process, sock = box.execute(box.exec_plan(started, "sh", "-c", script), stdio={2: theirs})
    os.close(theirs)
    with sock:
        assert os.read(ready, 10) == b"ready\n"
        os.kill(process, number)
        assert sock.recv(100).startswith(b"S ")
        assert sock.recv(100) == b"X 33\n"
    os.close(ready)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 33


def test_ends_with_the_container(box: Box, started: Started) -> None:
    process, sock = box.execute(box.exec_plan(started, "sleep", "1000"))
    with sock:
        assert sock.recv(100).startswith(b"S ")
        os.kill(started.pid, signal.SIGKILL)
        assert sock.recv(100) == b"X 137\n"
    os.waitpid(process, 0)


def test_detached(box: Box, started: Started) -> None:
    plan = box.exec_plan(started, "sh", "-c", "sleep 0.1; touch /tmp/done; sleep 1000")
    outcome_process, sock = box.execute(plan, "-d")
    with sock:
        pid = int(sock.recv(100).split()[1])
        assert os.waitstatus_to_exitcode(os.waitpid(outcome_process, 0)[1]) == 0
        assert sock.recv(100) == b""
    wait_until(Path(f"/proc/{started.pid}/root/tmp/done").exists, "the detached program")
    assert process_exists(pid)


def test_survives_the_death_of_its_parent(box: Box, started: Started) -> None:
    """Docker's exec goes on when its client is killed; so does ours."""
    process, sock = box.execute(box.exec_plan(started, "sleep", "1000"))
    with sock:
        pid = int(sock.recv(100).split()[1])
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        assert process_exists(pid)


def receive_terminal(sock: socket.socket) -> int:
    data, ancillary, _, _ = sock.recvmsg(2, socket.CMSG_SPACE(4))
    assert data == b"T\n"
    level, kind, payload = ancillary[0]
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    fds = array.array("i")
    fds.frombytes(payload)
    return fds[0]


def read_until(fd: int, expected: bytes) -> bytes:
    data = b""
    while expected not in data:
        data += os.read(fd, 4096)
    return data


def test_terminal(box: Box, started: Started) -> None:
    script = (
        "tty; stty size; read a; echo got $a; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.01; done"
    )
    process, sock = box.execute(box.exec_plan(started, "sh", "-c", script, tty=(31, 91)))
    with sock:
        master = receive_terminal(sock)
        assert read_until(master, b"31 91\r\n").startswith(b"/dev/pts/")
        os.write(master, b"x\n")
        read_until(master, b"ready\r\n")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        read_until(master, b"40 100\r\n")
        lines = sock.makefile().read().splitlines()
        assert lines[0].startswith("S ") and lines[1] == "X 4"
    os.close(master)
    os.waitpid(process, 0)


def test_terminal_belongs_to_the_user(box: Box, started: Started) -> None:
    plan = box.exec_plan(
        started, "sh", "-c", "stat -c %u $(tty)", tty=(24, 80), inside=lambda p: p.add("CREDS", 1000, 1000, b"")
    )
    process, sock = box.execute(plan)
    with sock:
        master = receive_terminal(sock)
        assert read_until(master, b"\n") == b"1000\r\n"
    os.close(master)
    os.waitpid(process, 0)


def test_terminal_is_not_taken_from_a_forgery(box: Box, started: Started) -> None:
    """The container replaced /dev/pts by a directory of its own: a FIFO there must neither hang nor be used."""
    script = "umount /dev/pts && mkdir -p /dev/pts && mkfifo /dev/pts/ptmx"
    assert run(box, box.exec_plan(started, "sh", "-c", script)).code == 0
    plan = box.exec_plan(started, "true", tty=(24, 80))
    outcome = run(box, plan)
    assert outcome.lines == [f"E 2 {errno.ENOTTY} open /dev/pts/ptmx"]


def test_labels_are_not_written_to_a_forgery(box: Box, started: Started) -> None:
    """The container covered its /proc with a tmpfs."""
    script = "mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/attr && touch /proc/self/oom_score_adj"
    assert run(box, box.exec_plan(started, "sh", "-c", script)).code == 0
    plan = box.exec_plan(started, "true", inside=lambda p: p.add("OOM_SCORE_ADJ", 1000))
    outcome = run(box, plan)
    assert outcome.lines == [f"E 1 {errno.EXDEV} open /proc/self oom_score_adj"]
    assert outcome.code == 125


def test_null_device_becomes_the_containers(box: Box, started: Started) -> None:
    with open("/dev/null", "r+b") as null:
        ours, theirs = os.pipe()
        plan = box.exec_plan(started, "stat", "-L", "-c", "%d", "/proc/self/fd/0", "/dev/null")
        process, sock = box.execute(plan, stdio={0: null.fileno(), 1: theirs})
    os.close(theirs)
    first, second = read_all(ours).split()
    assert first == second
    sock.close()
    os.waitpid(process, 0)


@pytest.mark.parametrize(
    ("program", "number"), [("/nowhere", errno.ENOENT), ("nowhere", errno.ENOENT), ("/etc", errno.EACCES)]
)
def test_program_that_cannot_run(box: Box, started: Started, program: str, number: int) -> None:
    plan = box.exec_plan(started, program)
    outcome = run(box, plan)
    assert outcome.lines == [f"E {len(plan.ops) - 1} {number} exec {program}"]
    assert outcome.code == 125


def test_process_that_is_gone(box: Box, started: Started) -> None:
    gone = started._replace(start_ticks=started.start_ticks + 1)
    assert run(box, box.exec_plan(gone, "true")).lines == [f"E 0 {errno.ESRCH} enter a process that has ended"]
    os.kill(started.pid, signal.SIGKILL)
    box.ended()
    number = run(box, box.exec_plan(started, "true")).lines[0].split()[:3]
    assert number == ["E", "0", str(errno.ESRCH)]


def test_only_the_asked_namespaces(box: Box, started: Started) -> None:
    plan = box.exec_plan(
        started, "sh", "-c", "readlink /proc/self/ns/uts", namespaces=ALL_NAMESPACES & (CLONE_NEWNS | CLONE_NEWPID)
    )
    assert run(box, plan).out.decode().strip() == os.readlink("/proc/self/ns/uts")


def test_joins_cgroups(box: Box, started: Started) -> None:
    pids = Path(f"/sys/fs/cgroup/pids/tiffin-test-{os.getpid()}")
    unified = Path(f"/sys/fs/cgroup/unified/tiffin-test-{os.getpid()}")
    for path in (pids, unified):
        path.mkdir()
    try:
        plan = box.exec_plan(started, "cat", "/proc/self/cgroup")
        plan.ops.insert(0, ("CGROUP_TASKS", (str(pids / "tasks"),), ""))
        plan.ops.insert(0, ("CGROUP_INTO", (str(unified),), ""))
        out = run(box, plan).out.decode().split()
        joined = {line.split(":")[1]: line.split(":")[2] for line in out}
        assert joined["pids"].endswith(pids.name) and joined[""].endswith(unified.name)
    finally:
        for path in (pids, unified):
            path.rmdir()


def test_cgroup_that_is_gone(box: Box, started: Started) -> None:
    plan = box.exec_plan(started, "true")
    plan.ops.insert(0, ("CGROUP_TASKS", ("/sys/fs/cgroup/pids/nosuch/tasks",), ""))
    assert run(box, plan).lines == [f"E 0 {errno.ENOENT} open /sys/fs/cgroup/pids/nosuch/tasks"]


def test_malformed_plan(box: Box, started: Started) -> None:
    plan = box.exec_plan(started, "true")
    plan.ops.pop(0)
    assert run(box, plan).lines == [f"E -1 {errno.EINVAL} plan: no ENTER"]


def test_privileges_are_dropped(box: Box, started: Started) -> None:
    def confine(plan: Plan) -> None:
        plan.add("CREDS", 1000, 1000, b"")
        plan.add("CAPS", 1, 0, 0, 0, 0)
        plan.add("NO_NEW_PRIVS")

    out = run(box, box.exec_plan(started, "cat", "/proc/self/status", inside=confine)).out.decode()
    words = {line.partition(":")[0]: line.partition(":")[2].strip() for line in out.splitlines()}
    assert (int(words["CapBnd"], 16), int(words["CapEff"], 16), int(words["CapPrm"], 16)) == (1, 0, 0)
    assert (words["Uid"].split()[0], words["NoNewPrivs"]) == ("1000", "1")
