"""The config's `mounts` as the list that `runtime/mount_options.py` makes operations of."""

from __future__ import annotations

from tiffin.errors import HostError, UsageError
from tiffin.runtime.mount_options import MS_CLEARED, MS_FLAGS, OPTIONS, add_mount, add_tree
from tiffin.runtime.security.lsm import selinux_enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.oci.cgroups import Cgroups
    from tiffin.runtime.ops import Plan

# mount(2) keeps its own counsel about who may be mounted over them.
UNLABELLED = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "mqueue"))


def complete_mounts(config: dict[str, Any], bundle: str, cgroups: Cgroups) -> list[dict[str, Any]]:
    """All mounts in the config's order, with defaults filled in; what is to be read-only afterwards is `closed`.

    UsageError for what makes no sense, HostError for what this host cannot do.
    """
    kinds = {entry["type"] for entry in config["linux"]["namespaces"]}
    label = config["linux"].get("mountLabel", "")
    if label and not selinux_enabled():
        raise HostError(f"SELinux does not run on this host, so linux.mountLabel {label!r} cannot be set")
    found: list[dict[str, Any]] = []
    for index, mount in enumerate(config["mounts"]):
        where = f"config.json: mounts[{index}]"
        if mount.get("type") in ("cgroup", "cgroup2"):
            found += cgroup_view(mount, cgroups, private="cgroup" in kinds)
            if cgroups.version == 1 and "ro" in mount.get("options", ()):
                found[-1]["closed"] = target_of(mount)
        elif is_bind(mount):
            found.append(_bind(mount, config["linux"], bundle, where))
        else:
            found.append(_new(mount, label, where))
    return found


def add_mounts(plan: Plan, mounts: list[dict[str, Any]]) -> None:
    """What `complete_mounts` found. Each is taken when its turn comes: /proc/self/mountinfo lists them by their age."""
    trees: dict[int, int] = {}
    for place, mount in enumerate(mounts):
        add_tree(plan, mount, place, trees)
        add_mount(plan, mount, trees.get(place))
        if closed := mount.get("closed"):
            plan.add("READONLY_IN", closed, doing=f"make {closed} read-only")


def is_bind(mount: dict[str, Any]) -> bool:
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", ()))


def target_of(mount: dict[str, Any]) -> str:
    """The destination; the spec's older versions allow one that is relative to the root."""
    destination: str = mount["destination"]
    return destination if destination.startswith("/") else f"/{destination}"


def _bind(mount: dict[str, Any], linux: dict[str, Any], bundle: str, where: str) -> dict[str, Any]:
    """A source that is not absolute is in the bundle."""
    source = mount.get("source", "")
    if not source:
        raise UsageError(f"{where}: a bind mount needs a source")
    # Options of a file system mean nothing for one that is mounted already; mount(2) does not look at them either.
    options = [option for option in mount.get("options", ()) if option in OPTIONS]
    if "tmpcopyup" in options:
        raise UsageError(f"{where}: tmpcopyup is for tmpfs only")
    if {"bind", "rbind"}.isdisjoint(options):
        options.append("rbind")
    found = _mount(target_of(mount), "bind", source if source.startswith("/") else f"{bundle}/{source}", options)
    maps = (mount.get("uidMappings"), mount.get("gidMappings"))
    if any(maps) or not {"idmap", "ridmap"}.isdisjoint(options):
        if not any(maps):
            maps = (linux["uidMappings"], linux["gidMappings"])
        if not all(maps):
            raise UsageError(f"{where}: an id-mapped mount needs uidMappings and gidMappings, here or in linux")
        found["maps"] = tuple(map_text(entries or []) for entries in maps)
    return found


def _new(mount: dict[str, Any], label: str, where: str) -> dict[str, Any]:
    kind = mount.get("type", "")
    options = [option for option in mount.get("options", ()) if option != "notmpcopyup"]
    if not kind:
        raise UsageError(f"{where}: type is missing")
    if "tmpcopyup" in options and kind != "tmpfs":
        raise UsageError(f"{where}: tmpcopyup is for tmpfs only")
    if mount.get("uidMappings") or mount.get("gidMappings"):
        raise UsageError(f"{where}: uidMappings and gidMappings are for bind mounts")
    if label and kind not in UNLABELLED:
        options.append(f'context="{label}"')
    return _mount(target_of(mount), kind, mount.get("source", ""), options)


def map_text(mappings: list[dict[str, int]]) -> str:
    """As /proc/PID/uid_map takes it."""
    return "".join(f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in mappings)


def cgroup_view(mount: dict[str, Any], cgroups: Cgroups, *, private: bool) -> list[dict[str, Any]]:
    """What a mount of type cgroup comes to on this host: one tree, or a tmpfs with a mount for each hierarchy.

    Without a cgroup namespace the container sees its own cgroups only, as if they were the root.
    """
    target = target_of(mount)
    options = [option for option in mount.get("options", []) if option in MS_FLAGS or option in MS_CLEARED]
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
