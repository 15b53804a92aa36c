"""Zstandard (RFC 8878) streams by the `zstandard` package, with what it lacks: noticing that a stream is cut off."""

from __future__ import annotations

from tiffin.errors import NotSupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.codecs import Readable

_LEVEL = 3
_READ = 256 << 10
_MAGIC = 0xFD2FB528
_BLOCK_LIMIT = 128 << 10


def _module() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise NotSupportedError(
            "zstd compression needs the Python package zstandard, which is not installed",
            hint="pip install zstandard",
        ) from error
    return zstandard


def zstd_errors() -> tuple[type[BaseException], ...]:
    """What a damaged stream raises."""
    return (_module().ZstdError,)


def zstd_compressor() -> Any:
    """An object with compress(data) and flush(); one thread, so that the output does not depend on the machine."""
    return _module().ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()


def zstd_packer() -> str:
    """The name of what `zstd_compressor` packs with."""
    version = ".".join(str(number) for number in _module().ZSTD_VERSION)
    return f"zstd libzstd-{version} {_LEVEL}"


class ZstdReader:
    """Any number of frames, read with bounded memory. EOFError when the last one is incomplete."""

    def __init__(self, raw: Readable) -> None:
        self._frames = _Frames(raw)
        self._stream = (
            _module()
            .ZstdDecompressor()
            .stream_reader(self._frames, read_size=_READ, read_across_frames=True, closefd=False)
        )

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        if not data and size and not self._frames.complete:
            raise EOFError
        return data

    def close(self) -> None:
        self._stream.close()


class _Frames:
    """Passes bytes through and follows the frames' block structure (RFC 8878, 3.1), to know whether the last ended."""

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._need = 4  # bytes of the header being collected
        self._head = b""
        self._skip = 0
        self._next = "magic"
        self._checksum = False

    @property
    def complete(self) -> bool:
        return self._next == "magic" and not self._head and not self._skip

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            part = data[position : position + self._need - len(self._head)]
            self._head += part
            position += len(part)
            if len(self._head) == self._need:
                head, self._head = self._head, b""
                self._step(head)

    def _step(self, head: bytes) -> None:
        number = int.from_bytes(head, "little")
        if self._next == "magic":
            if number == _MAGIC:
                self._expect("descriptor", 1)
            elif number & 0xFFFFFFF0 == 0x184D2A50:
                self._expect("skippable", 4)
            else:  # not a frame: the decoder will say so; nothing more to follow
                self._expect("garbage", 1 << 30)
        elif self._next == "skippable":
            self._skip = number
            self._expect("magic", 4)
        elif self._next == "descriptor":
            single = number >> 5 & 1
            content_size = (single, 2, 4, 8)[number >> 6]
            self._checksum = bool(number >> 2 & 1)
            self._skip = (0 if single else 1) + (0, 1, 2, 4)[number & 3] + content_size
            self._expect("block", 3)
        elif self._next == "block":
            last, kind, size = number & 1, number >> 1 & 3, number >> 3
            self._skip = 1 if kind == 1 else size
            if last:
                self._skip += 4 if self._checksum else 0
                self._expect("magic", 4)

    def _expect(self, what: str, need: int) -> None:
        self._next, self._need = what, need
