"""The registry client against Debian's docker-registry: manifests, blobs, uploads, tags."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.registries import RegistryServer, registry
from tiffin.errors import NotFoundError
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.registry.settings import Settings

OCI = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("plain")) as running:
        yield running


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registries]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Registries(Settings()) as registries:
        yield registries


def put(client: Registries, repository: Repository, data: bytes, **options: int) -> str:
    return client.upload_blob(
        repository,
        lambda: contextlib.nullcontext(io.BytesIO(data)),
        digest=digest_of(data),
        size=len(data),
        **options,  # type: ignore[arg-type]
    )


def image(client: Registries, repository: Repository, tag: str, layer: bytes = b"layer") -> str:
    """Push a manifest with one layer and no real contents."""
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": put(client, repository, config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": put(client, repository, layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    return client.put_manifest(repository, tag, OCI, body)


def test_a_manifest_comes_back_as_it_went(client: Registries, server: RegistryServer) -> None:
    repository = Repository(host=server.host, path="team/app")
    digest = image(client, repository, "v1")
    resolved = client.resolve(repository, "v1")
    assert (resolved.digest, resolved.media_type) == (digest, OCI)
    by_tag, by_digest = client.manifest(repository, "v1"), client.manifest(repository, digest)
    assert by_tag == by_digest
    assert digest_of(by_tag.body) == by_tag.digest == digest
    assert resolved.size_bytes == len(by_tag.body)


def test_what_is_not_there(client: Registries, server: RegistryServer) -> None:
    repository = Repository(host=server.host, path="team/none")
    for ask in (client.resolve, client.manifest):
        with pytest.raises(NotFoundError) as caught:
            ask(repository, "v1")
        assert caught.value.message == (
            f"manifest for {server.host}/team/none:v1 not found: manifest unknown: manifest unknown"
        )
    assert client.blob_size(repository, digest_of(b"nothing")) is None
    with pytest.raises(NotFoundError) as caught:
        client.open_blob(repository, digest_of(b"nothing"))
    assert caught.value.message == (
        f"{server.host}: blob {digest_of(b'nothing')}: blob unknown: blob unknown to registry"
    )
    with pytest.raises(NotFoundError) as caught:
        client.tags(repository)
    assert caught.value.message == (
        f"{server.host}: tags of {repository}: name unknown: repository name not known to registry"
    )


@pytest.mark.parametrize(
    ("size", "chunk_bytes"), [(0, 100), (1, 100), (100, 100), (250_000, 100_000), (300_000, 100_000)]
)
@pytest.mark.parametrize("known", [True, False])
def test_a_blob_goes_and_comes(
    client: Registries, server: RegistryServer, size: int, chunk_bytes: int, known: bool
) -> None:
    repository = Repository(host=server.host, path="team/blobs")
    data = bytes(index * 7 % 251 for index in range(size)) + known.to_bytes(1, "big")
    seen: list[int] = []
    digest = client.upload_blob(
        repository,
        lambda: contextlib.nullcontext(io.BytesIO(data)),
        digest=digest_of(data) if known else None,
        size=len(data) if known else None,
        chunk_bytes=chunk_bytes,
        progress=seen.append,
    )
    assert digest == digest_of(data)
    assert seen == sorted(seen) and seen[-1] == len(data)
    assert client.blob_size(repository, digest) == len(data)
    with client.open_blob(repository, digest, len(data)) as stream:
        assert stream.size_bytes == len(data)
        assert stream.read() == data
        assert stream.read(1) == b""


def test_tags_in_pages(client: Registries, server: RegistryServer) -> None:
    repository = Repository(host=server.host, path="team/tags")
    for number in range(12):
        image(client, repository, f"v{number}")
    assert client.tags(repository) == sorted(f"v{number}" for number in range(12))


def test_a_mount_saves_the_upload(client: Registries, server: RegistryServer) -> None:
    source, target = (Repository(host=server.host, path=path) for path in ("team/one", "team/two"))
    digest = put(client, source, b"to be mounted")
    assert client.mount_blob(target, digest, source) is True
    assert client.blob_size(target, digest) == len(b"to be mounted")
    assert client.mount_blob(target, digest_of(b"nowhere"), source) is False
    assert client.mount_blob(target, digest, Repository(host="registry.example", path="team/one")) is False


def test_a_manifest_is_deleted(client: Registries, server: RegistryServer) -> None:
    repository = Repository(host=server.host, path="team/gone")
    digest = image(client, repository, "v1")
    client.delete_manifest(repository, digest)
    with pytest.raises(NotFoundError):
        client.resolve(repository, "v1")
