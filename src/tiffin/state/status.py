"""How a container stands, told by files that have one writer each.

`<container>/exit` (kept):      "starting PID TICKS BOOT STARTED_NS" by the engine when it launches,
                                the same and "told" by whoever finds that it ended without a word,
                                "exited CODE SIGNAL OOM STARTED_NS FINISHED_NS" by the monitor at the end,
                                "failed CODE MESSAGE" by the engine when the launch failed.
`<run>/status` (while running): "running MONITOR TICKS PID TICKS STARTED_NS BOOT" by the monitor, and when it waits to
                                start the container again "restarting PID TICKS BOOT NEXT_NS CODE OOM STARTED_NS
                                FINISHED_NS COUNT" by whoever waits.
`<container>/restart`, `stopped`, `restarts`: see `state/restarts.py`.

A status whose monitor is dead, or from another boot, is a container that ended without a word: exit code 137 when
the monitor was killed (the kernel kills the container with it), 255 when the host went down, as Docker says it.
"""

from __future__ import annotations

import os
import time

from tiffin.errors import HostError, StoreError, os_error
from tiffin.model.container import ContainerState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths

KILLED_CODE = 137
LOST_CODE = 255

_boot_id = ""


def boot_id() -> str:
    """The kernel's random ID of this boot (random(4))."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id") as file:
            _boot_id = file.read().strip()
    return _boot_id


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); 0 when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, 1024)
    except OSError:
        return 0
    finally:
        os.close(fd)
    fields = text.rpartition(b")")[2].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, ticks: int) -> bool:
    """Whether that very process is there, and not a later one with its number."""
    return pid > 0 and start_ticks(pid) == ticks


def has_namespaces(pid: int) -> bool:
    """Whether the namespaces of a process can still be joined: one that ends lets go of them before it is a zombie."""
    try:
        os.readlink(f"/proc/{pid}/ns/ipc")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True  # not ours to see; whoever joins will say so
    return True


def send_signal(pid: int, ticks: int, number: int) -> bool:
    """Signal that very process, and not a later one with its number; False when it is gone. HostError, if not root."""
    from signal import pidfd_send_signal

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_ticks(pid) != ticks:
            return False
        pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise HostError(f"cannot signal process {pid}: {error.strerror}", hint="run as root") from error
    finally:
        os.close(fd)
    return True


def write_starting(paths: Paths, container_id: str) -> None:
    """Say that this process is launching the container."""
    me = os.getpid()
    path = f"{paths.container(container_id)}/exit"
    text = f"starting {me} {start_ticks(me)} {boot_id()} {time.time_ns()}\n"
    try:
        # The first time a reader may see an empty file, which means "created" as no file does.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except FileExistsError:
        _replace(path, text)
    except OSError as error:
        raise os_error(error, "cannot write the container's state") from error


def write_failed(paths: Paths, container_id: str, code: int, message: str) -> None:
    """Say that the launch failed."""
    _replace(f"{paths.container(container_id)}/exit", f"failed {code} {message}\n")


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise os_error(error, "cannot write the container's state") from error


def _read(path: str) -> list[str]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return os.read(fd, 4096).decode("utf-8", "surrogateescape").split()
    finally:
        os.close(fd)


def read_state(paths: Paths, container_id: str, *, removing: bool = False) -> ContainerState:
    """The state as the files tell it now."""
    exit_path = f"{paths.container(container_id)}/exit"
    ended = _read(exit_path)
    if ended and ended[0] in ("exited", "failed"):
        waiting = _read(f"{paths.container_run(container_id)}/status")
        if len(waiting) == 10 and waiting[0] == "restarting":
            return _restarting(waiting, ended, removing)
    if ended and ended[0] == "exited" and len(ended) == 6:
        return ContainerState(
            status="removing" if removing else "exited",
            exit_code=int(ended[1]),
            oom_killed=ended[3] == "1",
            started_ns=int(ended[4]),
            finished_ns=int(ended[5]),
        )
    running = _read(f"{paths.container_run(container_id)}/status")
    if len(running) == 10 and running[0] == "restarting":
        # It has not yet said in the other file that the run has ended, or is starting the next one.
        starter = ended[1:3] if ended and ended[0] == "starting" else ["0", "0"]
        if alive(int(running[1]), int(running[2])) or not alive(int(starter[0]), int(starter[1])):
            return _restarting(running, ended, removing)
    if len(running) == 7 and running[6] == boot_id() and alive(int(running[1]), int(running[2])):
        return ContainerState(
            status="removing" if removing else "running",
            monitor_pid=int(running[1]),
            pid=int(running[3]),
            pid_start_ticks=int(running[4]),
            started_ns=int(running[5]),
        )
    if ended and ended[0] == "failed":
        return ContainerState(status="created", exit_code=int(ended[1]), error=" ".join(ended[2:]))
    if ended and ended[0] == "starting":
        again = _read(exit_path)  # the monitor may have written its last word between our two looks
        if again != ended:
            return read_state(paths, container_id, removing=removing)
        return _unsaid(ended, running, removing)
    return ContainerState(status="removing" if removing else "created")


def _restarting(waiting: list[str], ended: list[str], removing: bool) -> ContainerState:
    """What whoever waits to start it again has said; when that one is gone, the container has just ended."""
    _, pid, ticks, boot, _, code, oom, started, finished, count = waiting
    error = " ".join(ended[2:]) if ended and ended[0] == "failed" else ""
    state = ContainerState(
        status="removing" if removing else "exited",
        exit_code=int(code),
        oom_killed=oom == "1",
        error=error,
        started_ns=int(started),
        finished_ns=int(finished),
        restart_count=int(count),
    )
    if boot != boot_id():
        return state.replace(error="the host went down before it was started again")
    if not alive(int(pid), int(ticks)):
        return state.replace(error="its monitor was killed while it waited to start the container again")
    return state if removing else state.replace(status="restarting", monitor_pid=int(pid))


def forget_waiting(paths: Paths, container_id: str) -> None:
    """Whoever waited to start it again is gone, or about to do it."""
    try:
        os.unlink(f"{paths.container_run(container_id)}/status")
    except FileNotFoundError:
        pass


def end_is_recorded(paths: Paths, container_id: str) -> bool:
    """Whether the last run has an end in the container's own file."""
    return _read(f"{paths.container(container_id)}/exit")[:1] in (["exited"], ["failed"])


