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


def show(facts: dict[str, Any], parsed: Parsed) -> None:
    """Print what `Engine.disk_usage` found as the options ask."""
    if parsed.flag("verbose") and not parsed.text("format"):
        _details(facts)
        return
    rows = [_row(kind, facts[kind]) for kind in ("Images", "Containers", "Local Volumes")]
    listing.show(parsed.text("format"), rows, _HEADINGS, list(_HEADINGS))


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
        ]
        for image in facts["ImageList"]
    ]
    containers = [
        [container["Name"], container["ID"][:12], container["Image"], container["Status"], size(container["Size"])]
        for container in facts["ContainerList"]
    ]
    volumes = [[volume["Name"], str(volume["Links"]), size(volume["Size"])] for volume in facts["VolumeList"]]
    store = facts["Store"]
    _section("Images:", [["NAMES", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"], *images])
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
