"""Signatures of images: real keys, real signatures, and what is wrong with those that do not count."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tiffin.errors import InvalidImageError, UsageError
from tiffin.images.trust import cosign
from tiffin.images.trust.check import Identity, check
from tiffin.images.trust.payload import Unfit
from tiffin.images.trust.policy import load_policy
from tiffin.images.trust.simple import Lookaside, signed_text

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
NAME = "registry.example/team/app"
IMAGE = Identity(transport="docker", name=NAME, tag="1")


class Signed:
    def __init__(self, simple: list[bytes] | None = None, attached: list[tuple[bytes, bytes]] | None = None) -> None:
        self._simple, self._attached = simple or [], attached or []

    def simple(self, digest: str) -> list[bytes]:
        return self._simple

    def attached(self, digest: str) -> list[tuple[bytes, bytes]]:
        return self._attached


class Signer:
    """An OpenPGP key in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self._directory = directory
        self._gpg("--quick-gen-key", "Signer <signer@registry.example>", "ed25519", "sign", "never")
        self.keyring = self._gpg("--export")
        self.armoured = self._gpg("--armor", "--export")

    def _gpg(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self._directory), "--batch", "--passphrase", "", "--pinentry-mode",
                   "loopback", *arguments]  # fmt: skip
        return subprocess.run(command, input=given, check=True, capture_output=True, timeout=60).stdout

    def sign(self, text: bytes, *options: str) -> bytes:
        return self._gpg(*options, "--sign", given=text)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self._directory), "--kill", "all"], check=True, timeout=60)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer(tmp_path_factory.mktemp("keys") / "one")
    yield made
    made.close()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    made = Signer(tmp_path_factory.mktemp("keys") / "two")
    yield made
    made.close()


def payload(digest: str = DIGEST, reference: str = f"{NAME}:1", kind: str = "atomic container signature") -> bytes:
    critical = {
        "type": kind,
        "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": reference},
    }
    return json.dumps({"critical": critical, "optional": {"creator": "test"}}).encode()


def policy(directory: Path, kind: str, *keys: bytes, **more: Any) -> str:
    requirement = {"type": kind, "keyDatas": [base64.b64encode(key).decode() for key in keys], **more}
    if kind == "signedBy":
        requirement["keyType"] = "GPGKeys"
    path = directory / "policy.json"
    path.write_text(json.dumps({"default": [requirement]}))
    return str(path)


def refusal(path: str, image: Identity, signatures: Signed, *digests: str) -> str:
    with pytest.raises(InvalidImageError) as caught:
        check(load_policy(path), image, digests or [DIGEST], signatures)
    begin = f"the policy {path!r} refuses the image {image}: it wants "
    assert caught.value.message.startswith(begin)
    return caught.value.message.removeprefix(begin)


def test_an_openpgp_message(signer: Signer, stranger: Signer, tmp_path: Path) -> None:
    signed = signer.sign(payload())
    for keyring in (signer.keyring, signer.armoured):
        path = policy(tmp_path, "signedBy", keyring)
        check(load_policy(path), IMAGE, [DIGEST], Signed([signed]))
        check(load_policy(path), IMAGE, [OTHER, DIGEST], Signed([b"nonsense", signed]))
    both = policy(tmp_path, "signedBy", stranger.keyring, signer.keyring)
    check(load_policy(both), IMAGE, [DIGEST], Signed([signed]))
    path = policy(tmp_path, "signedBy", signer.keyring)
    wanted = "an OpenPGP signature (signedBy), and "
    assert refusal(path, IMAGE, Signed()) == wanted + "there is none"
    foreign = Signed([stranger.sign(payload())])
    assert refusal(path, IMAGE, foreign) == (
        wanted + "none of 1 counts: it was made by a key that the policy does not name"
    )
    assert refusal(path, IMAGE, Signed([b"nonsense"])) == wanted + "none of 1 counts: it is no OpenPGP message"
    assert refusal(path, IMAGE, Signed([signed]), OTHER) == (
        wanted + f"none of 1 counts: it is for the manifest {DIGEST}"
    )
    assert refusal(path, IMAGE.replace(tag="2"), Signed([signed])) == (
        wanted + f"none of 1 counts: it is for '{NAME}:1', the policy wants '{NAME}:2'"
    )


@pytest.mark.parametrize("at", [30, -5])
def test_a_changed_message(signer: Signer, tmp_path: Path, at: int) -> None:
    message = bytearray(signer.sign(payload(), "--compress-algo", "none"))
    message[at] ^= 1
    with pytest.raises(Unfit):
        signed_text(bytes(message), [signer.keyring])


def test_what_is_no_signed_message(signer: Signer, stranger: Signer) -> None:
    text = payload()
    assert signed_text(signer.sign(text), [signer.keyring]) == text
    # What follows a message is not looked at, and is no part of what was signed.
    assert signed_text(signer.sign(text) + stranger.sign(b"more"), [signer.keyring]) == text
    for message in (
        signer._gpg("--store", given=text),  # a literal message
        signer._gpg("--detach-sign", given=text),
        b"",
    ):
        with pytest.raises(Unfit):
            signed_text(message, [signer.keyring])
    expiring = signer.sign(text, "--default-sig-expire", "seconds=1")
    time.sleep(2.1)
    with pytest.raises(Unfit, match="it has expired"):
        signed_text(expiring, [signer.keyring])


