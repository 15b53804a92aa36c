"""RFC 3339 times of image configs, as nanoseconds since the epoch and back."""

from __future__ import annotations

import os
import time

from tiffin.errors import UsageError

_LONGEST_NS = (1 << 63) - 1


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch; times before 1970 and after 2262 become the nearest that fits.

    Raises `ValueError` when `text` is not an RFC 3339 time.
    """
    import calendar

    date, separator, rest = text[:10], text[10:11], text[11:]
    if separator not in ("T", "t", " "):
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    zone = 0
    if rest[-1:] in ("Z", "z"):
        rest = rest[:-1]
    elif rest[-6:-5] in ("+", "-") and rest[-3:-2] == ":":
        zone = (int(rest[-5:-3]) * 60 + int(rest[-2:])) * (-1 if rest[-6] == "-" else 1)
        rest = rest[:-6]
    else:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    whole, _, fraction = rest.partition(".")
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    seconds = calendar.timegm(time.strptime(f"{date} {whole}", "%Y-%m-%d %H:%M:%S")) - zone * 60
    nanoseconds = seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)
    return max(0, min(nanoseconds, _LONGEST_NS))


def format_rfc3339(nanoseconds: int) -> str:
    """UTC with as many decimals as are needed, as Go prints it: "2024-01-01T00:00:00.5Z"."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def creation_time_ns() -> int:
    """Now, or SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch), for new images."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return time.time_ns()
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 11):
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds", hint="unset or correct it")
    return int(epoch) * 1_000_000_000
