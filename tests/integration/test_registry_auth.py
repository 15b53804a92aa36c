"""Logins of every kind against docker-registry: passwords, tokens, certificates, helpers; and what must not leak."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.fault_proxy import Fault, FaultProxy
from harness.registries import Authority, RegistryServer, authority, free_port, registry
from harness.token_server import TokenServer, token_server
from tiffin.errors import RegistryDenied, RegistryError, TiffinError, UsageError
from tiffin.registry.client import Registries
from tiffin.registry.credentials import Credential, Credentials, Fixed
from tiffin.registry.login import log_in, log_out
from tiffin.registry.names import Repository
from tiffin.registry.settings import Rule, Settings
from tiffin.registry.transport import Patience

HASTY = Patience(attempts=2, first_wait_s=0.0)
ANN = Credential(username="ann", password="secret", source="the test")
DATA = b"content"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without any credentials."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def door(credential: Credential | None = ANN, settings: Settings | None = None) -> Registries:
    return Registries(settings or Settings(), Fixed(credential), patience=HASTY)


def put(client: Registries, repository: Repository) -> str:
    return client.upload_blob(
        repository, lambda: contextlib.nullcontext(io.BytesIO(DATA)), digest=DIGEST, size=len(DATA)
    )


def told(raises: type[TiffinError], action: Callable[[], Any]) -> str:
    with pytest.raises(raises) as caught:
        action()
    return str(caught.value)


# Passwords


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("htpasswd"), users={"ann": "secret"}) as running:
        yield running


def test_basic(secured: RegistryServer) -> None:
    with door() as client:
        assert put(client, Repository(host=secured.host, path="app")) == DIGEST
        client.check(secured.host)


def test_no_credentials(secured: RegistryServer) -> None:
    with door(None) as client:
        assert told(RegistryDenied, lambda: client.resolve(Repository(host=secured.host, path="app"), "v1")) == (
            f"{secured.host}: manifest {secured.host}/app:v1: unauthorized: authentication required"
            f" (log in with `tiffin login {secured.host}`)"
        )
        assert told(RegistryDenied, lambda: client.tags(Repository(host=secured.host, path="app"))) == (
            f"{secured.host}: tags of {secured.host}/app: unauthorized: authentication required"
            f" (log in with `tiffin login {secured.host}`)"
        )


def test_wrong_credentials(secured: RegistryServer) -> None:
    with door(Credential(username="ann", password="guess", source="the test")) as client:
        assert told(RegistryDenied, lambda: client.check(secured.host)) == (
            f"{secured.host}: GET /v2/: unauthorized: authentication required"
            f" (they came from the test; `tiffin login {secured.host}` tries others)"
        )


def test_a_redirect_to_another_host_gets_no_credentials(secured: RegistryServer) -> None:
    with FaultProxy(secured.port) as front, FaultProxy(secured.port) as storage, door() as client:
        repository = Repository(host=front.host, path="app")
        put(client, repository)
        target = f"http://{storage.host}/v2/app/blobs/{DIGEST}"
        front.add(Fault(method="GET", path=DIGEST, answer=(307, {"Location": target}, b"")))
        storage.add(Fault(answer=(200, {"Content-Length": str(len(DATA))}, DATA)))
        with client.open_blob(repository, DIGEST, len(DATA)) as stream:
            assert stream.read() == DATA
        assert "Authorization" in front.requests("GET", DIGEST)[0].headers
        assert "Authorization" not in storage.requests()[0].headers


def test_a_redirect_within_the_host_keeps_them(secured: RegistryServer) -> None:
    with FaultProxy(secured.port) as front, door() as client:
        repository = Repository(host=front.host, path="app")
        put(client, repository)
        location = f"/v2/app/blobs/{DIGEST}?again"
        front.add(Fault(method="GET", path=DIGEST, answer=(307, {"Location": location}, b"")))
        with client.open_blob(repository, DIGEST) as stream:
            assert stream.read() == DATA


def test_a_login_is_kept_as_docker_keeps_it(secured: RegistryServer, home: Path) -> None:
    done = log_in(secured.host, "ann", "secret", settings=Settings())
    path = home / ".docker" / "config.json"
    assert (done.host, done.username, done.kept, done.encrypted) == (secured.host, "ann", str(path), False)
    assert json.loads(path.read_text()) == {"auths": {secured.host: {"auth": base64.b64encode(b"ann:secret").decode()}}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with Registries(Settings(), patience=HASTY) as client:
        client.check(secured.host)
    assert log_in(f"http://{secured.host}/v1/", settings=Settings()).kept == ""
    assert log_out(secured.host, settings=Settings()) == (secured.host, [str(path)])
    assert json.loads(path.read_text()) == {"auths": {}}
    assert log_out(secured.host, settings=Settings()) == (secured.host, [])


def test_a_wrong_login_is_not_kept(secured: RegistryServer, home: Path) -> None:
    assert told(RegistryDenied, lambda: log_in(secured.host, "ann", "guess", settings=Settings())) == (
        f"{secured.host} refuses this login: unauthorized: authentication required"
    )
    assert not (home / ".docker").exists()
    assert told(RegistryDenied, lambda: log_in(secured.host, settings=Settings())) == (
        f"no credentials for {secured.host} are kept (`tiffin login -u USER {secured.host}`)"
    )


def test_credentials_of_a_repository(secured: RegistryServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    good, bad = (base64.b64encode(text).decode() for text in (b"ann:secret", b"ann:guess"))
    path.write_text(json.dumps({"auths": {secured.host: {"auth": bad}, f"{secured.host}/team": {"auth": good}}}))
    with Registries(Settings(), patience=HASTY) as client:
        assert put(client, Repository(host=secured.host, path="team/app")) == DIGEST
        with pytest.raises(RegistryDenied):
            put(client, Repository(host=secured.host, path="app"))


# Tokens


@pytest.fixture(scope="module")
def tokens_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TokenServer, RegistryServer]]:
    place = tmp_path_factory.mktemp("token")
    with token_server(place, {"ann": "secret"}) as tokens, registry(place, token=tokens.configuration) as running:
        yield tokens, running


@pytest.fixture
def tokens(tokens_and_server: tuple[TokenServer, RegistryServer]) -> TokenServer:
    """The token server, well-behaved again."""
    found = tokens_and_server[0]
    found.answer, found.life_s, found.anonymous = None, 300, False
    found.asked.clear()
    found.identity_tokens.clear()
    return found


@pytest.fixture
def guarded(tokens_and_server: tuple[TokenServer, RegistryServer]) -> RegistryServer:
    return tokens_and_server[1]


def test_tokens_are_asked_for_once(tokens: TokenServer, guarded: RegistryServer) -> None:
    repository = Repository(host=guarded.host, path="team/app")
    with door() as client:
        put(client, repository)
        for _ in range(3):
            assert client.blob_size(repository, DIGEST) == len(DATA)
    assert [asked["scope"] for asked in tokens.asked] == [
        ["repository:team/app:pull,push"],
        ["repository:team/app:pull"],
    ]
    assert tokens.asked[0]["service"] == ["test registry"]
    assert tokens.asked[0]["account"] == ["ann"]


def test_everybody_may_pull(tokens: TokenServer, guarded: RegistryServer) -> None:
    repository = Repository(host=guarded.host, path="team/public")
    with door() as client:
        put(client, repository)
    tokens.anonymous = True
    with door(None) as client:
        assert client.blob_size(repository, DIGEST) == len(DATA)
        assert told(RegistryDenied, lambda: put(client, repository)) == (
            f"{guarded.host}: upload to {repository}: unauthorized: authentication required"
            f" (log in with `tiffin login {guarded.host}`)"
        )
    assert tokens.asked[-1]["authorization"] == [""]


def test_a_mount_asks_for_both(tokens: TokenServer, guarded: RegistryServer) -> None:
    source, target = (Repository(host=guarded.host, path=path) for path in ("team/source", "team/target"))
    with door() as client:
        put(client, source)
        assert client.mount_blob(target, DIGEST, source) is True
    assert tokens.asked[-1]["scope"] == ["repository:team/source:pull", "repository:team/target:pull,push"]


def test_a_token_is_renewed_before_it_ends(
    tokens: TokenServer, guarded: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(host=guarded.host, path="team/app")
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with door() as client:
        put(client, repository)
        tokens.asked.clear()
        now[0] += 280
        put(client, repository)
        assert len(tokens.asked) == 0
        now[0] += 15
        put(client, repository)
        assert len(tokens.asked) == 1


def test_a_token_that_ends_in_the_middle(tokens: TokenServer, guarded: RegistryServer) -> None:
    """The registry refuses what it took before: one new token, and the same request again."""
    with FaultProxy(guarded.port) as proxy, door() as client:
        repository = Repository(host=proxy.host, path="team/app")
        put(client, repository)
        challenge = f'Bearer realm="{tokens.url}",service="test registry",error="invalid_token"'
        proxy.add(Fault(method="GET", path=DIGEST, answer=(401, {"WWW-Authenticate": challenge}, b"{}")))
        tokens.asked.clear()
        with client.open_blob(repository, DIGEST, len(DATA)) as stream:
            assert stream.read() == DATA
        assert len(tokens.asked) == 2
        assert proxy.count("GET", DIGEST) == 2


def test_more_is_asked_for_when_the_registry_says_so(tokens: TokenServer, guarded: RegistryServer) -> None:
    with door() as client:
        repository = Repository(host=guarded.host, path="team/app")
        host = client._host_to_write(repository)
        put(client, repository)
        tokens.asked.clear()
        host.fetch("GET", "/v2/team/app/tags/list", scopes=(), expected=(200, 404))
    assert [asked.get("scope") for asked in tokens.asked] == [None, ["repository:team/app:pull"]]


def test_an_identity_token_replaces_the_password(tokens: TokenServer, guarded: RegistryServer, home: Path) -> None:
    tokens.identity_tokens["some"] = "bob"
    done = log_in(guarded.host, "ann", "secret", settings=Settings())
    assert json.loads(Path(done.kept).read_text())["auths"][guarded.host] == {
        "auth": base64.b64encode(b"ann:").decode(),
        "identitytoken": "identity of ann",
    }
    tokens.asked.clear()
    with Registries(Settings(), patience=HASTY) as client:
        put(client, Repository(host=guarded.host, path="team/app"))
    assert [(asked["method"], asked["grant_type"], asked["refresh_token"]) for asked in tokens.asked] == [
        (["POST"], ["refresh_token"], ["identity of ann"])
    ]


def test_token_credentials_refused(tokens: TokenServer, guarded: RegistryServer) -> None:
    repository = Repository(host=guarded.host, path="team/app")
    server = tokens.url.split("/")[2]
    with door(Credential(username="ann", password="guess", source="the test")) as client:
        assert told(RegistryDenied, lambda: put(client, repository)) == (
            f"the token server {server} of {guarded.host} refuses the credentials from the test:"
            f" unauthorized: incorrect username or password (log in with `tiffin login {guarded.host}`)"
        )
    with door(None) as client:
        assert told(RegistryDenied, lambda: put(client, repository)) == (
            f"the token server {server} of {guarded.host} refuses to give a token without credentials:"
            f" unauthorized: incorrect username or password (log in with `tiffin login {guarded.host}`)"
        )
    assert told(RegistryDenied, lambda: log_in(guarded.host, "ann", "guess", settings=Settings())) == (
        f"{guarded.host} refuses this login: the token server {server}: unauthorized: incorrect username or password"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, "text/plain", "busy"), "fails: answered HTTP 503 (Service Unavailable) (2 attempts)"),
        ((200, "text/html", "<html>Hello"), "answered without a token"),
        ((200, "application/json", '{"token": 3}'), "answered without a token"),
        ((200, "application/json", '{"token": "a\\nb"}'), "answered without a token"),
        (
            (404, "text/html", "<html>Hello"),
            "fails: answered with a web page (HTTP 404), so it is no registry, or something stands before it",
        ),
    ],
)
def test_a_token_server_that_fails(
    tokens: TokenServer, guarded: RegistryServer, answer: tuple[int, str, str], said: str
) -> None:
    tokens.answer = answer
    server = tokens.url.split("/")[2]
    with door() as client:
        assert told(RegistryError, lambda: put(client, Repository(host=guarded.host, path="app"))) == (
            f"the token server {server} of {guarded.host} {said}"
        )


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ('Bearer realm="http://127.0.0.1:{port}/token"', "the token server of {host} fails: cannot reach"
         " 127.0.0.1:{port}: Connection refused"),
        ('Bearer realm="http://tokens.example/token"', "{host} names the token server tokens.example, to which"
         " credentials would go unencrypted (insecure = true in registries.toml allows it)"),
        ('Bearer realm="file:///etc/passwd"', "{host} names no token server that can be asked: 'file:///etc/passwd'"),
        ("Bearer", "{host} names no token server that can be asked: ''"),
        ("Negotiate", "{host} asks for a login of the kind 'negotiate', which is unknown"),
    ],
)  # fmt: skip
def test_challenges_that_lead_nowhere(guarded: RegistryServer, challenge: str, message: str) -> None:
    port = free_port()
    with FaultProxy(guarded.port) as proxy, door() as client:
        proxy.add(Fault(answer=(401, {"WWW-Authenticate": challenge.format(port=port)}, b"{}"), times=None))
        repository = Repository(host=proxy.host, path="app")
        assert told(RegistryError, lambda: put(client, repository)) == message.format(host=proxy.host, port=port)


# Certificates


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("tls"), tls=ca) as running:
        yield running


def test_an_unknown_authority(encrypted: RegistryServer, tmp_path: Path) -> None:
    with door(settings=Settings(certificate_dirs=(str(tmp_path / "certs.d"), "/none"))) as client:
        assert told(RegistryError, lambda: client.check(encrypted.host)) == (
            f"the certificate of {encrypted.host} cannot be trusted: unable to get local issuer certificate"
            f" (put the certificate of its authority into {tmp_path}/certs.d/{encrypted.host}/ca.crt)"
        )


def test_the_authority_in_a_directory(encrypted: RegistryServer, ca: Authority, tmp_path: Path) -> None:
    place = tmp_path / "certs.d" / encrypted.host
    place.mkdir(parents=True)
    (place / "ca.crt").write_text(ca.certificate.read_text())
    settings = Settings(certificate_dirs=(str(tmp_path / "certs.d"),))
    with door(settings=settings) as client:
        assert put(client, Repository(host=encrypted.host, path="app")) == DIGEST
    (place / "client.cert").write_text(ca.server_certificate.read_text())
    with door(settings=settings) as client:
        assert told(UsageError, lambda: client.check(encrypted.host)) == (
            f"{place}: a client certificate needs both a .cert and a .key file"
        )
    (place / "client.key").write_text(ca.server_key.read_text())
    with door(settings=settings) as client:
        client.check(encrypted.host)


def test_the_authority_in_the_settings(encrypted: RegistryServer, ca: Authority, tmp_path: Path) -> None:
    def settings(path: Path) -> Settings:
        return Settings(rules=(Rule(prefix=encrypted.host, location=encrypted.host, ca=str(path)),))

    with door(settings=settings(ca.certificate)) as client:
        client.check(encrypted.host)
    (tmp_path / "empty.crt").write_text("")
    with door(settings=settings(tmp_path / "empty.crt")) as client:
        assert told(UsageError, lambda: client.check(encrypted.host)).startswith(
            f"{tmp_path}/empty.crt: no certificates in PEM form: "
        )
    with door(settings=settings(tmp_path / "none.crt")) as client:
        assert told(UsageError, lambda: client.check(encrypted.host)) == (
            f"cannot read certificates: No such file or directory: '{tmp_path}/none.crt'"
        )


def test_insecure_takes_any_certificate(encrypted: RegistryServer) -> None:
    settings = Settings(rules=(Rule(prefix=encrypted.host, location=encrypted.host, insecure=True),))
    with door(settings=settings) as client:
        assert put(client, Repository(host=encrypted.host, path="app")) == DIGEST


def test_another_host_s_certificate(tmp_path: Path) -> None:
    other = authority(tmp_path / "ca", names="DNS:registry.example")
    with (
        registry(tmp_path, tls=other, check_name=False) as server,
        door(settings=Settings(rules=(Rule(prefix=server.host, ca=str(other.certificate)),))) as client,
    ):
        assert told(RegistryError, lambda: client.check(server.host)) == (
            f"the certificate of {server.host} cannot be trusted: Hostname mismatch, certificate is not valid for"
            " 'localhost'."
        )


def test_plain_http_only_where_it_is_allowed(secured: RegistryServer) -> None:
    settings = Settings(rules=(Rule(prefix=secured.host, location=secured.host, insecure=False),))
    with door(settings=settings) as client:
        assert told(RegistryError, lambda: client.check(secured.host)) == (
            f"{secured.host} speaks plain HTTP, which is not allowed with it"
            f" (insecure = true for {secured.host} in registries.toml allows it)"
        )


def test_no_redirect_to_plain_http(encrypted: RegistryServer, ca: Authority, secured: RegistryServer) -> None:
    """docker-registry does not redirect, so a blob's address is one of a registry that does not encrypt."""
    target = f"http://{secured.host}/v2/app/blobs/{DIGEST}"
    for insecure, allowed in ((None, False), (True, True)):
        settings = Settings(
            rules=(Rule(prefix=encrypted.host, location=encrypted.host, ca=str(ca.certificate), insecure=insecure),)
        )
        with door(settings=settings) as client:
            host = client._host_to_write(Repository(host=encrypted.host, path="app"))
            host.check()
            if allowed:
                assert host.redirected(f"{encrypted.url}/x", target) == target
                continue
            assert told(RegistryError, lambda host=host: host.redirected(f"{encrypted.url}/x", target)) == (
                f"{encrypted.host} redirects to {secured.host} without encryption"
                f" (insecure = true for {encrypted.host} in registries.toml allows it)"
            )


