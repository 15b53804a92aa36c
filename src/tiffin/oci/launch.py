"""Running `tiffin-launch create` and `exec` for foreign containers, and what goes back and forth with them."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from tiffin.errors import HostError, LaunchError, UsageError
from tiffin.runtime import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.runtime.ops import Plan

# As src/launcher/roles.h and child.h have them.
HOOKS_DONE_FD, CREATING_STATE_FD, CREATED_STATE_FD = 5, 6, 7
PASSED_FD, CREATE_PASSED_FD = 7, 8


class Channel:
    """The launcher's status lines, and the terminal that may come with one."""

    def __init__(self, connection: int) -> None:
        import _socket

        self._socket = _socket.socket(fileno=connection)
        self._rest = b""
        self.master = -1

    def line(self) -> list[str]:
        """The next line's words; empty at the end. A "T" line's terminal is kept in `master`."""
        import _socket

        while b"\n" not in self._rest:
            data, ancillary, _, _ = self._socket.recvmsg(4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
            if not data:
                return []
            for level, kind, payload in ancillary:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                    self.master = int.from_bytes(payload[:4], sys.byteorder)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        words = line.decode("utf-8", "replace").split()
        return self.line() if words == ["T"] else words

    def take_master(self) -> int:
        """The terminal, which the caller closes from now on."""
        master, self.master = self.master, -1
        return master

    def close(self) -> None:
        self._socket.close()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


class Launched:
    """The launcher on its way. Close it at the end."""

    def __init__(self, plan: Plan, role: list[str], passed: int, pipes: bool) -> None:
        import _socket

        self.plan = plan
        self._done = -1
        self.states: tuple[int, int] | None = None
        first = CREATE_PASSED_FD if role[0] == "create" else PASSED_FD
        minimum = first + passed + 16
        plan_fd = _high(os.memfd_create("tiffin-plan", os.MFD_CLOEXEC), minimum)
        theirs = done_read = -1
        try:
            data = memoryview(bytes(plan))
            while data:
                data = data[os.write(plan_fd, data) :]
            os.lseek(plan_fd, 0, os.SEEK_SET)
            ours, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self.channel = Channel(ours.detach())
            theirs = _high(other.detach(), minimum)
            # Downwards: what is overwritten has been moved up already.
            actions = [(3 + index, first + index) for index in reversed(range(passed))]
            actions += [(plan_fd, native.PLAN_FD), (theirs, native.STATUS_FD)]
            if pipes:
                done_read, done_write = os.pipe()
                done_read, self._done = _high(done_read, minimum), _high(done_write, minimum)
                flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
                creating, created = (_high(os.memfd_create("tiffin-state", flags), minimum) for _ in range(2))
                self.states = creating, created
                actions += [(done_read, HOOKS_DONE_FD), (creating, CREATING_STATE_FD), (created, CREATED_STATE_FD)]
            if passed:
                role = [*role, str(passed)]
            self.pid = native.spawn(role, actions)
        finally:
            for fd in (plan_fd, theirs, done_read):
                if fd >= 0:
                    os.close(fd)

    def hooks_done(self) -> None:
        os.write(self._done, b"g")

    def hooks_failed(self) -> None:
        """The launcher then ends the container."""
        os.close(self._done)
        self._done = -1

    def put_state(self, which: int, text: bytes) -> None:
        """The state that hooks inside read; nothing inside can change it afterwards."""
        if self.states is None:
            return
        fd = self.states[which]
        os.write(fd, text)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)

    def reap(self) -> int:
        """Wait for the launcher; its exit code, 128 + n after a signal."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)

    def close(self) -> None:
        self.channel.close()
        for fd in (self._done, *(self.states or ())):
            if fd >= 0:
                os.close(fd)
        self._done = -1
        self.states = None


def _high(fd: int, minimum: int) -> int:
    """The descriptor out of the way of the numbers that the launcher is given."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, minimum)
    os.close(fd)
    return moved


def failure(words: list[str], plan: Plan) -> LaunchError | HostError:
    """The error that the launcher told, in runc's words where others read them."""
    if not words:
        return LaunchError("the launcher ended without a word", hint="was it killed? the kernel log may say more")
    index, number, text = int(words[1]), int(words[2]), " ".join(words[3:])
    if 0 <= index < len(plan.ops):
        name, fields, doing = plan.ops[index]
        if name == "FIND_EXEC":
            program = str(fields[0])
            if number in (errno.ENOENT, errno.ENOTDIR):
                missing = "executable file not found in $PATH"
                said = f"stat {program}: no such file or directory" if "/" in program else missing
                return LaunchError(f'exec: "{program}": {said}')
            return LaunchError(f'exec: "{program}": {os.strerror(number).lower()}')
        if name == "HOOK":
            return LaunchError(f"cannot {doing}: it {text.removeprefix('hook ')}")
    return native.failure(index, number, text, plan)


def late_operations(plan: Plan) -> list[list[object]]:
    """What happens after the start, as [index, name, first field, words]: kept for the errors that it may have."""
    found: list[list[object]] = []
    for index, (name, fields, doing) in enumerate(plan):
        if name == "WAIT_START" or found:
            found.append([index, name, fields[0] if isinstance(fields[0], str) else "", doing])
    return found


def late_plan(operations: list[list[object]]) -> Plan:
    """A plan that has the words of `late_operations` at their places, and nothing else."""
    from tiffin.runtime.ops import Plan

    plan = Plan()
    for index, name, field, doing in operations:
        while len(plan.ops) < int(str(index)):
            plan.ops.append(("", ("",), ""))
        plan.ops.append((str(name), (field,), str(doing)))
    return plan


def start(start_fifo: str, result_fifo: str, plan: Plan) -> None:
    """Let the program of a created container run. Returns once it does; LaunchError when it does not."""
    result = os.open(result_fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            go = os.open(start_fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError("cannot start a container that has stopped") from error
        os.write(go, b"g")
        os.close(go)
        os.unlink(start_fifo)
        os.set_blocking(result, True)
        said = b""
        while part := os.read(result, 4096):
            said += part
    finally:
        os.close(result)
    if said:
        raise failure(said.decode("utf-8", "replace").split(), plan)


def hand_over(master: int, console_socket: str) -> None:
    """Send a terminal's master side to whoever listens at `--console-socket`."""
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(console_socket)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))
        connection.sendmsg([b"/dev/ptmx"], [rights])
    except OSError as error:
        raise HostError(f"cannot send the terminal to {console_socket!r}: {error.strerror}") from error
    finally:
        connection.close()


def write_pid(path: str, pid: int) -> None:
    """`--pid-file`, whole or not at all."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory + '/' if directory else ''}.{name}"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(temporary, path)
    except OSError as error:
        raise HostError(f"cannot write the pid file {path!r}: {error.strerror}") from error
