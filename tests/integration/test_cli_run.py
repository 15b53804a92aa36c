"""`tiffin run` and its relatives as a user types them: output, exit codes, stdio, errors."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration.conftest import Runner


def test_output_and_exit_code_are_the_commands(tiffin: Runner, busybox: str) -> None:
    result = tiffin("run", "--rm", busybox, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result == (7, "out\n", "err\n")
    assert tiffin.ok("ps", "-aq") == ""


def test_input_reaches_it_only_when_asked_for(tiffin: Runner, busybox: str) -> None:
    assert tiffin("run", "--rm", "-i", busybox, "cat", input="hello") == (0, "hello", "")
    assert tiffin("run", "--rm", busybox, "cat", input="hello") == (0, "", "")


def test_a_lot_both_ways(tiffin: Runner, busybox: str) -> None:
    data = os.urandom(3_000_000)
    done = tiffin.binary("run", "--rm", "-i", busybox, "cat", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_only_the_attached_streams(tiffin: Runner, busybox: str) -> None:
    result = tiffin("run", "--rm", "-a", "stderr", busybox, "sh", "-c", "echo out; echo err >&2")
    assert result == (0, "", "err\n")


@pytest.mark.parametrize(
    ("command", "code", "err"),
    [
        (["nosuch"], 127, 'tiffin: exec: "nosuch": executable file not found in $PATH\n'),
        (["/etc/passwd"], 126, 'tiffin: exec: "/etc/passwd": permission denied\n'),
    ],
)
def test_commands_that_cannot_run(tiffin: Runner, busybox: str, command: list[str], code: int, err: str) -> None:
    assert tiffin("run", "--rm", busybox, *command) == (code, "", err)
    assert tiffin.ok("ps", "-aq") == ""


def test_tiffins_own_failures_are_125(tiffin: Runner, busybox: str) -> None:
    result = tiffin("run", "--rm", "nosuch", "true")
    assert result == (125, "", "tiffin: no such image: nosuch\n`tiffin images` lists what is here\n")
    assert tiffin("exec", "nosuch", "true").code == 1


def test_detached(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    cidfile = tmp_path / "cid"
    printed = tiffin.ok("run", "-d", "--name", "web", "--cidfile", str(cidfile), busybox, "sleep", "100")
    assert len(printed) == 64
    assert cidfile.read_text() == printed
    assert tiffin.ok("ps", "-q", "--no-trunc") == printed
    assert tiffin.ok("ps", "--format", "{{.Names}} {{.Image}} {{.State}}") == "web busybox running"
    assert tiffin.ok("stop", "-t", "0", "web") == "web"
    assert tiffin.ok("ps", "-q") == ""
    assert tiffin.ok("wait", "web") == "137"
    assert tiffin.ok("rm", "web") == "web"


def test_an_existing_cidfile_is_kept(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    cidfile = tmp_path / "cid"
    cidfile.write_text("mine")
    result = tiffin("run", "--rm", "--cidfile", str(cidfile), busybox, "true")
    assert result == (
        125,
        "",
        f"tiffin: the container ID file {cidfile} exists already\nits container may still be there; else delete it\n",
    )
    assert cidfile.read_text() == "mine"
    assert tiffin("create", "--cidfile", f"{tmp_path}/new", "nosuch").code == 1
    assert not (tmp_path / "new").exists()


def test_create_then_start_attached(tiffin: Runner, busybox: str) -> None:
    assert len(tiffin.ok("create", "-i", "--name", "c1", busybox, "sh", "-c", "cat; exit 3")) == 64
    assert tiffin.ok("ps", "-a", "--format", "{{.Status}}") == "Created"
    assert tiffin("start", "-ai", "c1", input="hello") == (3, "hello", "")
    assert tiffin.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (3) ")
    assert tiffin.ok("rm", "c1") == "c1"


def test_signals_are_passed_on(tiffin: Runner, busybox: str) -> None:
    script = "trap 'echo got; exit 5' TERM; echo ready; while true; do sleep 0.1; done"
    process = tiffin.start("run", "--rm", busybox, "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == b"got\n"
    assert process.wait(10) == 5
    process.stdout.close()


def test_signals_leave_without_sig_proxy(tiffin: Runner, busybox: str) -> None:
    script = "echo ready; sleep 100"
    process = tiffin.start(
        "run", "--sig-proxy=false", "--name", "c1", busybox, "sh", "-c", script, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    process.stdout.close()
    assert tiffin.ok("ps", "--format", "{{.Names}}") == "c1"


def test_nobody_reads_the_output(tiffin: Runner, busybox: str) -> None:
    process = tiffin.start("run", "--rm", busybox, "yes", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.wait(10) == 141
    assert tiffin.ok("ps", "-aq") == ""


def test_a_terminal_needs_a_terminal(tiffin: Runner, busybox: str) -> None:
    expected = "tiffin: the input device is not a TTY\nleave out -t when input comes from a pipe or file\n"
    assert tiffin("run", "--rm", "-it", busybox, "true") == (125, "", expected)
    assert tiffin("run", "--rm", "-t", busybox, "sh", "-c", "test -t 1 && echo yes") == (0, "yes\r\n", "")
    assert tiffin.ok("ps", "-aq") == ""


def test_environment(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=file\nB=file\n")
    result = tiffin(
        "run", "--rm", "--env-file", str(file), "-e", "B=line", "-e", "FROM_HOST", "-e", "NOWHERE", busybox, "env",
        env={"FROM_HOST": "h"},
    )  # fmt: skip
    found = set(result.out.splitlines())
    assert {"A=file", "B=line", "FROM_HOST=h"} <= found
    assert not any(line.startswith("NOWHERE") for line in found)


def test_binds(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert tiffin.ok("run", "--rm", "-v", f"{new}:/data", busybox, "sh", "-c", "echo x > /data/f") == ""
    assert (new / "f").read_text() == "x\n"
    assert stat.S_IMODE(new.stat().st_mode) == 0o755
    result = tiffin("run", "--rm", "-v", f"{new}:/data:ro", busybox, "touch", "/data/g")
    assert (result.code, result.err) == (1, "touch: /data/g: Read-only file system\n")


def test_exec(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    tiffin.ok("run", "-d", "--name", "web", "-e", "A=1", busybox, "sleep", "100")
    assert tiffin("exec", "web", "sh", "-c", "echo $A; echo err >&2; exit 3") == (3, "1\n", "err\n")
    assert tiffin("exec", "-i", "web", "cat", input="hello") == (0, "hello", "")
    assert tiffin("exec", "web", "cat", input="hello") == (0, "", "")
    assert tiffin("exec", "-w", "/tmp", "-u", "alice", "-e", "A=2", "web", "sh", "-c", "pwd; id -un; echo $A").out == (
        "/tmp\nalice\n2\n"
    )
    assert tiffin("exec", "web", "nosuch") == (
        127, "", 'tiffin: exec: "nosuch": executable file not found in $PATH\n',
    )  # fmt: skip
    tiffin.ok("exec", "-d", "web", "touch", "/tmp/made")
    deadline = time.monotonic() + 5
    while tiffin("exec", "web", "test", "-e", "/tmp/made").code != 0:
        assert time.monotonic() < deadline
    tiffin.ok("rm", "-f", "web")
    assert tiffin("exec", "web", "true").code == 1


def test_exec_never_holds_the_hosts_files(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    """A file as standard output is fed through a pipe; a pipe is handed over as it is."""
    tiffin.ok("run", "-d", "--name", "web", busybox, "sleep", "100")
    out = tmp_path / "out"
    source = tmp_path / "in"
    source.write_bytes(os.urandom(500_000))
    with out.open("wb") as file, source.open("rb") as given:
        script = "for fd in 0 1; do readlink /proc/self/fd/$fd >&2; done; cat"
        process = tiffin.start("exec", "-i", "web", "sh", "-c", script,
                               stdin=given, stdout=file, stderr=subprocess.PIPE)  # fmt: skip
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert [line.partition(b":")[0] for line in err.splitlines()] == [b"pipe", b"pipe"]
    assert out.read_bytes() == source.read_bytes()


def test_several_at_once_go_on_after_a_failure(tiffin: Runner, busybox: str) -> None:
    for name in ("aa", "bb"):
        tiffin.ok("create", "--name", name, busybox, "true")
    result = tiffin("rm", "aa", "nosuch", "bb")
    assert result == (1, "aa\nbb\n", "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n")


def test_what_is_gone_need_not_be_removed_by_force(tiffin: Runner, busybox: str) -> None:
    assert busybox
    gone = tiffin("rm", "-f", "nosuch")
    assert gone == (0, "", "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n")
    result = tiffin("rmi", "-f", "nosuch")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("tiffin: no such image: nosuch\n")


def test_attach_watches_without_taking_over(tiffin: Runner, busybox: str) -> None:
    script = "trap 'exit 4' TERM; while true; do echo tick; sleep 0.1; done"
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sh", "-c", script)
    process = tiffin.start("attach", "c1", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"tick\n"
    tiffin.ok("kill", "-s", "TERM", "c1")
    assert set(process.stdout.read().splitlines()) <= {b"tick"}
    assert process.wait(10) == 4
    process.stdout.close()


def test_debug_adds_to_standard_error_only(tiffin: Runner, busybox: str) -> None:
    done = subprocess.run(
        [*tiffin.command, "--debug", "--root", tiffin.root, "run", "--rm", busybox, "sh", "-c", "echo out; exit 3"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert b"EXEC" in done.stderr
    assert b" ms] " in done.stderr


def test_a_container_whose_output_cannot_be_written_ends(tiffin: Runner, busybox: str) -> None:
    with open("/dev/full", "wb") as full:
        process = tiffin.start("run", "--rm", busybox, "yes", stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (125, b"tiffin: cannot write the output: No space left on device\n")
    deadline = time.monotonic() + 5
    while tiffin.ok("ps", "-aq") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tiffin.ok("ps", "-aq") == ""


def test_sizes(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("create", "--name", "c1", busybox, "true")
    written, all_of_it = tiffin.ok("inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "c1").split()
    assert int(all_of_it) - int(written) == int(tiffin.ok("inspect", "-f", "{{.Size}}", busybox)) > 0


def test_exec_makes_no_working_directory(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sleep", "60")
    result = tiffin("exec", "-w", "/not/there", "c1", "pwd")
    assert (result.code, result.out) == (126, "")
    assert result.err == "tiffin: cannot change to the working directory /not/there: No such file or directory\n"
    assert tiffin("exec", "c1", "ls", "/not").code == 1
