"""Compressed streams: recognised by their first bytes, read and written with bounded memory, verified on the way.

A media type or file name says what somebody meant; the first bytes say what is there, so they decide.
"""

from __future__ import annotations

import hashlib
import io

from tiffin.errors import InvalidImageError, NotSupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, Protocol

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...

    class Writable(Protocol):
        def write(self, data: bytes, /) -> object: ...


CHUNK = 1 << 20
_READ = 256 << 10
_AHEAD = 4
_XZ_MEMORY = 96 << 20  # what `xz -9` needs to decompress is 65 MiB

_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
HEAD_BYTES = 262
"""How much of a stream `detect` and `looks_like_tar` want to see."""


def detect(head: bytes) -> str:
    """ "gzip", "zstd", "bzip2" or "xz" by the first bytes, "" for anything else."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    # A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2).
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return ""


def looks_like_tar(head: bytes) -> bool:
    """Whether the first bytes are those of a tar header (POSIX, GNU), or of the zeros that end an empty archive."""
    return head[257:262] == b"ustar" or (len(head) >= HEAD_BYTES and not any(head))


class Peeked:
    """A stream whose first bytes can be seen before they are read."""

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._head = b""

    def peek(self, size: int) -> bytes:
        """At least `size` bytes unless the stream is shorter; they will still be read."""
        while len(self._head) < size and (more := self._raw.read(max(size - len(self._head), 4096))):
            self._head += more
        return self._head

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._raw.read(size)

    def readinto(self, buffer: memoryview) -> int:
        """As io.RawIOBase has it; isal's reader asks for nothing else."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Counted:
    """A stream that tells how many bytes were read from it, in total (beginning with `count`) after each read."""

    def __init__(self, raw: Readable, progress: Callable[[int], None] | None = None, count: int = 0) -> None:
        self._raw = raw
        self._progress = progress
        self.count = count

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self.count += len(data)
        if self._progress and data:
            self._progress(self.count)
        return data


class Verified:
    """A stream that is checked while it is read: its digest and, where known, its size in bytes.

    `read` raises InvalidImageError in place of the end of the stream when either is wrong; `what` begins the sentence.
    """

    def __init__(self, raw: Readable, what: str, *, digest: str = "", size: int | None = None) -> None:
        self._raw = raw
        self._what = what
        self._digest = digest
        self._size = size
        self._hash = hashlib.new(digest.partition(":")[0]) if digest else None
        self._done = False
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        if data:
            self.count += len(data)
            if self._size is not None and self.count > self._size:
                raise InvalidImageError(f"{self._what} is larger than the {self._size} bytes that were declared")
            if self._hash:
                self._hash.update(data)
        elif size and not self._done:
            self._check()
        return data

    def _check(self) -> None:
        if self._size is not None and self.count != self._size:
            raise InvalidImageError(f"{self._what} has {self.count} bytes, {self._size} were declared")
        if self._hash:
            found = f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}"
            if found != self._digest:
                raise InvalidImageError(f"{self._what} does not match its digest: its content is {found}")
        self._done = True


