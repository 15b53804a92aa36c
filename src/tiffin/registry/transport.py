"""One HTTP request and its answer: connections, TLS, proxies, time limits. No retries, redirects or credentials."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.registry import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

    Body = bytes | memoryview | Iterable[bytes]

BLOCK = 256 * 1024


class Patience(Record):
    """How long we wait, in seconds, and how often we try.

    Between attempts `first_wait_s` doubles, up to `longest_wait_s`; `asked_wait_s` is what Retry-After may add up to
    for one request.
    """

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 10.0
    asked_wait_s: float = 60.0
    connect_s: float = 30.0
    read_s: float = 60.0

    def wait_s(self, failed: int) -> float:
        """The wait after `failed` attempts, spread so that many clients do not come back at once."""
        import random

        return min(self.first_wait_s * 2.0 ** (failed - 1), self.longest_wait_s) * random.uniform(0.5, 1.0)


class Trust(Record):
    """How a host's certificate is judged: by the system's authorities and those of `ca_files`, or not at all."""

    insecure: bool = False
    ca_files: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""


class Transport:
    """Connections to any number of hosts, pooled; for many threads."""

    def __init__(self, *, user_agent: str, patience: Patience) -> None:
        from threading import Lock

        self.patience = patience
        self._user_agent = user_agent
        self._lock = Lock()
        self._managers: dict[tuple[Trust, str], PoolManager] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        trust: Trust,
        certificates: str = "",
        connect_s: float | None = None,
    ) -> BaseHTTPResponse:
        """Send one request; the answer's body is still to be read. `failures.Unreachable` when there is none."""
        from urllib3 import Timeout, exceptions

        from tiffin.registry.proxies import proxy_for

        proxy = proxy_for(url)
        manager = self._manager(trust, proxy)
        host = host_of(url)
        try:
            return manager.urlopen(
                method,
                url,
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity", **headers},
                body=body,
                timeout=Timeout(connect=connect_s or self.patience.connect_s, read=self.patience.read_s),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except exceptions.LocationParseError:
            raise UsageError(f"{host} is no host with a port") from None
        except exceptions.HTTPError as error:
            failure = failures.of_connection(host, error, proxy=_shown(proxy), certificates=certificates)
            raise failure from error

    def close(self) -> None:
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

    def _manager(self, trust: Trust, proxy: str) -> PoolManager:
        with self._lock:
            manager = self._managers.get((trust, proxy))
            if manager is None:
                manager = self._managers[trust, proxy] = _manager(trust, proxy)
            return manager


def _manager(trust: Trust, proxy: str) -> PoolManager:
    import urllib3

    if trust.insecure:
        import warnings

        # The user said so in the settings; urllib3 would repeat it for every request.
        warnings.filterwarnings("ignore", category=urllib3.exceptions.InsecureRequestWarning)
    context = _context(trust)
    if not proxy:
        return urllib3.PoolManager(num_pools=32, maxsize=16, ssl_context=context, blocksize=BLOCK)
    parsed = urllib3.util.parse_url(proxy)
    login = urllib3.make_headers(proxy_basic_auth=_unquoted(parsed.auth)) if parsed.auth else None
    plain = parsed._replace(auth=None).url
    return urllib3.ProxyManager(
        plain, num_pools=32, maxsize=16, proxy_headers=login, ssl_context=context, blocksize=BLOCK
    )


def _context(trust: Trust) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in trust.ca_files:
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError as error:
            raise UsageError(f"{path}: no certificates in PEM form: {error.reason or error}") from None
        except OSError as error:
            raise UsageError(f"cannot read certificates: {error.strerror}: {path!r}") from None
    if trust.certificate:
        try:
            context.load_cert_chain(trust.certificate, trust.key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cannot use the client certificate {trust.certificate!r}: {error}") from None
    return context


def host_of(url: str) -> str:
    """host[:port] of an address, as users write it."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def certificates_for(host: str, directories: Iterable[str], *, insecure: bool, ca: str) -> Trust:
    """The trust for a host, with what lies in the first of the directories that has one for it.

    UsageError for a client certificate without its key, or the reverse.
    """
    ca_files = [ca] if ca else []
    certificate = key = ""
    for directory in directories:
        place = os.path.join(directory, host)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        ca_files += [os.path.join(place, name) for name in names if name.endswith(".crt")]
        certificate = next((os.path.join(place, name) for name in names if name.endswith(".cert")), "")
        key = next((os.path.join(place, name) for name in names if name.endswith(".key")), "")
        if bool(certificate) != bool(key):
            raise UsageError(f"{place}: a client certificate needs both a .cert and a .key file")
        break
    return Trust(insecure=insecure, ca_files=tuple(ca_files), certificate=certificate, key=key)


def _unquoted(login: str) -> str:
    from urllib.parse import unquote

    return unquote(login)


def _shown(proxy: str) -> str:
    """A proxy's address without the password in it."""
    return host_of(proxy) if proxy else ""


def sleep_s(seconds: float) -> None:
    import time

    time.sleep(seconds)
