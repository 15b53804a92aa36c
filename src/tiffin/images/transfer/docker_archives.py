"""Copying from and to archives of `docker save`, which have no manifests: layers are plain tars named by diff_id."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from io import BytesIO

from tiffin.errors import AmbiguousError, InvalidImageError, NotFoundError, UsageError
from tiffin.images.archive_docker import docker_images
from tiffin.images.archive_tar import ArchiveWriter
from tiffin.images.candidate import check_layer_count
from tiffin.images.codecs import CHUNK, Compressor, Decompressed, Verified
from tiffin.images.config import DOCUMENT_LIMIT, parse_config
from tiffin.images.transfer import steps
from tiffin.images.transfer.copy_destinations import NewFile
from tiffin.images.transfer.copy_sources import Piece, TarFile
from tiffin.images.transfer.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    digest_of,
)
from tiffin.images.transfer.sources import CHUNK_BYTES, Told
from tiffin.images.transfer.transports import manifest_of
from tiffin.images.trust.sources import accept_file
from tiffin.model.record import Record
from tiffin.storage.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Self

    from tiffin.images.candidate import Candidate
    from tiffin.images.codecs import Readable
    from tiffin.images.transfer.documents import Descriptor, ImageManifest
    from tiffin.images.transfer.steps import Teller
    from tiffin.images.transfer.transports import Location, Source
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Manifest


_MOST_BYTES = Limits().max_layer_bytes


class _Member(Record):
    """A layer: where its tar is in the archive, packed or not, and how long it is unpacked."""

    path: str
    size_bytes: int
    what: str


class DockerArchive:
    """An archive as a source: its image has an OCI manifest of plain layers, made here."""

    place: Repository | None = None

    def __init__(self, location: Location) -> None:
        self._location = location
        self._files = TarFile(location.path)
        self._layers: dict[str, _Member] = {}
        self._config = b""

    def top(self) -> Manifest:
        candidate = self._choose(docker_images(self._files, None))  # type: ignore[arg-type]
        self._config = candidate.config.raw
        for layer in candidate.layers:
            if layer.diff_id not in self._layers:
                size = self._measured(layer.path, layer.what, layer.diff_id)
                self._layers[layer.diff_id] = _Member(path=layer.path, size_bytes=size, what=layer.what)
        layers = [_blob(OCI_LAYER, diff_id, self._layers[diff_id].size_bytes) for diff_id in candidate.config.diff_ids]
        config = _blob(OCI_CONFIG, candidate.config.image_id, len(self._config))
        return _manifest(OCI_MANIFEST, config, layers)

    def _choose(self, candidates: list[Candidate]) -> Candidate:
        path, wanted = self._location.path, self._location.tag
        names = ", ".join(name for each in candidates for name in each.names)
        if wanted:
            fitting = [each for each in candidates if wanted in each.names]
            if not fitting:
                raise NotFoundError(f"{path!r} has no image {wanted!r}, it has {names or 'one without a name'}")
            return fitting[0]
        if len({each.config.image_id for each in candidates}) > 1:
            raise AmbiguousError(
                f"{path!r} has {len(candidates)} images: {names or 'none with a name'}",
                hint=f"say which: docker-archive:{path}:NAME:TAG",
            )
        return candidates[0]

    def _measured(self, path: str, what: str, diff_id: str) -> int:
        """How long a layer is unpacked. What is packed is read for that, and its diff_id looked at on the way."""
        piece = self._files.open(path, what)
        with Decompressed(piece, what) as stream:
            if not stream.kind:
                return piece.size
            found, size = hashlib.sha256(), 0
            while data := stream.read(CHUNK):
                found.update(data)
                size += len(data)
        _check_diff_id(what, f"sha256:{found.hexdigest()}", diff_id)
        return size

    def document(self, pointer: Descriptor) -> Manifest:
        raise AssertionError("there is no index in a docker-archive")

    def open(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        if blob.digest == digest_of(self._config):
            return nullcontext(BytesIO(self._config))
        layer = self._layers[blob.digest]
        return _Plain(self._files.open(layer.path, layer.what), layer.what)

    def accept(self, digests: Sequence[str]) -> None:
        accept_file(self._location.transport, self._location.path)

    def close(self) -> None:
        self._files.close()


class _Plain:
    """A layer, decompressed if need be."""

    def __init__(self, piece: Piece, what: str) -> None:
        self._stream = Decompressed(piece, what)

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        return data


def upload_packed(
    registries: Registries,
    place: Repository,
    source: DockerArchive,
    manifest: ImageManifest,
    teller: Teller,
    *,
    docker: bool,
) -> Manifest:
    """Give the plain layers to a registry, packed with gzip on the way, and make the manifest that names them."""
    packed: dict[str, dict[str, Any]] = {}
    for layer in manifest.layers:
        if layer.digest in packed:
            continue
        id = steps.short(layer.digest)
        made: list[_Gzip] = []

        def make(layer: Descriptor = layer, id: str = id, made: list[_Gzip] = made) -> _Gzip:
            made.append(_Gzip(source, layer, teller, id))
            return made[-1]

        digest = registries.upload_blob(place, make, digest=None, size=None, chunk_bytes=CHUNK_BYTES)
        packed[layer.digest] = _blob(DOCKER_LAYER if docker else OCI_LAYER + "+gzip", digest, made[-1].size_bytes)
        teller.say(steps.COPIED, id)
    config = _blob(DOCKER_CONFIG if docker else OCI_CONFIG, manifest.config.digest, manifest.config.size)
    layers = [packed[layer.digest] for layer in manifest.layers]
    return _manifest(DOCKER_MANIFEST if docker else OCI_MANIFEST, config, layers)


class _Gzip:
    """A layer of a source, verified and packed while it is read; `size_bytes` counts what came out."""

    def __init__(self, source: Source, layer: Descriptor, teller: Teller, id: str) -> None:
        self._context = source.open(layer)
        self._layer = layer
        self._count = teller.counter(steps.COPYING, id, layer.size)
        self.size_bytes = 0

    def __enter__(self) -> Self:
        layer = self._layer
        raw = Told(self._context.__enter__(), self._count, lambda: False)
        self._raw = Verified(raw, f"layer {layer.digest}", digest=layer.digest, size=layer.size)
        self._chunks = self._packed()
        self._ready = b""
        return self

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)

    def read(self, size: int) -> bytes:
        if not self._ready:
            self._ready = next(self._chunks, b"")
        data, self._ready = self._ready[:size], self._ready[size:]
        self.size_bytes += len(data)
        return data

    def _packed(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        compressor = Compressor("gzip", _Appending(parts))
        while data := self._raw.read(CHUNK):
            compressor.write(data)
            if parts:
                yield b"".join(parts)
                parts.clear()
        compressor.finish()
        yield b"".join(parts)


class _Appending:
    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def write(self, data: bytes) -> int:
        if data:
            self._parts.append(data)
        return len(data)


def write_archive(location: Location, source: Source, manifest: ImageManifest, teller: Teller) -> None:
    """Write an image as an archive of `docker save`, its layers decompressed on the way. It appears when complete.

    Raises InvalidImageError, ConflictError, NotSupportedError, StoreError.
    """
    new = NewFile(location.path)
    file = new.__enter__()
    try:
        raw = small_blob(source, manifest.config, "config")
        config = parse_config(raw, f"config {manifest.config.digest}")
        check_layer_count(config, len(manifest.layers))
        writer = ArchiveWriter(file)
        writer.add(f"{_hex(manifest.config.digest)}.json", raw)
        written: set[str] = set()
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if diff_id in written:
                continue
            written.add(diff_id)
            id, what = steps.short(layer.digest), f"layer {layer.digest}"
            found = hashlib.sha256()
            with source.open(layer) as body, writer.growing(f"{_hex(diff_id)}.tar", file) as member:
                counted = Told(body, teller.counter(steps.COPYING, id, layer.size), lambda: False)
                raw_layer = Verified(counted, what, digest=layer.digest, size=layer.size)
                with Decompressed(raw_layer, what) as stream:
                    try:
                        while data := stream.read(CHUNK):
                            found.update(data)
                            member.write(data)
                            if member.size > _MOST_BYTES:
                                raise InvalidImageError(f"{what} has more than {_MOST_BYTES >> 30} GiB unpacked")
                    except InvalidImageError:
                        stream.skip_to_end()  # a blob that is not what was promised is better told by its digest
                        raise
                    stream.drain()
            _check_diff_id(what, f"sha256:{found.hexdigest()}", diff_id)
            teller.say(steps.COPIED, id)
        entry = {
            "Config": f"{_hex(manifest.config.digest)}.json",
            "RepoTags": [location.tag] if location.tag else None,
            "Layers": [f"{_hex(diff_id)}.tar" for diff_id in config.diff_ids],
        }
        writer.add("manifest.json", json.dumps([entry], separators=(",", ":")).encode())
        writer.finish()
        new.keep()
    finally:
        new.__exit__()


def small_blob(source: Source, blob: Descriptor, kind: str) -> bytes:
    """A config, verified. Raises InvalidImageError."""
    what = f"{kind} {blob.digest}"
    if blob.size > DOCUMENT_LIMIT:
        raise InvalidImageError(f"{what} has {blob.size} bytes; the limit is {DOCUMENT_LIMIT}")
    parts = []
    with source.open(blob) as body:
        stream = Verified(body, what, digest=blob.digest, size=blob.size)
        while data := stream.read(CHUNK):
            parts.append(data)
    return b"".join(parts)


def refuse_several(location: Location) -> UsageError:
    """The error for an image for several platforms."""
    return UsageError(
        f"{str(location)!r} holds an image for one platform only",
        hint="leave out --all, or copy to oci:, oci-archive: or dir:",
    )


def _check_diff_id(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise InvalidImageError(f"{what} has the diff_id {found}, the config says {wanted}")


def _manifest(media_type: str, config: dict[str, Any], layers: list[dict[str, Any]]) -> Manifest:
    document = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}
    return manifest_of(json.dumps(document, separators=(",", ":")).encode(), media_type)


def _blob(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
