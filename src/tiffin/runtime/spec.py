"""The OCI runtime spec of a container: a pure function of its record and of what the host can do.

The spec is the pivot for execution drivers: `compile.py` turns it into a plan for our own launcher, any OCI runtime
takes it as `config.json` (opencontainers/runtime-spec, config.md and config-linux.md, version 1.2).
"""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import Container, ContainerConfig, Mount
from tiffin.model.record import Record
from tiffin.runtime import systemd
from tiffin.runtime.security import capabilities, masks
from tiffin.runtime.security.lsm import Labels
from tiffin.runtime.users import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cgroups.devices import DeviceNode
    from tiffin.model.container import ContainerConfig
    from tiffin.runtime.security.options import SecurityOptions

SPEC_VERSION = "1.2.0"
# What stands for a namespace of one's own, where it is not "private" alone.
OWN = {"ipc": ("private", "shareable", "none"), "network": ("none",)}
NO_PATHS: dict[str, str] = {}
ANY_FILE_SYSTEM = 0


class Joined(Record):
    """Namespaces that are there already: `paths` by the spec's kind, instead of new ones.

    `donors` are (pid, start ticks) of the processes whose they are, which must live when the paths have been opened;
    `shm` is the mount namespace with the /dev/shm that goes with a shared IPC namespace.
    """

    paths: tuple[tuple[str, str], ...] = ()
    donors: tuple[tuple[int, int], ...] = ()
    shm: str = ""


NOBODY = Joined()


class HostFacts(Record):
    """What the spec needs to know of the host; found once per start."""

    bounding: int
    cgroup_mounts: tuple[tuple[str, str, str, tuple[str, ...]], ...] = ()
    labels: Labels = Labels()
    spared: bool = False
    """The kernel spares this process when memory runs out; what it starts would inherit that."""
    volumes: str = ""  # the directory with the volumes
    joined: Joined = NOBODY


class Files(Record):
    """Generated files of a container on the host, bound over their names inside."""

    hostname: str
    hosts: str
    resolv_conf: str


