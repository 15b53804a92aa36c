"""`ps`."""

from __future__ import annotations

import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields, quoted
from tiffin.cli.options import Option, Verb
from tiffin.cli.table import ellipsis
from tiffin.cli.units import ago, duration, local_time, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import ContainerInfo, ContainerState

_HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
_COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
_SHORT_ID = 12
_COMMAND_WIDTH = 20
_FILTERS = ("ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status", "volume")
_STATUSES = ("created", "exited", "paused", "restarting", "running", "removing")
_HEALTHS = ("starting", "healthy", "unhealthy", "none")
_ABSENT_FILTERS = {
    "publish": "Tiffin publishes no ports so far",
    "expose": "Tiffin publishes no ports so far",
    "isolation": "it is for Windows containers only",
    "is-task": "Tiffin runs on one host and has no swarm",
}


class Row(Fields):
    type_name = "container"


def _ps(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, _FILTERS, _ABSENT_FILTERS)
    last = 1 if parsed.flag("latest") else parsed.number("last")
    every = parsed.flag("all") or last is not None or any(name in filters for name in ("status", "exited"))
    found = context.engine.containers(all=every)
    for keep in _conditions(context, parsed, filters):
        found = [info for info in found if keep(info)]
    if last is not None and last >= 0:
        found = found[:last]
    full = parsed.flag("no-trunc")
    format = parsed.text("format")
    if parsed.flag("quiet") and not format:
        listing.quietly(info.container.id if full else info.container.id[:_SHORT_ID] for info in found)
        return 0
    sized = parsed.flag("size") or (format is not None and ".Size" in format)
    now_ns = time.time_ns()
    rows = [_row(context, info, now_ns, full=full, sized=sized) for info in found]
    columns = [*_COLUMNS, "Size"] if parsed.flag("size") else _COLUMNS
    listing.show(format, rows, _HEADINGS, columns)
    return 0


def _row(context: Context, info: ContainerInfo, now_ns: int, *, full: bool, sized: bool) -> Row:
    container = info.container
    line = command_line(container.argv)
    labels = dict(container.labels)
    mounts = ",".join(mount.source for mount in container.config.mounts if mount.source)
    return Row(
        Command=quoted(line if full else ellipsis(line, _COMMAND_WIDTH)),
        CreatedAt=local_time(container.created_ns),
        ID=container.id if full else container.id[:_SHORT_ID],
        Image=container.image_name,
        Label=listing.label_reader(labels),
        Labels=",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        LocalVolumes=str(sum(mount.type == "volume" for mount in container.config.mounts)),
        Mounts=mounts if full else ",".join(ellipsis(mount, 15) for mount in mounts.split(",")),
        Names=container.name,
        Networks=container.config.network,
        Platform="linux",
        Ports="",
        RunningFor=ago(container.created_ns, now_ns),
        Size=size(context.engine.container_size(container.id)[0]) if sized else "0B",
        State=state_text(info.state),
        Status=status_text(info.state, now_ns),
    )


def command_line(argv: Sequence[str]) -> str:
    """Docker's: the program, and its arguments, those with blanks in them between single quotes."""
    return " ".join([argv[0], *(f"'{word}'" if " " in word else word for word in argv[1:])])


def state_text(state: ContainerState) -> str:
    """One word, as Docker says it."""
    return "paused" if state.paused else state.status


def status_text(state: ContainerState, now_ns: int) -> str:
    """ "Up 2 hours", "Exited (0) 5 seconds ago", "Created", as Docker says it."""
    if state.status == "running":
        up = f"Up {duration((now_ns - state.started_ns) / 1e9)}"
        if state.paused:
            return f"{up} (Paused)"
        shown = f" (health: {state.health})" if state.health == "starting" else f" ({state.health})"
        return up + (shown if state.health else "")
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ago(state.finished_ns, now_ns)}"
    if state.status == "exited":
        # When a killed monitor's container ended, nobody knows.
        return f"Exited ({state.exit_code})" + (f" {ago(state.finished_ns, now_ns)}" if state.finished_ns else "")
    return "Removal In Progress" if state.status == "removing" else "Created"


def _conditions(
    context: Context, parsed: Parsed, filters: dict[str, list[str]]
) -> list[Callable[[ContainerInfo], bool]]:
    """One test per filter name; several values of one name are alternatives, except labels."""
    conditions: list[Callable[[ContainerInfo], bool]] = []
    for name, values in filters.items():
        if name in ("before", "since"):
            conditions.append(_older_or_newer(context, name, values))
            continue
        if name == "exited":
            values = [_exit_code(parsed, value) for value in values]
        if name == "status":
            for value in values:
                if value not in _STATUSES:
                    raise parsed.invalid("filter", f"status={value}", f"the statuses are {', '.join(_STATUSES)}")
        if name == "health":
            for value in values:
                if value not in _HEALTHS:
                    raise parsed.invalid("filter", f"health={value}", f"it is {', '.join(_HEALTHS)}")
        if name == "ancestor":
            values = [context.engine.image(value).id for value in values]
        conditions.append(lambda info, name=name, values=values: _fits(info, name, values))  # type: ignore[misc]
    return conditions


def _older_or_newer(context: Context, name: str, references: list[str]) -> Callable[[ContainerInfo], bool]:
    moments = [context.engine.container(reference).container.created_ns for reference in references]
    if name == "before":
        return lambda info: info.container.created_ns < min(moments)
    return lambda info: info.container.created_ns > max(moments)


def _exit_code(parsed: Parsed, value: str) -> str:
    if not value.isdigit():
        raise parsed.invalid("filter", f"exited={value}", "not a whole number")
    return str(int(value))


def _fits(info: ContainerInfo, name: str, values: list[str]) -> bool:
    container, state = info.container, info.state
    if name == "id":
        return any(container.id.startswith(value) for value in values)
    if name == "name":
        return any(_search(value, container.name) for value in values)
    if name == "label":
        return listing.labels_match(values, dict(container.labels))
    if name == "status":
        return state_text(state) in values
    if name == "exited":
        return state.status == "exited" and str(state.exit_code) in values
    if name == "health":
        return (state.health or "none") in values
    if name == "network":
        return container.config.network in values
    if name == "volume":
        return any(value in (mount.source, mount.target) for mount in container.config.mounts for value in values)
    return container.image_id in values


def _search(pattern: str, name: str) -> bool:
    """Docker takes names as regular expressions, and with a slash in front if one likes."""
    import re

    try:
        return re.search(pattern, name) is not None or re.search(pattern, f"/{name}") is not None
    except re.error:
        return pattern in name


PS = Verb(
    name="ps",
    summary="List containers",
    run=_ps,
    options=(
        Option(name="all", short="a", kind="bool", help="Also those that do not run"),
        listing.FILTER,
        listing.FORMAT,
        Option(name="last", short="n", kind="int", help="Only the newest n, running or not"),
        Option(name="latest", short="l", kind="bool", help="Only the newest, running or not"),
        listing.NO_TRUNC,
        listing.QUIET,
        Option(name="size", short="s", kind="bool", help="Show the size of what each one wrote"),
    ),
    description=f"Filters: {', '.join(_FILTERS)}.",
    examples=(
        ("tiffin ps -a --filter status=exited", "what has ended"),
        ("tiffin rm $(tiffin ps -aq --filter exited=0)", "remove what ended well"),
        ("tiffin ps --format 'table {{.Names}}\\t{{.Status}}'", "a table of one's own"),
    ),
)
