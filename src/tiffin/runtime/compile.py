"""From an OCI spec to a plan for `tiffin-launch`: a pure function, so it can be printed and tested without root."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.runtime.mount_options import PROPAGATION, add_borrowed, add_early_trees, add_mount, add_trees
from tiffin.runtime.ops import STDIO_OPEN_STDIN, STDIO_PASSED, STDIO_TTY, Plan
from tiffin.runtime.security import capabilities
from tiffin.runtime.security.lsm import Labels
from tiffin.runtime.spec import NOBODY, Joined
from tiffin.storage.rootfs import IDMAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from tiffin.cgroups.driver import CgroupPlan
    from tiffin.runtime.security.seccomp import SeccompFilter
    from tiffin.storage.rootfs import MountStep

# clone(2)
CLONE_NEWCGROUP = 0x0200_0000
CLONE_FLAGS = {
    "mount": 0x0002_0000,
    "cgroup": CLONE_NEWCGROUP,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "network": 0x4000_0000,
    "time": 0x80,
}

# getrlimit(2)
RLIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}

# Character devices of runtime-spec config-linux.md, "Default Devices".
DEFAULT_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
DEFAULT_NODES = tuple(
    {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
    for name, major, minor in DEFAULT_DEVICES
)
DEV_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/kcore", "/dev/core"),
)
S_IFIFO = 0o010000
S_IFCHR = 0o020000
S_IFBLK = 0o060000


class Monitor(Record):
    """What the monitor is told: where it writes and what it does at the end."""

    run_dir: str
    exit_file: str
    log_path: str = ""
    log_max_bytes: int = 0
    log_files: int = 0
    log_operations: tuple[tuple[str, tuple[object, ...], str], ...] = ()
    open_stdin: bool = False
    tty_size: tuple[int, int] | None = None
    passed_stdio: bool = False
    on_exit: tuple[str, ...] = ()
    directory: str = ""
    again: tuple[str, ...] = ()
    health: tuple[str, int, int, int, int, int, int] | None = None
    freezer: tuple[str, str] | None = None
    events: tuple[str, str, tuple[str, ...]] | None = None  # the file, the actor, lines for after the end


class Confinement(Record):
    """The parts of a process's confinement that the spec names but does not carry as bytes."""

    seccomp: SeccompFilter | None = None
    labels: Labels = Labels()
    init: bool = False
    passed: int = 0
    """How many descriptors the program gets beyond its standard streams."""
    listening: bool = False
    """Whether it is told of them as sd_listen_fds(3) has it; the environment then has room for its process ID."""
    memory_merge: bool = False
    """Whether the kernel merges equal pages of its memory, and of all that it starts."""


def compile_launch(
    spec: dict[str, Any],
    *,
    monitor: Monitor,
    rootfs_steps: Sequence[MountStep],
    cgroup: CgroupPlan,
    confinement: Confinement,
    joined: Joined = NOBODY,
) -> Plan:
    """The plan that creates the container's namespaces and root and runs its first process."""
    plan = Plan()
    linux = spec["linux"]
    kinds = [entry["type"] for entry in linux["namespaces"] if not entry.get("path")]
    add_monitor(plan, monitor, spec["process"]["terminal"], cgroup)
    _join(plan, linux["namespaces"], joined)
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    trees = add_borrowed(plan, spec)
    if linux.get("uidMappings"):
        from tiffin.runtime import mapped

        flags &= ~CLONE_FLAGS["user"]
        mapped.prepare(plan, spec, rootfs_steps, trees)
    plan.add("CLONE", flags & ~CLONE_NEWCGROUP, doing="make the container's namespaces")
    for path in cgroup.tasks:
        plan.add("CGROUP_TASKS", path, doing=f"join the cgroup {path}")
    if "cgroup" in kinds:
        plan.add("UNSHARE", CLONE_NEWCGROUP, doing="make a cgroup namespace")
    if not linux.get("uidMappings"):
        add_early_trees(plan, spec, trees)
        # What is shared was taken as trees; nothing that is mounted on the way to the root may show on the host.
        propagation = linux["rootfsPropagation"].replace("shared", "slave")
        plan.add("PROPAGATION", PROPAGATION[propagation], doing="detach from the host's mount tree")
        add_steps(plan, rootfs_steps)
        add_trees(plan, spec, trees)
        plan.add("ROOT", spec["root"]["path"], doing=f"open the root {spec['root']['path']}")
    _root(plan, spec, trees)
    plan.add("PIVOT", doing="enter the container's root")
    if "network" in kinds:
        plan.add("LOOPBACK", doing="bring up the loopback interface")
    if "uts" in kinds:
        plan.add("HOSTNAME", spec["hostname"], doing=f"set the hostname {spec['hostname']!r}")
        if spec.get("domainname"):
            plan.add("DOMAINNAME", spec["domainname"], doing="set the domain name")
    add_process(plan, spec["process"], confinement, make_workdir=True)
    return plan


