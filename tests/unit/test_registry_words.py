"""Pieces of HTTP that registries use: challenges, Retry-After, proxies, Link, error documents, credential files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tiffin.errors import NotSupportedError, UsageError
from tiffin.registry.auth import Challenge, parse_challenges
from tiffin.registry.credentials import Credential, Credentials, server_name
from tiffin.registry.failures import error_document, explanation
from tiffin.registry.proxies import proxy_for
from tiffin.registry.referrers import fallback_tag
from tiffin.registry.waiting import retry_after_s

# WWW-Authenticate


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        ('Bearer realm="https://t.example/a?b=c",service=s , scope="repository:a/b:pull,push"',
         [("bearer", {"realm": "https://t.example/a?b=c", "service": "s", "scope": "repository:a/b:pull,push"})]),
        ('Basic realm="x", Bearer Realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (r'Basic realm="say \"hello\""', [("basic", {"realm": 'say "hello"'})]),
        ('Negotiate, Basic realm = "x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="unended', [("bearer", {"realm": ""}), ("unended", {})]),
        (", ,=,", []),
    ],
)  # fmt: skip
def test_challenges(text: str, found: list[tuple[str, dict[str, str]]]) -> None:
    expected = [Challenge(scheme=scheme, parameters=tuple(values.items())) for scheme, values in found]
    assert parse_challenges(text) == expected


def test_long_challenges_take_no_time() -> None:
    assert len(parse_challenges('a="' * 100_000)) <= 8192


# Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("120", 120.0), ("", None), ("soon", None), ("-1", None), ("1.5", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 99 Oct 2015", None), ("9" * 30, 999999999.0)],
)  # fmt: skip
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s({"Retry-After": text}) == seconds


# Proxies


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:secret@proxy.example:3128")
    monkeypatch.setenv("http_proxy", "proxy.example")
    return monkeypatch


@pytest.mark.parametrize(
    ("except_for", "url", "used"),
    [
        ("", "https://a.example/v2/", True),
        ("", "https://localhost:5000/v2/", False),
        ("", "https://127.0.0.1/v2/", False),
        ("", "https://[::1]:5000/v2/", False),
        ("*", "https://a.example/", False),
        ("b.example, a.example", "https://a.example/", False),
        ("example", "https://a.example/", False),
        ("A.Example", "https://a.example/", False),
        (".example", "https://a.example/", False),
        ("*.example", "https://a.example/", False),
        (".a.example", "https://a.example/", True),
        ("xa.example", "https://a.example/", True),
        ("a.example:443", "https://a.example/", False),
        ("a.example:5000", "https://a.example/", True),
        ("a.example:5000", "https://a.example:5000/", False),
        ("10.0.0.0/8", "https://10.1.2.3:5000/", False),
        ("10.0.0.0/8", "https://11.1.2.3/", True),
        ("10.1.2.3", "https://10.1.2.3/", False),
        ("2001:db8::/32,nonsense/33", "https://[2001:db8::1]/", False),
        ("3", "https://10.1.2.3/", True),
        (",,", "https://a.example/", True),
    ],
)
def test_which_hosts_are_asked_through_the_proxy(
    proxies: pytest.MonkeyPatch, except_for: str, url: str, used: bool
) -> None:
    proxies.setenv("NO_PROXY", except_for)
    assert proxy_for(url) == ("http://ann:secret@proxy.example:3128" if used else "")


def test_each_scheme_has_its_proxy(proxies: pytest.MonkeyPatch) -> None:
    assert proxy_for("http://a.example/") == "http://proxy.example"
    proxies.delenv("HTTPS_PROXY")
    assert proxy_for("https://a.example/") == ""
    proxies.setenv("ALL_PROXY", "http://all.example")
    assert proxy_for("https://a.example/") == ""


def test_proxies_that_are_refused(proxies: pytest.MonkeyPatch) -> None:
    proxies.setenv("HTTPS_PROXY", "socks5://proxy.example")
    with pytest.raises(NotSupportedError) as caught:
        proxy_for("https://a.example/")
    assert str(caught.value) == "HTTPS_PROXY: proxies of the kind 'socks5' are not supported (use an HTTP proxy)"
    proxies.setenv("REQUEST_METHOD", "GET")
    with pytest.raises(UsageError) as refused:
        proxy_for("http://a.example/")
    assert str(refused.value) == (
        "HTTP_PROXY is not used where REQUEST_METHOD is set (anybody could have set it there)"
    )


# What registries say of errors


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"[1]", []),
        (b'{"errors": 1}', []),
        (b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no such"}]}', ["name unknown: no such"]),
        (b'{"errors": [{"code": "DENIED"}, {"message": "m"}, {}, 3]}', ["denied", "m"]),
        (b'{"details": "incorrect username or password"}', ["incorrect username or password"]),
        (json.dumps({"errors": [{"code": "X", "message": "\x1b[2J" + "m" * 999}]}).encode(), ["x: [2J" + "m" * 296]),
        (json.dumps({"errors": [{"code": str(n)} for n in range(99)]}).encode(), ["0", "1", "2", "3", "4"]),
    ],
)
def test_error_documents(body: bytes, found: list[str]) -> None:
    assert error_document(body) == found


def test_what_says_nothing_is_told_by_its_status() -> None:
    assert explanation(418, {}, b"tea") == "answered HTTP 418 (I'm a Teapot)"
    assert explanation(401, {}, b"") == "unauthorized: authentication required"
    assert explanation(403, {}, b"no") == "denied: requested access to the resource is denied"
    assert explanation(599, {}, b"") == "answered HTTP 599 (unknown status)"


def test_the_tag_of_referrers() -> None:
    assert fallback_tag(f"sha256:{'a' * 64}") == f"sha256-{'a' * 64}"
    assert fallback_tag(f"sha512:{'b' * 128}") == f"sha512-{'b' * 64}"


# Credential files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(path: Path, **auths: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = {key: {"auth": base64.b64encode(login.encode()).decode()} for key, login in auths.items()}
    path.write_text(json.dumps({"auths": entries}))


def test_where_credentials_are_looked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    found = []
    for path in (
        home / ".config" / "containers" / "auth.json",
        home / "run" / "containers" / "auth.json",
        home / ".docker" / "config.json",
    ):
        write(path, host=f"{path.parent.name}:x")
        credential = Credentials().get("host")
        assert credential is not None and credential.source == str(path)
        found.append(credential.username)
    assert found == ["containers", "containers", ".docker"]
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "other"))
    write(home / "other" / "config.json", host="other:x")
    assert Credentials().get("host") == Credential(
        username="other", password="x", source=str(home / "other" / "config.json")
    )
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "only.json"))
    assert Credentials().get("host") is None


@pytest.mark.parametrize("key", ["host:5000", "https://host:5000", "http://host:5000/v1/", "host:5000/v2/"])
def test_spellings_of_hosts(home: Path, key: str) -> None:
    write(home / ".docker" / "config.json", **{key: "ann:a:b"})
    credential = Credentials().get("host:5000")
    assert credential is not None and (credential.username, credential.password) == ("ann", "a:b")


def test_the_most_specific_key(home: Path) -> None:
    write(home / ".docker" / "config.json", **{"host": "a:a", "host/team": "b:b", "host/team/app": "c:c"})
    credentials = Credentials()
    assert [credentials.scope("host", path) for path in ("", "app", "team/x/y", "team/app")] == [
        "host",
        "host",
        "host/team",
        "host/team/app",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "not a JSON object"),
        ('{"auths": 1}', "'auths' must be an object"),
        ('{"auths": {"host": {"auth": "?"}}}', ("the credentials for host make no sense"
         " (`tiffin login host` writes new ones)")),
        ('{"auths": {"host": {"auth": "YW5u"}}}', ("the credentials for host make no sense"
         " (`tiffin login host` writes new ones)")),
        ('{"credsStore": "../x"}', "the name of a credential helper must be a word, and not '../x'"),
        ('{"credHelpers": {"host": 1}}', "the name of a credential helper must be a word, and not 1"),
    ],
)  # fmt: skip
def test_files_that_make_no_sense(home: Path, text: str, message: str) -> None:
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        Credentials().get("host")
    assert str(caught.value) == f"{path}: {message}"


def test_an_empty_helper_turns_the_store_off(home: Path) -> None:
    path = home / ".docker" / "config.json"
    write(path, host="ann:secret")
    path.write_text(json.dumps({**json.loads(path.read_text()), "credsStore": "x", "credHelpers": {"host": ""}}))
    assert Credentials().get("host") is not None


def test_a_link_stays_a_link(home: Path) -> None:
    real = home / "real.json"
    real.write_text("{}")
    path = home / ".docker" / "config.json"
    path.parent.mkdir()
    path.symlink_to(real)
    Credentials().keep("host", Credential(username="ann", password="ü"))
    assert path.is_symlink()
    assert base64.b64decode(json.loads(real.read_text())["auths"]["host"]["auth"]).decode() == "ann:ü"
    assert sorted(item.name for item in home.iterdir()) == [".docker", "real.json"]


@pytest.mark.parametrize("text", ["host:1", "https://host:1", "http://host:1/v1/", "host:1/v2/"])
def test_servers_as_users_write_them(text: str) -> None:
    assert server_name(text) == "host:1"
