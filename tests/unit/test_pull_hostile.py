"""What a registry may send that must not get in, each with its exact error; and that nothing of it stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.archives import (
    LAYER,
    MACHINE,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    UPPER,
    Layout,
    compressed,
    config_of,
    descriptor,
    digest,
    hexdigest,
    open_store,
    platforms,
    tar_of,
    to_json,
)
from harness.served import Served, served
from tiffin.errors import InvalidImageError, NotFoundError, NotSupportedError, TiffinError
from tiffin.images.store import ImageStore
from tiffin.images.transfer.pull import pull
from tiffin.registry.client import Registries
from tiffin.registry.settings import Settings
from tiffin.state import blobs

# Large enough to be unpacked by a process of its own, and not to be packed well.
NOISE = tar_of({"noise": os.urandom(3 << 20)})


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


@pytest.fixture
def registry() -> Iterator[Served]:
    with served() as server:
        yield server


def get(store: ImageStore, registry: Served, **more: Any) -> Any:
    with Registries(Settings()) as client:
        return pull(store, client, registry.name(), **more)[0]


def refused(store: ImageStore, registry: Served, message: str, kind: type[TiffinError] = InvalidImageError) -> None:
    """The exact error, and a store that is as empty as before but for finished layers."""
    with pytest.raises(kind) as caught:
        get(store, registry)
    assert caught.value.message == message
    assert type(caught.value) is kind
    assert store.list() == []
    kept = set(blobs.waiting(store.database))
    assert set(store.layers) == kept
    assert set(store.layers.objects) == {name for diff_id in kept for name in store.layers.objects_of(diff_id)}
    assert not os.path.isdir(store.paths.temporary) or os.listdir(store.paths.temporary) == []


def image(registry: Served, layers: tuple[bytes, ...] = (LAYER, UPPER), pack: str = "gzip") -> list[str]:
    """A good image under the tag "1"; the digests of its packed layers."""
    layout = Layout()
    registry.put(layout, "1", layout.image(layers, pack=pack))
    return [digest(compressed(layer, pack)) for layer in layers]


@pytest.mark.parametrize("layer", [LAYER, NOISE], ids=["small", "large"])
@pytest.mark.parametrize("pack", ["gzip", "zstd", ""])
def test_a_good_one(store: ImageStore, registry: Served, layer: bytes, pack: str) -> None:
    image(registry, (layer, UPPER), pack)
    found = get(store, registry)
    assert found.names == (registry.name(),)
    assert found.layers == (digest(layer), digest(UPPER))
    assert blobs.waiting(store.database) == []


@pytest.mark.parametrize("layer", [LAYER, NOISE], ids=["small", "large"])
def test_wrong_digest(store: ImageStore, registry: Served, layer: bytes) -> None:
    wanted = image(registry, (layer,))[0]
    other = bytearray(compressed(layer, "gzip"))
    other[-20] ^= 1
    registry.blobs[wanted] = bytes(other)
    refused(
        store, registry, f"layer {wanted} does not match its digest: its content is sha256:{hexdigest(bytes(other))}"
    )


@pytest.mark.parametrize("layer", [LAYER, NOISE], ids=["small", "large"])
def test_truncated(store: ImageStore, registry: Served, layer: bytes) -> None:
    wanted = image(registry, (layer,))[0]
    whole = compressed(layer, "gzip")
    registry.blobs[wanted] = whole[:-30]
    refused(store, registry, f"layer {wanted} has {len(whole) - 30} bytes, {len(whole)} were declared")


@pytest.mark.parametrize("layer", [LAYER, NOISE], ids=["small", "large"])
def test_endless(store: ImageStore, registry: Served, layer: bytes) -> None:
    wanted = image(registry, (layer,))[0]
    whole = compressed(layer, "gzip")

    def forever() -> Iterator[bytes]:
        yield whole
        while True:
            yield bytes(65536)

    registry.blobs[wanted] = forever
    refused(store, registry, f"layer {wanted} is larger than the {len(whole)} bytes that were declared")


def test_wrong_size(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    layer = compressed(LAYER, "gzip")
    manifest = _manifest(layout, [{**descriptor(layer, f"{OCI_LAYER}+gzip"), "size": len(layer) + 5}])
    registry.put(layout, "1", manifest)
    registry.blobs[digest(layer)] = layer
    refused(store, registry, f"layer {digest(layer)} has {len(layer)} bytes, {len(layer) + 5} were declared")


def test_another_layer_than_the_config_says(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    layer = compressed(NOISE, "gzip")
    registry.put(layout, "1", _manifest(layout, [layout.blob(layer, f"{OCI_LAYER}+gzip")]))
    refused(
        store,
        registry,
        f"layer {digest(layer)}: layer {digest(NOISE)} does not match its digest: expected {digest(LAYER)}",
    )


def test_bomb(store: ImageStore, registry: Served) -> None:
    import zstandard

    packer = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [packer.compress(tar_of({"zeros": bytes(8 << 20)}))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(1100)]
    bomb = b"".join([*parts, packer.flush()])
    layout = Layout()
    registry.put(layout, "1", _manifest(layout, [layout.blob(bomb, f"{OCI_LAYER}+zstd")]))
    refused(
        store,
        registry,
        f"layer {digest(bomb)}: the layer unpacks to more than {max(1 << 30, len(bomb) * 1000)} bytes from "
        f"{len(bomb)}; the limit is 1000 to 1",
    )


def test_a_manifest_of_50_mb(store: ImageStore, registry: Served) -> None:
    image(registry)
    body = b"{" + b" " * (50 << 20) + b"}"
    registry.manifests["1"] = registry.manifests[digest(body)] = (OCI_MANIFEST, body)
    what = f"manifest {registry.host}/app@{digest(body)}"
    refused(store, registry, f"{registry.host}: {what}: the answer has more than 4 MiB")


def test_a_config_of_50_mb(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    config = config_of((LAYER,), padding=" " * (50 << 20))
    registry.put(layout, "1", layout.image((LAYER,), config=config))
    refused(store, registry, f"config {digest(config)} has {len(config)} bytes; the limit is 8388608")


def test_a_wrong_config(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    registry.put(layout, "1", layout.image((LAYER,)))
    config = config_of((LAYER,))
    other = config.replace(b"hello", b"olleh").replace(b"a", b"b", 1)
    registry.blobs[digest(config)] = other
    refused(store, registry, f"config {digest(config)} does not match its digest: its content is {digest(other)}")


def test_an_index_that_contains_itself(store: ImageStore, registry: Served) -> None:
    """A digest cannot contain itself, so the registry lies; the body's digest tells."""
    platform = {"os": "linux", "architecture": MACHINE}
    fake = "sha256:" + "1" * 64
    inner = to_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{"mediaType": OCI_INDEX, "digest": fake, "size": 1, "platform": platform}],
        }
    )
    registry.manifests["1"] = registry.manifests[digest(inner)] = registry.manifests[fake] = (OCI_INDEX, inner)
    with pytest.raises(InvalidImageError) as caught:
        get(store, registry)
    assert caught.value.message == (
        f"manifest {registry.host}/app@{fake}: its digest is {digest(inner)} and not {fake}: "
        "it was damaged or exchanged"
    )


