"""The launch role by itself: programs, exits, streams, logs and the files that tell of them."""

from __future__ import annotations

import calendar
import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_fixtures import (
    ALL_NAMESPACES,
    CLONE_NEWPID,
    CLOSE_STDIN,
    EXIT,
    RESIZE,
    STDIN,
    STDOUT,
    Box,
    LaunchFailed,
    parse_log,
    process_exists,
    wait_until,
)
from tiffin.runtime.ops import Plan


def test_output_exit_code_and_files(box: Box) -> None:
    before = time.time_ns()
    assert box.run("sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    ended = box.ended()
    assert (ended.code, ended.signal, ended.oom) == (7, 0, 0)
    assert before <= ended.started_ns <= ended.finished_ns <= time.time_ns()
    lines = parse_log(box.log)
    assert sorted((line.stream, line.kind, line.text) for line in lines) == [
        ("stderr", "F", b"err"),
        ("stdout", "F", b"out"),
    ]
    assert os.listdir(box.run_dir) == []


def test_log_time_is_rfc3339_with_nanoseconds(box: Box) -> None:
    before = time.time_ns()
    box.run("echo", "x")
    stamp = parse_log(box.log)[0].time
    day, _, rest = stamp.partition("T")
    clock, _, fraction = rest.rstrip("Z").partition(".")
    assert stamp.endswith("Z") and len(fraction) == 9
    seconds = time.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S")
    assert before <= calendar.timegm(seconds) * 10**9 + int(fraction) <= time.time_ns()


def test_status_file_while_it_runs(box: Box) -> None:
    started = box.start(box.plan("sleep", "100"))
    words = (box.run_dir / "status").read_text().split()
    assert words[0] == "running" and len(words) == 7
    assert (int(words[3]), int(words[4])) == started
    monitor = int(words[1])
    assert Path(f"/proc/{monitor}/comm").read_text() == "tiffin-monitor\n"
    stat = Path(f"/proc/{monitor}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(words[2]) == int(stat[19])
    assert words[6] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not box.exit_file.exists()
    assert (box.run_dir / "attach.sock").stat().st_mode & 0o777 == 0o600
    os.kill(started.pid, signal.SIGKILL)
    assert box.ended()[:3] == (137, 9, 0)


def test_monitor_ignores_what_is_not_sigkill(box: Box) -> None:
    started = box.start(box.plan("sleep", "100"))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1):
        os.kill(box.monitor, number)
    time.sleep(0.05)
    assert process_exists(box.monitor) and process_exists(started.pid)


def test_container_dies_with_its_monitor(box: Box) -> None:
    started = box.start(box.plan("sh", "-c", "sleep 100 & sleep 100"))
    os.kill(box.monitor, signal.SIGKILL)
    wait_until(lambda: not process_exists(started.pid), "the container's end")
    assert (box.run_dir / "status").exists() and not box.exit_file.exists()


def test_container_of_another_user_dies_with_its_monitor(box: Box) -> None:
    """A change of user resets PR_SET_PDEATHSIG, which must be set again."""
    plan = box.plan("sleep", "100", inside=lambda p: p.add("CREDS", 1000, 1000, b""))
    started = box.start(plan)
    os.kill(box.monitor, signal.SIGKILL)
    wait_until(lambda: not process_exists(started.pid), "the container's end")


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["/nowhere"], errno.ENOENT),
        (["nowhere"], errno.ENOENT),
        ([""], errno.ENOENT),
        (["/etc"], errno.EACCES),
        (["/etc/plain"], errno.EACCES),
        (["plain"], errno.EACCES),
        (["/etc/garbage"], errno.ENOEXEC),
        (["/bin/sh/x"], errno.ENOTDIR),
    ],
)
def test_program_that_cannot_run(box: Box, arguments: list[str], number: int) -> None:
    (box.root / "etc/plain").write_text("echo")
    (box.root / "etc/garbage").write_text("no program")
    (box.root / "etc/garbage").chmod(0o755)
    plan = box.plan(*arguments, env=["PATH=/missing:/etc:/bin"])
    with pytest.raises(LaunchFailed) as caught:
        box.start(plan)
    assert (caught.value.op, caught.value.errno) == (len(plan.ops) - 1, number)
    assert caught.value.text == f"exec {arguments[0]}\n".replace(" \n", "\n")
    assert os.listdir(box.run_dir) == [] and not box.exit_file.exists()


