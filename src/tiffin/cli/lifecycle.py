"""`stop`, `kill`, `wait` and `rm`."""

from __future__ import annotations

from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.report import each_named, for_each, show_error
from tiffin.errors import AmbiguousError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

CONTAINERS = "CONTAINER [CONTAINER...]"
# Of stop and restart.
SIGNAL_FIRST = Option(name="signal", short="s", word="signal", help="Signal to send first", default="the container's")
TIMEOUT = Option(
    name="timeout", alias="time", short="t", kind="int", word="seconds",
    help="Seconds to wait before killing it; -1 waits for ever", default="the container's, or 10",
)  # fmt: skip


def _stop(context: Context, parsed: Parsed) -> int:
    timeout_s, signal, shutdown = parsed.number("timeout"), parsed.text("signal"), parsed.flag("boot")
    engine = context.engine
    return each_named(
        context,
        all_or_named(context, parsed, running=True),
        lambda reference: engine.stop(reference, timeout_s=timeout_s, signal=signal, shutdown=shutdown),
        together=True,
    )


def all_or_named(context: Context, parsed: Parsed, *, running: bool) -> list[str]:
    """The containers of --all: those that run, or those that do not; or else the named ones. UsageError for both."""
    if not parsed.flag("all"):
        if not parsed.arguments:
            from tiffin.errors import UsageError

            raise UsageError(
                f"'tiffin {parsed.verb.name}' requires at least 1 argument",
                hint=f"Usage: tiffin {parsed.verb.name} [OPTIONS] {parsed.verb.arguments}. {parsed.verb.see_help}",
            )
        return parsed.arguments
    if parsed.arguments:
        from tiffin.errors import UsageError

        raise UsageError("--all takes no containers", hint=parsed.verb.see_help)
    found = context.engine.containers(all=True)
    return [info.container.name for info in found if (info.state.status in ("running", "restarting")) == running]


def _kill(context: Context, parsed: Parsed) -> int:
    text = parsed.text("signal") or "KILL"
    signal = int(text) if text.isdigit() else text
    return each_named(context, parsed.arguments, lambda reference: context.engine.kill(reference, signal=signal))


def _wait(context: Context, parsed: Parsed) -> int:
    condition = parsed.text("condition") or "not-running"

    def wait(reference: str) -> str:
        return str(context.engine.wait(reference, condition=condition))

    return for_each(context, parsed.arguments, wait)


def _rm(context: Context, parsed: Parsed) -> int:
    force, volumes = parsed.flag("force"), parsed.flag("volumes")
    engine = context.engine

    def remove(reference: str) -> str | None:
        try:
            engine.remove(reference, force=force, volumes=volumes)
        except NotFoundError as error:
            if not force or isinstance(error, AmbiguousError):
                raise
            show_error(context, error)  # said, but no failure: what was wanted is so
            return None
        return reference

    return for_each(context, parsed.arguments, remove, together=force)


STOP = Verb(
    name="stop",
    summary="Stop one or more running containers",
    run=_stop,
    arguments=CONTAINERS,
    maximum=None,
    options=(
        Option(name="all", short="a", kind="bool", help="All that run"),
        Option(name="boot", kind="bool", help="As the host's shutdown does: `start --boot` starts it again"),
        SIGNAL_FIRST,
        TIMEOUT,
    ),
    examples=(("tiffin stop web", "asks, and kills after 10 seconds"), ("tiffin stop -t 0 web", "kills at once")),
)

KILL = Verb(
    name="kill",
    summary="Send a signal to one or more running containers",
    run=_kill,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    options=(Option(name="signal", short="s", word="signal", help="Name or number", default="KILL"),),
    examples=(("tiffin kill -s HUP web", "have it read its configuration again"),),
)

WAIT = Verb(
    name="wait",
    summary="Wait until one or more containers stop, then print their exit codes",
    run=_wait,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    options=(
        Option(
            name="condition",
            word="not-running|next-exit|removed",
            help="What to wait for: next-exit is an end that is yet to come, and removed the end of everything",
            default="not-running",
        ),
    ),
    examples=(
        ("tiffin wait job", "prints 0 when it went well"),
        ("tiffin wait --condition removed job", "until its name is free again"),
    ),
)

RM = Verb(
    name="rm",
    summary="Remove one or more containers",
    run=_rm,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    options=(
        Option(name="force", short="f", kind="bool", help="Kill it first if it runs"),
        Option(name="volumes", short="v", kind="bool", help="And its anonymous volumes"),
    ),
    absent=absent("Tiffin links no containers", "link/l"),
    examples=(
        ("tiffin rm -f web", "whether it runs or not"),
        ("tiffin rm -v web", "and the volumes that nobody named; named ones stay"),
    ),
)
