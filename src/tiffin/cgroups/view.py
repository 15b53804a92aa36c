"""What a container sees at /sys/fs/cgroup, as mounts (fstype, source, target, options)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiffin.cgroups.layout import Hierarchy

    Mounts = tuple[tuple[str, str, str, tuple[str, ...]], ...]

PLACE = "/sys/fs/cgroup"
_QUIET = ("nosuid", "nodev", "noexec")


def v1_mounts(hierarchies: Iterable[Hierarchy], *, private: bool, read_only: bool) -> Mounts:
    """A tmpfs with one mount per hierarchy; those mounted together appear under each controller's name as well.

    Only hierarchies that the container has joined are shown: in others its namespace begins at the cgroup of whoever
    started it.
    """
    access = "ro" if read_only else "rw"
    if not private:
        return (("bind", PLACE, PLACE, ("rbind", "rprivate", *_QUIET, access)),)
    found: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("tmpfs", "tmpfs", PLACE, (*_QUIET, "strictatime", "mode=755", "size=64k"))
    ]
    for hierarchy in hierarchies:
        together = ",".join(hierarchy.controllers)
        names = [together, *hierarchy.controllers] if len(hierarchy.controllers) > 1 else [together]
        for name in names:
            options = (*_QUIET, "relatime", access, *hierarchy.controllers)
            found.append(("cgroup", "cgroup", f"{PLACE}/{name.removeprefix('name=')}", options))
    return tuple(found)


def v2_mounts(*, read_only: bool) -> Mounts:
    """The one v2 tree; what is its root depends on the cgroup namespace that mounts it."""
    access = "ro" if read_only else "rw"
    return (("cgroup2", "cgroup2", PLACE, (*_QUIET, "relatime", access)),)
