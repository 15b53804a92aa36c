"""Real registries on loopback: Debian's docker-registry, each with its storage in a directory of the test's.

with registry(tmp_path) as server: ...                     plain HTTP, anybody may do anything
with registry(tmp_path, tls=authority) as server: ...      HTTPS with a certificate of a test authority
with registry(tmp_path, users={"ann": "secret"}): ...      Basic authentication
with registry(tmp_path, tokens=token_server): ...          Bearer authentication
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = "docker-registry"
_START_S = 15.0


@dataclass(frozen=True)
class RegistryServer:
    """A running registry; `host` is "localhost:PORT" and belongs in front of image names."""

    host: str
    port: int
    storage: Path
    log: Path
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def registry(
    directory: Path,
    *,
    tls: Authority | None = None,
    users: dict[str, str] | None = None,
    token: dict[str, str] | None = None,
    read_only: bool = False,
    check_name: bool = True,
    name: str = "registry",
) -> Iterator[RegistryServer]:
    """Run docker-registry below `directory` until the end of the block.

    `token` is the configuration of token authentication: realm, service, issuer, rootcertbundle.
    `check_name` is False where the certificate is not for localhost.
    """
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    place = directory / name
    storage = place / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    last: Exception | None = None
    for _ in range(3):  # another process may have taken the port in between
        port = free_port()
        config = _config(place, storage, port, tls, users, token, read_only)
        log = place / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [PROGRAM, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": os.environ["PATH"], "HOME": str(place), "OTEL_TRACES_EXPORTER": "none"},
            )
        try:
            try:
                _wait(process, port, tls, log, check_name)
            except ConnectionError as error:
                last = error
                continue
            yield RegistryServer(
                host=f"localhost:{port}", port=port, storage=storage, log=log, scheme="https" if tls else "http"
            )
            return
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
    raise AssertionError(f"{PROGRAM} does not start: {last}")


def _config(
    place: Path,
    storage: Path,
    port: int,
    tls: Authority | None,
    users: dict[str, str] | None,
    token: dict[str, str] | None,
    read_only: bool,
) -> Path:
    """YAML in its JSON form."""
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}", "secret": "only for tests"}
    if tls is not None:
        http["tls"] = {"certificate": str(tls.server_certificate), "key": str(tls.server_key)}
    document: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": read_only}},
        },
        "http": http,
    }
    if users is not None:
        passwords = place / "htpasswd"
        passwords.write_text("".join(f"{user}:{bcrypt(password)}\n" for user, password in users.items()))
        document["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
    elif token is not None:
        document["auth"] = {"token": token}
    path = place / "config.yml"
    path.write_text(json.dumps(document, indent=1))
    return path


def bcrypt(password: str) -> str:
    """The form of passwords that docker-registry reads, made by libcrypt (crypt(5), "$2b$")."""
    import ctypes

    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    # The salt need not be secret here, nor the cost high.
    hashed = libcrypt.crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    assert hashed is not None and hashed.startswith(b"$2b$"), "this libcrypt knows no bcrypt"
    text: str = hashed.decode()
    return text


def _wait(process: subprocess.Popen[bytes], port: int, tls: Authority | None, log: Path, check_name: bool) -> None:
    context = ssl.create_default_context(cafile=str(tls.certificate)) if tls else None
    if context is not None:
        context.check_hostname = check_name
    address = f"{'https' if tls else 'http'}://localhost:{port}/v2/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConnectionError(log.read_text()[-2000:])
        try:
            with opener.open(address, timeout=2):
                return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
            raise
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise ConnectionError(f"no answer in {_START_S} s: {log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's, and a certificate by it for localhost."""

    certificate: Path
    key: Path
    server_certificate: Path
    server_key: Path


def authority(directory: Path, *, names: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> Authority:
    """Make an authority and a server's certificate with openssl(1)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    made = Authority(
        certificate=directory / "ca.crt",
        key=directory / "ca.key",
        server_certificate=directory / "server.crt",
        server_key=directory / "server.key",
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(
        *("req", "-x509", *curve, "-subj", "/CN=Test authority", "-days", "2"),
        *("-keyout", made.key, "-out", made.certificate),
    )
    _openssl(
        *("req", "-x509", *curve, "-subj", "/CN=localhost", "-days", days, "-addext", f"subjectAltName={names}"),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-CA", made.certificate, "-CAkey", made.key),
        *("-keyout", made.server_key, "-out", made.server_certificate),
    )
    return made


def _openssl(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
