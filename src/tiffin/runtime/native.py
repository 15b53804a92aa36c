"""Running plans with our own launcher: spawn it, hand it the plan, hear how it went."""

from __future__ import annotations

import errno
import fcntl
import os

from tiffin.errors import CommandNotExecutable, CommandNotFound, HostError, LaunchError
from tiffin.launcher_path import launcher_path
from tiffin.runtime.attach import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.runtime.ops import Plan

PLAN_FD, STATUS_FD, OWNER_READ_FD, OWNER_WRITE_FD, PASSED_FD = 3, 4, 5, 6, 7
FIRST_FREE_FD = 10
NOT_EXECUTABLE = (errno.EACCES, errno.ENOEXEC, errno.EISDIR, errno.EPERM, errno.ETXTBSY, errno.ELIBBAD, errno.EINVAL)
# Ignored by Python, or by a caller, and inherited through exec otherwise: SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGXFSZ.
RESET_SIGNALS = (1, 2, 3, 13, 25)


class Descriptors:
    """File descriptors that are closed together; numbers stay clear of those that the launcher is given."""

    def __init__(self, passed: int = 0) -> None:
        self._open: list[int] = []
        self._first_free = max(FIRST_FREE_FD, PASSED_FD + passed)

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def own(self, fd: int) -> int:
        if fd < self._first_free:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, self._first_free)
            os.close(fd)
            fd = moved
        self._open.append(fd)
        return fd

    def copies(self, fds: Sequence[int]) -> list[tuple[int, int]]:
        """What has the launcher find `fds` where it looks for passed descriptors."""
        return [(self.own(os.dup(fd)), PASSED_FD + number) for number, fd in enumerate(fds)]

    def pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        return self.own(read), self.own(write)

    def close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def release(self, fd: int) -> int:
        """The caller closes `fd` from now on."""
        self._open.remove(fd)
        return fd


def plan_file(descriptors: Descriptors, plan: Plan) -> int:
    """The plan in memory, ready to be read from its start."""
    fd = descriptors.own(os.memfd_create("tiffin-plan", os.MFD_CLOEXEC))
    data = memoryview(bytes(plan))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def spawn(role: list[str], actions: list[tuple[int, int]], *, setsid: bool = False) -> int:
    """Start the launcher with the given descriptors (from, to); every other one is closed by close-on-exec."""
    path = launcher_path()
    given = {target for _, target in actions}
    # A caller may hold these numbers open for its children; the launcher would take them for the owner's connection.
    unasked = [fd for fd in (OWNER_READ_FD, OWNER_WRITE_FD) if fd not in given]
    try:
        return os.posix_spawn(
            path,
            ["tiffin-launch", *role],
            {},
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, source, target) for source, target in actions),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in unasked),
            ],
            setsigdef=RESET_SIGNALS,
            setsigmask=(),
            setsid=setsid,
        )
    except OSError as error:
        raise HostError(
            f"cannot run the launcher {path!r}: {error.strerror}",
            hint="install Tiffin again, with a C compiler at hand",
        ) from error


def hold_terminal(master: int) -> None:
    """Leave a small process behind that keeps a terminal open until no process inside has it open any more."""
    with Descriptors() as descriptors:
        null = descriptors.own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        copy = descriptors.own(os.dup(master))
        # In a session of its own from the beginning: the end of our terminal might reach it before it is ready.
        spawn(["hold"], [(copy, PLAN_FD), (null, 0), (null, 1), (null, 2)], setsid=True)


def launch(plan: Plan, *, attach: bool, passed: Sequence[int] = ()) -> Attachment | None:
    """Start a container; returns once its program runs. LaunchError and its kind when a step failed."""
    with Descriptors(len(passed)) as descriptors:
        plan_fd = plan_file(descriptors, plan)
        status_read, status_write = descriptors.pipe()
        actions = [(plan_fd, PLAN_FD), (status_write, STATUS_FD)]
        null = descriptors.own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        actions += [(null, 0), (null, 1), (null, 2)]
        if attach:
            child_read, our_write = descriptors.pipe()
            our_read, child_write = descriptors.pipe()
            actions += [(child_read, OWNER_READ_FD), (child_write, OWNER_WRITE_FD)]
        actions += descriptors.copies(passed)
        pid = spawn(["launch", str(len(passed))] if passed else ["launch"], actions)
        descriptors.close(status_write)
        if attach:
            descriptors.close(child_read)
            descriptors.close(child_write)
        try:
            started(status_read, plan)
        finally:
            os.waitpid(pid, 0)
        if not attach:
            return None
        return Attachment(descriptors.release(our_read), descriptors.release(our_write))


