"""What a container uses."""

from __future__ import annotations

from tiffin.model.record import Record


class Stats(Record):
    """What a running container has used until `time_ns` (nanoseconds since the epoch), and what it may use.

    `cpu_usage_ns` is the time of all its threads on all processors since its start; `memory_bytes` leaves out what
    the kernel can drop at once (inactive page cache), as Docker counts; `memory_limit_bytes` is the host's memory
    where there is no lower limit; `network_received_bytes` and `network_sent_bytes` leave the loopback interface out;
    `pids_limit` is None for no limit. Of a container with `memory_merge`, `merged_pages` (in bytes: `merged_bytes`) are
    those of its pages that share their memory with equal ones, each counted where it is mapped, and
    `merge_profit_bytes` is what that saves, the kernel's own records subtracted: below 0 if these take more. Where the
    host does not account for something, it is 0.
    """

    id: str
    name: str
    time_ns: int
    cpu_usage_ns: int = 0
    online_cpus: int = 1
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    network_received_bytes: int = 0
    network_sent_bytes: int = 0
    block_read_bytes: int = 0
    block_written_bytes: int = 0
    pids: int = 0
    pids_limit: int | None = None
    memory_merge: bool = False
    merged_pages: int = 0
    merged_bytes: int = 0
    merge_profit_bytes: int = 0
