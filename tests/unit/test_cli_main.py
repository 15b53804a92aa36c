"""The entry point: verbs, groups, help, mistakes, exit codes. Nothing here opens an engine that works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiffin._version import __version__
from tiffin.cli import commands
from tiffin.cli.context import Context
from tiffin.cli.main import GLOBAL, main
from tiffin.cli.options import Parsed, Verb
from tiffin.errors import CommandNotFound, NotFoundError, OptionError, TiffinError


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"Tiffin version {__version__}\n", "")
    assert run(capsys, "-v") == (0, f"Tiffin version {__version__}\n", "")
    assert run(capsys, "version", "-f", "{{.Client.Version}} {{.Version}}") == (0, f"{__version__} {__version__}\n", "")


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, out, err = run(capsys, *words)
        assert (code, err) == (0, "")
        assert out.startswith("Usage:  tiffin [OPTIONS] COMMAND\n")
        shown = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
        visible = {name for name, place in commands.VERBS.items() if not commands.load(place).hidden}
        assert visible <= shown
        assert "cleanup" not in shown


def _all_verbs() -> list[tuple[str, str]]:
    found = list(commands.VERBS.items())
    for group, (_, places) in commands.GROUPS.items():
        found += [(f"{group} {name}", place) for name, place in places.items()]
    return found


@pytest.mark.parametrize(("words", "place"), _all_verbs())
def test_every_verb_has_help_with_all_its_options(words: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb = commands.load(place)
    for asked in ([*words.split(), "--help"], ["help", *words.split()]):
        code, out, err = run(capsys, *asked)
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage:  tiffin {verb.name}")
        assert verb.summary in out
        for option in verb.options:
            assert f"--{option.name}" in out
        for command, what in verb.examples:
            assert f"  # {what}\n  {command}\n" in out
        assert max(len(line) for line in out.splitlines() if "tiffin" not in line) <= 102
    names = [option.name for option in verb.options] + [option.short for option in verb.options if option.short]
    assert len(names) == len(set(names))
    assert verb.examples or verb.hidden
    assert not verb.summary.endswith(".")


@pytest.mark.parametrize("group", commands.GROUPS)
def test_group_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, group)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage:  tiffin {group} COMMAND\n")
    for name in commands.GROUPS[group][1]:
        assert f"\n  {name} " in out
    assert run(capsys, group, "--help") == (0, out, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("foo", "tiffin: 'foo' is not a tiffin command.\nSee 'tiffin --help'.\n"),
        ("rnu", "tiffin: 'rnu' is not a tiffin command.\nDid you mean 'tiffin run'? See 'tiffin --help'.\n"),
        ("container foo", "tiffin: 'container foo' is not a tiffin command.\nSee 'tiffin container --help'.\n"),
        ("image prun", ("tiffin: 'image prun' is not a tiffin command.\n"
         "Did you mean 'tiffin image prune'? See 'tiffin image --help'.\n")),
        ("build .", ("tiffin: 'tiffin build' is not supported yet: Tiffin builds no images so far; "
         "`tiffin import --change` makes one from a tar archive\n")),
        ("container cp a b", ("tiffin: must specify at least one container source\n"
         "name a file in one as CONTAINER:PATH\n")),
        ("cp a:b c:d", "tiffin: copying between containers is not supported\ntiffin cp a:b - | tiffin cp - c:d\n"),
        ("network ls",
         "tiffin: 'tiffin network' is not supported yet: Tiffin has the networks none and host only so far\n"),
        ("-H tcp://x ps", ("tiffin: --host is not supported yet: Tiffin has no server so far and works on its own "
         "host; choose a store with --root\n")),
        ("--context x ps", ("tiffin: --context is not supported yet: Tiffin has no server so far and works on its own "
         "host; choose a store with --root\n")),
        ("--rot x ps", "tiffin: unknown flag: --rot (did you mean --root?)\nSee 'tiffin --help'.\n"),
        ("ps x", "tiffin: 'tiffin ps' accepts no arguments\nUsage: tiffin ps [OPTIONS]. See 'tiffin ps --help'.\n"),
        ("run", ("tiffin: 'tiffin run' requires at least 1 argument\n"
         "Usage: tiffin run [OPTIONS] IMAGE [COMMAND] [ARG...]. See 'tiffin run --help'.\n")),
    ],
)  # fmt: skip
def test_mistakes(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Docker's codes: an option is not understood or not there, or what was said makes no sense otherwise.
    code = 125 if "not supported yet" in message or "flag" in message else 1
    assert run(capsys, *words.split()) == (code, "", message)


def test_what_is_absent_is_not_there() -> None:
    known = commands.VERBS.keys() | commands.GROUPS.keys()
    assert known & commands.ABSENT.keys() == set()


# What `docker --help` of Docker 28.2.2 lists.
DOCKERS_VERBS = """
    run exec ps build pull push images login logout search version info builder checkpoint container context image
    manifest network plugin system trust volume config node secret service stack swarm attach commit cp create diff
    events export history import inspect kill load logs pause port rename restart rm rmi save start stats stop tag top
    unpause update wait
