"""Running one more process in a running container."""

from __future__ import annotations

import os

from tiffin.containers import events, pause
from tiffin.containers.command import merge_env, words
from tiffin.containers.confine import confinement, spared
from tiffin.errors import ConflictError, LaunchError, UsageError
from tiffin.model.container import Container, ContainerState
from tiffin.runtime import native, signals, spec, users
from tiffin.runtime.compile import compile_exec
from tiffin.runtime.security import capabilities, lsm, options
from tiffin.state import status
from tiffin.storage.inroot import read_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

    from tiffin.containers.passing import Passed
    from tiffin.parts import Parts
    from tiffin.runtime.ops import Plan


class ExecSession:
    """A process started by `exec`. Use as a context manager, or `close()` it; closing does not end the process."""

    def __init__(
        self, pid: int, start_ticks: int, launcher_pid: int, reader: native.StatusReader, status_fd: int, master: int
    ) -> None:
        self.pid = pid
        """The process's ID on the host."""
        self.master = master
        """The terminal's master side, -1 without one."""
        self._start_ticks = start_ticks
        self._launcher_pid = launcher_pid
        self._reader = reader
        self._status_fd = status_fd
        self._exit_code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when the process has ended and `wait` returns at once."""
        return self._status_fd

    def wait(self) -> int:
        """Wait for the end; the exit code (128 + n for signal n). LaunchError when the launcher was killed."""
        if self._exit_code is None:
            words = self._reader.line()
            self._reap()
            if not words:
                raise LaunchError("the launcher of this exec was killed, and the process with it")
            self._exit_code = int(words[1])
        return self._exit_code

    def signal(self, signal: int | str) -> None:
        """Send a signal to the process; ended already is fine."""
        status.send_signal(self.pid, self._start_ticks, signals.number(signal))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its size."""
        import termios

        if self.master >= 0:
            termios.tcsetwinsize(self.master, (rows, columns))

    def detach(self) -> None:
        """Leave a process that has a terminal running: what it still writes is thrown away, and nothing hangs up."""
        if self.master >= 0:
            native.hold_terminal(self.master)
        if self._launcher_pid:
            # It would pass on the hangup of our terminal, and has nobody to tell the exit code.
            os.kill(self._launcher_pid, signals.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        if self._launcher_pid:
            os.waitpid(self._launcher_pid, 0)
            self._launcher_pid = 0

    def close(self) -> None:
        """Let go of the descriptors. A process that still runs is hung up on if it has a terminal."""
        for fd in (self.master, self._status_fd):
            if fd >= 0:
                os.close(fd)
        self.master = self._status_fd = -1
        if self._launcher_pid and os.waitpid(self._launcher_pid, os.WNOHANG)[0]:
            self._launcher_pid = 0


def execute(
    parts: Parts,
    container: Container,
    command: Sequence[str],
    *,
    stdio: tuple[int | None, int | None, int | None],
    tty: bool,
    tty_size: tuple[int, int] | None,
    user: str | None,
    groups: Sequence[str] = (),
    workdir: str | None,
    env: Sequence[str],
    privileged: bool,
    detach: bool,
    pass_fds: Sequence[int | tuple[str, int]] = (),
) -> ExecSession:
    """Start `command` in the container. ConflictError when it does not run; LaunchError's kinds as at a start."""
    command = words(command)
    if not command or not command[0]:
        raise UsageError("no command specified to execute")
    if workdir is not None and not workdir.startswith("/"):
        raise UsageError(f"the working directory {workdir!r} is invalid, it needs to be an absolute path")
    state = pause.running(parts, container)
    if state.paused:
        raise ConflictError(f"Container {container.name} is paused, unpause the container before exec")
    given = None
    if pass_fds:
        from tiffin.containers import passing

        given = passing.passed(pass_fds)
    with parts.timed("plan"):
        process = describe(parts, container, state, command, tty, user, workdir, env, privileged, groups)
        if given:
            process["env"] = given.environment(process["env"])
        exec_id = {"execID": os.urandom(32).hex()}
        actor = events.actor(container, exec_id)
        plan = _plan(parts, container, state, process, tty_size, privileged, actor, given)
    if parts.debug:
        parts.debug("plan:\n" + plan.describe())
    # Docker's words, with the blank after a command without arguments.
    shown = f"{command[0]} {' '.join(command[1:])}"
    events.tell(parts, container, f"exec_create: {shown}", exec_id)
    events.tell(parts, container, f"exec_start: {shown}", exec_id)
    with parts.timed("launch"):
        return _spawn(plan, stdio, tty, detach, given.fds if given else ())


def describe(
    parts: Parts,
    container: Container,
    state: ContainerState,
    command: Sequence[str],
    tty: bool,
    user: str | None,
    workdir: str | None,
    env: Sequence[str],
    privileged: bool,
    groups: Sequence[str] = (),
) -> dict[str, Any]:
    """The `process` object of the OCI spec for this exec."""
    config = container.config
    passwd, group = _accounts(state)
    identity = users.resolve(container.user if user is None else user, (*config.groups, *groups), passwd, group)
    if container.uid_maps:
        from tiffin.containers.userns import check_identity

        check_identity(container, identity)
    mask, _ = capabilities.resolve(config.cap_add, config.cap_drop, config.privileged or privileged, parts.bounding)
    names = list(capabilities.names_of(mask))
    held = names if identity.uid == 0 or privileged else []
    security = options.parse_security_opts(config.security_opts)
    merged = merge_env(container.env, tuple(env))
    process: dict[str, Any] = {
        "terminal": tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
        "args": list(command),
        "env": spec.process_env(merged, tty, identity.home, container.hostname),
        "cwd": workdir or container.workdir or "/",
        "capabilities": {"bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": []},
        "noNewPrivileges": security.no_new_privileges,
        "rlimits": [
            {"type": f"RLIMIT_{limit.name.upper()}", "soft": limit.soft, "hard": limit.hard} for limit in config.ulimits
        ],
    }
    if spared():
        process["oomScoreAdj"] = 0
    return process


def _accounts(state: ContainerState) -> tuple[bytes | None, bytes | None]:
    """passwd and group as the container sees them now, read without following anything out of it."""
    try:
        root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConflictError("the container has just ended") from error
    try:
        return read_in_root(root, "/etc/passwd"), read_in_root(root, "/etc/group")
    finally:
        os.close(root)


def _plan(
    parts: Parts,
    container: Container,
    state: ContainerState,
    process: dict[str, Any],
    tty_size: tuple[int, int] | None,
    privileged: bool,
    actor: str,
    given: Passed | None = None,
) -> Plan:
    security = options.parse_security_opts(container.config.security_opts)
    labels = lsm.labels(security, container.id, privileged=container.config.privileged or privileged)
    confined = confinement(parts, container, security, labels, process, init=False)
    if privileged:
        confined = confined.replace(seccomp=None)
    if given:
        confined = given.confine(confined)
    return compile_exec(
        process,
        pid=state.pid,
        start_ticks=state.pid_start_ticks,
        kinds=[entry["type"] for entry in spec.namespaces(container)],
        cgroup=parts.cgroups.joining(container.id, state.pid),
        confinement=confined,
        tty_size=tty_size,
        events=(parts.paths.events, actor),
    )


def _spawn(
    plan: Plan,
    stdio: tuple[int | None, int | None, int | None],
    tty: bool,
    detach: bool,
    passed: tuple[int, ...] = (),
) -> ExecSession:
    with native.Descriptors(len(passed)) as descriptors:
        plan_fd = native.plan_file(descriptors, plan)
        if tty:
            import socket

            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            status_read, status_write = descriptors.own(ours.detach()), descriptors.own(theirs.detach())
        else:
            status_read, status_write = descriptors.pipe()
        null = descriptors.own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        actions = [(plan_fd, native.PLAN_FD), (status_write, native.STATUS_FD)]
        for number, fd in enumerate(stdio):
            if fd is not None and not tty:
                # A copy out of the way, so that dup2 to 0, 1, 2 cannot overwrite a source that is still needed.
                actions.append((descriptors.own(os.dup(fd)), number))
            else:
                actions.append((null, number))
        actions += descriptors.copies(passed)
        role = ["exec", "-d"] if detach else ["exec"]
        pid = native.spawn([*role, str(len(passed))] if passed else role, actions)
        descriptors.close(status_write)
        reader = native.StatusReader(status_read)
        master = -1
        try:
            if tty:
                master, rest = _receive_terminal(status_read)
                reader.feed(rest)
            words = reader.line()
            child = native.started_pid(words, plan)
        except BaseException:
            if master >= 0:
                os.close(master)
            os.waitpid(pid, 0)
            raise
        if detach:
            os.waitpid(pid, 0)
            pid = 0
        return ExecSession(child, int(words[2]), pid, reader, descriptors.release(status_read), master)


def _receive_terminal(status_fd: int) -> tuple[int, bytes]:
    """The terminal's master, which comes with the line "T"; -1 when the launch failed before."""
    import array
    import socket

    with socket.socket(fileno=os.dup(status_fd)) as connection:
        data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not fds:
        return -1, data
    os.set_blocking(fds[0], True)
    return fds[0], data.removeprefix(b"T\n")
