"""The three ways an image archive can come: a tar file to seek in, a tar stream to take as it comes, a directory.

All of them answer the same two questions: what is in this document (manifest, index, config), and ingest this layer.
Nothing of an archive is ever unpacked under a name that it chose, so its member names are only looked up.
"""

from __future__ import annotations

import os
import stat

from tiffin.errors import InvalidImageError, NotFoundError, StoreError, UsageError, os_error
from tiffin.images.codecs import CHUNK, HEAD_BYTES, Counted, Decompressed, Peeked, Verified, detect, looks_like_tar
from tiffin.images.config import DOCUMENT_LIMIT
from tiffin.images.reference import is_digest
from tiffin.model.record import Record
from tiffin.storage.entry import HARDLINK, REGULAR, SYMLINK
from tiffin.storage.limits import Limits
from tiffin.storage.tarstream import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any, BinaryIO, Protocol

    from tiffin.images.codecs import Readable
    from tiffin.images.store import ImageStore

    class Archive(Protocol):
        """What the readers of manifests need."""

        def has(self, name: str) -> bool: ...
        def document(self, name: str, what: str) -> bytes: ...
        def layer(self, store: ImageStore, blob: LayerBlob) -> tuple[str, int]: ...


MEMBER_LIMIT = 100_000
STREAM_DOCUMENTS_LIMIT = 32 << 20
MAX_LINKS = 10
_LIMITS = Limits(max_entries=MEMBER_LIMIT, max_layer_bytes=1 << 62)


class LayerBlob(Record):
    """A layer as a manifest names it; `digest` is empty and `size` None where the format does not say."""

    path: str
    diff_id: str
    digest: str = ""
    size: int | None = None

    @property
    def what(self) -> str:
        return f"layer {self.digest}" if self.digest else f"layer {self.path!r}"


def ingest(
    store: ImageStore,
    raw: Readable,
    what: str,
    *,
    digest: str = "",
    size: int | None = None,
    diff_id: str | None = None,
    threaded: bool = False,
    replace: bool = False,
) -> tuple[str, int]:
    """Put a layer (compressed or not) into the layer store; returns its diff_id and the size of its tar in bytes.

    Everything stated is verified: InvalidImageError, beginning with `what`.
    """
    # A plain layer's digest is its diff_id, which ingest computes anyway (and a compressed one's can never be).
    own_digest = "" if digest == diff_id else digest
    with Decompressed(Verified(raw, what, digest=own_digest, size=size), what, threaded=threaded) as stream:
        try:
            layer = store.layers.ingest(stream.binary, expected_diff_id=diff_id, compressed_size=size, replace=replace)
        except InvalidImageError as error:
            if error.message.startswith(what):
                raise
            if own_digest:
                stream.skip_to_end()  # a blob that is not what was promised is better told by its digest
            raise InvalidImageError(f"{what}: {error.message}", hint=error.hint) from error
        stream.drain()
    return layer.diff_id, layer.size_bytes


def known_layer(store: ImageStore, diff_id: str) -> tuple[str, int] | None:
    """A layer that need not be ingested again, with the size of its tar in bytes."""
    try:
        layer = store.layers.info(diff_id)
    except (NotFoundError, StoreError):  # a damaged one is replaced when it is ingested again
        return None
    return layer.diff_id, layer.size_bytes


class FileArchive:
    """A tar file: indexed once by its headers, then read where needed."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._progress = progress
        self._read_bytes = 0
        self._names = _Names()
        self._places: dict[str, tuple[int, int]] = {}
        start = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(start)
        reader = _SeekingReader(file)
        while (entry := reader.next()) is not None:
            name = self._names.add(entry)
            if entry.kind == REGULAR:
                _not_sparse(reader, name)
                self._places[name] = (start + reader.offset, reader.data_size)
                if start + reader.offset + reader.data_size > end:
                    raise InvalidImageError(f"the archive is truncated: it ends within {name!r}")
            reader.skip(reader.data_size)

    def has(self, name: str) -> bool:
        return self._names.resolve(name) in self._places

    def document(self, name: str, what: str) -> bytes:
        window = self._open(name, what)
        if window.size > DOCUMENT_LIMIT:
            raise InvalidImageError(f"{what} has {window.size} bytes; the limit is {DOCUMENT_LIMIT}")
        return window.read(window.size)

    def layer(self, store: ImageStore, blob: LayerBlob) -> tuple[str, int]:
        window = self._open(blob.path, blob.what)
        if blob.size is not None and blob.size != window.size:
            raise InvalidImageError(f"{blob.what} has {window.size} bytes, {blob.size} were declared")
        if known := known_layer(store, blob.diff_id):
            return known
        raw = Counted(window, self._progress, self._read_bytes)
        layer = ingest(store, raw, blob.what, digest=blob.digest, size=window.size, diff_id=blob.diff_id, threaded=True)
        self._read_bytes = raw.count
        return layer

    def place(self, name: str, what: str) -> tuple[int, int]:
        """Where a member's data begins in the file, and how many bytes it has. Raises InvalidImageError."""
        place = self._places.get(self._names.resolve(name))
        if place is None:
            raise InvalidImageError(f"{what} is missing from the archive")
        return place

    def _open(self, name: str, what: str) -> _Window:
        return _Window(self._file, *self.place(name, what))