def test_default_path(box: Box) -> None:
    assert box.run("echo", "x", env=["A=1"])[1] == b"x\n"


def test_arguments_and_environment_are_exact(box: Box) -> None:
    assert box.run("sh", "-c", 'printf "%s|" "$@"', "sh", "", "a b", "ü\n")[1] == "|a b|ü\n|".encode()


def test_environment(box: Box) -> None:
    out = box.run("env", env=["PATH=/bin", "A= x", "B="])[1]
    assert sorted(out.splitlines()) == [b"A= x", b"B=", b"PATH=/bin"]


def test_failing_step_names_its_operation(box: Box) -> None:
    plan = box.plan("true", in_root=lambda p: p.add("MOUNT_IN", "x", "/mnt", "nosuchfs", 0, ""))
    index = [op[0] for op in plan].index("MKNOD_IN") + 1
    with pytest.raises(LaunchFailed) as caught:
        box.start(plan)
    assert (caught.value.op, caught.value.errno, caught.value.text) == (index, errno.ENODEV, "mount /mnt\n")
    assert os.listdir(box.run_dir) == []


def test_malformed_plan_does_nothing(box: Box) -> None:
    good = bytes(box.plan("true"))
    for bad, text in ((b"", "bad magic"), (good[:-1], "bad length"), (good + b"x", "bad length")):
        with pytest.raises(LaunchFailed) as caught:
            box.start(bad)
        assert (caught.value.op, caught.value.errno, caught.value.text) == (-1, errno.EINVAL, f"plan: {text}\n")
    with pytest.raises(LaunchFailed) as caught:
        box.start(good + bytes(4 << 20))
    assert caught.value.text == "plan: too long\n"
    assert os.listdir(box.run_dir) == [] and not box.log.exists()


def test_log_that_cannot_be_opened(box: Box) -> None:
    box.log.mkdir()
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true"))
    assert (caught.value.op, caught.value.errno) == (2, errno.EISDIR)
    assert os.listdir(box.run_dir) == []


def test_killed_before_it_ran(box: Box) -> None:
    """A seccomp program that kills: the failure says by which signal."""
    kill = (0x06).to_bytes(2, "little") + bytes(2) + (0x80000000).to_bytes(4, "little")
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", inside=lambda p: p.add("SECCOMP", kill, 0)))
    assert caught.value.op == -1 and caught.value.errno == errno.EIO
    assert caught.value.text == "the first process was killed by signal 31 before it could run the program\n"


def test_stdin_is_empty_without_open_stdin(box: Box) -> None:
    assert box.run("cat") == (0, b"", b"")


def test_stdin(box: Box) -> None:
    box.start(box.plan("sh", "-c", "cat; echo end", stdin=True), owner=True)
    assert box.owner is not None
    data = os.urandom(300_000)
    # Written and read in turn: neither side may buffer without bound.
    pid = os.fork()
    if pid == 0:
        for at in range(0, len(data), 50_000):
            box.owner.send(STDIN, data[at : at + 50_000])
        box.owner.send(CLOSE_STDIN)
        os._exit(0)
    out, _, code = box.owner.rest()
    os.waitpid(pid, 0)
    assert (out, code) == (data + b"end\n", 0)


def test_stdin_that_nobody_reads(box: Box) -> None:
    box.start(box.plan("sh", "-c", "exec <&-; sleep 0.1; echo end", stdin=True), owner=True)
    assert box.owner is not None
    box.owner.send(STDIN, bytes(1000))
    assert box.owner.rest() == (b"end\n", b"", 0)


def test_attach_by_several_clients(box: Box) -> None:
    started = box.start(box.plan("sh", "-c", "read a; echo got $a; read a; echo got $a; exit 3", stdin=True))
    first, second = box.attach(), box.attach()
    first.send(STDIN, b"one\n")
    assert first.until(b"got one\n") == second.until(b"got one\n") == b"got one\n"
    first.close()
    second.send(STDIN, b"two\n")
    assert second.rest() == (b"got two\n", b"", 3)
    assert not process_exists(started.pid)


