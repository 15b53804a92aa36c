"""A proxy on loopback in front of a registry that does damage when it is told to.

    with FaultProxy(server.port) as proxy:
        proxy.add(Fault(path="/blobs/", cut_after=1000, times=2))
        ... use proxy.host in place of server.host ...
        assert proxy.count("GET", "/blobs/sha256:") == 3

It speaks HTTP/1.1 with the client, one request per connection to the registry, and passes on what no fault is for.
As HTTPS_PROXY or HTTP_PROXY it leads to that registry as well, whatever the host that it is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_BLOCK = 64 * 1024


@dataclass
class Fault:
    """What to do to requests whose method and path fit, the first `times` of them (None: all)."""

    path: str = ""
    """A part of the path, with the query."""
    method: str = ""
    times: int | None = 1
    skip: int = 0
    """How many fitting requests to let pass first."""

    refuse: bool = False
    """Close the connection instead of answering."""
    lose_answer: bool = False
    """Have the registry do it, and close the connection instead of passing the answer on."""
    delay_s: float = 0.0
    """Wait before the answer."""
    stall_after: int | None = None
    """Send so many bytes of the body, and then nothing any more."""
    cut_after: int | None = None
    """Send so many bytes of the body, and close the connection."""
    cut_request_after: int | None = None
    """Pass on so many bytes of the request's body, and close both connections."""
    truncate: int | None = None
    """Send so many bytes of the body and say that these are all."""
    corrupt_at: int | None = None
    """Change the byte of the body at that place."""
    endless: bool = False
    """Send the body without end, and without saying how long it is."""
    answer: tuple[int, dict[str, str], bytes] | None = None
    """(status, headers, body) instead of the registry's."""
    headers: dict[str, str | None] = field(default_factory=dict)
    """Headers to set in the answer, or with None to leave out."""
    no_range: bool = False
    """Leave out the Range header of the request, as a server would that knows none."""

    def fits(self, method: str, path: str) -> bool:
        return self.path in path and self.method in ("", method)


def too_many(retry_after: str | None = "1", **options: object) -> Fault:
    """429, as a registry that has had enough."""
    headers = {"Content-Type": "application/json"} | ({"Retry-After": retry_after} if retry_after is not None else {})
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}'
    return Fault(answer=(429, headers, body), **options)  # type: ignore[arg-type]


def unavailable(status: int = 503, **options: object) -> Fault:
    """A passing failure, in the words of a load balancer."""
    return Fault(answer=(status, {"Content-Type": "text/plain"}, b"upstream is gone"), **options)  # type: ignore[arg-type]


