"""Descriptors for the program inside, and nothing but those."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from tiffin.errors import UsageError
from tiffin.model.container import ContainerConfig

if TYPE_CHECKING:
    from integration.conftest import Runner

# After a moment, in which the shell lets go of the pipe.
OPEN = "(sleep 0.2; ls /proc/$$/fd) | xargs"


PLACE = """
import fcntl, os, sys
fds = eval(sys.argv[1])
copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for number, fd in enumerate(copies):
    os.dup2(fd, 3 + number)
os.closerange(3 + len(fds), 200)
if "LISTEN_FDS" in os.environ:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


def with_fds(
    tiffin: Runner, fds: Sequence[int], *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run the command line with copies of `fds` at 3 and on, as a shell's redirections or systemd would."""
    done = subprocess.run(
        [sys.executable, "-c", PLACE, str(list(fds)), *tiffin.argv(*arguments)], pass_fds=fds,
        capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def files(tmp_path: Path) -> list[int]:
    found = []
    for number in range(8):
        (tmp_path / str(number)).write_text(f"file {number}\n")
        found.append(os.open(tmp_path / str(number), os.O_RDONLY))
    return found


@pytest.mark.parametrize("options", [(), ("--init",), ("--security-opt", "no-new-privileges")])
def test_preserved_and_nothing_else(tiffin: Runner, busybox: str, files: list[int], options: tuple[str, ...]) -> None:
    script = "cat <&3; cat <&10; " + OPEN
    run = ("run", "--rm", "--preserve-fds", "8", *options, busybox, "sh", "-c", script)
    assert with_fds(tiffin, files, *run) == (0, "file 0\nfile 7\n0 1 10 2 3 4 5 6 7 8 9\n", "")
    # One more is open here, and stays here.
    code, out, _ = with_fds(tiffin, files[:3], "run", "--rm", "--preserve-fds", "2", busybox, "sh", "-c", OPEN)
    assert (code, out) == (0, "0 1 2 3 4\n")
    assert tiffin.ok("run", "--rm", busybox, "sh", "-c", OPEN) == "0 1 2"


def test_exec_and_start(tiffin: Runner, busybox: str, files: list[int]) -> None:
    tiffin.ok("run", "-d", "--name", "web", busybox, "sleep", "100")
    command = ("sh", "-c", "cat <&3; " + OPEN)
    assert with_fds(tiffin, files[:1], "exec", "--preserve-fds", "1", "web", *command) == (0, "file 0\n0 1 2 3\n", "")
    code, _, err = with_fds(tiffin, files[:1], "start", "--preserve-fds", "1", "web")
    assert code == 1 and "container 'web' is already running, so descriptors cannot be passed to it" in err
    tiffin.ok("rm", "-f", "web")
    tiffin.ok("create", "--name", "later", busybox, *command)
    result = with_fds(tiffin, files[1:2], "start", "-a", "--preserve-fds", "1", "later")
    assert result == (0, "file 1\n0 1 2 3\n", "")


TOLD = "echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo mine; echo $$"


@pytest.mark.parametrize(("options", "pid"), [((), "1"), (("--init",), "2")])
def test_socket_activation_goes_through(
    tiffin: Runner, busybox: str, files: list[int], options: tuple[str, ...], pid: str
) -> None:
    env = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:api"}
    run = ("run", "--rm", *options, busybox, "sh", "-c", TOLD + "; cat <&4; " + OPEN)
    code, out, err = with_fds(tiffin, files[:3], *run, env=env)
    assert (code, out, err) == (0, f"2 web:api\nmine\n{pid}\nfile 1\n0 1 2 3 4\n", "")
    # What is meant for another process is not handed on.
    assert tiffin("run", "--rm", busybox, "sh", "-c", OPEN, env={**env, "LISTEN_PID": "1"}).out == "0 1 2\n"


def test_by_name(tiffin: Runner, busybox: str, files: list[int]) -> None:
    options = ("--pass-fd", "http:4", "--pass-fd", "log:3")
    run = ("run", "--rm", *options, busybox, "sh", "-c", TOLD + "; cat <&3 <&4; cat <&3")
    code, out, _ = with_fds(tiffin, files[:2], *run)
    assert (code, out) == (0, "2 http:log\nmine\n1\nfile 0\nfile 1\n")


def test_from_the_library_and_the_end_of_a_socket(engine: library.Engine, busybox: str) -> None:
    ours, theirs = socket.socketpair()
    config = ContainerConfig(
        image=busybox, command=("sh", "-c", "echo $LISTEN_FDNAMES >&3; read x <&3; echo got $x >&3")
    )
    container = engine.create(config)
    with ours:
        with theirs:
            engine.start(container.id, pass_fds=[("talk", theirs.fileno())])
        ours.settimeout(20)
        with ours.makefile("rwb") as stream:
            assert stream.readline() == b"talk\n"
            stream.write(b"it\n")
            stream.flush()
            assert stream.readline() == b"got it\n"
            assert stream.readline() == b""  # nobody holds the other end: not the monitor, not the engine
    assert engine.wait(container.id) == 0
    with pytest.raises(UsageError) as raised:
        engine.start(container.id, pass_fds=[9999])
    assert raised.value.message == "file descriptor 9999 is not available: it is not open in the calling process"
    with pytest.raises(UsageError, match="is not one to 255 printable characters without"):
        engine.start(container.id, pass_fds=[("a:b", 0)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--preserve-fds", "2"),
            "file descriptor 4 is not available - the preserve-fds option requires that file descriptors "
            "must be passed",
        ),
        (
            ("--preserve-fds", "-1"),
            'invalid argument "-1" for "--preserve-fds": a number of descriptors is not negative',
        ),
        (("--pass-fd", "3"), 'invalid argument "3" for "--pass-fd": not of the form name:number'),
        (("--pass-fd", "a:77"), "file descriptor 77 is not available: it is not open in the calling process"),
    ],
)
def test_refusals(tiffin: Runner, busybox: str, files: list[int], options: tuple[str, ...], message: str) -> None:
    code, _, err = with_fds(tiffin, files[:1], "run", "--rm", *options, busybox, "true")
    assert code == 125 and err.splitlines()[0] == f"tiffin: {message}"
    assert tiffin.ok("ps", "-aq") == ""


def test_passthrough(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        argv = tiffin.argv(
            "run", "--name", "p1", "--log-driver", "passthrough", busybox, "sh", "-c", "cat; echo e >&2; exit 4"
        )
        done = subprocess.run(argv, input=b"through\n", stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 4 and done.stderr == b"e\n" and (tmp_path / "out").read_bytes() == b"through\n"
    assert "configured logging driver does not support reading" in tiffin("logs", "p1").err
    result = tiffin("run", "-t", "--log-driver", "passthrough", busybox, "true")
    assert result.code == 125 and "conflicting options: --log-driver passthrough and --tty" in result.err
