"""`tiffin image copy`: images from one place to another as they are, neither unpacked nor stored in between."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from tiffin.errors import InvalidImageError, NotFoundError, UsageError, os_error
from tiffin.images.codecs import Verified
from tiffin.images.config import parse_object
from tiffin.images.platform import Platform, parse_platform, rank
from tiffin.images.transfer import steps
from tiffin.images.transfer.convert import FORMATS, convert
from tiffin.images.transfer.documents import (
    CONFIGS,
    INDEXES,
    MANIFESTS,
    MAX_DEPTH,
    MAX_DESCRIPTORS,
    Descriptor,
    check_image,
    check_layer_type,
    choose_platform,
    parse_index,
    parse_manifest,
    unknown_type,
)
from tiffin.images.transfer.sources import Told
from tiffin.images.transfer.steps import Teller
from tiffin.images.transfer.transports import (
    DOCKER,
    DOCKER_ARCHIVE,
    open_destination,
    open_source,
    parse_location,
)
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiffin.images.codecs import Readable
    from tiffin.images.transfer.docker_archives import DockerArchive
    from tiffin.images.transfer.documents import ImageManifest
    from tiffin.images.transfer.steps import Step
    from tiffin.images.transfer.transports import Destination, Location, Source
    from tiffin.registry.client import Registries
    from tiffin.state.blobs import Manifest


class Copied(Record):
    """What a copy left: the digest of the manifest or index, and how many bytes that has."""

    digest: str
    media_type: str
    size_bytes: int


class Plan(Record):
    """What to copy: manifests and indexes, each after what it lists, and the manifests' contents."""

    documents: tuple[Manifest, ...]
    manifests: tuple[ImageManifest, ...]

    @property
    def blobs(self) -> list[Descriptor]:
        """Every blob once, configs first."""
        found: dict[str, Descriptor] = {}
        for manifest in self.manifests:
            found.setdefault(manifest.config.digest, manifest.config)
        for manifest in self.manifests:
            for layer in manifest.layers:
                found.setdefault(layer.digest, layer)
        return list(found.values())


