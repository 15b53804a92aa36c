"""What Docker's inspect has and Tiffin has nothing for: there all the same, and empty as Docker's unused ones.

Scripts written for Docker ask for these, and a template stops at a field that is missing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def host_config() -> dict[str, Any]:
    """Fields of HostConfig; those that a container does have come after them."""
    return {
        "BlkioDeviceReadBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceWriteIOps": [],
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "Cgroup": "",
        "CgroupParent": "",
        "ConsoleSize": [0, 0],
        "CpuCount": 0,
        "CpuPercent": 0,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "Dns": [],
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": None,
        "IOMaximumBandwidth": 0,
        "IOMaximumIOps": 0,
        "Isolation": "",
        "KernelMemory": 0,
        "KernelMemoryTCP": 0,
        "Links": None,
        "MemorySwappiness": None,
        "OomKillDisable": False,
        "PublishAllPorts": False,
        "VolumeDriver": "",
    }


def network_settings(pid: int) -> dict[str, Any]:
    """Fields of NetworkSettings. SandboxKey is the path of the running container's network namespace."""
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{pid}/ns/net" if pid else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
    }


def capability_names(names: tuple[str, ...]) -> list[str] | None:
    """As Docker shows them, whatever the user wrote: "CAP_NET_ADMIN", "ALL"; None without any."""
    full = [name.upper() for name in names]
    return [name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in full] or None
