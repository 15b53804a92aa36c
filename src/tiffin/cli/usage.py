"""The text of `--help`, made from the same declarations that the parser uses."""

from __future__ import annotations

import os

from tiffin.cli.colour import BOLD, styled
from tiffin.cli.commands import aliases
from tiffin.cli.options import Option, Verb

_WIDTH = 100
_LEAST_WIDTH = 60


def verb_help(verb: Verb) -> str:
    """Usage, summary, options and examples of one verb."""
    usage = f"tiffin {verb.name}" + (" [OPTIONS]" if verb.options else "")
    usage += f" {verb.arguments}" if verb.arguments else ""
    parts = [f"{_heading('Usage:')}  {usage}", "", verb.summary]
    if verb.description:
        parts += ["", *_wrapped(verb.description, 0)]
    others = aliases(verb)
    if others:
        parts += ["", _heading("Aliases:"), *_wrapped(", ".join(f"tiffin {name}" for name in others), 2, "  ")]
    if verb.options:
        parts += ["", _heading("Options:"), *_options(sorted(verb.options, key=lambda option: option.name))]
    if verb.examples:
        parts += ["", _heading("Examples:")]
        for command, what in verb.examples:
            parts += [f"  # {what}", f"  {command}"]
    return "\n".join(parts) + "\n"


def group_help(name: str, summary: str, verbs: list[tuple[str, str]]) -> str:
    """Usage of a group ("container") and the verbs in it, given as (name, summary)."""
    parts = [f"{_heading('Usage:')}  tiffin {name} COMMAND", "", summary, "", _heading("Commands:"), *_pairs(verbs)]
    return "\n".join(parts) + f"\n\nRun 'tiffin {name} COMMAND --help' for more information on a command.\n"


def top_help(groups: list[tuple[str, list[tuple[str, str]]]], global_options: tuple[Option, ...]) -> str:
    """The first page: verbs by topic and the global options."""
    parts = [f"{_heading('Usage:')}  tiffin [OPTIONS] COMMAND", "", "A container engine without a daemon"]
    for title, verbs in groups:
        parts += ["", _heading(f"{title}:"), *_pairs(verbs)]
    parts += ["", _heading("Global options:"), *_options(list(global_options))]
    return "\n".join(parts) + "\n\nRun 'tiffin COMMAND --help' for more information on a command.\n"


def _pairs(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows) + 3
    lines = []
    for name, summary in rows:
        first, *rest = _wrapped(summary, width + 2)
        lines += [f"  {name:{width}}{first}", *(" " * (width + 2) + line for line in rest)]
    return lines


def _options(options: list[Option]) -> list[str]:
    left = [_left(option) for option in options]
    width = min(max(len(text) for text in left) + 3, 32)
    lines = []
    for text, option in zip(left, options, strict=True):
        words = option.help + (f" (default {option.default})" if option.default else "")
        wrapped = _wrapped(words, width + 2)
        if len(text) + 1 >= width:
            lines.append(f"  {text}")
            lines += [" " * (width + 2) + line for line in wrapped]
        else:
            lines.append(f"  {text:{width}}{wrapped[0]}")
            lines += [" " * (width + 2) + line for line in wrapped[1:]]
    return lines


def _left(option: Option) -> str:
    word = option.word or {"bool": "", "int": "int", "list": "list"}.get(option.kind, "string")
    name = f"-{option.short}, --{option.name}" if option.short else f"    --{option.name}"
    return f"{name} {word}".rstrip()


def _heading(text: str) -> str:
    return styled(text, BOLD)


def _wrapped(text: str, indent: int, before: str = "") -> list[str]:
    import textwrap

    return [before + line for line in textwrap.wrap(text, _width() - indent)] or [""]


def _width() -> int:
    """Columns of a narrow terminal; the same everywhere else, so that pages in files do not depend on who made them."""
    try:
        return max(_LEAST_WIDTH, min(_WIDTH, os.get_terminal_size(1).columns))
    except OSError:
        return _WIDTH