def compile_exec(
    process: dict[str, Any], *, pid: int, start_ticks: int, kinds: Iterable[str], cgroup: CgroupPlan,
    confinement: Confinement, tty_size: tuple[int, int] | None = None, events: tuple[str, str] | None = None,
) -> Plan:  # fmt: skip
    """The plan that runs one more process in a running container."""
    plan = Plan()
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    if tty_size:
        plan.add("TTY_SIZE", *tty_size)
    if events:
        plan.add("EVENTS", *events)
    if cgroup.into:
        plan.add("CGROUP_INTO", cgroup.into, doing=f"join the cgroup {cgroup.into}")
    plan.add("ENTER", pid, start_ticks, flags, doing="enter the container")
    for path in cgroup.tasks:
        plan.add("CGROUP_TASKS", path, doing=f"join the cgroup {path}")
    if process["terminal"]:
        plan.add("CONSOLE", doing="allocate a terminal")
    add_process(plan, process, confinement, make_workdir=False)
    return plan


def add_monitor(plan: Plan, monitor: Monitor, terminal: bool, cgroup: CgroupPlan) -> None:
    """What the monitor is told, whoever makes the container."""
    plan.add("RUN_DIR", monitor.run_dir, doing=f"use the run directory {monitor.run_dir}")
    plan.add("EXIT_FILE", monitor.exit_file)
    if monitor.log_path:
        plan.add(
            "LOG", monitor.log_path, monitor.log_max_bytes, monitor.log_files, doing=f"open the log {monitor.log_path}"
        )
    for name, fields, doing in monitor.log_operations:
        plan.add(name, *fields, doing=doing)
    passed = STDIO_PASSED if monitor.passed_stdio else 0
    plan.add("STDIO", (STDIO_TTY if terminal else 0) | (STDIO_OPEN_STDIN if monitor.open_stdin else 0) | passed)
    if monitor.tty_size:
        plan.add("TTY_SIZE", *monitor.tty_size)
    if monitor.on_exit:
        plan.add("ON_EXIT", list(monitor.on_exit))
    if monitor.again:
        plan.add("RESTART", monitor.directory, list(monitor.again))
    if monitor.health:
        plan.add("HEALTH", *monitor.health, doing="prepare the health check")
        if monitor.freezer:
            plan.add("FREEZER", *monitor.freezer)
    if monitor.events:
        path, actor, last = monitor.events
        plan.add("EVENTS", path, actor)
        for line in last:
            plan.add("EVENT_LAST", line)
    if cgroup.oom_file:
        plan.add("OOM_FILE", cgroup.oom_file)
    for directory in cgroup.remove:
        plan.add("CGROUP_REMOVE", directory)
    if cgroup.device_program is not None:
        plan.add("DEVICE_BPF", *cgroup.device_program, doing="limit the devices of the cgroup")
    if cgroup.into:
        plan.add("CGROUP_INTO", cgroup.into, doing=f"join the cgroup {cgroup.into}")


def _join(plan: Plan, namespaces: list[dict[str, str]], joined: Joined) -> None:
    """What is entered before the child is made: namespaces that are there already."""
    for entry in namespaces:
        # A user namespace is entered last, when there is nothing left to do with the host's rights.
        if (path := entry.get("path")) and entry["type"] != "user":
            plan.add("JOIN_NS", CLONE_FLAGS[entry["type"]], path, doing=f"join the {entry['type']} namespace {path}")
    for pid, ticks in joined.donors:
        plan.add("DONOR", pid, ticks, doing="join the namespaces of another container")


def add_steps(plan: Plan, steps: Sequence[MountStep]) -> None:
    """Mounts on the host's side, which end in the root."""
    for step in steps:
        if step.fstype == IDMAP:
            plan.add("IDMAP", step.source, step.target, doing=f"map the ids of the files of {step.source}")
        else:
            doing = step.doing or f"mount {step.fstype} on {step.target}"
            plan.add("MOUNT", step.source, step.target, step.fstype, step.flags, step.data, doing=doing)


def _root(plan: Plan, spec: dict[str, Any], trees: dict[int, int]) -> None:
    """`trees` are mounts that were taken before: their place in the spec, and the tree's number."""
    linux = spec["linux"]
    for place, mount in enumerate(spec["mounts"]):
        add_mount(plan, mount, trees.get(place))
        if is_dev(mount):
            if not linux.get("uidMappings"):
                add_devices(plan, DEFAULT_NODES)
            for contents, path in DEV_LINKS:
                plan.add("SYMLINK_IN", contents, path, doing=f"link {path}")
    if not linux.get("uidMappings"):
        add_devices(plan, linux["devices"])
    add_finish(plan, spec, spec["process"]["terminal"])


