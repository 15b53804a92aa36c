"""cgroup v2: one tree (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os

from tiffin.cgroups import devices, files, limits
from tiffin.cgroups.driver import CgroupPlan, CgroupStats
from tiffin.cgroups.view import v2_mounts
from tiffin.errors import HostError
from tiffin.model.resources import LimitWrite, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.layout import Layout
    from tiffin.cgroups.settings import Setting

USED = ("cpu", "cpuset", "io", "memory", "pids")
DELEGATED = "inside"

_FREEZE_DEADLINE_S = 2.0


class V2Driver:
    """See `driver.CgroupDriver`. `parent` is the path below the root of the tree.

    The parent cgroup and those above it distribute controllers and therefore hold no processes, only the containers'
    cgroups do ("no internal processes").
    """

    version = 2

    def __init__(self, layout: Layout, parent: str) -> None:
        self._root = layout.unified
        self._parent = parent
        self._base = f"{self._root}/{parent}"

    # Limits

    def validate(self, resources: Resources) -> None:
        self._checked(resources)

    def _checked(self, resources: Resources, *, new: bool = True) -> Resources:
        resources = limits.normalized(resources)
        if resources == Resources():
            return resources
        if new:
            limits.check_swap_has_memory(resources)
        limits.check(
            resources,
            online_cpus=files.read(f"{self._root}/cpuset.cpus.effective") if resources.cpuset_cpus else None,
            online_mems=files.read(f"{self._root}/cpuset.mems.effective") if resources.cpuset_mems else None,
        )
        from tiffin.cgroups.knobs import check_host

        check_host(resources, 2, frozenset(self._controllers(self._root)), self._offers)
        return resources

    def _offers(self, file: str) -> bool | None:
        """Whether cgroups have a file: the root has none of limits, so any with that controller tells."""
        controller = file.partition(".")[0]
        below = [f"{self._root}/{name}" for name in files.list_names(self._root)]
        below = [place for place in below if controller in self._controllers(place)]
        return any(os.path.exists(f"{place}/{file}") for place in below) if below else None

    def _controllers(self, directory: str) -> list[str]:
        return (files.read(f"{directory}/cgroup.controllers") or "").split()

    def update(
        self, container_id: str, resources: Resources, *, whole: Resources | None = None, disks: Iterable[str] = ()
    ) -> None:
        settings = self._settings(container_id, resources, whole, disks)
        self._distribute(_rare(resources))
        with files.Change() as write:
            for setting in settings:
                write(setting.path, setting.value, setting.undone)

    def planned(
        self, container_id: str, resources: Resources, *, whole: Resources | None = None, disks: Iterable[str] = ()
    ) -> tuple[LimitWrite, ...]:
        return tuple(setting.as_write() for setting in self._settings(container_id, resources, whole, disks))

    def _settings(
        self, container_id: str, resources: Resources, whole: Resources | None, disks: Iterable[str]
    ) -> tuple[Setting, ...]:
        resources = self._checked(resources, new=False)
        self._require(container_id)
        from tiffin.cgroups.settings import Settings

        return Settings(2, self._finder(container_id)).collect(resources, whole=whole, disks=disks)

    def _finder(self, container_id: str) -> Callable[[str], str]:
        return lambda file: f"{self._base}/{container_id}/{file}"

    def counts_swap(self) -> bool:
        found = self._offers("memory.swap.max")
        if found is None:  # no cgroup is there to tell by
            return "swapaccount=0" not in (files.read("/proc/cmdline") or "").split()
        return found

    def read(self, container_id: str) -> Resources:
        self._require(container_id)
        directory = f"{self._base}/{container_id}"
        memory = files.read_number(f"{directory}/memory.max")
        swap_text = files.read(f"{directory}/memory.swap.max")
        swap = None
        if memory is not None and swap_text is not None:
            swap = -1 if swap_text == "max" else memory + int(swap_text)
        quota, _, period = (files.read(f"{directory}/cpu.max") or "max 100000").partition(" ")
        weight = files.read_number(f"{directory}/cpu.weight")
        return Resources(
            memory_bytes=memory,
            memory_swap_bytes=swap,
            memory_reservation_bytes=files.read_number(f"{directory}/memory.low") or None,
            cpus=None if quota == "max" else int(quota) / int(period),
            cpu_shares=None if weight is None else limits.shares_of_weight(weight),
            cpuset_cpus=files.read(f"{directory}/cpuset.cpus.effective") or None,
            cpuset_mems=files.read(f"{directory}/cpuset.mems.effective") or None,
            pids_limit=files.read_number(f"{directory}/pids.max"),
        )

    def stats(self, container_id: str) -> CgroupStats:
        self._require(container_id)
        directory = f"{self._base}/{container_id}"
        usage_us = files.keyed(files.read(f"{directory}/cpu.stat"), "usage_usec")
        return CgroupStats(
            memory_bytes=files.read_number(f"{directory}/memory.current"),
            cpu_usage_ns=None if usage_us is None else usage_us * 1000,
            pids=files.read_number(f"{directory}/pids.current"),
            inactive_file_bytes=files.keyed(files.read(f"{directory}/memory.stat"), "inactive_file"),
            block_read_bytes=_summed(files.read(f"{directory}/io.stat"), "rbytes"),
            block_written_bytes=_summed(files.read(f"{directory}/io.stat"), "wbytes"),
        )

    # Life

    def create(
        self,
        container_id: str,
        resources: Resources,
        rules: Iterable[DeviceRule],
        *,
        delegated: tuple[int, int] | None = None,
        disks: Iterable[str] = (),
    ) -> CgroupPlan:
        resources = self._checked(resources)
        directory = into = f"{self._base}/{container_id}"
        try:
            if not files.make_below(self._base, container_id):
                self.remove(container_id)
                if not files.make_below(self._base, container_id):
                    raise HostError(f"the cgroup of the container {container_id[:12]} is made by somebody else, too")
            self._distribute(_rare(resources))
            if resources != Resources():
                from tiffin.cgroups.settings import Settings

                for setting in Settings(2, self._finder(container_id)).collect(resources, disks=disks, new=True):
                    files.write(setting.path, setting.value)
            if delegated:
                # Not the cgroup with the limits: without the mount option nsdelegate its files are the container's too.
                into = f"{directory}/{DELEGATED}"
                self._enable(directory, [name for name in USED if name in self._controllers(directory)])
                files.make_directory(into)
                files.hand_over(into, *delegated)
        except BaseException:
            self.remove(container_id)
            raise
        program = devices.v2_program(rules)
        return CgroupPlan(
            into=into,
            remove=(directory,),
            oom_file=f"{directory}/memory.events" if os.path.exists(f"{directory}/memory.events") else "",
            procs_dir=directory,
            device_program=(directory, program) if program else None,
        )

    def _distribute(self, rare: tuple[str, ...] = ()) -> None:
        """Let the container have every controller that the host has enabled; its own cgroup keeps the parent there."""
        available = self._controllers(self._root)
        wanted = [name for name in (*USED, *rare) if name in available]
        directory = self._root
        self._enable(directory, wanted)
        for name in self._parent.split("/"):
            directory = f"{directory}/{name}"
            self._enable(directory, wanted)

    def _enable(self, directory: str, wanted: list[str]) -> None:
        path = f"{directory}/cgroup.subtree_control"
        enabled = (files.read(path) or "").split()
        missing = [f"+{name}" for name in wanted if name not in enabled]
        if not missing:
            return
        try:
            files.write(path, " ".join(missing))
        except HostError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.EBUSY:
                raise HostError(
                    f"cannot enable cgroup controllers in {directory}, because processes live in it",
                    hint="move them into a cgroup below it, which then distributes the host's resources",
                ) from error
            raise

    def joining(self, container_id: str, first_pid: int | None = None) -> CgroupPlan:
        self._require(container_id)
        directory = into = f"{self._base}/{container_id}"
        # A container that manages cgroups itself has left the one it was given, which distributes from then on.
        if first_pid is not None and files.read(f"{directory}/cgroup.subtree_control"):
            into = self._below(directory, first_pid)
        return CgroupPlan(into=into, procs_dir=directory)

    def _below(self, directory: str, pid: int) -> str:
        """The cgroup of a process if it is below `directory`, else `directory`."""
        for line in (files.read(f"/proc/{pid}/cgroup") or "").splitlines():
            path = self._root + line.removeprefix("0::")
            if path.startswith(f"{directory}/"):
                return path
        return directory

    def remove(self, container_id: str) -> None:
        directory = f"{self._base}/{container_id}"
        if not os.path.isdir(directory):
            return
        if files.processes(directory):
            self.kill_all(container_id)
        files.remove_directories((directory,))

    def remove_parent(self) -> None:
        files.remove_empty((self._base,))

    def exists(self, container_id: str) -> bool:
        return os.path.isdir(f"{self._base}/{container_id}")

    def list_containers(self) -> list[str]:
        return files.list_names(self._base)

    def _require(self, container_id: str) -> None:
        if not self.exists(container_id):
            raise HostError(f"the container {container_id[:12]} has no cgroups: it does not run")

    # Processes

    def processes(self, container_id: str) -> list[int]:
        return files.processes(f"{self._base}/{container_id}")

    def freeze(self, container_id: str) -> None:
        import time

        self._require(container_id)
        directory = f"{self._base}/{container_id}"
        deadline = time.monotonic() + _FREEZE_DEADLINE_S
        files.write(f"{directory}/cgroup.freeze", "1")
        while files.keyed(files.read(f"{directory}/cgroup.events"), "frozen") != 1:
            if time.monotonic() > deadline:
                files.write(f"{directory}/cgroup.freeze", "0")
                raise HostError(f"the container {container_id[:12]} does not freeze")
            time.sleep(0.001)

    def thaw(self, container_id: str) -> None:
        self._require(container_id)
        files.write(f"{self._base}/{container_id}/cgroup.freeze", "0")

    def frozen(self, container_id: str) -> bool:
        return files.read(f"{self._base}/{container_id}/cgroup.freeze") == "1"

    def freezer(self, container_id: str) -> tuple[str, str] | None:
        return f"{self._base}/{container_id}/cgroup.freeze", "1"

    def kill_all(self, container_id: str) -> None:
        directory = f"{self._base}/{container_id}"
        if not os.path.isdir(directory):
            return
        if os.path.exists(f"{directory}/cgroup.kill"):  # Linux 5.14
            files.write(f"{directory}/cgroup.kill", "1")
        files.kill_until_gone(directory, f"the container {container_id[:12]}")

    # The container's view

    def mounts(
        self, *, private: bool, read_only: bool = True, delegated: bool = False
    ) -> tuple[tuple[str, str, str, tuple[str, ...]], ...]:
        return v2_mounts(read_only=read_only and not delegated)


def _rare(resources: Resources) -> tuple[str, ...]:
    """Controllers that are enabled when somebody wants them: a running container can get them at any time."""
    return tuple(name for name in ("hugetlb", "misc", "rdma") if getattr(resources, name))


def _summed(text: str | None, key: str) -> int | None:
    """The sum over all devices in "MAJOR:MINOR key=number …" lines."""
    if text is None:
        return None
    words = (word.partition("=") for word in text.split())
    return sum(int(value) for name, _, value in words if name == key)
