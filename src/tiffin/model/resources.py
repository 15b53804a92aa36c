"""What a user can limit. Units are in the names; None means the kernel's default."""

from __future__ import annotations

from tiffin.model.record import Record


class Resources(Record):
    """Limits of one container, independent of the cgroup version.

    `memory_swap_bytes` is memory plus swap, as Docker counts it, -1 for unlimited swap; `cpus` is a number of
    processors (1.5 = 150 ms of every 100 ms); `pids_limit` -1 is unlimited.
    `memory_merge` has the kernel merge equal pages of its processes' memory with those of other such containers; it is
    fixed while the container runs, and a risk (docs/SECURITY.md).
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    memory_merge: bool | None = None
