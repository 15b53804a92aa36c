"""OCI image layouts (image-spec: image-layout.md, image-index.md, manifest.md), with Docker's media types as well."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, NotSupportedError
from tiffin.images.archive import LayerBlob
from tiffin.images.candidate import Candidate, check_layer_count, name_of_annotation
from tiffin.images.config import ParsedConfig, parse_config, parse_object
from tiffin.images.platform import Platform, choose, host_platform, rank
from tiffin.images.transfer.documents import (
    CONFIGS,
    MANIFESTS,
    MAX_DEPTH,
    MAX_DESCRIPTORS,
    Descriptor,
    check_body,
    check_layer_type,
    descriptors_of,
    parse_manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.archive import Archive

INDEX = "index.json"
LAYOUT = "oci-layout"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


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
            groups.setdefault(_name(descriptor), []).append(descriptor)
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
        platforms = [descriptor.platform for descriptor in group if descriptor.media_type in MANIFESTS]
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
            raw = self._blob(descriptor, "manifest" if descriptor.media_type in MANIFESTS else "index")
            if descriptor.media_type in MANIFESTS:
                return descriptor, raw
            group = self._descriptors(parse_object(raw, f"index {descriptor.digest}"), f"index {descriptor.digest}")
            if not group:
                raise InvalidImageError(f"index {descriptor.digest} lists no images")
            descriptor = self._choose(group)
        raise InvalidImageError(f"index {descriptor.digest} is nested more than {MAX_DEPTH} deep")

    def _candidate(self, descriptor: Descriptor, raw: bytes) -> Candidate:
        what = f"manifest {descriptor.digest}"
        manifest = parse_manifest(raw, descriptor.media_type, descriptor.digest)
        config_blob = manifest.config
        if config_blob.media_type not in CONFIGS:
            raise InvalidImageError(f"{what} is not of a container image: its config is {config_blob.media_type!r}")
        config: ParsedConfig = parse_config(self._blob(config_blob, "config"), f"config {config_blob.digest}")
        if self._asked and rank(config.platform, self._asked) is None:
            raise self._no_platform([config.platform])
        check_layer_count(config, len(manifest.layers))
        blobs = []
        for blob, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            check_layer_type(blob, foreign=True)
            blobs.append(LayerBlob(path=blob.path, diff_id=diff_id, digest=blob.digest, size=blob.size))
        return Candidate(config=config, layers=tuple(blobs), annotations=manifest.annotations)

    def _blob(self, descriptor: Descriptor, kind: str) -> bytes:
        raw = self._archive.document(descriptor.path, f"{kind} {descriptor.digest}")
        check_body(raw, descriptor, kind)
        return raw

    def _descriptors(self, index: dict[str, Any], what: str) -> list[Descriptor]:
        """The images and indexes that an index lists; signatures, attestations and the like are left out."""
        listed = descriptors_of(index, what)
        self._seen += len(listed)
        if self._seen > MAX_DESCRIPTORS:
            raise InvalidImageError(f"the archive's indexes list more than {MAX_DESCRIPTORS} manifests")
        return [descriptor for descriptor in listed if descriptor.is_image]


def _name(descriptor: Descriptor) -> str:
    """The store key of the name that the layout gives, or ""."""
    annotations = dict(descriptor.annotations)
    return name_of_annotation(annotations.get(IMAGE_NAME, "")) or name_of_annotation(annotations.get(REF_NAME, ""))
