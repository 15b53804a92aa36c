"""`login`, `logout` and `search` as a user types them, against docker-registry."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.fault_proxy import Fault, FaultProxy
from harness.registries import RegistryServer, free_port, registry
from harness.terminal import Terminal

if TYPE_CHECKING:
    from integration.conftest import Runner


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("htpasswd"), users={"ann": "secret"}) as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with no credentials, and settings that name no registry."""
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "registries.toml").write_text("")
    monkeypatch.setenv("TIFFIN_REGISTRIES", str(tmp_path / "registries.toml"))
    return tmp_path


def unencrypted(home: Path) -> str:
    return (
        f"\nWARNING! Your credentials are stored unencrypted in '{home}/.docker/config.json'.\n"
        'Configure a credential helper to remove this warning: "credsStore" in that file names one.\n\n'
    )


def test_login_and_logout(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    login = ("login", "-u", "ann", "--password-stdin", server.host)
    assert tiffin(*login, input="secret\n") == (0, "Login Succeeded\n", unencrypted(home))
    assert tiffin("login", server.host) == (
        0,
        "Authenticating with existing credentials... [Username: ann]\nLogin Succeeded\n",
        "",
    )
    assert tiffin("logout", server.host) == (0, f"Removing login credentials for {server.host}\n", "")
    assert tiffin("logout", server.host) == (0, f"Not logged in to {server.host}\n", "")


def test_a_password_on_the_command_line(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    assert tiffin("login", "-u", "ann", "-p", "secret", server.host) == (
        0,
        "Login Succeeded\n",
        "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n" + unencrypted(home),
    )


def test_the_first_search_registry_is_meant(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    login = ("login", "-u", "ann", "--password-stdin")
    assert tiffin(*login, input="secret") == (
        1,
        "",
        "tiffin: no registry is named, and none is configured\n"
        'name it, or set unqualified-search-registries = ["HOST"] in registries.toml\n',
    )
    (home / "registries.toml").write_text(f'unqualified-search-registries = ["{server.host}"]\n')
    assert tiffin(*login, input="secret").code == 0
    assert list(json.loads((home / ".docker" / "config.json").read_text())["auths"]) == [server.host]
    assert tiffin("logout").out == f"Removing login credentials for {server.host}\n"


@pytest.mark.parametrize(
    ("options", "input", "message"),
    [
        ("-u ann -p x --password-stdin", "",
         "conflicting options: cannot specify both --password and --password-stdin"),
        ("--password-stdin", "x", "the --password-stdin option requires --username to be set"),
        ("-u ann --password-stdin", "\n", "the password on standard input is empty"),
        ("", "", ("Cannot perform an interactive login from a non TTY device\n"
         "give --username and --password-stdin")),
        ("-u ann", "", ("Cannot perform an interactive login from a non TTY device\n"
         "give --username and --password-stdin")),
    ],
)  # fmt: skip
def test_mistakes(tiffin: Runner, options: str, input: str, message: str) -> None:
    result = tiffin("login", *options.split(), "localhost:1", input=input)
    assert result == (1, "", f"tiffin: {message}\n")


def test_an_empty_user_name(tiffin: Runner) -> None:
    assert tiffin("login", "-u", "", "localhost:1") == (1, "", "tiffin: username is empty\n")


def test_refused(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    result = tiffin("login", "-u", "ann", "--password-stdin", server.host, input="guess")
    assert result == (
        1,
        "",
        f"tiffin: {server.host} refuses this login: unauthorized: authentication required\n",
    )
    assert not (home / ".docker").exists()


def test_nobody_there(tiffin: Runner) -> None:
    host = f"localhost:{free_port()}"
    result = tiffin("login", "-u", "ann", "--password-stdin", host, input="x")
    assert result == (1, "", f"tiffin: cannot reach {host}: Connection refused\n")


def test_questions_on_a_terminal(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    with Terminal(tiffin.argv("login", server.host)) as terminal:
        terminal.expect("Username: ")
        terminal.send("ann\n")
        terminal.expect("Password: ")
        terminal.send("secret\n")
        assert terminal.wait() == 0
        assert "secret" not in terminal.text
        assert terminal.text.endswith("Login Succeeded\r\n")
    # What is kept is not good any more: it says so and asks.
    path = home / ".docker" / "config.json"
    path.write_text(
        path.read_text().replace(json.loads(path.read_text())["auths"][server.host]["auth"], "YW5uOm9sZA==")
    )
    with Terminal(tiffin.argv("login", server.host)) as terminal:
        terminal.expect(r"Authenticating with existing credentials\.\.\. \[Username: ann\]")
        refused = f"Login did not succeed, error: {server.host}: GET /v2/: unauthorized: authentication required"
        terminal.expect(f"{re.escape(refused)}\r\n")
        terminal.expect("Username: ")
        terminal.send("\n")
        assert terminal.wait() == 1
        assert terminal.text.endswith("username is empty\r\n")


def test_logins_are_shared_with_other_tools(tiffin: Runner, server: RegistryServer, home: Path) -> None:
    """What skopeo writes we use, and the reverse."""
    authfile = ["--authfile", f"{home}/.docker/config.json", "--tls-verify=false"]
    login = ["skopeo", "login", *authfile, "-u", "ann", "-p", "secret", server.host]
    assert subprocess.run(login, capture_output=True, timeout=60).returncode == 0
    assert tiffin("login", server.host).code == 0
    assert tiffin("logout", server.host).code == 0
    assert tiffin("login", "-u", "ann", "--password-stdin", server.host, input="secret").code == 0
    again = subprocess.run(["skopeo", "login", *authfile, server.host], capture_output=True, text=True, timeout=60)
    assert again.returncode == 0
    assert again.stdout.startswith("Authenticating with existing credentials")


RESULTS = {
    "results": [
        {"name": "team/web", "description": "A web server that has a rather long description", "star_count": 7,
         "is_official": True},
        {"name": "team/x", "description": "", "star_count": 0, "is_automated": True},
    ]
}  # fmt: skip


@pytest.fixture
def searched(server: RegistryServer) -> Iterator[FaultProxy]:
    """A registry with a search of its own."""
    with FaultProxy(server.port) as proxy:
        hello = Fault(path="/v2/", answer=(200, {}, b"{}"), times=None)
        proxy.add(Fault(path="/v1/search", answer=(200, {}, json.dumps(RESULTS).encode()), times=None), hello)
        yield proxy


def test_search(tiffin: Runner, searched: FaultProxy) -> None:
    host = searched.host
    width = len(f"{host}/team/web")
    assert tiffin.ok("search", f"{host}/w").splitlines() == [
        f"{'NAME':{width}}   DESCRIPTION                                     STARS     OFFICIAL",
        f"{host}/team/web   A web server that has a rather long descript…   7         [OK]",
        f"{host + '/team/x':{width}}                                                   0         ",
    ]
    assert searched.requests(path="/v1/search")[0].path == "/v1/search?q=w&n=25"
    names = ("--format", "{{.Name}} {{.IsAutomated}}", f"{host}/w")
    assert tiffin.ok("search", *names) == f"{host}/team/web \n{host}/team/x [OK]"
    assert tiffin.ok("search", "-f", "is-official=true", *names) == f"{host}/team/web "
    assert tiffin.ok("search", "-f", "is-automated=true", *names) == f"{host}/team/x [OK]"
    assert tiffin.ok("search", "-f", "stars=3", *names) == f"{host}/team/web "
    assert "rather long description" in tiffin.ok("search", "--no-trunc", f"{host}/w")
    assert tiffin.ok("search", "--limit", "1", *names) == f"{host}/team/web "
    assert searched.requests(path="/v1/search")[-1].path == "/v1/search?q=w&n=1"
    assert [
        json.loads(line)["StarCount"] for line in tiffin.ok("search", "--format", "json", f"{host}/w").splitlines()
    ] == [
        "7",
        "0",
    ]


def test_search_in_a_registry_that_asks_who_we_are(tiffin: Runner, server: RegistryServer) -> None:
    assert tiffin("search", f"{server.host}/") == (
        1,
        "",
        f"tiffin: {server.host}: catalogue: unauthorized: authentication required\n"
        f"log in with `tiffin login {server.host}`\n",
    )
    tiffin("login", "-u", "ann", "--password-stdin", server.host, input="secret")
    assert tiffin.ok("search", f"{server.host}/").split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("web", ("'web' names no registry, and no registry is configured to be searched\n"
         'write HOST/web, or set unqualified-search-registries = ["HOST"] in registries.toml')),
        ("--limit 101 localhost:1/x", "limit 101 is outside the range of [1, 100]"),
        ("--limit -1 localhost:1/x", "limit -1 is outside the range of [1, 100]"),
        ("--filter foo=1 x", "invalid filter 'foo'\nthe filters are is-automated, is-official, stars"),
        ("--filter stars=many x", "invalid filter 'stars=many'\nit is a whole number"),
    ],
)  # fmt: skip
def test_search_mistakes(tiffin: Runner, words: str, message: str) -> None:
    assert tiffin("search", *words.split()) == (1, "", f"tiffin: {message}\n")
