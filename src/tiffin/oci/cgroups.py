"""A container's cgroups at any `cgroupsPath`, in every hierarchy that the host has.

`tiffin.cgroups` keeps an engine's containers together under one parent and joins the controllers that it limits by;
an OCI runtime is told where to go, and joins them all. Freezing and killing are the drivers' own.
"""

from __future__ import annotations

import os

from tiffin.cgroups import files
from tiffin.cgroups.driver import CgroupPlan
from tiffin.cgroups.layout import Layout, detect
from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.oci import devices
from tiffin.oci.resources import Setting, v1_settings, v2_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cgroups.driver import CgroupDriver

DEFAULT_PARENT = "tiffin-runtime"


def place(cgroups_path: str, container_id: str) -> str:
    """The path below the root of each hierarchy, without slashes at its ends (config-linux.md, "Cgroups Path").

    An absolute path is taken as it is, a relative one begins in a cgroup of this runtime. UsageError for a path that
    climbs, NotSupportedError for systemd's "slice:prefix:name".
    """
    if cgroups_path.count(":") == 2 and "/" not in cgroups_path:
        raise NotSupportedError(
            f"config.json: linux.cgroupsPath {cgroups_path!r} is for systemd, which is not asked for cgroups here"
        )
    words = [word for word in cgroups_path.split("/") if word not in ("", ".")]
    if ".." in words:
        raise UsageError(f"config.json: linux.cgroupsPath {cgroups_path!r} goes upwards")
    if not words:
        words = [DEFAULT_PARENT, container_id]
    elif not cgroups_path.startswith("/"):
        words.insert(0, DEFAULT_PARENT)
    return "/".join(words)


