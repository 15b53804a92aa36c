"""Layers: tar streams whose contents are objects, kept so that the exact stream can be written out again."""

from __future__ import annotations

import os

from tiffin.errors import NotFoundError, StoreError, os_error
from tiffin.model.record import Record
from tiffin.storage.limits import DEFAULT_LIMITS, Limits
from tiffin.storage.objects import NEW_PREFIX, SMALL_BYTES, UnnamedFile, make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import BinaryIO

    from tiffin.storage.entry import Entry
    from tiffin.storage.layerfile import LayerFile
    from tiffin.storage.objects import ObjectStore


class IngestedLayer(Record):
    """`size_bytes` is the tar stream's size, `file_bytes` the sum of its regular files' sizes."""

    diff_id: str
    size_bytes: int
    file_bytes: int


class LayerStore:
    """One file per layer in `directory`, named by the hex digits of its diff_id. Safe from threads and processes."""

    def __init__(self, directory: str, objects: ObjectStore) -> None:
        self.directory = directory
        self.objects = objects

    def path(self, diff_id: str) -> str:
        return f"{self.directory}/{diff_id.removeprefix('sha256:')}"

    def ingest(
        self,
        stream: BinaryIO,
        *,
        limits: Limits = DEFAULT_LIMITS,
        expected_diff_id: str | None = None,
        compressed_size: int | None = None,
        replace: bool = False,
    ) -> IngestedLayer:
        """Read an uncompressed tar to its end and keep it; only `stream.read(n)` is used.

        `compressed_size` (bytes) is what the stream was expanded from, for the limit on the ratio. The layer appears
        when all of it is stored, with `replace` also in the place of one that is there already; call
        `objects.syncfs()` before relying on it after a power cut. Hold `store_lock` until something refers to it.
        Raises `InvalidImageError` (hostile or damaged archive, wrong digest, a limit), `StoreError` (full disk,
        read-only store).
        """
        from tiffin.storage.ingest import Ingest

        try:
            make_directory(self.directory)
            new = UnnamedFile(self.directory)
        except OSError as error:
            raise os_error(error, "cannot store the layer") from error
        try:
            return Ingest(self, new, limits, compressed_size).run(stream, expected_diff_id, replace)
        except OSError as error:
            raise os_error(error, "cannot store the layer") from error
        finally:
            new.close()

    def has(self, diff_id: str) -> bool:
        """Whether the layer is here, whole as far as its index tells."""
        try:
            with self._open(diff_id):
                return True
        except (NotFoundError, StoreError):
            return False

    def __iter__(self) -> Iterator[str]:
        """diff_ids of all layers, in no order."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        for name in names:
            if not name.startswith(NEW_PREFIX):
                yield f"sha256:{name}"

    def _open(self, diff_id: str) -> LayerFile:
        from tiffin.storage.layerfile import LayerFile

        try:
            layer = LayerFile(self.path(diff_id), diff_id)
        except FileNotFoundError:
            raise NotFoundError(f"layer {diff_id} is not in the store") from None
        except OSError as error:
            raise os_error(error, f"cannot read layer {diff_id}") from error
        return layer

    def info(self, diff_id: str) -> IngestedLayer:
        """Sizes of a stored layer. Raises `NotFoundError`, `StoreError`."""
        with self._open(diff_id) as layer:
            return IngestedLayer(diff_id=layer.diff_id, size_bytes=layer.tar_bytes, file_bytes=layer.file_bytes)

    def entries(self, diff_id: str) -> list[Entry]:
        """The layer's entries in the order of its tar. Raises `NotFoundError`, `StoreError`."""
        with self._open(diff_id) as layer:
            return list(layer.entries())

    def objects_of(self, diff_id: str) -> list[str]:
        """SHA-256 (hex) of every object that the layer needs, each once. Raises `NotFoundError`, `StoreError`."""
        with self._open(diff_id) as layer:
            return layer.objects()

    def size_on_disk(self, diff_id: str) -> int:
        """Bytes of disk that the layer's own file takes, without its objects."""
        try:
            return os.stat(self.path(diff_id)).st_blocks * 512
        except FileNotFoundError:
            raise NotFoundError(f"layer {diff_id} is not in the store") from None

    def remove(self, diff_id: str) -> None:
        """Forget a layer; its objects stay until they are collected."""
        try:
            os.unlink(self.path(diff_id))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise os_error(error, f"cannot remove layer {diff_id}") from error

    def write_tar(self, diff_id: str, out: BinaryIO) -> int:
        """Write the layer's exact tar stream to `out` (only `write` is used); returns its size in bytes.

        The digest is verified while writing: damage raises `StoreError`, after `out` got most of the stream.
        """
        size = 0
        for chunk in self.tar_chunks(diff_id):
            out.write(chunk)
            size += len(chunk)
        return size

    def tar_chunks(self, diff_id: str) -> Generator[bytes]:
        """The layer's exact tar stream in pieces of some MiB at most; damage raises `StoreError` at its end."""
        from tiffin.storage.streamhash import StreamHash

        hasher = StreamHash()
        try:
            with self._open(diff_id) as layer:
                for chunk in self._chunks(layer):
                    hasher.update(chunk)
                    yield chunk
                if hasher.digest().hex() != diff_id.removeprefix("sha256:"):
                    raise layer.damaged("what it holds does not match its digest")
        finally:
            hasher.close()

    def _chunks(self, layer: LayerFile) -> Iterator[bytes]:
        """The stream in pieces of at most 1 MiB; small pieces are joined."""
        names = layer.objects()
        literals = layer.literals()
        have = b""
        at = 0
        batch: list[bytes] = []
        batched = 0
        fd = -1
        opened = -1
        try:
            for before, length, offset, number in layer.payloads():
                while before:
                    if at == len(have):
                        have, at = next(literals, b""), 0
                        if not have:
                            raise layer.damaged("its headers end too early")
                    step = min(before, len(have) - at)
                    batch.append(have[at : at + step])
                    batched += step
                    at += step
                    before -= step
                if number != opened:
                    if fd >= 0:
                        os.close(fd)
                        fd = -1
                    fd = self.objects.open(names[number])
                    opened = number
                while length:
                    data = os.pread(fd, min(length, SMALL_BYTES), offset)
                    if not data:
                        raise layer.damaged(f"object {names[number]} is too short")
                    batch.append(data)
                    batched += len(data)
                    offset += len(data)
                    length -= len(data)
                    if batched >= SMALL_BYTES:
                        yield b"".join(batch)
                        batch, batched = [], 0
                if batched >= SMALL_BYTES // 2:
                    yield b"".join(batch)
                    batch, batched = [], 0
            batch.append(have[at:])
            yield b"".join(batch)
            yield from literals
        finally:
            if fd >= 0:
                os.close(fd)
