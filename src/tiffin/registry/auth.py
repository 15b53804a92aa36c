"""Proving who we are to one registry: Basic, or Bearer with tokens from the server that it names."""

from __future__ import annotations

from tiffin.errors import RegistryDenied, RegistryError
from tiffin.model.record import Record
from tiffin.registry import failures
from tiffin.registry.names import is_loopback
from tiffin.registry.transport import host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from tiffin.registry.credentials import Credential

    Fetch = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, Mapping[str, str], bytes]]
    """(method, address, headers, body) -> (status, headers, body)"""

CLIENT_ID = "tiffin"
_SHORTEST_LIFE_S = 60.0
"""What tokens live when their server does not say (token specification of the distribution project)."""


class Challenge(Record):
    """One challenge of WWW-Authenticate; `scheme` and the parameters' names are in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        return dict(self.parameters).get(name, "")


class _Token(Record):
    text: str
    ends_s: float


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header (RFC 9110, 11.6.1), however many are joined in it."""
    import re

    item = re.compile(r'[\s,]*([^\s,="]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*))?')
    found: list[tuple[str, dict[str, str]]] = []
    for match in item.finditer(text[:8192]):
        name, value = match.group(1).lower(), match.group(2)
        if value is None:
            found.append((name, {}))
        elif found:
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found[-1][1].setdefault(name, value)
    return [Challenge(scheme=scheme, parameters=tuple(parameters.items())) for scheme, parameters in found]


class Authorizer:
    """The Authorization headers for one registry; for many threads."""

    def __init__(
        self, host: str, credential: Callable[[], Credential | None], fetch: Fetch, *, plain_allowed: bool
    ) -> None:
        from threading import RLock

        self._host = host
        self._credential = credential
        self._fetch = fetch
        self._plain_allowed = plain_allowed
        self._lock = RLock()
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], _Token] = {}
        self.identity_token = ""
        """What the token server gave for next times, when it was asked to."""

    def challenged(self, header: str) -> None:
        """Remember how the registry wants it: Bearer rather than Basic."""
        known = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        with self._lock:
            self._challenge = known.get("bearer") or known.get("basic")
            if known and self._challenge is None:
                raise RegistryError(
                    f"{self._host} asks for a login of the kind {next(iter(known))!r}, which is unknown"
                )

    def header(self, scopes: Iterable[str]) -> str:
        """The Authorization header for requests in these scopes, "" for none.

        RegistryDenied when the token server refuses, RegistryError when it fails.
        """
        with self._lock:
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                credential = self._credential()
                return basic(credential.username, credential.password) if credential else ""
            return f"Bearer {self._token(self._challenge, frozenset(scopes))}"

    def renew(self, header: str, sent: str, scopes: Iterable[str]) -> bool:
        """The registry answered 401 although `sent` was sent: whether another attempt makes sense."""
        wanted = frozenset(scopes)
        with self._lock:
            before = self._challenge
            self.challenged(header)
            if self._challenge is None:
                self._challenge = before
                return False
            if self._challenge.scheme == "basic":
                return not sent and self._credential() is not None
            asked = frozenset(self._challenge.get("scope").split())
            token = self._tokens.get(wanted)
            if token is None or f"Bearer {token.text}" == sent:
                self._tokens.pop(wanted, None)
                self._tokens[wanted] = self._ask(self._challenge, wanted | asked)
            return True

    def _token(self, challenge: Challenge, scopes: frozenset[str]) -> str:
        from time import monotonic

        token = self._tokens.get(scopes)
        if token is None or token.ends_s <= monotonic():
            token = self._tokens[scopes] = self._ask(challenge, scopes)
        return token.text

    def _ask(self, challenge: Challenge, scopes: frozenset[str], *, offline: bool = False) -> _Token:
        """A new token, by the token specification or, with an identity token, by OAuth 2."""
        from time import monotonic

        realm, service = challenge.get("realm"), challenge.get("service")
        self._check_realm(realm)
        credential = self._credential()
        started_s = monotonic()
        if credential is not None and credential.identity_token:
            status, headers, body = self._by_refresh(realm, service, scopes, credential.identity_token)
        else:
            status, headers, body = self._by_password(realm, service, scopes, credential, offline)
        server = host_of(realm)
        if status in (401, 403):
            whom = f"the credentials from {credential.source}" if credential else "to give a token without credentials"
            denied = RegistryDenied(
                f"the token server {server} of {self._host} refuses {whom}:"
                f" {failures.explanation(status, headers, body)}",
                hint=f"log in with `tiffin login {self._host}`",
            )
            denied.http_status = status
            raise denied
        if status != 200:
            raise RegistryError(
                f"the token server {server} of {self._host} fails: {failures.explanation(status, headers, body)}"
            )
        return self._read(server, body, started_s)

    def _by_password(
        self, realm: str, service: str, scopes: frozenset[str], credential: Credential | None, offline: bool
    ) -> tuple[int, Mapping[str, str], bytes]:
        from urllib.parse import urlencode

        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in sorted(scopes)]
        headers = {}
        if credential is not None:
            query.append(("account", credential.username))
            headers["Authorization"] = basic(credential.username, credential.password)
        if offline:
            query += [("offline_token", "true"), ("client_id", CLIENT_ID)]
        glue = "&" if "?" in realm else "?"
        return self._fetch("GET", f"{realm}{glue}{urlencode(query)}" if query else realm, headers, None)

    def _by_refresh(
        self, realm: str, service: str, scopes: frozenset[str], token: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        from urllib.parse import urlencode

        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": " ".join(sorted(scopes)),
            "refresh_token": token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._fetch("POST", realm, headers, urlencode(form).encode())

    def _read(self, server: str, body: bytes, started_s: float) -> _Token:
        import json

        try:
            document: Any = json.loads(body)
        except ValueError:
            document = None
        fields = document if isinstance(document, dict) else {}
        text = fields.get("token") or fields.get("access_token")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise RegistryError(f"the token server {server} of {self._host} answered without a token")
        life = fields.get("expires_in")
        life_s = float(life) if isinstance(life, int | float) and 0 < life < 1e9 else _SHORTEST_LIFE_S
        if isinstance(fields.get("refresh_token"), str):
            self.identity_token = fields["refresh_token"]
        # Not to its last moment: the request that it is for takes a while to arrive.
        return _Token(text=text, ends_s=started_s + life_s - min(10.0, life_s / 4))

    def _check_realm(self, realm: str) -> None:
        scheme, separator, _ = realm.partition("://")
        if not separator or scheme not in ("http", "https"):
            raise RegistryError(f"{self._host} names no token server that can be asked: {realm!r}")
        if scheme == "http" and not self._plain_allowed and not is_loopback(host_of(realm)):
            raise RegistryError(
                f"{self._host} names the token server {host_of(realm)}, to which credentials would go unencrypted",
                hint="insecure = true in registries.toml allows it",
            )

    def log_in(self) -> None:
        """Get a token for nothing in particular, and an identity token if the server gives any."""
        with self._lock:
            if self._challenge is not None and self._challenge.scheme == "bearer":
                self._tokens[frozenset()] = self._ask(self._challenge, frozenset(), offline=True)


def basic(username: str, password: str) -> str:
    """The header's value for Basic (RFC 7617)."""
    from base64 import b64encode

    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()
