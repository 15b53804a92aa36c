"""User namespaces: what `--userns`, `--uidmap` and `--gidmap` come to."""

from __future__ import annotations

from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.model import idmap
from tiffin.state import containers as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.model.container import Container, ContainerConfig
    from tiffin.model.idmap import Maps
    from tiffin.parts import Parts
    from tiffin.runtime.users import Identity
    from tiffin.state.db import Database

    Take = Callable[[Database, Container], Container]

OTHER = "container:"
DEFAULT_SIZE = 65536
FIRST_ID = 1 << 19  # above what useradd(8) gives to people and to their subordinate ranges, by and large
ID_COUNT = (1 << 32) - 1  # the last number means "none"
MAX_EXTENTS = 340  # user_namespaces(7)
HOLDERS = ("containers", "tiffin")
_SHARED = (("pid", "PID"), ("ipc", "IPC"), ("uts", "UTS"), ("cgroupns", "cgroup"), ("network", "network"))


def resolve(parts: Parts, config: ContainerConfig) -> ContainerConfig:
    """The config with its user namespace decided, but for the ids that `auto` takes. UsageError, NotFoundError."""
    mode = config.userns
    default = parts.userns
    if not mode and (config.uid_maps or config.gid_maps):
        mode = "private"
    if mode in ("", "private", "auto") or mode.startswith("auto:"):
        if not mode:
            mode = _donors(parts, config) or default or "host"
        else:
            _refuse_other_owners(config)
    if mode.startswith(OTHER):
        mode = _of_container(parts, config, mode)
    if mode == "host":
        if config.uid_maps or config.gid_maps:
            raise UsageError("conflicting options: --userns host and maps of ids")
        if any(mount.idmap for mount in config.mounts):
            raise UsageError("a mount can map ids (idmap) only in a container with a user namespace")
        return config.replace(userns="host" if config.userns or default else "")
    _check_mode(mode)
    _conflicts(config)
    return config.replace(userns=mode)


def _check_mode(mode: str) -> None:
    word = mode.partition(":")[0]
    if word in ("keep-id", "nomap"):
        raise NotSupportedError(
            f"--userns {mode} is not supported: it is for users without root's rights, who cannot run Tiffin",
            hint="use --userns auto, or --uidmap and --gidmap",
        )
    if mode.startswith("ns:") and not mode.startswith("ns:/"):
        raise UsageError(f"the user namespace {mode[3:]!r} is no absolute path")
    if mode not in ("private", "auto") and not mode.startswith(("auto:", OTHER, "ns:")):
        raise UsageError(
            f"invalid user namespace mode {mode!r}", hint="host, private, auto[:size=N,…], container:NAME or ns:PATH"
        )


def _conflicts(config: ContainerConfig) -> None:
    """What would be the host's, to a root that is not the host's; the words are Docker's."""
    if config.privileged:
        raise UsageError(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace "
            "when running privileged mode",
            hint="--userns host",
        )
    if config.network == "host":
        raise UsageError(
            "cannot share the host's network namespace when user namespaces are enabled", hint="--userns host"
        )
    if config.pid == "host":
        raise UsageError("cannot share the host PID namespace when user namespaces are enabled", hint="--userns host")


def _donors(parts: Parts, config: ContainerConfig) -> str:
    """The user namespace that comes with another container's namespaces, which it owns."""
    found = set()
    for field, _ in _SHARED:
        mode: str = getattr(config, field)
        if mode.startswith(OTHER):
            found.add(records.get(parts.database, mode.removeprefix(OTHER)).id)
    owners = {_owner(parts, donor) for donor in found}
    if len(owners) > 1:
        raise UsageError(
            "the containers whose namespaces are to be shared are in different user namespaces", hint="share one's only"
        )
    return owners.pop() if owners else ""


def _owner(parts: Parts, donor_id: str) -> str:
    donor = records.get(parts.database, donor_id)
    if not donor.uid_maps:
        return "host"
    mode = donor.config.userns
    return mode if mode.startswith(OTHER) else OTHER + donor.id


