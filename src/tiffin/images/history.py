"""What `tiffin history` shows: the steps of an image with the sizes of their layers."""

from __future__ import annotations

from tiffin.model.image import HistoryEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image


def history(store: ImageStore, image: Image) -> list[HistoryEntry]:
    """Newest first. Layers that the config's history does not speak of come last in time, as steps without text."""
    import json

    from tiffin.images.timestamps import parse_rfc3339

    layers = list(image.layers)
    steps: list[HistoryEntry] = []
    for entry in json.loads(image.raw_config).get("history") or ():
        empty = entry.get("empty_layer") is True or not layers
        diff_id = "" if empty else layers.pop(0)
        try:
            created_ns = parse_rfc3339(entry.get("created") or "")
        except (ValueError, TypeError):
            created_ns = 0
        steps.append(
            HistoryEntry(
                created_ns=created_ns,
                created_by=str(entry.get("created_by") or ""),
                comment=str(entry.get("comment") or ""),
                size_bytes=store.layers.info(diff_id).file_bytes if diff_id else 0,
                diff_id=diff_id,
            )
        )
    steps.extend(
        HistoryEntry(
            created_ns=image.created_ns,
            created_by="",
            comment="",
            size_bytes=store.layers.info(diff_id).file_bytes,
            diff_id=diff_id,
        )
        for diff_id in layers
    )
    return steps[::-1]
