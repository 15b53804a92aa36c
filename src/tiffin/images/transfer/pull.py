"""`tiffin pull`: an image from a registry into the store; each layer is fetched, verified and unpacked in one pass."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, NotFoundError, UsageError
from tiffin.images.archive import known_layer
from tiffin.images.candidate import check_layer_count
from tiffin.images.config import DOCUMENT_LIMIT, parse_config
from tiffin.images.lineage.bases import base_of_annotations
from tiffin.images.platform import parse_platform, rank
from tiffin.images.reference import DEFAULT_TAG, check_not_reserved, parse_reference
from tiffin.images.transfer import steps
from tiffin.images.transfer.documents import (
    INDEXES,
    MAX_DEPTH,
    Descriptor,
    check_body,
    check_image,
    choose_platform,
    parse_index,
    parse_manifest,
)
from tiffin.images.transfer.fetch import READ_BYTES, Fetcher
from tiffin.images.transfer.steps import Teller
from tiffin.images.trust.sources import accept_pulled
from tiffin.model.record import Record
from tiffin.state import blobs
from tiffin.state import images as records
from tiffin.state.blobs import Blob, Manifest
from tiffin.storage import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from tiffin.images.config import ParsedConfig
    from tiffin.images.platform import Platform
    from tiffin.images.reference import Reference
    from tiffin.images.store import ImageStore
    from tiffin.images.transfer.documents import ImageManifest
    from tiffin.images.transfer.fetch import Fetched
    from tiffin.images.transfer.steps import Step
    from tiffin.model.image import Image
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository

    Answer = TypeVar("Answer")

SYNC_BYTES = 8 << 20


class Found(Record):
    """What a reference led to: `documents` are the manifest and the indexes on the way to it, the top one last."""

    repository: Repository
    manifest: ImageManifest
    documents: tuple[Manifest, ...]


def pull(
    store: ImageStore,
    registries: Registries,
    name: str,
    *,
    platform: str | None = None,
    all_tags: bool = False,
    keep_blobs: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> list[Image]:
    """Get the image that `name` means (or all tags of a repository), for `platform` ("os/arch[/variant]", default the
    host's).

    `keep_blobs` keeps the packed layers too, so that the image can be pushed with its digest when its registry is gone.
    The policy is asked before anything that a manifest names is fetched. Finished layers outlive a pull that is cut
    short. Raises UsageError, NotFoundError, RegistryError, InvalidImageError,
    NotSupportedError, StoreError.
    """
    reference = parse_reference(name)
    check_not_reserved(reference)
    wanted = parse_platform(platform) if platform else None
    if all_tags and (reference.tag or reference.digest):
        raise UsageError("tag can't be used with --all-tags/-a", hint="name the repository alone")
    puller = _Puller(store, registries, wanted, Teller(progress), keep_blobs)
    repositories = registries.settings.candidates(reference.name)
    if all_tags:
        repository, tags = _first(repositories, registries.tags)
        references = [reference.replace(tag=tag) for tag in tags]
        if not references:
            raise NotFoundError(f"the repository {repository} has no tags")
        return [puller.pull(item, [repository]) for item in references]
    if not reference.tag and not reference.digest:
        puller.teller.say(f"Using default tag: {DEFAULT_TAG}")
        reference = reference.replace(tag=DEFAULT_TAG)
    return [puller.pull(reference, repositories)]


def _first(repositories: list[Repository], ask: Callable[[Repository], Answer]) -> tuple[Repository, Answer]:
    """The first of the repositories that has it, with its answer; the error of the last one when none has."""
    for repository in repositories[:-1]:
        try:
            return repository, ask(repository)
        except NotFoundError:
            continue
    return repositories[-1], ask(repositories[-1])


class _Puller:
    def __init__(
        self,
        store: ImageStore,
        registries: Registries,
        wanted: Platform | None,
        teller: Teller,
        keep_blobs: bool,
    ) -> None:
        self._store = store
        self._registries = registries
        self._wanted = wanted
        self._keep_blobs = keep_blobs
        self.teller = teller

    def pull(self, reference: Reference, repositories: list[Repository]) -> Image:
        """One reference, from the first of the repositories that has it."""
        key = reference.key
        short = reference.digest or reference.tag
        repository, digest = _first(repositories, lambda each: self._digest(each, reference))
        self.teller.say(f"Pulling from {repository.path}", short)
        pinned = f"{reference.name}@{digest}"
        before = self._before(key, pinned)
        if before is not None and not self._keep_blobs and _fits(before, self._wanted):
            known = [each.digest for each in blobs.manifests_of(self._store.database, before.id)]
            accept_pulled(self._registries, repository, reference.tag, reference.digest, [digest, *known])
            image = before
        else:
            found = self._find(repository, digest)
            seen = [document.digest for document in found.documents]
            accept_pulled(self._registries, repository, reference.tag, reference.digest, seen)
            image = self._get(found, dict.fromkeys((key, pinned)))
        self.teller.say(f"Digest: {digest}")
        same = before is not None and before.id == image.id
        status = "Image is up to date" if same else "Downloaded newer image"
        self.teller.say(f"Status: {status} for {reference}")
        self._store.tell("pull", image, key)
        return image

    def _digest(self, repository: Repository, reference: Reference) -> str:
        return reference.digest or self._registries.resolve(repository, reference.tag).digest

    def _before(self, key: str, pinned: str) -> Image | None:
        """The image that the name stands for already, if what the registry has under it was that image's."""
        database = self._store.database
        image_id = records.id_of_name(database, pinned)
        if image_id is None or image_id != records.id_of_name(database, key):
            return None
        return records.image_by_id(database, image_id)

    def _find(self, repository: Repository, digest: str) -> Found:
        """Follow indexes down to one manifest."""
        documents: list[Manifest] = []
        pointer: Descriptor | None = None
        for _ in range(MAX_DEPTH + 1):
            reply = self._registries.manifest(repository, digest)
            if pointer is not None:
                check_body(reply.body, pointer, "index" if pointer.is_index else "manifest")
                if reply.media_type != pointer.media_type:
                    raise InvalidImageError(
                        f"{digest} was announced as {pointer.media_type!r} but came as {reply.media_type!r}"
                    )
            documents.insert(0, Manifest(digest=digest, media_type=reply.media_type, body=reply.body))
            if reply.media_type not in INDEXES:
                manifest = parse_manifest(reply.body, reply.media_type, digest)
                check_image(manifest, digest)
                return Found(repository=repository, manifest=manifest, documents=tuple(documents))
            index = parse_index(reply.body, reply.media_type, digest)
            pointer = choose_platform(index.images, self._wanted, f"index {digest}")
            digest = pointer.digest
            if any(document.digest == digest for document in documents):
                raise InvalidImageError(f"index {digest} contains itself")
        raise InvalidImageError(f"index {documents[-1].digest} is nested more than {MAX_DEPTH} deep")

    def _get(self, found: Found, names: Iterable[str]) -> Image:
        from tiffin.images.unfinished import Changing, finish

        changing = Changing(self._store)
        try:
            with changing:
                try:
                    return self._fetch_and_add(found, names)
                except BaseException:
                    changing.leave()  # what no record knows is litter
                    raise
        except BaseException:
            finish(self._store)
            raise

    def _fetch_and_add(self, found: Found, names: Iterable[str]) -> Image:
        manifest, database = found.manifest, self._store.database
        config = self._config(found)
        check_layer_count(config, len(manifest.layers))
        if self._wanted and rank(config.platform, self._wanted) is None:
            raise NotFoundError(
                f"manifest {found.documents[0].digest} has no image for {self._wanted}, it is for {config.platform}"
            )
        pairs = list(zip(manifest.layers, config.diff_ids, strict=True))
        sizes, verified = self._layers(found.repository, pairs)
        packed = []
        for blob, diff_id in dict.fromkeys(pairs):
            known = blobs.blob(database, blob.digest)
            # That a blob unpacks to this layer is known when it did, and believed when nothing says otherwise.
            if blob.digest in verified or known is None or known.diff_id == diff_id:
                packed.append((_blob(blob, diff_id), str(found.repository)))
        return self._store.add(
            config,
            [(diff_id, sizes[diff_id]) for diff_id in config.diff_ids],
            names,
            manifests=found.documents,
            packed=packed,
            base=base_of_annotations(dict(manifest.annotations), config.diff_ids, database),
        )

    def _config(self, found: Found) -> ParsedConfig:
        blob = found.manifest.config
        if blob.size > DOCUMENT_LIMIT:
            raise InvalidImageError(f"config {blob.digest} has {blob.size} bytes; the limit is {DOCUMENT_LIMIT}")
        here = records.image_by_id(self._store.database, blob.digest)
        if here is not None:
            return parse_config(here.raw_config, f"config {blob.digest}")
        parts = []
        with self._registries.open_blob(found.repository, blob.digest, blob.size) as body:
            left = blob.size + 1
            while left and (data := body.read(min(left, READ_BYTES))):
                parts.append(data)
                left -= len(data)
        raw = b"".join(parts)
        if len(raw) > blob.size:
            raise InvalidImageError(f"config {blob.digest} is larger than the {blob.size} bytes that were declared")
        check_body(raw, blob, "config")
        return parse_config(raw, f"config {blob.digest}")

    def _layers(self, repository: Repository, pairs: list[tuple[Descriptor, str]]) -> tuple[dict[str, int], set[str]]:
        """Have all layers in the store: the size of each one's tar by diff_id, and the blobs that were unpacked."""
        sizes: dict[str, int] = {}
        verified: set[str] = set()
        wanted: list[tuple[Descriptor, str]] = []
        for blob, diff_id in pairs:
            id = steps.short(blob.digest)
            known = known_layer(self._store, diff_id)
            if known is None:
                self.teller.say(steps.PULLING, id)
                if all(diff_id != other for _, other in wanted):
                    wanted.append((blob, diff_id))
            else:
                sizes[diff_id] = known[1]
                self.teller.say(steps.HERE_ALREADY, id)
                if self._keep_blobs and not kept.is_kept(self._store.paths, blob.digest):
                    wanted.append((blob, diff_id))
        waiting = _Waiting(self._store)
        fetcher = Fetcher(self._store, self._registries, repository, self.teller, keep_blobs=self._keep_blobs)

        def finished(layer: Fetched, left: int) -> None:
            sizes[layer.diff_id] = layer.size_bytes
            if layer.verified:
                verified.add(layer.blob.digest)
            waiting.add(layer, left)

        try:
            fetcher.run(wanted, finished, waiting.keep)
        except BaseException:
            for layer in fetcher.finished_meanwhile():
                waiting.add(layer, 0)
            waiting.keep()
            raise
        return sizes, verified


class _Waiting:
    """Layers that the next pull would find: each is recorded once it would survive a power cut.

    A sync costs more the more often it happens, so small layers wait for each other a little.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._layers: list[Fetched] = []
        self._bytes = 0

    def add(self, layer: Fetched, left: int) -> None:
        self._layers.append(layer)
        self._bytes += layer.blob.size
        # The last one is synced with the image.
        if left and self._bytes >= SYNC_BYTES:
            self.keep()

    def keep(self) -> None:
        if self._layers:
            self._store.layers.objects.syncfs()
            for layer in self._layers:
                blob = _blob(layer.blob, layer.diff_id) if layer.verified else None
                blobs.keep_waiting(self._store.database, layer.diff_id, blob)
        self._layers, self._bytes = [], 0


def _blob(blob: Descriptor, diff_id: str) -> Blob:
    return Blob(digest=blob.digest, diff_id=diff_id, media_type=blob.media_type, size_bytes=blob.size)


def _fits(image: Image, wanted: Platform | None) -> bool:
    from tiffin.images.platform import Platform, host_platform

    platform = Platform(os=image.os, architecture=image.architecture, variant=image.variant)
    return rank(platform, wanted or host_platform()) is not None
