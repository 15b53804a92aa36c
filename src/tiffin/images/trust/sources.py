"""Where signatures and layers of an image are had from again: its registry, a lookaside store, blobs that were kept."""

from __future__ import annotations

import contextlib
import os

from tiffin.errors import NotFoundError, RegistryError
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
        return Lookaside(base, self._registries.fetch).signatures(self._repository.path, digest)

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


@contextlib.contextmanager
def repairing(store: ImageStore, warn: Callable[[str], None]) -> Iterator[OpenBlob]:
    """What opens packed layers, from kept blobs first, then from where they were seen."""
    from tiffin.registry.client import Registries
    from tiffin.registry.names import split_name

    with Registries(warn=warn) as registries:

        def places(blob: Blob) -> Iterator[tuple[str, AbstractContextManager[Readable]]]:
            kept = f"{store.paths.root}/blobs/{blob.digest.replace(':', '/')}"
            if os.path.exists(kept):
                yield kept, open(kept, "rb", buffering=0)
            for name in blobs.places_of_blob(store.database, blob.digest):
                if repository := split_name(name):
                    yield name, registries.open_blob(repository, blob.digest, blob.size_bytes)

        yield places
