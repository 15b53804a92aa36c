"""One pass over a tar stream: contents become objects, all else a layer file."""

from __future__ import annotations

from tiffin.errors import InvalidImageError
from tiffin.failpoints import failpoint
from tiffin.storage.entry import REGULAR
from tiffin.storage.layerfile import LayerWriter
from tiffin.storage.layers import IngestedLayer
from tiffin.storage.objects import SMALL_BYTES
from tiffin.storage.streamhash import StreamHash
from tiffin.storage.tarstream import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from tiffin.storage.entry import Entry
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.limits import Limits
    from tiffin.storage.objects import ObjectWriter, UnnamedFile


class Ingest:
    """One run of `LayerStore.ingest`."""

    def __init__(self, store: LayerStore, new: UnnamedFile, limits: Limits, compressed_size: int | None) -> None:
        self._store = store
        self._new = new
        self._limits = limits
        self._writer = LayerWriter(new.fd)
        self._hash = StreamHash()
        self._file_bytes = 0
        self._most = limits.max_layer_bytes
        self._compressed_size = compressed_size
        if compressed_size is not None:
            self._most = min(self._most, max(limits.ratio_floor_bytes, compressed_size * limits.max_ratio))

    def run(self, stream: BinaryIO, expected: str | None, replace: bool = False) -> IngestedLayer:
        reader = TarReader(stream, self._writer.literal, self._tee, self._limits)
        write_entry = self._writer.entry
        try:
            while (entry := reader.next()) is not None:
                if entry.kind == REGULAR and entry.size:
                    self._file_bytes += entry.size
                    self._bound(self._file_bytes)
                    if reader.segments is None and entry.size <= SMALL_BYTES:
                        self._small(reader, entry)
                    else:
                        self._large(reader, entry)
                write_entry(entry)
            digest = self._hash.digest()
        finally:
            self._hash.close()
        diff_id = "sha256:" + digest.hex()
        if expected is not None and diff_id != expected:
            raise InvalidImageError(f"layer {diff_id} does not match its digest: expected {expected}")
        self._writer.finish(digest, self._hash.size, self._file_bytes)
        # A file that is there but damaged is replaced; nobody can be reading it successfully.
        self._new.appear(self._store.path(diff_id), self._new.fd, replace=replace or not self._store.has(diff_id))
        failpoint("layer.kept")
        return IngestedLayer(diff_id=diff_id, size_bytes=self._hash.size, file_bytes=self._file_bytes)

    def _tee(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._bound(self._hash.size)

    def _bound(self, size: int) -> None:
        if size <= self._most:
            return
        if self._most == self._limits.max_layer_bytes:
            raise InvalidImageError(f"the layer unpacks to more than the limit of {self._most} bytes")
        raise InvalidImageError(
            f"the layer unpacks to more than {self._most} bytes from {self._compressed_size}; "
            f"the limit is {self._limits.max_ratio} to 1"
        )

    def _small(self, reader: TarReader, entry: Entry) -> None:
        size = entry.size
        if not reader.have(size):
            raise reader.truncated()
        start = reader.position
        digest = self._store.objects.add_bytes(memoryview(reader.buffer)[start : start + size])
        reader.position = start + size
        entry.object = digest
        self._writer.content(digest, size)

    def _large(self, reader: TarReader, entry: Entry) -> None:
        writer = self._store.objects.writer()
        segments = reader.segments
        try:
            if segments is None:
                self._copy(reader, writer, entry.size)
            else:
                at = 0
                for offset, length in segments:
                    writer.hole(offset - at)
                    self._copy(reader, writer, length)
                    at = offset + length
                writer.hole(entry.size - at)
            digest = writer.finish()
        finally:
            writer.abort()
        entry.object = digest
        if segments is None:
            self._writer.content(digest, entry.size)
        else:
            for offset, length in segments:
                if length:
                    self._writer.content(digest, length, offset)

    @staticmethod
    def _copy(reader: TarReader, writer: ObjectWriter, size: int) -> None:
        while size:
            buffer, start, end = reader.take(size)
            writer.write(buffer, start, end)
            size -= end - start