# Helpers


HELPER = """#!/usr/bin/python3
import json, os, sys
path = os.environ["HELPED"]
known = json.load(open(path)) if os.path.exists(path) else {}
text = sys.stdin.read()
if sys.argv[1] == "get":
    if text not in known:
        print("credentials not found in native keychain")
        sys.exit(1)
    print(json.dumps({"ServerURL": text, **known[text]}))
elif sys.argv[1] == "store":
    given = json.loads(text)
    known[given.pop("ServerURL")] = given
elif sys.argv[1] == "erase":
    del known[text]
json.dump(known, open(path, "w"))
"""


@pytest.fixture
def helped(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-test is in PATH; the file in which it keeps what it knows."""
    program = home / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPED", str(home / "helped.json"))
    (home / ".docker").mkdir()
    return home / "helped.json"


@pytest.mark.parametrize("how", ["credsStore", "credHelpers"])
def test_a_helper_keeps_the_login(secured: RegistryServer, helped: Path, home: Path, how: str) -> None:
    config = home / ".docker" / "config.json"
    asked = {"credsStore": "test"} if how == "credsStore" else {"credHelpers": {secured.host: "test"}}
    config.write_text(json.dumps({**asked, "other": 1}))
    done = log_in(secured.host, "ann", "secret", settings=Settings())
    assert (done.kept, done.encrypted) == ("docker-credential-test", True)
    assert json.loads(helped.read_text()) == {secured.host: {"Username": "ann", "Secret": "secret"}}
    assert json.loads(config.read_text()) == {**asked, "other": 1, "auths": {secured.host: {}}}
    with Registries(Settings(), patience=HASTY) as client:
        client.check(secured.host)
    log_out(secured.host, settings=Settings())
    assert json.loads(helped.read_text()) == {}
    assert json.loads(config.read_text()) == {**asked, "other": 1, "auths": {}}


def test_a_helper_keeps_an_identity_token(
    tokens: TokenServer, guarded: RegistryServer, helped: Path, home: Path
) -> None:
    (home / ".docker" / "config.json").write_text('{"credsStore": "test"}')
    tokens.identity_tokens["some"] = "bob"
    log_in(guarded.host, "ann", "secret", settings=Settings())
    assert json.loads(helped.read_text()) == {guarded.host: {"Username": "<token>", "Secret": "identity of ann"}}
    with Registries(Settings(), patience=HASTY) as client:
        put(client, Repository(host=guarded.host, path="team/app"))


def test_a_default_helper_is_asked_last(secured: RegistryServer, helped: Path) -> None:
    helped.write_text(json.dumps({secured.host: {"Username": "ann", "Secret": "secret"}}))
    with Registries(Settings(credential_helpers=("test",)), patience=HASTY) as client:
        client.check(secured.host)


def test_a_helper_that_fails_is_passed_over(home: Path) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "none-such"}')
    warned: list[str] = []
    assert Credentials(warn=warned.append).get("registry.example") is None
    assert warned == ["cannot run the credential helper docker-credential-none-such: No such file or directory"]
