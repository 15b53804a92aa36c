"""Devices that are asked for by what their vendor calls them: found at creation, given at every start."""

from __future__ import annotations

import os
import stat

from tiffin.cgroups.devices import DeviceNode
from tiffin.errors import NotSupportedError, UsageError
from tiffin.runtime import cdi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.runtime.users import Identity

_FAILED = "CDI device injection failed: failed to inject devices:"
_DEFAULT_MODE = 0o666  # as other runtimes make a node of which neither description nor host says more


def find(parts: Parts, container: Container) -> cdi.Edits:
    """What the descriptions say now. UsageError, NotSupportedError."""
    config = container.config
    edits = cdi.resolve(config.device_requests, config.gpus, parts.cdi_dirs)
    if edits.hooks and not config.runtime:
        raise NotSupportedError(
            f"the devices {', '.join(asked(container))} are not supported yet: their description has hooks, "
            f"such as {edits.hooks[0].path}",
            hint="--runtime crun or runc runs them",
        )
    if container.uid_maps and any({"shared", "rshared"} & set(mount.options) for mount in edits.mounts):
        raise NotSupportedError(
            f"the devices {', '.join(asked(container))} cannot be given in a user namespace: their description has "
            "mounts that are shared with the host"
        )
    return edits


def asked(container: Container) -> tuple[str, ...]:
    """The qualified names of all that was asked for."""
    config = container.config
    return (*config.device_requests, *(name for text in config.gpus for name in cdi.gpu_names(text)))


def with_groups(identity: Identity, edits: cdi.Edits) -> Identity:
    """The process with the groups that the devices are for."""
    return identity.replace(groups=tuple(dict.fromkeys((*identity.groups, *edits.groups))))


def with_nodes(nodes: tuple[DeviceNode, ...], edits: cdi.Edits, identity: Identity) -> tuple[DeviceNode, ...]:
    """`nodes` with those of the descriptions, which count where both name a path. UsageError for what is not there."""
    described = {edit.path: _node(edit, identity) for edit in edits.nodes}
    return (*(node for node in nodes if node.path not in described), *described.values())


def _node(edit: cdi.NodeEdit, identity: Identity) -> DeviceNode:
    kind, major, minor, mode = edit.type, edit.major, edit.minor, edit.mode
    complete = bool(kind and (major or kind == "p"))
    try:
        found = os.stat(edit.host_path)
    except OSError as error:
        if not complete:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f'{_FAILED} failed to stat CDI host device "{edit.host_path}": {reason}') from None
    else:
        if mode is None:
            mode = stat.S_IMODE(found.st_mode)
        if not complete:
            there = _letter(found.st_mode)
            if not there:
                raise UsageError(f'{_FAILED} failed to stat CDI host device "{edit.host_path}": not a device node')
            if kind and kind != there:
                raise UsageError(
                    f'{_FAILED} CDI device ("{edit.path}", "{edit.host_path}"), host type mismatch ({kind}, {there})'
                )
            kind = there
            if kind != "p":
                major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return DeviceNode(
        path=edit.path,
        type=kind,
        rdev=os.makedev(major, minor),
        mode=_DEFAULT_MODE if mode is None else mode,
        # As the reference implementation: whoever the container's process is.
        uid=identity.uid if edit.uid is None else edit.uid,
        gid=identity.gid if edit.gid is None else edit.gid,
        access=edit.access,
    )


def _letter(mode: int) -> str:
    for is_kind, letter in ((stat.S_ISCHR, "c"), (stat.S_ISBLK, "b"), (stat.S_ISFIFO, "p")):
        if is_kind(mode):
            return letter
    return ""


def apply(spec: dict[str, Any], container: Container, edits: cdi.Edits) -> None:
    """Put environment, mounts and hooks into a spec that has the nodes and groups already."""
    from tiffin.containers.command import merge_env

    process = spec["process"]
    process["env"] = list(merge_env(tuple(process["env"]), edits.env))
    added = {mount.target: _mount(mount, mapped=bool(container.uid_maps)) for mount in edits.mounts}
    users = {os.path.normpath(mount.target) for mount in container.config.mounts} | added.keys()
    kept = [mount for mount in spec["mounts"] if os.path.normpath(mount["destination"]) not in added]
    # As the user's own: what lies deeper comes later, or it would be hidden.
    last = [mount for mount in kept if os.path.normpath(mount["destination"]) in users]
    last = sorted((*last, *added.values()), key=lambda mount: mount["destination"].rstrip("/").count("/"))
    spec["mounts"] = [mount for mount in kept if os.path.normpath(mount["destination"]) not in users] + last
    if any({"shared", "rshared"} & set(mount.options) for mount in edits.mounts):
        spec["linux"]["rootfsPropagation"] = "rshared"
    for hook in edits.hooks:
        made: dict[str, Any] = {"path": hook.path}
        if hook.args:
            made["args"] = list(hook.args)
        if hook.env:
            made["env"] = list(hook.env)
        if hook.timeout_s is not None:
            made["timeout"] = hook.timeout_s
        spec.setdefault("hooks", {}).setdefault(hook.point, []).append(made)


def _mount(mount: cdi.MountEdit, *, mapped: bool) -> dict[str, Any]:
    options = list(mount.options)
    if mapped and mount.type == "bind" and not {"idmap", "ridmap"} & set(options):
        options.append("idmap")
    return {"destination": mount.target, "type": mount.type, "source": mount.source, "options": options}
