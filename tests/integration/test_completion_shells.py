"""The completion scripts in the shells that they are for, on a store with real containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiffin
from harness.terminal import Terminal

# What bash does when tab is pressed: it splits the line at COMP_WORDBREAKS, and calls the function.
BASH_TAB = r"""
source <(tiffin completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=() COMP_CWORD=0
rest=$1
while [[ -n $rest ]]; do
    rest=${rest#"${rest%%[![:blank:]]*}"}
    if [[ $rest == [:=]* ]]; then word=${rest:0:1}; else word=${rest%%[ :=]*}; fi
    [[ -n $word ]] && COMP_WORDS+=("$word")
    rest=${rest#"$word"}
done
[[ $1 == *[\ :=] ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_tiffin
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def path(tmp_path: Path, engine_root: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PATH with a command `tiffin`, on the test's store."""
    directory = tmp_path / "bin"
    directory.mkdir()
    command = directory / "tiffin"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tiffin --root {engine_root} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return str(directory)


@pytest.fixture
def web(engine: tiffin.Engine, busybox: str) -> str:
    """Running: web. Stopped: web-old. Images: busybox:latest and busybox:next. A volume: data."""
    running = engine.create(tiffin.ContainerConfig(image=busybox, name="web", command=("sleep", "600")))
    engine.create(tiffin.ContainerConfig(image=busybox, name="web-old"))
    engine.start(running.id)
    engine.tag(busybox, "busybox:next")
    engine.volume_create("data")
    return running.name


def bash(line: str, cwd: Path) -> list[str]:
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH_TAB, "bash", line], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash(path: str, web: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "rootfs.tar").touch()
    here = tmp_path / "here"
    assert bash("tiffin unp", here) == ["unpause"]
    assert bash("tiffin stop ", here) == ["web"]
    assert bash("tiffin exec -it w", here) == ["web"]
    assert bash("tiffin rm ", here) == ["web", "web-old"]
    assert bash("tiffin start ", here) == ["web-old"]
    assert bash("tiffin container rm -f web-", here) == ["web-old"]
    assert bash("tiffin rmi busy", here) == ["busybox:latest", "busybox:next"]
    assert bash("tiffin rmi busybox:n", here) == ["next"]  # what follows the colon is what bash replaces
    assert bash("tiffin run --network=h", here) == ["host"]
    assert bash("tiffin run --network h", here) == ["host"]
    assert bash("tiffin run -v da", here) == ["data:"]
    assert bash("tiffin volume rm ", here) == ["data"]
    assert bash("tiffin import ", here) == ["rootfs.tar"]
    assert bash("tiffin import root", here) == ["rootfs.tar"]
    assert bash("tiffin cp web:/etc root", here) == ["rootfs.tar"]
    assert "--filter" in bash("tiffin ps --f", here)
    assert bash("tiffin nosuch ", here) == [""]


def test_bash_when_a_key_is_pressed(path: str, web: str) -> None:
    script = "bind 'set show-all-if-ambiguous on'; PS1='> '; source <(tiffin completion bash)"
    with Terminal(["bash", "--norc", "--noprofile"]) as screen:
        screen.line(script)
        screen.line("echo ready")
        screen.expect("ready\r\n")
        screen.send("tiffin rmi busybox:ne\t")
        screen.expect("rmi busybox:next ")
        screen.send("\x15tiffin unp\t")
        screen.expect("tiffin unpause ")
        screen.send("\x15tiffin rm web\t")
        screen.expect("web +web-old")
        screen.send("\x15exit\r")


def _need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def test_zsh(path: str, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _need("zsh")
    monkeypatch.setenv("ZDOTDIR", str(tmp_path))
    (tmp_path / ".zshrc").write_text(
        "PS1='> '\nautoload -Uz compinit; compinit -u -D\n"
        "source <(tiffin completion zsh)\nzstyle ':completion:*' menu no\necho ready\n"
    )
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(["zsh", "-d", "-i"], size=(40, 100)) as screen:
        screen.expect("ready")
        screen.send("tiffin unp\t")
        screen.expect("ause")
        screen.send("\x15tiffin rmi busybox:ne\t")
        screen.expect("xt")
        screen.send("\x15tiffin run --network=h\t")
        screen.expect("ost")
        screen.send("\x15tiffin rm web\t\t")
        screen.expect(r"web-old +web +-- busybox")
        screen.send("\x15exit\r")


def test_fish(path: str, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _need("fish")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for line, found in (
        ("tiffin unp", ["unpause\tLet one or more paused containers run on"]),
        ("tiffin stop ", ["web\tbusybox"]),
        ("tiffin rmi busybox:ne", ["busybox:next\timage"]),
        ("tiffin run --network=h", ["--network=host"]),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"tiffin completion fish | source; complete -C '{line}'"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
        )
        assert [each.replace("…", "") for each in done.stdout.splitlines()] == found


def test_it_is_quick(tiffin: Any, web: str) -> None:
    # Of the processor: how long it takes by the clock depends on what else the machine does.
    best = min(_processor_s(tiffin) for _ in range(5))
    assert best < 0.060


def _processor_s(tiffin: Any) -> float:
    before = os.times()
    assert tiffin.ok("__complete", "--", "stop", "") == "web\tbusybox\n:4"
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
