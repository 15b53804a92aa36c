"""Columns of text, aligned as Docker aligns them."""

from __future__ import annotations

_SPACE = 3
_MIN_WIDTH = 10


def aligned(rows: list[list[str]], *, minimum: int = _MIN_WIDTH, space: int = _SPACE) -> list[str]:
    """Lines with columns `space` blanks apart, each at least `minimum` wide; the last one of a row is not padded."""
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            width = max(minimum, _width(cell) + space)
            if index < len(widths):
                widths[index] = max(widths[index], width)
            else:
                widths.append(width)
    return [
        "".join(cell + " " * (widths[index] - _width(cell)) for index, cell in enumerate(row[:-1])) + row[-1]
        for row in rows
    ]


def ellipsis(text: str, limit: int) -> str:
    """At most `limit` columns, the last one an ellipsis when something was cut off."""
    if _width(text) <= limit:
        return text
    used = 0
    for index, letter in enumerate(text):
        used += _width(letter)
        if used > limit - 1:
            return text[:index] + "…"
    return text


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)
