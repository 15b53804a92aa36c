"""Archives that are broken, or made by somebody hostile: an exact error, and nothing appears."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.archives import (
    LAYER,
    MACHINE,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    UPPER,
    Layout,
    Pipe,
    compressed,
    config_of,
    digest,
    docker_files,
    hexdigest,
    open_store,
    platforms,
    symlink,
    tar_of,
    to_json,
)  # fmt: skip
from tiffin.errors import InvalidImageError, NotSupportedError, TiffinError, UsageError
from tiffin.images.load import load
from tiffin.images.store import ImageStore

REF = "org.opencontainers.image.ref.name"
LAYERS = (LAYER, UPPER)
OTHER = "s390x" if MACHINE != "s390x" else "amd64"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


@pytest.fixture(params=["file", "pipe"])
def source(request: pytest.FixtureRequest) -> Callable[[bytes], Any]:
    """The archive as something that can be sought, and as something that cannot."""
    return io.BytesIO if request.param == "file" else Pipe


def _nothing_filed(store: ImageStore) -> None:
    assert store.list() == []
    assert store.database.rows("SELECT * FROM layers") == []


def _refused(store: ImageStore, source: Any, message: str, kind: type[TiffinError] = InvalidImageError) -> None:
    with pytest.raises(kind) as caught:
        load(store, source)
    assert str(caught.value) == message
    _nothing_filed(store)


def test_blob_with_wrong_content(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    layout.top(layout.image(LAYERS))
    spoiled = LAYER.replace(b"tiffin", b"TIFFIN")
    layout.files[f"blobs/sha256/{hexdigest(LAYER)}"] = spoiled
    with pytest.raises(InvalidImageError) as caught:
        load(store, source(layout.tar()))
    assert str(caught.value) in (
        f"layer {digest(LAYER)}: layer {digest(spoiled)} does not match its digest: expected {digest(LAYER)}",
        f"layer {digest(LAYER)} does not match its digest: its content is {digest(spoiled)}",
    )
    _nothing_filed(store)


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_compressed_blob_with_wrong_content(store: ImageStore, source: Callable[[bytes], Any], pack: str) -> None:
    layout = Layout()
    layout.top(layout.image((LAYER,), pack=pack))
    good, wrong = compressed(LAYER, pack), compressed(LAYER, pack) + compressed(b"", pack)
    layout.files[f"blobs/sha256/{hexdigest(good)}"] = wrong
    with pytest.raises(InvalidImageError) as caught:
        load(store, source(layout.tar()))
    assert str(caught.value) in (
        f"layer {digest(good)} has {len(wrong)} bytes, {len(good)} were declared",
        f"layer {digest(good)} does not match its digest: its content is {digest(wrong)}",
    )
    _nothing_filed(store)


def test_layer_that_is_not_its_diff_id(store: ImageStore) -> None:
    files = docker_files((LAYER,))
    files[f"{0:064x}/layer.tar"] = UPPER
    name = f"{0:064x}/layer.tar"
    _refused(
        store,
        io.BytesIO(tar_of(files)),
        f"layer '{name}': layer {digest(UPPER)} does not match its digest: expected {digest(LAYER)}",
    )
    _refused(
        store, Pipe(tar_of(files)), f"layer '{name}' has the diff_id {digest(UPPER)}, the config says {digest(LAYER)}"
    )


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
def test_missing_blob(store: ImageStore, source: Callable[[bytes], Any], what: str) -> None:
    layout = Layout()
    manifest = layout.image((LAYER,))
    gone = {"manifest": manifest["digest"], "config": digest(config_of((LAYER,))), "layer": digest(LAYER)}[what]
    del layout.top(manifest).files[f"blobs/{gone.replace(':', '/')}"]
    _refused(store, source(layout.tar()), f"{what} {gone} is missing from the archive")


def test_missing_blob_in_directory(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    path = layout.top(layout.image((LAYER,))).write(tmp_path / "layout")
    os.unlink(f"{path}/blobs/sha256/{hexdigest(LAYER)}")
    _refused(store, path, f"layer {digest(LAYER)} is missing from {path!r}")


def test_directory_with_fifo_or_link_for_a_blob(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    path = layout.top(layout.image((LAYER,))).write(tmp_path / "layout")
    blob = f"{path}/blobs/sha256/{hexdigest(LAYER)}"
    os.unlink(blob)
    os.mkfifo(blob)
    _refused(store, path, f"layer {digest(LAYER)} is not a regular file in {path!r}")
    os.unlink(blob)
    os.symlink("/etc/shadow", blob)
    with pytest.raises(TiffinError) as caught:
        load(store, path)
    assert str(caught.value) == f"cannot read layer {digest(LAYER)}: Too many levels of symbolic links {blob!r}"


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
def test_wrong_size(store: ImageStore, source: Callable[[bytes], Any], what: str) -> None:
    layout = Layout()
    config = config_of((LAYER,))
    blobs = {"config": layout.blob(config, OCI_CONFIG), "layer": layout.blob(LAYER, OCI_LAYER)}
    if what in blobs:
        blobs[what]["size"] += 1
    manifest = layout.blob(to_json({"config": blobs["config"], "layers": [blobs["layer"]]}), OCI_MANIFEST)
    blobs["manifest"] = manifest
    if what == "manifest":
        manifest["size"] += 1
    bad = blobs[what]
    message = f"{what} {bad['digest']} has {bad['size'] - 1} bytes, {bad['size']} were declared"
    _refused(store, source(layout.top(manifest).tar()), message)


def test_manifest_that_is_not_its_digest(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    manifest = layout.image((LAYER,))
    path = f"blobs/{manifest['digest'].replace(':', '/')}"
    layout.top(manifest).files[path] = spoiled = layout.files[path].replace(b"schemaVersion", b"schemaversion")
    message = f"manifest {manifest['digest']} does not match its digest: its content is {digest(spoiled)}"
    _refused(store, source(layout.tar()), message)


def test_config_that_is_not_its_name(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = docker_files((LAYER,))
    name = f"{hexdigest(config_of((LAYER,)))}.json"
    files[name] = spoiled = config_of((LAYER,), author="mallory")
    message = f"config {name!r} does not match its digest: its content is {digest(spoiled)}"
    _refused(store, source(tar_of(files)), message)


def test_index_loop(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    """An index cannot contain its own digest, so a loop shows as content that is not its digest, or as depth."""
    layout = Layout()
    looping = layout.index(*platforms(layout, f"linux/{MACHINE}"))
    path = f"blobs/{looping['digest'].replace(':', '/')}"
    layout.files[path] = spoiled = to_json({"manifests": [looping]})
    looping["size"] = len(spoiled)
    layout.files[path] = spoiled = to_json({"manifests": [looping]})
    message = f"index {looping['digest']} does not match its digest: its content is {digest(spoiled)}"
    _refused(store, source(layout.top(looping).tar()), message)


def test_index_too_deep(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    index = layout.index(*platforms(layout, f"linux/{MACHINE}"))
    for _ in range(5):
        deepest, index = index, layout.index(index)
    del deepest
    with pytest.raises(InvalidImageError) as caught:
        load(store, source(layout.top(index).tar()))
    assert str(caught.value).startswith("index sha256:")
    assert str(caught.value).endswith(" is nested more than 4 deep")
    _nothing_filed(store)


def test_index_with_too_many(store: ImageStore) -> None:
    layout = Layout()
    manifest = layout.image((LAYER,))
    _refused(
        store,
        io.BytesIO(layout.top(*[manifest] * 10_001).tar()),
        "the archive's indexes list more than 10000 manifests",
    )


def test_huge_manifest(store: ImageStore, source: Callable[[bytes], Any], tmp_path: Path) -> None:
    huge = b"[" + b" " * (50 << 20) + b"]"
    message = f"manifest.json has {len(huge)} bytes; the limit is 8388608"
    _refused(store, source(tar_of({"manifest.json": huge})), message)
    layout = Layout()
    layout.files["index.json"] = huge
    path = layout.write(tmp_path / "layout")
    _refused(store, path, f"index.json has {len(huge)} bytes; the limit is 8388608")


def test_many_big_documents_in_a_stream(store: ImageStore) -> None:
    files = {f"{n}.json": b"{" + b" " * (7 << 20) for n in range(6)}
    _refused(
        store,
        Pipe(tar_of(files)),
        "the archive has more than 32 MiB of manifests and configs (load it from a file instead of a stream)",
    )


@pytest.mark.parametrize("path", ["/etc/shadow", "../../etc/shadow", "a/../../b", "a\0b"])
@pytest.mark.parametrize("field", ["Config", "Layers"])
def test_manifest_that_points_outside(store: ImageStore, source: Callable[[bytes], Any], path: str, field: str) -> None:
    files = docker_files((LAYER,))
    manifest = json.loads(files["manifest.json"])  # type: ignore[arg-type]
    manifest[0][field] = path if field == "Config" else [path]
    files["manifest.json"] = to_json(manifest)
    _refused(store, source(tar_of(files)), f"manifest.json names {path!r}, which is not a path inside the archive")


def test_member_that_points_outside(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    archive = tar_of({"../../evil": b"x", **docker_files((LAYER,))})
    _refused(store, source(archive), "the archive names a path outside of itself: '../../evil'")


def test_link_loop(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = docker_files((LAYER,))
    name = f"{0:064x}/layer.tar"
    files[name] = symlink("../other")
    files["other"] = symlink(name)
    _refused(store, source(tar_of(files)), f"the archive member {name!r} leads through more than 10 links")


def test_link_outside(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = docker_files((LAYER,))
    name = f"{0:064x}/layer.tar"
    files[name] = symlink("../../../../etc/shadow")
    _refused(store, source(tar_of(files)), f"layer {name!r} is missing from the archive")


def test_descriptor_that_points_outside(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    bad = {"mediaType": OCI_MANIFEST, "digest": "sha256:../../../../etc/shadow", "size": 1}
    message = "index.json has a descriptor with the invalid digest 'sha256:../../../../etc/shadow'"
    _refused(store, source(Layout().top(bad).tar()), message)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"size": -1}, "index.json has a descriptor with the invalid size -1"),
        ({"size": True}, "index.json has a descriptor with the invalid size True"),
        ({"size": "1"}, "index.json has a descriptor with the invalid size '1'"),
        ({"digest": None}, "index.json has a descriptor with the invalid digest None"),
        ({"mediaType": 1}, "index.json has a descriptor without a media type"),
        ({"annotations": {"a": 1}}, "index.json has annotations that are not texts"),
        ({"platform": []}, "index.json has a platform that is not an object"),
        ({"platform": {}}, "index.json has a platform without an architecture"),
    ],
)
def test_bad_descriptor(store: ImageStore, spoil: dict[str, Any], message: str) -> None:
    layout = Layout()
    _refused(store, io.BytesIO(layout.top({**layout.image((LAYER,)), **spoil}).tar()), message)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{}", "manifest.json is not a list of objects"),
        ("[1]", "manifest.json is not a list of objects"),
        ("[]", "manifest.json lists no images"),
        ("[{}]", "manifest.json has Config without a path"),
        ('[{"Config": "c.json", "Layers": [1]}]', "manifest.json has Layers without a path"),
        ('[{"Config": "c.json", "Layers": {"a": 1}}]', "manifest.json has Layers or RepoTags that are not lists"),
        ('[{"Config": "missing.json"}]', "config 'missing.json' is missing from the archive"),
        (
            '[{"Config": "c.json", "RepoTags": ["A"], "Layers": []}]',
            (
                "the archive gives the image a bad name: "
                "invalid reference format: repository name 'A' must be lowercase: 'A'"
            ),
        ),
        (
            '[{"Config": "c.json", "RepoTags": ["host:latest"], "Layers": []}]',
            "the archive gives the image a bad name: the image name 'host' is reserved for the host's own system",
        ),
        ('[{"Config": "c.json", "RepoTags": [1]}]', "the archive gives the image a name that is not text: 1"),
        (
            '[{"Config": "c.json", "Layers": ["x"]}]',
            f"the manifest of image {digest(config_of(()))} has 1 layers, its config has 0",
        ),
    ],
)
def test_bad_docker_manifest(store: ImageStore, source: Callable[[bytes], Any], manifest: str, message: str) -> None:
    archive = tar_of({"c.json": config_of(()), "manifest.json": manifest.encode()})
    _refused(store, source(archive), message)


def test_bad_layouts(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    def refused(message: str, layout: Layout, kind: type[TiffinError] = InvalidImageError) -> None:
        _refused(store, source(layout.tar()), message, kind)

    layout = Layout().top()
    refused("index.json lists no images", layout)
    layout.files["oci-layout"] = b'{"imageLayoutVersion": "2.0"}'
    refused("the image layout has the version '2.0', only 1.0.0 is known", layout, NotSupportedError)
    layout = Layout()
    layout.files["index.json"] = b"{}"
    refused("index.json has no list of manifests", layout)
    layout = Layout()
    chart = layout.blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    manifest = layout.blob(to_json({"config": chart, "layers": []}), OCI_MANIFEST)
    refused(
        f"manifest {manifest['digest']} is not of a container image: its config is "
        "'application/vnd.cncf.helm.config.v1+json'",
        layout.top(manifest),
    )
    for media_type, reason, kind in (
        (OCI_LAYER + "+encrypted", "is encrypted, which is not supported", NotSupportedError),
        ("text/plain", "has the unknown media type 'text/plain'", InvalidImageError),
    ):
        layout = Layout()
        config = layout.blob(config_of((LAYER,)), OCI_CONFIG)
        manifest = layout.blob(to_json({"config": config, "layers": [layout.blob(LAYER, media_type)]}), OCI_MANIFEST)
        refused(f"layer {digest(LAYER)} {reason}", layout.top(manifest), kind)
    layout = Layout()
    index = layout.index()
    refused(f"index {index['digest']} lists no images", layout.top(index))


def test_truncated_file(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    archive = tar_of(docker_files(LAYERS))
    for cut in (700, 5000, len(archive) // 2):
        with pytest.raises(InvalidImageError) as caught:
            load(store, source(archive[:cut]))
        assert "truncated" in str(caught.value) or "missing from the archive" in str(caught.value), cut
        _nothing_filed(store)


def test_truncated_layer(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    short = LAYER[:700]
    files = docker_files((short,))
    name = f"{0:064x}/layer.tar"
    _refused(store, source(tar_of(files)), f"layer {name!r}: the archive is truncated: it ends at byte 700")


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_truncated_compressed_layer(store: ImageStore, source: Callable[[bytes], Any], pack: str) -> None:
    files = docker_files((LAYER,), pack=pack)
    name = f"{0:064x}/layer.tar"
    files[name] = files[name][:-3]  # type: ignore[index]
    message = f"layer {name!r} is cut off: its {pack} stream ends too early"
    _refused(store, source(tar_of(files)), message)


def test_truncated_compressed_archive(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    archive = gzip.compress(tar_of(docker_files(LAYERS)))
    _refused(store, source(archive[:-10]), "the archive is cut off: its gzip stream ends too early")


def test_bomb(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    """2 GiB of zeros in 2 MB: stopped at the limit, not stored."""
    entry = tarfile.TarInfo("zeros")
    entry.size = 4 << 30
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as out:
        out.write(entry.tobuf())
        for _ in range(1100):
            out.write(bytes(1 << 20))
    import zstandard

    frames = zstandard.ZstdCompressor().compressobj()
    bomb = frames.compress(entry.tobuf())
    for _ in range(1100):
        bomb += frames.compress(bytes(1 << 20))
    bomb += frames.flush()
    config = to_json(
        {"architecture": MACHINE, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    )
    name = f"{hexdigest(config)}.json"
    manifest = to_json([{"Config": name, "Layers": ["layer.tar"]}])
    archive = tar_of({"layer.tar": bomb, name: config, "manifest.json": manifest})
    message = (
        f"layer 'layer.tar': the layer unpacks to more than 1073741824 bytes from {len(bomb)}; the limit is 1000 to 1"
    )
    _refused(store, source(archive), message)


def test_not_an_image_archive(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    message = (
        "this is not an image archive: it has neither manifest.json nor index.json "
        "(`tiffin import` takes the tar of a root file system)"
    )
    _refused(store, source(tar_of({"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "dev/null": _device()})), message)
    _refused(
        store,
        source(tar_of({"repositories": b"{}"})),
        "the archive has 'repositories' but no manifest.json: it was written by a Docker older than 1.10 "
        "(load it with a newer Docker and save it again)",
        NotSupportedError,
    )
    _refused(
        store, source(b"\x7fELF" + bytes(2000)), "this is not a tar archive: its first header has a wrong checksum"
    )
    _refused(store, source(b""), "the archive is empty (0 bytes)")


def _device() -> tarfile.TarInfo:
    entry = tarfile.TarInfo()
    entry.type, entry.devmajor, entry.devminor = tarfile.CHRTYPE, 1, 3
    return entry


def test_layer_that_is_no_tar(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = docker_files((LAYER,))
    name = f"{0:064x}/layer.tar"
    files[name] = b"\x7fELF" + bytes(1000)
    with pytest.raises(InvalidImageError) as caught:
        load(store, source(tar_of(files)))
    assert str(caught.value) in (
        f"layer {name!r}: this is not a tar archive: its first header has a wrong checksum",
        f"layer {name!r} is not a tar archive, neither plain nor compressed",
    )


def test_second_image_broken_means_none_appears(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    layout.top(layout.image((LAYER,), annotations={REF: "a:1"}), layout.image(LAYERS, annotations={REF: "b:1"}))
    del layout.files[f"blobs/sha256/{hexdigest(UPPER)}"]
    _refused(store, source(layout.tar()), f"layer {digest(UPPER)} is missing from the archive")


def test_source_that_is_not_there(store: ImageStore, tmp_path: Path) -> None:
    path = str(tmp_path / "no.tar")
    with pytest.raises(TiffinError) as caught:
        load(store, path)
    assert str(caught.value) == f"cannot open the archive: No such file or directory {path!r}"
    with pytest.raises(UsageError) as caught:
        load(store, path, platform="linux/")
    assert str(caught.value) == "invalid platform 'linux/' (write it as os/architecture[/variant]: linux/arm64)"
