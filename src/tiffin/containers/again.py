"""Starting a container again as its restart policy says, and keeping it from that."""

from __future__ import annotations

import os
import select

from tiffin.containers import start
from tiffin.errors import HostError, TiffinError
from tiffin.runtime import native, signals
from tiffin.runtime.ops import Plan
from tiffin.state import status
from tiffin.state.locks import ContainerLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.parts import Parts

END_WAIT_S = 10.0


def start_again(parts: Parts, container: Container) -> None:
    """The pause is over: this process, which was the monitor, starts the container if it is still to be started.

    A launch that fails is recorded, and tried again after the next pause.
    """
    with ContainerLock(parts.paths, container.id):
        container = start.still_there(parts, container)
        state = status.read_state(parts.paths, container.id)
        if state.status != "restarting" or state.monitor_pid != os.getpid():
            return
        try:
            start.launch(parts, container, attach=False, tty_size=None, again=True)
        except TiffinError as error:
            _try_later(parts, container, error)


def _try_later(parts: Parts, container: Container, error: TiffinError) -> None:
    """Leave a small process behind that waits; when its policy is no longer to be followed, there is none."""
    plan = Plan()
    run_dir = parts.paths.container_run(container.id)
    plan.add("RUN_DIR", run_dir)
    plan.add("RESTART", parts.paths.container(container.id), list(start.cleanup_argv(parts, container.id)))
    plan.add("FAILED", max(error.exit_code, 125))
    try:
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        with native.Descriptors() as descriptors:
            read, write = descriptors.pipe()
            null = descriptors.own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            actions = [(native.plan_file(descriptors, plan), native.PLAN_FD), (write, native.STATUS_FD)]
            pid = native.spawn(["wait"], [*actions, (null, 0), (null, 1), (null, 2)])
            descriptors.close(write)
            try:
                native.started(read, plan)
            finally:
                os.waitpid(pid, 0)
    except (TiffinError, OSError):
        status.forget_waiting(parts.paths, container.id)


def end_waiting(parts: Parts, container: Container) -> bool:
    """End whoever waits to start it again; its lock is held, so that it is not just being started.

    False when nobody waits (any more). HostError when it cannot be ended.
    """
    state = status.read_state(parts.paths, container.id)
    if state.status != "restarting":
        return False
    try:
        fd = os.pidfd_open(state.monitor_pid)
    except ProcessLookupError:
        fd = -1
    if fd >= 0:
        try:
            ticks = status.start_ticks(state.monitor_pid)
            if ticks and status.send_signal(state.monitor_pid, ticks, signals.SIGKILL):
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                if not poll.poll(END_WAIT_S * 1000):
                    raise HostError(f"the process that waits to start {container.name!r} again cannot be ended")
        finally:
            os.close(fd)
    # Its word of the end may have been cut short: it says that it will wait before it says how the run has ended.
    if status.read_state(parts.paths, container.id).status == "exited" and not status.end_is_recorded(
        parts.paths, container.id
    ):
        status.write_exited(parts.paths, container.id, state)
    status.forget_waiting(parts.paths, container.id)
    return True
