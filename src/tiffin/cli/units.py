"""Sizes and times between people and programs, by the rules of Docker's go-units."""

from __future__ import annotations

_BINARY = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DIGITS = "0123456789."


def parse_bytes(text: str) -> int:
    """Bytes of "64m", "1.5g", "512k", "100", "2GiB"; units are powers of 1024. ValueError says what is wrong."""
    end = len(text)
    while end and text[end - 1] not in _DIGITS:
        end -= 1
    number = text[:end]
    suffix = text[end:].strip().lower()
    try:
        if any(letter not in _DIGITS for letter in number):
            raise ValueError
        value = float(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    letter = suffix[:1]
    if letter not in _BINARY or suffix[1:] not in ("", "b", "ib") or suffix in ("bb", "bib"):
        raise ValueError(f"invalid suffix: '{suffix}'")
    scaled = value * 1024 ** _BINARY[letter]
    if scaled >= 2**63:
        raise ValueError(f"invalid size: '{text}': more than 2^63 bytes")
    return int(number) * 1024 ** _BINARY[letter] if number.isdigit() else int(scaled)


def size(count: float, precision: int = 3) -> str:
    """Bytes for people, powers of 1000: "0B", "12.3MB", "1.05GB"."""
    return _scaled(count, 1000, precision, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def binary_size(count: float) -> str:
    """Memory for people, powers of 1024: "0B", "12.3MiB", "1.058GiB"."""
    return _scaled(count, 1024, 4, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(count: float, step: int, precision: int, units: tuple[str, ...]) -> str:
    index = 0
    while count >= step and index < len(units) - 1:
        count /= step
        index += 1
    text = f"{count:.{precision}g}"
    return (f"{count:.0f}" if "e" in text else text) + units[index]


def duration(seconds: float) -> str:
    """A rough length of time: "Less than a second", "3 minutes", "About an hour", "2 weeks"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(then_ns: int, now_ns: int) -> str:
    return f"{duration(max(0, now_ns - then_ns) / 1e9)} ago" if then_ns else "N/A"


def rfc3339(moment_ns: int) -> str:
    """UTC with nanoseconds, as Docker's inspect shows times; 0 is the year 1, Go's zero time."""
    if not moment_ns:
        return "0001-01-01T00:00:00Z"
    import time

    seconds, rest = divmod(moment_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


def local_time(moment_ns: int) -> str:
    """As Docker's lists show creation times: "2024-05-01 12:00:00 +0200 CEST"."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(moment_ns / 1e9))


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: "42m", "1h30m", "1.5s", "300ms". ValueError."""
    scales = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest = text[1:] if text[:1] in "+-" else text
    if rest == "0":
        return 0.0
    total = 0.0
    while rest:
        end = 0
        while end < len(rest) and rest[end] in _DIGITS:
            end += 1
        unit_end = end
        while unit_end < len(rest) and rest[unit_end] not in _DIGITS:
            unit_end += 1
        number, unit, rest = rest[:end], rest[end:unit_end], rest[unit_end:]
        if not number or number.count(".") > 1 or number == "." or unit not in scales:
            raise ValueError(f'invalid duration "{text}"')
        total += float(number) * scales[unit]
    if text in ("", "+", "-"):
        raise ValueError(f'invalid duration "{text}"')
    return -total if text.startswith("-") else total


def parse_moment(text: str, now_ns: int) -> int:
    """Nanoseconds since the epoch of a Unix time ("1700000000.5"), RFC 3339 time, date or age ("42m"). ValueError."""
    head, _, fraction = text.partition(".")
    if head.lstrip("-").isdigit() and (fraction.isdigit() or not fraction) and head.count("-") <= 1:
        return int(head) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)
    try:
        return now_ns - int(parse_duration(text) * 1e9)
    except ValueError:
        pass
    from datetime import datetime

    body, nanoseconds = text, 0
    dot = text.find(".")
    if dot > 0:
        end = dot + 1
        while end < len(text) and text[end].isdigit():
            end += 1
        nanoseconds = int(text[dot + 1 : end][:9].ljust(9, "0"))
        body = text[:dot] + text[end:]
    try:
        parsed = datetime.fromisoformat(body)
    except ValueError:
        raise ValueError(f'not a time: "{text}" (RFC 3339 like 2024-05-01T12:00:00Z, or an age like 42m)') from None
    return int(parsed.timestamp()) * 1_000_000_000 + nanoseconds
