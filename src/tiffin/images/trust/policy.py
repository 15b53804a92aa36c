"""The policy on which images are accepted (containers-policy.json(5)): read strictly, the closest scope counts."""

from __future__ import annotations

import json
import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VARIABLE = "TIFFIN_POLICY"
SYSTEM_FILE = "/etc/containers/policy.json"
MAX_BYTES = 1 << 20
_IDENTITIES: dict[str, tuple[str, ...]] = {
    "matchExact": (),
    "matchRepoDigestOrExact": (),
    "matchRepository": (),
    "exactReference": ("dockerReference",),
    "exactRepository": ("dockerRepository",),
    "remapIdentity": ("prefix", "signedPrefix"),
}


class IdentityRule(Record):
    """What a signature must call the image; the fields are those of the policy, empty where the type has none."""

    type: str = "matchRepoDigestOrExact"
    reference: str = ""
    prefix: str = ""
    signed_prefix: str = ""


class Requirement(Record):
    """One requirement. `keys` are the public keys or keyrings that may have signed, as bytes."""

    type: str
    keys: tuple[bytes, ...] = ()
    identity: IdentityRule = IdentityRule()


class Policy(Record):
    """`transports` maps a transport to its scopes; "" is a transport's own default. `path` is where it was read."""

    path: str
    default: tuple[Requirement, ...]
    transports: Mapping[str, Mapping[str, tuple[Requirement, ...]]]

    def requirements(self, transport: str, scopes: list[str]) -> tuple[Requirement, ...]:
        """Those of the first of `scopes` (closest first) that the policy has, else the transport's, else all's."""
        known = self.transports.get(transport, {})
        for scope in scopes:
            if scope in known:
                return known[scope]
        return known.get("", self.default)


def policy_path() -> str:
    """The policy's file: $TIFFIN_POLICY, the user's, or the system's; "" when there is none."""
    if given := os.environ.get(VARIABLE):
        return given
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for path in (f"{home}/containers/policy.json", SYSTEM_FILE):
        if os.path.exists(path):
            return path
    return ""


def load_policy(path: str | None = None) -> Policy | None:
    """The policy of this user; None when there is no file, and then every image is accepted. Raises UsageError."""
    path = policy_path() if path is None else path
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the policy {path!r}: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise UsageError(f"the policy {path!r} has more than {MAX_BYTES} bytes")
    try:
        document = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the policy {path!r} is not valid JSON: {error}") from error
    return _Reader(path).policy(document)


def scopes_of(name: str, tag: str, digest: str) -> list[str]:
    """The scopes that fit an image of the docker transport, closest first; `name` begins with its registry."""
    scopes = []
    if digest:
        scopes.append(f"{name}@{digest}")
    if tag:
        scopes.append(f"{name}:{tag}")
    part = name
    while part:
        scopes.append(part)
        part = part.rpartition("/")[0]
    host = name.partition("/")[0]
    while "." in host:
        host = host.partition(".")[2]
        scopes.append(f"*.{host}")
    return scopes


def path_scopes(path: str, tag: str = "") -> list[str]:
    """The scopes that fit a directory or file, closest first."""
    scopes = [f"{path}:{tag}"] if tag else []
    while path not in ("", "/"):
        scopes.append(path)
        path = os.path.dirname(path)
    return scopes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


