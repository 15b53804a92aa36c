"""The interface of both cgroup versions, and the choice between them."""

from __future__ import annotations

from tiffin.model.record import Record
from tiffin.paths import DEFAULT_CGROUP_PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.layout import Layout
    from tiffin.model.resources import LimitWrite, Resources


class CgroupPlan(Record):
    """What the launcher does about a container's cgroups, which exist already.

    `tasks`: v1 files into which the child writes "0" (moving a lone thread takes no global lock). `into`: the v2
    directory that the child is born into. `remove`: directories to rmdir at the end, in order. `oom_file`: has an
    "oom_kill N" line. `device_program`: v2 directory and eBPF instructions, None where nothing is to be attached.
    `procs_dir`: directory whose `cgroup.procs` lists the container's processes.
    """

    tasks: tuple[str, ...] = ()
    into: str = ""
    remove: tuple[str, ...] = ()
    oom_file: str = ""
    procs_dir: str = ""
    device_program: tuple[str, bytes] | None = None


class CgroupStats(Record):
    """What a container uses now; None where the host does not account for it.

    `inactive_file_bytes` is the part of the memory that the kernel can drop at once: page cache not used of late.
    """

    memory_bytes: int | None = None
    inactive_file_bytes: int | None = None
    cpu_usage_ns: int | None = None
    pids: int | None = None
    block_read_bytes: int | None = None
    block_written_bytes: int | None = None


if TYPE_CHECKING:

    class CgroupDriver(Protocol):
        """The cgroups of all containers of one engine. Containers are named by ID."""

        @property
        def version(self) -> int:
            """1 or 2."""

        def validate(self, resources: Resources) -> None:
            """Refuse limits before anything is made: UsageError for nonsense, HostError for what the host lacks."""

        def create(
            self,
            container_id: str,
            resources: Resources,
            rules: Iterable[DeviceRule],
            *,
            delegated: tuple[int, int] | None = None,
            disks: Iterable[str] = (),
        ) -> CgroupPlan:
            """Make the cgroups with their limits; leftovers of an earlier run are removed first.

            `disks` carry the container, "MAJOR:MINOR", for rates that name no device.

            `delegated`: that user and group, as the host numbers them, get a v2 cgroup to manage, in which they cannot
            change the container's limits.

            UsageError and HostError as `validate`, HostError with file and value when the kernel refuses.
            """

        def joining(self, container_id: str, first_pid: int | None = None) -> CgroupPlan:
            """What one more process does to enter the container's cgroups. HostError when they are gone.

            `first_pid` is the container's first process, which one more process joins where it has made cgroups of
            its own and none may live in the container's (v2).
            """

        def update(
            self, container_id: str, resources: Resources, *, whole: Resources | None = None, disks: Iterable[str] = ()
        ) -> None:
            """Change the limits that are not None; with an error none is changed.

            `whole` are all limits of the container after that, by which those of `resources` go where they meet (the
            rate of one device and of all); `disks` as for `create`. UsageError and HostError as there.
            """

        def planned(
            self, container_id: str, resources: Resources, *, whole: Resources | None = None, disks: Iterable[str] = ()
        ) -> tuple[LimitWrite, ...]:
            """What `update` would write, in its order. UsageError and HostError as there."""

        def counts_swap(self) -> bool:
            """Whether memory plus swap can be limited here; a memory limit alone then allows as much swap."""

        def read(self, container_id: str) -> Resources:
            """The limits in effect; None is no limit."""

        def stats(self, container_id: str) -> CgroupStats:
            """What the container uses now."""

        def processes(self, container_id: str) -> list[int]:
            """The host's process IDs in the container's cgroups and those below, ascending; empty when gone."""

        def freeze(self, container_id: str) -> None:
            """Stop all processes, returning when they stand still. HostError after two seconds."""

        def thaw(self, container_id: str) -> None:
            """Let frozen processes run on."""

        def frozen(self, container_id: str) -> bool:
            """Whether the container was told to freeze; False without cgroups."""

        def freezer(self, container_id: str) -> tuple[str, str] | None:
            """The file that tells whether the container is frozen, and what it begins with then; None without one."""

        def kill_all(self, container_id: str) -> None:
            """Kill every process, frozen ones too, returning when none is left. HostError after five seconds."""

        def remove(self, container_id: str) -> None:
            """Kill what is left and remove the cgroups. Without any it does nothing. HostError if that fails."""

        def remove_parent(self) -> None:
            """Remove the cgroup above the containers' where none is left in it; the next container's makes it again."""

        def exists(self, container_id: str) -> bool:
            """Whether any cgroup of the container is there."""

        def list_containers(self) -> list[str]:
            """IDs of all containers that have cgroups, in order."""

        def mounts(
            self, *, private: bool, read_only: bool = True, delegated: bool = False
        ) -> tuple[tuple[str, str, str, tuple[str, ...]], ...]:
            """The container's view of /sys/fs/cgroup as (fstype, source, target, options), in order.

            With a cgroup namespace of its own (`private`) it is the root of what it sees, else it sees the host's.
            `delegated` shows the v2 tree alone, to write to, whatever the host has mounted.
            """


def choose_driver(parent: str = DEFAULT_CGROUP_PARENT, layout: Layout | None = None) -> CgroupDriver:
    """The driver for this host, with all cgroups below `parent` (from the hierarchy's root; "a/b" nests).

    Below the root and not below the caller's own cgroup, as Docker does with /docker: a container outlives the
    session, unit or shell that started it, whose limits and end are not meant for it. On systemd hosts that is a
    cgroup that systemd does not know and leaves alone.
    """
    if layout is None:
        from tiffin.cgroups.layout import detect

        layout = detect()
    parent = parent.strip("/")
    if layout.version == 2:
        from tiffin.cgroups.v2 import V2Driver

        return V2Driver(layout, parent)
    import os

    from tiffin.cgroups.v1 import V1Driver

    return V1Driver(layout, parent, under_systemd=os.path.isdir("/run/systemd/system"))
