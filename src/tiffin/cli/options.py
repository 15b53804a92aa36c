"""Options as data, with the grammar that Docker's users know (pflag's): `--name value`, `--name=value`, `-it`, `-eA=1`.

Errors: OptionError for options that make no sense, UsageError for too many or too few arguments, NotSupportedError for
what Docker has and Tiffin has not yet.
"""

from __future__ import annotations

from tiffin.errors import NotSupportedError, OptionError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tiffin.cli.context import Context

_NOTHING_ABSENT: dict[str, tuple[str, str]] = {}
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Option(Record):
    """One option of a verb.

    `kind` is "string", "bool", "int" or "list" (may be given several times); `word` names the value in the help;
    `default` is shown in the help when it is not empty; `alias` is an old long name that still works.
    """

    name: str
    help: str
    short: str = ""
    kind: str = "string"
    word: str = ""
    default: str = ""
    alias: str = ""

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Verb(Record):
    """One command: what it takes, what its help says, and the function that does it.

    `absent` maps the options that Docker has and Tiffin lacks to (long name, reason), see `absent()`.
    `interspersed` is False where options end at the first argument, because the rest belongs to a command inside.
    `container_codes`: the exit code is that of a process inside, so one that cannot be started is 126 or 127.
    `failed` is the least exit code of a failure once the command line was understood.
    """

    name: str
    summary: str
    run: Callable[[Context, Parsed], int]
    arguments: str = ""
    minimum: int = 0
    maximum: int | None = 0
    options: tuple[Option, ...] = ()
    absent: Mapping[str, tuple[str, str]] = _NOTHING_ABSENT
    examples: tuple[tuple[str, str], ...] = ()
    description: str = ""
    interspersed: bool = True
    container_codes: bool = False
    failed: int = 1
    hidden: bool = False

    @property
    def see_help(self) -> str:
        return f"See 'tiffin{' ' if self.name else ''}{self.name} --help'."


def absent(reason: str, *names: str) -> dict[str, tuple[str, str]]:
    """Options that are refused with `reason`. A name is "publish" or, with its letter, "publish/p"."""
    table = {}
    for name in names:
        long, _, short = name.partition("/")
        table[long] = (long, reason)
        if short:
            table[short] = (long, reason)
    return table


class HelpAsked(Exception):
    """`--help` was among the options."""


