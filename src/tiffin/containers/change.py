"""What can be changed of a container that exists: its name and its limits."""

from __future__ import annotations

import os

from tiffin.cgroups import limits
from tiffin.containers import events, names
from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError
from tiffin.failpoints import failpoint
from tiffin.model.container import Container, RestartPolicy
from tiffin.model.resources import LimitWrite, Resources
from tiffin.state import containers as records
from tiffin.state import status
from tiffin.state.locks import ContainerLock

# What a change takes the place of, where both cannot be.
_EXCLUDED = {
    "cpus": ("cpu_quota_us", "cpu_period_us"),
    "cpu_quota_us": ("cpus",),
    "cpu_idle": ("cpu_shares",),
    "cpu_shares": ("cpu_idle",),
}
_BY_NAME = frozenset(
    ("device_weights", "device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops", "hugetlb",
     "rdma", "misc")
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts


def rename(parts: Parts, container: Container, name: str) -> None:
    """Give it another name. UsageError for what is no name, or its own; ConflictError for another's."""
    if not name:
        raise UsageError("Neither old nor new names may be empty")
    name = names.check_name(name)
    if name == container.name:
        raise UsageError("Renaming a container with the same name as its current name")
    if os.path.isdir(parts.paths.pods):
        from tiffin.state import pods

        with pods.NamesLock(parts.paths):
            pods.check_name_free(parts.paths, name)
            after = records.change(parts.database, container.id, lambda now: now.replace(name=name))
    else:
        after = records.change(parts.database, container.id, lambda now: now.replace(name=name))
    events.renamed(parts, after, container.name)


def update(parts: Parts, container: Container, changes: Resources, restart: RestartPolicy | None = None) -> None:
    """Change the limits that are not None (and not 0, which Docker takes for None): all of them, or none.

    They hold at once if it runs, and at every start from now on. UsageError and HostError before anything is changed,
    HostError with everything as it was when the kernel refuses. ConflictError for `memory_merge` of one that runs.
    """
    if restart is not None:
        from tiffin.containers import policy

        policy.check(restart, auto_remove=False)
        policy.check_change(container)
    if changes != Resources():
        _update_limits(parts, container, changes)
    if restart is not None:
        policy.change(parts, container, restart)


def _update_limits(parts: Parts, container: Container, changes: Resources) -> None:
    with ContainerLock(parts.paths, container.id):
        before = records.current(parts.database, container.id)
        if before is None:
            raise NotFoundError(f"no such container: {container.name}")
        changes, resources = _decided(parts, before, changes)
        # The record first: a failure of the kernel can be taken back there, a full disk could not be here.
        _record(parts, container, resources)
        try:
            if status.read_state(parts.paths, container.id).status == "running":
                from tiffin.containers import carriers

                disks = carriers.disks(parts, before, resources)
                parts.cgroups.update(container.id, changes, whole=resources, disks=disks)
                carriers.warn(parts, before, _warned_of(changes, resources), disks)
                failpoint("change.applied")
        except BaseException as error:
            if not isinstance(error, HostError):
                _record(parts, container, before.config.resources)
                raise
            if status.read_state(parts.paths, container.id).status != "running":
                return  # it has ended meanwhile, and starts with the new limits
            _record(parts, container, before.config.resources)
            hint = error.hint or _in_use(parts, container, changes)
            raise HostError(f"cannot update container {container.name}: {error.message}", hint=hint) from error
    events.tell(parts, container, "update")


def planned(parts: Parts, container: Container, changes: Resources) -> tuple[LimitWrite, ...]:
    """What `update` would write where, in its order; nothing for a container that does not run. Errors as there."""
    changes, resources = _decided(parts, container, changes)
    if status.read_state(parts.paths, container.id).status != "running":
        return ()
    from tiffin.containers import carriers

    disks = carriers.disks(parts, container, resources)
    return parts.cgroups.planned(container.id, changes, whole=resources, disks=disks)


def _decided(parts: Parts, container: Container, changes: Resources) -> tuple[Resources, Resources]:
    """The changes as they are meant, and all limits of the container after them."""
    changes = limits.normalized(changes)
    if changes.memory_merge is not None:
        _check_merge(parts, container, changes)
    resources = merged(container.config.resources, changes, counts_swap=parts.cgroups.counts_swap())
    parts.cgroups.validate(resources)
    return changes, resources


def _warned_of(changes: Resources, after: Resources) -> Resources:
    """What a change can be warned of: a switch is, with the limit that it goes with."""
    return changes.replace(memory_bytes=after.memory_bytes) if changes.oom_kill_disable else changes


def _check_merge(parts: Parts, container: Container, changes: Resources) -> None:
    """A process is marked for merging before it executes its program, so a running container stays as it is."""
    config = container.config
    if changes.memory_merge == bool(config.resources.memory_merge):
        return
    if changes.memory_merge:
        from tiffin.runtime import foreign, ksm

        if config.runtime:
            resources = config.resources.replace(memory_merge=True)
            foreign.check(container.replace(config=config.replace(resources=resources)))
        ksm.check()
    if status.read_state(parts.paths, container.id).status == "running":
        raise ConflictError(
            f"--memory-merge of container {container.name!r} cannot be changed while it runs", hint="stop it first"
        )


def merged(now: Resources, changes: Resources, *, counts_swap: bool) -> Resources:
    """The limits after the change. UsageError when memory would exceed memory plus swap.

    A change takes the place of what it excludes (a number of processors and a quota), and one of a device is of that
    device alone. A limit of memory alone came with as much swap at the start, and a change of memory does not change
    the sum: it is written down, so that a restart does not either.
    """
    asked = {name: value for name in Resources._fields if (value := getattr(changes, name)) is not None}
    now = limits.normalized(now)
    if counts_swap and now.memory_bytes is not None and now.memory_swap_bytes is None and "memory_bytes" in asked:
        now = now.replace(memory_swap_bytes=2 * now.memory_bytes)
    for name in _EXCLUDED.keys() & asked.keys():
        if asked[name] is not False:
            now = now.replace(**{other: None for other in _EXCLUDED[name] if other not in asked})
    if "cpu_period_us" in asked and now.cpus is not None and "cpu_quota_us" not in asked:
        raise UsageError(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
            hint="give --cpu-quota as well, which replaces --cpus",
        )
    for name in _BY_NAME & asked.keys():
        both = {**dict(getattr(now, name) or ()), **dict(asked[name])}
        asked[name] = tuple((key, value) for key, value in both.items() if value != -1) or None
    after = now.replace(**asked)
    if "memory_bytes" in asked or "memory_swap_bytes" in asked:
        limits.check_update(after.memory_bytes, after.memory_swap_bytes)
    return after


def _record(parts: Parts, container: Container, resources: Resources) -> None:
    def change(now: Container) -> Container:
        return now.replace(config=now.config.replace(resources=resources))

    records.change(parts.database, container.id, change)


def _in_use(parts: Parts, container: Container, changes: Resources) -> str | None:
    """Why a limit of memory is refused, most often."""
    used = parts.cgroups.stats(container.id).memory_bytes
    if used is None or changes.memory_bytes is None:
        return None
    return f"it uses {used} bytes of memory now"