def _refuse_other_owners(config: ContainerConfig) -> None:
    for field, what in _SHARED:
        mode: str = getattr(config, field)
        if mode.startswith(OTHER):
            raise UsageError(
                f"conflicting options: a user namespace of its own and the {what} namespace of another container",
                hint=f"--userns {mode}",
            )


def _of_container(parts: Parts, config: ContainerConfig, mode: str) -> str:
    if mode == OTHER:
        raise UsageError(f"{mode!r} names no container to share the user namespace of")
    if config.uid_maps or config.gid_maps:
        raise UsageError("conflicting options: another container's user namespace and maps of ids")
    owner = _owner(parts, mode.removeprefix(OTHER))
    others = _donors(parts, config)
    if others and others != owner:
        raise UsageError(
            "the containers whose namespaces are to be shared are in different user namespaces", hint="share one's only"
        )
    return owner


def decide(parts: Parts, container: Container) -> tuple[Container, Take | None]:
    """The container with its maps, or what finds them while it is being recorded."""
    config = container.config
    mode = config.userns
    if mode.startswith(OTHER):
        donor = records.get(parts.database, mode.removeprefix(OTHER))
        return container.replace(uid_maps=donor.uid_maps, gid_maps=donor.gid_maps), None
    if mode.startswith("ns:") and not config.uid_maps:
        return _maps_of_path(container, mode.removeprefix("ns:")), None
    if config.uid_maps or config.gid_maps:
        if mode.startswith("auto"):
            raise UsageError("conflicting options: --userns auto and maps of ids")
        # As Podman: one of the two serves for both.
        uids, gids = config.uid_maps or config.gid_maps, config.gid_maps or config.uid_maps
        check_maps(uids, "uid")
        check_maps(gids, "gid")
        return container.replace(uid_maps=uids, gid_maps=gids), None
    size, uids, gids = _auto(mode)
    pools = _pools()

    def at(container: Container, first: int) -> Container:
        made = container.replace(uid_maps=_around(uids, first, size), gid_maps=_around(gids, first, size))
        check_maps(made.uid_maps, "uid")
        check_maps(made.gid_maps, "gid")
        return made

    def take(database: Database, container: Container) -> Container:
        from tiffin.state.ids import free_range

        return at(container, free_range(database, size, pools))

    # Until they are taken, any will do to see what is covered.
    return at(container, pools[0][0]), take


def _auto(mode: str) -> tuple[int, Maps, Maps]:
    """(size, further uid maps, further gid maps) of `auto[:OPTION,…]`."""
    size = DEFAULT_SIZE
    further: dict[str, list[tuple[int, int, int]]] = {"uidmapping": [], "gidmapping": []}
    for word in mode.partition(":")[2].split(","):
        key, _, value = word.partition("=")
        if key == "size":
            most = ID_COUNT - FIRST_ID
            if not value.isdigit() or not 1 <= int(value) <= most:
                raise UsageError(f"invalid size {value!r} of a user namespace: it is not from 1 to {most}")
            size = int(value)
        elif key in further:
            further[key].append(parse_map(value))
        elif word:
            raise UsageError(f"unknown option {word!r} of --userns auto", hint="size=, uidmapping= and gidmapping=")
    return size, tuple(further["uidmapping"]), tuple(further["gidmapping"])


def _around(further: Maps, first: int, size: int) -> Maps:
    """A whole range from 0 on, but for what is mapped by hand."""
    found = []
    at = 0
    for inside, host, count in sorted(further):
        if inside > at:
            found.append((at, first + at, min(inside, size) - at))
        found.append((inside, host, count))
        at = max(at, inside + count)
    if at < size:
        found.append((at, first + at, size - at))
    return tuple(entry for entry in found if entry[2] > 0)


def _pools() -> list[tuple[int, int]]:
    """(first, how many) of the ids to choose from: those set aside for containers, else what nobody has by default."""
    for name in HOLDERS:
        uids, gids = (_subordinate(path, name) for path in ("/etc/subuid", "/etc/subgid"))
        both = [entry for entry in uids if entry in gids]
        if both:
            return both
    return [(FIRST_ID, ID_COUNT - FIRST_ID)]


