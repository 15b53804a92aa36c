"""`pod create`, `ps`, `inspect` and `exists`."""

from __future__ import annotations

import os
import time

from tiffin.cli import env_files, listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.units import ago
from tiffin.errors import NotFoundError, NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import ContainerInfo
    from tiffin.model.pod import Pod, PodInfo

_HEADINGS = {
    "Id": "POD ID",
    "Name": "NAME",
    "Status": "STATUS",
    "Created": "CREATED",
    "NumberOfContainers": "# OF CONTAINERS",
    "ContainerIds": "IDS",
    "ContainerNames": "NAMES",
    "ContainerStatuses": "STATUS",
    "InfraId": "INFRA ID",
    "Labels": "LABELS",
    "Networks": "NETWORKS",
    "Share": "SHARED NAMESPACES",
    "Hostname": "HOSTNAME",
}
_FILTERS = ("ctr-ids", "ctr-names", "ctr-number", "ctr-status", "id", "label", "name", "network", "status")
_SHORT_ID = 12
_DEFAULT_SHARE = "ipc,net,uts"


class Row(Fields):
    type_name = "pod"


def _create(context: Context, parsed: Parsed) -> int:
    name = parsed.text("name")
    if parsed.arguments:
        if name:
            raise UsageError("conflicting options: the pod's name is given both with --name and as an argument")
        name = parsed.arguments[0]
    if parsed.flag("infra"):
        raise NotSupportedError(
            "--infra is not supported yet: Tiffin's pods have no container of their own, nor need one",
            hint="leave it out",
        )
    path = parsed.text("pod-id-file")
    if path is not None and os.path.lexists(path):
        raise UsageError(f"the pod ID file {path} exists already", hint="its pod may still be there; else delete it")
    if parsed.flag("replace"):
        if not name:
            raise UsageError("cannot replace a pod without --name being set")
        _remove_if_there(context, name)
    networks = parsed.items("network")
    if len(networks) > 1 or (networks and networks[0] not in ("none", "host")):
        raise NotSupportedError(
            f"--network {networks[-1]} is not supported yet: Tiffin's pods have none or host so far"
        )
    made = context.engine.create_pod(
        name,
        hostname=parsed.text("hostname"),
        share=share(parsed),
        network=networks[0] if networks else "none",
        labels=labels(parsed),
    )
    if path is not None:
        write_id(context, path, made)
    print(made.id)
    return 0


def share(parsed: Parsed) -> tuple[str, ...]:
    """The namespaces of --share: "net,ipc", "none" or "" for none, "+pid" for one more than by default."""
    text = parsed.text("share")
    if text is None:
        text = _DEFAULT_SHARE
    if text.startswith("+"):
        text = f"{_DEFAULT_SHARE},{text[1:]}"
    names = [name for name in text.split(",") if name]
    if names == ["none"] or not names:
        return ()
    from tiffin.model.pod import SHARABLE

    for name in names:
        if name in ("cgroup", "mount", "user"):
            raise NotSupportedError(f"--share {name} is not supported yet: pods share {', '.join(SHARABLE)}")
        if name not in SHARABLE:
            raise parsed.invalid("share", text, f"'{name}' is none of {', '.join(SHARABLE)}")
    return tuple(names)


def labels(parsed: Parsed) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in parsed.items("label-file"):
        found.update(env_files.read_label_file(path))
    for text in parsed.items("label"):
        key, _, value = text.partition("=")
        if not key:
            raise parsed.malformed("label", text, f"invalid label '{text}': empty name")
        found[key] = value
    return found