def test_indexes_within_indexes(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    top = layout.image((LAYER,))
    for _ in range(5):
        top = layout.index(top)
    registry.put(layout, "1", top)
    with pytest.raises(InvalidImageError, match=r"^index sha256:[0-9a-f]{64} is nested more than 4 deep$"):
        get(store, registry)


def test_manifest_and_index_at_once(store: ImageStore, registry: Served) -> None:
    body = to_json({"schemaVersion": 2, "config": {}, "layers": [], "manifests": []})
    registry.manifests["1"] = registry.manifests[digest(body)] = (OCI_MANIFEST, body)
    refused(store, registry, f"manifest {digest(body)} is ambiguous: a {OCI_MANIFEST!r} has no 'manifests'")


def test_a_manifest_that_says_it_is_something_else(store: ImageStore, registry: Served) -> None:
    body = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "config": {}, "layers": []})
    registry.manifests["1"] = registry.manifests[digest(body)] = (OCI_MANIFEST, body)
    refused(store, registry, f"manifest {digest(body)} came as {OCI_MANIFEST!r} but says that it is {OCI_INDEX!r}")


@pytest.mark.parametrize(
    ("media_type", "message"),
    [
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "manifest {} is of Docker's schema 1, which is not supported",
        ),
        ("application/x-other", "manifest {} has the unknown media type 'application/x-other'"),
    ],
)
def test_unknown_manifests(store: ImageStore, registry: Served, media_type: str, message: str) -> None:
    body = b'{"schemaVersion":1}'
    registry.manifests["1"] = registry.manifests[digest(body)] = (media_type, body)
    refused(store, registry, message.format(digest(body)), NotSupportedError)


