"""What `image copy` must not take, each with its exact error; and that nothing half-done is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.archives import (
    LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    UPPER,
    Layout,
    compressed,
    config_of,
    digest,
    docker_files,
    platforms,
    tar_of,
    to_json,
)
from harness.served import Served, served
from tiffin.errors import (
    ConflictError,
    InvalidImageError,
    NotFoundError,
    NotSupportedError,
    RegistryError,
    TiffinError,
    UsageError,
)
from tiffin.images.transfer.copy import copy
from tiffin.registry.client import Registries
from tiffin.registry.settings import Settings

DESTINATIONS = ("oci:{}/end", "oci-archive:{}/end", "docker-archive:{}/end", "dir:{}/end")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture
def registry(server: Served) -> Served:
    for content in (server.manifests, server.blobs, server.asked):
        content.clear()  # type: ignore[attr-defined]
    return server


def refused(source: str, destination: str, message: str, kind: type[TiffinError], **options: Any) -> None:
    with Registries(Settings()) as client, pytest.raises(kind) as caught:
        copy(client, source, destination, **options)
    assert caught.value.message == message
    assert type(caught.value) is kind


def refused_everywhere(
    registry: Served, directory: Path, message: str, kind: type[TiffinError] = InvalidImageError, **options: Any
) -> None:
    """From a registry to every kind of place: no image appears, and no file of an unfinished one stays."""
    for destination in DESTINATIONS:
        refused(f"docker://{registry.name()}", destination.format(directory), message, kind, **options)
        assert not [path for path in directory.rglob("*") if "unfinished" in path.name]
        end = directory / "end"
        if destination.startswith("oci:"):
            assert not (end / "index.json").exists()
            for blob in end.glob("blobs/sha256/*"):
                assert digest(blob.read_bytes()) == f"sha256:{blob.name}"
                blob.unlink()
            _remove(end)
        assert not end.exists()


def _remove(end: Path) -> None:
    for path in sorted(end.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if end.exists():
        end.rmdir()


def image(registry: Served, layers: tuple[bytes, ...] = (LAYER, UPPER), pack: str = "gzip") -> list[str]:
    """A good image under the tag "1"; the digests of its packed layers."""
    layout = Layout()
    registry.put(layout, "1", layout.image(layers, pack=pack))
    return [digest(compressed(layer, pack)) for layer in layers]


def test_wrong_digest(registry: Served, tmp_path: Path) -> None:
    wanted = image(registry)[0]
    other = bytearray(compressed(LAYER, "gzip"))
    other[-20] ^= 1
    registry.blobs[wanted] = bytes(other)
    refused_everywhere(
        registry, tmp_path, f"layer {wanted} does not match its digest: its content is {digest(bytes(other))}"
    )


def test_wrong_config(registry: Served, tmp_path: Path) -> None:
    image(registry)
    wanted = digest(config_of((LAYER, UPPER)))
    other = config_of((LAYER, UPPER)).replace(b"tool", b"fool")
    registry.blobs[wanted] = other
    refused_everywhere(registry, tmp_path, f"config {wanted} does not match its digest: its content is {digest(other)}")


def test_truncated(registry: Served, tmp_path: Path) -> None:
    wanted = image(registry)[0]
    whole = compressed(LAYER, "gzip")
    registry.blobs[wanted] = whole[:-30]
    refused_everywhere(registry, tmp_path, f"layer {wanted} has {len(whole) - 30} bytes, {len(whole)} were declared")


def test_endless(registry: Served, tmp_path: Path) -> None:
    wanted = image(registry)[0]
    whole = compressed(LAYER, "gzip")

    def forever() -> Iterator[bytes]:
        yield whole
        while True:
            yield bytes(65536)

    registry.blobs[wanted] = forever
    refused_everywhere(registry, tmp_path, f"layer {wanted} is larger than the {len(whole)} bytes that were declared")


def test_missing_blob(registry: Served, tmp_path: Path) -> None:
    wanted = image(registry)[1]
    del registry.blobs[wanted]
    refused_everywhere(registry, tmp_path, f"{registry.host}: blob {wanted}: name unknown", NotFoundError)


def test_no_such_tag(registry: Served, tmp_path: Path) -> None:
    refused_everywhere(registry, tmp_path, f"manifest for {registry.name()} not found: name unknown", NotFoundError)


def test_a_page_for_browsers(registry: Served, tmp_path: Path) -> None:
    registry.manifests["1"] = ("text/html", b"<!DOCTYPE html><html><title>Sign in</title></html>")
    refused_everywhere(
        registry,
        tmp_path,
        f"{registry.host}: manifest {registry.name()}: answered with a web page (HTTP 200), so it is no registry,"
        " or something stands before it",
        RegistryError,
    )


def test_unknown_media_types(registry: Served, tmp_path: Path) -> None:
    body = to_json({"schemaVersion": 2, "config": {}, "layers": []})
    registry.manifests["1"] = ("application/x-other", body)
    refused_everywhere(
        registry,
        tmp_path,
        f"manifest {digest(body)} has the unknown media type 'application/x-other'",
        NotSupportedError,
    )
    schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.manifests["1"] = (schema_1, body)
    refused_everywhere(
        registry,
        tmp_path,
        f"manifest {digest(body)} is of Docker's schema 1, which is not supported",
        NotSupportedError,
    )
    layout = Layout()
    other = layout.blob(b"what?", "application/x-other")
    top = layout.index(*platforms(layout, "linux/s390x"), other)
    registry.put(layout, "1", top)
    refused_everywhere(
        registry,
        tmp_path,
        f"manifest {other['digest']} has the unknown media type 'application/x-other'",
        NotSupportedError,
        all=True,
    )


def test_a_foreign_layer(registry: Served, tmp_path: Path) -> None:
    layout = Layout()
    foreign = {
        "mediaType": f"{OCI_LAYER.replace('layer.', 'layer.nondistributable.')}",
        "digest": digest(b"x"),
        "size": 1,
    }
    config = layout.blob(config_of((LAYER,)), "application/vnd.oci.image.config.v1+json")
    manifest = to_json({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [foreign]})
    registry.put(layout, "1", layout.blob(manifest, OCI_MANIFEST))
    refused_everywhere(
        registry,
        tmp_path,
        f"layer {foreign['digest']} is foreign: registries do not have it, and other servers are not asked",
        NotSupportedError,
    )


@pytest.mark.parametrize("all", [False, True])
def test_indexes_nested_too_deep(registry: Served, tmp_path: Path, all: bool) -> None:
    layout = Layout()
    top = layout.index(*platforms(layout, "linux/amd64", "linux/arm64"))
    for _ in range(5):
        top = layout.index(top)
    registry.put(layout, "1", top)
    refused_everywhere(registry, tmp_path, f"index {top['digest']} is nested more than 4 deep", all=all)


@pytest.mark.parametrize("all", [False, True])
def test_an_index_that_contains_itself(registry: Served, tmp_path: Path, all: bool) -> None:
    """That it does not have its own digest is found before anything else of it is believed."""
    claimed = digest(b"the loop")
    entry = {"mediaType": OCI_INDEX, "digest": claimed, "size": 999}
    body = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    registry.manifests["1"] = registry.manifests[claimed] = (OCI_INDEX, body)
    refused_everywhere(
        registry,
        tmp_path,
        f"manifest {registry.host}/app@{claimed}: its digest is {digest(body)} and not {claimed}:"
        " it was damaged or exchanged",
        all=all,
    )


def test_another_type_than_announced(registry: Served, tmp_path: Path) -> None:
    layout = Layout()
    member = platforms(layout, "linux/s390x")[0]
    registry.put(layout, "1", layout.index(member))
    registry.manifests[member["digest"]] = (OCI_INDEX, registry.manifests[member["digest"]][1])
    refused_everywhere(
        registry,
        tmp_path,
        f"{member['digest']} was announced as '{OCI_MANIFEST}' but came as '{OCI_INDEX}'",
        all=True,
    )


def test_another_layer_than_the_config_says(registry: Served, tmp_path: Path) -> None:
    """Nobody looks into layers but where they are unpacked."""
    layout = Layout()
    registry.put(layout, "1", layout.image((UPPER,), config=config_of((LAYER,)), pack="gzip"))
    layer = digest(compressed(UPPER, "gzip"))
    refused(
        f"docker://{registry.name()}",
        f"docker-archive:{tmp_path}/end",
        f"layer {layer} has the diff_id {digest(UPPER)}, the config says {digest(LAYER)}",
        InvalidImageError,
    )
    assert list(tmp_path.iterdir()) == []


def test_destinations_that_exist(registry: Served, tmp_path: Path) -> None:
    image(registry)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    source = f"docker://{registry.name()}"
    full, file, fifo = (f"{tmp_path}/{name}" for name in ("full", "file", "fifo"))
    refused(source, f"oci:{full}:1", f"'{full}' exists and is no image layout", ConflictError)
    refused(source, f"dir:{full}", f"'{full}' exists and is not an empty directory", ConflictError)
    refused(source, f"dir:{file}", f"'{file}' exists and is not an empty directory", ConflictError)
    for transport in ("oci-archive", "docker-archive"):
        refused(source, f"{transport}:{file}", f"'{file}' exists", ConflictError)
        refused(source, f"{transport}:{fifo}", f"'{fifo}' exists and is not a regular file", NotSupportedError)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "file", "full"]


def test_a_registry_gets_what_it_was_promised(registry: Served, tmp_path: Path) -> None:
    image(registry)
    found = registry.manifests["1"][1]
    other = digest(b"other")
    refused(
        f"docker://{registry.name()}",
        f"docker://{registry.host}/app@{other}",
        f"what would be stored as docker://{registry.host}/app@{other} has the digest {digest(found)}",
        UsageError,
    )


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    none, end = f"{tmp_path}/none", f"dir:{tmp_path}/end"
    refused(f"oci:{none}", end, f"there is no image layout '{none}'", NotFoundError)
    refused(f"dir:{none}", end, f"there is no directory '{none}'", NotFoundError)
    refused(f"oci-archive:{none}", end, f"there is no archive '{none}'", NotFoundError)
    refused(f"docker-archive:{none}", end, f"there is no archive '{none}'", NotFoundError)
    (tmp_path / "empty").mkdir()
    empty = f"{tmp_path}/empty"
    refused(f"oci:{empty}", end, f"index.json is missing from '{empty}'", InvalidImageError)
    refused(f"dir:{empty}", end, f"manifest.json is missing from '{empty}'", InvalidImageError)


def test_archives_that_are_not_as_they_should_be(tmp_path: Path) -> None:
    file, end = tmp_path / "a.tar", f"dir:{tmp_path}/end"
    file.write_bytes(compressed(tar_of(docker_files()), "gzip"))
    refused(f"docker-archive:{file}", end, f"the archive '{file}' is compressed (gzip)", NotSupportedError)
    files = docker_files((LAYER,))
    files[f"{0:064x}/layer.tar"] = UPPER
    file.write_bytes(tar_of(files))
    refused(
        f"docker-archive:{file}",
        end,
        f"layer {digest(LAYER)} does not match its digest: its content is {digest(UPPER)}",
        InvalidImageError,
    )
    files[f"{0:064x}/layer.tar"] = compressed(UPPER, "gzip")
    file.write_bytes(tar_of(files))
    refused(
        f"docker-archive:{file}",
        end,
        f"layer '{0:064x}/layer.tar' has the diff_id {digest(UPPER)}, the config says {digest(LAYER)}",
        InvalidImageError,
    )
    assert not (tmp_path / "end").exists()


def test_what_a_layout_lacks(tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image((LAYER,))
    layout.top(image)
    del layout.files[f"blobs/sha256/{digest(LAYER)[7:]}"]
    layout.write(tmp_path / "layout")
    refused(
        f"oci:{tmp_path}/layout",
        f"dir:{tmp_path}/end",
        f"blob {digest(LAYER)} is missing from '{tmp_path}/layout'",
        InvalidImageError,
    )
    (tmp_path / "layout.tar").write_bytes(layout.tar())
    refused(
        f"oci-archive:{tmp_path}/layout.tar",
        f"dir:{tmp_path}/end",
        f"blob {digest(LAYER)} is missing from the archive",
        InvalidImageError,
    )
    layout.files["oci-layout"] = b'{"imageLayoutVersion":"2.0.0"}'
    layout.write(tmp_path / "layout")
    for source, end in (("layout", "end"), ("good", "layout:1")):
        good = Layout()
        good.top(good.image((LAYER,))).write(tmp_path / "good")
        refused(
            f"oci:{tmp_path}/{source}",
            f"oci:{tmp_path}/{end}",
            "the image layout has the version '2.0.0', only 1.0.0 is known",
            NotSupportedError,
        )


def test_a_version_of_dir_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "version").write_bytes(b"Directory Transport Version: 2.0\n")
    refused(
        f"dir:{tmp_path}",
        f"oci:{tmp_path}/end",
        f"'{tmp_path}' has a version that is not known: b'Directory Transport Version: 2.0\\n'",
        NotSupportedError,
    )


def test_options_that_make_no_sense_together(tmp_path: Path) -> None:
    refused("oci:a", "oci:b", "there is no manifest format 'v1'", UsageError, format="v1")
    refused(
        "oci:a", "oci:b", "--all means every platform: it does not go with --platform", UsageError,
        all=True, platform="arm64",
    )  # fmt: skip
    refused(
        "oci:a", "docker-archive:b",
        "--format makes no sense for 'docker-archive:b': an archive of `docker save` has no manifests", UsageError,
        format="oci",
    )  # fmt: skip
    layout = Layout()
    layout.top(layout.index(*platforms(layout, "linux/amd64", "linux/arm64"))).write(tmp_path / "a")
    refused(
        f"oci:{tmp_path}/a", f"docker-archive:{tmp_path}/b",
        f"'docker-archive:{tmp_path}/b' holds an image for one platform only", UsageError,
        all=True,
    )  # fmt: skip


def test_the_policy_is_asked_first(registry: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(to_json({"default": [{"type": "reject"}]}))
    monkeypatch.setenv("TIFFIN_POLICY", str(path))
    image(registry)
    refused(
        f"docker://{registry.name()}",
        f"dir:{tmp_path}/end",
        f"the policy '{path}' refuses the image {registry.name()}: it rejects every image of that name",
        InvalidImageError,
    )
    assert not [asked for asked in registry.asked if "/blobs/" in asked]
    layout = Layout()
    layout.top(layout.image()).write(tmp_path / "layout")
    refused(
        f"oci:{tmp_path}/layout",
        f"dir:{tmp_path}/end",
        f"the policy '{path}' refuses the image oci:{tmp_path}/layout: it rejects every image of that name",
        InvalidImageError,
    )
