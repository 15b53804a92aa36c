"""What a signature says: the signed JSON (containers-signature(5)), and whether that names the image at hand."""

from __future__ import annotations

import json

from tiffin.errors import UsageError
from tiffin.images.reference import parse_reference
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.reference import Reference
    from tiffin.images.trust.policy import IdentityRule

SIMPLE = "atomic container signature"
COSIGN = "cosign container image signature"
MAX_BYTES = 4 << 20


class Unfit(Exception):
    """A signature that does not count, with the reason as text."""


class Claim(Record):
    """The digest of the manifest that was signed, and what the signer called the image."""

    digest: str
    reference: str


def parse_payload(raw: bytes, kind: str) -> Claim:
    """The claim in a payload whose signature has been verified; anything unexpected in it raises `Unfit`."""
    if len(raw) > MAX_BYTES:
        raise Unfit("what was signed is too large")
    try:
        document = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"what was signed is not valid JSON: {error}") from error
    top = _object(document, "what was signed", ("critical", "optional"))
    critical = _object(top["critical"], "'critical'", ("type", "image", "identity"))
    if top["optional"] is not None and not isinstance(top["optional"], dict):
        raise Unfit("'optional' is not an object")
    if critical["type"] != kind:
        raise Unfit(f"it is of the type {critical['type']!r}, not {kind!r}")
    image = _object(critical["image"], "'image'", ("docker-manifest-digest",))
    identity = _object(critical["identity"], "'identity'", ("docker-reference",))
    digest, reference = image["docker-manifest-digest"], identity["docker-reference"]
    if not isinstance(digest, str) or not isinstance(reference, str):
        raise Unfit("its digest or reference is not text")
    return Claim(digest=digest, reference=reference)


def check_claim(claim: Claim, digest: str, name: str, tag: str, pinned: str, rule: IdentityRule) -> None:
    """Whether the claim is of the image `name` (with its registry) and `tag` or `pinned` digest. Raises `Unfit`.

    `digest` is that of the manifest at hand. `name` is empty where the transport knows no names.
    """
    if claim.digest != digest:
        raise Unfit(f"it is for the manifest {claim.digest}")
    try:
        signed = parse_reference(claim.reference)
    except UsageError:
        raise Unfit(f"it calls the image {claim.reference!r}, which is no reference") from None
    if not _fits(signed, name, tag, pinned, rule):
        raise Unfit(f"it is for {claim.reference!r}, the policy wants {_wanted(name, tag, pinned, rule)}")


def _fits(signed: Reference, name: str, tag: str, pinned: str, rule: IdentityRule) -> bool:
    if rule.type == "exactReference":
        return str(signed) == rule.reference
    if rule.type == "exactRepository":
        return signed.name == rule.reference
    if not name:
        return False
    if rule.type == "matchRepository":
        return signed.name == name
    if rule.type == "remapIdentity":
        name = _remapped(name, rule)
    if rule.type == "matchExact":
        return bool(tag) and not pinned and (signed.name, signed.tag, signed.digest) == (name, tag, "")
    if pinned:
        return signed.name == name
    return (signed.name, signed.tag, signed.digest) == (name, tag, "")


def _remapped(name: str, rule: IdentityRule) -> str:
    if name == rule.prefix or name.startswith(f"{rule.prefix}/"):
        return rule.signed_prefix + name[len(rule.prefix) :]
    return name


def _wanted(name: str, tag: str, pinned: str, rule: IdentityRule) -> str:
    if rule.reference:
        return repr(rule.reference)
    if not name:
        return f"exactReference or exactRepository instead of {rule.type}, as the image has no name there"
    if rule.type == "remapIdentity":
        name = _remapped(name, rule)
    return repr(name if rule.type == "matchRepository" or pinned else f"{name}:{tag}")


def _object(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(f"{what} is not an object")
    if set(value) != set(keys):
        raise Unfit(f"{what} has the keys {', '.join(sorted(value))} instead of {', '.join(sorted(keys))}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
