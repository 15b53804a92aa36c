"""Examples that work, man pages that are well made, progress that is legible, emphasis only where it is wanted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.terminal import Terminal
from tiffin.cli import commands, manual
from tiffin.cli.main import GLOBAL, _find, main
from tiffin.cli.options import Verb, parse
from tiffin.cli.progress import Progress, duration


def _places() -> list[tuple[str, str]]:
    found = list(commands.VERBS.items())
    for group, (_, places) in commands.GROUPS.items():
        found += [(f"{group} {name}", place) for name, place in places.items()]
    return found


def _calls(example: str) -> list[list[str]]:
    """The words after "tiffin" of each call in a shell line, with what $( ) and < > hold taken apart."""
    found = []
    rest = example
    while (inner := re.search(r"[$<]\(([^()]*)\)", rest)) is not None:
        found += _calls(inner.group(1))
        rest = rest[: inner.start()] + "SUBSTITUTED" + rest[inner.end() :]
    lexer = shlex.shlex(rest, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set("|&;<>"):
            if word.startswith((">", "<")):
                words.append(word)
                continue
            end = next((at for at, each in enumerate(words) if each.startswith((">", "<"))), len(words))
            if words and words[0] == "tiffin":
                found.append(words[1 : end - (end < len(words) and words[end - 1] == "2")])
            words = []
        else:
            words.append(word)
    return found


@pytest.mark.parametrize(("words", "place"), _places())
def test_every_example_is_understood(words: str, place: str) -> None:
    verb = commands.load(place)
    if verb.hidden:
        return
    assert verb.examples, f"{words} has no example"
    for example, what in verb.examples:
        calls = _calls(example)
        assert calls, f"no call of tiffin in {example!r}"
        asked = []
        for call in calls:
            parsed = parse(GLOBAL, call)
            found, rest = _find(parsed.arguments[0], parsed.arguments[1:])
            parse(found, rest)
            asked.append(found)
        assert verb in asked or verb.name in {found.name for found in asked}, f"{example!r} is not one of {words}"
        assert not what.endswith(".")


def test_help_names_the_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--help"]) == 0
    out = capsys.readouterr().out
    assert "\nAliases:\n  tiffin container ls, tiffin container list, tiffin container ps\n\nOptions:\n" in out
    assert main(["container", "inspect", "--help"]) == 0
    assert "Aliases:" not in capsys.readouterr().out


def test_every_verb_has_a_page() -> None:
    pages = manual.pages()
    visible = {words for words, place in _places() if not commands.load(place).hidden}
    expected = {"tiffin.1", *(f"tiffin-{words.replace(' ', '-')}.1" for words in {*visible, *commands.GROUPS})}
    assert set(pages) == expected
    for text in pages.values():
        if text.startswith(".so "):
            assert text.removeprefix(".so man1/").rstrip() in pages
    run = pages["tiffin-run.1"]
    for option in commands.load(commands.VERBS["run"]).options:
        assert f"\\-\\-{option.name.replace('-', chr(92) + '-')}" in run
    assert "tiffin run \\-\\-rm host cat /etc/os\\-release" in run


def test_pages_are_well_made(tmp_path: Path) -> None:
    paths = manual.write(str(tmp_path))
    pages = [path for path in paths if path.endswith(".1") and not Path(path).read_text().startswith(".so ")]
    assert len(pages) > 30
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False
    )
    # A date would differ with every build.
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert complaints == []


def test_what_is_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tiffin.cli.manual", str(tmp_path)], capture_output=True, text=True, check=True
    )
    written = {os.path.relpath(line, tmp_path) for line in done.stdout.splitlines()}
    assert {
        "man/man1/tiffin.1",
        "man/man1/tiffin-run.1",
        "man/man1/tiffin-volume-ls.1",
        "bash-completion/completions/tiffin",
        "zsh/site-functions/_tiffin",
        "fish/vendor_completions.d/tiffin.fish",
    } <= written


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (7620, "2h07m")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_progress_lines() -> None:
    progress = Progress("Loading", total_bytes=200_000_000)
    assert progress.line(1.5) == "Loading: 1s"
    progress._advance(50_000_000)
    assert progress.line(2.0) == "Loading: █████░░░░░░░░░░░░░░░  25%  50MB, 25MB/s of 200MB, 6s left"
    progress._advance(300_000_000)
    assert progress.line(2.0) == "Loading: 300MB, 150MB/s, 2s"
    progress.say("unpacking libc6")
    assert progress.line(65.0) == "Loading: 1m05s  unpacking libc6"
    unknown = Progress("Exporting")
    unknown._advance(3_000_000)
    assert unknown.line(3.0) == "Exporting: 3MB, 1MB/s, 3s"


PROGRESS = """
import sys, time
from tiffin.cli.progress import Progress
with Progress("Copying", total_bytes=100, quiet={quiet}) as progress:
    if progress.callback:
        progress.callback(50)
    time.sleep({seconds})
