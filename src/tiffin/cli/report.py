"""How errors are shown, and what they make of the exit code."""

from __future__ import annotations

import sys

from tiffin.cli.colour import RED, styled
from tiffin.errors import LaunchError, TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Verb


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


def each_named(context: Context, references: Iterable[str], action: Callable[[str], object]) -> int:
    """As `for_each`; printed is each name as it was given, once it is done."""

    def act(reference: str) -> str:
        action(reference)
        return reference

    return for_each(context, references, act)


def exit_code(error: TiffinError, verb: Verb | None = None) -> int:
    """What `error` makes of the exit code of `verb`; of one that was not even understood, or of any, without it."""
    if verb is None or not verb.container_codes:
        code = 1 if isinstance(error, LaunchError) else error.exit_code
    else:
        code = error.exit_code
    return code if verb is None else max(code, verb.failed)


def for_each(context: Context, references: Iterable[str], action: Callable[[str], str | None]) -> int:
    """Do it to every one, whatever happens to the others; print what `action` returns. The first failure's code."""
    code = 0
    for reference in references:
        try:
            line = action(reference)
        except TiffinError as error:
            show_error(context, error)
            code = code or exit_code(error)
        else:
            if line is not None:
                print(line)
    return code