class StatusReader:
    """The lines that the launcher writes about its progress."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take over what was read from the descriptor already."""
        self._rest += data

    def line(self) -> list[str]:
        """The next line's words; empty when the launcher has nothing more to say."""
        while b"\n" not in self._rest:
            more = os.read(self._fd, 4096)
            if not more:
                return []
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").split()


def started(status_fd: int, plan: Plan) -> int:
    """Wait until the program runs; its process ID on the host."""
    words = StatusReader(status_fd).line()
    return started_pid(words, plan)


def started_pid(words: list[str], plan: Plan) -> int:
    if not words:
        raise LaunchError("the launcher ended without a word", hint="was it killed? the kernel log may say more")
    if words[0] == "S":
        return int(words[1])
    raise failure(int(words[1]), int(words[2]), " ".join(words[3:]), plan)


def failure(index: int, number: int, text: str, plan: Plan) -> LaunchError | HostError:
    """The error of a failed operation, in the plan's words."""
    reason = os.strerror(number)
    if not 0 <= index < len(plan.ops):
        return LaunchError(f"the launcher failed: {text}: {reason}")
    name, fields, doing = plan.ops[index]
    if name == "EXEC":
        program = str(fields[0])
        if number == errno.ENOENT and "/" not in program:
            return CommandNotFound(f'exec: "{program}": executable file not found in $PATH')
        if number in (errno.ENOENT, errno.ENOTDIR):
            return CommandNotFound(f'exec: "{program}": no such file or directory', hint=_missing_hint(text))
        if number in NOT_EXECUTABLE:
            said = {errno.ENOEXEC: "exec format error"}.get(number, reason.lower())
            return CommandNotExecutable(f'exec: "{program}": {said}')
    if name == "RUNTIME":
        from tiffin.runtime import foreign

        return foreign.failure(text, fields, reason)
    if name == "LOG_SINK":
        return LaunchError(f"failed to initialize logging driver: {doing}: {reason.lower()}")
    return LaunchError(f"cannot {doing or f'{name} ({text})'}: {reason}", hint=_hint(name, number))


def _missing_hint(text: str) -> str | None:
    return "the file is there, but the interpreter it names is not" if text == "interpreter" else None


def _hint(name: str, number: int) -> str | None:
    if number == errno.ENOSYS:
        return "this kernel lacks the system call"
    if name == "CLONE" and number in (errno.EPERM, errno.ENOSPC):
        return "run as root, or look at /proc/sys/user/max_*_namespaces"
    if name == "USERNS" and number in (errno.EPERM, errno.ENOSPC):
        return "look at /proc/sys/user/max_user_namespaces"
    if name in ("IDMAP", "TREE") and number == errno.EINVAL:
        return "its file system, or this kernel, has no mounts with mapped ids"
    if number == errno.ENODEV and name in ("MOUNT", "MOUNT_IN"):
        return "this kernel lacks the file system"
    if number == errno.ENOTDIR and name in ("BIND_IN", "ATTACH"):
        return (
            "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists "
            "and is the expected type"
        )
    if number in (errno.ELOOP, errno.ENOTDIR) and name in ("MOUNT_IN", "BIND_IN"):
        return "the image has a link or a file where a directory must be"
    if name == "MEMORY_MERGE" and number == errno.EINVAL:
        from tiffin.runtime import ksm

        return ksm.NEEDED
    if name == "OOM_SCORE_ADJ" and number == errno.EACCES:
        return "this host does not let it be lowered: that needs CAP_SYS_RESOURCE"
    if name == "RLIMIT" and number == errno.EPERM:
        return "raising a hard limit needs CAP_SYS_RESOURCE"
    return None
