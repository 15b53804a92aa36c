"""After the host has come up: what an earlier boot left is cleared away, and what is to run is started."""

from __future__ import annotations

import os
import time

from tiffin.containers import pause, start
from tiffin.errors import TiffinError
from tiffin.model.record import Record
from tiffin.state import containers as records
from tiffin.state import restarts, status
from tiffin.state.locks import ContainerLock
from tiffin.storage.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container, ContainerState
    from tiffin.parts import Parts


class BootResult(Record):
    """What became of one container: it was started, or why not."""

    name: str
    error: TiffinError | None = None


def start_boot(parts: Parts) -> list[BootResult]:
    """Start what restarts always, and what restarts unless the user stopped it, in the order of creation.

    What runs is left alone, and what was never started too, so that this may be called at any time. One that cannot
    be started keeps none of the others from it.
    """
    results = []
    for container, removing in reversed(records.all_containers(parts.database)):
        if removing:
            continue
        try:
            if _bring_back(parts, container):
                results.append(BootResult(name=container.name))
        except TiffinError as error:
            results.append(BootResult(name=container.name, error=error))
    return results


def _bring_back(parts: Parts, container: Container) -> bool:
    with ContainerLock(parts.paths, container.id):
        container = start.still_there(parts, container)
        state = pause.read_state(parts, container.id)
        if state.status in ("running", "restarting"):
            return False
        _clear(parts, container, state)
        if not _wanted(parts, container):
            return False
        start.launch(parts, container, attach=False, tty_size=None)
        return True


def _wanted(parts: Parts, container: Container) -> bool:
    name = container.config.restart.name
    if not os.path.exists(f"{parts.paths.container(container.id)}/exit"):
        return False  # never started
    return name == "always" or (name == "unless-stopped" and not restarts.stopped_by_user(parts.paths, container.id))


def _clear(parts: Parts, container: Container, state: ContainerState) -> None:
    """What does not run needs no run directory and no cgroup; how it ended is recorded if nobody could."""
    if state.status == "exited" and state.error:
        finished_ns = state.finished_ns or _host_started_ns()
        status.write_exited(parts.paths, container.id, state.replace(finished_ns=finished_ns))
    run_dir = parts.paths.container_run(container.id)
    if os.path.isdir(run_dir) and status.wait_for_monitor(parts.paths, container.id):
        remove_tree(run_dir)
    if parts.cgroups.exists(container.id):
        parts.cgroups.remove(container.id)


def _host_started_ns() -> int:
    """The moment of this boot: what ran before it has ended by then."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
