"""The config's `mounts` as operations: every option of runtime-spec config.md "Linux mount options"."""

from __future__ import annotations

from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.runtime.security.lsm import selinux_enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.oci.cgroups import Cgroups
    from tiffin.runtime.ops import Plan

MS_REC = 0x4000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
PROPAGATION = {
    f"{prefix}{name}": flag | (MS_REC if prefix else 0)
    for name, flag in (
        ("unbindable", MS_UNBINDABLE),
        ("private", MS_PRIVATE),
        ("slave", MS_SLAVE),
        ("shared", MS_SHARED),
    )
    for prefix in ("", "r")
}
# Option: mount(2) flag, mount_setattr(2) attribute. Options of the file system have no attribute.
FLAGS = {
    "ro": (0x1, 0x1),
    "nosuid": (0x2, 0x2),
    "nodev": (0x4, 0x4),
    "noexec": (0x8, 0x8),
    "sync": (0x10, 0),
    "mand": (0x40, 0),
    "dirsync": (0x80, 0),
    "nosymfollow": (0x100, 0x20_0000),
    "noatime": (0x400, 0x10),
    "nodiratime": (0x800, 0x80),
    "silent": (0x8000, 0),
    "relatime": (0x20_0000, 0),
    "iversion": (0x80_0000, 0),
    "strictatime": (0x100_0000, 0x20),
    "lazytime": (0x200_0000, 0),
}
CLEARED = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "async": "sync",
    "nomand": "mand",
    "symfollow": "nosymfollow",
    "atime": "noatime",
    "diratime": "nodiratime",
    "loud": "silent",
    "norelatime": "relatime",
    "noiversion": "iversion",
    "nostrictatime": "strictatime",
    "nolazytime": "lazytime",
}
IGNORED = frozenset(("bind", "rbind", "defaults", "notmpcopyup"))
# mount(2) keeps its own counsel about who may be mounted over them.
UNLABELLED = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "mqueue"))


def add_mounts(plan: Plan, config: dict[str, Any], bundle: str, cgroups: Cgroups) -> None:
    """All mounts in the config's order."""
    kinds = {entry["type"] for entry in config["linux"]["namespaces"]}
    label = config["linux"].get("mountLabel", "")
    if label and not selinux_enabled():
        raise HostError(f"SELinux does not run on this host, so linux.mountLabel {label!r} cannot be set")
    for index, mount in enumerate(config["mounts"]):
        where = f"config.json: mounts[{index}]"
        if mount.get("type") in ("cgroup", "cgroup2"):
            for entry in cgroup_view(mount, cgroups, private="cgroup" in kinds):
                add_mount(plan, entry, bundle, "", where)
            if cgroups.version == 1 and "ro" in mount.get("options", ()):
                place = target_of(mount)
                plan.add("READONLY_IN", place, doing=f"make {place} read-only")
        else:
            add_mount(plan, mount, bundle, label, where)


def is_bind(mount: dict[str, Any]) -> bool:
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", ()))


def target_of(mount: dict[str, Any]) -> str:
    """The destination; the spec's older versions allow one that is relative to the root."""
    destination: str = mount["destination"]
    return destination if destination.startswith("/") else f"/{destination}"


def add_mount(plan: Plan, mount: dict[str, Any], bundle: str, label: str, where: str) -> None:
    """One mount. A source that is not absolute is in the bundle."""
    target = target_of(mount)
    if mount.get("uidMappings") or mount.get("gidMappings"):
        raise NotSupportedError(f"{where}: id-mapped mounts are not supported")
    options: list[str] = mount.get("options", [])
    flags = attributes = propagation = 0
    data = []
    for option in options:
        recursive = option[1:] if option[:1] == "r" and (option[1:] in FLAGS or option[1:] in CLEARED) else ""
        if option in FLAGS or recursive in FLAGS:
            flag, attribute = FLAGS[option if option in FLAGS else recursive]
            flags |= flag
            attributes |= attribute
        elif option in CLEARED or recursive in CLEARED:
            flag, attribute = FLAGS[CLEARED[option if option in CLEARED else recursive]]
            flags &= ~flag
            attributes &= ~attribute
        elif option in PROPAGATION:
            propagation = PROPAGATION[option]
        elif option in ("idmap", "ridmap"):
            raise NotSupportedError(f"{where}: id-mapped mounts are not supported")
        elif option == "tmpcopyup":
            if mount.get("type") != "tmpfs":
                raise UsageError(f"{where}: tmpcopyup is for tmpfs only")
            data.append(option)
        elif option not in IGNORED:
            data.append(option)
    if is_bind(mount):
        source = mount.get("source", "")
        if not source:
            raise UsageError(f"{where}: a bind mount needs a source")
        # Options of a file system mean nothing for one that is mounted already; mount(2) does not look at them either.
        if not source.startswith("/"):
            source = f"{bundle}/{source}"
        whole = int("bind" not in options or "rbind" in options)
        propagation = propagation or PROPAGATION["rprivate"]
        plan.add("BIND_IN", source, target, whole, attributes, propagation, doing=f"bind {source} on {target}")
        return
    kind = mount.get("type", "")
    if not kind:
        raise UsageError(f"{where}: type is missing")
    if label and kind not in UNLABELLED:
        data.append(f'context="{label}"')
    copy_up = "tmpcopyup" in data
    if copy_up:
        data.remove("tmpcopyup")
    doing = f"mount {kind} on {target}"
    if copy_up:
        plan.add("COPY_UP_IN", target, flags, ",".join(data), doing=doing)
    else:
        plan.add("MOUNT_IN", mount.get("source", ""), target, kind, flags, ",".join(data), doing=doing)
    # Where it is mounted nothing is shared, so that it is private already.
    if propagation & ~(MS_PRIVATE | MS_REC):
        plan.add("PROPAGATION_IN", target, propagation, doing=f"change the propagation of {target}")


def cgroup_view(mount: dict[str, Any], cgroups: Cgroups, *, private: bool) -> list[dict[str, Any]]:
    """What a mount of type cgroup comes to on this host: one tree, or a tmpfs with a mount for each hierarchy.

    Without a cgroup namespace the container sees its own cgroups only, as if they were the root.
    """
    target = target_of(mount)
    options = [option for option in mount.get("options", []) if option in FLAGS or option in CLEARED]
    options = [option for option in options if option not in ("strictatime", "nostrictatime")]
    if cgroups.version == 2:
        if private:
            return [_mount(target, "cgroup2", "cgroup", options)]
        return [_mount(target, "bind", cgroups.directories[0], ["bind", *options])]
    found = [_mount(target, "tmpfs", "tmpfs", ["nosuid", "nodev", "noexec", "mode=755"])]
    shown: set[str] = set()
    for name, path in sorted(cgroups.paths().items()):
        together = [other for other, own in cgroups.paths().items() if own == path]
        names = {",".join(together).removeprefix("name="), name.removeprefix("name=")}
        for place in sorted(names - shown):
            shown.add(place)
            if private:
                found.append(_mount(f"{target}/{place}", "cgroup", "cgroup", [*options, ",".join(together)]))
            else:
                found.append(_mount(f"{target}/{place}", "bind", path, ["bind", *options]))
    return found


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}
