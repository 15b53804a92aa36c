"""A spec's `mounts` as operations: every option of runtime-spec 1.2, config.md, "Linux mount options"."""

from __future__ import annotations

from tiffin.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.runtime.ops import Plan

# mount(2)
MS_REC = 0x4000
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_FLAGS = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "sync": 0x10,
    "mand": 0x40,
    "dirsync": 0x80,
    "nosymfollow": 0x100,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "silent": 0x8000,
    "relatime": 0x20_0000,
    "iversion": 0x80_0000,
    "strictatime": 0x100_0000,
    "lazytime": 0x200_0000,
}
MS_CLEARED = {
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
PROPAGATION = {
    name: flag | rec
    for prefix, rec in (("", 0), ("r", MS_REC))
    for name, flag in (
        (f"{prefix}private", MS_PRIVATE),
        (f"{prefix}slave", MS_SLAVE),
        (f"{prefix}shared", MS_SHARED),
        (f"{prefix}unbindable", MS_UNBINDABLE),
    )
}
# mount_setattr(2); the kinds of atime are values of one field, ATIME_FIELD, whose zero is relatime.
MOUNT_ATTR = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "noatime": 0x10,
    "strictatime": 0x20,
    "nodiratime": 0x80,
    "nosymfollow": 0x20_0000,
}
ATIME_FIELD = 0x70
MAX_TREES = 256  # as the launcher has it
_ATIMES = {"noatime": 0x10, "strictatime": 0x20, "relatime": 0, "atime": 0, "norelatime": 0, "nostrictatime": 0}
# For the mount and all below it: attributes alone, with an "r" before their names.
RECURSIVE = frozenset(
    f"r{name}" for name in (*MS_FLAGS, *MS_CLEARED) if name in _ATIMES or MS_CLEARED.get(name, name) in MOUNT_ATTR
)
OPTIONS = RECURSIVE.union(
    MS_FLAGS, MS_CLEARED, PROPAGATION, ("bind", "rbind", "defaults", "tmpcopyup", "idmap", "ridmap")
)


class Attributes:
    """MOUNT_ATTR_* to set and to clear; the last word about each counts."""

    __slots__ = ("clear", "set")

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0

    def note(self, option: str) -> bool:
        """Take an option over; whether it is one."""
        if option in _ATIMES:
            self.set = self.set & ~ATIME_FIELD | _ATIMES[option]
            self.clear |= ATIME_FIELD
            return True
        bit = MOUNT_ATTR.get(option) or MOUNT_ATTR.get(MS_CLEARED.get(option, ""), 0)
        if not bit:
            return False
        if option in MOUNT_ATTR:
            self.set, self.clear = self.set | bit, self.clear & ~bit
        else:
            self.set, self.clear = self.set & ~bit, self.clear | bit
        return True


class Options:
    """A mount's options, sorted. `data` is what the file system itself takes."""

    __slots__ = ("all", "bind", "copy_up", "data", "flags", "maps", "propagation", "recursive", "top")

    def __init__(self, options: list[str], target: str) -> None:
        self.flags = 0
        self.top = Attributes()
        self.all = Attributes()
        self.propagation = 0
        self.data: list[str] = []
        self.copy_up = False
        self.maps = ""
        self.recursive = "rbind" in options
        self.bind = self.recursive or "bind" in options
        for option in options:
            self._note(option, target)
        if self.bind and self.data:
            raise UsageError(f"unknown bind mount option {self.data[0]!r} for {target}")
        if self.maps and not self.bind:
            raise UsageError(f"the mount option {self.maps!r} for {target} is for bind mounts")

    def _note(self, option: str, target: str) -> None:
        if option in PROPAGATION:
            self.propagation = PROPAGATION[option]
        elif option in MS_FLAGS:
            self.flags |= MS_FLAGS[option]
            self.top.note(option)
        elif option in MS_CLEARED:
            self.flags &= ~MS_FLAGS[MS_CLEARED[option]]
            self.top.note(option)
        elif option in RECURSIVE:
            plain = option[1:]
            self.all.note(plain)
            # A new mount has nothing below it.
            self.flags |= MS_FLAGS.get(plain, 0)
            self.flags &= ~MS_FLAGS.get(MS_CLEARED.get(plain, ""), 0)
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option == "remount":
            raise UsageError(f"the mount option 'remount' for {target} is for mounts that are there already")
        elif option in ("idmap", "ridmap"):
            self.maps = option
        elif option not in ("bind", "rbind", "defaults"):
            self.data.append(option)


def new_tree(trees: dict[int, int], place: int) -> int:
    """The number of one more tree, for the mount at this place of the spec. HostError when there are too many."""
    if len(trees) == MAX_TREES:
        raise HostError(f"more than {MAX_TREES} mounts that have to be prepared")
    trees[place] = len(trees)
    return trees[place]


