"""Signatures that are kept in the image's own repository, as cosign makes them with a key pair."""

from __future__ import annotations

from tiffin.errors import NotSupportedError, UsageError
from tiffin.images.trust.payload import Unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"


def tag_of(digest: str) -> str:
    """The tag under which the signatures of a manifest are."""
    return f"{digest.replace(':', '-')}.sig"


def load_key(pem: bytes, policy: str) -> Any:
    """A public key (PEM): ECDSA, Ed25519 or RSA. Raises UsageError, NotSupportedError without the library."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise NotSupportedError(
            "cannot verify signatures by public keys: the library cryptography is not installed",
            hint="pip install 'tiffin[signatures]'",
        ) from None
    try:
        return serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"the policy {policy!r} has a key that is no public key in PEM form: {error}") from error


def verify(key: Any, signature: bytes, payload: bytes) -> None:
    """Raises `Unfit` unless `signature` is the key's over `payload` (SHA-256 where the kind of key has a choice)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, payload)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, payload, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise Unfit("the policy's key is of a kind that signs nothing here")
    except InvalidSignature:
        raise Unfit("it was not made by the policy's key, or what was signed was changed") from None
