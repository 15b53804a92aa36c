"""Lists of things: the table, --format, --quiet and --filter of `ps`, `images` and `history`."""

from __future__ import annotations

import sys

from tiffin.cli.colour import BOLD, styled
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option
from tiffin.cli.table import aligned
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from tiffin.cli.options import Parsed
    from tiffin.cli.template_tree import TemplateError

FORMAT = Option(
    name="format", word="template", help="'table', 'table TEMPLATE', 'json', or a Go template such as '{{.ID}}'"
)
NO_TRUNC = Option(name="no-trunc", kind="bool", help="Do not cut anything off")
QUIET = Option(name="quiet", short="q", kind="bool", help="Only show IDs")
FILTER = Option(name="filter", short="f", kind="list", word="name=value", help="Only show what fits")

_ESCAPES = (("\\t", "\t"), ("\\n", "\n"))


def show(format: str | None, rows: Sequence[Fields], headings: dict[str, str], columns: Sequence[str]) -> None:
    """Print rows as `format` asks; by default as a table of `columns`, whose headings come from `headings`."""
    if format == "json":
        from tiffin.cli.template_functions import to_json

        for row in rows:
            print(to_json(row))
        return
    if format in (None, "", "table"):
        cells = [[str(row[column]) for column in columns] for row in rows]
        _print_table(aligned([[headings[column] for column in columns], *cells]))
        return
    assert format is not None
    source = format
    for written, meant in _ESCAPES:
        source = source.replace(written, meant)
    if source.startswith("table "):
        _templated_table(source.removeprefix("table "), rows, headings)
        return
    for line in _rendered(source, rows):
        print(line)


def _templated_table(source: str, rows: Sequence[Fields], headings: dict[str, str]) -> None:
    header = Fields({**headings, "Label": _label_heading})
    lines = [*_rendered(source, [header], header=True), *_rendered(source, rows)]
    _print_table([line.rstrip(" ") for line in aligned([line.split("\t") for line in lines])])


def _print_table(lines: list[str]) -> None:
    """The first line is the headings, which stand out on a terminal."""
    print("\n".join([styled(lines[0], BOLD), *lines[1:]]))


def _label_heading(key: str) -> str:
    """Docker's: the last part of a dotted key, in words."""
    return key.rpartition(".")[2].replace("-", " ").replace("_", " ")


def _rendered(source: str, rows: Sequence[Fields], *, header: bool = False) -> list[str]:
    from tiffin.cli.template import TemplateError, compile_template

    try:
        template = compile_template(source, header=header)
        return [template.render(row) for row in rows]
    except TemplateError as error:
        raise template_error(error, rows[0] if rows else None) from None


def template_error(error: TemplateError, fields: Fields | None = None) -> UsageError:
    """The error for a template, with the fields that there are when it asked for another."""
    hint = None if error.column is None else f"at column {error.column}"
    if fields is not None and "can't evaluate field" in str(error):
        hint = "The fields are " + ", ".join(sorted(fields)) + "."
    return UsageError(f"template parsing error: {error}", hint=hint)


def render_one(format: str, value: Any) -> str:
    """One value by a template or as "json", with a line end."""
    from tiffin.cli.template import TemplateError, compile_template
    from tiffin.cli.template_functions import to_json

    if format == "json":
        return to_json(value) + "\n"
    try:
        return compile_template(format).render(value) + "\n"
    except TemplateError as error:
        raise template_error(error) from None


def parse_filters(parsed: Parsed, known: Iterable[str], absent: dict[str, str] | None = None) -> dict[str, list[str]]:
    """--filter name=value … by name. UsageError for names that are not `known`, with the reason for `absent` ones."""
    names = sorted(known)
    found: dict[str, list[str]] = {}
    for text in parsed.items("filter"):
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        if not equals:
            raise parsed.malformed("filter", text, "bad format of filter (expected name=value)")
        if absent and name in absent:
            from tiffin.errors import NotSupportedError

            raise NotSupportedError(f"--filter {name} is not supported yet: {absent[name]}")
        if name not in names:
            raise bad_filter(name, f"the filters are {', '.join(names)}")
        found.setdefault(name, []).append(value.strip())
    return found


def bad_filter(text: str, hint: str) -> UsageError:
    """Docker's words for a filter, or a value of one, that there is not."""
    return UsageError(f"invalid filter '{text}'", hint=hint)


def truth(name: str, value: str) -> bool:
    """A filter's value that is true or false."""
    if value.lower() not in ("true", "1", "false", "0"):
        raise bad_filter(f"{name}={value}", "it is true or false")
    return value.lower() in ("true", "1")


def labels_match(wanted: Iterable[str], labels: dict[str, str]) -> bool:
    """Whether all of "KEY" and "KEY=VALUE" are among the labels."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def quietly(rows: Iterable[str]) -> None:
    """One a line, without the table."""
    sys.stdout.writelines(f"{row}\n" for row in rows)


def label_reader(labels: dict[str, str]) -> Callable[[str], str]:
    """The `.Label "key"` method of rows."""
    return lambda key: labels.get(key, "")
