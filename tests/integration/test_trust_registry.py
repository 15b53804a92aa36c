"""Signatures of images in a real registry, made by skopeo and by hand; layers that are got again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import tiffin
from harness.archives import config_of, tar_of
from harness.registries import RegistryServer, registry
from integration.conftest import Runner
from tiffin.errors import InvalidImageError
from tiffin.images.trust import cosign, sources
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.state import blobs

LAYER = tar_of({"file": b"content\n" * 500})
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def registries() -> Iterator[Registries]:
    with Registries() as opened:
        yield opened


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def put_blob(registries: Registries, repository: Repository, data: bytes) -> dict[str, Any]:
    import contextlib
    import io

    registries.upload_blob(
        repository, lambda: contextlib.closing(io.BytesIO(data)), digest=sha256(data), size=len(data)
    )
    return {"digest": sha256(data), "size": len(data)}


def push(registries: Registries, repository: Repository, tag: str) -> str:
    packed = gzip.compress(LAYER, mtime=0)
    config = {"mediaType": "application/vnd.oci.image.config.v1+json"}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config | put_blob(registries, repository, config_of([LAYER])),
        "layers": [layer | put_blob(registries, repository, packed)],
    }
    return registries.put_manifest(repository, tag, MANIFEST, json.dumps(document).encode())


def sign(registries: Registries, repository: Repository, digest: str, key: ec.EllipticCurvePrivateKey) -> None:
    """As `cosign sign --key` does."""
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": str(repository)},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    ).encode()
    signature = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
    config = {"mediaType": "application/vnd.oci.image.config.v1+json"} | put_blob(registries, repository, b"{}")
    layer = {"mediaType": cosign.PAYLOAD, "annotations": {cosign.SIGNATURE: signature}}
    layer |= put_blob(registries, repository, payload)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    registries.put_manifest(repository, cosign.tag_of(digest), MANIFEST, json.dumps(document).encode())


def policy(path: Path, requirement: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {"": [requirement]}}}))
    return path


def test_attached(
    server: RegistryServer, registries: Registries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(host=server.host, path="team/signed")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(pem)
    requirement = {
        "type": "sigstoreSigned",
        "keyPath": str(tmp_path / "key.pub"),
        "signedIdentity": {"type": "matchRepository"},
    }
    path = policy(tmp_path / "policy.json", requirement)
    monkeypatch.setenv("TIFFIN_POLICY", str(path))
    digest = push(registries, repository, "1")
    with pytest.raises(InvalidImageError) as caught:
        sources.accept_pulled(registries, repository, "1", "", [digest])
    assert caught.value.message == (
        f"the policy '{path}' refuses the image {server.host}/team/signed:1:"
        " it wants a signature (sigstoreSigned), and there is none"
    )
    sign(registries, repository, digest, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(InvalidImageError, match="it was not made by the policy's key"):
        sources.accept_pulled(registries, repository, "1", "", [digest])
    sign(registries, repository, digest, key)
    sources.accept_pulled(registries, repository, "1", "", [digest])
    sources.accept_pulled(registries, repository, "", digest, [digest])


def test_simple_as_skopeo_makes_it(
    server: RegistryServer, registries: Registries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    gpg = ["gpg", "--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
    identity = "signer@registry.example"
    subprocess.run([*gpg, "--quick-gen-key", identity, "rsa2048", "sign", "never"], check=True, capture_output=True)
    keyring = subprocess.run([*gpg, "--export", identity], check=True, capture_output=True).stdout
    (tmp_path / "keys.gpg").write_bytes(keyring)
    lookaside = tmp_path / "signatures"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "default.yaml").write_text(f"default-docker:\n  lookaside: file://{lookaside}\n")
    monkeypatch.setenv("TIFFIN_REGISTRIES_D", str(tmp_path / "d"))
    source, target = f"{server.host}/team/plain:1", f"{server.host}/team/simple:1"
    push(registries, Repository(host=server.host, path="team/plain"), "1")
    copy = ["skopeo", "--registries.d", str(tmp_path / "d"), "--insecure-policy", "copy", "--src-tls-verify=false",
            "--dest-tls-verify=false", "--sign-by", identity, f"docker://{source}", f"docker://{target}"]  # fmt: skip
    done = subprocess.run(copy, capture_output=True, text=True, timeout=60, check=False)
    subprocess.run(["gpgconf", "--kill", "all"], check=True)
    assert done.returncode == 0, done.stderr
    repository = Repository(host=server.host, path="team/simple")
    digest = registries.resolve(repository, "1").digest
    requirement = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "keys.gpg")}
    monkeypatch.setenv("TIFFIN_POLICY", str(policy(tmp_path / "policy.json", requirement)))
    sources.accept_pulled(registries, repository, "1", "", [digest])
    with pytest.raises(InvalidImageError, match="and none of 1 counts: it is for"):
        sources.accept_pulled(registries, repository, "2", "", [digest])
    with pytest.raises(InvalidImageError, match="and there is none"):
        sources.accept_pulled(registries, Repository(host=server.host, path="team/plain"), "1", "", [digest])


def test_files_have_no_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_POLICY", str(policy(tmp_path / "policy.json", {"type": "reject"})))
    with pytest.raises(InvalidImageError) as caught:
        sources.accept_file("oci-archive", "/x/image.tar")
    assert caught.value.message == (
        f"the policy '{tmp_path}/policy.json' refuses the image oci-archive:/x/image.tar:"
        " it rejects every image of that name"
    )


def test_a_load_that_the_policy_refuses(engine: tiffin.Engine, tiffin: Runner, tmp_path: Path) -> None:
    import io

    engine.import_image(io.BytesIO(LAYER), "small:1")
    archive = tmp_path / "image.tar"
    tiffin.ok("save", "-o", str(archive), "small:1")
    document = {"default": [{"type": "reject"}], "transports": {"docker-archive": {}}}
    rules = document["transports"]["docker-archive"]  # type: ignore[index,call-overload]
    (tmp_path / "policy.json").write_text(json.dumps(document))
    env = {"TIFFIN_POLICY": str(tmp_path / "policy.json")}
    done = tiffin("load", "-i", str(archive), env=env)
    assert (done.code, done.err) == (
        1,
        f"tiffin: the policy '{tmp_path}/policy.json' refuses the image docker-archive:{archive}:"
        " it rejects every image of that name\n",
    )
    rules[str(tmp_path)] = [{"type": "insecureAcceptAnything"}]
    (tmp_path / "policy.json").write_text(json.dumps(document))
    assert tiffin("load", "-i", str(archive), env=env).code == 0
    assert tiffin("load", input=archive.read_bytes(), env=env).code == 1


@pytest.mark.parametrize("damage", ["object", "layer"])
def test_a_layer_is_got_again(
    engine: tiffin.Engine, tiffin: Runner, server: RegistryServer, registries: Registries, damage: str
) -> None:
    import io

    repository = Repository(host=server.host, path="team/repaired")
    push(registries, repository, "1")
    image = engine.import_image(io.BytesIO(LAYER), "small:1")
    packed = gzip.compress(LAYER, mtime=0)
    database = engine._parts.database
    with database.transaction():
        blob = blobs.Blob(
            digest=sha256(packed), diff_id=image.layers[0], media_type="x", size_bytes=len(packed), packed_by=""
        )
        blobs.add_blob(database, blob, str(repository))
    if damage == "object":
        hexdigest = hashlib.sha256(b"content\n" * 500).hexdigest()
        path = f"{engine.root}/objects/{hexdigest[:2]}/{hexdigest[2:]}"
    else:
        path = f"{engine.root}/layers/{image.layers[0].removeprefix('sha256:')}"
    with open(path, "r+b") as file:
        file.seek(10)
        file.write(b"\xff\xff")
    assert not engine.verify_image("small:1").whole
    done = tiffin("image", "verify", "--repair", "small:1")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].startswith("small:1: repaired (1 layer, ")
    assert engine.verify_image("small:1").whole
