"""OCI image layouts (image-spec: image-layout.md, image-index.md, manifest.md), with Docker's media types as well."""

from __future__ import annotations

import hashlib

from tiffin.errors import InvalidImageError, NotSupportedError
from tiffin.images.archive import LayerBlob
from tiffin.images.candidate import Candidate, check_layer_count, name_of_annotation
from tiffin.images.config import ParsedConfig, parse_config, parse_object
from tiffin.images.platform import Platform, choose, host_platform, rank
from tiffin.images.reference import is_digest
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.archive import Archive

INDEX = "index.json"
LAYOUT = "oci-layout"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"

_INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
_CONFIGS = (OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
MAX_DEPTH = 4
MAX_DESCRIPTORS = 10_000


class Descriptor(Record):
    """A pointer to a blob (image-spec, descriptor.md), checked."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        return "blobs/" + self.digest.replace(":", "/")

    @property
    def name(self) -> str:
        """The store key of the name that the layout gives, or ""."""
        annotations = dict(self.annotations)
        return name_of_annotation(annotations.get(IMAGE_NAME, "")) or name_of_annotation(annotations.get(REF_NAME, ""))


def oci_images(archive: Archive, wanted: Platform | None) -> list[Candidate]:
    """The images of a layout: of an image for several platforms the one for `wanted`, by default the host's.

    Raises InvalidImageError, NotSupportedError.
    """
    return _Reader(archive, wanted).images()


class _Reader:
    def __init__(self, archive: Archive, wanted: Platform | None) -> None:
        self._archive = archive
        self._asked = wanted
        self._wanted = wanted or host_platform()
        self._seen = 0

    def images(self) -> list[Candidate]:
        if self._archive.has(LAYOUT):
            version = parse_object(self._archive.document(LAYOUT, LAYOUT), LAYOUT).get("imageLayoutVersion")
            if not isinstance(version, str) or version.partition(".")[0] != "1":
                raise NotSupportedError(f"the image layout has the version {version!r}, only 1.0.0 is known")
        top = self._descriptors(parse_object(self._archive.document(INDEX, INDEX), INDEX), INDEX)
        groups: dict[str, list[Descriptor]] = {}
        for descriptor in top:
            groups.setdefault(descriptor.name, []).append(descriptor)
        found: dict[str, Candidate] = {}
        for name, group in groups.items():
            for descriptor in self._separate(group):
                leaf, raw = self._leaf(descriptor)
                candidate = self._candidate(leaf, raw)
                known = found.get(candidate.config.image_id)
                names = [*(known.names if known else ())]
                if name:
                    names += [name, f"{name.rpartition(':')[0]}@{descriptor.digest}"]
                found[candidate.config.image_id] = candidate.replace(names=tuple(dict.fromkeys(names)))
        if not found:
            raise InvalidImageError(f"{INDEX} lists no images")
        return list(found.values())

    def _separate(self, group: list[Descriptor]) -> list[Descriptor]:
        """What of the descriptors with one name (or none) to load: all, unless they are one image's platforms."""
        platforms = [descriptor.platform for descriptor in group if descriptor.media_type in _MANIFESTS]
        if len(platforms) != len(group) or len(group) < 2 or None in platforms or len(set(platforms)) < len(group):
            return group
        return [self._choose(group)]

    def _choose(self, group: list[Descriptor]) -> Descriptor:
        offered = [descriptor.platform or self._wanted for descriptor in group]
        index = choose(offered, self._wanted)
        if index is None:
            raise self._no_platform(offered)
        return group[index]

    def _no_platform(self, offered: list[Platform]) -> InvalidImageError:
        names = ", ".join(dict.fromkeys(str(platform) for platform in offered))
        return InvalidImageError(
            f"the archive has no image for {self._wanted}, it has {names}",
            hint=None if self._asked else "choose one of them with --platform",
        )

    def _leaf(self, descriptor: Descriptor) -> tuple[Descriptor, bytes]:
        """Follow indexes down to one manifest."""
        for _ in range(MAX_DEPTH + 1):
            raw = self._blob(descriptor, "manifest" if descriptor.media_type in _MANIFESTS else "index")
            if descriptor.media_type in _MANIFESTS:
                return descriptor, raw
            group = self._descriptors(parse_object(raw, f"index {descriptor.digest}"), f"index {descriptor.digest}")
            if not group:
                raise InvalidImageError(f"index {descriptor.digest} lists no images")
            descriptor = self._choose(group)
        raise InvalidImageError(f"index {descriptor.digest} is nested more than {MAX_DEPTH} deep")

    def _candidate(self, descriptor: Descriptor, raw: bytes) -> Candidate:
        what = f"manifest {descriptor.digest}"
        manifest = parse_object(raw, what)
        layers = manifest.get("layers")
        if not isinstance(layers, list):
            raise InvalidImageError(f"{what} has no list of layers")
        config_blob = self._descriptor(manifest.get("config"), what)
        if config_blob.media_type not in _CONFIGS:
            raise InvalidImageError(f"{what} is not of a container image: its config is {config_blob.media_type!r}")
        config: ParsedConfig = parse_config(self._blob(config_blob, "config"), f"config {config_blob.digest}")
        if self._asked and rank(config.platform, self._asked) is None:
            raise self._no_platform([config.platform])
        check_layer_count(config, len(layers))
        blobs = []
        for layer, diff_id in zip(layers, config.diff_ids, strict=True):
            blob = self._descriptor(layer, what)
            _check_layer_type(blob)
            blobs.append(LayerBlob(path=blob.path, diff_id=diff_id, digest=blob.digest, size=blob.size))
        return Candidate(config=config, layers=tuple(blobs))

    def _blob(self, descriptor: Descriptor, kind: str) -> bytes:
        what = f"{kind} {descriptor.digest}"
        raw = self._archive.document(descriptor.path, what)
        if len(raw) != descriptor.size:
            raise InvalidImageError(f"{what} has {len(raw)} bytes, {descriptor.size} were declared")
        algorithm = descriptor.digest.partition(":")[0]
        found = f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"
        if found != descriptor.digest:
            raise InvalidImageError(f"{what} does not match its digest: its content is {found}")
        return raw

    def _descriptors(self, index: dict[str, Any], what: str) -> list[Descriptor]:
        """The images and indexes that an index lists; signatures, attestations and the like are left out."""
        listed = index.get("manifests")
        if not isinstance(listed, list):
            raise InvalidImageError(f"{what} has no list of manifests")
        self._seen += len(listed)
        if self._seen > MAX_DESCRIPTORS:
            raise InvalidImageError(f"the archive's indexes list more than {MAX_DESCRIPTORS} manifests")
        descriptors = [self._descriptor(item, what) for item in listed]
        return [
            descriptor
            for descriptor, item in zip(descriptors, listed, strict=True)
            if descriptor.media_type in (*_INDEXES, *_MANIFESTS)
            and not item.get("artifactType")
            and not (descriptor.platform and descriptor.platform.os == "unknown")
        ]

    @staticmethod
    def _descriptor(item: Any, what: str) -> Descriptor:
        if not isinstance(item, dict):
            raise InvalidImageError(f"{what} has a descriptor that is not an object")
        digest, size, media_type = item.get("digest"), item.get("size"), item.get("mediaType")
        if not isinstance(digest, str) or not is_digest(digest):
            raise InvalidImageError(f"{what} has a descriptor with the invalid digest {digest!r}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidImageError(f"{what} has a descriptor with the invalid size {size!r}")
        if not isinstance(media_type, str):
            raise InvalidImageError(f"{what} has a descriptor without a media type")
        annotations = item.get("annotations") or {}
        if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
            raise InvalidImageError(f"{what} has annotations that are not texts")
        return Descriptor(
            media_type=media_type,
            digest=digest,
            size=size,
            platform=_platform(item.get("platform"), what),
            annotations=tuple(sorted(annotations.items())),
        )


def _platform(item: Any, what: str) -> Platform | None:
    if item is None:
        return None
    if not isinstance(item, dict):
        raise InvalidImageError(f"{what} has a platform that is not an object")
    os, architecture, variant = item.get("os") or "linux", item.get("architecture"), item.get("variant") or ""
    if not (isinstance(os, str) and isinstance(architecture, str) and isinstance(variant, str)):
        raise InvalidImageError(f"{what} has a platform without an architecture")
    return Platform(os=os, architecture=architecture, variant=variant)


def _check_layer_type(blob: Descriptor) -> None:
    if "encrypted" in blob.media_type:
        raise NotSupportedError(f"layer {blob.digest} is encrypted, which is not supported")
    if not blob.media_type.startswith(_LAYERS):
        raise InvalidImageError(f"layer {blob.digest} has the unknown media type {blob.media_type!r}")
