"""The same image as the other kind of manifest: OCI's (image-spec) or Docker's (manifest-v2-2); blobs stay the same."""

from __future__ import annotations

import json

from tiffin.errors import NotSupportedError
from tiffin.images.config import parse_object
from tiffin.images.transfer.documents import (
    CONFIGS,
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    parse_manifest,
)
from tiffin.images.transfer.transports import manifest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tiffin.images.transfer.documents import ImageManifest
    from tiffin.state.blobs import Manifest

FORMATS = {"oci": (OCI_MANIFEST, OCI_INDEX), "v2s2": (DOCKER_MANIFEST, DOCKER_INDEX)}
_PLAIN_DOCKER_LAYER = DOCKER_LAYER.removesuffix(".gzip")
_LAYERS = {OCI_LAYER + "+gzip": DOCKER_LAYER, OCI_LAYER: _PLAIN_DOCKER_LAYER}
_OCI_LAYERS = {dockers: oci for oci, dockers in _LAYERS.items()}


def convert(document: Manifest, format: str, replaced: Mapping[str, Manifest]) -> Manifest:
    """A manifest or index in `format`; `replaced` has by digest what an index lists. Raises NotSupportedError.

    What is of that format already, and lists nothing that was converted, stays as it is.
    """
    manifest_type, index_type = FORMATS[format]
    if document.media_type in (OCI_INDEX, DOCKER_INDEX):
        return _index(document, index_type, replaced)
    if document.media_type == manifest_type:
        return document
    manifest = parse_manifest(document.body, document.media_type, document.digest)
    if manifest.config.media_type not in CONFIGS or manifest.artifact_type or manifest.subject:
        raise NotSupportedError(
            f"manifest {document.digest} cannot be converted: it is not of a container image",
            hint="leave out --format, or copy one platform only",
        )
    return _manifest(document, manifest, manifest_type)


def _manifest(document: Manifest, manifest: ImageManifest, wanted: str) -> Manifest:
    docker = wanted == DOCKER_MANIFEST
    table = _LAYERS if docker else _OCI_LAYERS
    layers = []
    for layer in manifest.layers:
        media_type = table.get(layer.media_type)
        if media_type is None:
            kind = "Docker's" if docker else "an OCI"
            raise NotSupportedError(
                f"manifest {document.digest} cannot be converted: {kind} manifest has no layers like {layer.digest},"
                f" which is {layer.media_type!r}"
            )
        layers.append({"mediaType": media_type, "size": layer.size, "digest": layer.digest})
    made: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": wanted,
        "config": {
            "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
            "size": manifest.config.size,
            "digest": manifest.config.digest,
        },
        "layers": layers,
    }
    if manifest.annotations and not docker:
        made["annotations"] = dict(manifest.annotations)
    return manifest_of(json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode(), wanted)


def _index(document: Manifest, wanted: str, replaced: Mapping[str, Manifest]) -> Manifest:
    listed = parse_object(document.body, f"index {document.digest}")
    changed = document.media_type != wanted
    for entry in listed["manifests"]:
        new = replaced.get(entry["digest"])
        if new is not None and new.digest != entry["digest"]:
            changed = True
            entry |= {"mediaType": new.media_type, "size": len(new.body), "digest": new.digest}
    if not changed:
        return document
    if wanted == DOCKER_INDEX:
        for entry in listed["manifests"]:
            entry.pop("annotations", None)
            if not isinstance(entry.get("platform"), dict):
                raise NotSupportedError(
                    f"index {document.digest} cannot be converted: Docker's list has no manifests without a platform,"
                    f" like {entry['digest']}"
                )
    made: dict[str, Any] = {"schemaVersion": 2, "mediaType": wanted, "manifests": listed["manifests"]}
    if "annotations" in listed and wanted == OCI_INDEX:
        made["annotations"] = listed["annotations"]
    return manifest_of(json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode(), wanted)
