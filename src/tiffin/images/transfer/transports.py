"""Where `tiffin image copy` copies from and to: "docker://…", "oci:…" and their kind (containers-transports(5))."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, NotSupportedError, UsageError
from tiffin.images.config import parse_object
from tiffin.images.reference import DEFAULT_TAG, parse_reference
from tiffin.images.transfer.documents import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    check_body,
    digest_of,
)
from tiffin.model.record import Record
from tiffin.registry.names import split_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol, Self

    from tiffin.images.codecs import Readable
    from tiffin.images.transfer.documents import Descriptor
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Manifest

    Open = Callable[[], AbstractContextManager[Readable]]

    class Source(Protocol):
        """What can be copied from. What it gives is verified but for blobs, whose reader does that."""

        place: Repository | None

        def top(self) -> Manifest: ...
        def document(self, pointer: Descriptor) -> Manifest: ...
        def open(self, blob: Descriptor) -> AbstractContextManager[Readable]: ...
        def accept(self, digests: Sequence[str]) -> None: ...
        def close(self) -> None: ...

    class Destination(Protocol):
        """What can be copied to: blobs first, then manifests, that of the whole last; `at_once` blobs at a time.

        Leaving the context without `finish` leaves nothing that could be taken for an image.
        """

        place: Repository | None
        at_once: int

        def __enter__(self) -> Self: ...
        def __exit__(self, *_: object) -> None: ...
        def has(self, blob: Descriptor) -> bool: ...
        def put(self, blob: Descriptor, make: Open) -> None: ...
        def put_manifest(self, document: Manifest) -> None: ...
        def finish(self, document: Manifest) -> None: ...


DOCKER = "docker"
OCI = "oci"
OCI_ARCHIVE = "oci-archive"
DOCKER_ARCHIVE = "docker-archive"
DIR = "dir"
TRANSPORTS = (DOCKER, OCI, OCI_ARCHIVE, DOCKER_ARCHIVE, DIR)
_STORES = ("tiffin", "containers-storage", "docker-daemon")


class Location(Record):
    """One end of a copy. `path` is a file or directory, `reference` what is meant there: a tag, or a digest with @."""

    transport: str
    path: str = ""
    repository: Repository | None = None
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        if self.transport == DOCKER:
            return f"docker://{self.repository}{'@' + self.digest if self.digest else ':' + self.tag}"
        return f"{self.transport}:{self.path}{':' + self.tag if self.tag else ''}"


def parse_location(text: str) -> Location:
    """Parse an end of a copy as users write it. UsageError; NotSupportedError for transports that are not here."""
    transport, colon, rest = text.partition(":")
    if not colon or transport not in TRANSPORTS:
        raise _unknown(text, transport if colon else "")
    if transport == DOCKER:
        return _docker(text, rest)
    path, _, tag = (rest, "", "") if transport == DIR else rest.partition(":")
    if not path:
        raise UsageError(f"{text!r}: it names no {'directory' if transport in (DIR, OCI) else 'file'}")
    if transport == DOCKER_ARCHIVE and tag:
        reference = parse_reference(tag)
        if reference.digest:
            raise UsageError(f"{text!r}: an archive knows names with tags only", hint="leave out the part from '@' on")
        tag = reference.key
    return Location(transport=transport, path=path, tag=tag)


def _docker(text: str, rest: str) -> Location:
    if not rest.startswith("//"):
        raise UsageError(f"{text!r}: it is not written as docker://HOST/NAME[:TAG|@DIGEST]")
    reference = parse_reference(rest[2:])
    repository = split_name(reference.name)
    if repository is None:
        raise UsageError(f"{text!r}: it names no registry", hint=f"write docker://HOST/{rest[2:]}")
    if reference.tag and reference.digest:
        raise UsageError(f"{text!r}: it has both a tag and a digest", hint="leave out one of them")
    tag = "" if reference.digest else reference.tag or DEFAULT_TAG
    return Location(transport=DOCKER, repository=repository, tag=tag, digest=reference.digest)


def _unknown(text: str, transport: str) -> UsageError:
    known = "docker://, oci:, oci-archive:, docker-archive: and dir:"
    if transport in _STORES:
        return NotSupportedError(
            f"{text!r}: stores of images are not copied from or to",
            hint="use `tiffin pull`, `tiffin push`, `tiffin load` or `tiffin save`",
        )
    if transport and "/" not in transport:
        return UsageError(f"the transport {transport!r} of {text!r} is unknown", hint=f"there are {known}")
    return UsageError(f"{text!r} names no transport", hint=f"begin it with one of {known}")


def open_source(location: Location, registries: Registries) -> Source:
    """What a location has. Raises NotFoundError, InvalidImageError, StoreError, RegistryError."""
    if location.transport == DOCKER:
        from tiffin.images.transfer.copy_sources import RegistrySource

        assert location.repository is not None
        return RegistrySource(registries, location.repository, location.tag, location.digest)
    if location.transport == DOCKER_ARCHIVE:
        from tiffin.images.transfer.docker_archives import DockerArchive

        return DockerArchive(location)
    from tiffin.images.transfer.copy_sources import DirSource, LayoutSource

    return DirSource(location) if location.transport == DIR else LayoutSource(location)


def open_destination(location: Location, registries: Registries) -> Destination:
    """What writes to a location, any but a docker-archive. Raises ConflictError, StoreError."""
    from tiffin.images.transfer import copy_destinations as found

    if location.transport == DOCKER:
        assert location.repository is not None
        return found.RegistryDestination(registries, location.repository, location.tag, location.digest)
    if location.transport == OCI_ARCHIVE:
        return found.LayoutArchive(location)
    return found.DirDestination(location) if location.transport == DIR else found.LayoutDestination(location)


def media_type_of(body: bytes, what: str) -> str:
    """What a manifest without an announced type is, by what it says and has in it. Raises InvalidImageError."""
    document = parse_object(body, what)
    said = document.get("mediaType")
    if isinstance(said, str):
        return said
    if "manifests" in document:
        return OCI_INDEX
    config = document.get("config")
    if isinstance(config, dict):
        return DOCKER_MANIFEST if config.get("mediaType") == DOCKER_CONFIG else OCI_MANIFEST
    raise InvalidImageError(f"{what} is neither a manifest nor an index")


def manifest_of(body: bytes, media_type: str, pointer: Descriptor | None = None) -> Manifest:
    """A manifest or index, checked against the descriptor that led to it. Raises InvalidImageError."""
    from tiffin.state.blobs import Manifest

    if pointer is None:
        return Manifest(digest=digest_of(body), media_type=media_type, body=body)
    check_body(body, pointer, "index" if pointer.is_index else "manifest")
    if media_type != pointer.media_type:
        raise InvalidImageError(f"{pointer.digest} was announced as {pointer.media_type!r} but came as {media_type!r}")
    return Manifest(digest=pointer.digest, media_type=media_type, body=body)
