"""A registry in memory that serves whatever a test puts into it, also what no real one would take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.archives import OCI_MANIFEST, Layout, digest

Body = bytes | Callable[[], Iterable[bytes]]


class Served:
    """`manifests` maps tags and digests to (media type, body), `blobs` digests to bodies.

    A function makes a body in pieces, which is sent without a length. `asked` lists all requests, `hold` is waited for
    before a blob is sent.
    """

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, Body] = {}
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.host = ""

    def put(self, layout: Layout, tag: str, top: dict[str, object]) -> str:
        """Everything of a layout, its descriptor `top` under a tag as well; returns its digest."""
        for path, data in layout.files.items():
            if path.startswith("blobs/"):
                self.blobs[digest(data)] = data
                if b'"schemaVersion"' in data[:200]:
                    kind = "index" if b'"manifests"' in data else "manifest"
                    self.manifests[digest(data)] = (OCI_MANIFEST.replace("manifest.v1", f"{kind}.v1"), data)
        found = str(top["digest"])
        self.manifests[tag] = self.manifests[found]
        return found

    def name(self, tag: str = "1") -> str:
        return f"{self.host}/app:{tag}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_GET(self) -> None:
        self.served.asked.append(f"{self.command} {self.path}")
        kind, _, reference = self.path.rpartition("/")
        if self.path == "/v2/":
            self._send("application/json", b"{}")
        elif kind.endswith("/manifests") and reference in self.served.manifests:
            media_type, body = self.served.manifests[reference]
            self._send(media_type, body, reference if ":" in reference else digest(body))
        elif kind.endswith("/blobs") and reference in self.served.blobs:
            self.served.hold.wait(30)
            self._send_body(self.served.blobs[reference])
        else:
            self._send("application/json", b'{"errors":[{"code":"NAME_UNKNOWN"}]}', status=404)

    do_HEAD = do_GET

    def _send_body(self, body: Body) -> None:
        if isinstance(body, bytes):
            self._send("application/octet-stream", body)
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in body():
            self.wfile.write(piece)

    def _send(self, media_type: str, body: bytes, found: str = "", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("Docker-Content-Digest", found)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away in the middle is what some tests are about


@contextmanager
def served() -> Iterator[Served]:
    """One that listens on loopback until the end of the block."""
    registry = Served()
    handler = type("Handler", (_Handler,), {"served": registry})
    server = _Server(("127.0.0.1", 0), handler)
    registry.host = f"localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