def test_client_that_talks_nonsense_is_dropped(box: Box) -> None:
    box.start(box.plan("sleep", "100"))
    for nonsense in (b"\x09" + bytes(7), b"\x04\0\0\0\0\0\0\x05hello", b"\x05\0\0\0\0\0\0\x01x"):
        client = box.attach()
        os.write(client.write_fd, nonsense)
        assert client.next() is None
    assert process_exists(box.monitor)


def test_owner_that_was_killed_leaves_the_container_running(box: Box) -> None:
    started = box.start(box.plan("sh", "-c", "sleep 0.2; echo late"), owner=True)
    assert box.owner is not None
    box.owner.close()
    assert process_exists(started.pid)
    assert box.ended().code == 0
    assert [line.text for line in parse_log(box.log)] == [b"late"]


def on_exit(box: Box) -> Callable[[Plan], object]:
    return lambda plan: plan.add("ON_EXIT", ["/bin/busybox", "touch", str(box.directory / "cleaned")])


def test_on_exit_runs_without_an_owner(box: Box) -> None:
    box.start(box.plan("true", monitor=on_exit(box)))
    wait_until((box.directory / "cleaned").exists, "ON_EXIT")
    assert box.exit_file.exists()


def test_on_exit_runs_when_the_owner_leaves(box: Box) -> None:
    box.start(box.plan("true", monitor=on_exit(box)), owner=True)
    assert box.owner is not None
    assert box.owner.rest() == (b"", b"", 0)
    time.sleep(0.05)
    assert not (box.directory / "cleaned").exists()
    box.owner.close()
    wait_until((box.directory / "cleaned").exists, "ON_EXIT")


def test_on_exit_does_not_run_when_the_owner_claims(box: Box) -> None:
    box.run("true", monitor=on_exit(box))
    monitor = box.monitors[-1][0] if box.monitors else None
    if monitor:
        wait_until(lambda: not process_exists(monitor), "the monitor's end")
    time.sleep(0.05)
    assert not (box.directory / "cleaned").exists()


def test_partial_lines(box: Box) -> None:
    box.run("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; printf tail", in_root=zero)
    lines = parse_log(box.log)
    assert [(line.kind, len(line.text)) for line in lines] == [("P", 16384), ("P", 16384), ("F", 7232), ("P", 4)]
    assert lines[3].text == b"tail"


def zero(plan: Plan) -> None:
    plan.add("MKNOD_IN", "/dev/zero", 0o20666, os.makedev(1, 5), 0, 0)


def test_binary_output_is_exact(box: Box) -> None:
    data = bytes(range(256)) * 40
    (box.root / "etc/data").write_bytes(data)
    assert box.run("cat", "/etc/data")[1] == data
    joined = b"".join(line.text + (b"\n" if line.kind == "F" else b"") for line in parse_log(box.log))
    assert joined == data


@pytest.mark.parametrize("files", [1, 2, 3])
def test_log_rotation(box: Box, files: int) -> None:
    code, out, _ = box.run("seq", "100000", "103000", log=(20_000, files))
    assert code == 0 and len(out) == 3001 * 7
    paths = [box.log.with_name("log" + (f".{n}" if n else "")) for n in range(files)]
    assert [path.exists() for path in paths] == [True] * files
    assert not box.log.with_name(f"log.{files}").exists()
    assert all(path.stat().st_size <= 20_000 for path in paths)
    lines = [line for path in reversed(paths) for line in parse_log(path)]
    numbers = [int(line.text) for line in lines]
    # What is left is the end, without a gap.
    assert numbers == list(range(numbers[0], 103001))


def test_full_disk_does_not_stop_the_container(box: Box, tmp_path: Path) -> None:
    """The log is the device on which every write fails with ENOSPC."""
    full = tmp_path / "full"
    os.mknod(full, 0o20600, os.makedev(1, 7))
    box.log = full
    code, out, _ = box.run("sh", "-c", "seq 1 1000; echo done")
    assert code == 0 and out.endswith(b"done\n")


