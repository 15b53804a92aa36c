"""Where signatures and layers of an image are had from again: its registry, a lookaside store, blobs that were kept."""

from __future__ import annotations

import contextlib
import os

from tiffin.errors import NotFoundError, RegistryError, UsageError
from tiffin.images.trust.check import Identity, check
from tiffin.images.trust.policy import load_policy
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tiffin.images.codecs import Readable
    from tiffin.images.store import ImageStore
    from tiffin.images.trust.verify import OpenBlob
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Blob

_MAX_SIGNATURES = 64
_MAX_PAYLOAD_BYTES = 4 << 20


class RegistrySignatures:
    """The signatures of manifests in a repository. Reads fail as the registry does: RegistryError."""

    def __init__(self, registries: Registries, repository: Repository) -> None:
        self._registries = registries
        self._repository = repository

    def simple(self, digest: str) -> list[bytes]:
        from tiffin.images.trust.lookaside import lookaside_of
        from tiffin.images.trust.simple import Lookaside

        base = lookaside_of(str(self._repository))
        return Lookaside(base, _fetch).signatures(self._repository.path, digest)

    def attached(self, digest: str) -> list[tuple[bytes, bytes]]:
        import base64
        import binascii
        import json

        from tiffin.images.trust import cosign

        try:
            reply = self._registries.manifest(self._repository, cosign.tag_of(digest))
        except NotFoundError:
            return []
        try:
            layers = json.loads(reply.body)["layers"]
            listed = [
                (layer["digest"], layer["size"], layer["annotations"][cosign.SIGNATURE])
                for layer in layers
                if layer["mediaType"] == cosign.PAYLOAD
            ]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RegistryError(
                f"the signatures of {digest} at {self._repository} are not as they should be: {error!r}"
            ) from error
        found = []
        for payload_digest, size, signature in listed[:_MAX_SIGNATURES]:
            if not isinstance(size, int) or not 0 <= size <= _MAX_PAYLOAD_BYTES:
                continue
            try:
                made = base64.b64decode(signature, validate=True)
            except (binascii.Error, TypeError, ValueError):
                continue
            with self._registries.open_blob(self._repository, payload_digest, size) as stream:
                payload = b""
                while data := stream.read(size + 1 - len(payload)):
                    payload += data
            found.append((payload, made))
        return found


class NoSignatures:
    """What archives and directories have."""

    def simple(self, digest: str) -> list[bytes]:
        return []

    def attached(self, digest: str) -> list[tuple[bytes, bytes]]:
        return []


def accept_pulled(
    registries: Registries, repository: Repository, tag: str, digest: str, manifests: Sequence[str]
) -> None:
    """Refuse an image of a registry that the policy does not accept: InvalidImageError.

    `tag` or `digest` is what was asked for, `manifests` are the digests of the image's manifest and of the index
    that named it. Call it before anything of the manifest is used.
    """
    policy = load_policy()
    if policy is not None:
        image = Identity(transport="docker", name=str(repository), tag=tag, digest=digest)
        check(policy, image, manifests, RegistrySignatures(registries, repository))


def accept_file(transport: str, path: str) -> None:
    """The same for an archive or directory, none of which has signatures; `path` is empty for a stream."""
    policy = load_policy()
    if policy is not None:
        image = Identity(transport=transport, path=os.path.realpath(path) if path else "")
        check(policy, image, [""], NoSignatures())


def _fetch(address: str) -> bytes | None:
    """A small file of a web server; None when it has no such file."""
    from tiffin._version import __version__
    from tiffin.registry.transport import Patience, Transport, Trust

    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{address!r} is no address of signatures: it begins with neither http:// nor https://")
    transport = Transport(user_agent=f"tiffin/{__version__}", patience=Patience())
    try:
        reply = transport.send("GET", address, headers={}, trust=Trust())
        data = reply.read(_MAX_PAYLOAD_BYTES)
    finally:
        transport.close()
    if reply.status == 404:
        return None
    if reply.status != 200:
        raise RegistryError(f"cannot read the signature {address!r}: the server answers {reply.status}")
    return bytes(data)


def _open(path: str) -> AbstractContextManager[Readable]:
    return open(path, "rb", buffering=0)


@contextlib.contextmanager
def repairing(store: ImageStore, warn: Callable[[str], None]) -> Iterator[OpenBlob]:
    """What opens packed layers, from kept blobs first, then from where they were seen."""
    from functools import partial

    from tiffin.registry.client import Registries
    from tiffin.registry.names import split_name

    with Registries(warn=warn) as registries:

        def places(blob: Blob) -> Iterator[tuple[str, Callable[[], AbstractContextManager[Readable]]]]:
            kept = f"{store.paths.root}/blobs/{blob.digest.replace(':', '/')}"
            if os.path.exists(kept):
                yield kept, partial(_open, kept)
            for name in blobs.places_of_blob(store.database, blob.digest):
                if repository := split_name(name):
                    yield name, partial(registries.open_blob, repository, blob.digest, blob.size_bytes)

        yield places
