"""`tiffin push`: an image from the store to a registry, with the manifest that it came with wherever that can be."""

from __future__ import annotations

import io
import json
import threading
from contextlib import nullcontext

from tiffin.errors import InvalidImageError, NotFoundError, NotSupportedError, RegistryError, UsageError
from tiffin.images.codecs import packer
from tiffin.images.host import is_host_id
from tiffin.images.lineage.bases import annotations_of_base
from tiffin.images.reference import DEFAULT_TAG, parse_reference
from tiffin.images.transfer import steps
from tiffin.images.transfer.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    MANIFESTS,
    OCI_CONFIG,
    OCI_MANIFEST,
    digest_of,
    parse_manifest,
)
from tiffin.images.transfer.packing import MEDIA_TYPES, Packed, kind_of
from tiffin.images.transfer.sources import CHUNK_BYTES, Sources, Told
from tiffin.images.transfer.steps import Teller
from tiffin.model.record import Record
from tiffin.registry.names import split_name
from tiffin.state import blobs
from tiffin.state import images as records
from tiffin.state.blobs import Blob, Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, TypeVar

    from tiffin.images.codecs import Readable
    from tiffin.images.reference import Reference
    from tiffin.images.store import ImageStore
    from tiffin.images.transfer.sources import Source
    from tiffin.images.transfer.steps import Step
    from tiffin.model.image import Image
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository

    Input = TypeVar("Input")
    Output = TypeVar("Output")

AT_ONCE = 3
DEFAULT_COMPRESSION = "gzip"


class Pushed(Record):
    """What a push made of a name: the manifest's digest and size in bytes, and whether it is the one that came."""

    name: str
    image_id: str
    digest: str
    size_bytes: int
    same_manifest: bool


