"""Manifests and indexes as registries and image layouts have them: OCI (image-spec: descriptor.md, manifest.md,
image-index.md) and Docker's (distribution: manifest-v2-2.md), read with suspicion.

Nothing here fetches anything: bytes come in, checked facts go out.
"""

from __future__ import annotations

import hashlib

from tiffin.errors import InvalidImageError, NotFoundError, NotSupportedError
from tiffin.images.config import parse_object
from tiffin.images.platform import Platform, choose, host_platform
from tiffin.images.reference import is_digest
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
LAYER_PREFIXES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_FOREIGN = ("nondistributable", "foreign")
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

MANIFEST_LIMIT = 4 << 20
"""Bytes that a manifest or index of a registry may have (distribution-spec: at least 4 MiB must be taken)."""
MAX_DEPTH = 4
MAX_DESCRIPTORS = 10_000


class Descriptor(Record):
    """A pointer to a blob (image-spec, descriptor.md), checked."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where an image layout has it."""
        return "blobs/" + self.digest.replace(":", "/")

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def is_image(self) -> bool:
        """Whether it can lead to a container image: not a signature, an attestation or another artifact."""
        return (
            self.media_type in (*INDEXES, *MANIFESTS)
            and not self.artifact_type
            and not (self.platform and self.platform.os == "unknown")
        )


class ImageManifest(Record):
    """A manifest, checked; `layers` are base first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    subject: str = ""


class ImageIndex(Record):
    """An index, checked; `manifests` is all that it lists, `images` what of that can lead to a container image."""

    manifests: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> tuple[Descriptor, ...]:
        return tuple(descriptor for descriptor in self.manifests if descriptor.is_image)


def parse_manifest(body: bytes, media_type: str, digest: str) -> ImageManifest:
    """A manifest of any artifact; `check_image` tells whether it is a container image.

    `media_type` is what the registry or descriptor says it is, `digest` its own, for messages. Raises
    InvalidImageError; NotSupportedError for Docker's schema 1 and unknown types.
    """
    what = f"manifest {digest}"
    if media_type not in MANIFESTS:
        raise unknown_type(media_type, digest)
    document = parse_object(body, what)
    _check_kind(document, media_type, what, "manifests")
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise InvalidImageError(f"{what} has no list of layers")
    subject = document.get("subject")
    return ImageManifest(
        config=parse_descriptor(document.get("config"), what),
        layers=tuple(parse_descriptor(layer, what) for layer in layers),
        annotations=_annotations(document, what),
        artifact_type=_text(document, "artifactType", what),
        subject=parse_descriptor(subject, what).digest if subject is not None else "",
    )


def parse_index(body: bytes, media_type: str, digest: str) -> ImageIndex:
    """An index or Docker's manifest list. Raises InvalidImageError; NotSupportedError for unknown types."""
    what = f"index {digest}"
    if media_type not in INDEXES:
        raise unknown_type(media_type, digest)
    document = parse_object(body, what)
    _check_kind(document, media_type, what, "layers", "config")
    manifests = descriptors_of(document, what)
    if len(manifests) > MAX_DESCRIPTORS:
        raise InvalidImageError(f"{what} lists more than {MAX_DESCRIPTORS} manifests")
    return ImageIndex(manifests=manifests, annotations=_annotations(document, what))


def descriptors_of(index: dict[str, Any], what: str) -> tuple[Descriptor, ...]:
    """What an index lists. Raises InvalidImageError."""
    listed = index.get("manifests")
    if not isinstance(listed, list):
        raise InvalidImageError(f"{what} has no list of manifests")
    return tuple(parse_descriptor(item, what) for item in listed)


def unknown_type(media_type: str, digest: str) -> NotSupportedError:
    """The error for a manifest of a type that is no image's."""
    if media_type.startswith(_SCHEMA_1):
        return NotSupportedError(
            f"manifest {digest} is of Docker's schema 1, which is not supported",
            hint="push the image again with a newer client",
        )
    return NotSupportedError(f"manifest {digest} has the unknown media type {media_type!r}")


def check_image(manifest: ImageManifest, digest: str) -> None:
    """Refuse what is not a container image, or one whose layers cannot be had. InvalidImageError, NotSupportedError."""
    if manifest.config.media_type not in CONFIGS:
        kind = manifest.artifact_type or manifest.config.media_type
        raise InvalidImageError(f"manifest {digest} is not of a container image: its config is {kind!r}")
    for layer in manifest.layers:
        check_layer_type(layer)


