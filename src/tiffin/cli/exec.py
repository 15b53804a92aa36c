"""`exec`."""

from __future__ import annotations

from tiffin.cli.container_flags import DETACH_KEYS, PROCESS
from tiffin.cli.container_options import environment, workdir
from tiffin.cli.options import Option, Verb
from tiffin.cli.passing import OPTIONS as PASSING
from tiffin.cli.passing import pass_fds
from tiffin.errors import CommandNotExecutable, LaunchError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _exec(context: Context, parsed: Parsed) -> int:
    try:
        return _run(context, parsed)
    except LaunchError as error:
        if error.exit_code == LaunchError.exit_code:
            # As in Docker: 126 is whatever kept the command from being executed, once there was a container for it.
            raise CommandNotExecutable(error.message, hint=error.hint) from error
        raise


def _run(context: Context, parsed: Parsed) -> int:
    container, *command = parsed.arguments
    details: dict[str, Any] = {
        "user": parsed.text("user"),
        "workdir": workdir(parsed),
        "env": environment(parsed),
        "privileged": parsed.flag("privileged"),
        "pass_fds": pass_fds(parsed),
    }
    tty, interactive = parsed.flag("tty"), parsed.flag("interactive")
    if parsed.flag("detach"):
        if tty:
            raise UsageError("conflicting options: cannot specify both --detach and --tty", hint="leave out -t")
        context.engine.exec(container, command, detach=True, **details).close()
        return 0
    if tty:
        return _with_terminal(context, parsed, container, command, interactive, details)

    from tiffin.cli.plumbing import run_plumbed

    return run_plumbed(
        lambda stdin, stdout, stderr: context.engine.exec(
            container, command, stdin=stdin, stdout=stdout, stderr=stderr, **details
        ),
        interactive=interactive,
    )


def _with_terminal(
    context: Context, parsed: Parsed, container: str, command: list[str], interactive: bool, details: dict[str, Any]
) -> int:
    from tiffin.cli import foreground
    from tiffin.cli.relay import TerminalChannel

    keys = foreground.detach_keys(parsed)
    foreground.check_terminal(True, interactive)
    size = foreground.terminal_size()
    with context.engine.exec(container, command, tty=True, tty_size=size, **details) as session:
        outcome = foreground.attend(
            TerminalChannel(session.master, session.resize, session.fileno()),
            tty=True,
            streams=frozenset(("stdin", "stdout") if interactive else ("stdout",)),
            keys=keys,
            forward=session.signal,
            name=container,
        )
        if outcome.detached and outcome.exit_code is None:
            session.detach()
        if outcome.detached:
            return outcome.exit_code or 0
        if outcome.reader_gone:
            return foreground.READER_GONE
        return session.wait()


EXEC = Verb(
    name="exec",
    summary="Run a command in a running container",
    run=_exec,
    arguments="CONTAINER COMMAND [ARG...]",
    minimum=2,
    maximum=None,
    options=(
        *PROCESS,
        DETACH_KEYS,
        Option(name="detach", short="d", kind="bool", help="Run it in the background"),
        Option(name="privileged", kind="bool", help="Give it all capabilities"),
        *PASSING,
    ),
    interspersed=False,
    container_codes=True,
    description=(
        "The exit code is the command's own; 126 means that it cannot be executed, 127 that it was not found. "
        "Detaching from a terminal leaves the command running, without anybody to see it any more."
    ),
    examples=(
        ("tiffin exec -it web sh", "a shell in a running container"),
        ("tiffin exec web cat /etc/hosts > hosts", "output into a file"),
    ),
)
