"""The grammar of image references and IDs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.errors import UsageError
from tiffin.images.reference import Reference, id_prefix, is_digest, is_id, parse_reference, parse_tag

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest", "domain"),
    [
        ("debian", "debian", "", "", ""),
        ("debian:bookworm", "debian", "bookworm", "", ""),
        ("library/debian:12.5-slim_1", "library/debian", "12.5-slim_1", "", ""),
        ("localhost/x", "localhost/x", "", "", "localhost"),
        ("localhost:5000/team/app:v1", "localhost:5000/team/app", "v1", "", "localhost:5000"),
        ("registry.example/app", "registry.example/app", "", "", "registry.example"),
        ("Registry/app", "Registry/app", "", "", "Registry"),
        ("[::1]:5000/app", "[::1]:5000/app", "", "", "[::1]:5000"),
        ("[fe80::1]/app:x", "[fe80::1]/app", "x", "", "[fe80::1]"),
        (f"debian@{DIGEST}", "debian", "", DIGEST, ""),
        (f"debian:12@{DIGEST}", "debian", "12", DIGEST, ""),
        ("a__b/c--d/e.f", "a__b/c--d/e.f", "", "", ""),
        ("deadbeef", "deadbeef", "", "", ""),
        ("x:" + "t" * 128, "x", "t" * 128, "", ""),
        ("y" * 255, "y" * 255, "", "", ""),
    ],
)
def test_valid(text: str, name: str, tag: str, digest: str, domain: str) -> None:
    reference = parse_reference(text)
    assert reference == Reference(name=name, tag=tag, digest=digest)
    assert reference.domain == domain
    assert str(reference) == text


_PART = "the part {!r} of the repository name must be lower-case letters and digits, separated by '.', '_', '__' or '-'"
_TAG = "the tag {!r} must be 1 to 128 letters, digits, '_', '.' or '-'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the repository name is empty"),
        (":tag", "the repository name is empty"),
        ("Debian", "repository name 'Debian' must be lowercase"),
        ("team/App:1", "repository name 'team/App' must be lowercase"),
        ("a..b", _PART.format("a..b")),
        ("a___b", _PART.format("a___b")),
        ("a._b", _PART.format("a._b")),
        ("-a", _PART.format("-a")),
        ("a-", _PART.format("a-")),
        ("a//b", _PART.format("")),
        ("/a", _PART.format("")),
        ("a/", _PART.format("")),
        ("a b", _PART.format("a b")),
        ("ä", _PART.format("ä")),
        ("../x", "'..' is not a host name with an optional port"),
        ("a:b:c/d", "'a:b:c' is not a host name with an optional port"),
        ("host:99999/x", "'host:99999' is not a host name with an optional port"),
        ("-h.x/y", "'-h.x' is not a host name with an optional port"),
        ("[zz]:1/x", "'[zz]:1' is not a host name with an optional port"),
        ("x:", _TAG.format("")),
        ("x:.a", _TAG.format(".a")),
        ("x:a b", _TAG.format("a b")),
        ("x:ä", _TAG.format("ä")),
        ("x:" + "t" * 129, _TAG.format("t" * 129)),
        ("z" * 256, "the repository name must not be more than 255 characters"),
        ("ab" * 32, "64 hex digits are an image ID, not a repository name"),
        ("x@", "the digest '' must be like 'sha256:' and 64 lower-case hex digits"),
        ("x@sha256:AB", "the digest 'sha256:AB' must be like 'sha256:' and 64 lower-case hex digits"),
        ("x@md5:" + "a" * 32, f"the digest 'md5:{'a' * 32}' must be like 'sha256:' and 64 lower-case hex digits"),
    ],
)
def test_invalid(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert str(caught.value) == f"invalid reference format: {reason}: {text!r}"
    assert caught.value.exit_code == 1


def test_key() -> None:
    assert parse_reference("debian").key == "debian:latest"
    assert parse_reference("debian:12").key == "debian:12"
    assert parse_reference(f"debian:12@{DIGEST}").key == f"debian@{DIGEST}"


def test_tag() -> None:
    assert str(parse_tag("x")) == "x:latest"
    assert str(parse_tag("registry.example:5000/x:1")) == "registry.example:5000/x:1"
    assert str(parse_tag("registry.example/host:1")) == "registry.example/host:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"x@{DIGEST}", f"cannot tag with 'x@{DIGEST}': a digest is not a tag (leave out the part from '@' on)"),
        ("host", "the image name 'host' is reserved for the host's own system (choose another name)"),
        ("host:1", "the image name 'host' is reserved for the host's own system (choose another name)"),
        ("sha256:abc", "the image name 'sha256' is refused: it would look like a digest (choose another name)"),
    ],
)
def test_tag_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_tag(text)
    assert str(caught.value) == message


def test_ids() -> None:
    assert is_id("ab" * 32)
    assert is_id(DIGEST)
    assert not is_id("AB" * 32)
    assert not is_id("ab" * 31)
    assert id_prefix("abc") == "abc"
    assert id_prefix("sha256:abc") == "abc"
    assert id_prefix("xyz") == id_prefix("") == id_prefix("sha256:") == id_prefix("a" * 65) == ""
    assert is_digest("sha512:" + "a" * 128)
    assert not is_digest("sha512:" + "a" * 64)


@settings(database=None)
@given(st.text(alphabet="aZ09.-_:/@[] ä\0", max_size=30))
def test_what_parses_comes_back(text: str) -> None:
    reference = None
    with contextlib.suppress(UsageError):
        reference = parse_reference(text)
    if reference is None:
        return
    assert str(reference) == text
    assert parse_reference(reference.key).name == reference.name
