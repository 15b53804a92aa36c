"""What a user can limit. Units are in the names; None means the kernel's default."""

from __future__ import annotations

from tiffin.model.record import Record


class Resources(Record):
    """Limits of one container, independent of the cgroup version; `cgroups/knobs.py` says which file each one is.

    -1 is "no limit" for `memory_swap_bytes` (memory plus swap, as Docker counts it), `memory_high_bytes`,
    `memory_min_bytes`, `pids_limit`, `cpu_quota_us` and all rates. `cpus` is a number of processors (1.5 = 150 ms of
    every 100 ms), which excludes `cpu_quota_us` and `cpu_period_us`.

    `device_…` are pairs of a device's path and its rate or weight; `io_…` hold for each disk that carries the
    container's root, volumes and binds. Rates are bytes (`bps`) or operations (`iops`) per second.
    `hugetlb` are pairs of a page size such as "2MB" and bytes; `rdma` and `misc` pairs of a device or resource and what
    rdma.max or misc.max say of it, such as ("mlx4_0", "hca_handle=2").
    `memory_merge` has the kernel merge equal pages of its processes' memory with those of other such containers; it is
    fixed while the container runs, and a risk (docs/SECURITY.md).
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    memory_min_bytes: int | None = None
    memory_high_bytes: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    oom_group: bool | None = None
    memory_merge: bool | None = None
    cpus: float | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    cpu_burst_us: int | None = None
    cpu_shares: int | None = None
    cpu_idle: bool | None = None
    cpu_rt_runtime_us: int | None = None
    cpu_rt_period_us: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    io_weight: int | None = None
    device_weights: tuple[tuple[str, int], ...] | None = None
    io_read_bps: int | None = None
    io_write_bps: int | None = None
    io_read_iops: int | None = None
    io_write_iops: int | None = None
    device_read_bps: tuple[tuple[str, int], ...] | None = None
    device_write_bps: tuple[tuple[str, int], ...] | None = None
    device_read_iops: tuple[tuple[str, int], ...] | None = None
    device_write_iops: tuple[tuple[str, int], ...] | None = None
    hugetlb: tuple[tuple[str, int], ...] | None = None
    rdma: tuple[tuple[str, str], ...] | None = None
    misc: tuple[tuple[str, str], ...] | None = None


class LimitWrite(Record):
    """One write of a change of limits: the file, what it says now (None where it says nothing), and what it is told."""

    path: str
    before: str | None
    value: str
