"""Being in front of a container: its output here, our keys and signals there, its exit code ours."""

from __future__ import annotations

import os
import sys

from tiffin.cli.relay import Outcome, Relay
from tiffin.cli.terminal import DetachKeys, RawMode, Signals, parse_detach_keys, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.options import Parsed
    from tiffin.cli.relay import Channel

READER_GONE = 141  # what a shell reports for SIGPIPE
_FORCE_AFTER = 3


def detach_keys(parsed: Parsed) -> bytes:
    """The bytes of --detach-keys. UsageError."""
    text = parsed.text("detach-keys") or ""
    try:
        return parse_detach_keys(text)
    except ValueError as error:
        from tiffin.errors import UsageError

        raise UsageError(f"invalid detach keys ({text}) provided", hint=str(error)) from None


def check_terminal(tty: bool, stdin: bool) -> None:
    """UsageError when keys should go to the container's terminal, but there is no terminal here."""
    if tty and stdin and not os.isatty(0):
        from tiffin.errors import UsageError

        raise UsageError("the input device is not a TTY", hint="leave out -t when input comes from a pipe or file")


def unless_gone(action: Callable[[], object]) -> None:
    """For what may meet a container that has ended, or was removed, in the meantime."""
    from tiffin.errors import ConflictError, NotFoundError

    try:
        action()
    except (NotFoundError, ConflictError):
        return


def terminal_size() -> tuple[int, int] | None:
    return window_size(0, 1, 2)


def attend(
    channel: Channel,
    *,
    tty: bool,
    streams: frozenset[str],
    keys: bytes,
    forward: Callable[[int], None] | None,
    name: str,
) -> Outcome:
    """Relay until the container ends or the user leaves. `forward` passes a signal on; without it, signals leave."""
    import signal

    stdin = 0 if "stdin" in streams else None
    raw = tty and stdin is not None and os.isatty(0)
    watched = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
    if tty:
        watched.append(signal.SIGWINCH)
    insisted = 0

    def on_signal(number: int) -> bool:
        nonlocal insisted
        if forward is None:
            return False
        insisted += number in (signal.SIGINT, signal.SIGTERM)
        if insisted > _FORCE_AFTER - 1:
            sys.stderr.write(f"tiffin: got {insisted} signals and leave; `tiffin kill {name}` ends the container\n")
            return False
        forward(number)
        return True

    with Signals(watched) as signals:
        relay = Relay(
            channel,
            stdin=stdin,
            stdout=1 if "stdout" in streams else None,
            stderr=2 if "stderr" in streams else None,
            detach_keys=DetachKeys(keys) if raw and keys else None,
            signals=signals,
            on_signal=on_signal,
        )
        if not raw:
            return relay.run()
        with RawMode(0):
            outcome = relay.run()
    if outcome.detached and outcome.exit_code is None:
        sys.stderr.write("\nread escape sequence\n")
    return outcome
