"""Credentials for registries, where Docker and the containers tools keep them.

Files: $REGISTRY_AUTH_FILE, and where that is not set $DOCKER_CONFIG/config.json or ~/.docker/config.json, then
auth.json below $XDG_RUNTIME_DIR/containers and ~/.config/containers (containers-auth.json(5)). New ones go to the
first.
"""

from __future__ import annotations

import os

from tiffin.errors import StoreError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Warn = Callable[[str], None]

AUTH_FILE = "REGISTRY_AUTH_FILE"
DOCKER_CONFIG = "DOCKER_CONFIG"
_TOKEN_USER = "<token>"
"""The user name under which helpers keep an identity token in place of a password."""


class Credential(Record):
    """Who we are for one registry; `identity_token` replaces the password. `source` says where it is from."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    source: str = ""


class Kept(Record):
    """Where a credential went: a file, or a helper, which encrypts it."""

    place: str
    encrypted: bool


class Credentials:
    """Those of this user. `helpers` are asked when no file knows the host; `warn` gets what is passed over."""

    def __init__(self, *, helpers: Iterable[str] = (), warn: Warn | None = None) -> None:
        self._helpers = tuple(helpers)
        self._warn = warn or (lambda sentence: None)

    def scope(self, host: str, path: str) -> str:
        """The most specific key that the files have for a repository: "host/team", else the host alone.

        UsageError for a file that makes no sense.
        """
        name = f"{host}/{path}" if path else host
        keys = {key for file in _files() for key in _Store(file).keys()}  # noqa: SIM118 - it is no dict
        while name != host and name not in keys:
            name = name.rpartition("/")[0]
        return name

    def get(self, scope: str) -> Credential | None:
        """What is known for a host, or for a scope as `scope()` gives it."""
        for path in _files():
            found = _Store(path).get(scope, self._warn)
            if found is not None:
                return found
        for helper in self._helpers:
            found = _ask_helper(helper, scope.partition("/")[0], self._warn)
            if found is not None:
                return found
        return None

    def keep(self, host: str, credential: Credential) -> Kept:
        """Keep a credential for the next times. StoreError, UsageError."""
        return _Store(_files()[0]).put(host, credential)

    def forget(self, host: str) -> list[str]:
        """Remove what is kept for a host; where it was. Errors as `keep`."""
        return [path for path in _files() if _Store(path).drop(host)]


class Fixed(Credentials):
    """One credential for every host, such as the one that is being tried."""

    def __init__(self, credential: Credential | None) -> None:
        super().__init__()
        self._credential = credential

    def scope(self, host: str, path: str) -> str:
        return host

    def get(self, scope: str) -> Credential | None:
        return self._credential


def server_name(text: str) -> str:
    """The host that a user means by "host", "https://host/" or "host/v1/"; Docker's files have all of these."""
    return text.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _files() -> list[str]:
    only = os.environ.get(AUTH_FILE)
    if only:
        return [only]
    home = os.path.expanduser("~")
    directory = os.environ.get(DOCKER_CONFIG) or os.path.join(home, ".docker")
    paths = [os.path.join(directory, "config.json")]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        paths.append(os.path.join(runtime, "containers", "auth.json"))
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return [*paths, os.path.join(config, "containers", "auth.json")]


