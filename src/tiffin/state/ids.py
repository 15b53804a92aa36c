"""Ids of the host that the user namespaces of this store's containers have: each of `auto` gets some of its own."""

from __future__ import annotations

from tiffin.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiffin.model.container import Container
    from tiffin.state.db import Database


def free_range(database: Database, size: int, pools: Iterable[tuple[int, int]]) -> int:
    """The first of `size` ids in one of `pools` (first, how many) that no container has. HostError when there are none.

    Call inside the transaction that records the container, or somebody else may take them.
    """
    taken = database.rows("SELECT first, first + size FROM id_ranges ORDER BY first")
    for first, count in pools:
        at, end = first, first + count
        for begins, ends in taken:
            if begins - at >= size:
                break
            at = max(at, ends)
        if at + size <= end:
            return at
    raise HostError(
        f"no {size} subordinate ids are free for a user namespace",
        hint="remove containers, or ask for fewer with --userns auto:size=N",
    )


def record(database: Database, container: Container) -> None:
    """Keep the container's ids from others until its record goes. One that is in another's namespace has none."""
    if container.config.userns.startswith(("container:", "ns:")):
        return
    ranges = {(host, size) for _, host, size in (*container.uid_maps, *container.gid_maps)}
    for first, size in sorted(ranges):
        database.execute(
            "INSERT INTO id_ranges (container_id, first, size) VALUES (?, ?, ?)", (container.id, first, size)
        )