class Cgroups:
    """The cgroups at one path. They need not exist."""

    def __init__(self, path: str, layout: Layout | None = None) -> None:
        self.path = path
        self._layout = layout or detect()
        if self._layout.version == 2:
            self._roots = [self._layout.unified]
        else:
            self._roots = [hierarchy.mount for hierarchy in self._layout.hierarchies]

    @property
    def version(self) -> int:
        return self._layout.version

    @property
    def directories(self) -> list[str]:
        return [f"{root}/{self.path}" for root in self._roots]

    def paths(self) -> dict[str, str]:
        """The directory of each controller, as runc's state has them; with v2 the one under ""."""
        if self.version == 2:
            return {"": self.directories[0]}
        return {
            name: f"{hierarchy.mount}/{self.path}"
            for hierarchy in self._layout.hierarchies
            for name in hierarchy.controllers
        }

    def driver(self) -> tuple[CgroupDriver, str]:
        """The driver for this path, and what it takes for the container's ID."""
        from tiffin.cgroups.driver import choose_driver

        parent, _, name = self.path.rpartition("/")
        return choose_driver(parent, self._layout), name

    # Life

    def create(self, resources: dict[str, Any]) -> tuple[CgroupPlan, list[str]]:
        """Make the cgroups with their limits; the plan for the launcher, and the directories that were not there.

        HostError when processes live there, or when the kernel refuses.
        """
        if self.processes():
            raise HostError(f"the cgroup {self.path!r} has processes in it", hint="give each container a cgroupsPath")
        made: list[str] = []
        try:
            for root in self._roots:
                try:
                    self._make(root, made)
                except FileNotFoundError:
                    self._make(root, made)  # another container, the last in the parent, took it away just now
            program = self.apply(resources, new=True)
        except BaseException:
            remove(made)
            raise
        return self._plan(program), made

    def _make(self, root: str, made: list[str]) -> None:
        above = root
        for name in self.path.split("/"):
            if self.version == 2:
                self._distribute(above)
            directory = f"{above}/{name}"
            try:
                os.mkdir(directory, 0o755)
                made.append(directory)
            except FileExistsError:
                pass
            except FileNotFoundError:
                raise
            except OSError as error:
                raise files.cannot_make(error, directory) from error
            if files.read(f"{directory}/cpuset.cpus") == "" and self.version == 1:
                # A new cpuset has no processors, and takes no process before it has.
                for file in ("cpuset.cpus", "cpuset.mems"):
                    if not files.read(f"{directory}/{file}"):
                        files.write(f"{directory}/{file}", files.read(f"{above}/{file}") or "")
            above = directory

    def _distribute(self, directory: str) -> None:
        """v2: let the children of a cgroup have every controller that it has itself."""
        enabled = (files.read(f"{directory}/cgroup.subtree_control") or "").split()
        for name in (files.read(f"{directory}/cgroup.controllers") or "").split():
            if name not in enabled:
                try:
                    files.write(f"{directory}/cgroup.subtree_control", f"+{name}")
                except HostError:
                    continue  # with processes in it; a limit that needs the controller will say so

    def _plan(self, program: bytes) -> CgroupPlan:
        if self.version == 2:
            directory = self.directories[0]
            return CgroupPlan(into=directory, device_program=(directory, program) if program else None)
        return CgroupPlan(tasks=tuple(f"{directory}/tasks" for directory in self.directories))

    def joining(self, first_pid: int) -> CgroupPlan:
        """What one more process does to enter them."""
        if self.version == 2:
            driver, name = self.driver()
            return driver.joining(name, first_pid)
        return CgroupPlan(tasks=tuple(f"{path}/tasks" for path in self.directories if os.path.isdir(path)))

    # Limits

    def apply(self, resources: dict[str, Any], *, new: bool = False) -> bytes:
        """Write limits; for a new container also the rules for devices. Returns v2's program for these."""
        settings = (v1_settings if self.version == 1 else v2_settings)(resources, self._exists)
        if not new:
            settings = self._in_order(settings)
        with files.Change() as write:
            for setting in settings:
                self._put(setting, write)
            if new or resources.get("devices"):
                rules = devices.rules(resources)
                if self.version == 2:
                    return devices.v2_program(rules)
                base = self._directory("devices")
                for file, line in devices.v1_writes(rules) if base else ():
                    files.write(f"{base}/{file}", line)
        return b""

    def _put(self, setting: Setting, write: Any) -> None:
        directory = self._directory(setting.controller)
        path = f"{directory}/{setting.file}"
        if directory is None:
            raise HostError(
                f"{setting.name} needs the {setting.controller!r} cgroup controller, which this host does not have"
            )
        if not os.path.exists(path):
            raise HostError(f"{setting.name} cannot be set: this kernel has no {setting.file}")
        write(path, setting.value)

    def _in_order(self, settings: list[Setting]) -> list[Setting]:
        """For a change: the kernel wants memory <= memory plus swap at every moment, so what grows goes first."""
        memory = [item for item in settings if item.file in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")]
        if len(memory) < 2:
            return settings
        directory = self._directory("memory")
        now = files.read_number(f"{directory}/memory.memsw.limit_in_bytes") or 0
        wanted = int(memory[1].value)
        if wanted == -1 or wanted > now:
            memory.reverse()
        return memory + [item for item in settings if item not in memory]

    def _exists(self, controller: str, file: str) -> bool:
        directory = self._directory(controller)
        return directory is not None and os.path.exists(f"{directory}/{file}")

    def _directory(self, controller: str) -> str | None:
        if self.version == 2:
            return self.directories[0]
        hierarchy = self._layout.find(controller)
        return None if hierarchy is None else f"{hierarchy.mount}/{self.path}"

    # Processes

    def processes(self) -> list[int]:
        """All processes in these cgroups and below, ascending."""
        found: set[int] = set()
        for directory in self._counted():
            found.update(files.processes(directory))
        return sorted(found)

    def _counted(self) -> list[str]:
        """One hierarchy is enough: every process of the container is in all of them."""
        if self.version == 1:
            for name in ("freezer", "pids", "devices", "memory"):
                directory = self._directory(name)
                if directory is not None:
                    return [directory]
        return self.directories[:1]

    def kill(self, describe: str) -> None:
        """Kill whatever is in there."""
        if self.processes():
            driver, name = self.driver()
            driver.kill_all(name)
            for directory in self._counted():
                files.kill_until_gone(directory, describe)


def remove(made: list[str]) -> None:
    """Remove the cgroups that a container's creation made, and all below its own; others' stay."""
    leaves = [path for path in made if not any(other.startswith(f"{path}/") for other in made)]
    files.remove_directories(leaves)
    parents = set(made) - set(leaves)
    # Whoever made it may be gone for long.
    parents.update(above for above in map(os.path.dirname, leaves) if os.path.basename(above) == DEFAULT_PARENT)
    for directory in sorted(parents, key=len, reverse=True):
        try:
            os.rmdir(directory)
        except OSError:
            continue  # another container has moved in
