"""The rest of what `docker info` tells, as far as it has a meaning here."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.parts import Parts


def of_host(parts: Parts, os_release: dict[str, str]) -> dict[str, Any]:
    """What can be limited here, and the facts of a daemon as they are without one."""
    from tiffin.containers.logs import rfc3339
    from tiffin.launcher_path import launcher_path

    controllers = _controllers()
    return {
        "ID": "",
        "Plugins": {"Volume": ["local"], "Network": ["host", "null"], "Authorization": None, "Log": ["cri", "none"]},
        "MemoryLimit": "memory" in controllers,
        "SwapLimit": parts.cgroups.counts_swap(),
        "KernelMemory": False,
        "KernelMemoryTCP": False,
        "CpuCfsPeriod": "cpu" in controllers,
        "CpuCfsQuota": "cpu" in controllers,
        "CPUShares": "cpu" in controllers,
        "CPUSet": "cpuset" in controllers,
        "PidsLimit": "pids" in controllers,
        "IPv4Forwarding": _forwarding(),
        "OomKillDisable": False,
        "Debug": parts.debug is not None,
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": 0,
        "NEventsListener": 0,
        "SystemTime": rfc3339(time.time_ns()),
        "OSVersion": os_release.get("VERSION_ID", ""),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ExperimentalBuild": False,
        "Runtimes": {"native": {"path": launcher_path()}},
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,  # nothing that could be restarted holds the containers
        "Isolation": "",
        "InitBinary": launcher_path(),
        "CDISpecDirs": list(parts.cdi_dirs),
        "Warnings": None,
    }


def _controllers() -> set[str]:
    from tiffin.cgroups import files
    from tiffin.cgroups.layout import detect

    layout = detect()
    if layout.version == 2:
        return set((files.read(f"{layout.unified}/cgroup.controllers") or "").split())
    return {name for hierarchy in layout.hierarchies for name in hierarchy.controllers}


def _forwarding() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def os_release() -> dict[str, str]:
    """os-release(5), empty without the file."""
    found = {}
    try:
        with open("/etc/os-release", errors="replace") as file:
            for line in file:
                key, equals, value = line.strip().partition("=")
                if equals:
                    found[key] = value.strip("\"'")
    except OSError:
        pass
    return found
