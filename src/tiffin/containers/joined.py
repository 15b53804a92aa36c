"""Namespaces that a container shares with another one: who that is, and what may not be asked together with it."""

from __future__ import annotations

from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.runtime.spec import Joined
from tiffin.state import containers as records
from tiffin.state import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container, ContainerConfig, ContainerState
    from tiffin.parts import Parts

OTHER = "container:"
# The spec's kind → the config's field, what a sentence calls it, and the file in /proc/PID/ns (namespaces(7)).
KINDS = {
    "pid": ("pid", "PID", "pid"),
    "ipc": ("ipc", "IPC", "ipc"),
    "uts": ("uts", "UTS", "uts"),
    "cgroup": ("cgroupns", "cgroup", "cgroup"),
    "network": ("network", "network", "net"),
}


def resolve(parts: Parts, config: ContainerConfig) -> ContainerConfig:
    """The config with the ID in each `container:NAME`, as Docker has it, so that a rename changes nothing.

    NotFoundError when there is no such container, UsageError for what cannot go together.
    """
    for field, what, _ in KINDS.values():
        mode: str = getattr(config, field)
        if mode.startswith("ns:") and not mode.startswith("ns:/"):
            raise UsageError(f"the {what} namespace {mode[3:]!r} is no absolute path")
        if not mode.startswith(OTHER):
            continue
        if mode == OTHER:
            raise UsageError(f"{mode!r} names no container to share the {what} namespace of")
        donor = records.get(parts.database, mode.removeprefix(OTHER))
        _conflicts(config, field)
        config = config.replace(**{field: OTHER + donor.id})
        if field == "ipc":
            _check_shareable(donor)
    return config


def _conflicts(config: ContainerConfig, field: str) -> None:
    """What belongs to a namespace is its first container's to say; the words are Docker's."""
    if field == "network" and config.hostname:
        raise UsageError("conflicting options: hostname and the network mode")
    if field == "uts" and config.hostname:
        raise UsageError("conflicting options: hostname and the UTS mode")
    if field == "uts" and config.domainname:
        raise UsageError("conflicting options: domainname and the UTS mode")


def _check_shareable(donor: Container) -> None:
    if donor.config.ipc in ("private", "none"):
        raise ConflictError(
            f"can't join IPC of container {donor.name}: non-shareable IPC "
            "(hint: use IpcMode:shareable for the donor container)"
        )


def hostname(parts: Parts, config: ContainerConfig) -> str | None:
    """The host name that comes with a shared UTS or network namespace; None when neither is another container's."""
    for mode in (config.uts, config.network):
        if mode.startswith(OTHER):
            return records.get(parts.database, mode.removeprefix(OTHER)).hostname
    return None


def find(parts: Parts, container: Container) -> Joined:
    """What a start joins. NotFoundError, ConflictError when a container to share with is gone, or does not run."""
    paths: dict[str, str] = {}
    donors: dict[int, int] = {}
    shm = ""
    for kind, (field, what, name) in KINDS.items():
        mode: str = getattr(container.config, field)
        if mode.startswith("ns:"):
            paths[kind] = mode.removeprefix("ns:")
        if not mode.startswith(OTHER):
            continue
        donor, state = _living(parts, container, mode.removeprefix(OTHER), what)
        donors[state.pid] = state.pid_start_ticks
        paths[kind] = f"/proc/{state.pid}/ns/{name}"
        if kind == "ipc":
            _check_shareable(donor)
            shm = f"/proc/{state.pid}/ns/mnt"
    mode = container.config.userns
    if mode.startswith("ns:"):
        paths["user"] = mode.removeprefix("ns:")
    elif mode.startswith(OTHER):
        _, state = _living(parts, container, mode.removeprefix(OTHER), "user")
        donors[state.pid] = state.pid_start_ticks
        paths["user"] = f"/proc/{state.pid}/ns/user"
    return Joined(paths=tuple(paths.items()), donors=tuple(donors.items()), shm=shm)


def _living(parts: Parts, container: Container, donor_id: str, what: str) -> tuple[Container, ContainerState]:
    doing = f"cannot join {what} namespace of a"
    donor = records.current(parts.database, donor_id)
    if donor is None:
        raise NotFoundError(f"{doing} container that was removed: {donor_id[:12]}", hint="create this one anew")
    state = status.read_state(parts.paths, donor.id)
    if not state.pid or state.status != "running":
        raise ConflictError(
            f"{doing} non running container: container {donor.name} is {state.status}",
            hint=f"`tiffin start {donor.name}` first",
        )
    return donor, state
