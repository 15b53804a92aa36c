"""Layers as the blobs that registries have: packed anew, or exactly as they were packed before."""

from __future__ import annotations

import hashlib

from tiffin.errors import TiffinError
from tiffin.images.codecs import Compressor, packer
from tiffin.images.transfer.documents import DOCKER_LAYER, OCI_LAYER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from tiffin.images.codecs import Readable
    from tiffin.storage.layers import LayerStore

MEDIA_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER + "+gzip", "zstd": OCI_LAYER + "+zstd"}
PLAIN_DOCKER_LAYER = DOCKER_LAYER.removesuffix(".gzip")


def kind_of(media_type: str) -> str:
    """The compression that a layer's media type speaks of."""
    return "gzip" if media_type.endswith("gzip") else "zstd" if media_type.endswith("zstd") else "none"


def can_repack(packed_by: str) -> bool:
    """Whether the packer of that name is the one that is here."""
    kind = packed_by.partition(" ")[0]
    return kind in MEDIA_TYPES and packer(kind) == packed_by


class WrongDigest(TiffinError):
    """What was made or fetched is not the blob that it should be."""


class Packed:
    """A layer as a compressed stream, made while it is read; a context manager. `size_bytes` counts what came out.

    `progress` gets the bytes of the tar that were read so far.
    """

    def __init__(
        self, layers: LayerStore, diff_id: str, kind: str, progress: Callable[[int], None] | None = None
    ) -> None:
        self._layers = layers
        self._diff_id = diff_id
        self._kind = kind
        self._progress = progress
        self.size_bytes = 0

    def __enter__(self) -> Self:
        self._out = _Collected()
        self._compressor = Compressor(self._kind, self._out)
        self._chunks = self._layers.tar_chunks(self._diff_id)
        self._read = 0
        self._ready = b""
        self._at = 0
        self._ended = False
        self.size_bytes = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.close()

    def read(self, size: int) -> bytes:
        while self._at == len(self._ready) and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._compressor.finish()
                self._ended = True
            else:
                self._compressor.write(chunk)
                self._read += len(chunk)
                if self._progress:
                    self._progress(self._read)
            self._ready, self._at = self._out.take(), 0
        data = self._ready[self._at : self._at + size]
        self._at += len(data)
        self.size_bytes += len(data)
        return data


class Checked:
    """A stream that must be one very blob, else WrongDigest: at its end, or as soon as it is too long.

    What was packed by the same version of the same program is the same nearly always, but the machine may play a part.
    """

    def __init__(self, raw: Readable, digest: str, size: int) -> None:
        self._raw = raw
        self._digest = digest
        self._hash = hashlib.new(digest.partition(":")[0])
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        if data:
            self._hash.update(data)
            self._left -= len(data)
        if self._left < 0 or (size and not data and not self._is_right()):
            raise WrongDigest(f"what was to be the blob {self._digest} is another one")
        return data

    def _is_right(self) -> bool:
        return f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}" == self._digest


class _Collected:
    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
