"""What this engine is, and what it found on the host."""

from __future__ import annotations

import os

from tiffin._version import __version__
from tiffin.containers import pause
from tiffin.state import containers as records
from tiffin.system import info_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.parts import Parts


def info(parts: Parts) -> dict[str, Any]:
    """Docker's field names where they fit; what is Tiffin's own stands under "Tiffin"."""
    from tiffin.launcher_path import launcher_path
    from tiffin.runtime import ksm
    from tiffin.runtime.foreign import found

    containers = [pause.read_state(parts, container.id) for container, _ in records.all_containers(parts.database)]
    states = ["paused" if state.paused else state.status for state in containers]
    running = states.count("running") + states.count("restarting")  # as Docker counts
    system = os.uname()
    driver, reason = parts.storage_choice()
    release = info_more.os_release()
    version = str(parts.cgroups.version)
    return {
        **info_more.of_host(parts, release),
        "ServerVersion": __version__,
        "Containers": len(states),
        "ContainersRunning": running,
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - running - states.count("paused"),
        "Images": len(parts.images.list()),
        "Driver": driver,
        "DriverStatus": [["Chosen because", reason]],
        "DockerRootDir": parts.paths.root,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": version,
        "LoggingDriver": "cri",
        "DefaultRuntime": parts.runtime or "native",
        "Runtimes": {"native": {"path": launcher_path()}, **{name: {"path": path} for name, path in found().items()}},
        "KernelVersion": system.release,
        "Architecture": system.machine,
        "OSType": "linux",
        "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
        "Name": system.nodename,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "SecurityOptions": _security_options(),
        "Tiffin": {
            "Root": parts.paths.root,
            "RunRoot": parts.paths.run,
            "Launcher": launcher_path(),
            "Database": parts.paths.database,
            "Networks": ["none", "host"],
            "MemoryMerging": ksm.state() or {},
        },
    }


def _security_options() -> list[str]:
    from tiffin.runtime.security import lsm

    found = ["name=seccomp,profile=builtin", "name=cgroupns"]
    if lsm.apparmor_enabled():
        found.insert(0, "name=apparmor")
    if lsm.selinux_enabled():
        found.insert(0, "name=selinux")
    return found
