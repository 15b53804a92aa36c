"""`pause`, `unpause`, `restart`, `rename` and `update`."""

from __future__ import annotations

from tiffin.cli.lifecycle import CONTAINERS, SIGNAL_FIRST, TIMEOUT
from tiffin.cli.options import Option, Verb
from tiffin.cli.policies import RESTART as RESTART_POLICY
from tiffin.cli.report import each_named, for_each
from tiffin.cli.resource_flags import LIMIT_NAMES, LIMITS, LIMITS_ABSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.resources import Resources

_DRY_RUN = Option(name="dry-run", kind="bool", help="Only show what would be written where")


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

    if not any(parsed.given(name) for name in (*LIMIT_NAMES, "restart")):
        raise UsageError("you must provide one or more flags when using this command", hint=parsed.verb.see_help)
    changes = resources(parsed)
    restart = restart_policy(parsed) if parsed.given("restart") else None
    if parsed.flag("dry-run"):
        if restart is not None:
            raise UsageError("--dry-run shows what becomes of limits, and --restart is none", hint=parsed.verb.see_help)
        return for_each(context, parsed.arguments, lambda reference: _planned(context, reference, changes))
    return each_named(
        context, parsed.arguments, lambda reference: context.engine.update(reference, changes, restart=restart)
    )


def _planned(context: Context, reference: str, changes: Resources) -> str:
    """A line for each write: file, what it says now, what it would say."""
    lines = []
    for write in context.engine.update_plan(reference, changes):
        before = "(nothing)" if write.before is None else write.before.strip() or "(nothing)"
        lines.append(f"{write.path}: {before} -> {write.value}")
    return "\n".join(lines) or f"{reference} does not run: nothing is written, its next start has the new limits"


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
        "A running container has the new limits at once: all of them, or with an error none. They are kept for every "
        "later start. --memory-merge is refused while it runs."
    ),
    options=(*LIMITS, RESTART_POLICY, _DRY_RUN),
    absent=LIMITS_ABSENT,
    examples=(
        ("tiffin update --cpus 1.5 -m 512m --memory-swap 1g web", "more, or less, while it runs"),
        ("tiffin update --io-write-bps 5m --dry-run web", "says which files would get which limit, for which disks"),
        ("tiffin update --pids-limit -1 web", "as many processes as it likes"),
        ("tiffin update --restart unless-stopped web", "from its next end on"),
    ),
)