def build_spec(
    container: Container,
    *,
    identity: Identity,
    security: SecurityOptions,
    host: HostFacts,
    files: Files,
    rootfs: str,
    nodes: tuple[DeviceNode, ...] = (),
) -> dict[str, Any]:
    """The spec as a dict, ready for `json.dumps`."""
    config = container.config
    mask, _ = capabilities.resolve(config.cap_add, config.cap_drop, config.privileged, host.bounding)
    names = list(capabilities.names_of(mask))
    # As Docker: a process that does not start as root holds its capabilities only in the bounding set.
    held = names if identity.uid == 0 else []
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
        "args": list(container.argv),
        "env": process_env(container.env, config.tty, identity.home, container.hostname),
        "cwd": container.workdir or "/",
        "capabilities": {"bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": []},
        "noNewPrivileges": security.no_new_privileges,
        "rlimits": [
            {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft, "hard": limit.hard} for limit in config.ulimits
        ],
    }
    label_process(process, host.labels)
    if host.spared or config.oom_score_adj is not None:
        process["oomScoreAdj"] = config.oom_score_adj or 0
    spec: dict[str, Any] = {
        "ociVersion": SPEC_VERSION,
        "process": process,
        "root": {"path": rootfs, "readonly": config.read_only},
        "hostname": container.hostname,
        "mounts": mounts(container, host, files),
        "linux": {
            "namespaces": namespaces(container, dict(host.joined.paths)),
            "devices": [
                {
                    "path": node.path,
                    "type": node.type,
                    "major": os.major(node.rdev),
                    "minor": os.minor(node.rdev),
                    "fileMode": node.mode,
                    "uid": node.uid,
                    "gid": node.gid,
                }
                for node in nodes
            ],
            "cgroupsPath": f"/tiffin/{container.id}",
            "sysctl": {**_network_sysctls(config), **dict(config.sysctls)},
            "rootfsPropagation": "rslave",
            "maskedPaths": list(masks.masked_paths(security, config.privileged)),
            # With several hierarchies their mount points lie on a tmpfs, which is nobody's to write to either.
            "readonlyPaths": [
                *masks.readonly_paths(security, config.privileged),
                *([] if config.privileged or config.systemd == systemd.ALWAYS else ["/sys/fs/cgroup"]),
            ],
        },
        "annotations": {**dict(container.labels), **dict(config.annotations)},
    }
    if config.systemd == systemd.ALWAYS:
        process["env"] = systemd.environment(process["env"], container.id)
    if container.uid_maps:
        for name, maps in (("uidMappings", container.uid_maps), ("gidMappings", container.gid_maps)):
            spec["linux"][name] = [
                {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in maps
            ]
    if config.domainname:
        spec["domainname"] = config.domainname
    if host.labels.mount_label:
        spec["linux"]["mountLabel"] = host.labels.mount_label
    return spec


def label_process(process: dict[str, Any], labels: Labels) -> None:
    """Name the AppArmor profile or SELinux label in the spec, whichever this host has."""
    if labels.exec_label.startswith("exec "):
        process["apparmorProfile"] = labels.exec_label.removeprefix("exec ")
    elif labels.exec_label:
        process["selinuxLabel"] = labels.exec_label


def process_env(env: tuple[str, ...], tty: bool, home: str, hostname: str) -> list[str]:
    """The environment of a process: PATH, HOSTNAME, TERM and HOME are given where image and user gave none."""
    given = {item.partition("=")[0] for item in env}
    defaults = [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOSTNAME", hostname)]
    if tty:
        defaults.append(("TERM", "xterm"))
    defaults.append(("HOME", home))
    first = [f"{name}={value}" for name, value in defaults if name not in given]
    return first + [item for item in env if "=" in item]


def modes(config: ContainerConfig) -> tuple[tuple[str, str], ...]:
    """(kind, mode) of every namespace that can be chosen: private, host, container:ID, ns:PATH, and some words."""
    return (
        ("pid", config.pid),
        ("ipc", config.ipc),
        ("uts", config.uts),
        ("cgroup", config.cgroupns),
        ("network", config.network),
    )


def namespaces(container: Container, paths: dict[str, str] = NO_PATHS) -> list[dict[str, str]]:
    """The namespaces a container does not share with the host, those in `paths` with their path.

    UsageError for a mode that there is none of, NotSupportedError for a network.
    """
    found = [{"type": "mount"}]
    if container.uid_maps:
        found.append({"type": "user", **({"path": paths["user"]} if "user" in paths else {})})
    for kind, mode in modes(container.config):
        private = mode in OWN.get(kind, ("private",))
        if kind in paths:
            found.append({"type": kind, "path": paths[kind]})
        elif private or mode.startswith(("container:", "ns:")):
            found.append({"type": kind})
        elif mode != "host" and kind == "network":
            raise NotSupportedError(
                f"network {mode!r} is not supported yet: Tiffin has the networks none and host so far"
            )
        elif mode != "host":
            raise UsageError(f"invalid {kind} namespace mode {mode!r}", hint="private, host, container:NAME or ns:PATH")
    return found


def mounts(container: Container, host: HostFacts, files: Files) -> list[dict[str, Any]]:
    """All mounts inside, in order: the kernel's file systems, generated files, then the user's by depth of target."""
    config = container.config
    system = "rw" if config.privileged else "ro"
    nothing = ["nosuid", "noexec", "nodev"]
    label = [f'context="{host.labels.mount_label}"'] if host.labels.mount_label else []
    found: list[dict[str, Any]] = [
        _mount("/proc", "proc", "proc", nothing),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k", *label]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("/sys", "sysfs", "sysfs", [*nothing, system]),
    ]
    mapped = bool(container.uid_maps)
    # Mounted anew, both would be the host's, which a root that is not the host's cannot mount.
    shown = ["rbind", "rslave", *nothing]
    for fstype, source, target, options in host.cgroup_mounts:
        if mapped and config.cgroupns == "host" and fstype == "cgroup2":
            found.append(_mount(target, "bind", target, [*shown, system]))
            continue
        access = [system] if fstype.startswith("cgroup") and config.systemd != systemd.ALWAYS else []
        found.append(_mount(target, fstype, source, [*options, *access]))
    if mapped and config.ipc == "host":
        if os.path.isdir("/dev/mqueue"):
            found.append(_mount("/dev/mqueue", "bind", "/dev/mqueue", shown))
    else:
        found.append(_mount("/dev/mqueue", "mqueue", "mqueue", nothing))
    if config.ipc == "none":
        pass
    elif host.joined.shm:
        found.append(
            {**_mount("/dev/shm", "bind", host.joined.shm, ["bind", *nothing]), "joined": ("/dev/shm", ANY_FILE_SYSTEM)}
        )
    elif config.ipc == "host":
        found.append(_mount("/dev/shm", "bind", "/dev/shm", ["rbind", *nothing]))
    else:
        shm = ["mode=1777", f"size={config.shm_size_bytes}", *label]
        found.append(_mount("/dev/shm", "tmpfs", "shm", [*nothing, *shm]))
    if config.systemd == systemd.ALWAYS:
        found += [_mount(target, "tmpfs", "tmpfs", [*options, *label]) for target, options in systemd.MOUNTS]
    users = {mount.target for mount in config.mounts}
    for source, target in (
        (files.resolv_conf, "/etc/resolv.conf"),
        (files.hostname, "/etc/hostname"),
        (files.hosts, "/etc/hosts"),
    ):
        if target not in users:
            more = [*(["ro"] if config.read_only else []), *(["idmap"] if mapped else [])]
            found.append(_mount(target, "bind", source, ["bind", "rprivate", *more]))
    found = [entry for entry in found if entry["destination"] not in users or entry["destination"] == "/proc"]
    for mount in sorted(config.mounts, key=lambda mount: mount.target.rstrip("/").count("/")):
        entry = user_mount(mount, host.volumes)
        if mapped and (mount.idmap or mount.type == "volume"):
            entry["options"].append("idmap")
        found.append(entry)
    return found


def user_mount(mount: Mount, volumes: str = "") -> dict[str, Any]:
    """The spec of one mount that the user asked for; `volumes` is the directory with the volumes."""
    if mount.type in ("volume", "image"):
        source = f"{volumes}/{mount.source}/_data" if mount.type == "volume" else mount.source
        return _mount(mount.target, "bind", source, ["rbind", "rprivate", *_access(mount)])
    if mount.type == "tmpfs":
        options = ["nosuid", "nodev", "noexec", *mount.tmpfs_options]
        for negated in ("suid", "dev", "exec"):
            if negated in mount.tmpfs_options:
                options.remove(f"no{negated}")
        if mount.readonly:
            options.append("ro")
        return _mount(mount.target, "tmpfs", "tmpfs", options)
    options = ["rbind" if mount.recursive else "bind", mount.propagation, *_access(mount)]
    return _mount(mount.target, "bind", mount.source, options)


def _access(mount: Mount) -> list[str]:
    """As Docker since 25: what is mounted below is read-only, too, unless the user said otherwise."""
    if not mount.readonly:
        return ["rw"]
    return ["ro", "rro"] if mount.recursive and mount.readonly_recursive != "disabled" else ["ro"]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _network_sysctls(config: ContainerConfig) -> dict[str, str]:
    """As in Docker every user inside may ping and listen on low ports: the network is the container's own.

    Not the host's, nor where a user namespace has not all the groups.
    """
    if config.network != "none" or config.userns not in ("", "host"):
        return {}
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