def web_page(status: int = 200, **options: object) -> Fault:
    """What a login portal answers."""
    page = b"<!DOCTYPE html><html><body>Welcome to this network</body></html>"
    return Fault(answer=(status, {"Content-Type": "text/html; charset=utf-8"}, page), **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Request:
    """One request that came, with the number of bytes of the answer's body that went out."""

    method: str
    path: str
    headers: dict[str, str]
    sent: list[int] = field(default_factory=lambda: [0])


class FaultProxy:
    """The proxy; `host` is "localhost:PORT"."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.host = f"localhost:{self.port}"
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._requests: list[Request] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def add(self, *faults: Fault) -> None:
        """Do damage; a request gets the first fault that fits and has times left."""
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """Be good, and forget the requests."""
        with self._lock:
            self._faults.clear()
            self._requests.clear()

    def requests(self, method: str = "", path: str = "") -> list[Request]:
        """The requests so far with that method, and that part in their paths."""
        with self._lock:
            return [request for request in self._requests if method in ("", request.method) and path in request.path]

    def count(self, method: str = "", path: str = "") -> int:
        return len(self.requests(method, path))

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._open.add(connection)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as reader:
                while self._one(connection, reader):
                    pass
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)

    def _fault(self, method: str, path: str) -> Fault:
        with self._lock:
            for fault in self._faults:
                if not fault.fits(method, path) or fault.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return Fault()

    def _one(self, connection: socket.socket, reader: object) -> bool:
        """One request and its answer; False when the connection ends."""
        line = reader.readline(8192)  # type: ignore[attr-defined]
        if not line or line[0] == 0x16:  # the beginning of TLS
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = dict(http.client.parse_headers(reader).items())  # type: ignore[arg-type]
        request = Request(method, path, headers)
        with self._lock:
            self._requests.append(request)
        fault = self._fault(method, path)
        if fault.refuse:
            return False
        if method == "CONNECT" and fault.answer is None:
            self._tunnel(connection)
            return False
        lower = {name.lower(): value for name, value in headers.items()}
        body = _body(reader, lower)
        if fault.answer is not None:
            for _ in body:
                pass
            self._closing.wait(fault.delay_s)
            status, extra, data = fault.answer
            self._head(connection, status, {"Content-Length": str(len(data)), **extra})
            connection.sendall(data if method != "HEAD" else b"")
            return True
        return self._pass_on(connection, request, lower, body, fault)

    def _tunnel(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._upstream), timeout=30) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with selectors.DefaultSelector() as selector:
                selector.register(connection, selectors.EVENT_READ, upstream)
                selector.register(upstream, selectors.EVENT_READ, connection)
                while True:
                    for key, _ in selector.select(30):
                        block = key.fileobj.recv(_BLOCK)  # type: ignore[union-attr]
                        if not block:
                            return
                        key.data.sendall(block)

    def _pass_on(
        self, connection: socket.socket, request: Request, headers: dict[str, str], body: Iterator[bytes], fault: Fault
    ) -> bool:
        upstream = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=30)
        try:
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name not in ("connection", "transfer-encoding") and not (fault.no_range and name == "range"):
                    upstream.putheader(name, value)
            chunked = "transfer-encoding" in headers
            if chunked:
                upstream.putheader("Transfer-Encoding", "chunked")
            upstream.endheaders()
            passed = 0
            for block in body:
                if fault.cut_request_after is not None and passed + len(block) > fault.cut_request_after:
                    block = block[: fault.cut_request_after - passed]
                    upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                    time.sleep(0.1)  # the registry must have it before the connection breaks
                    return False
                upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                passed += len(block)
            if chunked:
                upstream.send(b"0\r\n\r\n")
            answer = upstream.getresponse()
            if fault.lose_answer:
                return False
            return self._answer(connection, request, answer, fault)
        finally:
            upstream.close()

    def _answer(
        self, connection: socket.socket, request: Request, answer: http.client.HTTPResponse, fault: Fault
    ) -> bool:
        self._closing.wait(fault.delay_s)
        headers = {name: value for name, value in answer.getheaders() if name.lower() != "connection"}
        for name, value in fault.headers.items():
            headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
            if value is not None:
                headers[name] = value
        whole = int(headers.get("Content-Length", "0"))
        ends = "Content-Length" not in headers and request.method != "HEAD" and answer.status not in (204, 304)
        if ends:  # it came in chunks
            headers.pop("Transfer-Encoding", None)
            headers["Connection"] = "close"
        if fault.truncate is not None:
            headers["Content-Length"] = str(min(whole, fault.truncate))
        if fault.endless:
            headers.pop("Content-Length", None)
            headers["Connection"] = "close"
        self._head(connection, answer.status, headers)
        if request.method == "HEAD":
            return True
        limit = min((n for n in (fault.cut_after, fault.stall_after, fault.truncate) if n is not None), default=None)
        while block := answer.read(_BLOCK):
            start = request.sent[0]
            if fault.corrupt_at is not None and start <= fault.corrupt_at < start + len(block):
                at = fault.corrupt_at - start
                block = block[:at] + bytes([block[at] ^ 0xFF]) + block[at + 1 :]
            if limit is not None:
                block = block[: limit - start]
            request.sent[0] += len(block)  # before it goes, so that who has it finds it counted
            connection.sendall(block)
            if limit is not None and request.sent[0] >= limit:
                break
        while fault.endless and not self._closing.is_set():
            request.sent[0] += _BLOCK
            connection.sendall(bytes(_BLOCK))
        if fault.stall_after is not None:
            self._closing.wait(30)
        return not ends and fault.cut_after is None and fault.stall_after is None

    def _head(self, connection: socket.socket, status: int, headers: dict[str, str]) -> None:
        reason = http.client.responses.get(status, "Unknown")
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def _body(reader: object, headers: dict[str, str]) -> Iterator[bytes]:
    """The body of a request, in blocks."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(reader.readline(100).split(b";")[0], 16):  # type: ignore[attr-defined]
            yield reader.read(size)  # type: ignore[attr-defined]
            reader.readline(10)  # type: ignore[attr-defined]
        reader.readline(10)  # type: ignore[attr-defined]
        return
    left = int(headers.get("content-length", "0"))
    while left and (block := reader.read1(min(left, _BLOCK))):  # type: ignore[attr-defined]
        left -= len(block)
        yield block
    if left:
        raise ConnectionError("the client is gone")
