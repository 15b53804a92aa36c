"""Which cgroup hierarchies this host has mounted, and where (cgroups(7), proc(5) on mountinfo)."""

from __future__ import annotations

from tiffin.errors import HostError
from tiffin.model.record import Record

# What v1 options say besides the controllers' names.
_NOT_CONTROLLERS = frozenset(("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"))


class Hierarchy(Record):
    """One v1 hierarchy: the controllers mounted together (or a single "name=…") and the mount point."""

    controllers: tuple[str, ...]
    mount: str


class Layout(Record):
    """`version` is 2 when no controller is in a v1 hierarchy. `unified` is the v2 mount, also in a hybrid layout."""

    version: int
    hierarchies: tuple[Hierarchy, ...] = ()
    unified: str = ""

    @property
    def hybrid(self) -> bool:
        return self.version == 1 and bool(self.unified)

    def find(self, controller: str) -> Hierarchy | None:
        """The v1 hierarchy of a controller."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        return None


def detect(mountinfo: str = "/proc/self/mountinfo") -> Layout:
    """Read the layout from a mount table. HostError when no cgroup file system is mounted at all.

    Of several mounts of one hierarchy the first counts: later ones are views of it that somebody bound elsewhere.
    """
    try:
        with open(mountinfo, "rb") as file:
            lines = [line for line in file if b" - cgroup" in line]
    except OSError as error:
        raise HostError(f"cannot read the mount table {mountinfo!r}: {error.strerror}") from error
    hierarchies: dict[tuple[str, ...], Hierarchy] = {}
    unified = ""
    for line in lines:
        before, _, after = line.decode("utf-8", "surrogateescape").partition(" - ")
        mount = unescape(before.split()[4])
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            unified = unified or mount
        elif kind == "cgroup":
            controllers = tuple(option for option in options.split(",") if option not in _NOT_CONTROLLERS)
            controllers = tuple(name for name in controllers if not name.startswith("release_agent="))
            hierarchies.setdefault(controllers, Hierarchy(controllers=controllers, mount=mount))
    if not hierarchies and not unified:
        raise HostError("no cgroup file system is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup")
    limiting = any(not name.startswith("name=") for names in hierarchies for name in names)
    return Layout(version=1 if limiting else 2, hierarchies=tuple(hierarchies.values()), unified=unified)


def unescape(path: str) -> str:
    """Undo the octal escapes of space, tab, line end and backslash."""
    if "\\" not in path:
        return path
    parts = path.split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts[1:])
