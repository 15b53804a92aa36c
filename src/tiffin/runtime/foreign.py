"""Execution through another OCI runtime: its bundle, its command line, and its words for what went wrong.

The launcher mounts the root in a mount namespace that only the runtime sees, has it create and start the container,
and stays as the monitor. `config.json` is our spec with what our own plan carries beside it: the seccomp profile as
JSON, limits and device rules (opencontainers/runtime-spec, config-linux.md).
"""

from __future__ import annotations

import os

from tiffin.errors import CommandNotExecutable, CommandNotFound, HostError, LaunchError, NotSupportedError, UsageError
from tiffin.runtime.systemd import ALWAYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from tiffin.cgroups.devices import DeviceRule
    from tiffin.cgroups.driver import CgroupPlan
    from tiffin.model.container import Container
    from tiffin.model.resources import Resources
    from tiffin.runtime.compile import Monitor
    from tiffin.runtime.ops import Plan
    from tiffin.storage.rootfs import MountStep

NATIVE = "native"
KNOWN = ("crun", "runc", "youki")
MAX_SOCKET_PATH = 107  # unix(7)
CPU_PERIOD_US = 100_000
SPEC_VERSION = "1.0.2"  # nothing newer is used, and crun refuses minor versions that it does not know


def program(name: str) -> str:
    """The path of a runtime given by name or path. UsageError for an unknown one, HostError when it is missing."""
    if "/" in name:
        if not os.path.isabs(name) or not os.path.isfile(name) or not os.access(name, os.X_OK):
            raise UsageError(f"unknown or invalid runtime name: {name}", hint="it is no executable file")
        return name
    if name not in KNOWN:
        raise UsageError(
            f"unknown or invalid runtime name: {name}", hint=f"there are native, {', '.join(KNOWN)}, or any by its path"
        )
    for directory in (*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/usr/local/sbin", "/sbin"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise HostError(f"the runtime {name} is not installed on this host", hint="install it, or leave --runtime out")


def found() -> dict[str, str]:
    """The known runtimes that this host has, with their paths."""
    runtimes = {}
    for name in KNOWN:
        try:
            runtimes[name] = program(name)
        except HostError:
            continue
    return runtimes


def joins_cgroups(path: str) -> bool:
    """Whether the runtime leaves cgroups alone if told so, and is started in those that Tiffin has made.

    Of crun, which refuses hosts that have controllers in both versions of cgroups.
    """
    return os.path.basename(path) == "crun"


def check(container: Container) -> None:
    """Refuse what only our own launcher does. UsageError, NotSupportedError, HostError."""
    config = container.config
    program(config.runtime)
    so_far = f"does not go with --runtime {config.runtime} so far"
    if config.init:
        raise NotSupportedError(f"--init {so_far}: the init is a part of Tiffin's own launcher")
    if config.log.driver == "passthrough":
        raise NotSupportedError(f"--log-driver passthrough {so_far}")
    if config.resources.memory_merge:
        raise NotSupportedError(f"--memory-merge {so_far}: it is Tiffin's own launcher that asks the kernel for it")
    if container.uid_maps:
        raise NotSupportedError(f"a user namespace {so_far}")
    if config.systemd == ALWAYS:
        raise NotSupportedError(
            f"--systemd always {so_far}: its cgroups are mounted by Tiffin's own launcher",
            hint="with --systemd false the program runs as any other",
        )
    if config.ipc.startswith("container:"):
        raise NotSupportedError(f"--ipc container:NAME {so_far}: /dev/shm comes out of the other container's mounts")
    for mount in config.mounts:
        shared = mount.propagation in ("shared", "rshared")
        if mount.type == "image" or mount.subpath or mount.volume_options or shared:
            raise NotSupportedError(
                f"the mount at {mount.target} {so_far}: images, subpaths, volumes with mount options and shared binds "
                "are mounted by Tiffin's own launcher only"
            )


def check_pod(runtime: str, share: Iterable[str]) -> None:
    """Refuse a pod for what `check` would refuse of its members."""
    if runtime not in ("", NATIVE) and "ipc" in share:
        raise NotSupportedError(
            f"a pod whose containers share their ipc namespace does not go with --runtime {runtime} so far: /dev/shm "
            "comes out of another container's mounts",
            hint="make the pod with --share net,uts",
        )


def bundle_spec(
    spec: dict[str, Any],
    *,
    container: Container,
    cgroup_path: str,
    joined: bool,
    resources: Resources,
    rules: Iterable[DeviceRule],
    seccomp: dict[str, Any] | None,
) -> dict[str, Any]:
    """The spec as `config.json` for any runtime; with `joined` one that finds itself in the cgroups already."""
    linux = dict(spec["linux"])
    kinds = {entry["type"] for entry in linux["namespaces"]}
    made = {
        **spec,
        "ociVersion": SPEC_VERSION,
        "mounts": _mounts(spec["mounts"]),
        # Not the labels: an image brings these, and runtimes take some annotations for orders.
        "annotations": dict(container.config.annotations),
        "linux": linux,
    }
    if not joined:
        linux.update(cgroupsPath=cgroup_path, resources=_resources(resources, rules))
    if "uts" not in kinds:
        made.pop("hostname", None)
    if seccomp is not None:
        made["linux"]["seccomp"] = seccomp
    return made


def _mounts(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One mount for all hierarchies of cgroups, which a runtime lays out by itself."""
    out = []
    for mount in mounts:
        inside = mount["destination"].startswith("/sys/fs/cgroup")
        if not inside or mount["type"] == "bind":
            out.append(mount)
        elif mount["destination"] == "/sys/fs/cgroup":
            access = "rw" if _is_writable(mounts) else "ro"
            options = ["nosuid", "noexec", "nodev", "relatime", access]
            out.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options})
    return out


def _is_writable(mounts: list[dict[str, Any]]) -> bool:
    return any(mount["type"].startswith("cgroup") and "rw" in mount["options"] for mount in mounts)


def _resources(limits: Resources, rules: Iterable[DeviceRule]) -> dict[str, Any]:
    allowed: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for rule in rules:
        entry: dict[str, Any] = {"allow": True, "type": rule.type, "access": rule.access}
        if rule.major is not None:
            entry["major"] = rule.major
        if rule.minor is not None:
            entry["minor"] = rule.minor
        allowed.append(entry)
    out: dict[str, Any] = {"devices": allowed}
    memory = {
        "limit": limits.memory_bytes,
        "swap": limits.memory_swap_bytes or (limits.memory_bytes and 2 * limits.memory_bytes),
        "reservation": limits.memory_reservation_bytes,
    }
    cpu = {
        "shares": limits.cpu_shares,
        "quota": limits.cpus and round(limits.cpus * CPU_PERIOD_US),
        "period": limits.cpus and CPU_PERIOD_US,
        "cpus": limits.cpuset_cpus,
        "mems": limits.cpuset_mems,
    }
    for name, values in (("memory", memory), ("cpu", cpu), ("pids", {"limit": limits.pids_limit})):
        if given := {key: value for key, value in values.items() if value is not None}:
            out[name] = given
    return out


def compile_foreign(
    spec: dict[str, Any],
    *,
    container: Container,
    monitor: Monitor,
    rootfs_steps: Sequence[MountStep],
    cgroup: CgroupPlan,
    socket_dir: str,
    hidden: str,
) -> Plan:
    """The plan that has the runtime make the container; writes its bundle into the run directory."""
    import json

    from tiffin.runtime import compile as native_plan
    from tiffin.runtime.mount_options import PROPAGATION
    from tiffin.runtime.ops import Plan

    run_dir = monitor.run_dir
    bundle = f"{run_dir}/bundle"
    os.makedirs(bundle, mode=0o700, exist_ok=True)
    for name in ("log", "pid"):
        try:
            os.unlink(f"{bundle}/{name}")
        except FileNotFoundError:
            pass
    with open(f"{bundle}/config.json", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(spec, file)
    path = program(container.config.runtime)
    tasks: list[str] = []
    manager = []
    if joins_cgroups(path):
        manager = ["--cgroup-manager", "disabled"]
        tasks = [*cgroup.tasks, *([f"{cgroup.into}/cgroup.procs"] if cgroup.into else [])]
    common = [path, *manager, "--root", f"{run_dir}/runtime", "--log", f"{bundle}/log", "--log-format", "json"]
    create = [*common, "create", "--bundle", bundle, "--pid-file", f"{bundle}/pid"]
    terminal = ""
    if spec["process"]["terminal"]:
        terminal = f"{socket_dir}/{container.id[:12]}.tty"
        if len(terminal.encode()) > MAX_SOCKET_PATH:
            terminal = f"/run/tiffin-{container.id[:12]}.tty"
        create += ["--console-socket", terminal]
    plan = Plan()
    native_plan.add_monitor(plan, monitor, spec["process"]["terminal"], cgroup.replace(into=""))
    plan.add("CLONE", native_plan.CLONE_FLAGS["mount"], doing="make a mount namespace")
    propagation = PROPAGATION[spec["linux"]["rootfsPropagation"]]
    plan.add("PROPAGATION", propagation, doing="detach from the host's mount tree")
    native_plan.add_steps(plan, rootfs_steps)
    if tasks and hidden:
        # crun will not start where both versions have controllers, but only looks at this mount to find out.
        plan.add("MOUNT", "tmpfs", hidden, "tmpfs", 0, "mode=755,size=0k,nr_inodes=1", doing=f"hide {hidden}")
    words = ([*create, container.id], [*common, "start", container.id], [*common, "delete", "--force", container.id])
    plan.add("RUNTIME", *words, f"{bundle}/pid", terminal, tasks, doing=f"run {path}")
    return plan


def failure(text: str, fields: tuple[Any, ...], reason: str) -> LaunchError:
    """What a runtime's log says, in Docker's classes and, where a program is missing, its words."""
    create = fields[0]
    name = os.path.basename(create[0])
    said = _last_words(create[create.index("--log") + 1])
    if not said:
        return LaunchError(f"the runtime {name} failed: {text}: {reason}")
    asked = _argv0(create[create.index("--bundle") + 1])
    low = said.lower()
    about_program = "exec" in low
    if "not found in $path" in low and "/" not in asked:
        return CommandNotFound(f'exec: "{asked}": executable file not found in $PATH')
    if about_program and any(
        words in low for words in ("no such file or directory", "not a directory", "not found in $path")
    ):
        return CommandNotFound(f'exec: "{asked}": no such file or directory')
    # crun calls a directory "open executable: Operation not permitted".
    for words in ("permission denied", "is a directory", "open executable: operation not permitted"):
        if about_program and words in low:
            return CommandNotExecutable(f'exec: "{asked}": permission denied')
    if about_program and "exec format error" in low:
        return CommandNotExecutable(f'exec: "{asked}": exec format error')
    return LaunchError(f"{name}: {said}")


def _last_words(path: str) -> str:
    import json

    said = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry.get("level") in ("error", "fatal") and entry.get("msg"):
                    said = str(entry["msg"]).strip()
    except OSError:
        return ""
    return said


def _argv0(bundle: str) -> str:
    import json

    try:
        with open(f"{bundle}/config.json", encoding="utf-8") as file:
            return str(json.load(file)["process"]["args"][0])
    except (OSError, ValueError, KeyError, IndexError):
        return "?"