def copy(
    registries: Registries,
    source: str,
    destination: str,
    *,
    all: bool = False,
    platform: str | None = None,
    format: str | None = None,
    preserve_digests: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Copied:
    """Copy an image between places such as "docker://host/name:tag" and "oci:DIRECTORY:tag".

    Of an image for several platforms the one for `platform` ("os/arch[/variant]", default the host's) is copied, or
    with `all` everything. `format` ("oci", "v2s2") converts manifests; they stay byte for byte without, which
    `preserve_digests` insists on. The policy is asked before anything that a manifest names is fetched. Raises
    UsageError, NotFoundError, InvalidImageError, NotSupportedError, ConflictError, RegistryError, StoreError.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"there is no manifest format {format!r}", hint=f"use one of {', '.join(FORMATS)}")
    if all and platform:
        raise UsageError("--all means every platform: it does not go with --platform")
    wanted = parse_platform(platform) if platform else None
    begin, end = parse_location(source), parse_location(destination)
    if end.transport == DOCKER_ARCHIVE and (format or preserve_digests):
        name = "--format" if format else "--preserve-digests"
        raise UsageError(f"{name} makes no sense for {destination!r}: an archive of `docker save` has no manifests")
    teller = Teller(progress)
    opened = open_source(begin, registries)
    try:
        return _copy(registries, begin, end, opened, teller, all, wanted, format, preserve_digests)
    except OSError as error:
        raise os_error(error, f"cannot copy to {destination!r}") from error
    finally:
        opened.close()


def _copy(
    registries: Registries,
    begin: Location,
    end: Location,
    source: Source,
    teller: Teller,
    all: bool,
    wanted: Platform | None,
    format: str | None,
    preserve_digests: bool,
) -> Copied:
    plan = plan_copy(source, all, wanted)
    whole = plan.documents[-1]
    if begin.transport == DOCKER_ARCHIVE:
        if preserve_digests:
            raise UsageError("there is no digest to preserve: an archive of `docker save` has no manifests")
        if end.transport == DOCKER:
            return _upload_archive(registries, end, source, plan, teller, format)  # type: ignore[arg-type]
    if end.transport == DOCKER_ARCHIVE:
        from tiffin.images.transfer.docker_archives import refuse_several, write_archive

        if len(plan.documents) > 1:
            raise refuse_several(end)
        check_image(plan.manifests[0], whole.digest)
        write_archive(end, source, plan.manifests[0], teller)
        return _copied(whole)
    converted: dict[str, Manifest] = {}
    for document in plan.documents:
        converted[document.digest] = convert(document, format, converted) if format else document
    documents = [converted[document.digest] for document in plan.documents]
    if preserve_digests and documents[-1].digest != whole.digest:
        raise UsageError(f"the digest {whole.digest} cannot be preserved: --format makes it {documents[-1].digest}")
    if end.digest and end.digest != documents[-1].digest:
        raise UsageError(f"what would be stored as {end} has the digest {documents[-1].digest}", hint="name a tag")
    with open_destination(end, registries) as destination:
        copy_blobs(source, destination, plan.blobs, teller, registries)
        for document in documents[:-1]:
            destination.put_manifest(document)
        destination.finish(documents[-1])
    return _copied(documents[-1])


def _upload_archive(
    registries: Registries, end: Location, source: DockerArchive, plan: Plan, teller: Teller, format: str | None
) -> Copied:
    """Registries get gzip where an archive of `docker save` has plain tars; Docker's kind of manifest by default."""
    from tiffin.images.transfer.docker_archives import upload_packed

    assert end.repository is not None
    manifest = plan.manifests[0]
    with open_destination(end, registries) as destination:
        copy_blobs(source, destination, [manifest.config], teller, registries)
        made = upload_packed(registries, end.repository, source, manifest, teller, docker=format != "oci")
        destination.finish(made)
    return _copied(made)


def _copied(document: Manifest) -> Copied:
    return Copied(digest=document.digest, media_type=document.media_type, size_bytes=len(document.body))


def plan_copy(source: Source, all: bool, wanted: Platform | None) -> Plan:
    """What of a source to copy, accepted by the policy. Raises NotFoundError, InvalidImageError, NotSupportedError."""
    if all:
        return _Everything(source).plan()
    chain = [source.top()]
    while chain[-1].media_type in INDEXES:
        index = chain[-1]
        if len(chain) > MAX_DEPTH:
            raise InvalidImageError(f"index {chain[0].digest} is nested more than {MAX_DEPTH} deep")
        listed = parse_index(index.body, index.media_type, index.digest)
        pointer = choose_platform(listed.images, wanted, f"index {index.digest}")
        if any(pointer.digest == document.digest for document in chain):
            raise InvalidImageError(f"index {pointer.digest} contains itself")
        chain.append(source.document(pointer))
    source.accept([document.digest for document in reversed(chain)])
    manifest = checked_manifest(chain[-1])
    if wanted and len(chain) == 1:
        _check_platform(source, manifest, chain[0].digest, wanted)
    return Plan(documents=(chain[-1],), manifests=(manifest,))


class _Everything:
    """An index and all that it lists, signatures and attestations included."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._documents: dict[str, Manifest] = {}
        self._manifests: list[ImageManifest] = []
        self._listed = 0

    def plan(self) -> Plan:
        self._visit(self._source.top(), ())
        return Plan(documents=tuple(self._documents.values()), manifests=tuple(self._manifests))

    def _visit(self, document: Manifest, above: tuple[str, ...]) -> None:
        if document.media_type not in INDEXES:
            self._source.accept([document.digest, *reversed(above)])
            self._manifests.append(checked_manifest(document))
        else:
            if len(above) >= MAX_DEPTH:
                raise InvalidImageError(f"index {above[0]} is nested more than {MAX_DEPTH} deep")
            index = parse_index(document.body, document.media_type, document.digest)
            self._listed += len(index.manifests)
            if self._listed > MAX_DESCRIPTORS:
                raise InvalidImageError(f"the indexes list more than {MAX_DESCRIPTORS} manifests")
            path = (*above, document.digest)
            for pointer in index.manifests:
                if pointer.digest in path:
                    raise InvalidImageError(f"index {pointer.digest} contains itself")
                if pointer.media_type not in (*INDEXES, *MANIFESTS):
                    raise unknown_type(pointer.media_type, pointer.digest)
                if pointer.digest not in self._documents:
                    self._visit(self._source.document(pointer), path)
            if not index.manifests:
                self._source.accept([document.digest, *reversed(above)])
        self._documents[document.digest] = document


def checked_manifest(document: Manifest) -> ImageManifest:
    """A manifest whose blobs can be copied: a container image's, or any artifact's, whatever its layers are."""
    manifest = parse_manifest(document.body, document.media_type, document.digest)
    for layer in manifest.layers:
        if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
            check_layer_type(layer)
    return manifest


def _check_platform(source: Source, manifest: ImageManifest, digest: str, wanted: Platform) -> None:
    if manifest.config.media_type not in CONFIGS:
        return
    found = platform_of(config_of(source, manifest))
    if rank(found, wanted) is None:
        raise NotFoundError(f"manifest {digest} has no image for {wanted}, it is for {found}")


def config_of(source: Source, manifest: ImageManifest) -> dict[str, object]:
    """The config as JSON, verified. Raises InvalidImageError."""
    from tiffin.images.transfer.docker_archives import small_blob

    what = f"config {manifest.config.digest}"
    return parse_object(small_blob(source, manifest.config, "config"), what)


def platform_of(config: dict[str, object]) -> Platform:
    """What a config says that it is for."""
    os, architecture, variant = (config.get(key) for key in ("os", "architecture", "variant"))
    return Platform(
        os=os if isinstance(os, str) and os else "linux",
        architecture=architecture if isinstance(architecture, str) else "",
        variant=variant if isinstance(variant, str) else "",
    )


def copy_blobs(
    source: Source, destination: Destination, blobs: Sequence[Descriptor], teller: Teller, registries: Registries
) -> None:
    """Bring blobs to where they are missing, several at a time; the first error stops the others."""
    copier = _Blobs(source, destination, teller, registries)
    if destination.at_once < 2:
        for blob in blobs:
            copier.copy(blob)
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(destination.at_once, "tiffin-copy") as pool:
        futures = [pool.submit(copier.copy, blob) for blob in blobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done:
                    future.result()
        except BaseException:
            copier.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Blobs:
    def __init__(self, source: Source, destination: Destination, teller: Teller, registries: Registries) -> None:
        self._source = source
        self._destination = destination
        self._teller = teller
        self._registries = registries
        self.stopped = threading.Event()

    def copy(self, blob: Descriptor) -> None:
        id = "" if blob.media_type in CONFIGS else steps.short(blob.digest)
        if self._destination.has(blob):
            self._say(steps.THERE_ALREADY if self._destination.place else steps.HERE_ALREADY, id)
            return
        if self._mounted(blob):
            assert self._source.place is not None
            self._say(f"{steps.MOUNTED} {self._source.place.path}", id)
            return
        kind = "config" if blob.media_type in CONFIGS else "layer"
        counter = self._teller.counter(steps.COPYING, id, blob.size) if id else None

        @contextmanager
        def make() -> Iterator[Readable]:
            with self._source.open(blob) as body:
                told = Told(body, counter, self.stopped.is_set)
                yield Verified(told, f"{kind} {blob.digest}", digest=blob.digest, size=blob.size)

        self._destination.put(blob, make)
        self._say(steps.COPIED, id)

    def _say(self, status: str, id: str) -> None:
        if id:
            self._teller.say(status, id)

    def _mounted(self, blob: Descriptor) -> bool:
        place, origin = self._destination.place, self._source.place
        if place is None or origin is None or place.host != origin.host:
            return False
        return self._registries.mount_blob(place, blob.digest, origin)
