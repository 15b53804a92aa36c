"""What running containers use: figures of their cgroups, and of their network by /proc/PID/net/dev."""

from __future__ import annotations

import os
import time

from tiffin.containers import pause
from tiffin.errors import ConflictError, HostError
from tiffin.model.stats import Stats
from tiffin.state import containers as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container, ContainerState
    from tiffin.parts import Parts


def read(parts: Parts, container: Container, state: ContainerState) -> Stats:
    """The figures of a container that runs. ConflictError when it has just ended."""
    try:
        used = parts.cgroups.stats(container.id)
        limits = parts.cgroups.read(container.id)
    except HostError as error:
        if pause.read_state(parts, container.id).status == "running":
            raise
        raise ConflictError(f"container {container.name!r} is not running") from error
    host_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    received, sent = _network(state.pid)
    merging = bool(container.config.resources.memory_merge)
    pages, profit_bytes = _merged(parts, container) if merging else (0, 0)
    return Stats(
        id=container.id,
        name=container.name,
        time_ns=time.time_ns(),
        cpu_usage_ns=used.cpu_usage_ns or 0,
        online_cpus=os.cpu_count() or 1,
        memory_bytes=max(0, (used.memory_bytes or 0) - (used.inactive_file_bytes or 0)),
        memory_limit_bytes=min(limits.memory_bytes or host_bytes, host_bytes),
        network_received_bytes=received,
        network_sent_bytes=sent,
        block_read_bytes=used.block_read_bytes or 0,
        block_written_bytes=used.block_written_bytes or 0,
        pids=used.pids if used.pids is not None else len(parts.cgroups.processes(container.id)),
        pids_limit=limits.pids_limit,
        memory_merge=merging,
        merged_pages=pages,
        merged_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        merge_profit_bytes=profit_bytes,
    )


def read_all(parts: Parts) -> list[Stats]:
    """Those of all that run, newest first."""
    found = []
    for container, _ in records.all_containers(parts.database):
        state = pause.read_state(parts, container.id)
        if state.status == "running":
            try:
                found.append(read(parts, container, state))
            except ConflictError:
                continue
    return found


def _merged(parts: Parts, container: Container) -> tuple[int, int]:
    from tiffin.runtime import ksm

    found = ksm.merged(parts.cgroups.processes(container.id))
    return found.pages, found.profit_bytes


def _network(pid: int) -> tuple[int, int]:
    """Bytes received and sent by the interfaces of a process's network, without lo (proc_pid_net(5)).

    Zeros for the host's network, which is not the container's own, as Docker shows it.
    """
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return 0, 0
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.read().splitlines()[2:]
    except OSError:
        return 0, 0
    received = sent = 0
    for line in lines:
        name, _, figures = line.partition(":")
        words = figures.split()
        if name.strip() != "lo" and len(words) >= 9:
            received += int(words[0])
            sent += int(words[8])
    return received, sent
