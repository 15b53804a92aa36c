"""What refers to a manifest: the referrers API, and the tag schema for registries without it (distribution-spec)."""

from __future__ import annotations

from tiffin.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.registry.client import Registries
    from tiffin.registry.host import Host
    from tiffin.registry.names import Repository

INDEX = "application/vnd.oci.image.index.v1+json"


def fallback_tag(digest: str) -> str:
    """The tag under which the index of referrers is where there is no API: "sha256-<hex>"."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm[:32]}-{digits[:64]}"


def find(
    registries: Registries, host: Host, place: Repository, digest: str, artifact_type: str | None
) -> list[dict[str, Any]]:
    """The descriptors of what refers to `digest`."""
    from urllib.parse import quote

    from tiffin.registry.client import pages

    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    found: list[dict[str, Any]] = []
    try:
        for document in pages(
            host, f"/v2/{place.path}/referrers/{digest}{query}", (f"repository:{place.path}:pull",), "referrers"
        ):
            found += _descriptors(document)
    except NotFoundError:
        found = _tagged(registries, host, place, digest)
    return [item for item in found if not artifact_type or item.get("artifactType") == artifact_type]


def _tagged(registries: Registries, host: Host, place: Repository, digest: str) -> list[dict[str, Any]]:
    import json

    try:
        body = registries._manifest(host, place, fallback_tag(digest), (INDEX,)).body
    except NotFoundError:
        return []
    try:
        return _descriptors(json.loads(body))
    except ValueError:
        return []


def _descriptors(document: Any) -> list[dict[str, Any]]:
    items = document.get("manifests") if isinstance(document, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def record_subject(registries: Registries, repository: Repository, digest: str, media_type: str, body: bytes) -> None:
    """Add a manifest with a subject to the index under the fallback tag, as clients must where there is no API."""
    import json

    try:
        document = json.loads(body)
    except ValueError:
        return
    subject = document.get("subject") if isinstance(document, dict) else None
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), str):
        return
    host = registries._host_to_write(repository)
    tag = fallback_tag(subject["digest"])
    known = [item for item in _tagged(registries, host, repository, subject["digest"]) if item.get("digest") != digest]
    config = document.get("config")
    kind = document.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
    entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(body)}
    if kind:
        entry["artifactType"] = kind
    if isinstance(document.get("annotations"), dict):
        entry["annotations"] = document["annotations"]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*known, entry]}
    registries._put(host, repository, tag, INDEX, json.dumps(index).encode())
