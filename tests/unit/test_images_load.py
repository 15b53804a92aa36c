"""Loading images from every kind of archive, for the platform that is wanted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.archives import (
    LAYER,
    MACHINE,
    UPPER,
    Layout,
    Pipe,
    compressed,
    config_of,
    digest,
    docker_files,
    open_store,
    platforms,
    symlink,
    tar_of,
)  # fmt: skip
from tiffin.errors import InvalidImageError
from tiffin.images.load import load
from tiffin.images.store import ImageStore

REF = "org.opencontainers.image.ref.name"
LAYERS = (LAYER, UPPER)
IMAGE_ID = digest(config_of(LAYERS))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


@pytest.fixture(params=["file", "pipe"])
def source(request: pytest.FixtureRequest) -> Callable[[bytes], Any]:
    """The archive as something that can be sought, and as something that cannot."""
    return io.BytesIO if request.param == "file" else Pipe


def _check(store: ImageStore, image_id: str = IMAGE_ID, layers: tuple[bytes, ...] = LAYERS) -> None:
    image = store.get(image_id)
    assert image.layers == tuple(digest(layer) for layer in layers)
    for layer in layers:
        out = io.BytesIO()
        store.layers.write_tar(digest(layer), out)
        assert out.getvalue() == layer
    assert store.driver.image_ready(image_id)
    assert store.driver.image_file(image_id, "/bin/tool") == b"#!/bin/sh\n" * 50


@pytest.mark.parametrize("pack", ["", "gzip", "zstd"])
def test_docker_archive(store: ImageStore, source: Callable[[bytes], Any], pack: str) -> None:
    images = load(store, source(tar_of(docker_files(LAYERS, ["demo:1", "registry.example/demo:1"], pack=pack))))
    assert [image.names for image in images] == [("demo:1", "registry.example/demo:1")]
    _check(store)


def test_docker_archive_with_links(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    """Docker wrote a layer that repeats as a symlink, in the order of the IDs: also before its target."""
    files = docker_files((LAYER, UPPER, LAYER))
    first, third = f"{0:064x}/layer.tar", f"{2:064x}/layer.tar"
    files[third] = files[first]
    files[first] = symlink(f"../{2:064x}/layer.tar")
    files = {name: files[name] for name in sorted(files)}
    image = load(store, source(tar_of(files)))[0]
    assert image.layers == (digest(LAYER), digest(UPPER), digest(LAYER))


def test_docker_archive_with_hard_link(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = docker_files((LAYER, LAYER))
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.LNKTYPE, f"{0:064x}/layer.tar"
    files[f"{1:064x}/layer.tar"] = link
    assert load(store, source(tar_of(files)))[0].layers == (digest(LAYER),) * 2


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_compressed_archive(store: ImageStore, source: Callable[[bytes], Any], pack: str) -> None:
    load(store, source(compressed(tar_of(docker_files(LAYERS)), pack)))
    _check(store)


@pytest.mark.parametrize("pack", ["", "gzip", "zstd"])
def test_oci_archive(store: ImageStore, source: Callable[[bytes], Any], pack: str) -> None:
    layout = Layout()
    manifest = layout.image(LAYERS, pack=pack, annotations={REF: "demo:1"})
    image = load(store, source(layout.top(manifest).tar()))[0]
    assert image.names == ("demo:1",)
    assert image.digests == (f"demo@{manifest['digest']}",)
    _check(store)


@pytest.mark.parametrize("pack", ["", "gzip", "zstd"])
def test_oci_directory(store: ImageStore, tmp_path: Path, pack: str) -> None:
    layout = Layout()
    path = layout.top(layout.image(LAYERS, pack=pack)).write(tmp_path / "layout")
    load(store, path)
    _check(store)


def test_file_by_name(store: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(docker_files(LAYERS)))
    seen: list[int] = []
    load(store, str(path), progress=seen.append)
    _check(store)
    assert seen == sorted(seen)
    assert seen[-1] == len(LAYER) + len(UPPER)


def test_a_member_called_dot_slash(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    files = {f"./{name}": content for name, content in docker_files(LAYERS).items()}
    load(store, source(tar_of(files)))
    _check(store)


def test_several_images_share_layers(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    images = load(
        store,
        source(
            layout.top(
                layout.image((LAYER,), annotations={REF: "a:1"}),
                layout.image(LAYERS, annotations={REF: "b:1"}),
                layout.image(LAYERS, annotations={REF: "b:2"}),
            ).tar()
        ),
    )
    assert [image.names for image in images] == [("a:1",), ("b:1", "b:2")]


def test_image_without_layers(store: ImageStore, source: Callable[[bytes], Any]) -> None:
    layout = Layout()
    assert load(store, source(layout.top(layout.image(())).tar()))[0].layers == ()


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({}, ()),
        ({REF: "debian"}, ("debian:latest",)),
        ({REF: "debian:12"}, ("debian:12",)),
        ({REF: "v1.0+build"}, ()),
        ({REF: "12", "io.containerd.image.name": "registry.example/debian:12"}, ("registry.example/debian:12",)),
        ({REF: "host"}, ()),
    ],
)
def test_oci_names(store: ImageStore, annotations: dict[str, str], names: tuple[str, ...]) -> None:
    layout = Layout()
    assert load(store, io.BytesIO(layout.top(layout.image(annotations=annotations)).tar()))[0].names == names


def test_known_layer_is_not_read_again(store: ImageStore) -> None:
    files = docker_files(LAYERS)
    load(store, io.BytesIO(tar_of(files)))
    seen: list[int] = []
    load(store, io.BytesIO(tar_of(files)), progress=seen.append)
    assert seen == []


OTHER = "s390x" if MACHINE != "s390x" else "amd64"


@pytest.mark.parametrize("nested", [0, 1, 3])
def test_index_gives_the_host(store: ImageStore, source: Callable[[bytes], Any], nested: int) -> None:
    layout = Layout()
    attestation = layout.image((UPPER,), platform={"os": "unknown", "architecture": "unknown"})
    index = layout.index(*platforms(layout, f"linux/{OTHER}", f"linux/{MACHINE}"), attestation)
    for _ in range(nested):
        index = layout.index(index)
    index["annotations"] = {REF: "multi:1"}
    image = load(store, source(layout.top(index).tar()))[0]
    assert image.architecture == MACHINE
    assert image.digests == (f"multi@{index['digest']}",)


def test_index_gives_what_was_asked_for(store: ImageStore) -> None:
    layout = Layout()
    archive = layout.top(layout.index(*platforms(layout, f"linux/{MACHINE}", f"linux/{OTHER}"))).tar()
    assert load(store, io.BytesIO(archive), platform=f"linux/{OTHER}")[0].architecture == OTHER


def test_platforms_side_by_side_in_the_top_index(store: ImageStore) -> None:
    layout = Layout()
    images = load(store, io.BytesIO(layout.top(*platforms(layout, f"linux/{OTHER}", f"linux/{MACHINE}")).tar()))
    assert [image.architecture for image in images] == [MACHINE]


def test_single_image_of_another_platform_loads(store: ImageStore) -> None:
    layout = Layout()
    assert load(store, io.BytesIO(layout.top(*platforms(layout, f"linux/{OTHER}")).tar()))[0].architecture == OTHER


@pytest.mark.parametrize("asked", [None, "linux/riscv64"])
def test_no_matching_platform(store: ImageStore, asked: str | None) -> None:
    layout = Layout()
    archive = layout.top(layout.index(*platforms(layout, f"linux/{OTHER}", "linux/mips64le"))).tar()
    with pytest.raises(InvalidImageError) as caught:
        load(store, io.BytesIO(archive), platform=asked)
    wanted, hint = (asked, "") if asked else (_host(), " (choose one of them with --platform)")
    assert str(caught.value) == f"the archive has no image for {wanted}, it has linux/{OTHER}, linux/mips64le{hint}"


def _host() -> str:
    from tiffin.images.platform import host_platform

    return str(host_platform())


def test_docker_archive_for_another_platform(store: ImageStore) -> None:
    archive = tar_of(docker_files((LAYER,)))
    with pytest.raises(InvalidImageError) as caught:
        load(store, io.BytesIO(archive), platform=f"linux/{OTHER}")
    assert str(caught.value).startswith(f"the archive has no image for linux/{OTHER}")
    assert str(caught.value).endswith(f", it has linux/{MACHINE}")
