"""The option grammar, which is pflag's."""

from __future__ import annotations

import pytest

from tiffin.cli.context import Context
from tiffin.cli.options import HelpAsked, Option, Parsed, Verb, absent, parse, parse_int
from tiffin.errors import NotSupportedError, UsageError


def _nothing(context: Context, parsed: Parsed) -> int:
    return 0


VERB = Verb(
    name="run",
    summary="",
    run=_nothing,
    arguments="IMAGE [ARG...]",
    minimum=1,
    maximum=None,
    interspersed=False,
    options=(
        Option(name="env", short="e", kind="list", help=""),
        Option(name="tty", short="t", kind="bool", help=""),
        Option(name="interactive", short="i", kind="bool", help=""),
        Option(name="name", help=""),
        Option(name="network", alias="net", help=""),
        Option(name="limit", short="n", kind="int", help=""),
    ),
    absent={**absent("no ports", "publish/p"), **absent("no health", "health-cmd")},
)
ANYWHERE = VERB.replace(interspersed=True, minimum=0)


@pytest.mark.parametrize(
    ("words", "values", "arguments"),
    [
        ("--name x img", {"name": ["x"]}, ["img"]),
        ("--name=x img", {"name": ["x"]}, ["img"]),
        ("--name= img", {"name": [""]}, ["img"]),
        ("--name=a=b img", {"name": ["a=b"]}, ["img"]),
        ("--name x --name y img", {"name": ["x", "y"]}, ["img"]),
        ("-it img", {"interactive": ["true"], "tty": ["true"]}, ["img"]),
        ("-i -t=false img", {"interactive": ["true"], "tty": ["false"]}, ["img"]),
        ("--tty=0 --interactive=T img", {"tty": ["false"], "interactive": ["true"]}, ["img"]),
        ("-eA=1 -e B=2 -e=C=3 img", {"env": ["A=1", "B=2", "C=3"]}, ["img"]),
        ("-iteA=1 img", {"interactive": ["true"], "tty": ["true"], "env": ["A=1"]}, ["img"]),
        ("-ite A=1 img", {"interactive": ["true"], "tty": ["true"], "env": ["A=1"]}, ["img"]),
        ("--net host img", {"network": ["host"]}, ["img"]),
        ("-n-1 img", {"limit": ["-1"]}, ["img"]),
        ("--name -x img", {"name": ["-x"]}, ["img"]),
        ("img -t --name x", {}, ["img", "-t", "--name", "x"]),
        ("-- -t img", {}, ["-t", "img"]),
        ("- -t", {}, ["-", "-t"]),
        ("img --help", {}, ["img", "--help"]),
    ],
)
def test_grammar(words: str, values: dict[str, list[str]], arguments: list[str]) -> None:
    parsed = parse(VERB, words.split())
    assert parsed.values == values
    assert parsed.arguments == arguments


def test_options_after_arguments_where_nothing_runs_inside() -> None:
    parsed = parse(ANYWHERE, "a -t b --name x -- -i".split())
    assert parsed.values == {"tty": ["true"], "name": ["x"]}
    assert parsed.arguments == ["a", "b", "-i"]


def test_readers() -> None:
    parsed = parse(VERB, "--name a --name b -e X -e Y -n 0x10 -t img".split())
    assert parsed.text("name") == "b"
    assert parsed.items("env") == ["X", "Y"]
    assert parsed.number("limit") == 16
    assert parsed.flag("tty") and not parsed.flag("interactive") and parsed.flag("interactive", True)
    assert parsed.given("name") and not parsed.given("network")


SEE = "See 'tiffin run --help'."


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("--foo img", "unknown flag: --foo", SEE),
        ("--nam img", "unknown flag: --nam (did you mean --name?)", SEE),
        ("-z img", "unknown shorthand flag: 'z' in -z", SEE),
        ("-tz img", "unknown shorthand flag: 'z' in -tz", SEE),
        ("--name", "flag needs an argument: --name", SEE),
        ("-te", "flag needs an argument: 'e' in -te", SEE),
        ("--=x img", "bad flag syntax: --=x", SEE),
        ("--tty=maybe img", 'invalid argument "maybe" for "-t, --tty": neither true nor false', SEE),
        ("-n x img", 'invalid argument "x" for "-n, --limit": not a whole number', SEE),
        ("", "'tiffin run' requires at least 1 argument", f"Usage: tiffin run [OPTIONS] IMAGE [ARG...]. {SEE}"),
    ],
)
def test_mistakes(words: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(VERB, words.split())
    assert caught.value.message == message
    assert caught.value.hint == hint
    assert not isinstance(caught.value, NotSupportedError)


@pytest.mark.parametrize("words", ["-p 80:80 img", "--publish 80:80 img", "-tp 80:80 img", "--publish=80 img"])
def test_absent_options_are_refused_with_their_reason(words: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        parse(VERB, words.split())
    assert caught.value.message == "--publish is not supported yet: no ports"


@pytest.mark.parametrize(
    ("minimum", "maximum", "words", "message"),
    [
        (0, 0, "a", "'tiffin run' accepts no arguments"),
        (2, 2, "a", "'tiffin run' requires 2 arguments"),
        (1, 1, "a b", "'tiffin run' requires 1 argument"),
        (0, 1, "a b", "'tiffin run' requires at most 1 argument"),
        (2, None, "a", "'tiffin run' requires at least 2 arguments"),
    ],
)
def test_count_of_arguments(minimum: int, maximum: int | None, words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(ANYWHERE.replace(minimum=minimum, maximum=maximum), words.split())
    assert caught.value.message == message


@pytest.mark.parametrize("words", ["--help", "-h", "-t --help img", "--name x -h"])
def test_help(words: str) -> None:
    with pytest.raises(HelpAsked):
        parse(VERB, words.split())


def test_a_letter_h_of_its_own_is_not_help() -> None:
    verb = VERB.replace(options=(*VERB.options, Option(name="hostname", short="h", help="")))
    assert parse(verb, ["-h", "x", "img"]).text("hostname") == "x"


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("-3", -3), ("0x1f", 31), ("017", 15), ("0", 0), ("+5", 5)])
def test_whole_numbers_as_go_writes_them(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1.5", "x", "08"])
def test_not_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        parse_int(text)