def _subordinate(path: str, name: str) -> list[tuple[int, int]]:
    """subuid(5): "name:first:count" a line."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                words = line.strip().split(":")
                if len(words) == 3 and words[0] == name and words[1].isdigit() and words[2].isdigit():
                    found.append((int(words[1]), int(words[2])))
    except OSError:
        pass
    return found


def subordinate_map(path: str, name: str) -> Maps:
    """All ids that /etc/subuid or /etc/subgid gives `name`, from 0 inside. UsageError when there are none."""
    found = []
    at = 0
    for first, count in _subordinate(path, name):
        found.append((at, first, count))
        at += count
    if not found:
        raise UsageError(f"{path} gives {name!r} no ids")
    return tuple(found)


def parse_map(text: str) -> tuple[int, int, int]:
    """`CONTAINER:HOST[:SIZE]`. UsageError."""
    words = text.split(":")
    if len(words) not in (2, 3) or not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"invalid map of ids {text!r}: it is not of the form CONTAINER:HOST:SIZE")
    return int(words[0]), int(words[1]), int(words[2]) if len(words) == 3 else 1


def check_maps(maps: Maps, kind: str) -> None:
    """Refuse with UsageError what the kernel would refuse with EINVAL."""
    if len(maps) > MAX_EXTENTS:
        raise UsageError(f"{len(maps)} {kind} maps, but the kernel takes {MAX_EXTENTS}")
    for inside, host, size in maps:
        shown = f"invalid {kind} map {inside}:{host}:{size}"
        if size < 1:
            raise UsageError(f"{shown}: its size is 0")
        if min(inside, host) < 0 or max(inside, host) + size > ID_COUNT:
            raise UsageError(f"{shown}: it goes beyond the last id, {ID_COUNT - 1}")
    for where, column in (("inside", 0), ("on the host", 1)):
        ordered = sorted(maps, key=lambda entry: entry[column])
        for index, one in enumerate(ordered[:-1]):
            other = ordered[index + 1]
            if one[column] + one[2] > other[column]:
                first, second = (":".join(map(str, entry)) for entry in (one, other))
                raise UsageError(f"the {kind} maps {first} and {second} overlap {where}")
    if not idmap.covers(maps, 0):
        raise UsageError(f"the {kind} maps do not cover 0, the container's root", hint=f"add --{kind}map 0:HOST:SIZE")


def check_identity(container: Container, identity: Identity) -> None:
    """Refuse with UsageError a user or group that the container's user namespace has not."""
    if not container.uid_maps:
        return
    if not idmap.covers(container.uid_maps, identity.uid):
        raise UsageError(f"the user {identity.uid} is not mapped in the container's user namespace")
    for gid in (identity.gid, *identity.groups):
        if not idmap.covers(container.gid_maps, gid):
            raise UsageError(f"the group {gid} is not mapped in the container's user namespace")


def _maps_of_path(container: Container, path: str) -> Container:
    """The maps of the namespace at /proc/PID/ns/user, which are beside it."""
    words = path.split("/")
    if len(words) == 5 and words[:2] == ["", "proc"] and words[3:] == ["ns", "user"]:
        try:
            uids, gids = (_read_map(f"/proc/{words[2]}/{name}") for name in ("uid_map", "gid_map"))
        except OSError as error:
            raise HostError(f"cannot read the maps of the user namespace {path}: {error.strerror}") from error
        check_maps(uids, "uid")
        check_maps(gids, "gid")
        return container.replace(uid_maps=uids, gid_maps=gids)
    raise UsageError(f"the maps of the user namespace {path} are not known", hint="say them with --uidmap and --gidmap")


def _read_map(path: str) -> Maps:
    with open(path, encoding="ascii") as file:
        lines = [line.split() for line in file]
    return tuple((int(inside), int(host), int(size)) for inside, host, size in lines)