class Parsed:
    """The options and arguments of one invocation."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb
        self.values: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def given(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str | None:
        """The last value given, None without one."""
        values = self.values.get(name)
        return values[-1] if values else None

    def items(self, name: str) -> list[str]:
        """Every value given, in order."""
        return self.values.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        values = self.values.get(name)
        return values[-1] == "true" if values else default

    def number(self, name: str) -> int | None:
        values = self.values.get(name)
        return parse_int(values[-1]) if values else None

    def invalid(self, name: str, value: str, reason: str, *, hint: str | None = None) -> UsageError:
        """The error for a value that option `name` cannot take, as the verb finds."""
        error = self.malformed(name, value, reason, hint=hint)
        return UsageError(error.message, hint=error.hint)

    def malformed(self, name: str, value: str, reason: str, *, hint: str | None = None) -> OptionError:
        """The error for a value that is no value of option `name`, whatever the verb does with it."""
        option = next(option for option in self.verb.options if option.name == name)
        return _invalid(self.verb, option, value, reason, hint)


def parse(verb: Verb, words: Sequence[str]) -> Parsed:
    """Sort `words` into options and arguments. UsageError, NotSupportedError, HelpAsked."""
    longs: dict[str, Option] = {}
    shorts: dict[str, Option] = {}
    for option in verb.options:
        longs[option.name] = option
        if option.alias:
            longs[option.alias] = option
        if option.short:
            shorts[option.short] = option
    parsed = Parsed(verb)
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            parsed.arguments.extend(words[position:])
            break
        if word.startswith("--"):
            position = _long(verb, longs, parsed, words, position)
        elif word.startswith("-") and word != "-":
            position = _cluster(verb, shorts, parsed, words, position)
        else:
            parsed.arguments.append(word)
            if not verb.interspersed:
                parsed.arguments.extend(words[position:])
                break
    _check_count(verb, len(parsed.arguments))
    return parsed


def parse_int(text: str) -> int:
    """A whole number as Go writes them: decimal, 0x…, 0o…, 0b…. ValueError."""
    if text != text.strip():
        raise ValueError(text)
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return int(text, 8)
    return int(text, 0)


def _long(verb: Verb, longs: dict[str, Option], parsed: Parsed, words: Sequence[str], position: int) -> int:
    name, equals, value = words[position - 1][2:].partition("=")
    if not name:
        raise OptionError(f"bad flag syntax: {words[position - 1]}", hint=verb.see_help)
    option = longs.get(name)
    if option is None:
        if name == "help":
            raise HelpAsked
        if len(name) > 1:
            _refuse_absent(verb, name)
        raise _unknown(verb, longs, name)
    if not equals:
        if option.kind == "bool":
            value = "true"
        elif position < len(words):
            value = words[position]
            position += 1
        else:
            raise OptionError(f"flag needs an argument: --{name}", hint=verb.see_help)
    _store(verb, parsed, option, value)
    return position


def _cluster(verb: Verb, shorts: dict[str, Option], parsed: Parsed, words: Sequence[str], position: int) -> int:
    word = words[position - 1]
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = shorts.get(letter)
        if option is None:
            if letter == "h":
                raise HelpAsked
            _refuse_absent(verb, letter)
            raise OptionError(f"unknown shorthand flag: '{letter}' in {word}", hint=verb.see_help)
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif option.kind == "bool":
            value = "true"
        elif letters:
            value, letters = letters, ""
        elif position < len(words):
            value = words[position]
            position += 1
        else:
            raise OptionError(f"flag needs an argument: '{letter}' in {word}", hint=verb.see_help)
        _store(verb, parsed, option, value)
    return position


def _store(verb: Verb, parsed: Parsed, option: Option, value: str) -> None:
    if option.kind == "bool":
        if value not in _TRUE and value not in _FALSE:
            raise _invalid(verb, option, value, "neither true nor false")
        value = "true" if value in _TRUE else "false"
    elif option.kind == "int":
        try:
            parse_int(value)
        except ValueError:
            raise _invalid(verb, option, value, "not a whole number") from None
    parsed.values.setdefault(option.name, []).append(value)


def _invalid(verb: Verb, option: Option, value: str, reason: str, hint: str | None = None) -> OptionError:
    return OptionError(f'invalid argument "{value}" for "{option.shown}": {reason}', hint=hint or verb.see_help)


def _refuse_absent(verb: Verb, name: str) -> None:
    if name in verb.absent:
        long, reason = verb.absent[name]
        raise NotSupportedError(f"--{long} is not supported yet: {reason}")


def _unknown(verb: Verb, longs: dict[str, Option], name: str) -> OptionError:
    from difflib import get_close_matches

    close = get_close_matches(name, longs, n=1, cutoff=0.75)
    meant = f" (did you mean --{close[0]}?)" if close else ""
    return OptionError(f"unknown flag: --{name}{meant}", hint=verb.see_help)


def _check_count(verb: Verb, count: int) -> None:
    if count >= verb.minimum and (verb.maximum is None or count <= verb.maximum):
        return
    if verb.maximum == 0:
        wants = "accepts no arguments"
    elif verb.minimum == verb.maximum:
        wants = f"requires {_arguments(verb.minimum)}"
    elif count < verb.minimum:
        wants = f"requires at least {_arguments(verb.minimum)}"
    else:
        wants = f"requires at most {_arguments(verb.maximum or 0)}"
    usage = f"tiffin {verb.name} [OPTIONS] {verb.arguments}".rstrip()
    raise UsageError(f"'tiffin {verb.name}' {wants}", hint=f"Usage: {usage}. {verb.see_help}")


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"
