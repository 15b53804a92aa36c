"""Emphasis for people: on a terminal only, and never where NO_COLOR (no-color.org) or TERM=dumb is set."""

from __future__ import annotations

import os

BOLD, RED, YELLOW = "1", "31;1", "33;1"


def wanted(fd: int) -> bool:
    """Whether what is written to `fd` may hold escape sequences."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def styled(text: str, style: str, fd: int = 1) -> str:
    """`text` in `style` for `fd`, or as it is."""
    return f"\x1b[{style}m{text}\x1b[0m" if text and wanted(fd) else text