@pytest.mark.parametrize(
    ("media_type", "kind", "message"),
    [
        ("application/x-tar", InvalidImageError, "layer {} has the unknown media type 'application/x-tar'"),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            NotSupportedError,
            "layer {} is encrypted, which is not supported",
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            NotSupportedError,
            "layer {} is foreign: registries do not have it, and other servers are not asked",
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            NotSupportedError,
            "layer {} is foreign: registries do not have it, and other servers are not asked",
        ),
    ],
)
def test_layers_of_other_types(
    store: ImageStore, registry: Served, media_type: str, kind: type[TiffinError], message: str
) -> None:
    layout = Layout()
    layer = compressed(LAYER, "gzip")
    registry.put(layout, "1", _manifest(layout, [layout.blob(layer, media_type)]))
    refused(store, registry, message.format(digest(layer)), kind)


def test_what_is_not_a_container_image(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    chart = layout.blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    body = to_json({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": chart, "layers": []})
    registry.put(layout, "1", layout.blob(body, OCI_MANIFEST))
    refused(
        store,
        registry,
        f"manifest {digest(body)} is not of a container image: its config is "
        "'application/vnd.cncf.helm.config.v1+json'",
    )


def test_zstd_where_gzip_is_announced(store: ImageStore, registry: Served) -> None:
    """The first bytes decide, as with archives."""
    layout = Layout()
    layer = compressed(LAYER, "zstd")
    registry.put(layout, "1", _manifest(layout, [layout.blob(layer, f"{OCI_LAYER}+gzip")]))
    assert get(store, registry).layers == (digest(LAYER),)


def test_no_such_platform(store: ImageStore, registry: Served) -> None:
    layout = Layout()
    top = layout.index(*platforms(layout, "linux/s390x", "linux/arm/v5"))
    registry.put(layout, "1", top)
    with pytest.raises(NotFoundError) as caught:
        get(store, registry, platform="linux/riscv64")
    assert caught.value.message == (
        f"index {top['digest']} has no image for linux/riscv64, it has linux/s390x, linux/arm/v5"
    )
    assert get(store, registry, platform="linux/arm/v7").architecture == "arm"


def test_a_good_layer_stays_for_the_next_pull(store: ImageStore, registry: Served) -> None:
    good, bad = image(registry, (NOISE, LAYER))
    whole = registry.blobs[bad]
    registry.blobs[bad] = b"nonsense"
    registry.hold.clear()

    def later() -> Iterator[bytes]:
        import time

        yield b""
        deadline = time.monotonic() + 20
        while digest(NOISE) not in set(store.layers) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield b"nonsense"

    registry.blobs[bad] = later
    registry.hold.set()
    assert isinstance(whole, bytes)
    refused(store, registry, f"layer {bad} has 8 bytes, {len(whole)} were declared")
    assert blobs.waiting(store.database) == [digest(NOISE)]
    registry.blobs[bad] = whole
    registry.asked.clear()
    assert get(store, registry).layers == (digest(NOISE), digest(LAYER))
    assert not any(good in path for path in registry.asked)
    assert blobs.waiting(store.database) == []


def _manifest(layout: Layout, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """A manifest with these descriptors of layers, and a config for one layer, `LAYER`."""
    config = layout.blob(config_of((LAYER,)), "application/vnd.oci.image.config.v1+json")
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    return layout.blob(to_json(body), OCI_MANIFEST)