def check_layer_type(layer: Descriptor, *, foreign: bool = False) -> None:
    """Refuse layers of unknown types, and unless `foreign` those that registries do not distribute."""
    if "encrypted" in layer.media_type:
        raise NotSupportedError(f"layer {layer.digest} is encrypted, which is not supported")
    if not layer.media_type.startswith(LAYER_PREFIXES):
        raise InvalidImageError(f"layer {layer.digest} has the unknown media type {layer.media_type!r}")
    if not foreign and any(word in layer.media_type for word in _FOREIGN):
        raise NotSupportedError(
            f"layer {layer.digest} is foreign: registries do not have it, and other servers are not asked",
            hint="`tiffin load` takes an archive that contains it",
        )


def choose_platform(descriptors: Sequence[Descriptor], wanted: Platform | None, what: str) -> Descriptor:
    """The best of an index's images for `wanted` (default: the host's platform). NotFoundError says what there is.

    One without a platform is taken when none with a platform fits.
    """
    platform = wanted or host_platform()
    offered = [descriptor for descriptor in descriptors if descriptor.platform]
    index = choose([descriptor.platform or platform for descriptor in offered], platform)
    if index is not None:
        return offered[index]
    for descriptor in descriptors:
        if descriptor.platform is None:
            return descriptor
    if not offered:
        raise NotFoundError(f"{what} lists no images")
    names = ", ".join(dict.fromkeys(str(descriptor.platform) for descriptor in offered))
    raise NotFoundError(
        f"{what} has no image for {platform}, it has {names}",
        hint=None if wanted else "choose one of them with --platform",
    )


def check_body(body: bytes, descriptor: Descriptor, kind: str) -> None:
    """Whether a document is what its descriptor says. Raises InvalidImageError."""
    what = f"{kind} {descriptor.digest}"
    if len(body) != descriptor.size:
        raise InvalidImageError(f"{what} has {len(body)} bytes, {descriptor.size} were declared")
    found = digest_of(body, descriptor.digest.partition(":")[0])
    if found != descriptor.digest:
        raise InvalidImageError(f"{what} does not match its digest: its content is {found}")


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """ "sha256:…" of a document."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def parse_descriptor(item: Any, what: str) -> Descriptor:
    """A descriptor out of the document `what`. Raises InvalidImageError."""
    if not isinstance(item, dict):
        raise InvalidImageError(f"{what} has a descriptor that is not an object")
    digest, size, media_type = item.get("digest"), item.get("size"), item.get("mediaType")
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidImageError(f"{what} has a descriptor with the invalid digest {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidImageError(f"{what} has a descriptor with the invalid size {size!r}")
    if not isinstance(media_type, str):
        raise InvalidImageError(f"{what} has a descriptor without a media type")
    urls = item.get("urls") or []
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise InvalidImageError(f"{what} has a descriptor whose urls are not a list of texts")
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        platform=_platform(item.get("platform"), what),
        annotations=_annotations(item, what),
        artifact_type=_text(item, "artifactType", what),
        urls=tuple(urls),
    )


def _check_kind(document: dict[str, Any], media_type: str, what: str, *foreign_fields: str) -> None:
    """A document must not be a manifest to one client and an index to another (image-spec, manifest.md)."""
    version = document.get("schemaVersion")
    if version not in (None, 2):
        raise InvalidImageError(f"{what} has the schema version {version!r}, only 2 is known")
    said = document.get("mediaType")
    if said is not None and said != media_type:
        raise InvalidImageError(f"{what} came as {media_type!r} but says that it is {said!r}")
    for field in foreign_fields:
        if field in document:
            raise InvalidImageError(f"{what} is ambiguous: a {media_type!r} has no {field!r}")


def _annotations(item: dict[str, Any], what: str) -> tuple[tuple[str, str], ...]:
    annotations = item.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise InvalidImageError(f"{what} has annotations that are not texts")
    return tuple(sorted(annotations.items()))


def _text(item: dict[str, Any], field: str, what: str) -> str:
    value = item.get(field) or ""
    if not isinstance(value, str):
        raise InvalidImageError(f"{what} has a field {field} that is not text")
    return value


def _platform(item: Any, what: str) -> Platform | None:
    if item is None:
        return None
    if not isinstance(item, dict):
        raise InvalidImageError(f"{what} has a platform that is not an object")
    os, architecture, variant = item.get("os") or "linux", item.get("architecture"), item.get("variant") or ""
    if not (isinstance(os, str) and isinstance(architecture, str) and isinstance(variant, str)):
        raise InvalidImageError(f"{what} has a platform without an architecture")
    return Platform(os=os, architecture=architecture, variant=variant)
