"""How errors are shown, and what they make of the exit code."""

from __future__ import annotations

import sys

from tiffin.cli.colour import RED, styled
from tiffin.errors import LaunchError, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from tiffin.cli.context import Context
    from tiffin.cli.options import Verb

    T = TypeVar("T")

_AT_ONCE = 50

# What a terminal takes for orders: images and containers choose some of the words in messages.
_ORDERS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


def show_error(context: Context | None, error: TiffinError) -> None:
    """The message, and what to do about it on a second line; with --debug where it came from as well."""
    sys.stdout.flush()
    if context is not None and context.debug is not None:
        import traceback

        context.debug("".join(traceback.format_exception(error)).rstrip())
    sys.stderr.write(f"{styled('tiffin:', RED, 2)} {error.message.translate(_ORDERS)}\n")
    if error.hint:
        sys.stderr.write(f"{error.hint.translate(_ORDERS)}\n")
    sys.stderr.flush()


def each_named(
    context: Context, references: Iterable[str], action: Callable[[str], object], *, together: bool = False
) -> int:
    """As `for_each`; printed is each name as it was given, once it is done."""

    def act(reference: str) -> str:
        action(reference)
        return reference

    return for_each(context, references, act, together=together)


def exit_code(error: TiffinError, verb: Verb | None = None) -> int:
    """What `error` makes of the exit code of `verb`; of one that was not even understood, or of any, without it."""
    if verb is None or not verb.container_codes:
        code = 1 if isinstance(error, LaunchError) else error.exit_code
    else:
        code = error.exit_code
    return code if verb is None else max(code, verb.failed)


def for_each(
    context: Context, references: Iterable[str], action: Callable[[str], str | None], *, together: bool = False
) -> int:
    """Do it to every one, whatever happens to the others; print what `action` returns. The first failure's code.

    `together`: without waiting for one before the next is begun, so in threads: the engine is there before. What is
    said keeps the order of the references.
    """

    def attempt(reference: str) -> str | TiffinError | None:
        try:
            return action(reference)
        except TiffinError as error:
            return error

    code = 0
    for outcome in _at_once(attempt, list(references)) if together else map(attempt, references):
        if isinstance(outcome, TiffinError):
            show_error(context, outcome)
            code = code or exit_code(outcome)
        elif outcome is not None:
            print(outcome)
    return code


def _at_once(act: Callable[[str], T], references: list[str]) -> Iterator[T]:
    """What `act` returns for each, in their order; what it raises is raised here."""
    if len(set(references)) < max(2, len(references)):  # a container that is named twice is not ended twice at once
        yield from map(act, references)
        return
    from threading import Event, Thread

    ended = [Event() for _ in references]
    outcomes: dict[int, T] = {}
    failures: dict[int, BaseException] = {}
    waiting = iter(enumerate(references))

    def work() -> None:
        for place, reference in waiting:
            try:
                outcomes[place] = act(reference)
            except BaseException as error:
                failures[place] = error
            ended[place].set()

    for _ in references[:_AT_ONCE]:
        Thread(target=work, daemon=True).start()  # nobody who is interrupted waits for it
    for place, event in enumerate(ended):
        event.wait()
        if place in failures:
            raise failures[place]
        yield outcomes[place]
