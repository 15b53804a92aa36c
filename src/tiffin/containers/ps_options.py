"""The options of ps(1) that choose columns, as far as they make sense for the processes of one container."""

from __future__ import annotations

from tiffin.errors import NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHORT = ("pid", "tname", "stat", "bsdtime=TIME", "command")
_USER = ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "bsdstart", "bsdtime", "command")
# Which processes: here always those of the container. "f" chooses what is the default anyway.
_IDLE = frozenset("eAf")
_BSD = frozenset("aux")


def columns(words: Sequence[str]) -> tuple[str, ...]:
    """The columns that words such as "-o pid,comm", "-ef" or "aux" ask for; none for the default.

    NotSupportedError for other options, UsageError for -o without its list.
    """
    chosen: list[str] = []
    preset: tuple[str, ...] = ()
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--format":
            chosen += _list(value if equals else next(rest, ""))
            continue
        letters, o, attached = word.removeprefix("-").partition("o")
        if o and (_IDLE | _BSD).issuperset(letters):
            chosen += _list(attached or next(rest, ""))
        elif letters and not o and _BSD.issuperset(letters):
            preset = _USER if "u" in letters else _SHORT
        elif o or not word.startswith("-") or not letters or not _IDLE.issuperset(letters):
            raise NotSupportedError(
                f"the ps option {word!r} is not supported yet: Tiffin reads the processes itself",
                hint="choose columns with -o, such as -o pid,user,args, or take those of -ef or aux",
            )
    return tuple(chosen) or preset


def _list(text: str) -> Iterator[str]:
    found = [name for name in text.replace(",", " ").split() if name] if "=" not in text else text.split(",")
    if not found:
        raise UsageError("-o needs a list of columns, such as -o pid,user,args")
    yield from found