"""


def test_every_verb_of_docker_is_taken_or_refused() -> None:
    assert (
        set(DOCKERS_VERBS.split()) - (commands.VERBS.keys() | commands.GROUPS.keys() | commands.ABSENT.keys()) == set()
    )


def _failing(error: BaseException, **changes: bool) -> Verb:
    def fail(context: Context, parsed: Parsed) -> int:
        raise error

    return Verb(name="x", summary="", run=fail, **changes)


@pytest.mark.parametrize(
    ("error", "declared", "code"),
    [
        (NotFoundError("no"), {}, 1),
        (NotFoundError("no"), {"container_codes": True}, 1),
        (NotFoundError("no"), {"container_codes": True, "failed": 125}, 125),
        (OptionError("no"), {}, 125),
        (CommandNotFound("no"), {}, 1),
        (CommandNotFound("no"), {"container_codes": True}, 127),
        (CommandNotFound("no"), {"container_codes": True, "failed": 125}, 127),
        (KeyboardInterrupt(), {"container_codes": True}, 130),
    ],
)
def test_exit_codes(error: BaseException, declared: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands.VERBS, "x", "nowhere X")
    monkeypatch.setattr(commands, "load", lambda place: _failing(error, **declared))
    assert main(["x"]) == code


def test_hints_are_a_second_line_and_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(commands.VERBS, "x", "nowhere X")
    monkeypatch.setattr(commands, "load", lambda place: _failing(TiffinError("it broke", hint="mend it")))
    assert run(capsys, "x") == (1, "", "tiffin: it broke\nmend it\n")
    code, out, err = run(capsys, "--debug", "x")
    assert (code, out) == (1, "")
    assert err.endswith("tiffin: it broke\nmend it\n")
    assert "Traceback (most recent call last):" in err
    assert " ms] " in err


def _tiffin(*words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "tiffin", *words], stderr=subprocess.PIPE, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = _tiffin("--version", stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"tiffin: cannot write the output: No space left on device\n"


def test_nobody_reads() -> None:
    script = f"{sys.executable} -m tiffin run --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", f"sleep 0.2 | {script}"], stderr=subprocess.PIPE, check=False)
    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_the_global_options_are_refused_after_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert GLOBAL.interspersed is False
    code, _, err = run(capsys, "ps", "--root", "/x")
    assert code == 125
    assert err == "tiffin: unknown flag: --root\nSee 'tiffin ps --help'.\n"


@pytest.mark.parametrize(
    ("closed", "words", "code", "shown"),
    [
        (">&-", "version", 1, "tiffin: cannot write the output: Bad file descriptor\n"),
        (">&-", "nosuch", 1, "tiffin: 'nosuch' is not a tiffin command.\nSee 'tiffin --help'.\n"),
        ("2>&-", "nosuch", 1, ""),
        ("<&-", "nosuch", 1, "tiffin: 'nosuch' is not a tiffin command.\nSee 'tiffin --help'.\n"),
        ("<&- >&- 2>&-", "version", 1, ""),
    ],
)
def test_closed_descriptors(closed: str, words: str, code: int, shown: str) -> None:
    script = f'exec "$0" -m tiffin {words} {closed}'
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", shown)
