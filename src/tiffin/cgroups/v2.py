"""cgroup v2: one tree (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import errno
import os

from tiffin.cgroups import devices, files, limits
from tiffin.cgroups.driver import CgroupPlan, CgroupStats
from tiffin.cgroups.view import v2_mounts
from tiffin.errors import HostError
from tiffin.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.layout import Layout

    Write = Callable[[str, str], None]

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
        limits.check_controllers(resources, frozenset(self._controllers(self._root)))
        return resources

    def _controllers(self, directory: str) -> list[str]:
        return (files.read(f"{directory}/cgroup.controllers") or "").split()

    def update(self, container_id: str, resources: Resources) -> None:
        resources = self._checked(resources, new=False)
        self._require(container_id)
        directory = f"{self._base}/{container_id}"
        memory, swap = resources.memory_bytes, resources.memory_swap_bytes
        with files.Change() as write:
            if memory is not None or swap is not None:
                self._update_memory(directory, memory, swap, write)
            self._write_limits(directory, resources.replace(memory_bytes=None, memory_swap_bytes=None), write)

    def counts_swap(self) -> bool:
        # The root itself has no limits, so look at any cgroup below it.
        return any(os.path.exists(f"{self._root}/{name}/memory.swap.max") for name in files.list_names(self._root))

    def _update_memory(self, directory: str, memory: int | None, swap: int | None, write: Write) -> None:
        now_memory = files.read_number(f"{directory}/memory.max")
        now_swap = files.read_number(f"{directory}/memory.swap.max")
        both = memory if memory is not None else now_memory
        if swap is not None:
            total: int | None = swap
        else:
            total = None if now_memory is None or now_swap is None else now_memory + now_swap
        limits.check_update(both, total)
        if memory is not None:
            write(f"{directory}/memory.max", str(memory))
        if total == -1:
            self._write_swap(directory, None, write)
        elif total is not None and both is not None:
            self._write_swap(directory, total - both, write)

    def _write_swap(self, directory: str, value: int | None, write: Write) -> None:
        path = f"{directory}/memory.swap.max"
        if os.path.exists(path):
            write(path, "max" if value is None else str(value))
        elif value is not None:
            raise HostError(
                "this kernel does not count swap, so memory plus swap cannot be limited",
                hint="boot it with swapaccount=1",
            )

    def _write_limits(self, directory: str, resources: Resources, write: Write = files.write) -> None:
        memory, swap = resources.memory_bytes, resources.memory_swap_bytes
        if memory is not None:
            write(f"{directory}/memory.max", str(memory))
            if swap is None:
                # As Docker: as much swap as memory, where it is counted.
                if os.path.exists(f"{directory}/memory.swap.max"):
                    self._write_swap(directory, memory, write)
            else:
                self._write_swap(directory, None if swap == -1 else swap - memory, write)
        if resources.memory_reservation_bytes is not None:
            write(f"{directory}/memory.low", str(resources.memory_reservation_bytes))
        if resources.cpus is not None:
            write(f"{directory}/cpu.max", f"{limits.quota_us(resources.cpus)} {limits.CPU_PERIOD_US}")
        if resources.cpu_shares is not None:
            write(f"{directory}/cpu.weight", str(limits.weight_of_shares(resources.cpu_shares)))
        if resources.cpuset_cpus is not None:
            write(f"{directory}/cpuset.cpus", resources.cpuset_cpus)
        if resources.cpuset_mems is not None:
            write(f"{directory}/cpuset.mems", resources.cpuset_mems)
        if resources.pids_limit is not None and os.path.exists(f"{directory}/pids.max"):
            write(f"{directory}/pids.max", "max" if resources.pids_limit == -1 else str(resources.pids_limit))

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
    ) -> CgroupPlan:
        resources = self._checked(resources)
        directory = into = f"{self._base}/{container_id}"
        try:
            if not files.make_below(self._base, container_id):
                self.remove(container_id)
                if not files.make_below(self._base, container_id):
                    raise HostError(f"the cgroup of the container {container_id[:12]} is made by somebody else, too")
            self._distribute()
            self._write_limits(directory, resources)
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

    def _distribute(self) -> None:
        """Let the container have every controller that the host has enabled; its own cgroup keeps the parent there."""
        available = self._controllers(self._root)
        wanted = [name for name in USED if name in available]
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


def _summed(text: str | None, key: str) -> int | None:
    """The sum over all devices in "MAJOR:MINOR key=number …" lines."""
    if text is None:
        return None
    words = (word.partition("=") for word in text.split())
    return sum(int(value) for name, _, value in words if name == key)
