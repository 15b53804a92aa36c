"""A small token server for docker-registry: signs tokens (RS256) with openssl(1), knows a few users.

with token_server(tmp_path, users={"ann": "secret"}) as tokens:
    with registry(tmp_path, token=tokens.configuration) as server: ...
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ISSUER = "test issuer"
SERVICE = "test registry"


@dataclass
class TokenServer:
    """A running token server; tests may change what it does while it runs."""

    url: str
    configuration: dict[str, str]
    users: dict[str, str]
    key: Path
    certificate: Path
    life_s: int = 300
    """What tokens live; docker-registry grants a minute more."""
    anonymous: bool = False
    """Whether everybody may pull."""
    identity_tokens: dict[str, str] = field(default_factory=dict)
    """Identity token -> user; those given out on request are added when there is one already."""
    answer: tuple[int, str, str] | None = None
    """(status, content type, body) instead of what is right."""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    """The parameters of each request, with "method", "authorization" and "status"."""


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _run(*words: object, input: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, words)], input=input, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _signed(server: TokenServer, user: str, access: list[dict[str, object]]) -> str:
    certificate = "".join(line for line in server.certificate.read_text().splitlines() if "-----" not in line)
    header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": user,
        "aud": SERVICE,
        "exp": now + server.life_s,
        "nbf": now - 10,
        "iat": now,
        "jti": str(time.time_ns()),
        "access": access,
    }
    text = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{text}.{_b64(_run('dgst', '-sha256', '-sign', server.key, input=text.encode()))}"


def _access(scopes: list[str], actions: set[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, _, wanted = rest.rpartition(":")
        granted = [action for action in wanted.split(",") if action in actions or (action == "*" and "push" in actions)]
        if granted:
            found.append({"type": kind, "name": name, "actions": granted})
    return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._give(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._give(urllib.parse.parse_qs(body.decode()))

    def _give(self, asked: dict[str, list[str]]) -> None:
        server = self.tokens
        login = self.headers.get("Authorization", "")
        record = {**asked, "method": [self.command], "authorization": [login]}
        server.asked.append(record)
        status, kind, body = server.answer or self._answer(asked, login)
        record["status"] = [str(status)]
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, asked: dict[str, list[str]], login: str) -> tuple[int, str, str]:
        server = self.tokens
        user = ""
        if asked.get("grant_type") == ["refresh_token"]:
            user = server.identity_tokens.get(asked["refresh_token"][0], "")
        elif login:
            name, _, password = base64.b64decode(login.removeprefix("Basic ")).decode().partition(":")
            user = name if server.users.get(name) == password else ""
        refused = (
            401,
            "application/json",
            '{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}',
        )
        if not user and (login or "grant_type" in asked or not server.anonymous):
            return refused
        actions = {"pull", "push", "delete"} if user else {"pull"}
        token = _signed(server, user, _access(asked.get("scope", []), actions))
        document: dict[str, object] = {"token": token, "expires_in": server.life_s}
        if asked.get("offline_token") == ["true"] and server.identity_tokens:
            server.identity_tokens[f"identity of {user}"] = user
            document["refresh_token"] = f"identity of {user}"
        return 200, "application/json", json.dumps(document)


@contextmanager
def token_server(directory: Path, users: dict[str, str]) -> Iterator[TokenServer]:
    """Run a token server on loopback until the end of the block; its key and certificate are below `directory`."""
    place = directory / "tokens"
    place.mkdir(parents=True, exist_ok=True)
    key, certificate = place / "token.key", place / "token.crt"
    _run(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test tokens", "-days", "2"),
        *("-keyout", key, "-out", certificate),
    )
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        url = f"http://127.0.0.1:{listener.server_address[1]}/token"
        tokens = TokenServer(
            url=url,
            configuration={
                "realm": url,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(certificate),
            },
            users=users,
            key=key,
            certificate=certificate,
        )
        handler.tokens = tokens  # type: ignore[attr-defined]
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield tokens
        finally:
            listener.shutdown()
            thread.join(10)
