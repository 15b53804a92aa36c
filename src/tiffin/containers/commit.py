"""`commit`: what a container changed becomes a layer on its image's."""

from __future__ import annotations

import json
import os

from tiffin.containers import events
from tiffin.containers.changed import raw
from tiffin.containers.pause import read_state
from tiffin.containers.root import locked, opened
from tiffin.errors import NotSupportedError
from tiffin.model import idmap
from tiffin.runtime import signals
from tiffin.storage.changes import DELETED
from tiffin.storage.entry import OPAQUE, WHITEOUT, Entry, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from tiffin.model.container import Container
    from tiffin.model.idmap import IdMap
    from tiffin.model.image import Image
    from tiffin.parts import Parts
    from tiffin.storage.changes import Change
    from tiffin.storage.contents import Item


def commit(
    parts: Parts,
    container: Container,
    name: str | None,
    *,
    changes: Sequence[str],
    author: str,
    message: str,
    pause: bool,
    progress: Callable[[int], None] | None = None,
) -> Image:
    """The new image. Its config is the image's with what the container was told, then `changes` on top."""
    from tiffin.images.changes import apply_changes
    from tiffin.images.store import tag_keys
    from tiffin.images.timestamps import creation_time_ns

    if parts.is_host(container.image_id):
        raise NotSupportedError(
            "a container of the image 'host' cannot be committed: what it is made of is the host, which is no layer",
            hint=f"`tiffin export {container.name} | tiffin import - NAME` makes an image of all its files",
        )
    names = tag_keys([name] if name else [])
    base = parts.images.get(container.image_id)
    document = json.loads(base.raw_config)
    config = apply_changes(_execution(container, base, document.get("config") or {}), changes)
    created_ns = creation_time_ns()
    with parts.images.adding(), locked(parts, container):
        layer = _paused(parts, container, pause, progress)
        if layer is not None:
            parts.layers.objects.syncfs()
        argv = " ".join(container.argv)
        asked = container.config.image
        image = _add(parts, base, asked, document, config, layer, created_ns, author, message, argv, names)
    events.tell(parts, container, "commit", {"comment": message, "imageID": image.id, "imageRef": name or ""})
    for key in names:
        parts.images.tell("tag", image, key)
    return image


def _paused(
    parts: Parts, container: Container, pause: bool, progress: Callable[[int], None] | None
) -> tuple[str, int] | None:
    # One that is paused already stays so: only a container that runs is frozen, and thawed again.
    state = read_state(parts, container.id)
    if not pause or state.status != "running" or state.paused:
        return _layer(parts, container, progress)
    parts.cgroups.freeze(container.id)
    try:
        return _layer(parts, container, progress)
    finally:
        parts.cgroups.thaw(container.id)


def _layer(parts: Parts, container: Container, progress: Callable[[int], None] | None) -> tuple[str, int] | None:
    """Ingest the layer (diff_id, tar bytes); None when nothing changed."""
    from tiffin.images.codecs import Counted
    from tiffin.storage.tarwrite import Streamed, tar_stream

    found = raw(parts, container)
    if not found:
        return None
    with opened(parts, container, mounts=False) as root:
        chunks = tar_stream(_items(parts, root, found, idmap.of(container)), exact=True)
        try:
            stream = Counted(Streamed(chunks), progress)
            layer = parts.layers.ingest(stream)  # type: ignore[arg-type]
        finally:
            chunks.close()  # type: ignore[attr-defined]
    return layer.diff_id, layer.size_bytes


def _items(parts: Parts, root: int, found: list[Change], ids: IdMap | None) -> Iterator[Item]:
    """The layer's entries. Contents come from the merged root: an upper file may have its metadata only."""
    from tiffin.storage.contents import FileItems, open_leaf
    from tiffin.storage.inroot import open_in_root

    files = FileItems(parts.warn, ids)
    for change in found:
        path = change.path
        parent_path, _, name = path.rpartition(b"/")
        if name.startswith(b".wh."):
            parts.warn(f"not committed, since layers use names that begin with .wh.: {shown(path)}")
            continue
        if change.kind == DELETED:
            if not change.hidden:
                yield Entry(path, WHITEOUT, 0, 0, 0, 0, 0), None
            continue
        try:
            parent = open_in_root(root, parent_path, os.O_PATH)
            try:
                fd = open_leaf(parent, name)
            finally:
                os.close(parent)
        except OSError:
            continue  # gone since; only without a pause
        try:
            yield from files.single(fd, path)
        finally:
            os.close(fd)
        if change.opaque:
            yield Entry(path, OPAQUE, 0o600, 0, 0, 0, 0), None


def _execution(container: Container, base: Image, of_image: dict[str, Any]) -> dict[str, Any]:
    """The config's `config`: what `run` said stays said."""
    config = container.config
    entrypoint = list(base.config.entrypoint if config.entrypoint is None else config.entrypoint)
    merged = dict(of_image)
    merged["Env"] = list(container.env)
    merged["Cmd"] = list(container.argv[len(entrypoint) :])
    merged["Entrypoint"] = entrypoint
    merged["WorkingDir"] = container.workdir if container.workdir != "/" else of_image.get("WorkingDir") or ""
    merged["User"] = container.user
    merged["Labels"] = dict(container.labels)
    if config.stop_signal:
        merged["StopSignal"] = signals.name(container.stop_signal)
    if config.health is not None:
        from tiffin.model.image import health_object

        merged["Healthcheck"] = health_object(config.health)
    return {key: value for key, value in merged.items() if value}


def _add(
    parts: Parts,
    base: Image,
    asked: str,
    document: dict[str, Any],
    config: dict[str, Any],
    layer: tuple[str, int] | None,
    created_ns: int,
    author: str,
    message: str,
    created_by: str,
    names: list[str],
) -> Image:
    from tiffin.images.config import parse_config
    from tiffin.images.lineage.bases import base_upon
    from tiffin.images.timestamps import format_rfc3339

    created = format_rfc3339(created_ns)
    said = {"author": author, "created_by": created_by, "comment": message}
    step: dict[str, Any] = {"created": created, **{key: value for key, value in said.items() if value}}
    if layer is None:
        step["empty_layer"] = True
    diff_ids = [*base.layers, *([layer[0]] if layer else [])]
    history = list(document.get("history") or [])
    new = {
        **document,
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [*history, step],
    }
    new.pop("author", None)
    if author:
        new["author"] = author
    raw_config = json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
    layers = [(diff_id, parts.layers.info(diff_id).size_bytes) for diff_id in base.layers]
    return parts.images.add(
        parse_config(raw_config),
        [*layers, *([layer] if layer else [])],
        names,
        base=base_upon(parts.database, base, asked),
    )
