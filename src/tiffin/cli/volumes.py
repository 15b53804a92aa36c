"""`volume create`, `ls`, `inspect` and `rm`."""

from __future__ import annotations

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.report import for_each
from tiffin.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.volume import VolumeInfo

_HEADINGS = {
    "Availability": "AVAILABILITY",
    "Driver": "DRIVER",
    "Group": "GROUP",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Mountpoint": "MOUNTPOINT",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Status": "STATUS",
}
_FILTERS = ("dangling", "driver", "label", "name")


class Row(Fields):
    type_name = "volume"


def _create(context: Context, parsed: Parsed) -> int:
    name = parsed.text("name")
    if parsed.arguments:
        if name:
            raise UsageError(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
            )
        name = parsed.arguments[0]
    driver = parsed.text("driver") or "local"
    options = dict(_pair(text) for text in parsed.items("opt"))
    labels = {}
    for text in parsed.items("label"):
        key, value = _pair(text)
        if not key:
            raise parsed.malformed("label", text, f"invalid label '{text}': empty name")
        labels[key] = value
    print(context.engine.volume_create(name, driver=driver, labels=labels, options=options).name)
    return 0


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _ls(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, _FILTERS)
    dangling = [listing.truth("dangling", value) for value in filters.get("dangling", ())]
    found = [info for info in context.engine.volumes() if _fits(info, filters, dangling)]
    format = parsed.text("format")
    if parsed.flag("quiet") and not format:
        listing.quietly(info.volume.name for info in found)
        return 0
    listing.show(format, [row(info) for info in found], _HEADINGS, ["Driver", "Name"])
    return 0


def _fits(info: VolumeInfo, filters: dict[str, list[str]], dangling: list[bool]) -> bool:
    volume = info.volume
    return (
        all((not info.users) == wanted for wanted in dangling)
        and ("driver" not in filters or volume.driver in filters["driver"])
        and ("name" not in filters or any(name in volume.name for name in filters["name"]))
        and listing.labels_match(filters.get("label", ()), dict(volume.labels))
    )


def row(info: VolumeInfo) -> Row:
    volume = info.volume
    labels = dict(volume.labels)
    return Row(
        Availability="N/A",
        Driver=volume.driver,
        Group="N/A",
        Label=listing.label_reader(labels),
        Labels=",".join(f"{key}={value}" for key, value in volume.labels),
        Links="N/A",
        Mountpoint=info.mountpoint,
        Name=volume.name,
        Scope="local",
        Size="N/A",
        Status="N/A",
    )


def _inspect(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.inspect import show

    return show(context, parsed, [context.engine.inspect_volume], "volume")


def _rm(context: Context, parsed: Parsed) -> int:
    def remove(name: str) -> str:
        try:
            context.engine.remove_volume(name)
        except NotFoundError:
            if not parsed.flag("force"):
                raise
        return name

    return for_each(context, parsed.arguments, remove)


CREATE = Verb(
    name="volume create",
    summary="Create a volume",
    run=_create,
    arguments="[VOLUME]",
    maximum=1,
    options=(
        Option(name="driver", short="d", word="name", help="Only local: a directory or a mount", default="local"),
        Option(name="label", kind="list", word="KEY[=VALUE]", help="Set a label"),
        Option(name="name", word="name", help="The same as VOLUME"),
        Option(name="opt", short="o", kind="list", word="key=value", help="type, device and o, as of mount(8)"),
    ),
    absent=absent(
        "Tiffin runs on one host and has no cluster volumes",
        "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred",
        "topology-required", "type",
    ),
    description="Prints its name. Without a name it gets one of 64 random digits, and counts as anonymous.",
    examples=(
        ("tiffin volume create data", "then use it with -v data:/path"),
        ("tiffin volume create --label team=a data", "with a label"),
        ("tiffin volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000 fast", "in memory"),
        ("tiffin volume create -o type=none -o device=/srv/data -o o=bind data", "a directory of the host by a name"),
        ("tiffin volume create -o type=nfs -o device=:/export -o o=addr=nfs.example,rw share", "from a server"),
    ),
)  # fmt: skip
LS = Verb(
    name="volume ls",
    summary="List volumes",
    run=_ls,
    options=(
        listing.FILTER,
        listing.FORMAT,
        Option(name="quiet", short="q", kind="bool", help="Only show names"),
    ),
    absent=absent("Tiffin runs on one host and has no cluster volumes", "cluster"),
    description=f"Filters: {', '.join(_FILTERS)}.",
    examples=(
        ("tiffin volume ls -f dangling=true", "those that no container uses"),
        ("tiffin volume ls --format '{{.Name}}: {{.Mountpoint}}'", "where their files are"),
    ),
)
INSPECT = Verb(
    name="volume inspect",
    summary="Show everything known of volumes, as JSON",
    run=_inspect,
    arguments="VOLUME [VOLUME...]",
    minimum=1,
    maximum=None,
    options=(
        Option(name="format", short="f", word="template", help="'json', or a Go template such as '{{.Mountpoint}}'"),
    ),
    examples=(("tiffin volume inspect -f '{{.Mountpoint}}' data", "where its files are"),),
)
RM = Verb(
    name="volume rm",
    summary="Remove one or more volumes",
    run=_rm,
    arguments="VOLUME [VOLUME...]",
    minimum=1,
    maximum=None,
    options=(Option(name="force", short="f", kind="bool", help="One that does not exist is no error"),),
    description="A volume that a container needs stays, whether the container runs or not.",
    examples=(("tiffin volume rm data", "and all that is in it"),),
)
