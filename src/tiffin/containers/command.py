"""What a process is started with: its words and its environment."""

from __future__ import annotations

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def words(command: Sequence[str]) -> tuple[str, ...]:
    """A command as its words. UsageError for one text, which would fall apart into its letters, and for no texts."""
    if isinstance(command, str | bytes):
        raise UsageError(
            f"the command {command!r} is one text, not a sequence of words",
            hint='use ["sh", "-c", "…"] for a shell line',
        )
    for word in command:
        if not isinstance(word, str):
            raise UsageError(f"the word {word!r} of the command is not a text")
    return tuple(command)


def merge_env(base: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    """The variables of `base` with those of `added` over them, each name once, in order of appearance."""
    merged: dict[str, str] = {}
    for item in (*base, *added):
        merged[item.partition("=")[0]] = item
    return tuple(merged.values())
