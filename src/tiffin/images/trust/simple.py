"""Simple signing (containers-signature(5)): OpenPGP messages in a lookaside store, verified with gpgv(1)."""

from __future__ import annotations

import os

from tiffin.errors import HostError
from tiffin.images.trust.payload import MAX_BYTES, Unfit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SIGNATURES = 64
_TIMEOUT_S = 30.0
_BAD = ("BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NO_PUBKEY", "NODATA", "FAILURE")


def signed_text(message: bytes, keyrings: Sequence[bytes]) -> bytes:
    """What a signed message says, when exactly one good signature by a key of `keyrings` is on it.

    Raises `Unfit`, and HostError when gpgv is missing.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tiffin-") as directory:
        arguments = ["gpgv", "--status-fd", "2", "--output", "-", "--homedir", directory]
        for number, keyring in enumerate(keyrings):
            path = f"{directory}/{number}.gpg"
            with open(path, "wb") as file:
                file.write(_binary(keyring))
            arguments += ["--keyring", path]
        try:
            # What a key's owner could name a file or an environment is not for a verifier to look at.
            done = subprocess.run(
                arguments,
                input=message,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise HostError(
                "cannot verify OpenPGP signatures: gpgv is not installed", hint="install the package gpgv"
            ) from None
        except subprocess.TimeoutExpired:
            raise Unfit("gpgv took too long over it") from None
    said = [
        line.removeprefix("[GNUPG:] ").split()
        for line in done.stderr.decode("utf-8", "replace").splitlines()
        if line.startswith("[GNUPG:] ")
    ]
    words = [line[0] for line in said if line]
    bad = next((word for word in words if word in _BAD), "")
    if done.returncode != 0 or bad or words.count("GOODSIG") != 1 or words.count("VALIDSIG") != 1:
        raise Unfit(_reason(bad))
    if not done.stdout or len(done.stdout) > MAX_BYTES:
        raise Unfit("it has no text of its own")
    return done.stdout


def _reason(word: str) -> str:
    return {
        "BADSIG": "its text was changed after it was signed",
        "EXPSIG": "it has expired",
        "EXPKEYSIG": "the key that made it has expired",
        "REVKEYSIG": "the key that made it was revoked",
        "ERRSIG": "it was made by a key that the policy does not name",
        "NO_PUBKEY": "it was made by a key that the policy does not name",
        "NODATA": "it is no OpenPGP message",
    }.get(word, "it is not exactly one good signature")


def _binary(keyring: bytes) -> bytes:
    """gpgv reads no armour (RFC 4880, section 6.2)."""
    if not keyring.lstrip().startswith(b"-----BEGIN PGP"):
        return keyring
    import base64
    import binascii

    blocks = []
    lines: list[bytes] | None = None
    for line in keyring.splitlines():
        line = line.strip()
        if line.startswith(b"-----BEGIN PGP"):
            lines = []
            headers = True
        elif line.startswith(b"-----END PGP") and lines is not None:
            try:
                blocks.append(base64.b64decode(b"".join(lines)))
            except binascii.Error:
                raise Unfit("a keyring of the policy is damaged") from None
            lines = None
        elif lines is not None:
            if headers and (not line or b":" in line):
                headers = bool(line)
            elif not line.startswith(b"="):
                headers = False
                lines.append(line)
    return b"".join(blocks)


class Lookaside:
    """A directory, or an http(s) address, with signatures beside the images (containers-registries.d(5)).

    `fetch` reads an address: its bytes, or None when there is nothing.
    """

    def __init__(self, base: str, fetch: Callable[[str], bytes | None]) -> None:
        self._base = base.removeprefix("file://") if base.startswith("file://") else base.rstrip("/")
        self._fetch = fetch

    def signatures(self, path: str, digest: str) -> list[bytes]:
        """Those of the manifest `digest` in the repository `path` (without its registry's host), in order."""
        found: list[bytes] = []
        place = f"{self._base}/{path}@{digest.replace(':', '=')}"
        while len(found) < MAX_SIGNATURES:
            name = f"{place}/signature-{len(found) + 1}"
            data = _file(name) if name.startswith("/") else self._fetch(name)
            if data is None:
                break
            found.append(data)
        return found


def _file(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
