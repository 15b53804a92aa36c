"""`pod start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `rm`, `prune`, `logs` and `top`."""

from __future__ import annotations

from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.report import for_each
from tiffin.errors import AmbiguousError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.containers.logs import LogLine

_ARGUMENTS = "POD [POD...]"


def _references(context: Context, parsed: Parsed) -> list[str]:
    """The pods that are named, or all with --all. UsageError for neither, and for both."""
    if parsed.flag("all"):
        if parsed.arguments:
            raise UsageError("--all and names of pods cannot be used together")
        return [info.pod.id for info in context.engine.pods()]
    if not parsed.arguments:
        raise UsageError(
            f"'tiffin {parsed.verb.name}' requires at least 1 argument, or --all", hint=parsed.verb.see_help
        )
    return parsed.arguments


def _each(context: Context, parsed: Parsed, action: Callable[[str], object]) -> int:
    ignore = parsed.flag("ignore") if "ignore" in {option.name for option in parsed.verb.options} else False

    def act(reference: str) -> str | None:
        try:
            pod = context.engine.pod(reference).pod
        except NotFoundError as error:
            if not ignore or isinstance(error, AmbiguousError):
                raise
            return None
        action(pod.id)
        return pod.id

    return for_each(context, _references(context, parsed), act)


def _start(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, context.engine.start_pod)


def _stop(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, lambda pod: context.engine.stop_pod(pod, timeout_s=parsed.number("time")))


def _restart(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, lambda pod: context.engine.restart_pod(pod, timeout_s=parsed.number("time")))


def _kill(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, lambda pod: context.engine.kill_pod(pod, signal=parsed.text("signal") or "KILL"))


def _pause(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, context.engine.pause_pod)


def _unpause(context: Context, parsed: Parsed) -> int:
    return _each(context, parsed, context.engine.unpause_pod)


def _rm(context: Context, parsed: Parsed) -> int:
    seconds, force = parsed.number("time"), parsed.flag("force")
    if seconds is not None and not force:
        raise UsageError("--force option must be specified to use the --time option")

    def remove(pod: str) -> None:
        if seconds:
            context.engine.stop_pod(pod, timeout_s=seconds)
        context.engine.remove_pod(pod, force=force)

    return _each(context, parsed, remove)


def _prune(context: Context, parsed: Parsed) -> int:
    if not parsed.flag("force"):
        from tiffin.cli.prune import agreed

        ended = [info.pod for info in context.engine.pods() if info.status in ("Exited", "Stopped")]
        if not ended:
            print("Nothing to remove.")
            return 0
        print("This would be removed, with all their containers:")
        for pod in ended:
            print(f"  pod {pod.name} ({pod.id[:12]})", flush=True)
        if not agreed():
            return 0
    for pod in context.engine.prune_pods():
        print(pod.id)
    return 0


def _logs(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.logs import moment, show, tail

    follow, timestamps, names = parsed.flag("follow"), parsed.flag("timestamps"), parsed.flag("names")
    lines = context.engine.pod_logs(
        parsed.arguments[0],
        only=parsed.items("container"),
        follow=follow,
        since_ns=moment(parsed, "since"),
        until_ns=moment(parsed, "until"),
        tail=tail(parsed),
    )

    def beginning(writer: str, line: LogLine) -> str:
        return f"{writer} {line.timestamp} " if timestamps else f"{writer} "

    show(
        ((container.name if names else container.id[:12], line) for container, line in lines),
        beginning,
        follow=follow,
    )
    return 0


def _top(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.top import show_processes

    return show_processes(context.engine.top_pod, parsed)


_ALL = Option(name="all", short="a", kind="bool", help="All pods")
_TIME = Option(
    name="time", alias="timeout", short="t", kind="int", word="seconds",
    help="Seconds to wait before killing a container", default="the container's, or 10",
)  # fmt: skip
_IGNORE = Option(name="ignore", short="i", kind="bool", help="A pod that does not exist is no error")
_ABSENT = absent("name the pod; `tiffin pod ps -l` shows the newest", "latest/l", "pod-id-file")


def _verb(name: str, summary: str, run: Callable[[Context, Parsed], int], example: str, *options: Option) -> Verb:
    return Verb(
        name=f"pod {name}", summary=summary, run=run, arguments=_ARGUMENTS, maximum=None, options=(_ALL, *options),
        absent=_ABSENT, examples=((f"tiffin pod {name} web", example), (f"tiffin pod {name} --all", "every pod")),
    )  # fmt: skip


START = _verb("start", "Start the containers of one or more pods", _start, "the oldest first")
STOP = _verb("stop", "Stop the containers of one or more pods", _stop, "all at once", _IGNORE, _TIME)
RESTART = _verb("restart", "Restart the containers of one or more pods", _restart, "in new namespaces", _TIME)
KILL = _verb(
    "kill", "Send a signal to the containers of one or more pods", _kill, "ends them at once",
    Option(name="signal", short="s", word="signal", help="Name or number", default="KILL"),
)  # fmt: skip
PAUSE = _verb("pause", "Pause the containers of one or more pods", _pause, "those that run stand still")
UNPAUSE = _verb("unpause", "Let the containers of one or more pods run on", _unpause, "those that stood still run on")
RM = _verb(
    "rm", "Remove one or more pods, and their containers", _rm, "when none of its containers runs",
    Option(name="force", short="f", kind="bool", help="Kill containers that run"), _IGNORE, _TIME,
)  # fmt: skip
PRUNE = Verb(
    name="pod prune",
    summary="Remove all pods whose containers have ended, and these containers",
    run=_prune,
    options=(Option(name="force", short="f", kind="bool", help="Do not ask"),),
    description="Shows what would go and asks. With nobody to answer, --force is needed. A pod without containers, or "
    "with none that was ever started, stays.",
    examples=(("tiffin pod prune -f", "without being asked"),),
)
LOGS = Verb(
    name="pod logs",
    summary="Show what the containers of a pod have written",
    run=_logs,
    arguments="POD",
    minimum=1,
    maximum=1,
    options=(
        Option(name="container", short="c", kind="list", word="container", help="Only this one of its containers"),
        Option(name="follow", short="f", kind="bool", help="Go on as they write, until all have ended"),
        Option(name="names", short="n", kind="bool", help="Begin lines with the container's name instead of its ID"),
        Option(name="since", word="time", help="Only from then on: 2024-05-01T12:00:00Z, or an age such as 42m"),
        Option(name="tail", word="lines", help="How many lines from the end of each", default="all"),
        Option(name="timestamps", short="t", kind="bool", help="Show when each line was written"),
        Option(name="until", word="time", help="Only up to then"),
    ),
    absent={**_ABSENT, **absent("lines are told apart by what they begin with", "color")},
    examples=(("tiffin pod logs -f -n web", "what comes, with names"),),
)
TOP = Verb(
    name="pod top",
    summary="List the processes of all containers of a pod",
    run=_top,
    arguments="POD [ps OPTIONS]",
    minimum=1,
    maximum=None,
    interspersed=False,
    description="Process IDs and users are the host's. Options of ps: -o COLUMN[=TITLE],…, -ef (the default), aux.",
    examples=(("tiffin pod top web", "who, since when, which command"),),
)
