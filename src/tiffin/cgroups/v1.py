"""cgroup v1 and hybrid: one directory per hierarchy (Documentation/admin-guide/cgroup-v1).

Controllers mounted together share a directory. In a hybrid layout the v2 tree holds no controller that we use; it is
joined only where systemd tracks services by it.
"""

from __future__ import annotations

import errno
import os

from tiffin.cgroups import devices, files, limits
from tiffin.cgroups.driver import CgroupPlan, CgroupStats
from tiffin.cgroups.view import v1_mounts, v2_mounts
from tiffin.errors import HostError
from tiffin.model.resources import LimitWrite, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.layout import Hierarchy, Layout
    from tiffin.cgroups.settings import Setting

USED = frozenset(
    ("memory", "pids", "devices", "freezer", "cpu", "cpuacct", "cpuset", "blkio", "hugetlb", "rdma", "misc")
)

# What limit files say when there is no limit: the largest page counter.
_UNLIMITED_BYTES = 1 << 62

_FREEZE_DEADLINE_S = 2.0
_REALTIME_DEADLINE_S = 2.0


class V1Driver:
    """See `driver.CgroupDriver`. `parent` is the path below each hierarchy's root.

    `under_systemd` joins the hierarchies by which systemd tracks services, so that stopping the service that happened
    to start a container leaves the container alone.
    """

    version = 1

    def __init__(self, layout: Layout, parent: str, *, under_systemd: bool = False) -> None:
        self._layout = layout
        self._parent = parent
        wanted = USED | {"name=systemd"} if under_systemd else USED
        self._hierarchies: tuple[Hierarchy, ...] = tuple(
            hierarchy for hierarchy in layout.hierarchies if wanted.intersection(hierarchy.controllers)
        )
        self._bases = {hierarchy.mount: f"{hierarchy.mount}/{parent}" for hierarchy in self._hierarchies}
        self._base_of = {
            name: self._bases[hierarchy.mount] for hierarchy in self._hierarchies for name in hierarchy.controllers
        }
        self._unified = f"{layout.unified}/{parent}" if layout.unified else ""
        self._joins_unified = under_systemd

    # Limits

    def validate(self, resources: Resources) -> None:
        self._checked(resources)

    def _checked(self, resources: Resources, *, new: bool = True) -> Resources:
        resources = limits.normalized(resources)
        if resources == Resources():
            return resources
        if new:
            limits.check_swap_has_memory(resources)
        cpuset = self._layout.find("cpuset")
        chosen = cpuset is not None and (resources.cpuset_cpus or resources.cpuset_mems)
        limits.check(
            resources,
            online_cpus=files.read(f"{cpuset.mount}/cpuset.effective_cpus") if cpuset and chosen else None,
            online_mems=files.read(f"{cpuset.mount}/cpuset.effective_mems") if cpuset and chosen else None,
        )
        from tiffin.cgroups.knobs import check_host

        check_host(resources, 1, frozenset(self._base_of), self._offers)
        return resources

    def _offers(self, file: str) -> bool | None:
        """Whether cgroups have a file; the root of a hierarchy lacks some, so any cgroup below it tells."""
        hierarchy = self._layout.find(file.partition(".")[0])
        if hierarchy is None:
            return False
        if os.path.exists(f"{hierarchy.mount}/{file}"):
            return True
        below = files.list_names(hierarchy.mount)
        if not below:
            return False if "memsw" in file else None
        return any(os.path.exists(f"{hierarchy.mount}/{name}/{file}") for name in below)

    def counts_swap(self) -> bool:
        memory = self._layout.find("memory")
        return memory is not None and os.path.exists(f"{memory.mount}/memory.memsw.limit_in_bytes")

    def update(
        self, container_id: str, resources: Resources, *, whole: Resources | None = None, disks: Iterable[str] = ()
    ) -> None:
        settings = self._settings(container_id, resources, whole, disks)
        if resources.cpu_rt_runtime_us is not None:
            self._grant_realtime(container_id, whole or resources)
        with files.Change(_put) as write:
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

        return Settings(1, self._finder(container_id)).collect(resources, whole=whole, disks=disks)

    def _finder(self, container_id: str) -> Callable[[str], str]:
        def path(file: str) -> str:
            base = self._base_of.get(file.partition(".")[0])
            return f"{base}/{container_id}/{file}" if base else ""

        return path

    def _grant_realtime(self, container_id: str, resources: Resources) -> None:
        """Real-time runtime is handed down, from the root on: nobody's children can have more than he has."""
        above = self._base_of["cpu"].removesuffix(f"/{self._parent}")
        own = (resources.cpu_rt_runtime_us or 0) / (resources.cpu_rt_period_us or limits.RT_PERIOD_US)
        for name in self._parent.split("/"):
            above = f"{above}/{name}"
            shares = (_realtime(f"{above}/{child}") for child in files.list_names(above) if child != container_id)
            wanted = min(own + sum(shares), 1.0)
            if wanted > _realtime(above):
                period = files.read_number(f"{above}/cpu.rt_period_us") or limits.RT_PERIOD_US
                files.write(f"{above}/cpu.rt_runtime_us", str(round(wanted * period + 0.5)))

    def read(self, container_id: str) -> Resources:
        def number(controller: str, name: str) -> int | None:
            base = self._base_of.get(controller)
            return None if base is None else files.read_number(f"{base}/{container_id}/{controller}.{name}")

        def text(controller: str, name: str) -> str | None:
            base = self._base_of.get(controller)
            return None if base is None else files.read(f"{base}/{container_id}/{controller}.{name}") or None

        self._require(container_id)
        memory = _limit(number("memory", "limit_in_bytes"))
        swap = _limit(number("memory", "memsw.limit_in_bytes"))
        quota, period = number("cpu", "cfs_quota_us"), number("cpu", "cfs_period_us")
        return Resources(
            memory_bytes=memory,
            memory_swap_bytes=-1 if swap is None and memory is not None else swap,
            memory_reservation_bytes=_limit(number("memory", "soft_limit_in_bytes")),
            cpus=quota / period if quota is not None and quota > 0 and period else None,
            cpu_shares=number("cpu", "shares"),
            cpuset_cpus=text("cpuset", "cpus"),
            cpuset_mems=text("cpuset", "mems"),
            pids_limit=number("pids", "max"),
        )

    def stats(self, container_id: str) -> CgroupStats:
        def number(controller: str, name: str) -> int | None:
            base = self._base_of.get(controller)
            return None if base is None else files.read_number(f"{base}/{container_id}/{name}")

        def text(controller: str, name: str) -> str | None:
            base = self._base_of.get(controller)
            return None if base is None else files.read(f"{base}/{container_id}/{name}")

        self._require(container_id)
        return CgroupStats(
            memory_bytes=number("memory", "memory.usage_in_bytes"),
            cpu_usage_ns=number("cpuacct", "cpuacct.usage"),
            pids=number("pids", "pids.current"),
            inactive_file_bytes=files.keyed(text("memory", "memory.stat"), "total_inactive_file"),
            block_read_bytes=_summed(text("blkio", "blkio.throttle.io_service_bytes_recursive"), "Read"),
            block_written_bytes=_summed(text("blkio", "blkio.throttle.io_service_bytes_recursive"), "Write"),
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
        rules = tuple(rules)
        if delegated and not self._unified:
            raise HostError(
                "this host has no cgroup v2 tree mounted, so the container gets no cgroups to manage itself",
                hint="mount -t cgroup2 none /sys/fs/cgroup/unified",
            )
        try:
            if not self._make(container_id, bool(delegated)):
                # What an earlier run has left, be it in all hierarchies or in some.
                self.remove(container_id)
                if not self._make(container_id, bool(delegated)):
                    raise HostError(f"the cgroups of the container {container_id[:12]} are made by somebody else, too")
            if delegated:
                files.hand_over(f"{self._unified}/{container_id}", *delegated)
            if resources != Resources():
                from tiffin.cgroups.settings import Settings

                if resources.cpu_rt_runtime_us is not None:
                    self._grant_realtime(container_id, resources)
                for setting in Settings(1, self._finder(container_id)).collect(resources, disks=disks, new=True):
                    _put(setting.path, setting.value)
            if "devices" in self._base_of and devices.EVERYTHING[0] not in rules:
                self._write_devices(f"{self._base_of['devices']}/{container_id}", rules)
        except BaseException:
            self.remove(container_id)
            raise
        return self._plan(container_id)

    def _make(self, container_id: str, delegated: bool) -> bool:
        """Make all of the directories; False when one of them is there already."""
        for hierarchy in self._hierarchies:
            directory = f"{self._bases[hierarchy.mount]}/{container_id}"
            if not files.make_below(self._bases[hierarchy.mount], container_id):
                return False
            if "cpuset" in hierarchy.controllers and not files.read(f"{directory}/cpuset.mems"):
                _fill_cpusets(hierarchy.mount, f"{self._parent}/{container_id}")
        if self._unified and (self._joins_unified or delegated):
            return files.make_below(self._unified, container_id)
        return True

    def _write_devices(self, directory: str, rules: tuple[DeviceRule, ...]) -> None:
        files.write(f"{directory}/devices.deny", "a")
        allow = f"{directory}/devices.allow"
        try:
            descriptor = os.open(allow, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise files.refused(error, allow, "") from error
        try:
            for line in devices.v1_lines(rules):
                try:
                    os.write(descriptor, line.encode())
                except OSError as error:
                    raise files.refused(error, allow, line) from error
        finally:
            os.close(descriptor)

    def _plan(self, container_id: str) -> CgroupPlan:
        directories = self._directories(container_id)
        memory, procs = self._base_of.get("memory"), self._procs_base()
        return CgroupPlan(
            tasks=tuple(f"{base}/{container_id}/tasks" for base in self._bases.values()),
            into=self._unified_of(container_id),
            remove=directories,
            oom_file=f"{memory}/{container_id}/memory.oom_control" if memory else "",
            procs_dir=f"{procs}/{container_id}",
        )

    def joining(self, container_id: str, first_pid: int | None = None) -> CgroupPlan:
        self._require(container_id)
        plan = self._plan(container_id)
        return CgroupPlan(tasks=plan.tasks, into=plan.into, procs_dir=plan.procs_dir)

    def remove(self, container_id: str) -> None:
        directories = [path for path in self._directories(container_id) if os.path.isdir(path)]
        if not directories:
            return
        if files.processes(self._procs_dir(container_id)):
            self.kill_all(container_id)
        files.remove_directories(directories)

    def remove_parent(self) -> None:
        files.remove_empty((*self._bases.values(), *((self._unified,) if self._unified else ())))

    def exists(self, container_id: str) -> bool:
        return any(os.path.isdir(path) for path in self._directories(container_id))

    def list_containers(self) -> list[str]:
        found: set[str] = set()
        for base in (*self._bases.values(), *((self._unified,) if self._unified else ())):
            found.update(files.list_names(base))
        return sorted(found)

    def _directories(self, container_id: str) -> tuple[str, ...]:
        unified = self._unified_of(container_id)
        return (*(f"{base}/{container_id}" for base in self._bases.values()), *((unified,) if unified else ()))

    def _unified_of(self, container_id: str) -> str:
        """The container's cgroup in the v2 tree beside the v1 hierarchies; "" when it has none there."""
        path = f"{self._unified}/{container_id}" if self._unified else ""
        return path if path and (self._joins_unified or os.path.isdir(path)) else ""

    def _require(self, container_id: str) -> None:
        if not os.path.isdir(self._procs_dir(container_id)):
            raise HostError(f"the container {container_id[:12]} has no cgroups: it does not run")

    # Processes

    def _procs_base(self) -> str:
        """A hierarchy that every process of a container is in; the freezer's, if there is one."""
        return self._base_of.get("freezer") or next(iter(self._bases.values()))

    def _procs_dir(self, container_id: str) -> str:
        return f"{self._procs_base()}/{container_id}"

    def processes(self, container_id: str) -> list[int]:
        return files.processes(self._procs_dir(container_id))

    def freeze(self, container_id: str) -> None:
        import time

        path = self._freezer(container_id)
        deadline = time.monotonic() + _FREEZE_DEADLINE_S
        while True:
            files.write(path, "FROZEN")
            state = files.read(path)
            if state == "FROZEN":
                return
            if time.monotonic() > deadline:
                files.write(path, "THAWED")
                raise HostError(f"the container {container_id[:12]} does not freeze (its freezer says {state!r})")
            time.sleep(0.001)

    def thaw(self, container_id: str) -> None:
        files.write(self._freezer(container_id), "THAWED")

    def frozen(self, container_id: str) -> bool:
        base = self._base_of.get("freezer")
        # "FREEZING" is a container whose processes are on their way: a child below it may still be forking.
        return base is not None and files.read(f"{base}/{container_id}/freezer.state") in ("FROZEN", "FREEZING")

    def _freezer(self, container_id: str) -> str:
        base = self._base_of.get("freezer")
        if base is None:
            raise HostError("this host has no 'freezer' cgroup controller, so a container cannot be paused")
        self._require(container_id)
        return f"{base}/{container_id}/freezer.state"

    def freezer(self, container_id: str) -> tuple[str, str] | None:
        base = self._base_of.get("freezer")
        return (f"{base}/{container_id}/freezer.state", "FR") if base is not None else None

    def kill_all(self, container_id: str) -> None:
        directory = self._procs_dir(container_id)
        if not os.path.isdir(directory):
            return
        import signal

        if "freezer" in self._base_of:
            # What stands still cannot fork away from us, nor leave its process ID to somebody else.
            try:
                self.freeze(container_id)
                for pid in files.processes(directory):
                    os.kill(pid, signal.SIGKILL)
            except (HostError, ProcessLookupError):
                pass
            finally:
                self._thaw_below(directory)
        files.kill_until_gone(directory, f"the container {container_id[:12]}")

    def _thaw_below(self, directory: str) -> None:
        for place in files.tree(directory):
            try:
                files.write(f"{place}/freezer.state", "THAWED")
            except HostError:
                if os.path.isdir(place):  # else the monitor has just removed it
                    raise

    # The container's view

    def mounts(
        self, *, private: bool, read_only: bool = True, delegated: bool = False
    ) -> tuple[tuple[str, str, str, tuple[str, ...]], ...]:
        if delegated:
            return v2_mounts(read_only=False)
        return v1_mounts(self._hierarchies, private=private, read_only=read_only)


def _limit(value: int | None) -> int | None:
    return None if value is None or value >= _UNLIMITED_BYTES else value


def _put(path: str, value: str) -> None:
    """As `files.write`; real-time runtime of a removed cgroup counts until the kernel has freed it, a moment later."""
    if not path.endswith("/cpu.rt_runtime_us"):
        return files.write(path, value)
    import time

    deadline = time.monotonic() + _REALTIME_DEADLINE_S
    while True:
        try:
            return files.write(path, value)
        except HostError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.EINVAL or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _realtime(directory: str) -> float:
    """The part of the time that a cgroup's real-time processes may have."""
    runtime, period = (files.read_number(f"{directory}/cpu.rt_{name}_us") for name in ("runtime", "period"))
    return max(runtime or 0, 0) / (period or limits.RT_PERIOD_US)


def _summed(text: str | None, kind: str) -> int | None:
    """The sum over all devices in "MAJOR:MINOR Kind number" lines."""
    if text is None:
        return None
    rows = (line.split() for line in text.splitlines())
    return sum(int(row[2]) for row in rows if len(row) == 3 and row[1] == kind)


def _fill_cpusets(mount: str, path: str) -> None:
    """A new cpuset has no processors and takes no process; with clone_children its children inherit theirs.

    Another engine may be doing the same, so what is done twice does no harm, and clone_children comes last.
    """
    above = mount
    for name in path.split("/"):
        directory = f"{above}/{name}"
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not files.read(f"{directory}/{file}"):
                files.write(f"{directory}/{file}", files.read(f"{above}/{file}") or "")
        files.write(f"{directory}/cgroup.clone_children", "1")
        above = directory