class DirectoryArchive:
    """An OCI image layout that is a directory."""

    def __init__(self, path: str, progress: Callable[[int], None] | None = None) -> None:
        self._path = path
        self._progress = progress
        self._read_bytes = 0
        if not os.path.isdir(path):
            raise UsageError(f"cannot load {path!r}: it is neither a file nor a directory")

    def has(self, name: str) -> bool:
        return os.path.isfile(f"{self._path}/{name}")

    def document(self, name: str, what: str) -> bytes:
        with self.open(name, what) as file:
            data = file.read(DOCUMENT_LIMIT + 1)
            if len(data) > DOCUMENT_LIMIT:
                size = os.fstat(file.fileno()).st_size
                raise InvalidImageError(f"{what} has {size} bytes; the limit is {DOCUMENT_LIMIT}")
            return data

    def layer(self, store: ImageStore, blob: LayerBlob) -> tuple[str, int]:
        with self.open(blob.path, blob.what) as file:
            size = os.fstat(file.fileno()).st_size
            if blob.size is not None and blob.size != size:
                raise InvalidImageError(f"{blob.what} has {size} bytes, {blob.size} were declared")
            if known := known_layer(store, blob.diff_id):
                return known
            raw = Counted(file, self._progress, self._read_bytes)
            layer = ingest(store, raw, blob.what, digest=blob.digest, size=size, diff_id=blob.diff_id, threaded=True)
            self._read_bytes = raw.count
            return layer

    def open(self, name: str, what: str) -> BinaryIO:
        """A file of the layout. Raises InvalidImageError when there is none, or it is not a regular one."""
        # Not blocking and not following: a FIFO or a link where a blob should be is not a blob.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(f"{self._path}/{name}", flags)
        except FileNotFoundError:
            raise InvalidImageError(f"{what} is missing from {self._path!r}") from None
        except OSError as error:
            raise os_error(error, f"cannot read {what}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise InvalidImageError(f"{what} is not a regular file in {self._path!r}")
        return os.fdopen(fd, "rb", buffering=0)


class StreamArchive:
    """A tar stream that cannot be sought: layers are ingested as they come, documents kept in memory (bounded).

    A layer that turns out not to be wanted (another platform's) is left for the next prune.
    """

    def __init__(self, store: ImageStore, stream: Readable) -> None:
        self._names = _Names()
        self._documents: dict[str, bytes] = {}
        self._document_bytes = 0
        self._layers: dict[str, tuple[str, int, int]] = {}  # name: diff_id, tar size, size as it came
        self._unusable: dict[str, str] = {}
        reader = TarReader(stream, _ignore, _ignore, _LIMITS)  # type: ignore[arg-type]
        while (entry := reader.next()) is not None:
            name = self._names.add(entry)
            member = _Member(reader)
            if entry.kind == REGULAR:
                _not_sparse(reader, name)
                self._take(store, name, member)
            member.drain()

    def has(self, name: str) -> bool:
        name = self._names.resolve(name)
        return name in self._documents or name in self._layers or name in self._unusable

    def document(self, name: str, what: str) -> bytes:
        found = self._names.resolve(name)
        if found in self._unusable:
            raise InvalidImageError(f"{what} {self._unusable[found]}")
        if found not in self._documents:
            raise InvalidImageError(f"{what} is missing from the archive")
        return self._documents[found]

    def layer(self, store: ImageStore, blob: LayerBlob) -> tuple[str, int]:
        found = self._names.resolve(blob.path)
        if found not in self._layers:
            if found in self._documents or found in self._unusable:
                raise InvalidImageError(f"{blob.what} is not a tar archive, neither plain nor compressed")
            raise InvalidImageError(f"{blob.what} is missing from the archive")
        diff_id, tar_bytes, size = self._layers[found]
        if blob.size is not None and blob.size != size:
            raise InvalidImageError(f"{blob.what} has {size} bytes, {blob.size} were declared")
        if diff_id != blob.diff_id:
            raise InvalidImageError(f"{blob.what} has the diff_id {diff_id}, the config says {blob.diff_id}")
        return diff_id, tar_bytes

    def _take(self, store: ImageStore, name: str, member: _Member) -> None:
        size = member.size
        peeked = Peeked(member)
        head = peeked.peek(HEAD_BYTES)
        digest = _digest_of_name(name)
        if detect(head) in ("gzip", "zstd") or looks_like_tar(head):
            what = f"layer {digest}" if digest else f"layer {name!r}"
            promised = digest or _digest_of_file_name(name)
            if not detect(head) and promised and (known := known_layer(store, promised)):
                _read_all(Verified(peeked, what, digest=promised, size=size))
                self._layers[name] = (*known, size)
            else:
                self._layers[name] = (*ingest(store, peeked, what, digest=digest, size=size), size)
        elif size > DOCUMENT_LIMIT:
            self._unusable[name] = f"has {size} bytes; the limit is {DOCUMENT_LIMIT}"
        elif size and head.lstrip()[:1] not in (b"{", b"["):
            self._unusable[name] = "is not a JSON object or list"
        else:
            self._document_bytes += size
            if self._document_bytes > STREAM_DOCUMENTS_LIMIT:
                raise InvalidImageError(
                    f"the archive has more than {STREAM_DOCUMENTS_LIMIT >> 20} MiB of manifests and configs",
                    hint="load it from a file instead of a stream",
                )
            self._documents[name] = _read_all(peeked, keep=True)


class _Names:
    """Member names and the links among them (`docker save` used to write a repeated layer as a symlink)."""

    def __init__(self) -> None:
        self._links: dict[str, str] = {}

    def add(self, entry: Any) -> str:
        """The member's name. A later member of the same name replaces an earlier one, as tar has it."""
        name: str = entry.path.decode("utf-8", "surrogateescape")
        self._links.pop(name, None)
        if entry.kind in (SYMLINK, HARDLINK):
            target = entry.link.decode("utf-8", "surrogateescape")
            if entry.kind == SYMLINK:
                target = os.path.normpath(os.path.join("/", os.path.dirname(name), target)).lstrip("/")
            self._links[name] = target
        return name

    def resolve(self, name: str) -> str:
        """The name at the end of the links. Raises InvalidImageError for a loop."""
        found = os.path.normpath(name) if name else name
        for _ in range(MAX_LINKS):
            if found not in self._links:
                return found
            found = self._links[found]
        raise InvalidImageError(f"the archive member {name!r} leads through more than {MAX_LINKS} links")


class _SeekingReader(TarReader):
    """A `TarReader` that steps over contents without reading them."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, _ignore, _ignore, _LIMITS)  # type: ignore[arg-type]
        self._seek = file.seek

    def skip(self, size: int) -> None:
        have = len(self.buffer) - self.position
        if size <= have:
            self.position += size
        else:
            self._before += self.position + size
            self._seek(size - have, os.SEEK_CUR)
            self.buffer, self.position = b"", 0


class _Window:
    """`size` bytes of a file from `start`."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._at = start
        self._end = start + size
        self.size = size

    def read(self, size: int) -> bytes:
        size = min(size, self._end - self._at)
        if size <= 0:
            return b""
        self._file.seek(self._at)
        data = self._file.read(size)
        if not data:
            raise InvalidImageError("the archive is truncated: it became shorter while it was read")
        self._at += len(data)
        return data


class _Member:
    """The data of a `TarReader`'s current entry as a stream."""

    def __init__(self, reader: TarReader) -> None:
        self._reader = reader
        self.size = self._left = reader.data_size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        if size <= 0:
            return b""
        buffer, start, end = self._reader.take(size)
        self._left -= end - start
        return buffer[start:end]

    def drain(self) -> None:
        while self.read(CHUNK):
            pass


def _read_all(stream: Readable, keep: bool = False) -> bytes:
    parts = []
    while data := stream.read(CHUNK):
        if keep:
            parts.append(data)
    return b"".join(parts)


def _digest_of_name(name: str) -> str:
    """The digest that a blob's name in an image layout promises: blobs/<algorithm>/<hex>."""
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "blobs" and is_digest(f"{parts[1]}:{parts[2]}"):
        return f"{parts[1]}:{parts[2]}"
    return ""


def _digest_of_file_name(name: str) -> str:
    """The diff_id that skopeo and podman name a layer after in a docker-archive: <hex>.tar."""
    digest = "sha256:" + name.removesuffix(".tar")
    return digest if is_digest(digest) else ""


def _not_sparse(reader: TarReader, name: str) -> None:
    if reader.segments is not None:
        raise InvalidImageError(f"the archive member {name!r} is stored sparse", hint="pack it again without --sparse")


def _ignore(data: bytes) -> None:
    pass
