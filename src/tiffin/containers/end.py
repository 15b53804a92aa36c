"""Ending containers: signals, waiting, removing, and finishing what a killed command left half done."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time

from tiffin.containers import events, pause
from tiffin.errors import ConflictError, HostError, NotFoundError, TiffinError, os_error
from tiffin.failpoints import failpoint
from tiffin.model.container import Container, ContainerState
from tiffin.runtime import signals
from tiffin.state import containers as records
from tiffin.state import restarts, status
from tiffin.state.locks import ContainerLock
from tiffin.storage.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts

KILL_WAIT_S = 10.0
REAP_AFTER_NS = 3_000_000_000


def kill(parts: Parts, container: Container, signal: int | str) -> None:
    """Send a signal to the first process. ConflictError when the container does not run."""
    number = signals.number(signal)
    state = _state(parts, container)
    end_orphan(parts, container, state)
    if number in (signals.SIGKILL, container.stop_signal) and state.status in ("running", "restarting"):
        # As Docker: whom the user ends is not started again.
        _mark_stopped(parts, container)
        if state.status == "restarting":
            if _end_waiting(parts, container):
                return
            state = status.read_state(parts.paths, container.id)
    if state.status == "restarting":
        return  # as Docker: there is nobody to signal now, and nobody is told so
    if state.status != "running" or not _send(state, number):
        raise ConflictError(f"cannot kill container {container.name}: container {container.id[:12]} is not running")
    events.tell(parts, container, "kill", {"signal": str(number)})
    # As Docker: what ends a container ends a paused one; other signals wait until it is unpaused.
    if number in (signals.SIGKILL, container.stop_signal):
        pause.resume(parts, container.id)


def _state(parts: Parts, container: Container) -> ContainerState:
    """The state; that of a container which is just being started again is known when that has gone well, or wrong."""
    state = status.read_state(parts.paths, container.id)
    if state.status == "created" and restarts.count(parts.paths, container.id):
        with ContainerLock(parts.paths, container.id):
            return status.read_state(parts.paths, container.id)
    return state


def _mark_stopped(parts: Parts, container: Container, *, shutdown: bool = False) -> None:
    # One that is removed at its end is never started again, and may be going at this moment.
    if not container.config.auto_remove:
        restarts.mark_stopped(parts.paths, container.id, shutdown=shutdown)


def _send(state: ContainerState, number: int) -> bool:
    """Signal the very process that the state names; False when it is gone."""
    return status.send_signal(state.pid, state.pid_start_ticks, number)


def stop(
    parts: Parts,
    container: Container,
    timeout_s: float | None,
    signal: int | str | None = None,
    *,
    locked: bool = False,
    shutdown: bool = False,
) -> None:
    """Send the stop signal; after `timeout_s` (-1: never; None: the container's own) send SIGKILL. Idle is fine.

    It is not started again by its restart policy, with `shutdown` not before the next boot. `locked`: its lock is held.
    """
    state = status.read_state(parts.paths, container.id) if locked else _state(parts, container)
    if state.status in ("running", "restarting"):
        _mark_stopped(parts, container, shutdown=shutdown)
    if state.status == "restarting" and not _end_waiting(parts, container, locked=locked):
        state = status.read_state(parts.paths, container.id)
    if state.status != "running":
        if state.status == "exited":
            end_orphan(parts, container, state)
        return
    try:
        _stop_running(parts, container, state, timeout_s, signal)
    finally:
        # Its monitor may have decided to start it again a moment before it was told not to.
        if status.read_state(parts.paths, container.id).status == "restarting":
            _end_waiting(parts, container, locked=locked)


def _end_waiting(parts: Parts, container: Container, *, locked: bool = False) -> bool:
    """End whoever waits to start it again. False when it has been started meanwhile."""
    from tiffin.containers import again

    if locked:
        return again.end_waiting(parts, container)
    with ContainerLock(parts.paths, container.id):
        return again.end_waiting(parts, container)


def _stop_running(
    parts: Parts, container: Container, state: ContainerState, timeout_s: float | None, signal: int | str | None
) -> None:
    patience: float = container.stop_timeout_s if timeout_s is None else timeout_s
    _send_told(parts, container, state, signals.number(signal) if signal else container.stop_signal)
    failpoint("stop.signalled")
    pause.resume(parts, container.id)
    if not wait_end(parts, container, None if patience < 0 else patience):
        _send_told(parts, container, state, signals.SIGKILL)
        pause.resume(parts, container.id)
        if not wait_end(parts, container, KILL_WAIT_S):
            raise _survived(container, state)
    events.tell(parts, container, "stop")


def _send_told(parts: Parts, container: Container, state: ContainerState, number: int) -> None:
    """Signal it, and write that into the events first: its end is written by its monitor."""
    events.tell(parts, container, "kill", {"signal": str(number)})
    _send(state, number)


def wait_end(parts: Parts, container: Container, timeout_s: float | None) -> bool:
    """Wait until the monitor is gone and has said its last word; False after `timeout_s`."""
    return wait_state(parts, container, timeout_s) is not None


def wait_state(parts: Parts, container: Container, timeout_s: float | None) -> ContainerState | None:
    """The same; the state at the end, which may be removed a moment later. None after `timeout_s`."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        state = status.read_state(parts.paths, container.id)
        if state.status != "running":
            return state
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # The container's end comes first, the monitor's a moment later; waiting on the monitor covers both, but it
        # stays for a slow reader of the last output, so look at the exit file as soon as the container is gone.
        gone = _wait_pid(state.pid, left)
        if not gone:
            return None
        for _ in range(2000):
            state = status.read_state(parts.paths, container.id)
            if state.status != "running":
                return state
            time.sleep(0.001)
        # A process that is traced has ended for its monitor only when its tracer lets go.
        if deadline is not None and time.monotonic() >= deadline:
            return None


def _survived(container: Container, state: ContainerState) -> HostError:
    """What to say of a container that SIGKILL has not ended: mostly, who traces it."""
    try:
        with open(f"/proc/{state.pid}/status", encoding="utf-8", errors="replace") as file:
            tracer = next((int(line.split()[1]) for line in file if line.startswith("TracerPid:")), 0)
    except OSError:
        tracer = 0
    hint = f"process {tracer} traces it, from a PID namespace that they share: end that one" if tracer else ""
    return HostError(f"container {container.name!r} did not end {KILL_WAIT_S:.0f} s after SIGKILL", hint=hint)


def _wait_pid(pid: int, timeout_s: float | None) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError as error:
        if error.errno == errno.EINVAL:
            return True
        raise
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
    finally:
        os.close(fd)


def remove(parts: Parts, container: Container, *, force: bool, volumes: bool = False) -> None:
    """Remove a container and its writable layer. ConflictError while it runs, unless `force`.

    Its anonymous volumes go with it if `volumes` says so, or if it was to be removed at its end.
    """
    volumes = volumes or container.config.auto_remove
    state = _state(parts, container)
    if state.status == "restarting" and not force:
        raise ConflictError(
            f"cannot remove container {container.name!r}: container is restarting",
            hint="stop the container before removing it, or force the removal",
        )
    if force and state.status in ("running", "restarting"):
        _mark_stopped(parts, container)
        if state.status == "restarting" and not _end_waiting(parts, container):
            state = status.read_state(parts.paths, container.id)
    if state.status == "running":
        if not force:
            if parts.cgroups.frozen(container.id):
                raise ConflictError(
                    f"cannot remove container {container.name!r}: container is paused and must be unpaused first",
                    hint="or force the removal",
                )
            raise ConflictError(
                f"cannot remove container {container.name!r}: container is running",
                hint="stop the container before removing it, or force the removal",
            )
        _send_told(parts, container, state, signals.SIGKILL)
        pause.resume(parts, container.id)
        if not wait_end(parts, container, KILL_WAIT_S):
            raise _survived(container, state)
        if status.read_state(parts.paths, container.id).status == "restarting":
            _end_waiting(parts, container)
        try:
            _remove_ended(parts, container, volumes)
        except NotFoundError:
            return  # whoever was to remove it after its end was faster
    else:
        _remove_ended(parts, container, volumes)
    if not container.config.auto_remove and not records.any_left(parts.database):
        # Making it again costs the next start 0.6 ms, which those who run one after the other are not to pay.
        parts.remove_cgroup_parent()


def _remove_ended(parts: Parts, container: Container, volumes: bool) -> None:
    with ContainerLock(parts.paths, container.id):
        if status.read_state(parts.paths, container.id).status in ("running", "restarting"):
            raise ConflictError(f"container {container.name!r} was started again meanwhile")
        _remove_locked(parts, container, volumes)


def _remove_locked(parts: Parts, container: Container, volumes: bool = False) -> None:
    # The mark comes first, the record goes last: whoever is killed between leaves a mark that the next command sees.
    if not records.mark_removing(parts.database, container.id, volumes=volumes):
        remove_tree(parts.paths.container(container.id))
        raise NotFoundError(f"no such container: {container.name}")
    failpoint("remove.marked")
    if container.config.runtime:
        from tiffin.containers import foreign

        foreign.forget(parts, container)
    parts.cgroups.remove(container.id)
    failpoint("remove.cgroup")
    events.tell_lost(parts, container)
    try:
        parts.driver(container.driver).remove(container.id)
        failpoint("remove.writable")
        remove_tree(parts.paths.container_run(container.id))
        failpoint("remove.run")
        remove_tree(parts.paths.container(container.id))
        failpoint("remove.directory")
    except OSError as error:
        raise os_error(error, f"cannot remove container {container.name!r}") from error
    going: list[str] = []
    if any(mount.anonymous for mount in container.config.mounts) and records.takes_volumes(
        parts.database, container.id
    ):
        from tiffin.volumes import manage, mounts

        going = mounts.anonymous(container)
    records.delete(parts.database, container.id, going)
    failpoint("remove.recorded")
    events.tell(parts, container, "destroy")
    for name in going:
        manage.finish_removal(parts, name)


def end_orphan(parts: Parts, container: Container, state: ContainerState) -> None:
    """End what is left of a container whose monitor was killed.

    The kernel ends its first process with the monitor, unless that has asked not to be or has changed its user since
    it began (PR_SET_PDEATHSIG, prctl(2)). HostError when it cannot be ended.
    """
    if state.status != "exited" or not state.error:
        return
    if status.told(parts.paths, container.id) and not parts.cgroups.exists(container.id):
        return
    with ContainerLock(parts.paths, container.id):
        now = status.read_state(parts.paths, container.id)
        if now.status == "exited" and now.error:
            if container.config.runtime:
                from tiffin.containers import foreign

                foreign.forget(parts, container)
            parts.cgroups.remove(container.id)
            events.tell_lost(parts, container)


def cleanup(parts: Parts, reference: str) -> None:
    """After the end of a container: remove it if it was to be removed, start it again if it was to be.

    Gone already is fine, the whole store too; and so is restarted.
    """
    if not os.path.exists(parts.paths.database):
        return
    try:
        container = records.get(parts.database, reference)
        if container.config.auto_remove:
            remove(parts, container, force=False)
        else:
            from tiffin.containers import again

            again.start_again(parts, container)
    except (NotFoundError, ConflictError):
        return


def finish_removals(parts: Parts) -> None:
    """Finish removals whose command was killed. Those that are under way elsewhere are left to their command."""
    if parts.database.row("SELECT 1 FROM volumes WHERE state != 1") is not None:
        from tiffin.volumes import manage

        manage.finish(parts)
    for container_id in records.being_removed(parts.database):
        _finish(parts, container_id)


def _finish(parts: Parts, container_id: str) -> None:
    try:
        container = records.get(parts.database, container_id)
        os.makedirs(parts.paths.container(container_id), mode=0o711, exist_ok=True)
        fd = os.open(parts.paths.container(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_locked(parts, container)
        finally:
            os.close(fd)
    except (BlockingIOError, NotFoundError):
        return
    except (OSError, TiffinError) as error:
        parts.warn(f"cannot finish the removal of container {container_id[:12]}: {error}")


def reap(parts: Parts, container: Container, state: ContainerState) -> bool:
    """Remove an ended container that was to be removed when nobody else is left to do it; True if it is gone."""
    if not container.config.auto_remove or state.status != "exited" or status.owner_alive(parts.paths, container.id):
        return False
    # Less than nothing is a clock that was set back, which would keep it here until that time has come again.
    if not state.error and 0 <= time.time_ns() - state.finished_ns < REAP_AFTER_NS:
        return False  # its monitor has just started `tiffin cleanup`
    try:
        remove(parts, container, force=False)
    except NotFoundError:
        pass
    except ConflictError:
        return False  # it was started again at this moment
    return True
