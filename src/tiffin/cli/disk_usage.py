"""The tables of `system df`."""

from __future__ import annotations

import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.table import aligned
from tiffin.cli.units import ago, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

_HEADINGS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


class Row(Fields):
    type_name = "disk usage"


class Details(Fields):
    type_name = "disk usage"


def show(context: Context, facts: dict[str, Any], parsed: Parsed) -> None:
    """Print what `Engine.disk_usage` found as the options ask."""
    format = parsed.text("format")
    if parsed.flag("verbose") and format and not format.startswith("table"):
        print(listing.render_one(format, _everything(context, facts)), end="")
        return
    if parsed.flag("verbose"):
        _details(facts)
        return
    rows = [_row(kind, facts[kind]) for kind in ("Images", "Containers", "Local Volumes")]
    listing.show(parsed.text("format"), rows, _HEADINGS, list(_HEADINGS))


def _everything(context: Context, facts: dict[str, Any]) -> Details:
    """With -v and a format, as Docker: every image, container and volume as its list shows it, with its sizes."""
    from tiffin.cli import images, ps, volumes

    now_ns = time.time_ns()
    sizes = {row["ID"]: row for row in facts["ImageList"]}
    shown_images = []
    for image in context.engine.images():
        if image.id not in sizes:
            continue  # it came in between
        found = sizes[image.id]
        figures = {"Containers": str(found["Containers"])}
        figures |= {key: size(found[key]) for key in ("SharedSize", "UniqueSize", "DiskSize", "UniqueDiskSize")}
        for name in images.names(image):
            shown_images.append(images.Row({**images.row(image, name, now_ns, full=True), **figures}))
    used = {row["Name"]: row for row in facts["VolumeList"]}
    return Details(
        Images=shown_images,
        Containers=[
            ps.row(context, info, now_ns, full=True, sized=True) for info in context.engine.containers(all=True)
        ],
        Volumes=[
            volumes.Row(
                {
                    **volumes.row(info),
                    "Links": str(used[info.volume.name]["Links"]),
                    "Size": size(used[info.volume.name]["Size"]),
                }
            )
            for info in context.engine.volumes()
            if info.volume.name in used
        ],
        BuildCache=[],
    )


def _row(kind: str, facts: dict[str, int]) -> Row:
    total = facts["Size"]
    share = f" ({facts['Reclaimable'] * 100 // total}%)" if total else ""
    return Row(
        Active=str(facts["Active"]),
        Reclaimable=size(facts["Reclaimable"]) + share,
        Size=size(total),
        TotalCount=str(facts["TotalCount"]),
        Type=kind,
    )


def _details(facts: dict[str, Any]) -> None:
    now_ns = time.time_ns()
    images = [
        [
            ", ".join(image["Names"]) or "<none>",
            image["ID"].removeprefix("sha256:")[:12],
            ago(image["CreatedNs"], now_ns),
            size(image["Size"]),
            size(image["SharedSize"]),
            size(image["UniqueSize"]),
            str(image["Containers"]),
            size(image["DiskSize"]),
            size(image["UniqueDiskSize"]),
        ]
        for image in facts["ImageList"]
    ]
    containers = [
        [container["Name"], container["ID"][:12], container["Image"], container["Status"], size(container["Size"])]
        for container in facts["ContainerList"]
    ]
    volumes = [[volume["Name"], str(volume["Links"]), size(volume["Size"])] for volume in facts["VolumeList"]]
    store = facts["Store"]
    # Docker's columns, which are sizes of files; then the disk that these take.
    headings = "NAMES,IMAGE ID,CREATED,SIZE,SHARED SIZE,UNIQUE SIZE,CONTAINERS,ON DISK,WOULD FREE"
    _section("Images:", [headings.split(","), *images])
    _section("Containers:", [["NAME", "CONTAINER ID", "IMAGE", "STATUS", "SIZE"], *containers])
    _section("Local Volumes:", [["VOLUME NAME", "LINKS", "SIZE"], *volumes])
    _section(
        "Store:",
        [
            ["KIND", "COUNT", "SIZE"],
            ["Files' contents", str(store["Objects"]), size(store["ObjectsSize"])],
            ["Layers' entries", str(store["Layers"]), size(store["LayersSize"])],
            ["Prepared for mounting", str(len(images)), size(store["PreparedSize"])],
        ],
    )


def _section(title: str, rows: list[list[str]]) -> None:
    print(title, "", *aligned(rows), "", sep="\n")