class _Reader:
    def __init__(self, path: str) -> None:
        self._path = path

    def policy(self, document: Any) -> Policy:
        top = self._object(document, "the policy", ("default",), ("transports",))
        transports: dict[str, dict[str, tuple[Requirement, ...]]] = {}
        for transport, scopes in self._object(top.get("transports", {}), "'transports'").items():
            transports[transport] = {
                scope: self._requirements(listed, f"{transport}: {scope!r}")
                for scope, listed in self._object(scopes, f"the transport {transport!r}").items()
            }
        return Policy(path=self._path, default=self._requirements(top["default"], "'default'"), transports=transports)

    def _requirements(self, listed: Any, where: str) -> tuple[Requirement, ...]:
        if not isinstance(listed, list) or not listed:
            raise self._bad(f"{where} is not a list of at least one requirement")
        return tuple(self._requirement(item, where) for item in listed)

    def _requirement(self, item: Any, where: str) -> Requirement:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind in ("insecureAcceptAnything", "reject"):
            self._object(item, where, ("type",))
            return Requirement(type=kind)
        if kind not in ("signedBy", "sigstoreSigned"):
            raise self._bad(f"{where} has a requirement of the unknown type {kind!r}")
        ways = ("keyPath", "keyPaths", "keyData", "keyDatas")
        if kind == "sigstoreSigned" and ("fulcio" in item or "pki" in item):
            raise NotSupportedError(
                f"the policy {self._path!r}: {where} wants signatures by certificates, which are not verified here",
                hint="name public keys with keyPath, keyPaths or keyData",
            )
        allowed = ("signedIdentity", "rekorPublicKeyPath", "rekorPublicKeyData", *ways)
        if kind == "signedBy":
            self._object(item, where, ("type", "keyType"), ("signedIdentity", *ways))
            if item["keyType"] != "GPGKeys":
                raise self._bad(f"{where} has the keyType {item['keyType']!r}, only 'GPGKeys' is known")
        else:
            self._object(item, where, ("type",), allowed)
            if "rekorPublicKeyPath" in item or "rekorPublicKeyData" in item:
                raise NotSupportedError(
                    f"the policy {self._path!r}: {where} wants entries of a transparency log,"
                    " which are not verified here",
                    hint="leave rekorPublicKeyPath and rekorPublicKeyData away",
                )
        return Requirement(type=kind, keys=self._keys(item, where, ways), identity=self._identity(item, where))

    def _keys(self, item: dict[str, Any], where: str, ways: tuple[str, ...]) -> tuple[bytes, ...]:
        import base64
        import binascii

        given = [way for way in ways if way in item]
        if len(given) != 1:
            raise self._bad(f"{where} must have exactly one of {', '.join(ways)}")
        values = item[given[0]] if given[0].endswith("s") else [item[given[0]]]
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise self._bad(f"{where} has a {given[0]} that is not text")
        if given[0].startswith("keyData"):
            try:
                return tuple(base64.b64decode(value, validate=True) for value in values)
            except binascii.Error as error:
                raise self._bad(f"{where} has a {given[0]} that is not base64: {error}") from error
        return tuple(self._key_file(value) for value in values)

    def _key_file(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read(MAX_BYTES)
        except OSError as error:
            raise UsageError(
                f"the policy {self._path!r} names a key that cannot be read: {path!r}: {error.strerror}"
            ) from error

    def _identity(self, item: dict[str, Any], where: str) -> IdentityRule:
        given = item.get("signedIdentity")
        if given is None:
            return IdentityRule()
        kind = given.get("type") if isinstance(given, dict) else None
        if kind not in _IDENTITIES:
            raise self._bad(f"{where} has a signedIdentity of the unknown type {kind!r}")
        fields = _IDENTITIES[kind]
        self._object(given, f"the signedIdentity of {where}", ("type", *fields))
        values = [given[field] for field in fields]
        if not all(isinstance(value, str) and value for value in values):
            raise self._bad(f"{where} has a signedIdentity with an empty {' or '.join(fields)}")
        if kind == "remapIdentity":
            return IdentityRule(type=kind, prefix=values[0], signed_prefix=values[1])
        return IdentityRule(type=kind, reference=values[0] if values else "")

    def _object(
        self, value: Any, what: str, needed: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._bad(f"{what} is not an object")
        if needed:
            for key in needed:
                if key not in value:
                    raise self._bad(f"{what} lacks {key!r}")
            for key in value:
                if key not in (*needed, *allowed):
                    raise self._bad(f"{what} has the unknown key {key!r}")
        return value

    def _bad(self, why: str) -> UsageError:
        return UsageError(f"the policy {self._path!r} is refused: {why}", hint="containers-policy.json(5) describes it")