def add_finish(plan: Plan, spec: dict[str, Any], terminal: bool) -> None:
    """What is done in the root when all is mounted."""
    linux = spec["linux"]
    if terminal:
        plan.add("CONSOLE", doing="allocate a terminal")
    for key, value in linux["sysctl"].items():
        plan.add("SYSCTL", key, value, doing=f"set sysctl {key} to {value!r}")
    for path in linux["maskedPaths"]:
        plan.add("MASK_IN", path, doing=f"mask {path}")
    for path in linux["readonlyPaths"]:
        plan.add("READONLY_IN", path, doing=f"make {path} read-only")
    if spec["root"]["readonly"]:
        plan.add("ROOT_READONLY", doing="make the root read-only")


def is_dev(mount: dict[str, Any]) -> bool:
    """Whether this is the container's own /dev, which gets the default devices."""
    return bool(mount["destination"] == "/dev" and mount["type"] == "tmpfs")


def add_devices(
    plan: Plan, nodes: Iterable[dict[str, Any]], outside: Callable[[int, int], tuple[int, int]] | None = None
) -> None:
    """Device nodes of the spec; `outside` gives the host's ids of owners."""
    for node in nodes:
        kind = {"b": S_IFBLK, "p": S_IFIFO}.get(node["type"], S_IFCHR)
        owner = (node.get("uid", 0), node.get("gid", 0))
        plan.add(
            "MKNOD_IN",
            node["path"],
            kind | node.get("fileMode", 0o660),
            os.makedev(node.get("major", 0), node.get("minor", 0)),
            *(outside(*owner) if outside else owner),
            doing=f"make the device {node['path']}",
        )


def add_limits(plan: Plan, process: dict[str, Any], how: int) -> None:
    """The process's limits; `how` as RLIMIT's last field."""
    for limit in process["rlimits"]:
        name = limit["type"].removeprefix("RLIMIT_").lower()
        if name not in RLIMITS:
            raise UsageError(f"unknown ulimit {name!r}", hint="known are " + ", ".join(RLIMITS))
        shown = f"ulimit {name} to {limit['soft']}:{limit['hard']}"
        plan.add("RLIMIT", RLIMITS[name], limit["soft"], limit["hard"], how, doing=f"set {shown}")


def add_oom_score(plan: Plan, process: dict[str, Any]) -> None:
    if "oomScoreAdj" in process:
        score = process["oomScoreAdj"]
        plan.add("OOM_SCORE_ADJ", score + 1000, doing=f"set the OOM score to {score}")


def add_process(
    plan: Plan,
    process: dict[str, Any],
    confinement: Confinement,
    *,
    make_workdir: bool,
    before_exec: Callable[[Plan], None] | None = None,
) -> None:
    """All that is done to the process itself, ending in EXEC.

    `before_exec` adds operations that run with the program's own rights, before a filter that would hinder them.
    """
    if confinement.memory_merge:
        # Before a filter that may know no such call.
        plan.add("MEMORY_MERGE", doing="have the kernel merge the container's memory")
    add_limits(plan, process, 0)
    if not any(name == "OOM_SCORE_ADJ" for name, _, _ in plan):
        add_oom_score(plan, process)
    plan.add("UMASK", process["user"].get("umask", 0o022))
    # Still as root: a container's missing working directory is made, as Docker does, but not that of an exec.
    plan.add("CHDIR", process["cwd"], int(make_workdir), doing=f"change to the working directory {process['cwd']}")
    labels = confinement.labels
    if labels.exec_label:
        plan.add("LSM_EXEC", labels.exec_attribute, labels.exec_label, doing=f"set the label {labels.exec_label!r}")
    no_new_privileges = process["noNewPrivileges"]
    if no_new_privileges:
        plan.add("NO_NEW_PRIVS")
    elif confinement.seccomp:
        # Without no_new_privs a filter needs CAP_SYS_ADMIN, so it comes before that is given up (seccomp(2)).
        plan.add("SECCOMP", confinement.seccomp.program, confinement.seccomp.flags, doing="install the seccomp filter")
    user = process["user"]
    groups = b"".join(number.to_bytes(4, "little") for number in user["additionalGids"])
    plan.add("CREDS", user["uid"], user["gid"], groups, doing=f"become user {user['uid']}:{user['gid']}")
    sets = process["capabilities"]
    masks = [
        capabilities.mask_of(sets[name]) for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    ]
    plan.add("CAPS", *masks, doing="set the capabilities")
    if before_exec:
        before_exec(plan)
    if no_new_privileges and confinement.seccomp:
        plan.add("SECCOMP", confinement.seccomp.program, confinement.seccomp.flags, doing="install the seccomp filter")
    if confinement.init:
        plan.add("INIT", doing="start the init process")
    if confinement.passed:
        plan.add("PASS_FDS", confinement.passed, int(confinement.listening), doing="pass descriptors")
    argv = process["args"]
    plan.add("EXEC", argv[0], argv, process["env"], doing=f"run {argv[0]!r}")
