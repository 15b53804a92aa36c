"""Man pages (man(7)) from the declarations that the parser and `--help` use: tiffin(1), and one for each verb."""

from __future__ import annotations

import os
import sys

from tiffin.cli import commands
from tiffin.cli.options import Option, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti"))
_FILES = (
    ("/var/lib/tiffin", "Images, containers and volumes, unless --root or TIFFIN_ROOT names another directory."),
    ("/etc/cdi, /var/run/cdi", "What vendors say of their devices (Container Device Interface)."),
    ("/run/tiffin", "The state of running containers."),
)
_ENVIRONMENT = (
    ("TIFFIN_ROOT", "The directory that --root names when the option is not given."),
    ("TIFFIN_CDI_DIRS", "The directories that --cdi-spec-dir names when it is not given, separated by colons."),
    ("NO_COLOR", "When it is set and not empty, nothing is coloured on a terminal."),
    ("SOURCE_DATE_EPOCH", "The creation time of new images, in seconds since 1970."),
)
_CODES = (
    ("0", "It went well."),
    ("1", "Something was not found, was in conflict, or failed, or there are too few arguments or too many."),
    ("125", "An option makes no sense or is not there, or, of run, Tiffin itself failed."),
    ("126, 127", "The command inside cannot be executed, or was not found."),
    ("128+N", "What ran inside was ended by the signal N."),
)


def pages() -> dict[str, str]:
    """Every page, as file name and contents."""
    from tiffin.cli.main import GLOBAL

    found = {"tiffin.1": _main_page(GLOBAL)}
    for name, place in commands.VERBS.items():
        verb = commands.load(place)
        if not verb.hidden:
            found[_file(name)] = _verb_page(verb)
    for group, (summary, places) in commands.GROUPS.items():
        found[_file(group)] = _group_page(group, summary, places)
        for name, place in places.items():
            verb = commands.load(place)
            page = _file(f"{group} {name}")
            # A verb that is also one of its own has its page there.
            found[page] = _verb_page(verb) if _file(verb.name) == page else f".so man1/{_file(verb.name)}\n"
    return found


def write(share: str) -> list[str]:
    """Write all pages and completion scripts to their places below `share`, as in /usr/share; their paths."""
    from tiffin.cli.completion import PLACES, SCRIPTS

    texts = {f"man/man1/{name}": text for name, text in pages().items()}
    texts |= {PLACES[shell]: text for shell, text in SCRIPTS.items()}
    paths = []
    for name, text in texts.items():
        paths.append(os.path.join(share, name))
        os.makedirs(os.path.dirname(paths[-1]), exist_ok=True)
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(text)
    return paths


def _title(words: str) -> str:
    return "-".join(["tiffin", *words.split()])


def _file(words: str) -> str:
    return f"{_title(words)}.1"


def _main_page(main: Verb) -> str:
    lines = _head("", main.summary, ["tiffin", "[OPTIONS]", "COMMAND", "[ARG...]"])
    lines += [
        ".SH DESCRIPTION",
        _text(
            "Runs containers without a daemon: every command works on a store by itself, and each running container "
            "has one small process beside it. The commands are named as Docker's are, and take their options."
        ),
        ".SH OPTIONS",
        *_options(main.options),
    ]
    for title, names in commands.TOPICS:
        lines += [f'.SH "{_text(title.upper())}"', *_verbs((name, commands.VERBS[name]) for name in names)]
    lines += [".SH GROUPS"]
    for group, (summary, _) in commands.GROUPS.items():
        lines += [".TP", f"\\fB{_title(group)}\\fR(1)", _text(f"{summary}.")]
    lines += [".SH EXAMPLES", *_examples(commands.load(commands.VERBS["run"]))]
    lines += _table("EXIT STATUS", _CODES) + _table("ENVIRONMENT", _ENVIRONMENT) + _table("FILES", _FILES)
    return "\n".join(lines) + "\n"


def _verbs(places: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for name, place in places:
        verb = commands.load(place)
        lines += [".TP", f"\\fB{_title(verb.name)}\\fR(1)", _text(f"{verb.summary}.")]
        assert name
    return lines


def _group_page(group: str, summary: str, places: dict[str, str]) -> str:
    lines = _head(group, summary, ["tiffin", group, "COMMAND", "[ARG...]"])
    lines += [".SH COMMANDS"]
    for name, place in places.items():
        verb = commands.load(place)
        lines += [".TP", f"\\fB{_text(f'{group} {name}')}\\fR", _text(f"{verb.summary}; see {_title(verb.name)}(1).")]
    return "\n".join([*lines, *_see_also()]) + "\n"


def _verb_page(verb: Verb) -> str:
    synopsis = ["tiffin", *verb.name.split(), *(["[OPTIONS]"] if verb.options else []), *verb.arguments.split()]
    lines = _head(verb.name, verb.summary, synopsis)
    lines += [".SH DESCRIPTION", _text(f"{verb.summary}.")]
    if verb.description:
        lines += [".PP", _text(verb.description)]
    others = [f"tiffin {alias}" for alias in commands.aliases(verb)]
    if others:
        lines += [".PP", _text(f"It is the same as {', '.join(others)}.")]
    if verb.options:
        lines += [".SH OPTIONS", *_options(sorted(verb.options, key=lambda option: option.name))]
    if verb.absent:
        lines += [".SH NOT SUPPORTED", _text("These options of Docker are refused:")]
        for name, (long, reason) in sorted(verb.absent.items()):
            if name == long:
                lines += [".TP", f"\\fB{_text(f'--{long}')}\\fR", _text(f"{reason}.")]
    if verb.examples:
        lines += [".SH EXAMPLES", *_examples(verb)]
    return "\n".join([*lines, *_see_also()]) + "\n"


def _head(words: str, summary: str, synopsis: list[str]) -> list[str]:
    from tiffin._version import __version__

    title = _title(words)
    usage = " ".join(
        f"\\fB{_text(word)}\\fR" if word.islower() and word.isalpha() else _text(word) for word in synopsis
    )
    return [
        f'.TH "{title.upper()}" "1" "" "Tiffin {__version__}" "Tiffin"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_text(title)} \\- {_text(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        usage,
    ]


def _options(options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        word = option.word or {"bool": "", "int": "int", "list": "list"}.get(option.kind, "string")
        names = [f"-{option.short}", f"--{option.name}"] if option.short else [f"--{option.name}"]
        shown = ", ".join(f"\\fB{_text(name)}\\fR" for name in names)
        lines += [".TP", f"{shown} \\fI{_text(word)}\\fR" if word else shown]
        lines.append(_text(f"{option.help} (default {option.default})" if option.default else option.help))
    return lines


def _examples(verb: Verb) -> list[str]:
    lines: list[str] = []
    for command, what in verb.examples:
        lines += [
            *([".PP"] if lines else []),
            _text(f"{what[0].upper()}{what[1:]}:"),
            ".PP",
            ".RS 4",
            ".EX",
            _text(command),
            ".EE",
            ".RE",
        ]
    return lines


def _table(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f'.SH "{title}"']
    for name, what in rows:
        lines += [".TP", f"\\fB{_text(name)}\\fR", _text(what)]
    return lines


def _see_also() -> list[str]:
    return [".SH SEE ALSO", "\\fBtiffin\\fR(1)"]


def _text(text: str) -> str:
    """Text as roff reads it: nothing in it is a request, and what users copy stays as it is."""
    for character, name in _ESCAPES:
        text = text.replace(character, name)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    for path in write(sys.argv[1]):
        print(path)
