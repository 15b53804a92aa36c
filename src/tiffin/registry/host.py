"""One registry: its scheme, our right to ask, redirects, attempts."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, RegistryDenied, RegistryError
from tiffin.model.record import Record
from tiffin.registry import failures
from tiffin.registry.auth import Authorizer
from tiffin.registry.names import is_loopback
from tiffin.registry.transport import certificates_for, host_of
from tiffin.registry.waiting import BUSY, PASSING, Attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from urllib3 import BaseHTTPResponse

    from tiffin.registry.credentials import Credential
    from tiffin.registry.settings import Place, Settings
    from tiffin.registry.transport import Body, Transport, Trust

    MakeBody = Callable[[], Body | None]

LARGEST_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a manifest or any other document; distribution-spec: registries should accept manifests up to 4 MB."""

_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PROBE_S = 10.0
_SHORT = 64 * 1024
_HELLO = "GET /v2/"


class Reply(Record):
    """A whole answer; `headers` finds names in any case, `url` is where it came from after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Host:
    """Requests to one registry; for many threads."""

    def __init__(
        self,
        place: Place,
        settings: Settings,
        transport: Transport,
        credential: Callable[[], Credential | None],
        sleep: Callable[[float], None],
        *,
        patient: bool = True,
    ) -> None:
        from threading import Lock

        self.name = place.repository.host
        self._place = place
        self._settings = settings
        self._transport = transport
        self._sleep = sleep
        self._credential = credential
        self._attempts = None if patient else 1
        self._lock = Lock()
        self._base = ""
        plain = place.insecure if place.insecure is not None else is_loopback(self.name)
        self._plain_allowed = plain
        self.authorizer = Authorizer(self.name, credential, self._fetch_token, plain_allowed=bool(place.insecure))

    def fetch(
        self,
        method: str,
        path: str,
        *,
        scopes: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        body: MakeBody | None = None,
        expected: tuple[int, ...] = (200,),
        doing: str = "",
        limit_bytes: int = LARGEST_DOCUMENT,
        attempts: int | None = None,
    ) -> Reply:
        """One request and its whole answer, tried again after passing failures.

        `path` begins with "/v2/" or is a whole address. Answers with other than the `expected` statuses are errors
        of `failures.of_answer`; InvalidImageError for a body of more than `limit_bytes`.
        """
        tries = self.attempts(attempts)
        while True:
            try:
                response, url = self._exchange(method, path, scopes, headers or {}, body)
                data = self._body(response, limit_bytes if response.status in expected else LARGEST_DOCUMENT, doing)
            except failures.Unreachable as error:
                tries.failed(error)
                continue
            if response.status in expected:
                return Reply(status=response.status, headers=response.headers, body=data, url=url)
            self._refused(tries, doing, response, data, url)

    def open(
        self,
        path: str,
        *,
        scopes: Iterable[str],
        headers: Mapping[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
        doing: str = "",
        tries: Attempts | None = None,
    ) -> BaseHTTPResponse:
        """GET, with the answer's body still to be read by the caller, who also releases the connection."""
        tries = tries or self.attempts()
        while True:
            try:
                response, url = self._exchange("GET", path, scopes, headers or {}, None)
                if response.status in expected:
                    return response
                data = self._body(response, LARGEST_DOCUMENT, doing)
            except failures.Unreachable as error:
                tries.failed(error)
                continue
            self._refused(tries, doing, response, data, url)

    def attempts(self, limit: int | None = None) -> Attempts:
        """A fresh count of attempts at something."""
        return Attempts(self._transport.patience, self._sleep, limit=limit or self._attempts)

    def check(self) -> None:
        """GET /v2/ with our credentials. RegistryDenied when they are not good."""
        self.fetch("GET", "/v2/", doing=_HELLO)

    def log_in(self) -> None:
        """As `check`, and ask for an identity token on the way."""
        self._found()
        self.authorizer.log_in()
        self.check()

    def _refused(self, tries: Attempts, doing: str, response: BaseHTTPResponse, data: bytes, url: str) -> None:
        host = host_of(url)
        shown = self.name if host == host_of(self._base) else f"{host} (where {self.name} sent us)"
        error = failures.of_answer(shown, doing, response.status, response.headers, data)
        if isinstance(error, RegistryDenied) and shown == self.name:
            error.hint = self._about_credentials()
        if response.status == BUSY or response.status in PASSING:
            tries.refused(shown, response.status, response.headers, error)
            return
        raise error

    def _about_credentials(self) -> str:
        known = self._credential()
        if known is None:
            return f"log in with `tiffin login {self.name}`"
        return f"they came from {known.source}; `tiffin login {self.name}` tries others"

    def _exchange(
        self,
        method: str,
        path: str,
        scopes: Iterable[str],
        headers: Mapping[str, str],
        body: MakeBody | None,
    ) -> tuple[BaseHTTPResponse, str]:
        """One attempt: with our right to ask, once more after 401, and along redirects."""
        base = self._found()
        url = path if "://" in path else base + path
        again = True
        while True:
            ours = _origin(url) == _origin(base)
            sent = self.authorizer.header(scopes) if ours else ""
            response, last = self._follow(method, url, {**headers, **({"Authorization": sent} if sent else {})}, body)
            if response.status != 401 or not again or _origin(last) != _origin(base):
                return response, last
            again = False
            challenge = response.headers.get("WWW-Authenticate", "")
            if not self.authorizer.renew(challenge, sent, scopes):
                return response, last
            _dismiss(response)

    def _follow(
        self, method: str, url: str, headers: dict[str, str], body: MakeBody | None
    ) -> tuple[BaseHTTPResponse, str]:
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, headers, body)
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                return response, url
            if method not in ("GET", "HEAD") and response.status not in (307, 308):
                return response, url
            _dismiss(response)
            target = self.redirected(url, location)
            if _origin(target) != _origin(url):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise RegistryError(f"{self.name} redirects more than {_MAX_REDIRECTS} times")

    def redirected(self, url: str, location: str) -> str:
        """The address that `location` leads to from `url`. RegistryError for one that must not be followed."""
        from urllib.parse import urljoin

        target = urljoin(url, location)
        if not target.startswith(("https://", "http://")):
            raise RegistryError(f"{host_of(url)} redirects to what is no web address: {target[:200]!r}")
        if url.startswith("https://") and not target.startswith("https://") and not self._place.insecure:
            raise RegistryError(
                f"{host_of(url)} redirects to {host_of(target)} without encryption",
                hint=f"insecure = true for {self.name} in registries.toml allows it",
            )
        return target

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: MakeBody | None, connect_s: float | None = None
    ) -> BaseHTTPResponse:
        return self._transport.send(
            method,
            url,
            headers=headers,
            body=body() if body else None,
            trust=self._trust(host_of(url)),
            certificates=self._certificates(),
            connect_s=connect_s,
        )

    def _certificates(self) -> str:
        return next(iter(self._settings.certificate_dirs), "")

    def _trust(self, host: str) -> Trust:
        place = self._place if host == self.name else self._settings.place_of_host(host)
        return certificates_for(
            host, self._settings.certificate_dirs, insecure=bool(place.insecure), ca=place.ca or self._place.ca
        )

    def _found(self) -> str:
        """The registry's address, found out with the first request."""
        with self._lock:
            tries = self.attempts()
            while not self._base:
                try:
                    self._base = self._probe(tries)
                except failures.Unreachable as error:
                    tries.failed(error)
            return self._base

    def _probe(self, tries: Attempts) -> str:
        """Ask who is there, by HTTPS and where that is allowed by HTTP; "" when it is to be asked again."""
        schemes = ("https", "http") if self._plain_allowed else ("https",)
        for scheme in schemes:
            base, last = f"{scheme}://{self.name}", scheme == schemes[-1]
            try:
                response = self._send("GET", f"{base}/v2/", {}, None, None if last else _PROBE_S)
                data = self._body(response, LARGEST_DOCUMENT, _HELLO)
            except failures.Unreachable as error:
                if last or not error.other_scheme:
                    raise
                continue
            if response.status in (200, 401) and not failures.is_page(response.headers, data):
                self.authorizer.challenged(response.headers.get("WWW-Authenticate", ""))
                return base
            refusal = failures.of_answer(self.name, _HELLO, response.status, response.headers, data)
            if response.status == BUSY or response.status in PASSING:
                tries.refused(self.name, response.status, response.headers, refusal)
                return ""
            # That there is no /v2/ does not mean that what is asked for is not there.
            raise refusal if isinstance(refusal, RegistryError) else RegistryError(refusal.message)
        raise AssertionError("a scheme is tried, or its failure raised")

    def _body(self, response: BaseHTTPResponse, limit_bytes: int, doing: str) -> bytes:
        from urllib3 import exceptions

        data = bytearray()
        try:
            while len(data) <= limit_bytes and (block := response.read(limit_bytes + 1 - len(data))):
                data += block
        except exceptions.HTTPError as error:
            raise failures.of_connection(self.name, error) from error
        if len(data) > limit_bytes:
            response.close()
            raise InvalidImageError(f"{self.name}: {doing}: the answer has more than {limit_bytes // 1024 // 1024} MiB")
        response.release_conn()
        return bytes(data)

    def _fetch_token(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        tries = self.attempts()
        while True:
            try:
                response, _ = self._follow(method, url, dict(headers), (lambda: body) if body is not None else None)
                data = self._body(response, LARGEST_DOCUMENT, "token")
            except failures.Unreachable as error:
                told = failures.Unreachable(
                    f"the token server of {self.name} fails: {error.message}", hint=error.hint, again=error.again
                )
                tries.failed(told)
                continue
            if response.status == BUSY or response.status in PASSING:
                refusal = RegistryError(
                    f"the token server {host_of(url)} of {self.name} fails:"
                    f" {failures.explanation(response.status, response.headers, data)}"
                )
                tries.refused(host_of(url), response.status, response.headers, refusal)
                continue
            return response.status, response.headers, data


def _dismiss(response: BaseHTTPResponse) -> None:
    """Be done with an answer whose body says nothing, and keep the connection if that is cheap."""
    from urllib3 import exceptions

    try:
        if len(response.read(_SHORT + 1)) <= _SHORT:
            response.release_conn()
            return
    except exceptions.HTTPError:
        pass
    response.close()


def _origin(url: str) -> tuple[str, str, int | None]:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port
