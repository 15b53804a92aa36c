"""Descriptors for the program inside: `--preserve-fds`, `--pass-fd`, and what a service manager gave this command."""

from __future__ import annotations

import os

from tiffin.cli.options import Option
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.options import Parsed

FIRST = 3  # SD_LISTEN_FDS_START
OPTIONS = (
    Option(name="pass-fd", kind="list", word="name:fd", help="Give an open descriptor to the program, with LISTEN_FDS"),
    Option(name="preserve-fds", kind="int", word="number", help="Give it that many open descriptors, from 3 on"),
)


def pass_fds(parsed: Parsed) -> tuple[int | tuple[str, int], ...]:
    """What the program is to get. UsageError for a descriptor that is not open."""
    if "LISTEN_FDS" not in os.environ and not parsed.given("pass-fd") and not parsed.given("preserve-fds"):
        return ()
    inherited = _inherited()
    preserved = parsed.number("preserve-fds") or 0
    if preserved < 0:
        raise parsed.invalid("preserve-fds", str(preserved), "a number of descriptors is not negative")
    for fd in range(FIRST, FIRST + preserved):
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(
                f"file descriptor {fd} is not available - the preserve-fds option requires that file descriptors "
                "must be passed"
            ) from None
    plain = range(FIRST + len(inherited), FIRST + preserved)
    return (*inherited, *plain, *(_named(parsed, text) for text in parsed.items("pass-fd")))


def _inherited() -> list[tuple[str, int]]:
    """What this command was given by socket activation: only if the variables are meant for this very process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    text = os.environ.get("LISTEN_FDS", "")
    count = int(text) if text.isdigit() else 0
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return [(names[i] if i < len(names) and names[i] else "unknown", FIRST + i) for i in range(count)]


def _named(parsed: Parsed, text: str) -> tuple[str, int]:
    name, colon, number = text.rpartition(":")
    if not colon or not name or not number.isdigit():
        raise parsed.invalid("pass-fd", text, "not of the form name:number")
    return name, int(number)
