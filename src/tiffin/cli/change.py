"""`pause`, `unpause`, `restart`, `rename` and `update`."""

from __future__ import annotations

from tiffin.cli.container_flags import CREATE_OPTIONS
from tiffin.cli.lifecycle import CONTAINERS, SIGNAL_FIRST, TIMEOUT
from tiffin.cli.options import Verb, absent
from tiffin.cli.report import each_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

_LIMITS = (
    "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems", "memory", "memory-merge", "memory-reservation", "memory-swap",
    "pids-limit",
)  # fmt: skip


def _pause(context: Context, parsed: Parsed) -> int:
    return each_named(context, parsed.arguments, context.engine.pause)


def _unpause(context: Context, parsed: Parsed) -> int:
    return each_named(context, parsed.arguments, context.engine.unpause)


def _restart(context: Context, parsed: Parsed) -> int:
    timeout_s, signal = parsed.number("timeout"), parsed.text("signal")
    engine = context.engine
    return each_named(
        context,
        parsed.arguments,
        lambda reference: engine.restart(reference, timeout_s=timeout_s, signal=signal),
        together=True,
    )


def _rename(context: Context, parsed: Parsed) -> int:
    old, new = (word.strip() for word in parsed.arguments)
    if not old or not new:
        from tiffin.errors import UsageError

        raise UsageError("Neither old nor new names may be empty")
    context.engine.rename(old, new)
    return 0


def _update(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.container_options import resources
    from tiffin.cli.policies import restart_policy
    from tiffin.errors import UsageError

    if not any(parsed.given(name) for name in (*_LIMITS, "restart")):
        raise UsageError("you must provide one or more flags when using this command", hint=parsed.verb.see_help)
    changes = resources(parsed)
    restart = restart_policy(parsed) if parsed.given("restart") else None
    return each_named(
        context, parsed.arguments, lambda reference: context.engine.update(reference, changes, restart=restart)
    )


PAUSE = Verb(
    name="pause",
    summary="Have all processes of one or more containers stand still",
    run=_pause,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    examples=(("tiffin pause web", "it stays in memory and runs on with `tiffin unpause web`"),),
)

UNPAUSE = Verb(
    name="unpause",
    summary="Let one or more paused containers run on",
    run=_unpause,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    examples=(("tiffin unpause $(tiffin ps -q --filter status=paused)", "all that stand still"),),
)

RESTART = Verb(
    name="restart",
    summary="Stop one or more containers, if they run, and start them",
    run=_restart,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    options=(SIGNAL_FIRST, TIMEOUT),
    examples=(("tiffin restart -t 2 web", "asks it to end, kills after 2 seconds, and starts it again"),),
)  # fmt: skip

RENAME = Verb(
    name="rename",
    summary="Rename a container",
    run=_rename,
    arguments="CONTAINER NEW_NAME",
    minimum=2,
    maximum=2,
    examples=(("tiffin rename web old-web", "the name web is free again"),),
)

UPDATE = Verb(
    name="update",
    summary="Change the limits and the restart policy of one or more containers",
    run=_update,
    arguments=CONTAINERS,
    minimum=1,
    maximum=None,
    description=(
        "A running container has the new limits at once. They are kept for every later start. --memory-merge is "
        "refused while it runs."
    ),
    options=tuple(option for option in CREATE_OPTIONS if option.name in (*_LIMITS, "restart")),
    absent={
        **absent("Tiffin limits no block devices so far", "blkio-weight"),
        **absent("use --cpus, which sets both period and quota", "cpu-period", "cpu-quota"),
        **absent("Tiffin sets no real-time CPU budgets so far", "cpu-rt-period", "cpu-rt-runtime"),
        **absent("Linux has dropped this limit; --memory counts kernel memory too", "kernel-memory"),
    },
    examples=(
        ("tiffin update --cpus 1.5 -m 512m --memory-swap 1g web", "more, or less, while it runs"),
        ("tiffin update --pids-limit -1 web", "as many processes as it likes"),
        ("tiffin update --restart unless-stopped web", "from its next end on"),
    ),
)
