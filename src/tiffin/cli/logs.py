"""`logs`."""

from __future__ import annotations

import sys
import time

from tiffin.cli.options import Option, Verb
from tiffin.cli.units import parse_moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _logs(context: Context, parsed: Parsed) -> int:
    follow, timestamps, details = parsed.flag("follow"), parsed.flag("timestamps"), parsed.flag("details")
    lines = context.engine.logs(
        parsed.arguments[0],
        follow=follow,
        since_ns=_moment(parsed, "since"),
        until_ns=_moment(parsed, "until"),
        tail=_tail(parsed),
    )
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    begins = {"stdout": True, "stderr": True}
    last = ""
    for line in lines:
        output = outputs[line.stream]
        if last and last != line.stream:
            outputs[last].flush()  # so that the two streams keep their order where they meet
        last = line.stream
        if timestamps and begins[line.stream]:
            output.write(f"{line.timestamp} ".encode())
        if details and begins[line.stream]:
            output.write(_details(line.attributes))
        begins[line.stream] = line.data.endswith(b"\n")
        output.write(line.data)
        if follow:
            output.flush()
    for output in outputs.values():
        output.flush()
    return 0


def _details(attributes: tuple[tuple[str, str], ...]) -> bytes:
    """As Docker: name=value, escaped as in a URL's query."""
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in attributes).encode() + b" "


def _moment(parsed: Parsed, name: str) -> int | None:
    text = parsed.text(name)
    if not text:
        return None
    try:
        return parse_moment(text, time.time_ns())
    except ValueError as error:
        raise parsed.invalid(name, text, str(error)) from None


def _tail(parsed: Parsed) -> int | None:
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
