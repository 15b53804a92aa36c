"""Saving images, and that what was saved is what is loaded."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.archives import LAYER, UPPER, Layout, Pipe, config_of, digest, docker_files, hexdigest, open_store, tar_of
from tiffin.errors import ConflictError, NotFoundError, NotSupportedError, StoreError, TiffinError, UsageError
from tiffin.images.load import load
from tiffin.images.save import save
from tiffin.images.store import ImageStore

LAYERS = (LAYER, UPPER)
FORMATS = ["docker-archive", "oci-archive", "oci-dir"]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = open_store(tmp_path / "store")
    load(store, io.BytesIO(tar_of(docker_files(LAYERS, ["demo:1", "demo:2"]))))
    load(store, io.BytesIO(tar_of(docker_files((LAYER, LAYER), ["other:1"]))))
    return store


def _tree(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(store: ImageStore, tmp_path: Path, format: str, compression: str) -> None:
    """save → load elsewhere → save: the same images, the same bytes."""
    first, second = tmp_path / "first", tmp_path / "second"
    names = ["demo:1", "other:1", "demo:2"]
    save(store, names, str(first), format=format, compression=compression)
    elsewhere = open_store(tmp_path / "elsewhere")
    images = load(elsewhere, str(first))
    assert [image.names for image in images] == [("demo:1", "demo:2"), ("other:1",)]
    for image in images:
        here = store.get(image.id)
        assert image.raw_config == here.raw_config
        assert image.layers == here.layers
    save(elsewhere, names, str(second), format=format, compression=compression)
    assert _tree(first) == _tree(second)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "first", "second", "store"]
    assert os.listdir(store.paths.temporary) == [] if os.path.exists(store.paths.temporary) else True


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("format", FORMATS[:2])
def test_stream_to_stream(store: ImageStore, tmp_path: Path, format: str, compression: str) -> None:
    out = io.BytesIO()
    save(store, ["demo:1"], out, format=format, compression=compression)
    images = load(open_store(tmp_path / "elsewhere"), Pipe(out.getvalue()))
    assert [image.id for image in images] == [store.get("demo:1").id]


def test_docker_archive_members(store: ImageStore) -> None:
    out = io.BytesIO()
    save(store, ["demo:1", "other:1"], out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        members = tar.getmembers()
        files = {member.name: tar.extractfile(member) for member in members if member.isreg()}
        contents = {name: file.read() for name, file in files.items() if file}
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }
    assert len({member.name for member in members}) == len(members), "a shared layer is written once"
    config, other = config_of(LAYERS), config_of((LAYER, LAYER))
    assert json.loads(contents["manifest.json"]) == [
        {
            "Config": f"blobs/sha256/{hexdigest(config)}",
            "RepoTags": ["demo:1"],
            "Layers": [f"blobs/sha256/{hexdigest(layer)}" for layer in LAYERS],
        },
        {
            "Config": f"blobs/sha256/{hexdigest(other)}",
            "RepoTags": ["other:1"],
            "Layers": [f"blobs/sha256/{hexdigest(LAYER)}"] * 2,
        },
    ]
    assert contents["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    for name, data in contents.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hexdigest(data)}"
    assert contents[f"blobs/sha256/{hexdigest(LAYER)}"] == LAYER
    index = json.loads(contents["index.json"])
    assert [item["annotations"]["org.opencontainers.image.ref.name"] for item in index["manifests"]] == [
        "demo:1",
        "other:1",
    ]


def _saved_names(store: ImageStore, *references: str) -> list[Any]:
    out = io.BytesIO()
    save(store, references, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        return [entry["RepoTags"] for entry in json.load(manifest)]


def test_names(store: ImageStore) -> None:
    image_id = store.get("demo:1").id
    assert _saved_names(store, "demo:1") == [["demo:1"]]
    assert _saved_names(store, "demo") == [["demo:1", "demo:2"]], "a repository is all of its tags"
    assert _saved_names(store, "demo:2", "demo:1", "demo:2") == [["demo:2", "demo:1"]]
    assert _saved_names(store, image_id) == _saved_names(store, image_id[7:15]) == [None]
    assert _saved_names(store, image_id, "demo:1") == [["demo:1"]]


def test_layer_of_8_gib_and_more_has_a_header() -> None:
    from tiffin.images.archive_tar import ArchiveWriter

    out = io.BytesIO()
    with pytest.raises(AssertionError), ArchiveWriter(out).member("blobs/sha256/x", 9 << 30) as member:
        member.write(b"")
    header = tarfile.TarInfo.frombuf(out.getvalue()[-512:], "utf-8", "strict")
    assert header.size == 9 << 30


@pytest.mark.parametrize(
    ("references", "options", "kind", "message"),
    [
        ([], {}, UsageError, "no image to save was named"),
        (["nope"], {}, NotFoundError, "no such image: nope (`tiffin images` lists what is here)"),
        (["demo:1", "demo:9"], {}, NotFoundError, "no such image: demo:9 (`tiffin images` lists what is here)"),
        (
            ["host"],
            {},
            NotSupportedError,
            (
                "the image 'host' cannot be saved: it has no layers, it is the host itself "
                "(`tar -C / --one-file-system -c . | tiffin import - NAME` makes an image of the host)"
            ),
        ),
        (
            ["demo:1"],
            {"format": "zip"},
            NotSupportedError,
            "there is no archive format 'zip' (use one of docker-archive, oci-archive, oci-dir)",
        ),
        (
            ["demo:1"],
            {"compression": "xz"},
            NotSupportedError,
            "layer compression 'xz' is not known (use one of none, gzip, zstd)",
        ),
        (
            ["demo:1"],
            {"format": "oci-dir"},
            UsageError,
            "an oci-dir needs a directory to be written to, not a stream",
        ),
    ],
)
def test_refused(
    store: ImageStore, references: list[str], options: dict[str, str], kind: type[TiffinError], message: str
) -> None:
    out = io.BytesIO()
    with pytest.raises(kind) as caught:
        save(store, references, out, **options)
    assert str(caught.value) == message
    assert out.getvalue() == b"", "what can be refused is refused before anything is written"


def test_directory_in_use(store: ImageStore, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("precious")
    for path in (full, full / "file"):
        with pytest.raises(ConflictError) as caught:
            save(store, ["demo:1"], str(path), format="oci-dir")
        assert str(caught.value) == f"{str(path)!r} exists and is not an empty directory (name a new one)"
    empty = tmp_path / "empty"
    empty.mkdir()
    save(store, ["demo:1"], f"{empty}/", format="oci-dir")
    assert (empty / "index.json").is_file()


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_layer_leaves_no_archive(store: ImageStore, tmp_path: Path, format: str) -> None:
    victim = store.layers.objects.path(hexdigest(b"hello\n"))
    os.chmod(victim, 0o644)
    Path(victim).write_bytes(b"HELLO\n")
    with pytest.raises(StoreError) as caught:
        save(store, ["demo:1"], str(tmp_path / "out"), format=format)
    assert f"{digest(UPPER)}" in str(caught.value)
    assert os.listdir(tmp_path) == ["store"]


def test_nowhere_to_write(store: ImageStore, tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "out.tar")
    with pytest.raises(StoreError) as caught:
        save(store, ["demo:1"], path)
    assert str(caught.value).startswith(f"cannot write the archive {path!r}: No such file or directory")


def test_digest_reference_saves_without_a_name(store: ImageStore) -> None:
    layout = Layout()
    manifest = layout.image((UPPER,), annotations={"org.opencontainers.image.ref.name": "pinned:1"})
    load(store, io.BytesIO(layout.top(manifest).tar()))
    assert _saved_names(store, f"pinned@{manifest['digest']}") == [None]


def test_a_device_is_written_to_not_replaced(store: ImageStore, tmp_path: Path) -> None:
    """`save -o /dev/stdout` and the like: a rename would put a file where the device was."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    save(store, ["demo:1"], str(pipe))
    out, _ = reader.communicate(timeout=10)
    expected = io.BytesIO()
    save(store, ["demo:1"], expected)
    assert out == expected.getvalue()
    assert stat.S_ISFIFO(os.lstat(pipe).st_mode)
    assert sorted(os.listdir(tmp_path)) == ["pipe", "store"]


def test_a_full_device_is_told(store: ImageStore) -> None:
    before = os.stat("/dev/full")
    with pytest.raises(StoreError) as caught:
        save(store, ["demo:1"], "/dev/full")
    assert str(caught.value) == (
        "cannot write the archive '/dev/full': the disk is full (free space, or run `tiffin system prune`)"
    )
    assert os.stat("/dev/full").st_rdev == before.st_rdev


def test_what_a_link_leads_to_is_replaced(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "link.tar").symlink_to("real.tar")
    save(store, ["demo:1"], str(tmp_path / "link.tar"))
    assert (tmp_path / "link.tar").is_symlink()
    assert (tmp_path / "real.tar").stat().st_size > 1024


def test_a_stream_that_takes_little_at_a_time(store: ImageStore) -> None:
    class Narrow(io.RawIOBase):
        got = b""

        def write(self, data: Any) -> int:
            piece = bytes(data[:100])
            self.got += piece
            return len(piece)

    narrow, expected = Narrow(), io.BytesIO()
    save(store, ["demo:1"], narrow)  # type: ignore[arg-type]
    save(store, ["demo:1"], expected)
    assert narrow.got == expected.getvalue()
