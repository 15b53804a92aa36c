"""docs/PARITY.md says what is so, and what Docker has is what its own help says."""

from __future__ import annotations

import os
import shutil

import pytest

from harness import parity
from tiffin.cli import commands
from tiffin.cli.main import main


def _number(version: object) -> tuple[int, ...]:
    return tuple(int(part) for part in str(version).split("."))


def test_the_document_is_current() -> None:
    assert parity.DOCUMENT.read_text() == parity.document(), "run `make parity`"


def test_everything_of_docker_is_taken_or_refused() -> None:
    verbs = parity.facts()["verbs"]
    assert isinstance(verbs, dict)
    unknown = []
    for words, options in verbs.items():
        found = parity.find(words)
        if isinstance(found, parity.Status):
            if found.kind == parity.UNKNOWN:
                unknown.append(words)
            continue
        unknown += [f"{words} --{each}" for each in options if parity.status(found, each).kind == parity.UNKNOWN]
    assert unknown == []


def test_what_docker_has_is_current() -> None:
    """Every installed docker is older than the one whose help was read, or says the same."""
    known = parity.facts()
    found = {shutil.which("docker", path=directory) for directory in os.environ["PATH"].split(":")} - {None}
    for docker in sorted(filter(None, found)):
        version = _number(parity.docker_version(docker))
        assert version <= _number(known["version"]), f"run `make parity DOCKER={docker}`"
        if version == _number(known["version"]):
            assert parity.read_docker(docker) == known, f"run `make parity DOCKER={docker}`"


def test_a_refusal_is_what_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    for words, option in (("run", "publish/p"), ("run", "storage-opt"), ("save", "platform")):
        verb = commands.load(commands.VERBS[words])
        state = parity.status(verb, option)
        if state.kind == parity.WORKS:
            continue
        name = option.partition("/")[0]
        assert main([words, f"--{name}", "x", "y"]) == 125
        assert capsys.readouterr().err == f"tiffin: --{name} is not supported yet: {state.reason}\n"
        assert state.reason in parity.DOCUMENT.read_text()


def test_docker_help_is_read() -> None:
    text = (
        "\nUsage:  docker ps [OPTIONS]\n\nOptions:\n"
        "  -a, --all             Show all containers\n"
        "      --format string   Format output using a\n"
        "                        --custom template\n"
        "      --help            Print usage\n"
    )
    assert parity._options(text) == ["all/a", "format"]
    pages = "Management Commands:\n  buildx*  Buildx\n  image    Manage images\n\nCommands:\n  ps  List\n\nRun it\n"
    assert parity._commands(pages) == ["image", "ps"]


def test_the_ledger_gives_reasons() -> None:
    ledger = parity.ledger()
    assert len(ledger) >= 10
    assert all(len(reason) > 20 for reason in ledger.values())