def test_a_lookaside_directory(tmp_path: Path) -> None:
    place = tmp_path / f"team/app@sha256={'a' * 64}"
    place.mkdir(parents=True)
    for number, data in enumerate((b"one", b"two"), 1):
        (place / f"signature-{number}").write_bytes(data)
    asked: list[str] = []
    for base in (str(tmp_path), f"file://{tmp_path}"):
        assert Lookaside(base, lambda _: None).signatures("team/app", DIGEST) == [b"one", b"two"]
    answers = [b"one", None]
    remote = Lookaside("https://one.example/x/", lambda address: asked.append(address) or answers[len(asked) - 1])  # type: ignore[func-returns-value]
    assert remote.signatures("team/app", DIGEST) == [b"one"]
    assert asked[0] == f"https://one.example/x/team/app@sha256={'a' * 64}/signature-1"


def keys() -> dict[str, Any]:
    return {
        "ecdsa": ec.generate_private_key(ec.SECP256R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }


def pem(key: Any) -> bytes:
    format = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, format))


def sign(key: Any, text: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(text, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return bytes(key.sign(text))


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519", "rsa"])
def test_an_attached_signature(kind: str, tmp_path: Path) -> None:
    key, text = keys()[kind], payload(kind="cosign container image signature", reference=NAME)
    path = policy(tmp_path, "sigstoreSigned", pem(key), signedIdentity={"type": "matchRepository"})
    signed = Signed(attached=[(text, sign(key, text))])
    check(load_policy(path), IMAGE, [DIGEST], signed)
    changed = Signed(attached=[(text.replace(b"test", b"tess"), sign(key, text))])
    assert refusal(path, IMAGE, changed) == (
        "a signature (sigstoreSigned), and none of 1 counts:"
        " it was not made by the policy's key, or what was signed was changed"
    )
    simple = payload()
    wrong = Signed(attached=[(simple, sign(key, simple))])
    assert refusal(path, IMAGE, wrong).endswith(
        "it is of the type 'atomic container signature', not 'cosign container image signature'"
    )
    strict = policy(tmp_path, "sigstoreSigned", pem(key))
    assert refusal(strict, IMAGE, signed).endswith(f"it is for '{NAME}', the policy wants '{NAME}:1'")


def test_a_key_that_is_none(tmp_path: Path) -> None:
    path = policy(tmp_path, "sigstoreSigned", b"no key")
    with pytest.raises(UsageError, match="has a key that is no public key in PEM form"):
        check(load_policy(path), IMAGE, [DIGEST], Signed(attached=[(b"", b"")]))


@pytest.mark.parametrize(
    ("rule", "reference", "image", "fits"),
    [
        ({"type": "matchExact"}, f"{NAME}:1", IMAGE, True),
        ({"type": "matchExact"}, f"{NAME}:1", IMAGE.replace(tag="", digest=DIGEST), False),
        ({"type": "matchRepoDigestOrExact"}, f"{NAME}:9", IMAGE.replace(tag="", digest=DIGEST), True),
        ({"type": "matchRepository"}, f"{NAME}:9", IMAGE, True),
        ({"type": "matchRepository"}, "registry.example/team/apps:1", IMAGE, False),
        ({"type": "exactReference", "dockerReference": "other.example/x:3"}, "other.example/x:3", IMAGE, True),
        ({"type": "exactReference", "dockerReference": "other.example/x:3"}, "other.example/x:4", IMAGE, False),
        ({"type": "exactRepository", "dockerRepository": "other.example/x"}, "other.example/x:4", IMAGE, True),
        (
            {"type": "remapIdentity", "prefix": "registry.example/team", "signedPrefix": "up.example"},
            "up.example/app:1",
            IMAGE,
            True,
        ),
        (
            {"type": "remapIdentity", "prefix": "registry.example/te", "signedPrefix": "up.example"},
            "up.exampleam/app:1",
            IMAGE,
            False,
        ),
        ({"type": "matchRepository"}, f"{NAME}:1", Identity(transport="oci", path="/x"), False),
    ],
)
def test_who_it_may_be_for(rule: dict[str, str], reference: str, image: Identity, fits: bool, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    text = payload(kind="cosign container image signature", reference=reference)
    path = policy(tmp_path, "sigstoreSigned", pem(key), signedIdentity=rule)
    signed = Signed(attached=[(text, sign(key, text))])
    if fits:
        check(load_policy(path), image, [DIGEST], signed)
    else:
        assert f"it is for '{reference}', the policy wants " in refusal(path, image, signed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "what was signed is not valid JSON: Expecting property name enclosed in double quotes"),
        (b'{"critical": {}, "critical": {}}', "what was signed is not valid JSON: a key is there twice"),
        (b'{"critical": {}}', "what was signed has the keys critical instead of critical, optional"),
        (b'{"critical": {"type": 1}, "optional": {}}', "'critical' has the keys type instead of identity, image, type"),
    ],
)
def test_strange_payloads(text: bytes, reason: str, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    path = policy(tmp_path, "sigstoreSigned", pem(key))
    assert reason in refusal(path, IMAGE, Signed(attached=[(text, sign(key, text))]))


def test_tag_of_attached_signatures() -> None:
    assert cosign.tag_of(DIGEST) == f"sha256-{'a' * 64}.sig"
    assert os.path.exists("/usr/bin/gpgv")