def test_lost_output_is_counted_and_told(box: Box) -> None:
    """A limit on the monitor's file size stands in for a disk that is full for a while."""
    box.start(box.plan("sh", "-c", "while read n; do head -c $n /dev/zero | tr '\\0' '\\n'; echo; done", in_root=zero,
                       stdin=True))  # fmt: skip
    client = box.attach()
    client.send(STDIN, b"10\n")
    client.until(b"\n" * 11)
    box.wait_for_a_turn()
    size = box.log.stat().st_size
    unlimited = resource.prlimit(box.monitor, resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
    client.send(STDIN, b"99\n")
    client.until(b"\n" * 100)
    box.wait_for_a_turn()
    assert box.log.stat().st_size == size, "no torn line is left"
    resource.prlimit(box.monitor, resource.RLIMIT_FSIZE, unlimited)
    client.send(STDIN, b"1\n")
    client.until(b"\n\n")
    client.send(CLOSE_STDIN)
    box.ended()
    lines = parse_log(box.log)
    note = "tiffin: 100 bytes of output were lost: File too large"
    assert [line.text.decode() for line in lines] == [""] * 11 + [note] + [""] * 2
    assert lines[11].stream == "stderr"


def test_log_that_cannot_rotate_does_not_grow(box: Box) -> None:
    (box.directory / "log.new").mkdir()
    box.run("seq", "1", "5000", log=(10_000, 2))
    assert box.log.stat().st_size <= 10_000 and not (box.directory / "log.1").exists()


def test_exit_that_cannot_be_recorded_leaves_the_status(box: Box) -> None:
    started = box.start(box.plan("sleep", "100"))
    box.exit_file.mkdir()
    (box.exit_file / "x").touch()
    monitor = box.monitor
    os.kill(started.pid, signal.SIGKILL)
    wait_until(lambda: not process_exists(monitor), "the monitor's end")
    assert (box.run_dir / "status").read_text().startswith(f"running {monitor} ")


def test_engine_that_died_during_a_failing_launch(box: Box) -> None:
    """Nobody reads the failure, so the monitor runs ON_EXIT."""
    plan = box.plan("/nowhere", monitor=on_exit(box))
    box.start_unheard(plan)
    wait_until((box.directory / "cleaned").exists, "ON_EXIT")
    assert not box.exit_file.exists() and os.listdir(box.run_dir) == []


def test_engine_that_died_during_a_launch(box: Box) -> None:
    box.start_unheard(box.plan("sh", "-c", "echo ran", monitor=on_exit(box)))
    wait_until((box.directory / "cleaned").exists, "ON_EXIT")
    assert box.ended().code == 0 and parse_log(box.log)[0].text == b"ran"


def test_owner_that_only_writes_at_the_end(box: Box) -> None:
    """It blocks on its stdin pipe before it reads: the monitor must go on reading, or both wait for ever."""
    box.start(box.plan("sh", "-c", "seq 1 20000", stdin=True), owner=True)
    assert box.owner is not None
    box.ended()
    for _ in range(20):
        box.owner.send(STDIN, bytes(10_000))
    assert box.owner.rest()[2] == 0


def test_many_clients(box: Box) -> None:
    box.start(box.plan("sh", "-c", "read x; echo hello; exit 2", stdin=True))
    clients = [box.attach() for _ in range(100)]
    box.wait_for_a_turn()  # later than theirs
    clients[50].send(STDIN, b"\n")
    assert [client.rest() for client in clients] == [(b"hello\n", b"", 2)] * 100


def test_stalled_client_holds_the_container_back_and_is_let_go_at_the_end(box: Box) -> None:
    started = box.start(box.plan("sh", "-c", "read x; seq 1 200000; exit 4", stdin=True))
    stalled, reading = box.attach(), box.attach()
    reading.send(STDIN, b"go\n")
    out = reading.until_silence(0.5)
    assert process_exists(started.pid) and 64 << 10 < len(out) < 1 << 20
    stalled.close()
    rest, _, code = reading.rest()
    assert out + rest == b"".join(b"%d\n" % n for n in range(1, 200001))
    assert code == 4


def test_stalled_client_delays_the_end_only_a_moment(box: Box) -> None:
    box.start(box.plan("sh", "-c", "read x; seq 1 20000", stdin=True))
    stalled = box.attach()
    stalled.send(STDIN, b"go\n")
    # The end is recorded though the client has not read a byte.
    box.ended(timeout_s=5)
    wait_until(lambda: not process_exists(box.monitor), "the monitor's end", 10)


def test_stalled_owner_loses_nothing(box: Box) -> None:
    box.start(box.plan("seq", "1", "20000"), owner=True)
    box.ended(timeout_s=5)
    time.sleep(2.5)
    assert box.owner is not None
    out, _, code = box.owner.rest()
    assert out == b"".join(b"%d\n" % n for n in range(1, 20001)) and code == 0


def test_output_at_full_speed(box: Box) -> None:
    box.start(box.plan("sh", "-c", "head -c 50000000 /dev/zero | tr '\\0' '\\n'", in_root=zero, log=None), owner=True)
    assert box.owner is not None
    size = 0
    while (got := box.owner.next()) is not None and got[0] == STDOUT:
        size += len(got[1])
    assert got is not None and got[0] == EXIT
    assert size == 50_000_000


def test_output_at_full_speed_with_nobody_reading(box: Box) -> None:
    box.start(box.plan("sh", "-c", "head -c 50000000 /dev/zero | tr '\\0' x", in_root=zero, log=(1 << 20, 2)))
    assert box.ended(60).code == 0
    assert sum(path.stat().st_size for path in box.directory.glob("log*")) <= 2 << 20


def test_output_before_the_exit_is_never_lost(box: Box) -> None:
    for _ in range(20):
        box.exit_file.unlink(missing_ok=True)
        assert (
            box.run("sh", "-c", "seq 1 5000; seq 1 5000 >&2")[1:]
            == (b"".join(b"%d\n" % n for n in range(1, 5001)),) * 2
        )


def test_streams_closed_early(box: Box) -> None:
    assert box.run("sh", "-c", "echo a; exec >&- 2>&-; sleep 0.05; exit 9") == (9, b"a\n", b"")


def test_shared_pid_namespace_leaves_nothing(box: Box, cgroup: Path) -> None:
    def join(plan: Plan) -> None:
        plan.add("CGROUP_TASKS", str(cgroup / "tasks"))
        plan.add("CGROUP_REMOVE", str(cgroup))

    shared = ALL_NAMESPACES & ~CLONE_NEWPID
    plan = box.plan("sh", "-c", "sleep 1000 & echo $!", namespaces=shared, monitor=join)
    box.start(plan, owner=True)
    assert box.owner is not None
    out, _, code = box.owner.rest()
    assert code == 0
    assert not process_exists(int(out))
    assert not cgroup.exists()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = Path(f"/sys/fs/cgroup/pids/tiffin-test-{os.getpid()}")
    path.mkdir(exist_ok=True)
    yield path
    if path.exists():
        path.rmdir()


def test_tty(box: Box) -> None:
    script = "tty; stty size; read a; echo got $a; test -t 0 && test -t 2 && exit 6"
    box.start(box.plan("sh", "-c", script, tty=(33, 77), stdin=True), owner=True)
    assert box.owner is not None
    assert box.owner.until(b"33 77\r\n").startswith(b"/dev/pts/0\r\n")
    box.owner.send(STDIN, b"x\n")
    out, err, code = box.owner.rest()
    assert (out, err, code) == (b"x\r\ngot x\r\n", b"", 6)
    assert [line.stream for line in parse_log(box.log)] == ["stdout"] * 4


def test_tty_resize(box: Box) -> None:
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done"
    box.start(box.plan("sh", "-c", script, tty=(24, 80), stdin=True), owner=True)
    assert box.owner is not None
    box.owner.until(b"ready\r\n")
    box.owner.send(RESIZE, bytes([0, 50, 1, 0]))
    assert box.owner.rest() == (b"50 256\r\n", b"", 0)


def test_tty_interrupt_and_console(box: Box) -> None:
    script = "trap 'exit 5' INT; echo hello > /dev/console; while :; do sleep 0.01; done"
    box.start(box.plan("sh", "-c", script, tty=(24, 80), stdin=True), owner=True)
    assert box.owner is not None
    box.owner.until(b"hello\r\n")
    box.owner.send(STDIN, b"\x03")
    assert box.owner.rest() == (b"^C", b"", 5)


def test_tty_output_before_the_exit_is_never_lost(box: Box) -> None:
    for _ in range(20):
        box.exit_file.unlink(missing_ok=True)
        assert box.run("seq", "1", "2000", tty=(24, 80))[1].split() == [b"%d" % n for n in range(1, 2001)]


def test_tty_that_is_closed_for_a_while(box: Box) -> None:
    script = "exec 0<&- 1>&- 2>&-; sleep 0.1; exec > /dev/console; echo back; exit 2"
    assert box.run("sh", "-c", script, tty=(24, 80)) == (2, b"back\r\n", b"")