def add_borrowed(plan: Plan, spec: dict[str, Any]) -> dict[int, int]:
    """Take what is mounted in other containers: before CLONE. Returns the trees' numbers by place in `mounts`."""
    trees: dict[int, int] = {}
    for place, mount in enumerate(spec["mounts"]):
        if "joined" in mount:
            path, magic = mount["joined"]
            doing = f"share the other container's {path}"
            plan.add("TREE_FROM", new_tree(trees, place), mount["source"], path, magic, doing=doing)
    return trees


def add_early_trees(plan: Plan, spec: dict[str, Any], trees: dict[int, int]) -> None:
    """Take the trees that stay shared with the host, while they are: before PROPAGATION.

    Only a spec whose root is shared asks for any: with another one's, runtime-spec's bind mounts are copies of what
    was detached from the host already.
    """
    if spec["linux"].get("rootfsPropagation") in ("shared", "rshared"):
        for place, mount in enumerate(spec["mounts"]):
            if "shared" in mount["options"] or "rshared" in mount["options"]:
                _take(plan, mount, new_tree(trees, place), Options(mount["options"], mount["destination"]))


def add_trees(plan: Plan, spec: dict[str, Any], trees: dict[int, int], *, mapped: bool = False) -> None:
    """Take every other tree that BIND_IN cannot bind, after the host's mounts were left.

    In a user namespace (`mapped`) that is every bind: whoever attaches it has no way to the host's files. A mount's own
    `maps`, of users and groups as /proc/PID/uid_map has them, need no user namespace.
    """
    for place, mount in enumerate(spec["mounts"]):
        add_tree(plan, mount, place, trees, mapped=mapped)


def add_tree(plan: Plan, mount: dict[str, Any], place: int, trees: dict[int, int], *, mapped: bool = False) -> None:
    """The same for one mount, whose place in the spec this is."""
    if place in trees:
        return
    options = Options(mount["options"], mount["destination"])
    maps = mount.get("maps")
    if options.maps and not (mapped or maps):
        raise UsageError(
            f"the mount option {options.maps!r} for {mount['destination']} needs uidMappings and gidMappings"
        )
    if options.bind and (mapped or maps or mount.get("subpath") or not _is_plain(options)):
        _take(plan, mount, new_tree(trees, place), options)


def _take(plan: Plan, mount: dict[str, Any], tree: int, options: Options) -> None:
    source, below = mount["source"], mount.get("subpath", "")
    doing = f"bind {source} on {mount['destination']}"
    if below:
        doing = f"bind {below!r} of {source} on {mount['destination']}"
    if options.maps:
        doing += " with mapped ids"
    if mount.get("maps"):
        plan.add(
            "TREE_MAPPED",
            tree,
            source,
            int(options.recursive),
            int(options.maps == "ridmap"),
            *mount["maps"],
            doing=doing,
        )
    else:
        plan.add("TREE", tree, source, below, int(options.recursive), int(bool(options.maps)), doing=doing)


def _is_plain(options: Options) -> bool:
    """Whether BIND_IN does it: one set of attributes, for the one mount or for all of them, and none to clear."""
    top, below = options.top, options.all
    if below.clear or (options.recursive and top.set & ~below.set):
        return False
    # Writable is not made of what is read-only on the host, as other runtimes have it.
    cleared = top.clear & ~MOUNT_ATTR["ro"]
    return not cleared or (cleared == ATIME_FIELD and bool(top.set & ATIME_FIELD))


def add_mount(plan: Plan, mount: dict[str, Any], tree: int | None = None) -> None:
    """One entry of the spec's `mounts` as an operation; `tree` is the number that it was taken as."""
    target, kind, source = mount["destination"], mount["type"], mount["source"]
    options = Options(mount["options"], target)
    propagation = options.propagation or PROPAGATION["rprivate"]
    top, below = options.top, options.all
    if tree is not None:
        # As other runtimes: "rw" says nothing of what is read-only on the host.
        cleared = top.clear & ~MOUNT_ATTR["ro"]
        plan.add(
            "ATTACH", tree, target, top.set, cleared, below.set, below.clear, propagation,
            doing=f"bind {source} on {target}",
        )  # fmt: skip
        return
    if options.bind:
        attributes = top.set | below.set
        doing = f"bind {source} on {target}"
        plan.add("BIND_IN", source, target, int(options.recursive), attributes, propagation, doing=doing)
        return
    data = ",".join(options.data)
    if options.copy_up and kind == "tmpfs":
        plan.add("COPY_UP_IN", target, options.flags, data, doing=f"mount a copying tmpfs on {target}")
    else:
        plan.add("MOUNT_IN", source, target, kind, options.flags, data, doing=f"mount {kind} on {target}")
    if options.propagation:
        plan.add("PROPAGATION_IN", target, options.propagation, doing=f"change the propagation of {target}")
