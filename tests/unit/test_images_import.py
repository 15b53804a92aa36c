"""Importing root file systems."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.archives import LAYER, MACHINE, Pipe, compressed, digest, hexdigest, open_store, tar_of
from tiffin.errors import InvalidImageError, UsageError
from tiffin.images.importer import import_image
from tiffin.images.store import ImageStore


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: compressed(data, "zstd")],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"],
)
@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_import(store: ImageStore, pack: Callable[[bytes], bytes], stream: Callable[[bytes], io.RawIOBase]) -> None:
    image = import_image(store, stream(pack(LAYER)), "demo")  # type: ignore[arg-type]
    assert image.layers == (digest(LAYER),)
    assert image.names == ("demo:latest",)
    assert image.size_bytes == 507
    assert store.driver.image_file(image.id, "/etc/hostname") == b"tiffin\n"


def test_config(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    image = import_image(
        store, io.BytesIO(LAYER), changes=['CMD ["sh"]', "ENV A=1"], message="from a test", platform="linux/arm64"
    )
    assert image.names == ()
    assert json.loads(image.raw_config) == {
        "created": "2023-11-14T22:13:20Z",
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]},
        "history": [{"created": "2023-11-14T22:13:20Z", "comment": "from a test"}],
    }
    assert image.id == "sha256:" + hexdigest(image.raw_config)
    again = import_image(
        store, io.BytesIO(LAYER), "again", changes=['CMD ["sh"]', "ENV A=1"], message="from a test", platform="aarch64"
    )
    assert again.id == image.id
    assert import_image(store, io.BytesIO(LAYER)).architecture == MACHINE
    assert store.history("again")[0].size_bytes == 507


def test_progress(store: ImageStore) -> None:
    seen: list[int] = []
    import_image(store, io.BytesIO(LAYER), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(LAYER)


def test_what_can_be_refused_is_refused_before_reading(store: ImageStore) -> None:
    class Untouched(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("nothing should be read")

    for options, message in (
        ({"name": "Demo"}, "invalid reference format: repository name 'Demo' must be lowercase: 'Demo'"),
        ({"name": "host"}, "the image name 'host' is reserved for the host's own system (choose another name)"),
        ({"platform": "a/b/c/d"}, "invalid platform 'a/b/c/d' (write it as os/architecture[/variant]: linux/arm64)"),
        ({"changes": ["CMD"]}, "--change CMD needs an argument"),
    ):
        with pytest.raises(UsageError) as caught:
            import_image(store, Untouched(), **options)  # type: ignore[arg-type]
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the archive is empty (0 bytes)"),
        (b"hello\n" * 200, "the archive: this is not a tar archive: its first header has a wrong checksum"),
        (LAYER[:600], "the archive is truncated: it ends at byte 600"),
        (gzip.compress(LAYER)[:-4], "the archive is cut off: its gzip stream ends too early"),
        (compressed(LAYER, "zstd")[:-4], "the archive is cut off: its zstd stream ends too early"),
        (tar_of({"../x": b""}), "the archive names a path outside of itself: '../x'"),
    ],
)
def test_bad_input(store: ImageStore, data: bytes, message: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        import_image(store, io.BytesIO(data), "demo")
    assert str(caught.value) == message
    assert store.list() == []


def test_what_before_add_raises_keeps_the_image_out(store: ImageStore) -> None:
    def failed() -> None:
        raise UsageError("not this one")

    with pytest.raises(UsageError):
        import_image(store, io.BytesIO(LAYER), "demo", before_add=failed)
    assert store.list() == []
