"""Uploads to a registry that goes by the letter of the specification, which continues chunks that arrived in part."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.fault_proxy import Fault, FaultProxy
from tiffin.registry.client import Registries
from tiffin.registry.names import Repository
from tiffin.registry.settings import Settings
from tiffin.registry.transport import Patience

DATA = random.Random(3).randbytes(900_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class _Uploads(BaseHTTPRequestHandler):
    """Chunked uploads of distribution-spec 1.1: chunks in order, 416 for others, GET tells how far it came."""

    protocol_version = "HTTP/1.1"
    received: bytearray
    stored: dict[str, bytes]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _progress(self, status: int) -> None:
        last = max(len(self.received) - 1, 0)
        self._answer(status, Location="/v2/app/blobs/uploads/1", Range=f"0-{last}")

    def _take(self) -> bool:
        left = int(self.headers.get("Content-Length", "0"))
        while left and (block := self.rfile.read1(min(left, 65536))):  # type: ignore[attr-defined]
            self.received += block
            left -= len(block)
        return left == 0

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._answer(200)
        else:
            self._progress(204)

    def do_POST(self) -> None:
        self.received.clear()
        self._progress(202)

    def do_PATCH(self) -> None:
        start = re.fullmatch(r"(\d+)-(\d+)", self.headers["Content-Range"])
        if start is None or int(start.group(1)) != len(self.received):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._progress(416)
        elif self._take():
            self._progress(202)

    def do_PUT(self) -> None:
        if self._take():
            digest = self.path.rpartition("digest=")[2]
            self.stored[digest] = bytes(self.received)
            self._answer(201)


@pytest.fixture
def uploads() -> Iterator[tuple[int, dict[str, bytes]]]:
    """The port of such a registry, and what it has stored."""
    stored: dict[str, bytes] = {}
    handler = type("Handler", (_Uploads,), {"received": bytearray(), "stored": stored})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield listener.server_address[1], stored
        listener.shutdown()
        thread.join(10)


@pytest.mark.parametrize("part", [0, 1, 150_000])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_chunk_that_arrived_in_part_is_continued(
    uploads: tuple[int, dict[str, bytes]], part: int, size: int | None
) -> None:
    """What is in memory is sent from there; else the content is opened again."""
    port, stored = uploads
    opened: list[int] = []

    def make() -> contextlib.AbstractContextManager[io.BytesIO]:
        opened.append(1)
        return contextlib.nullcontext(io.BytesIO(DATA))

    with FaultProxy(port) as proxy, Registries(Settings(), patience=Patience(first_wait_s=0.0)) as client:
        proxy.add(Fault(method="PATCH", cut_request_after=part, skip=1))
        seen: list[int] = []
        digest = client.upload_blob(
            Repository(host=proxy.host, path="app"),
            make,
            digest=None,
            size=size,
            chunk_bytes=300_000,
            progress=seen.append,
        )
        ranges = [request.headers["Content-Range"] for request in proxy.requests("PATCH")]
    assert digest == DIGEST
    assert stored == {DIGEST: DATA}
    assert len(opened) == (1 if size is None else 2)
    assert ranges == ["0-299999", "300000-599999", f"{300_000 + part}-599999", "600000-899999"]
    assert seen == [300_000, 600_000, 900_000]


def test_a_chunk_whose_answer_was_lost_is_not_sent_again(uploads: tuple[int, dict[str, bytes]]) -> None:
    port, stored = uploads
    with FaultProxy(port) as proxy, Registries(Settings(), patience=Patience(first_wait_s=0.0)) as client:
        proxy.add(Fault(method="PATCH", lose_answer=True, skip=1))
        client.upload_blob(
            Repository(host=proxy.host, path="app"),
            lambda: contextlib.nullcontext(io.BytesIO(DATA)),
            digest=DIGEST,
            size=len(DATA),
            chunk_bytes=300_000,
        )
        assert proxy.count("PATCH") == 3
    assert stored == {DIGEST: DATA}