def write_exited(paths: Paths, container_id: str, state: ContainerState) -> None:
    """Record an end that nobody has recorded; the container's lock is held."""
    oom = int(state.oom_killed)
    text = f"exited {state.exit_code} 0 {oom} {state.started_ns} {state.finished_ns}\n"
    _replace(f"{paths.container(container_id)}/exit", text)


def wait_for_monitor(paths: Paths, container_id: str, timeout_s: float = 5.0) -> bool:
    """Wait until the monitor of the last run has taken its files away; False when it has not after `timeout_s`.

    It does so a moment after its last word, and what a new monitor has written under the same names by then would go
    with them. `status` is the last one.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        words = _read(f"{paths.container_run(container_id)}/status")
        if len(words) != 7 or words[6] != boot_id() or not alive(int(words[1]), int(words[2])):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)


def _unsaid(starting: list[str], running: list[str], removing: bool) -> ContainerState:
    _, pid, ticks, boot, started = starting[:5]
    if boot == boot_id() and not running and alive(int(pid), int(ticks)):
        return ContainerState(status="removing" if removing else "created")  # being launched at this moment
    if boot == boot_id():
        code, error = KILLED_CODE, "its monitor was killed, and the kernel ended the container with it"
    else:
        code, error = LOST_CODE, "the host went down while it ran"
    return ContainerState(
        status="removing" if removing else "exited",
        exit_code=code,
        error=error,
        started_ns=int(running[5]) if len(running) == 7 else int(started),
    )


def told(paths: Paths, container_id: str) -> bool:
    """Whether an event tells of its end without a word."""
    return _read(f"{paths.container(container_id)}/exit")[-1:] == ["told"]


def claim_telling(paths: Paths, container_id: str) -> bool:
    """Whether the caller is the first to find that a container ended without a word, and so tells of it.

    Call with the container's lock held. "starting …" gets the word "told" at its end.
    """
    path = f"{paths.container(container_id)}/exit"
    words = _read(path)
    if not words or words[0] != "starting" or words[-1] == "told":
        return False
    try:
        _replace(path, " ".join([*words, "told"]) + "\n")
    except StoreError:
        pass  # told twice rather than not at all
    return True


def write_owner(paths: Paths, container_id: str) -> None:
    """Say that this process will remove the container after its end."""
    me = os.getpid()
    _replace(f"{paths.container_run(container_id)}/owner", f"{me} {start_ticks(me)}\n")


def owner_alive(paths: Paths, container_id: str) -> bool:
    """Whether the process that promised to remove the container is still there."""
    words = _read(f"{paths.container_run(container_id)}/owner")
    return len(words) == 2 and alive(int(words[0]), int(words[1]))
