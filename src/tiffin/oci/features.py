"""What this runtime can do, for engines to read (runtime-spec features.md, features-linux.md)."""

from __future__ import annotations

from tiffin._version import __version__
from tiffin.oci.bundle import NAMESPACES
from tiffin.oci.schema import CONFIG
from tiffin.runtime.mount_options import OPTIONS
from tiffin.runtime.security import lsm
from tiffin.runtime.security.capabilities import NAMES
from tiffin.runtime.security.seccomp_profile import ACTIONS, COMPANIONS, MACHINES, OPERATORS
from tiffin.runtime.security.seccomp_profile import FLAGS as FILTER_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def features() -> dict[str, Any]:
    """The document."""
    import os

    own = MACHINES.get(os.uname().machine, ("",))[0]
    architectures = [own, *COMPANIONS.get(own, ())] if own else []
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": sorted(CONFIG["hooks"]),
        "mountOptions": sorted(OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in NAMES],
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": [f"SCMP_ARCH_{name.upper()}" for name in architectures],
                "knownFlags": sorted(FILTER_FLAGS),
                "supportedFlags": sorted(FILTER_FLAGS),
            },
            "apparmor": {"enabled": lsm.apparmor_enabled()},
            "selinux": {"enabled": lsm.selinux_enabled()},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"org.tiffin.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