class _Store:
    """One file: credentials in it, and the helpers that it names for others."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._document = self._load()

    def keys(self) -> list[str]:
        return [_normal(key) for key in self._table("auths")]

    def get(self, scope: str, warn: Warn) -> Credential | None:
        helper = self._helper(scope.partition("/")[0])
        if helper:
            return _ask_helper(helper, scope.partition("/")[0], warn)
        entries = self._table("auths")
        entry = entries.get(scope)
        if entry is None:
            entry = next((value for key, value in entries.items() if _normal(key) == scope), None)
        return self._decoded(scope, entry) if isinstance(entry, dict) else None

    def put(self, host: str, credential: Credential) -> Kept:
        helper = self._helper(host)
        entries = self._document.setdefault("auths", {})
        if helper:
            token = credential.identity_token
            _run_helper(
                helper,
                "store",
                {
                    "ServerURL": host,
                    "Username": _TOKEN_USER if token else credential.username,
                    "Secret": token or credential.password,
                },
            )
            # An empty entry tells other tools that there is something to ask the helper for.
            changed = entries.get(host) != {}
            entries[host] = {}
        else:
            entries[host] = _encoded(credential)
            changed = True
        if changed:
            self._save()
        return Kept(place=f"docker-credential-{helper}" if helper else self._path, encrypted=bool(helper))

    def drop(self, host: str) -> bool:
        helper = self._helper(host)
        entries = self._table("auths")
        known = [key for key in entries if _normal(key) == host]
        had = bool(known)
        if helper:
            had = _ask_helper(helper, host, lambda sentence: None) is not None or had
            if had:
                _run_helper(helper, "erase", host)
        for key in known:
            del entries[key]
        if known:
            self._save()
        return had

    def _helper(self, host: str) -> str:
        named = self._table("credHelpers").get(host)
        if named is None:
            named = self._document.get("credsStore", "")
        if not isinstance(named, str) or "/" in named:
            raise UsageError(f"{self._path}: the name of a credential helper must be a word, and not {named!r}")
        return named

    def _decoded(self, scope: str, entry: dict[str, Any]) -> Credential | None:
        from base64 import b64decode

        token = entry.get("identitytoken") or ""
        auth = entry.get("auth") or ""
        if not isinstance(token, str) or not isinstance(auth, str):
            raise self._wrong(scope)
        try:
            login = b64decode(auth, validate=True).decode().rstrip("\0")
        except ValueError:
            raise self._wrong(scope) from None
        username, colon, password = login.partition(":")
        if auth and not colon:
            raise self._wrong(scope)
        username = username or str(entry.get("username") or "")
        password = password or str(entry.get("password") or "")
        if not token and not username:
            return None
        return Credential(username=username, password=password, identity_token=token, source=self._path)

    def _wrong(self, scope: str) -> UsageError:
        return UsageError(
            f"{self._path}: the credentials for {scope} make no sense", hint=f"`tiffin login {scope}` writes new ones"
        )

    def _table(self, name: str) -> dict[str, Any]:
        value = self._document.get(name) or {}
        if not isinstance(value, dict):
            raise UsageError(f"{self._path}: {name!r} must be an object")
        return value

    def _load(self) -> dict[str, Any]:
        import json

        try:
            with open(self._path, "rb") as file:
                document = json.loads(file.read() or b"{}")
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise UsageError(f"cannot read credentials: {error.strerror}: {self._path!r}") from None
        except ValueError as error:
            raise UsageError(f"{self._path}: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise UsageError(f"{self._path}: not a JSON object")
        return document

    def _save(self) -> None:
        """Write it whole or not at all, for its owner's eyes only; a link to it stays one."""
        import json

        path = os.path.realpath(self._path)
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "w", encoding="utf-8") as file:
                    os.fchmod(fd, 0o600)
                    json.dump(self._document, file, indent="\t", ensure_ascii=False)
                    file.write("\n")
                    file.flush()
                    os.fsync(fd)
                os.rename(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise StoreError(f"cannot write credentials: {error.strerror}: {self._path!r}") from None


def _normal(key: str) -> str:
    """A key of "auths" without scheme and API version: "https://host/v1/" is "host", "host/team" itself."""
    if "://" in key:
        return server_name(key)
    host, slash, path = key.partition("/")
    return host if path.strip("/") in ("", "v1", "v2") else f"{host}{slash}{path}"


def _encoded(credential: Credential) -> dict[str, str]:
    from base64 import b64encode

    password = "" if credential.identity_token else credential.password
    entry = {"auth": b64encode(f"{credential.username}:{password}".encode()).decode()}
    if credential.identity_token:
        entry["identitytoken"] = credential.identity_token
    return entry


def _ask_helper(helper: str, host: str, warn: Warn) -> Credential | None:
    """What a helper knows of a host. One that fails is passed over, since many registries need no credentials."""
    import json

    try:
        document = json.loads(_run_helper(helper, "get", host))
        username, secret = document["Username"], document["Secret"]
    except UsageError as error:
        if "credentials not found" not in error.message:
            warn(error.message)
        return None
    except (ValueError, KeyError, TypeError):
        warn(f"docker-credential-{helper} answered what is no credential")
        return None
    source = f"docker-credential-{helper}"
    if username == _TOKEN_USER:
        return Credential(identity_token=str(secret), source=source)
    return Credential(username=str(username), password=str(secret), source=source) if username else None


def _run_helper(helper: str, verb: str, what: str | dict[str, str]) -> bytes:
    """Run docker-credential-HELPER with the protocol of Docker's credential helpers. UsageError when it fails."""
    import json
    import subprocess

    program = f"docker-credential-{helper}"
    text = what if isinstance(what, str) else json.dumps(what)
    try:
        done = subprocess.run([program, verb], input=text.encode(), capture_output=True, timeout=120)
    except OSError as error:
        raise UsageError(f"cannot run the credential helper {program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"the credential helper {program} did not finish in 120 s") from None
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip()).decode("utf-8", "replace")[:300]
        raise UsageError(f"{program} {verb} failed: {said or f'exit code {done.returncode}'}")
    return done.stdout
