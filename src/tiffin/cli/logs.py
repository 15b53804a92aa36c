"""`logs`."""

from __future__ import annotations

import sys
import time

from tiffin.cli.options import Option, Verb
from tiffin.cli.units import parse_moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.containers.logs import LogLine


def _logs(context: Context, parsed: Parsed) -> int:
    follow, timestamps, details = parsed.flag("follow"), parsed.flag("timestamps"), parsed.flag("details")
    lines = context.engine.logs(
        parsed.arguments[0],
        follow=follow,
        since_ns=moment(parsed, "since"),
        until_ns=moment(parsed, "until"),
        tail=tail(parsed),
    )

    def beginning(_: str, line: LogLine) -> str:
        when = f"{line.timestamp} " if timestamps else ""
        return f"{when}{_details(line.attributes)}" if details else when

    show((("", line) for line in lines), beginning if timestamps or details else None, follow=follow)
    return 0


def show(
    lines: Iterable[tuple[str, LogLine]], beginning: Callable[[str, LogLine], str] | None, *, follow: bool
) -> None:
    """Write lines, each with who wrote it, to the streams that they came from; at once with `follow`.

    `beginning` says what stands before a line. One that is long comes in pieces, and has it before the first.
    """
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    amid: set[tuple[str, str]] = set()
    last = ""
    for source, line in lines:
        output = outputs[line.stream]
        if last and last != line.stream:
            outputs[last].flush()  # so that the two streams keep their order where they meet
        last = line.stream
        if beginning is not None:
            key = (source, line.stream)
            if key not in amid:
                output.write(beginning(source, line).encode())
            if line.data.endswith(b"\n"):
                amid.discard(key)
            else:
                amid.add(key)
        output.write(line.data)
        if follow:
            output.flush()
    for output in outputs.values():
        output.flush()


def _details(attributes: tuple[tuple[str, str], ...]) -> str:
    """As Docker: name=value, escaped as in a URL's query."""
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in attributes) + " "


def moment(parsed: Parsed, name: str) -> int | None:
    """--since or --until, in nanoseconds since the epoch."""
    text = parsed.text(name)
    if not text:
        return None
    try:
        return parse_moment(text, time.time_ns())
    except ValueError as error:
        raise parsed.invalid(name, text, str(error)) from None


def tail(parsed: Parsed) -> int | None:
    """--tail; None for all lines, also where it is negative."""
    text = parsed.text("tail")
    if text in (None, "", "all"):
        return None
    assert text is not None
    if not text.removeprefix("-").isdigit():
        raise parsed.invalid("tail", text, "neither a number of lines nor all")
    return None if text.startswith("-") else int(text)


LOGS = Verb(
    name="logs",
    summary="Show what a container has written",
    run=_logs,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    options=(
        Option(name="details", kind="bool", help="Show the labels and variables that --log-opt asked for"),
        Option(name="follow", short="f", kind="bool", help="Go on as it writes, until it ends"),
        Option(name="since", word="time", help="Only from then on: 2024-05-01T12:00:00Z, or an age such as 42m"),
        Option(name="tail", short="n", word="lines", help="How many lines from the end", default="all"),
        Option(name="timestamps", short="t", kind="bool", help="Show when each line was written"),
        Option(name="until", word="time", help="Only up to then"),
    ),
    examples=(
        ("tiffin logs -f --tail 20 web", "the last lines, and what comes"),
        ("tiffin logs --since 1h web 2>&1 | grep error", "both streams of the last hour"),
    ),
)
