"""Starting a container through another OCI runtime than our own."""

from __future__ import annotations

import os

from tiffin.cgroups.layout import detect
from tiffin.errors import HostError, UsageError, os_error
from tiffin.runtime import foreign
from tiffin.runtime.security import capabilities
from tiffin.runtime.security.seccomp_json import seccomp_section
from tiffin.storage.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.driver import CgroupPlan
    from tiffin.model.container import Container, ContainerConfig
    from tiffin.parts import Parts
    from tiffin.runtime.compile import Monitor
    from tiffin.runtime.ops import Plan
    from tiffin.runtime.security.options import SecurityOptions
    from tiffin.storage.rootfs import MountStep


def chosen(parts: Parts, config: ContainerConfig) -> ContainerConfig:
    """With the runtime that was asked for, or else the engine's; empty for our own."""
    name = config.runtime or parts.runtime
    if name in ("", foreign.NATIVE):
        return config.replace(runtime="")
    foreign.program(name)
    return config.replace(runtime=name)


def plan(
    parts: Parts,
    container: Container,
    built: dict[str, Any],
    monitor: Monitor,
    steps: tuple[MountStep, ...],
    cgroup: CgroupPlan,
    rules: tuple[DeviceRule, ...],
    security: SecurityOptions,
) -> Plan:
    """The bundle on disk and the plan for it."""
    config = container.config
    forget(parts, container)
    profile = security.seccomp
    if profile is None and config.privileged:
        profile = "unconfined"
    spec = foreign.bundle_spec(
        built,
        container=container,
        cgroup_path=f"/{parts.cgroup_parent.strip('/')}/{container.id}",
        joined=foreign.joins_cgroups(foreign.program(config.runtime)),
        resources=config.resources,
        rules=rules,
        seccomp=seccomp_section(profile, capabilities.mask_of(built["process"]["capabilities"]["bounding"])),
    )
    layout = detect()
    try:
        return foreign.compile_foreign(
            spec,
            container=container,
            monitor=monitor,
            rootfs_steps=steps,
            cgroup=cgroup,
            hidden=layout.unified if layout.hybrid else "",
            socket_dir=os.path.dirname(os.path.dirname(monitor.run_dir)),
        )
    except OSError as error:
        raise os_error(error, f"cannot write the bundle of container {container.name!r}") from error


def forget(parts: Parts, container: Container) -> None:
    """Have the runtime forget a container whose monitor was killed before it could do so; nothing else is left of it.

    A runtime that is no longer installed has nothing to say.
    """
    root = f"{parts.paths.container_run(container.id)}/runtime"
    try:
        if not os.listdir(root):
            return
        path = foreign.program(container.config.runtime)
    except (OSError, UsageError, HostError):
        return
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    pid = os.posix_spawn(path, [path, "--root", root, "delete", "--force", container.id], {}, file_actions=null)
    os.waitpid(pid, 0)
    try:
        remove_tree(root)
    except OSError as error:
        raise os_error(error, f"cannot remove what {path} left of container {container.name!r}") from error
