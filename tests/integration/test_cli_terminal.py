"""In a terminal: raw keys, sizes, detaching and coming back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from harness.terminal import Terminal

if TYPE_CHECKING:
    from integration.conftest import Runner

pytestmark = pytest.mark.tty
Opener = Callable[..., Terminal]


def test_a_shell_with_its_size_and_a_new_one(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    with terminal("run", "-it", "--rm", busybox, size=(33, 101)) as screen:
        screen.expect("/ # ")
        screen.line("stty size")
        screen.expect("33 101")
        screen.resize(20, 90)
        screen.line("sleep 0.2; stty size")
        screen.expect("20 90")
        screen.line("exit 5")
        assert screen.wait() == 5
    assert tiffin.ok("ps", "-aq") == ""


def test_keys_go_through_raw(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    with terminal("run", "-it", "--rm", busybox) as screen:
        screen.expect("/ # ")
        screen.line("sh -c 'echo go; sleep 100'")
        screen.expect("go\r\n")
        screen.send(b"\x03")
        screen.expect("/ # ")
        screen.line("echo $?")
        screen.expect("130\r\n")
        screen.expect("/ # ")  # before that the shell has the terminal in its other mode, where the key is lost
        screen.send(b"\x04")
        screen.wait()


def test_detach_and_attach(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    with terminal("run", "-it", "--name", "c1", busybox) as screen:
        screen.expect("/ # ")
        screen.send(b"\x10\x11")
        screen.expect("read escape sequence")
        assert screen.wait() == 0
    assert tiffin.ok("ps", "--format", "{{.Names}}") == "c1"
    with terminal("attach", "--detach-keys", "ctrl-x,x", "c1") as screen:
        screen.line("echo $((6 * 7))")
        screen.expect("42\r\n")
        screen.send(b"\x10\x11")  # no longer the keys that detach
        screen.send(b"\x18x")
        screen.expect("read escape sequence")
        assert screen.wait() == 0
    with terminal("attach", "c1") as screen:
        screen.line("echo $((7 * 8))")
        screen.expect("56\r\n")
        screen.send(b"\x03")
        screen.line("exit 6")
        assert screen.wait() == 6
    tiffin.ok("rm", "c1")


def test_bad_detach_keys(tiffin: Runner, busybox: str) -> None:
    assert tiffin("run", "--rm", "--detach-keys", "ctrl-pp", busybox, "true") == (
        125,
        "",
        "tiffin: invalid detach keys (ctrl-pp) provided\nunknown key 'ctrl-pp'; "
        "a key is one character, or ctrl- and one of a-z @ [ \\ ] ^ _\n",
    )


def test_exec_in_a_terminal(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sleep", "100")
    with terminal("exec", "-it", "c1", "sh", size=(30, 99)) as screen:
        screen.expect("/ # ")
        screen.line("stty size; tty")
        screen.expect("30 99\r\n/dev/")
        screen.resize(25, 77)
        screen.line("sleep 0.2; stty size")
        screen.expect("25 77")
        screen.line("exit 4")
        assert screen.wait() == 4


def test_exec_in_a_terminal_ends_with_its_command(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    """Not with what that has left in the background, and that has the terminal still."""
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sleep", "100")
    with terminal("exec", "-it", "c1", "sh", "-c", "trap '' HUP; sleep 1000 & echo started; exit 4") as screen:
        assert screen.wait(10) == 4
        assert screen.text == "started\r\n"
    assert "sleep 1000" in tiffin.ok("top", "c1")


def test_detaching_from_exec_leaves_it_running(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sleep", "100")
    script = "trap 'touch /hup' HUP; echo go; while [ ! -e /end ]; do echo more; done; echo done > /out"
    with terminal("exec", "-it", "c1", "sh", "-c", script) as screen:
        screen.expect("go")
        screen.send(b"\x10\x11")
        screen.expect("read escape sequence")
        assert screen.wait() == 0
    # More than a terminal's buffer holds was written meanwhile: somebody takes it.
    assert tiffin("exec", "c1", "sh", "-c", "sleep 0.5; ls /hup /out").code != 0
    tiffin.ok("exec", "c1", "touch", "/end")
    wait = "i=0; while [ ! -e /out ] && [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done; cat /out; ls /"
    found = tiffin.ok("exec", "c1", "sh", "-c", wait).split()
    assert found[0] == "done" and "hup" not in found


def test_exec_without_a_terminal_never_gives_ours_away(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sleep", "100")
    with terminal("exec", "-i", "c1", "sh", "-c", "readlink /proc/self/fd/0; tty; cat") as screen:
        screen.expect("pipe:")
        screen.expect("not a tty")
        screen.line("typed")
        screen.expect("typed\r\n.*typed\r\n|typed\r\ntyped")
        screen.send(b"\x04")
        assert screen.wait() == 0


def test_the_terminal_is_as_before_afterwards(tiffin: Runner, busybox: str) -> None:
    command = " ".join(tiffin.argv("run", "-it", "--rm", busybox, "true"))
    with Terminal(["sh", "-c", f"stty -g; {command}; stty -g"]) as screen:
        assert screen.wait() == 0
    first, second = screen.text.split()
    assert first == second


def test_prune_asks(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    tiffin.ok("run", "--name", "old", busybox, "true")
    for answer, left in (("n", "old"), ("y", "")):
        with terminal("container", "prune") as screen:
            screen.expect(r"This would be removed:\r\n  container old \([0-9a-f]{12}\)")
            screen.expect(r"Remove it\? \[y/N\] ")
            screen.line(answer)
            assert screen.wait() == 0
        assert tiffin.ok("ps", "-a", "--format", "{{.Names}}") == left


def test_a_terminal_is_no_place_for_an_archive(tiffin: Runner, busybox: str, terminal: Opener) -> None:
    with terminal("save", busybox) as screen:
        screen.expect("tiffin:.* refusing to save an image to a terminal\r\nuse -o, or redirect standard output")
        assert screen.wait() == 1
    with terminal("load") as screen:
        screen.expect("tiffin:.* the image archive should come from standard input, but that is a terminal")
        assert screen.wait() == 1