def write_id(context: Context, path: str, pod: Pod) -> None:
    """The pod's ID into a new file; without it the pod goes again."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, "w") as file:
            file.write(pod.id)
    except OSError as error:
        context.engine.remove_pod(pod.id)
        raise UsageError(f"cannot write the pod ID file {path}: {error.strerror}") from error


def _remove_if_there(context: Context, name: str) -> None:
    try:
        context.engine.remove_pod(name, force=True)
    except NotFoundError:
        return


def _ps(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, _FILTERS)
    conditions = [_condition(parsed, name, values) for name, values in filters.items()]
    found = [info for info in context.engine.pods() if all(keep(info) for keep in conditions)]
    if parsed.flag("latest"):
        found = found[:1]
    sorts: dict[str, Callable[[PodInfo], object]] = {
        "created": lambda info: -info.pod.created_ns,
        "id": lambda info: info.pod.id,
        "name": lambda info: info.pod.name,
        "number": lambda info: len(info.containers),
        "status": lambda info: info.status,
    }
    order = parsed.text("sort") or "created"
    if order not in sorts:
        raise parsed.invalid("sort", order, f"it is one of {', '.join(sorts)}")
    found.sort(key=sorts[order])  # type: ignore[arg-type]
    full = parsed.flag("no-trunc")
    format = parsed.text("format")
    if parsed.flag("quiet") and not format:
        listing.quietly(info.pod.id if full else info.pod.id[:_SHORT_ID] for info in found)
        return 0
    now_ns = time.time_ns()
    columns = ["Id", "Name", "Status", "Created"]
    shown = [("ctr-ids", "ContainerIds"), ("ctr-names", "ContainerNames"), ("ctr-status", "ContainerStatuses")]
    extra = [column for option, column in shown if parsed.flag(option)]
    listing.show(
        format, [_row(info, now_ns, full=full) for info in found], _HEADINGS,
        [*columns, *(extra or ["NumberOfContainers"])],
    )  # fmt: skip
    return 0


def _row(info: PodInfo, now_ns: int, *, full: bool) -> Row:
    pod = info.pod
    found = dict(pod.labels)
    ids = [member.container.id for member in info.containers]
    return Row(
        Id=pod.id if full else pod.id[:_SHORT_ID],
        Name=pod.name,
        Status=info.status,
        Created=ago(pod.created_ns, now_ns),
        NumberOfContainers=str(len(info.containers)),
        ContainerIds=",".join(ids if full else [member[:_SHORT_ID] for member in ids]),
        ContainerNames=",".join(member.container.name for member in info.containers),
        ContainerStatuses=",".join(_state(member) for member in info.containers),
        InfraId="",
        Hostname=pod.hostname if "uts" in pod.share else "",
        Label=listing.label_reader(found),
        Labels=",".join(f"{key}={value}" for key, value in pod.labels),
        Networks=pod.network if "net" in pod.share else "",
        Share=",".join(pod.share),
    )


def _state(member: ContainerInfo) -> str:
    return "paused" if member.state.paused else member.state.status


def _condition(parsed: Parsed, name: str, values: list[str]) -> Callable[[PodInfo], bool]:
    if name == "label":
        return lambda info: listing.labels_match(values, dict(info.pod.labels))
    if name == "ctr-number":
        for value in values:
            if not value.isdigit():
                raise parsed.invalid("filter", f"ctr-number={value}", "not a whole number")
        return lambda info: str(len(info.containers)) in {str(int(value)) for value in values}
    wanted = [value.lower() for value in values] if name == "status" else values

    def fits(info: PodInfo) -> bool:
        pod, members = info.pod, info.containers
        found = {
            "id": any(pod.id.startswith(value) for value in wanted),
            "name": any(value in pod.name for value in wanted),
            "network": ("net" in pod.share and pod.network in wanted),
            "status": info.status.lower() in wanted,
            "ctr-ids": any(member.container.id.startswith(value) for member in members for value in wanted),
            "ctr-names": any(value in member.container.name for member in members for value in wanted),
            "ctr-status": any(_state(member) in wanted for member in members),
        }
        return found[name]

    return fits


def _inspect(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.inspect import show

    return show(context, parsed, [context.engine.inspect_pod], "pod")


def _exists(context: Context, parsed: Parsed) -> int:
    try:
        context.engine.pod(parsed.arguments[0])
    except NotFoundError:
        return 1
    return 0


CREATE = Verb(
    name="pod create",
    summary="Create a pod",
    run=_create,
    arguments="[NAME]",
    maximum=1,
    options=(
        Option(name="hostname", short="h", word="name", help="Host name of all containers", default="the pod's name"),
        Option(name="infra", kind="bool", help="Must be false: a pod has no process of its own", default="false"),
        Option(name="label", short="l", kind="list", word="KEY[=VALUE]", help="Set a label"),
        Option(name="label-file", kind="list", word="file", help="Read labels from a file, one KEY=VALUE a line"),
        Option(name="name", short="n", word="name", help="The same as NAME"),
        Option(name="network", alias="net", kind="list", word="none|host", help="Network", default="none"),
        Option(name="pod-id-file", word="file", help="Write the pod's ID to a new file"),
        Option(name="replace", kind="bool", help="Remove a pod of the same name first, and its containers"),
        Option(
            name="share", word="namespaces", default=_DEFAULT_SHARE,
            help="What the containers share: some of ipc,net,pid,uts, or none; +pid adds to the default",
        ),
    ),
    absent={
        **absent("a pod has no container of its own", "infra-command", "infra-conmon-pidfile", "infra-image",
                 "infra-name"),
        **absent("nothing is left of a pod to be stopped after its last container", "exit-policy"),
        **absent("give it to the containers, with `tiffin run --pod`", "device", "restart", "security-opt", "shm-size",
                 "sysctl", "volume/v", "volumes-from"),
        **absent("Tiffin limits containers, not pods so far", "blkio-weight", "blkio-weight-device", "cgroup-parent",
                 "cpu-shares/c", "cpus", "cpuset-cpus", "cpuset-mems", "device-read-bps", "device-write-bps",
                 "memory/m", "memory-swap", "share-parent"),
        **absent("Tiffin's pods have the networks none and host so far", "add-host", "dns", "dns-option", "dns-search",
                 "ip", "ip6", "mac-address", "network-alias", "no-hosts", "publish/p"),
        **absent("pods share ipc, net, pid and uts so far; choose with --share", "gidmap", "pid", "subgidname",
                 "subuidname", "uidmap", "userns", "uts"),
    },
    description="Prints its ID. The first container that starts makes the namespaces, later ones join them, and they "
    "are gone with the last one. With pid shared all end with the one that was started first.",
    examples=(
        ("tiffin pod create web && tiffin run -d --pod web debian:bookworm sleep infinity", "and a first container"),
        ("tiffin pod create --share +pid --hostname box web", "one more namespace, and a host name"),
    ),
)  # fmt: skip
PS = Verb(
    name="pod ps",
    summary="List pods",
    run=_ps,
    options=(
        Option(name="ctr-ids", kind="bool", help="Show the containers' IDs"),
        Option(name="ctr-names", kind="bool", help="Show the containers' names"),
        Option(name="ctr-status", kind="bool", help="Show how the containers stand"),
        listing.FILTER,
        listing.FORMAT,
        Option(name="latest", short="l", kind="bool", help="Only the newest"),
        listing.NO_TRUNC,
        listing.QUIET,
        Option(name="sort", word="created|id|name|number|status", help="In which order", default="created"),
    ),
    description=f"Filters: {', '.join(_FILTERS)}.",
    examples=(
        ("tiffin pod ps --ctr-names", "with their containers"),
        ("tiffin pod ps -f status=degraded", "where some run and some do not"),
    ),
)
INSPECT = Verb(
    name="pod inspect",
    summary="Show everything known of pods, as JSON",
    run=_inspect,
    arguments="POD [POD...]",
    minimum=1,
    maximum=None,
    options=(Option(name="format", short="f", word="template", help="'json', or a Go template such as '{{.State}}'"),),
    examples=(("tiffin pod inspect -f '{{range .Containers}}{{.Name}} {{end}}' web", "the containers' names"),),
)
EXISTS = Verb(
    name="pod exists",
    summary="Tell by the exit code whether there is such a pod",
    run=_exists,
    arguments="POD",
    minimum=1,
    maximum=1,
    description="0 when there is, 1 when not.",
    examples=(("tiffin pod exists web || tiffin pod create web", "make it if it is missing"),),
)
