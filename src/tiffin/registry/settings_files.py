"""Reading the files of registry settings, and refusing what cannot be meant."""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.registry.names import split_name
from tiffin.registry.settings import ALL, DIGEST_ONLY, TAG_ONLY, Mirror, Rule, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "TIFFIN_REGISTRIES"
SYSTEM = "/etc/tiffin"
SYSTEM_CONTAINERS = "/etc/containers"
SYSTEM_DOCKER = "/etc/docker"

_TOP = {
    "unqualified-search-registries",
    "registry",
    "aliases",
    "short-name-mode",
    "credential-helpers",
    "tiffin",
}
_REGISTRY = {"prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only", "ca"}
_MIRROR = {"location", "insecure", "pull-from-mirror", "ca"}
_MODES = ("enforcing", "permissive", "disabled")
_AUTH_FILES = "containers-auth.json"


def read_all() -> Settings:
    """The settings of this user."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    directories = [
        os.path.join(home, "tiffin"),
        SYSTEM,
        os.path.join(home, "containers"),
        SYSTEM_CONTAINERS,
        SYSTEM_DOCKER,
    ]
    settings = Settings(certificate_dirs=tuple(os.path.join(directory, "certs.d") for directory in directories))
    only = os.environ.get(VARIABLE)
    if only:
        return read_file(only, settings, ours=True)
    found = False
    for path in (os.path.join(SYSTEM, "registries.toml"), os.path.join(home, "tiffin", "registries.toml")):
        if os.path.exists(path):
            settings, found = read_file(path, settings, ours=True), True
    if found:
        return settings
    for path in _foreign(home):
        settings = read_file(path, settings, ours=False)
    return settings


def _foreign(home: str) -> list[str]:
    """The files that other engines read: the user's or else the system's, and what is added to it by directories."""
    personal = os.path.join(home, "containers", "registries.conf")
    system = os.path.join(SYSTEM_CONTAINERS, "registries.conf")
    paths = [path for path in (personal, system) if os.path.exists(path)][:1]
    for path in (system, personal):
        try:
            names = sorted(name for name in os.listdir(path + ".d") if name.endswith(".conf"))
        except OSError:
            continue
        paths += [os.path.join(path + ".d", name) for name in names]
    return paths


def read_file(path: str, base: Settings, *, ours: bool) -> Settings:
    """`base` with what a file says over it. In files that are `ours`, a key that means nothing is refused."""
    import tomllib

    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read the settings of registries: {error.strerror}: {path!r}") from None
    return _Reader(path, ours).read(document, base)


class _Reader:
    """One file's contents, checked."""

    def __init__(self, path: str, ours: bool) -> None:
        self._path = path
        self._ours = ours

    def read(self, document: dict[str, Any], base: Settings) -> Settings:
        if "registries" in document:
            raise NotSupportedError(
                f"{self._path}: version 1 of this format is not supported",
                hint="write [[registry]] tables and unqualified-search-registries",
            )
        self._known(document, _TOP, "")
        rules = {rule.prefix: rule for rule in base.rules}
        tables = self._tables(document, "registry", "")
        for number, table in enumerate(tables, 1):
            rule = self._rule(table, f"[[registry]] {number}: ")
            rules[rule.prefix] = rule
        search = base.search
        if "unqualified-search-registries" in document:
            search = tuple(self._strings(document, "unqualified-search-registries", ""))
            for host in search:
                if not host or "://" in host:
                    raise self._wrong(f"unqualified-search-registries: {host!r} is not a host with an optional port")
        mode = self._text(document, "short-name-mode", "") or base.short_name_mode
        if mode not in _MODES:
            raise self._wrong(f"short-name-mode is one of {', '.join(_MODES)}, and not {mode!r}")
        helpers = base.credential_helpers
        if "credential-helpers" in document:
            helpers = tuple(name for name in self._strings(document, "credential-helpers", "") if name != _AUTH_FILES)
        own = self._table(document, "tiffin")
        self._known(own, {"keep-blobs"}, "[tiffin] ")
        keep = self._flag(own, "keep-blobs", "[tiffin] ")
        return base.replace(
            rules=tuple(rules.values()),
            search=search,
            aliases=tuple(self._aliases(document, dict(base.aliases)).items()),
            short_name_mode=mode,
            credential_helpers=helpers,
            keep_blobs=base.keep_blobs if keep is None else keep,
            files=(*base.files, self._path),
        )

    def _rule(self, table: dict[str, Any], where: str) -> Rule:
        self._known(table, _REGISTRY, where)
        location = self._text(table, "location", where)
        prefix = self._text(table, "prefix", where) or location
        if not prefix:
            raise self._wrong(f"{where}it needs a prefix or a location")
        if not location and not prefix.startswith("*."):
            location = prefix
        self._check_prefix(prefix, where)
        if location:
            self._check_location(location, where)
        digest_only = self._flag(table, "mirror-by-digest-only", where)
        mirrors = [
            self._mirror(mirror, digest_only, f"{where}mirror {number}: ")
            for number, mirror in enumerate(self._tables(table, "mirror", where), 1)
        ]
        return Rule(
            prefix=prefix,
            location=location,
            insecure=self._flag(table, "insecure", where),
            blocked=bool(self._flag(table, "blocked", where)),
            mirrors=tuple(mirrors),
            ca=self._text(table, "ca", where),
        )

    def _mirror(self, table: dict[str, Any], digest_only: bool | None, where: str) -> Mirror:
        self._known(table, _MIRROR, where)
        location = self._text(table, "location", where)
        if not location:
            raise self._wrong(f"{where}it needs a location")
        self._check_location(location, where)
        pull = self._text(table, "pull-from-mirror", where)
        if pull and digest_only:
            raise self._wrong(f"{where}pull-from-mirror cannot be set beside mirror-by-digest-only")
        if pull not in ("", ALL, DIGEST_ONLY, TAG_ONLY):
            raise self._wrong(f"{where}pull-from-mirror is all, digest-only or tag-only, and not {pull!r}")
        return Mirror(
            location=location,
            insecure=self._flag(table, "insecure", where),
            pull=DIGEST_ONLY if digest_only else pull or ALL,
            ca=self._text(table, "ca", where),
        )

    def _aliases(self, document: dict[str, Any], aliases: dict[str, str]) -> dict[str, str]:
        for name, target in self._table(document, "aliases").items():
            if not isinstance(target, str):
                raise self._wrong(f"[aliases] {name} must be text")
            if split_name(name) is not None or ":" in name or "@" in name:
                raise self._wrong(f"[aliases] {name!r} must be a name without host, tag and digest")
            if not target:
                aliases.pop(name, None)
                continue
            found = split_name(target)
            if found is None or ":" in found.path or "@" in found.path:
                raise self._wrong(f"[aliases] {name} must mean HOST/NAME without tag and digest, and not {target!r}")
            aliases[name] = target
        return aliases

    def _check_prefix(self, prefix: str, where: str) -> None:
        if "*" in prefix and (not prefix.startswith("*.") or "*" in prefix[1:] or "/" in prefix or ":" in prefix):
            raise self._wrong(f"{where}the prefix {prefix!r} may have '*' only as in '*.host'")
        if "://" in prefix or prefix.endswith("/") or prefix.startswith("/"):
            raise self._wrong(f"{where}the prefix {prefix!r} must be like host[:port][/path]")
        path = prefix.partition("/")[2]
        if ":" in path or "@" in path:
            raise NotSupportedError(f"{self._path}: {where}a prefix with a tag or digest is not supported: {prefix!r}")

    def _check_location(self, location: str, where: str) -> None:
        path = location.partition("/")[2]
        if "://" in location or location[:1] == "/" or location[-1:] == "/" or "*" in location or ":" in path:
            raise self._wrong(f"{where}the location {location!r} must be like host[:port][/path]")

    def _known(self, table: dict[str, Any], known: set[str], where: str) -> None:
        unknown = sorted(set(table) - known)
        if unknown and self._ours:
            raise self._wrong(f"{where}unknown key {unknown[0]!r}", hint=f"the keys are {', '.join(sorted(known))}")

    def _text(self, table: dict[str, Any], key: str, where: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            raise self._wrong(f"{where}{key} must be text")
        return value

    def _flag(self, table: dict[str, Any], key: str, where: str) -> bool | None:
        value = table.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(f"{where}{key} must be true or false")
        return value

    def _strings(self, table: dict[str, Any], key: str, where: str) -> list[str]:
        value = table[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(f"{where}{key} must be a list of texts")
        return value

    def _table(self, document: dict[str, Any], key: str) -> dict[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(f"{key} must be a table: [{key}]")
        return value

    def _tables(self, document: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
        value = document.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(f"{where}{key} must be tables: [[{key}]]")
        return value

    def _wrong(self, reason: str, *, hint: str | None = None) -> UsageError:
        return UsageError(f"{self._path}: {reason}", hint=hint)
