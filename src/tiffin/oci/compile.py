"""From any runtime-spec config to a plan for role `create`: a pure function, as `runtime/compile.py`, which it uses.

The order is the spec's: namespaces, root, mounts, devices, hooks, then what takes rights away. The plan ends in a
program that waits for `start` with all of its rights gone already.
"""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.oci import mounts, process
from tiffin.runtime.compile import (
    CLONE_FLAGS,
    CLONE_NEWCGROUP,
    DEFAULT_NODES,
    DEV_LINKS,
    add_devices,
    add_finish,
    add_process,
)
from tiffin.runtime.mount_options import MS_PRIVATE, PROPAGATION
from tiffin.runtime.ops import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.cgroups.driver import CgroupPlan
    from tiffin.oci.cgroups import Cgroups
    from tiffin.runtime.compile import Confinement

# The others are joined with the host's rights; who has become somebody of a user namespace could not any more.
JOIN_ORDER = ("ipc", "uts", "network", "pid", "cgroup", "time", "user", "mount")
HOOK_STATE_CREATING, HOOK_STATE_CREATED = 0, 1


class Bundle(Record):
    """What a plan needs to know besides the config."""

    path: str
    root: str  # the root file system on the host
    root_parent_mount: str  # where the file system that holds it is mounted
    start_fifo: str
    result_fifo: str
    passed_fds: int = 0


def compile_create(
    config: dict[str, Any],
    bundle: Bundle,
    *,
    cgroup: CgroupPlan,
    cgroups: Cgroups,
    confinement: Confinement,
    warn: Callable[[str], None],
) -> Plan:
    """The plan for `create`."""
    plan = Plan()
    linux = config["linux"]
    spaces = {entry["type"]: entry["path"] for entry in linux["namespaces"]}
    wanted = config.get("process")
    terminal = bool(wanted and wanted["terminal"])
    if cgroup.device_program is not None:
        plan.add("DEVICE_BPF", *cgroup.device_program, doing="limit the devices of the cgroup")
    if wanted and wanted.get("consoleSize"):
        plan.add("TTY_SIZE", wanted["consoleSize"]["height"], wanted["consoleSize"]["width"])
    if cgroup.into:
        plan.add("CGROUP_INTO", cgroup.into, doing=f"join the cgroup {cgroup.into}")
    _namespaces(plan, spaces, linux)
    for path in cgroup.tasks:
        plan.add("CGROUP_TASKS", path, doing=f"join the cgroup {path}")
    if "mount" in spaces:
        _root(plan, config, bundle, spaces, cgroups, terminal)
    else:
        _root_as_is(plan, config, bundle, spaces, terminal, warn)
    if spaces.get("network") == "":
        plan.add("LOOPBACK", doing="bring up the loopback interface")
    if config.get("hostname"):
        plan.add("HOSTNAME", config["hostname"], doing=f"set the hostname {config['hostname']!r}")
    if config.get("domainname"):
        plan.add("DOMAINNAME", config["domainname"], doing="set the domain name")
    if wanted:
        _program(plan, config, wanted, bundle, confinement)
    else:
        # Nothing to run: it can be created, looked at and deleted, which is all that the spec promises then.
        plan.add("WAIT_START", bundle.start_fifo, bundle.result_fifo)
        plan.add("EXEC", "", [""], [], doing="run nothing")
    return plan


def _namespaces(plan: Plan, spaces: dict[str, str], linux: dict[str, Any]) -> None:
    flags = 0
    for kind in JOIN_ORDER:
        path = spaces.get(kind)
        if path:
            plan.add("JOIN_NS", CLONE_FLAGS[kind], path, doing=f"join the {kind} namespace {path}")
        elif path == "" and kind == "time":
            lines = [
                f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
                for clock, offset in linux["timeOffsets"].items()
            ]
            plan.add("TIME_OFFSETS", "".join(lines), doing="make a time namespace")
        elif path == "":
            flags |= CLONE_FLAGS[kind]
    plan.add("CLONE", flags & ~CLONE_NEWCGROUP, doing="make the container's namespaces")


def _enter_user(plan: Plan, config: dict[str, Any], spaces: dict[str, str]) -> None:
    """Become root of the user namespace. Until here the host's directories were passed with the host's root's id."""
    if "user" not in spaces:
        return
    linux = config["linux"]
    score = config.get("process", {}).get("oomScoreAdj")
    made = not spaces["user"]  # one that is joined has its maps
    plan.add(
        "ID_MAPS",
        mounts.map_text(linux["uidMappings"]) if made else "",
        mounts.map_text(linux["gidMappings"]) if made else "",
        "" if score is None else str(score),
        doing="map the ids of the user namespace",
    )


def _root(
    plan: Plan, config: dict[str, Any], bundle: Bundle, spaces: dict[str, str], cgroups: Cgroups, terminal: bool
) -> None:
    linux = config["linux"]
    wanted = linux["rootfsPropagation"].removeprefix("r")
    if wanted == "shared":
        # Mounts below the container's root are to be seen outside, the root itself is not.
        plan.add("PROPAGATION", PROPAGATION["rshared"], doing="share the host's mount tree")
        parent = bundle.root_parent_mount
        plan.add("MOUNT", "", parent, "", MS_PRIVATE, "", doing=f"make {parent} private")
    else:
        plan.add("PROPAGATION", PROPAGATION["rslave"], doing="detach from the host's mount tree")
    plan.add("ROOT", bundle.root, doing=f"open the root {bundle.root}")
    _enter_user(plan, config, spaces)
    if spaces.get("cgroup") == "":
        plan.add("UNSHARE", CLONE_NEWCGROUP, doing="make a cgroup namespace")
    mounts.add_mounts(plan, mounts.complete_mounts(config, bundle.path, cgroups))
    _devices(plan, config, user="user" in spaces)
    _hooks(plan, config)
    add_finish(plan, config, terminal)
    plan.add("PIVOT", doing="enter the container's root")
    if linux["rootfsPropagation"] and wanted != "slave":
        flags = PROPAGATION[linux["rootfsPropagation"]]
        plan.add("PROPAGATION_IN", "/", flags, doing=f"make the root {linux['rootfsPropagation']}")