class Decompressed:
    """The plain bytes of a stream, whatever it is compressed with; use as a context manager.

    `kind` is what `detect` found. Damage raises InvalidImageError beginning with `what`; `threaded` decompresses in
    a thread of its own, for files only, since that thread cannot be interrupted while it waits for input.
    """

    def __init__(self, raw: Readable, what: str, *, threaded: bool = False) -> None:
        peeked = Peeked(raw)
        self._what = what
        self.kind = detect(peeked.peek(HEAD_BYTES))
        self._raw = peeked
        self._errors: tuple[type[BaseException], ...] = (EOFError,)
        self._stream: Any = self._open(peeked)
        if threaded and self.kind:
            self._stream = _ReadAhead(self._stream)

    def __enter__(self) -> Decompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread, if there is one. Closing again is fine."""
        if self.kind:
            self._stream.close()

    @property
    def binary(self) -> BinaryIO:
        """Itself, for those who declare that they want a file and only read."""
        return self  # type: ignore[return-value]

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)  # type: ignore[no-any-return]
        except self._errors as error:
            raise self._damaged(error) from error

    def drain(self) -> None:
        """Read to the end, so that everything behind it is verified as well."""
        while self.read(CHUNK):
            pass
        while self._raw.read(CHUNK):
            pass

    def skip_to_end(self) -> None:
        """Read what is left as it came, without decompressing it: its digest is verified, a bomb does not go off."""
        self.close()
        while self._raw.read(CHUNK):
            pass

    def _damaged(self, error: BaseException) -> InvalidImageError:
        if isinstance(error, EOFError):
            return InvalidImageError(f"{self._what} is cut off: its {self.kind} stream ends too early")
        return InvalidImageError(f"{self._what} is damaged: its {self.kind} stream cannot be decompressed ({error})")

    def _open(self, raw: Peeked) -> Any:
        if self.kind == "gzip":
            return self._open_gzip(raw)
        if self.kind == "zstd":
            from tiffin.images.zstd import ZstdReader, zstd_errors

            self._errors = (EOFError, *zstd_errors())
            return ZstdReader(raw)
        if self.kind == "bzip2":
            import bz2

            self._errors = (EOFError, OSError, ValueError)
            return _Stepwise(raw, bz2.BZ2Decompressor)
        if self.kind == "xz":
            import lzma

            self._errors = (EOFError, lzma.LZMAError)
            return _Stepwise(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))
        return raw

    def _open_gzip(self, raw: Peeked) -> Any:
        import gzip
        import zlib

        self._errors = (EOFError, zlib.error, gzip.BadGzipFile)
        try:
            from isal import igzip, isal_zlib
        except ImportError:
            return gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[call-overload]
        self._errors = (EOFError, isal_zlib.error, igzip.BadGzipFile)  # type: ignore[assignment]
        return igzip.IGzipFile(fileobj=raw, mode="rb")  # type: ignore[no-untyped-call]


class _ReadAhead:
    """Reads a stream in a thread of its own, a few chunks ahead, while the caller works on what came before."""

    def __init__(self, stream: Any) -> None:
        from queue import Queue
        from threading import Thread

        self._stream = stream
        self._queue: Queue[Any] = Queue(_AHEAD)
        self._stopped = False
        self._rest = b""
        self._end: BaseException | bytes | None = None
        self._thread = Thread(target=self._work, name="tiffin-decompress", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        item: Any = None
        while not self._stopped and item != b"":
            try:
                item = self._stream.read(_READ)
            except Exception as error:  # handed to the reader, whoever's it is
                self._queue.put(error)
                return
            self._queue.put(item)

    def read(self, size: int) -> bytes:
        if not self._rest:
            item = self._queue.get() if self._end is None else self._end
            if isinstance(item, BaseException):
                self._end = item
                raise item
            if not item:
                self._end = item
            self._rest = item
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        self._stopped = True
        while self._thread.is_alive():
            while not self._queue.empty():  # the worker may wait for room
                self._queue.get_nowait()
            self._thread.join(0.01)
        self._stream.close()


class _Stepwise(io.RawIOBase):
    """Concatenated bzip2 or xz streams, decompressed a bounded step at a time."""

    def __init__(self, raw: Readable, new: Callable[[], Any]) -> None:
        self._source = raw
        self._new = new
        self._current = new()

    def read(self, size: int = -1) -> bytes:
        size = CHUNK if size < 0 else size
        while size:
            compressed = b""
            if self._current.eof:
                compressed = self._next_stream()
                if not compressed:
                    return b""
                self._current = self._new()
            elif self._current.needs_input and not (compressed := self._source.read(_READ)):
                raise EOFError
            if data := self._current.decompress(compressed, size):
                return bytes(data)
        return b""

    def _next_stream(self) -> bytes:
        rest = self._current.unused_data
        while not (rest := rest.lstrip(b"\0")):  # padding between and after xz streams
            rest = self._source.read(_READ)
            if not rest:
                return b""
        return bytes(rest)


GZIP_ISAL_LEVEL = 2
GZIP_ZLIB_LEVEL = 6


def packer(kind: str) -> str:
    """Which program and level `Compressor(kind, …)` packs with: the same one gives the same bytes again, on the same
    kind of machine."""
    if kind == "gzip":
        try:
            from isal import __version__
        except ImportError:
            import zlib

            return f"gzip zlib-{zlib.ZLIB_RUNTIME_VERSION} {GZIP_ZLIB_LEVEL}"
        return f"gzip isal-{__version__} {GZIP_ISAL_LEVEL}"
    if kind == "zstd":
        from tiffin.images.zstd import zstd_packer

        return zstd_packer()
    return kind


class Compressor:
    """Writes to `out` through a compression: "none", "gzip" or "zstd"; the same bytes in give the same bytes out.

    `finish` must be called at the end; `out` is not closed.
    """

    def __init__(self, kind: str, out: Writable) -> None:
        self._out = out
        self._codec: Any = None
        if kind == "gzip":
            zlib_module: Any
            try:
                from isal import isal_zlib as zlib_module

                level = GZIP_ISAL_LEVEL
            except ImportError:
                import zlib as zlib_module

                level = GZIP_ZLIB_LEVEL
            # wbits 31: a gzip header, with the modification time 0 and no name
            self._codec = zlib_module.compressobj(level, zlib_module.DEFLATED, 31)
        elif kind == "zstd":
            from tiffin.images.zstd import zstd_compressor

            self._codec = zstd_compressor()
        elif kind != "none":
            raise NotSupportedError(f"layer compression {kind!r} is not known", hint="use none, gzip or zstd")

    def write(self, data: bytes) -> int:
        if self._codec is None:
            self._out.write(data)
        elif compressed := self._codec.compress(data):
            self._out.write(compressed)
        return len(data)

    def finish(self) -> None:
        if self._codec is not None:
            self._out.write(self._codec.flush())
