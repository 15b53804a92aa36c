"""Policies on images: how they are read, and which of their requirements fit an image."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.errors import InvalidImageError, NotSupportedError, UsageError
from tiffin.images.trust import lookaside
from tiffin.images.trust.check import Identity, check
from tiffin.images.trust.policy import load_policy, policy_path

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
KEY = base64.b64encode(b"a key").decode()
DIGEST = "sha256:" + "a" * 64


class Nothing:
    """An image without signatures."""

    def simple(self, digest: str) -> list[bytes]:
        return []

    def attached(self, digest: str) -> list[tuple[bytes, bytes]]:
        return []


def written(directory: Path, document: Any) -> str:
    path = directory / "policy.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        (Identity(transport="docker", name="registry.example/team/app", tag="1"), False),
        (Identity(transport="docker", name="registry.example/team/other", tag="1"), True),
        (Identity(transport="docker", name="registry.example/team/app", tag="2"), True),
        (Identity(transport="docker", name="registry.example/team/app", digest=DIGEST), True),
        (Identity(transport="docker", name="registry.example/teams/app", tag="1"), False),
        (Identity(transport="docker", name="a.b.sub.example/x", tag="1"), True),
        (Identity(transport="docker", name="sub.example/x", tag="1"), False),
        (Identity(transport="docker", name="elsewhere.example/x", tag="1"), False),
        (Identity(transport="oci", path="/images/good", tag="1"), True),
        (Identity(transport="oci", path="/images/bad/deep"), False),
        (Identity(transport="oci", path="/imagesgood"), True),
        (Identity(transport="dir", path="/images/good"), False),
    ],
)
def test_the_closest_scope_counts(tmp_path: Path, image: Identity, accepted: bool) -> None:
    path = written(
        tmp_path,
        {
            "default": REJECT,
            "transports": {
                "docker": {
                    "registry.example/team": ACCEPT,
                    "registry.example/team/app": ACCEPT,
                    "registry.example/team/app:1": REJECT,
                    "*.sub.example": ACCEPT,
                },
                "oci": {"": ACCEPT, "/images": REJECT, "/images/good": ACCEPT},
            },
        },
    )
    policy = load_policy(path)
    if accepted:
        check(policy, image, [DIGEST], Nothing())
        return
    with pytest.raises(InvalidImageError) as caught:
        check(policy, image, [DIGEST], Nothing())
    assert caught.value.message == (
        f"the policy {path!r} refuses the image {image}: it rejects every image of that name"
    )


def test_without_a_policy_all_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_policy("") is None
    check(None, Identity(transport="docker", name="registry.example/x", tag="1"), [DIGEST], Nothing())
    monkeypatch.setenv("TIFFIN_POLICY", str(tmp_path / "mine.json"))
    assert policy_path() == str(tmp_path / "mine.json")
    with pytest.raises(UsageError) as caught:
        load_policy()
    assert caught.value.message == f"cannot read the policy '{tmp_path}/mine.json': No such file or directory"
    monkeypatch.delenv("TIFFIN_POLICY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "policy.json").write_text("{}")
    assert policy_path() == f"{tmp_path}/containers/policy.json"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"default": [], "default": []}', "is not valid JSON: the key 'default' is there twice"),
        ({}, "is refused: the policy lacks 'default'"),
        ({"default": ACCEPT, "more": 1}, "is refused: the policy has the unknown key 'more'"),
        ({"default": []}, "is refused: 'default' is not a list of at least one requirement"),
        ({"default": [{"type": "hope"}]}, "is refused: 'default' has a requirement of the unknown type 'hope'"),
        ({"default": [{"type": "reject", "x": 1}]}, "is refused: 'default' has the unknown key 'x'"),
        (
            {"default": [{"type": "signedBy", "keyType": "GPGKeys"}]},
            "is refused: 'default' must have exactly one of keyPath, keyPaths, keyData, keyDatas",
        ),
        (
            {"default": [{"type": "signedBy", "keyType": "X509", "keyData": KEY}]},
            "is refused: 'default' has the keyType 'X509', only 'GPGKeys' is known",
        ),
        (
            {"default": ACCEPT, "transports": {"docker": {"x": [{"type": "sigstoreSigned", "keyData": "?"}]}}},
            "is refused: docker: 'x' has a keyData that is not base64: Only base64 data is allowed",
        ),
        (
            {"default": [{"type": "sigstoreSigned", "keyData": KEY, "signedIdentity": {"type": "any"}}]},
            "is refused: 'default' has a signedIdentity of the unknown type 'any'",
        ),
        (
            {"default": [{"type": "sigstoreSigned", "keyData": KEY, "signedIdentity": {"type": "exactReference"}}]},
            "is refused: the signedIdentity of 'default' lacks 'dockerReference'",
        ),
    ],
)
def test_it_is_read_strictly(tmp_path: Path, document: Any, reason: str) -> None:
    path = written(tmp_path, document)
    with pytest.raises(UsageError) as caught:
        load_policy(path)
    assert caught.value.message == f"the policy {path!r} {reason}"


def test_what_is_not_verified_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"default": [{"type": "sigstoreSigned", "fulcio": {}}]})
    with pytest.raises(NotSupportedError) as caught:
        load_policy(path)
    assert caught.value.message == (
        f"the policy {path!r}: 'default' wants signatures by certificates, which are not verified here"
    )
    path = written(tmp_path, {"default": [{"type": "sigstoreSigned", "keyData": KEY, "rekorPublicKeyData": KEY}]})
    with pytest.raises(NotSupportedError, match="entries of a transparency log, which are not verified here"):
        load_policy(path)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere.gpg"}]})
    with pytest.raises(UsageError) as caught:
        load_policy(path)
    assert caught.value.message == (
        f"the policy {path!r} names a key that cannot be read: '/nowhere.gpg': No such file or directory"
    )


def test_where_simple_signatures_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_REGISTRIES_D", str(tmp_path))
    assert lookaside.lookaside_of("registry.example/team/app").endswith("/containers/sigstore")
    (tmp_path / "a.yaml").write_text(
        "default-docker:\n  sigstore: file:///old\ndocker:\n"
        "  registry.example:\n    lookaside: https://one.example\n"
        "  registry.example/team/app:\n    lookaside: file:///exact\n"
    )
    assert lookaside.lookaside_of("registry.example/team/app") == "file:///exact"
    assert lookaside.lookaside_of("registry.example/team/other") == "https://one.example"
    assert lookaside.lookaside_of("elsewhere.example/x") == "file:///old"
    (tmp_path / "b.yaml").write_text("docker:\n  registry.example:\n    lookaside: x\n")
    with pytest.raises(UsageError) as caught:
        lookaside.lookaside_of("registry.example/x")
    assert caught.value.message == f"{tmp_path}/b.yaml: a second section for 'registry.example'; there can be one"
