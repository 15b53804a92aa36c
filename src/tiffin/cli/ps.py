"""`ps`."""

from __future__ import annotations

import sys
import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields, quoted
from tiffin.cli.options import Option, Verb
from tiffin.cli.ps_filters import NAMES, conditions, state_text
from tiffin.cli.table import ellipsis
from tiffin.cli.units import ago, duration, local_time, size
from tiffin.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "Pod": "POD ID",
    "PodName": "PODNAME",
}
_COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
_SHORT_ID = 12
_COMMAND_WIDTH = 20


class Row(Fields):
    type_name = "container"


def _ps(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, NAMES)
    last = 1 if parsed.flag("latest") else max(0, parsed.number("last") or 0)
    every = parsed.flag("all") or last > 0 or any(name in filters for name in ("status", "exited"))
    found = context.engine.containers(all=every)
    for keep in conditions(context, filters) if filters else ():
        found = [info for info in found if keep(info)]
    if last:
        found = found[:last]
    full = parsed.flag("no-trunc")
    format = parsed.text("format")
    if parsed.flag("quiet"):
        if format:
            sys.stderr.write("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
        listing.quietly(info.container.id if full else info.container.id[:_SHORT_ID] for info in found)
        return 0
    sized = parsed.flag("size") or (format is not None and ".Size" in format)
    now_ns = time.time_ns()
    rows = [row(context, info, now_ns, full=full, sized=sized) for info in found]
    columns = [*_COLUMNS, "Size"] if parsed.flag("size") else _COLUMNS
    if parsed.flag("pod") or (format is not None and ".Pod" in format):
        _add_pods(context, rows, found, full=full)
        columns = [*columns, "Pod", "PodName"] if parsed.flag("pod") else columns
    listing.show(format, rows, _HEADINGS, columns)
    return 0


def row(context: Context, info: ContainerInfo, now_ns: int, *, full: bool, sized: bool) -> Row:
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
        Size=_sizes(context, info) if sized else "0B",
        State=state_text(info.state),
        Status=status_text(info.state, now_ns),
    )


def _sizes(context: Context, info: ContainerInfo) -> str:
    """What it wrote, and with what its image has."""
    written = context.engine.container_size(info.container.id)[0]
    try:
        of_image = context.engine.image(info.container.image_id).size_bytes
    except NotFoundError:
        return size(written)
    return f"{size(written)} (virtual {size(written + of_image)})"


def _add_pods(context: Context, rows: list[Row], found: list[ContainerInfo], *, full: bool) -> None:
    """Only when asked: the names are in another place."""
    names = {info.pod.id: info.pod.name for info in context.engine.pods()}
    for row, info in zip(rows, found, strict=True):
        pod = info.container.config.pod
        row.update(Pod=pod if full else pod[:_SHORT_ID], PodName=names.get(pod, ""))


def command_line(argv: Sequence[str]) -> str:
    """Docker's: the program, and its arguments, those with blanks in them between single quotes."""
    return " ".join([argv[0], *(f"'{word}'" if " " in word else word for word in argv[1:])])


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
        Option(name="pod", short="p", kind="bool", help="Show the pod of each one"),
        listing.QUIET,
        Option(name="size", short="s", kind="bool", help="Show the size of what each one wrote"),
    ),
    description=f"Filters: {', '.join(NAMES)}.",
    examples=(
        ("tiffin ps -a --filter status=exited", "what has ended"),
        ("tiffin rm $(tiffin ps -aq --filter exited=0)", "remove what ended well"),
        ("tiffin ps --format 'table {{.Names}}\\t{{.Status}}'", "a table of one's own"),
    ),
)