def _root_as_is(
    plan: Plan,
    config: dict[str, Any],
    bundle: Bundle,
    spaces: dict[str, str],
    terminal: bool,
    warn: Callable[[str], None],
) -> None:
    """In the mount namespace of whoever calls nothing can be mounted, for it would stay there."""
    linux = config["linux"]
    if terminal:
        raise UsageError("config.json: process.terminal needs a mount namespace, for a devpts of its own")
    if linux["sysctl"]:
        raise UsageError("config.json: linux.sysctl needs a mount namespace, for a procfs of its own")
    left_out = [
        name
        for name, asked in (
            ("mounts", config["mounts"]),
            ("linux.maskedPaths", linux["maskedPaths"]),
            ("linux.readonlyPaths", linux["readonlyPaths"]),
            ("root.readonly", config["root"]["readonly"]),
            ("linux.devices", linux["devices"]),
        )
        if asked
    ]
    if left_out:
        warn(f"without a mount namespace these are left out: {', '.join(left_out)}")
    plan.add("ROOT_AS_IS", bundle.root, doing=f"open the root {bundle.root}")
    _enter_user(plan, config, spaces)
    if spaces.get("cgroup") == "":
        plan.add("UNSHARE", CLONE_NEWCGROUP, doing="make a cgroup namespace")
    _hooks(plan, config)
    plan.add("CHROOT", doing="enter the container's root")


def _devices(plan: Plan, config: dict[str, Any], *, user: bool) -> None:
    """The default devices and the config's, unless the host's /dev is bound over it all.

    In a user namespace nodes cannot be made, so the host's are bound.
    """
    own = {mounts.target_of(mount).rstrip("/") for mount in config["mounts"] if mounts.is_bind(mount)}
    listed = {node["path"] for node in config["linux"]["devices"]}
    if "/dev" not in own:
        if user:
            for path in (node["path"] for node in DEFAULT_NODES):
                if path not in own | listed:
                    plan.add("BIND_IN", path, path, 0, 0, MS_PRIVATE, doing=f"bind the device {path}")
        else:
            add_devices(plan, (node for node in DEFAULT_NODES if node["path"] not in own | listed))
        for contents, path in DEV_LINKS:
            if path not in own:
                plan.add("SYMLINK_IN", contents, path, doing=f"link {path}")
    for index, node in enumerate(config["linux"]["devices"]):
        where = f"config.json: linux.devices[{index}]"
        _check_device(node, where)
        path = node["path"]
        if path == "/dev/ptmx":
            continue  # a link to the container's own devpts
        if user:
            plan.add("BIND_IN", path, path, 0, 0, MS_PRIVATE, doing=f"bind the device {path}")
        else:
            add_devices(plan, [{**node, "fileMode": node.get("fileMode", 0o666) & 0o7777}])


def _check_device(node: dict[str, Any], where: str) -> None:
    if node["type"] not in ("c", "b", "u", "p"):
        raise UsageError(f"{where}.type is {node['type']!r}, not c, b, u or p")
    if not node["path"].startswith("/"):
        raise UsageError(f"{where}.path is not absolute: {node['path']!r}")
    if node["type"] == "p":
        return
    for name, limit in (("major", 1 << 12), ("minor", 1 << 20)):
        if name not in node:
            raise UsageError(f"{where}.{name} is missing")
        if not 0 <= node[name] < limit:
            raise UsageError(f"{where}.{name} is {node[name]}, which is no device number")


def _hooks(plan: Plan, config: dict[str, Any]) -> None:
    hooks = config["hooks"]
    if hooks.get("prestart") or hooks.get("createRuntime") or hooks.get("createContainer"):
        plan.add("HOOKS", doing="run the hooks")
    for index, hook in enumerate(hooks.get("createContainer", ())):
        _hook(plan, hook, HOOK_STATE_CREATING, f"run createContainer hook {index}")


def _hook(plan: Plan, hook: dict[str, Any], state: int, doing: str) -> None:
    path = hook["path"]
    arguments = hook.get("args") or [path]
    timeout_ms = hook.get("timeout", 0) * 1000
    plan.add("HOOK", path, arguments, hook.get("env", []), timeout_ms, state, doing=f"{doing}, {path}")


def _program(
    plan: Plan, config: dict[str, Any], wanted: dict[str, Any], bundle: Bundle, confinement: Confinement
) -> None:
    if not wanted["args"]:
        raise UsageError("config.json: process.args is empty")
    process.check_limits(wanted)
    if "user" in {entry["type"] for entry in config["linux"]["namespaces"]}:
        wanted = {name: value for name, value in wanted.items() if name != "oomScoreAdj"}  # see ID_MAPS
    process.add_attributes(plan, config, wanted)

    def wait(plan: Plan) -> None:
        name = wanted["args"][0]
        plan.add("FIND_EXEC", name, wanted["env"], doing=f"run {name!r}")
        plan.add("WAIT_START", bundle.start_fifo, bundle.result_fifo, doing="wait for the start")
        for index, hook in enumerate(config["hooks"].get("startContainer", ())):
            _hook(plan, hook, HOOK_STATE_CREATED, f"run startContainer hook {index}")

    confinement = confinement.replace(passed=bundle.passed_fds)
    add_process(plan, wanted, confinement, make_workdir=True, before_exec=wait)
