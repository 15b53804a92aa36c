"""Settings of registries: the tables of containers-registries.conf(5), version 2, in registries.toml.

Ours are /etc/tiffin/registries.toml and ~/.config/tiffin/registries.toml, the second over the first; $TIFFIN_REGISTRIES
names one file instead of them. Where there is none of these, the files of containers-registries.conf(5) are read.
"""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.registry.names import Repository, split_name

ALL = "all"
DIGEST_ONLY = "digest-only"
TAG_ONLY = "tag-only"


class Mirror(Record):
    """Another place with the same images; `pull` is "all", "digest-only" or "tag-only"."""

    location: str
    insecure: bool | None = None
    pull: str = ALL
    ca: str = ""


class Rule(Record):
    """One [[registry]] table. `insecure` is None where the table is silent; `ca` a file of further authorities."""

    prefix: str
    location: str = ""
    insecure: bool | None = None
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    ca: str = ""


class Place(Record):
    """Where to ask for something: a repository as it is really called, and how its host is reached."""

    repository: Repository
    insecure: bool | None = None
    ca: str = ""
    is_mirror: bool = False


class Settings(Record):
    """Everything that is configured; `files` are those that were read.

    `certificate_dirs` hold a directory per host with *.crt (authorities), *.cert and *.key (ours).
    """

    rules: tuple[Rule, ...] = ()
    search: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    short_name_mode: str = "permissive"
    credential_helpers: tuple[str, ...] = ()
    keep_blobs: bool = False
    certificate_dirs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def candidates(self, name: str) -> list[Repository]:
        """The repositories that a name may mean: one when it has a host or an alias, else one per search registry.

        UsageError when no registry is configured for names without a host, or when it is ambiguous and
        short-name-mode is "enforcing".
        """
        found = split_name(name)
        if found is not None:
            return [found]
        alias = dict(self.aliases).get(name)
        if alias:
            target = split_name(alias)
            assert target is not None, "the reader checks it"
            return [target]
        if not self.search:
            raise UsageError(
                f"{name!r} names no registry, and no registry is configured for such names",
                hint=f'write HOST/{name}, or set unqualified-search-registries = ["HOST"] in registries.toml',
            )
        if self.short_name_mode == "enforcing" and len(self.search) > 1:
            raise UsageError(
                f"{name!r} names no registry, and may mean one in any of {', '.join(self.search)}",
                hint="write the host, add an alias to registries.toml, or set short-name-mode there",
            )
        return [Repository(host=host, path=name) for host in self.search]

    def places(self, repository: Repository, reference: str = "") -> list[Place]:
        """Where to read `reference` (a tag, a digest, or ""): mirrors in order, the place itself last.

        UsageError when reading from there is blocked.
        """
        rule = self._rule(_spelled(repository, reference))
        if rule is None:
            return [Place(repository=repository)]
        if rule.blocked:
            raise UsageError(f"{repository} is blocked: the settings of {rule.prefix} say so", hint=self._where())
        places = [
            Place(
                repository=_moved(repository, rule.prefix, mirror.location),
                insecure=mirror.insecure,
                ca=mirror.ca,
                is_mirror=True,
            )
            for mirror in rule.mirrors
            if _serves(mirror, reference)
        ]
        target = _moved(repository, rule.prefix, rule.location) if rule.location else repository
        return [*places, Place(repository=target, insecure=rule.insecure, ca=rule.ca)]

    def place_to_write(self, repository: Repository) -> Place:
        """Where to write: what is named itself, since mirrors and locations are for reading only."""
        rule = self._rule(str(repository))
        if rule is None:
            return Place(repository=repository)
        if rule.blocked:
            raise UsageError(f"{repository} is blocked: the settings of {rule.prefix} say so", hint=self._where())
        return Place(repository=repository, insecure=rule.insecure, ca=rule.ca)

    def place_of_host(self, host: str) -> Place:
        """How a host is reached when no repository is asked for."""
        return self.place_to_write(Repository(host=host, path=""))

    def _rule(self, spelled: str) -> Rule | None:
        fitting = [rule for rule in self.rules if _fits(rule.prefix, spelled)]
        return max(fitting, key=lambda rule: len(rule.prefix), default=None)

    def _where(self) -> str | None:
        return f"see {', '.join(self.files)}" if self.files else None


def load_settings() -> Settings:
    """Read the settings of this user. UsageError for a file that makes no sense."""
    from tiffin.registry.settings_files import read_all

    return read_all()


def _spelled(repository: Repository, reference: str) -> str:
    if not reference:
        return str(repository)
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def _fits(prefix: str, spelled: str) -> bool:
    if prefix.startswith("*."):
        host = spelled.partition("/")[0].rpartition(":")[0] or spelled.partition("/")[0]
        return host.endswith(prefix[1:])
    if not spelled.startswith(prefix):
        return False
    rest = spelled[len(prefix) :]
    # "host" must not fit "host:5000": a colon after a host begins a port, after a path a tag.
    return rest[:1] in ("", "/", "@") or (rest[0] == ":" and "/" in prefix)


def _moved(repository: Repository, prefix: str, location: str) -> Repository:
    if prefix.startswith("*."):
        moved = f"{location}/{repository.path}"
    else:
        moved = location + str(repository)[len(prefix) :]
    host, _, path = moved.rstrip("/").partition("/")
    return Repository(host=host, path=path)


def _serves(mirror: Mirror, reference: str) -> bool:
    if mirror.pull == ALL or not reference:
        return mirror.pull != TAG_ONLY or not reference
    return (mirror.pull == DIGEST_ONLY) == (":" in reference)
