"""The same commands for Docker and for Tiffin. What differs is in the ledger of docs/PARITY.md, or a failure.

A command is a shell line in which `E` is the engine. It is compared by exit code, output and message; differences.py
says which of these is expected to differ, by which line of the ledger.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pytest

from differential.cases import effects, errors, images, lifecycle, listing, options, policies, watching
from differential.conftest import Pair
from differential.differences import DIFFERENCES
from differential.pair import Said
from harness import parity

SCENARIOS: dict[str, Sequence[str]] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": lines
    for module in (effects, options, lifecycle, errors, listing, images, policies, watching)
    for name, lines in module.SCENARIOS.items()
}
ASPECTS = ("code", "out", "err")


def marks() -> dict[tuple[str, str], dict[str, str]]:
    """What differs by intention: (scenario, command) to aspect to name in the ledger."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for (name, aspect), scenarios in DIFFERENCES.items():
        for scenario, commands in scenarios.items():
            for command in commands:
                found.setdefault((scenario, command), {})[aspect] = name
    return found


def found_wrong(line: str, docker: Said, tiffin: Said, expected: dict[str, str]) -> list[str]:
    """What differs and should not, and what should differ and does not."""
    wrong = []
    for aspect in ASPECTS:
        first, second = str(getattr(docker, aspect)), str(getattr(tiffin, aspect))
        if first == second and aspect in expected:
            wrong.append(f"{line}\n  {aspect} does not differ, but is marked {expected[aspect]}")
        elif first != second and aspect not in expected:
            lines = difflib.ndiff(first.splitlines(), second.splitlines())
            shown = "\n".join(f"    {each}" for each in lines if each[0] in "+-")
            wrong.append(f"{line}\n  {aspect} (- Docker, + Tiffin)\n{shown}")
    return wrong


@pytest.mark.parametrize("name", SCENARIOS)
def test_same(name: str, pair: Pair) -> None:
    wrong = []
    expected = marks()
    try:
        for command in SCENARIOS[name]:
            wrong += found_wrong(command, *pair.run(command), expected.get((name, command), {}))
    finally:
        pair.run("E ps -aq | xargs -r E rm -fv; E volume ls -q | xargs -r E volume rm")
    assert not wrong, "\n" + "\n".join(wrong)


def test_marks_are_in_the_ledger_and_used() -> None:
    assert {place for place in marks() if place[1] not in SCENARIOS.get(place[0], ())} == set()
    used = {name for name, _ in DIFFERENCES}
    ledger = parity.ledger()
    assert used - ledger.keys() == set()
    # What no command here shows has a name that says so.
    assert {name for name in ledger if not name.startswith("elsewhere-")} - used == set()


def test_there_are_hundreds() -> None:
    commands = [command for commands in SCENARIOS.values() for command in commands]
    assert len([command for command in commands if "E " in command]) >= 300
