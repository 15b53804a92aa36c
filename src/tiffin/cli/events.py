"""`events`."""

from __future__ import annotations

import sys
import time

from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb
from tiffin.cli.units import parse_moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.event import Event


# What an image's label or a command says must neither look like a line of its own nor reach the terminal as control.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {9: "\\t", 10: "\\n"}


class Actor(Fields):
    type_name = "events.Actor"


class Message(Fields):
    """An event as Docker's templates and its JSON see it."""

    type_name = "events.Message"

    def for_json(self) -> dict[str, Any]:
        # Docker's older names are left out where it leaves them out: from what is neither container nor image.
        old = {"status": self["Status"], "id": self["ID"], "from": self["From"]}
        return {
            **{key: value for key, value in old.items() if value},
            "Type": self["Type"],
            "Action": self["Action"],
            "Actor": self["Actor"],
            "scope": self["Scope"],
            "time": self["Time"],
            "timeNano": self["TimeNano"],
        }


def _events(context: Context, parsed: Parsed) -> int:
    show = _shower(parsed.text("format"))
    now_ns = time.time_ns()
    since_ns, until_ns = _moment(parsed, "since", now_ns), _moment(parsed, "until", now_ns)
    filters: dict[str, list[str]] = {}
    for text in parsed.items("filter"):
        name, equals, value = text.partition("=")
        if not equals:
            raise parsed.malformed("filter", text, "bad format of filter (expected name=value)")
        filters.setdefault(name.strip().lower(), []).append(value.strip())
    if since_ns is None and until_ns is None:
        since_ns = now_ns
    follow = until_ns is None or until_ns > now_ns
    for event in context.engine.events(since_ns=since_ns, until_ns=until_ns, filters=filters, follow=follow):
        sys.stdout.write(show(event))
        sys.stdout.flush()
    return 0


def _moment(parsed: Parsed, name: str, now_ns: int) -> int | None:
    text = parsed.text(name)
    if not text:
        return None
    try:
        return parse_moment(text, now_ns)
    except ValueError as error:
        raise parsed.invalid(name, text, str(error)) from None


def _shower(format: str | None) -> Callable[[Event], str]:
    if not format:
        return line
    if format == "json":
        format = "{{json .}}"
    from tiffin.cli.listing import template_error
    from tiffin.cli.template import TemplateError, compile_template

    try:
        template = compile_template(format)
    except TemplateError as error:
        raise template_error(error) from None

    def show(event: Event) -> str:
        try:
            return template.render(message(event)) + "\n"
        except TemplateError as error:
            raise template_error(error, message(event)) from None

    return show


def message(event: Event) -> Message:
    """The struct that templates are given."""
    old = event.type in ("container", "image")
    return Message(
        Status=event.action if old else "",
        ID=event.id if old else "",
        From=event.attribute("image") if event.type == "container" else "",
        Type=event.type,
        Action=event.action,
        Actor=Actor(ID=event.id, Attributes=dict(event.attributes)),
        Scope="local",
        Time=event.time_ns // 1_000_000_000,
        TimeNano=event.time_ns,
    )


def line(event: Event) -> str:
    """Docker's line: "2024-05-01T12:00:00.000000000Z container start ID (image=busybox, name=web)"."""
    seconds, rest = divmod(event.time_ns, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    inside = ", ".join(f"{key}={value}" for key, value in event.attributes)
    shown = f" ({inside})" if inside else ""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    about = f"{event.type} {event.action} {event.id}{shown}".translate(_ESCAPES)
    return f"{moment}.{rest:09d}{zone} {about}\n"


EVENTS = Verb(
    name="events",
    summary="Show what happens to containers, images and volumes, from all commands and programs",
    run=_events,
    options=(
        Option(
            name="filter", short="f", kind="list", word="name=value",
            help="Only show what fits: container, image, volume, label, type or event",
        ),
        Option(name="format", word="template", help="'json', or a Go template such as '{{.Action}}'"),
        Option(name="since", word="time", help="Begin then: 2024-05-01T12:00:00Z, a Unix time, or an age such as 10m"),
        Option(name="until", word="time", help="End then"),
    ),
    description=(
        "Goes on until it is interrupted, or until --until. With neither --since nor --until it begins now. The newest "
        "4 to 8 MB of events are kept."
    ),
    examples=(
        ("tiffin events -f container=web", "what happens to one container"),
        ("tiffin events --since 1h --until 0s -f event=die", "what ended in the last hour"),
        ("tiffin events --format json", "one object a line"),
    ),
)  # fmt: skip
