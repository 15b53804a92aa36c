"""Whether the policy accepts an image: each of its requirements must be met by some signature."""

from __future__ import annotations

from tiffin.errors import InvalidImageError
from tiffin.images.trust.payload import COSIGN, SIMPLE, Unfit, check_claim, parse_payload
from tiffin.images.trust.policy import path_scopes, scopes_of
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from tiffin.images.trust.policy import Policy, Requirement

    class Signatures(Protocol):
        """Where signatures of a manifest are found; both read at most some dozens of them."""

        def simple(self, digest: str) -> list[bytes]:
            """OpenPGP messages."""

        def attached(self, digest: str) -> list[tuple[bytes, bytes]]:
            """What was signed, and the signature over it."""


_SHOWN = 3


class Identity(Record):
    """What an image is called where it comes from.

    `transport` is "docker" for registries, else "oci", "dir", "docker-archive"… with a `path`. `name` has the
    registry's host, `tag` and `digest` are what the user asked for; all three are empty where there is none.
    """

    transport: str
    name: str = ""
    tag: str = ""
    digest: str = ""
    path: str = ""

    def __str__(self) -> str:
        if not self.name:
            return f"{self.transport}:{self.path}"
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def scopes(self) -> list[str]:
        """The policy's scopes that fit, closest first."""
        if self.transport == "docker":
            return scopes_of(self.name, self.tag, self.digest)
        return path_scopes(self.path, self.tag)


def check(policy: Policy | None, image: Identity, digests: Sequence[str], signatures: Signatures) -> None:
    """Refuse an image that the policy does not accept: InvalidImageError with the reasons.

    `digests` are those of its manifest, and of the index that named it: a signature over either counts. Nothing of
    the manifest need be read before. Without a policy every image is accepted.
    """
    if policy is None:
        return
    for requirement in policy.requirements(image.transport, image.scopes):
        if requirement.type == "reject":
            raise _refused(policy, image, "it rejects every image of that name")
        if requirement.type == "insecureAcceptAnything":
            continue
        reasons: list[str] = []
        if not any(_met(policy, requirement, image, digest, signatures, reasons) for digest in digests):
            raise _refused(policy, image, _summary(requirement, reasons))


def _met(
    policy: Policy,
    requirement: Requirement,
    image: Identity,
    digest: str,
    signatures: Signatures,
    reasons: list[str],
) -> bool:
    """Whether a signature of the manifest `digest` is one that the requirement takes; if not, why is noted."""
    if requirement.type == "signedBy":
        for message in signatures.simple(digest):
            try:
                from tiffin.images.trust.simple import signed_text

                _check(signed_text(message, requirement.keys), SIMPLE, digest, image, requirement)
            except Unfit as reason:
                reasons.append(str(reason))
            else:
                return True
        return False
    from tiffin.images.trust import cosign

    keys = [cosign.load_key(key, policy.path) for key in requirement.keys]
    for payload, signature in signatures.attached(digest):
        for key in keys:
            try:
                cosign.verify(key, signature, payload)
                _check(payload, COSIGN, digest, image, requirement)
            except Unfit as reason:
                reasons.append(str(reason))
            else:
                return True
    return False


def _check(payload: bytes, kind: str, digest: str, image: Identity, requirement: Requirement) -> None:
    claim = parse_payload(payload, kind)
    check_claim(claim, digest, image.name, image.tag, image.digest, requirement.identity)


def _summary(requirement: Requirement, reasons: list[str]) -> str:
    kind = "an OpenPGP signature (signedBy)" if requirement.type == "signedBy" else "a signature (sigstoreSigned)"
    if not reasons:
        return f"it wants {kind}, and there is none"
    shown = list(dict.fromkeys(reasons))[:_SHOWN]
    return f"it wants {kind}, and none of {len(reasons)} counts: " + "; ".join(shown)


def _refused(policy: Policy, image: Identity, why: str) -> InvalidImageError:
    return InvalidImageError(f"the policy {policy.path!r} refuses the image {image}: {why}")