sys.stderr.write("done\\n")
"""


def _program(seconds: float, quiet: bool = False) -> list[str]:
    return [sys.executable, "-c", PROGRESS.format(seconds=seconds, quiet=quiet)]


@pytest.mark.parametrize(("columns", "widest"), [(200, 100), (70, 70), (20, 60)])
def test_help_fits_a_terminal(columns: int, widest: int) -> None:
    """Lines of prose, at least: option and example lines are not broken."""
    with Terminal([sys.executable, "-m", "tiffin", "pod", "--help"], size=(50, columns)) as screen:
        assert screen.wait() == 0
        summaries = re.search(r"Commands:(.*?)Run '", screen.text, re.DOTALL)
        assert summaries is not None
        assert max(len(line) for line in summaries[1].splitlines()) <= widest
        assert (re.search(r"\n {12}\S", screen.text) is not None) == (columns < 100), "wrapped below the summary"


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with Terminal(_program(1.3), size=(24, 40)) as screen:
        assert screen.wait() == 0
        lines = screen.text.split("\r\x1b[K")
        assert lines[0] == "" and lines[-1] == "done\r\n"
        assert "Copying: ██████████░░░░░░░░░░  50%  50B" in lines[1]
        assert all(len(line) < 40 for line in lines)  # it never wraps
    for argv in (_program(0.2), _program(1.3, quiet=True)):
        with Terminal(argv) as screen:
            assert screen.wait() == 0
            assert screen.text == "done\r\n"


def test_progress_in_a_pipe_is_nothing() -> None:
    done = subprocess.run(_program(1.2), capture_output=True, text=True, check=True)
    assert done.stderr == "done\n"


def _shown(words: list[str], tmp_path: Path) -> str:
    with Terminal([sys.executable, "-m", "tiffin", "--root", str(tmp_path / "store"), *words]) as screen:
        screen.wait()
        return screen.text


def test_emphasis_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _shown(["nosuch"], tmp_path).startswith("\x1b[31;1mtiffin:\x1b[0m 'nosuch' is not a tiffin command.\r\n")
    assert "\x1b[1mExamples:\x1b[0m\r\n" in _shown(["run", "--help"], tmp_path)
    assert _shown(["volume", "ls"], tmp_path) == "\x1b[1mDRIVER    VOLUME NAME\x1b[0m\r\n"
    monkeypatch.setenv("NO_COLOR", "1")
    for words in (["nosuch"], ["run", "--help"], ["volume", "ls"]):
        assert "\x1b" not in _shown(words, tmp_path)
    monkeypatch.setenv("NO_COLOR", "")  # set but empty: as if it were not there
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in _shown(["run", "--help"], tmp_path)


def test_a_page_for_a_verb_that_was_made_up() -> None:
    verb = Verb(
        name="x", summary="It's a -test-", run=lambda context, parsed: 0, examples=((".so /etc/passwd", "a trap"),)
    )
    page = manual._verb_page(verb)
    assert "\n.so" not in page
    assert "\n\\&.so /etc/passwd\n" in page
    assert "it\\(aqs a \\-test\\-" in page
