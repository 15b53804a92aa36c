"""Ids inside a user namespace and the host's (user_namespaces(7)): the facts, and how to read them."""

from __future__ import annotations

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container

    Maps = tuple[tuple[int, int, int], ...]

OVERFLOW = 65534  # how the kernel shows who has no id here


class IdMap(Record):
    """Each entry is (first id inside, first id of the host, how many)."""

    uids: Maps
    gids: Maps

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids; those that are not mapped become nobody's, as the kernel would have it."""
        return _outside(self.uids, uid), _outside(self.gids, gid)

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The container's ids of the host's; those that are not mapped become nobody's."""
        return _inside(self.uids, uid), _inside(self.gids, gid)

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of the container's root."""
        return self.outside(0, 0)


def _outside(maps: Maps, number: int) -> int:
    for inside, host, size in maps:
        if inside <= number < inside + size:
            return host + number - inside
    return OVERFLOW


def _inside(maps: Maps, number: int) -> int:
    for inside, host, size in maps:
        if host <= number < host + size:
            return inside + number - host
    return OVERFLOW


def covers(maps: Maps, number: int) -> bool:
    return any(inside <= number < inside + size for inside, _, size in maps)


def of(container: Container) -> IdMap | None:
    """The container's map; None when its ids are the host's."""
    return IdMap(uids=container.uid_maps, gids=container.gid_maps) if container.uid_maps else None


def text(maps: Maps) -> str:
    """As /proc/PID/uid_map takes it."""
    return "".join(f"{inside} {host} {size}\n" for inside, host, size in maps)
