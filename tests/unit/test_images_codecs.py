"""Compressed streams: recognised, bounded, and told apart from damaged ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable

import pytest
import zstandard

from tiffin.errors import InvalidImageError, NotSupportedError
from tiffin.images.codecs import Compressor, Decompressed, Peeked, Verified, detect, looks_like_tar

PLAIN = os.urandom(300_000) + bytes(3_000_000) + b"end"

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture(params=["isal", "zlib"])
def gzip_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    return str(request.param)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tiffin-")]


def _unpack(data: bytes, *, threaded: bool = False, step: int = 100_000) -> bytes:
    with Decompressed(io.BytesIO(data), "the archive", threaded=threaded) as stream:
        parts = []
        while part := stream.read(step):
            assert len(part) <= step
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("kind", PACKERS)
def test_round_trip(kind: str, threaded: bool, gzip_by: str) -> None:
    data = PACKERS[kind](PLAIN)
    assert detect(data) == kind
    assert _unpack(data, threaded=threaded) == PLAIN
    assert _threads() == []


def test_plain_passes() -> None:
    assert _unpack(PLAIN) == PLAIN
    assert _unpack(b"") == b""


@pytest.mark.parametrize("kind", PACKERS)
def test_several_members(kind: str, gzip_by: str) -> None:
    pack = PACKERS[kind]
    assert _unpack(pack(b"one") + pack(b"two")) == b"onetwo"


def test_zstd_skippable_frames() -> None:
    skippable = b"\x53\x2a\x4d\x18\x03\0\0\0abc"
    data = skippable + PACKERS["zstd"](PLAIN) + skippable
    assert detect(data) == "zstd"
    assert _unpack(data) == PLAIN


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("kind", PACKERS)
def test_cut_off(kind: str, threaded: bool, gzip_by: str) -> None:
    data = PACKERS[kind](PLAIN)
    for length in (len(data) - 1, len(data) // 2, 20):
        with pytest.raises(InvalidImageError) as caught:
            _unpack(data[:length], threaded=threaded)
        assert str(caught.value) == f"the archive is cut off: its {kind} stream ends too early"


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged(kind: str, gzip_by: str) -> None:
    data = bytearray(PACKERS[kind](PLAIN))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidImageError) as caught:
        _unpack(bytes(data))
    assert str(caught.value).startswith(f"the archive is damaged: its {kind} stream cannot be decompressed (")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_garbage_behind(kind: str, gzip_by: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        _unpack(PACKERS[kind](b"x" * 1000) + b"garbage that is no stream")
    assert str(caught.value).startswith(f"the archive is damaged: its {kind} stream cannot be decompressed (")


@pytest.mark.parametrize("kind", PACKERS)
def test_bomb_is_read_in_steps(kind: str, gzip_by: str) -> None:
    """256 MiB of zeros are never in memory at once, even when the reader stops early."""
    import tracemalloc

    if kind == "gzip":
        data = gzip.compress(bytes(256 << 20), 1)
    elif kind == "zstd":
        data = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(256 << 20))
    else:
        data = PACKERS[kind](bytes(64 << 20))
    tracemalloc.start()
    try:
        with Decompressed(io.BytesIO(data), "the archive", threaded=True) as stream:
            for _ in range(20):
                assert stream.read(1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_xz_with_a_huge_dictionary() -> None:
    encoder = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}])
    with pytest.raises(InvalidImageError) as caught:
        _unpack(encoder.compress(b"x") + encoder.flush())
    assert str(caught.value) == (
        "the archive is damaged: its xz stream cannot be decompressed (Memory usage limit exceeded)"
    )


def test_stopping_early_ends_the_thread() -> None:
    stream = Decompressed(io.BytesIO(gzip.compress(PLAIN * 10)), "the archive", threaded=True)
    assert stream.read(10) == PLAIN[:10]
    stream.close()
    assert _threads() == []


def test_error_below_reaches_the_reader() -> None:
    class Failing:
        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

    class Late(Failing):
        first = True

        def read(self, size: int) -> bytes:
            if self.first:
                self.first = False
                return gzip.compress(PLAIN)[:5000]
            return super().read(size)

    with Decompressed(Late(), "the archive", threaded=True) as stream, pytest.raises(OSError, match="Input/output"):
        stream.drain()


def test_peek_then_read() -> None:
    peeked = Peeked(io.BytesIO(b"abcdef"))
    assert peeked.peek(3)[:3] == b"abc"
    assert peeked.read(2) == b"ab"
    assert peeked.read(10) + peeked.read(10) == b"cdef"
    assert Peeked(io.BytesIO(b"ab")).peek(10) == b"ab"


def test_looks_like_tar() -> None:
    assert looks_like_tar(bytes(512))
    assert looks_like_tar(bytes(257) + b"ustar\0")
    assert not looks_like_tar(b"{}")
    assert not looks_like_tar(bytes(100))


def _read_to_end(stream: Verified) -> None:
    while stream.read(3):
        pass


def test_verified() -> None:
    digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    _read_to_end(Verified(io.BytesIO(b"hello"), "blob", digest=digest, size=5))
    for data, message in (
        (b"hell", "blob has 4 bytes, 5 were declared"),
        (b"hello!", "blob is larger than the 5 bytes that were declared"),
        (
            b"hallo",
            (
                "blob does not match its digest: its content is "
                "sha256:d3751d33f9cd5049c4af2b462735457e4d3baf130bcbb87f389e349fbaeb20b9"
            ),
        ),
    ):
        with pytest.raises(InvalidImageError) as caught:
            _read_to_end(Verified(io.BytesIO(data), "blob", digest=digest, size=5))
        assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_compressor(kind: str, gzip_by: str) -> None:
    def pack() -> bytes:
        out = io.BytesIO()
        compressor = Compressor(kind, out)
        for start in range(0, len(PLAIN), 70_000):
            compressor.write(PLAIN[start : start + 70_000])
        compressor.finish()
        return out.getvalue()

    packed = pack()
    assert packed == pack()
    assert detect(packed) == ("" if kind == "none" else kind)
    assert _unpack(packed) == PLAIN
    if kind == "gzip":
        assert packed[3:8] == bytes(5), "no name, no time in the header"


def test_compressor_unknown() -> None:
    with pytest.raises(NotSupportedError) as caught:
        Compressor("lz4", io.BytesIO())
    assert str(caught.value) == "layer compression 'lz4' is not known (use none, gzip or zstd)"
