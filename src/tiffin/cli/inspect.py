"""`inspect`, `container inspect` and `image inspect`."""

from __future__ import annotations

import sys

from tiffin.cli.go_format import Fields, NilMap, NilSlice
from tiffin.cli.options import Option, Verb
from tiffin.cli.report import exit_code, show_error
from tiffin.errors import AmbiguousError, NotFoundError, NotSupportedError, StoreError, TiffinError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

# Objects whose keys the user chose; in all others the keys are known, and an unknown one is a mistake.
_MAPS = frozenset((
    "Annotations", "Config/LogConfig", "Data", "ExposedPorts", "Labels", "Networks", "Options", "PortBindings", "Ports",
    "Sysctls", "Tmpfs", "Volumes",
))  # fmt: skip

# What Go has as slices and maps is empty where JSON says null: templates show [] and count 0.
_SLICES = frozenset(
    "Aliases Binds CapAdd CapDrop Cmd DNSNames DeviceCgroupRules DeviceRequests Devices Dns DnsOptions DnsSearch "
    "Entrypoint Env ExecIDs ExtraHosts GroupAdd Links MaskedPaths OnBuild ReadonlyPaths RepoDigests RepoTags "
    "SecondaryIPAddresses SecondaryIPv6Addresses SecurityOpt Shell Ulimits VolumesFrom".split()
)
_NIL_MAPS = _MAPS | {"DriverOpts"}


class Object(Fields):
    """Docker reads inspected objects as maps in which every key must exist."""

    missing = 'map has no entry for key "{name}"'
    # `{{if .State.Health}}` is how scripts ask; Docker shows these only when there is something to show.
    optional = frozenset(("Annotations", "ExposedPorts", "Health", "Healthcheck", "SizeRootFs", "SizeRw", "StopSignal"))


def structured(value: Any, key: str = "", parent: str = "") -> Any:
    """Plain JSON data as templates see it: objects are structs, except those whose keys the user chose."""
    if isinstance(value, dict):
        inside = {name: structured(item, name, key) for name, item in value.items()}
        return inside if key in _MAPS or f"{key}/{parent}" in _MAPS else Object(inside)
    if isinstance(value, list):
        return [structured(item, key, parent) for item in value]
    if value is None and key in _SLICES:
        return NilSlice()
    return NilMap() if value is None and key in _NIL_MAPS else value


def _inspect(context: Context, parsed: Parsed) -> int:
    kind = parsed.text("type")
    if kind in ("config", "network", "node", "plugin", "secret", "service", "task"):
        raise NotSupportedError(f"--type {kind} is not supported yet: Tiffin has only containers, images and volumes")
    if kind not in (None, "container", "image", "volume"):
        raise parsed.invalid("type", kind, "it is container, image or volume")
    engine = context.engine
    readers: list[Callable[[str], dict[str, Any]]] = []
    if kind in (None, "container"):
        readers.append(engine.inspect_container)
    if kind in (None, "image") and not parsed.flag("size"):
        readers.append(engine.inspect_image)
    if kind in (None, "volume") and not parsed.flag("size"):
        readers.append(engine.inspect_volume)
    return show(context, parsed, readers, kind or "object")


def _inspect_container(context: Context, parsed: Parsed) -> int:
    return show(context, parsed, [context.engine.inspect_container], "container")


def _inspect_image(context: Context, parsed: Parsed) -> int:
    return show(context, parsed, [context.engine.inspect_image], "image")


def show(context: Context, parsed: Parsed, readers: Sequence[Callable[[str], dict[str, Any]]], kind: str) -> int:
    """Print what the first of `readers` that knows it tells of each argument."""
    found = []
    code = 0
    failures = []
    for reference in parsed.arguments:
        try:
            facts = _first(readers, reference, kind)
            if parsed.values.get("size") and parsed.flag("size") and "Path" in facts:
                facts["SizeRw"] = context.engine.container_size(facts["Id"])[0]
                facts["SizeRootFs"] = facts["SizeRw"] + context.engine.image(facts["Image"]).size_bytes
            found.append(facts)
        except StoreError:
            raise
        except TiffinError as error:
            failures.append(error)
            code = code or exit_code(error)
    format = parsed.text("format")
    if format == "json":
        from tiffin.cli.template_functions import to_json

        print(to_json([structured(facts) for facts in found]))
    elif format:
        from tiffin.cli.listing import render_one

        for facts in found:
            sys.stdout.write(render_one(format, structured(facts)))
    else:
        from tiffin.plain_json import pretty

        print(pretty(found))
    for failure in failures:
        show_error(context, failure)
    return code


def _first(readers: Sequence[Callable[[str], dict[str, Any]]], reference: str, kind: str) -> dict[str, Any]:
    missing: NotFoundError | None = None
    for read in readers:
        try:
            return read(reference)
        except AmbiguousError:
            raise
        except NotFoundError as error:
            missing = error
        except UsageError:
            if len(readers) == 1:
                raise
            # No name that an image may have: so there is none of this name.
    if len(readers) == 1 and missing is not None:
        raise missing
    raise NotFoundError(f"no such {kind}: {reference}")


_FORMAT = Option(name="format", short="f", word="template", help="'json', or a Go template such as '{{.State.Status}}'")
_SIZE = Option(name="size", short="s", kind="bool", help="Show the size of what a container wrote")
_EXAMPLES = (
    ("tiffin inspect -f '{{.State.Status}}' web", "one field"),
    ("tiffin inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}' web", "a loop over the labels"),
    ("tiffin inspect -f '{{json .HostConfig}}' web", "a part as JSON"),
)

INSPECT = Verb(
    name="inspect",
    summary="Show everything known of containers, images and volumes, as JSON",
    run=_inspect,
    arguments="NAME|ID [NAME|ID...]",
    minimum=1,
    maximum=None,
    options=(_FORMAT, _SIZE, Option(name="type", word="container|image|volume", help="Only look for this kind")),
    examples=_EXAMPLES,
)
CONTAINER_INSPECT = Verb(
    name="container inspect",
    summary="Show everything known of containers, as JSON",
    run=_inspect_container,
    arguments="CONTAINER [CONTAINER...]",
    minimum=1,
    maximum=None,
    options=(_FORMAT, _SIZE),
    examples=(
        ("tiffin container inspect -f '{{.State.Status}}' web", "one field"),
        ("tiffin container inspect --size -f '{{.SizeRw}}' web", "the bytes that it wrote"),
    ),
)
IMAGE_INSPECT = Verb(
    name="image inspect",
    summary="Show everything known of images, as JSON",
    run=_inspect_image,
    arguments="IMAGE [IMAGE...]",
    minimum=1,
    maximum=None,
    options=(_FORMAT,),
    absent={"platform": ("platform", "Tiffin keeps one platform per image so far")},
    examples=(("tiffin image inspect -f '{{.Config.Cmd}}' debian:bookworm", "what it runs by default"),),
)
