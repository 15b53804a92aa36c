"""Which columns options of ps(1) mean."""

from __future__ import annotations

import pytest

from tiffin.containers.processes import COLUMNS
from tiffin.containers.ps_options import columns
from tiffin.errors import NotSupportedError, UsageError

AUX = ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "bsdstart", "bsdtime", "command")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ()),
        ("-ef", ()),
        ("-e -f", ()),
        ("-A", ()),
        ("aux", AUX),
        ("-aux", AUX),
        ("u", AUX),
        ("ax", ("pid", "tname", "stat", "bsdtime=TIME", "command")),
        ("-o pid,comm", ("pid", "comm")),
        ("-opid,comm", ("pid", "comm")),
        ("-eo pid,user=WHO", ("pid", "user=WHO")),
        ("axo pid", ("pid",)),
        ("-o pid -o comm", ("pid", "comm")),
        ("-ef -o pid", ("pid",)),
        ("--format pid,args", ("pid", "args")),
        ("--format=pid,args", ("pid", "args")),
    ],
)
def test_columns(words: str, expected: tuple[str, ...]) -> None:
    assert columns(words.split()) == expected
    assert {name.partition("=")[0] for name in expected} <= COLUMNS.keys()


def test_blanks_separate_too() -> None:
    assert columns(["-o", "pid comm"]) == ("pid", "comm")
    assert columns(["-o", "pid=MY PID,comm"]) == ("pid=MY PID", "comm")


@pytest.mark.parametrize("word", ["--forest", "-H", "e", "-p", "-eH", "-", "--", "--info", "hello"])
def test_other_options_are_refused(word: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        columns([word])
    assert caught.value.message == f"the ps option {word!r} is not supported yet: Tiffin reads the processes itself"


@pytest.mark.parametrize("words", [["-o"], ["-o", ""], ["--format="], ["-eo"]])
def test_a_list_is_needed(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        columns(words)
    assert caught.value.message == "-o needs a list of columns, such as -o pid,user,args"
