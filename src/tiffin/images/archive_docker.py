"""Archives of `docker save`: manifest.json names configs and layers by their paths (moby, image/tarexport).

Layers are `<id>/layer.tar` (often symlinks to an equal one) before Docker 25, `blobs/sha256/<hex>` since,
`<diff_id>.tar` from skopeo and podman; any of them may be compressed.
"""

from __future__ import annotations

import posixpath

from tiffin.errors import InvalidImageError, NotSupportedError
from tiffin.images.archive import LayerBlob
from tiffin.images.candidate import Candidate, check_layer_count, checked_name
from tiffin.images.config import parse_config, parse_document
from tiffin.images.platform import rank
from tiffin.images.reference import is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.archive import Archive
    from tiffin.images.platform import Platform

MANIFEST = "manifest.json"


def docker_images(archive: Archive, wanted: Platform | None) -> list[Candidate]:
    """The images of the archive, those for `wanted` only when given. Raises InvalidImageError, NotSupportedError."""
    entries = parse_document(archive.document(MANIFEST, MANIFEST), MANIFEST)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidImageError(f"{MANIFEST} is not a list of objects")
    if not entries:
        raise InvalidImageError(f"{MANIFEST} lists no images")
    candidates = [_candidate(archive, entry) for entry in entries]
    if wanted is None:
        return candidates
    fitting = [candidate for candidate in candidates if rank(candidate.config.platform, wanted) is not None]
    if not fitting:
        offered = ", ".join(sorted({str(candidate.config.platform) for candidate in candidates}))
        raise InvalidImageError(f"the archive has no image for {wanted}, it has {offered}")
    return fitting


def refuse_repositories_only() -> NotSupportedError:
    """The error for archives older than manifest.json."""
    return NotSupportedError(
        "the archive has 'repositories' but no manifest.json: it was written by a Docker older than 1.10",
        hint="load it with a newer Docker and save it again",
    )


def _candidate(archive: Archive, entry: dict[str, Any]) -> Candidate:
    path = _member(entry.get("Config"), "Config")
    what = f"config {path!r}"
    raw = archive.document(path, what)
    config = parse_config(raw, what)
    promised = posixpath.basename(path).removesuffix(".json")
    if is_id(promised) and config.image_id != f"sha256:{promised}":
        raise InvalidImageError(f"{what} does not match its digest: its content is {config.image_id}")
    layers, names = entry.get("Layers") or [], entry.get("RepoTags") or []
    if not isinstance(layers, list) or not isinstance(names, list):
        raise InvalidImageError(f"{MANIFEST} has Layers or RepoTags that are not lists")
    paths = [_member(layer, "Layers") for layer in layers]
    check_layer_count(config, len(paths))
    return Candidate(
        config=config,
        layers=tuple(
            LayerBlob(path=path, diff_id=diff_id) for path, diff_id in zip(paths, config.diff_ids, strict=True)
        ),
        names=tuple(checked_name(name) for name in names),
    )


def _member(path: Any, field: str) -> str:
    if not isinstance(path, str) or not path:
        raise InvalidImageError(f"{MANIFEST} has {field} without a path")
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise InvalidImageError(f"{MANIFEST} names {path!r}, which is not a path inside the archive")
    return path
