"""Reading Docker's json-file log: one object a line, with `log`, `stream`, `time` and perhaps `attrs`."""

from __future__ import annotations

import json

from tiffin.containers.logs import LogLine

_END = b'\\n","stream":"'


def parse(raw: bytes) -> LogLine | None:
    """One line of the file; None if it is not one (a disk that was full may leave half a line)."""
    try:
        fields = json.loads(raw)
        return LogLine(
            timestamp=_padded(fields["time"]),
            stream=fields["stream"],
            data=fields["log"].encode("utf-8", "surrogatepass"),
            attributes=tuple(sorted(fields.get("attrs", {}).items())),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_full(raw: bytes) -> bool:
    """Whether the line ends in a newline of the container's, and is not the piece of a longer one."""
    at = raw.rfind(_END)
    before = raw[:at]
    return at >= 0 and (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def _padded(time: str) -> str:
    """With all nine digits of the fraction, of which Go leaves out zeros at the end, so that texts sort as times do."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}Z"