def push(
    store: ImageStore,
    registries: Registries,
    name: str,
    *,
    all_tags: bool = False,
    compression: str | None = None,
    force_compression: bool = False,
    progress: Callable[[Step], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Pushed]:
    """Give the image `name` (or all tags of a repository) to the registry that its name begins with.

    Layers that have to be packed become `compression` (gzip or zstd); with `force_compression` so do all others. Layers
    that the registry has are not sent. `warn` hears why an image that came from a registry gets another manifest.
    Raises UsageError, NotFoundError, RegistryError, NotSupportedError, StoreError.
    """
    if compression not in (None, "gzip", "zstd"):
        raise NotSupportedError(f"layer compression {compression!r} is not known", hint="use gzip or zstd")
    reference = parse_reference(name)
    if reference.digest:
        raise UsageError("cannot push a digest reference", hint="name a tag; the digest is the registry's to tell")
    target = split_name(reference.name)
    if target is None:
        raise UsageError(
            f"cannot push {name!r}: the name says no registry",
            hint=f"`tiffin tag {name} REGISTRY/{reference.name}`, then push that",
        )
    if all_tags and reference.tag:
        raise UsageError("tag can't be used with --all-tags/-a", hint="name the repository alone")
    teller = Teller(progress)
    if all_tags:
        names = records.names_of_repository(store.database, reference.name)
        if not names:
            raise NotFoundError(f"an image does not exist locally with the name {reference.name}")
        references = [parse_reference(each) for each in names]
    else:
        if not reference.tag:
            teller.say(f"Using default tag: {DEFAULT_TAG}")
            reference = reference.replace(tag=DEFAULT_TAG)
        references = [reference]
    teller.say(f"The push refers to repository [{target}]")
    with store.adding():  # so that no prune takes a layer away while it is being read
        pusher = _Pusher(store, registries, target, teller, compression, force_compression, warn)
        return [pusher.push(each) for each in references]


class _Pusher:
    def __init__(
        self,
        store: ImageStore,
        registries: Registries,
        target: Repository,
        teller: Teller,
        compression: str | None,
        force: bool,
        warn: Callable[[str], None] | None,
    ) -> None:
        self._store = store
        self._registries = registries
        self._target = target
        self._teller = teller
        self._compression = compression
        self._force = force and compression is not None
        self._warn = warn or (lambda _: None)
        self._stopped = threading.Event()
        self._sources = Sources(store, registries, target, teller, self._stopped.is_set)

    def push(self, reference: Reference) -> Pushed:
        """One name."""
        try:
            image = self._store.get(reference.key)
        except NotFoundError:
            raise NotFoundError(
                f"an image does not exist locally with the tag: {reference.key}",
                hint="`tiffin images` lists what is here",
            ) from None
        if is_host_id(image.id):
            raise UsageError("the image 'host' cannot be pushed: it has no layers, it is the host itself")
        for diff_id in reversed(image.layers):
            self._teller.say(steps.PREPARING, steps.short(diff_id))
        sent = self._as_it_came(image)
        same = sent is not None
        if sent is None:
            sent = self._anew(image)
        manifest, layers = sent
        self._upload_config(image)
        found = self._registries.put_manifest(self._target, reference.tag, manifest.media_type, manifest.body)
        if found != manifest.digest:
            raise RegistryError(f"{self._target.host} has stored the manifest {manifest.digest} as {found}")
        self._record(image, reference, manifest, layers)
        self._teller.say(f"digest: {manifest.digest} size: {len(manifest.body)}", reference.tag)
        self._store.tell("push", image, reference.key)
        return Pushed(
            name=reference.key,
            image_id=image.id,
            digest=manifest.digest,
            size_bytes=len(manifest.body),
            same_manifest=same,
        )

    def _as_it_came(self, image: Image) -> tuple[Manifest, list[Blob]] | None:
        """Bring the layers of a manifest that the image has already; None when there is none that can be had whole."""
        missing = ""
        for manifest in blobs.manifests_of(self._store.database, image.id):
            layers = self._layers_of(manifest, image)
            if layers is None or (
                self._force and any(kind_of(each.media_type) != self._compression for each in layers)
            ):
                continue
            ways = self._each(self._sources.of, layers)
            lost = [layer for layer, way in zip(layers, ways, strict=True) if not way]
            if not lost:
                done = self._each(self._provide, list(zip(layers, ways, strict=True)))
                lost = [layer for layer, provided in zip(layers, done, strict=True) if not provided]
            if not lost:
                return manifest, layers
            missing = missing or (
                f"the manifest {manifest.digest} cannot be kept: layer {lost[0].digest} is neither at"
                f" {self._target.host} nor where it was seen, and is not kept packed; the image gets a new manifest"
            )
        if missing:
            self._warn(missing)
        return None

    def _layers_of(self, manifest: Manifest, image: Image) -> list[Blob] | None:
        """The blobs of a manifest, if it is this image's."""
        if manifest.media_type not in MANIFESTS:
            return None
        try:
            parsed = parse_manifest(manifest.body, manifest.media_type, manifest.digest)
        except InvalidImageError:
            return None
        if parsed.config.digest != image.id or len(parsed.layers) != len(image.layers):
            return None
        found = []
        for layer, diff_id in zip(parsed.layers, image.layers, strict=True):
            known = blobs.blob(self._store.database, layer.digest)
            found.append(
                known
                if known is not None and known.diff_id == diff_id
                else Blob(digest=layer.digest, diff_id=diff_id, media_type=layer.media_type, size_bytes=layer.size)
            )
        return found

    def _anew(self, image: Image) -> tuple[Manifest, list[Blob]]:
        """A new manifest, of blobs that exist or can be made again where there are such, else of new ones."""
        docker = self._is_dockers(image)
        layers = dict(
            zip(
                dict.fromkeys(image.layers),
                self._each(lambda diff_id: self._layer(diff_id, docker), list(dict.fromkeys(image.layers))),
                strict=True,
            )
        )
        ordered = [layers[diff_id] for diff_id in image.layers]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
                "digest": image.id,
                "size": len(image.raw_config),
            },
            "layers": [
                {
                    "mediaType": DOCKER_LAYER if docker else MEDIA_TYPES[kind_of(layer.media_type)],
                    "digest": layer.digest,
                    "size": layer.size_bytes,
                }
                for layer in ordered
            ],
        }
        annotations = annotations_of_base(blobs.base_of(self._store.database, image.id))
        if annotations and not docker:
            document["annotations"] = annotations
        body = json.dumps(document, separators=(",", ":")).encode()
        return Manifest(digest=digest_of(body), media_type=document["mediaType"], body=body), ordered

    def _is_dockers(self, image: Image) -> bool:
        """Whether to write Docker's kind of manifest: the image came as one, and nothing in it will be zstd."""
        if self._compression == "zstd":
            return False
        came = [each.media_type for each in blobs.manifests_of(self._store.database, image.id)]
        return DOCKER_MANIFEST in came and OCI_MANIFEST not in came

    def _layer(self, diff_id: str, docker: bool) -> Blob:
        """The layer in a form that the registry has now."""
        id = steps.short(diff_id)
        kinds = [self._compression] if self._force else ["gzip"] if docker else list(MEDIA_TYPES)
        for blob in blobs.blobs_of_layer(self._store.database, diff_id):
            if kind_of(blob.media_type) in kinds and self._provide((blob, self._sources.of(blob))):
                return blob
        kind = self._compression or DEFAULT_COMPRESSION
        packed = Packed(
            self._store.layers,
            diff_id,
            kind,
            progress=self._teller.counter(steps.PUSHING, id, self._store.layers.info(diff_id).size_bytes),
        )

        def make() -> AbstractContextManager[Readable]:
            return _Giving(packed, self._stopped.is_set)

        digest = self._registries.upload_blob(self._target, make, digest=None, size=None, chunk_bytes=CHUNK_BYTES)
        self._teller.say(steps.PUSHED, id)
        return Blob(
            digest=digest,
            diff_id=diff_id,
            media_type=MEDIA_TYPES[kind],
            size_bytes=packed.size_bytes,
            packed_by=packer(kind),
        )

    def _provide(self, layer: tuple[Blob, list[Source]]) -> bool:
        blob, sources = layer
        return self._sources.provide(blob, sources, steps.short(blob.diff_id))

    def _upload_config(self, image: Image) -> None:
        raw = image.raw_config
        if self._registries.blob_size(self._target, image.id) is None:
            self._registries.upload_blob(
                self._target, lambda: nullcontext(io.BytesIO(raw)), digest=image.id, size=len(raw)
            )

    def _record(self, image: Image, reference: Reference, manifest: Manifest, layers: Iterable[Blob]) -> None:
        database = self._store.database
        with database.transaction(durable=True):
            if records.image_by_id(database, image.id) is None:
                return  # removed meanwhile, and pushed all the same
            blobs.add_manifest(database, manifest, image.id)
            for blob in layers:
                blobs.add_blob(database, blob, str(self._target))
            records.set_name(database, f"{reference.name}@{manifest.digest}", image.id)

    def _each(self, work: Callable[[Input], Output], items: Sequence[Input]) -> list[Output]:
        """`work` on all items, `AT_ONCE` at a time; the first error stops the others."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(AT_ONCE, "tiffin-push") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class _Giving:
    """A layer being packed, as an upload wants it."""

    def __init__(self, packed: Packed, stopped: Callable[[], bool]) -> None:
        self._packed = packed
        self._stopped = stopped

    def __enter__(self) -> Readable:
        return Told(self._packed.__enter__(), None, self._stopped)

    def __exit__(self, *_: object) -> None:
        self._packed.__exit__()
