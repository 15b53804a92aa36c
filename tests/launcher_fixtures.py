"""Drive `tiffin-launch` directly: build it in the variants that tests need, hand it plans, talk to its monitor."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tiffin.runtime.ops import STDIO_OPEN_STDIN, STDIO_TTY, Plan

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = PROJECT / "src/launcher"
BUSYBOX = "/bin/busybox"
WARNINGS = (
    "-Wall -Wextra -Werror -Wshadow -Wvla -Wundef -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes".split()
)
VARIANTS = {
    "plain": ["-Os", "-static"],
    # Every system call younger than Linux 5.2 answers ENOSYS: the ways around them must do the same.
    "enosys": ["-Os", "-static", "-DTIFFIN_TEST_ENOSYS"],
    "sanitized": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
}
TIMEOUT_S = 20.0

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
ALL_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x4000, 1 << 18
STDIN, STDOUT, STDERR, EXIT, RESIZE, CLOSE_STDIN, CLAIM = range(7)


def compile_launcher(
    variant: str, output: Path, *, sources: Sequence[Path] | None = None, extra: Sequence[str] = ()
) -> Path:
    """Compile the launcher (or other sources with its headers) as the named variant."""
    include = output.parent / f"include-{output.name}"
    include.mkdir(exist_ok=True)
    subprocess.run(
        [
            sys.executable,
            str(SOURCES / "gen_ops.py"),
            str(PROJECT / "src/tiffin/runtime/ops.py"),
            str(include / "ops.h"),
        ],
        check=True,
    )
    files = sources if sources is not None else sorted(SOURCES.glob("*.c"))
    command = ["gcc", "-std=gnu11", *WARNINGS, *VARIANTS[variant], f"-I{include}", f"-I{SOURCES}", *extra]
    subprocess.run([*command, "-o", str(output), *map(str, files)], check=True)
    return output


def built(variant: str, factory: pytest.TempPathFactory) -> Path:
    """The launcher in a variant, compiled once for all workers of a test run."""
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    target = shared / f"tiffin-launch-{variant}"
    with open(shared / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            compile_launcher(variant, shared / f"{target.name}.new")
            os.rename(shared / f"{target.name}.new", target)
    return target


def already_built(name: str) -> Path | None:
    """A program that was brought to a machine without a compiler, which the guest of tests/v2 is."""
    path = Path(os.environ.get("TIFFIN_TEST_BUILT", os.devnull), name)
    return path if path.exists() else None


def make_root(path: Path) -> Path:
    """A root file system: busybox under all its names."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "mnt"):
        (path / name).mkdir(parents=True)
    shutil.copy2(BUSYBOX, path / "bin/busybox")
    for applet in subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split():
        with contextlib.suppress(FileExistsError):
            (path / "bin" / applet).symlink_to("busybox")
    return path


class LaunchFailed(Exception):
    """An "E" line."""

    def __init__(self, op: int, errno: int, text: str) -> None:
        super().__init__(f"operation {op}: {os.strerror(errno)}: {text}")
        self.op, self.errno, self.text = op, errno, text


class Ended(NamedTuple):
    """The fields of the exit file."""

    code: int
    signal: int
    oom: int
    started_ns: int
    finished_ns: int


class LogLine(NamedTuple):
    time: str
    stream: str
    kind: str
    text: bytes


def parse_log(path: Path) -> list[LogLine]:
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        stamp, stream, kind, text = line.split(b" ", 3)
        lines.append(LogLine(stamp.decode(), stream.decode(), kind.decode(), text))
    return lines


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.002)


def frame(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">B3xI", kind, len(payload)) + payload


class Frames:
    """The frames that arrive on a descriptor."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd, self.write_fd = read_fd, write_fd
        self.data = b""
        self.closed = False

    def send(self, kind: int, payload: bytes = b"") -> None:
        data = frame(kind, payload)
        while data:
            data = data[os.write(self.write_fd, data) :]

    def next(self, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes] | None:
        """The next frame, or None at the end."""
        while True:
            if len(self.data) >= 8:
                kind, size = struct.unpack(">B3xI", self.data[:8])
                if len(self.data) >= 8 + size:
                    payload = self.data[8 : 8 + size]
                    self.data = self.data[8 + size :]
                    return kind, payload
            if not select.select([self.read_fd], [], [], timeout_s)[0]:
                raise TimeoutError(f"no frame in {timeout_s} s, {len(self.data)} bytes of one")
            try:
                more = os.read(self.read_fd, 1 << 16)
            except ConnectionResetError:
                more = b""
            if not more:
                assert not self.data, "the connection ended inside a frame"
                return None
            self.data += more

    def until(self, expected: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
        """Output, whatever the stream, until it contains `expected`."""
        output = b""
        while expected not in output:
            got = self.next(timeout_s)
            assert got is not None and got[0] in (STDOUT, STDERR), f"{got} after {output!r}"
            output += got[1]
        return output

    def until_silence(self, timeout_s: float) -> bytes:
        """Output until none comes for so long."""
        output = b""
        while True:
            try:
                got = self.next(timeout_s)
            except TimeoutError:
                return output
            assert got is not None and got[0] in (STDOUT, STDERR)
            output += got[1]

    def rest(self) -> tuple[bytes, bytes, int | None]:
        """Everything up to and with the exit frame: stdout, stderr, exit code."""
        outputs = {STDOUT: bytearray(), STDERR: bytearray()}
        while (got := self.next()) is not None:
            if got[0] == EXIT:
                return bytes(outputs[STDOUT]), bytes(outputs[STDERR]), int(got[1])
            outputs[got[0]] += got[1]
        return bytes(outputs[STDOUT]), bytes(outputs[STDERR]), None

    def close(self) -> None:
        if not self.closed:
            os.close(self.read_fd)
            if self.write_fd != self.read_fd:
                os.close(self.write_fd)
        self.closed = True


class Started(NamedTuple):
    pid: int
    start_ticks: int


def process_exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Box:
    """One container: its directories, its plan, and what became of it."""

    def __init__(self, launcher: Path, directory: Path, root: Path, environment: dict[str, str]) -> None:
        self.launcher, self.directory, self.root, self.environment = launcher, directory, root, environment
        self.run_dir = directory / "run"
        self.run_dir.mkdir()
        self.log = directory / "log"
        self.exit_file = directory / "exit"
        self.frames: list[Frames] = []
        self.monitors: list[tuple[int, int]] = []
        self.owner: Frames | None = None
        self.more: list[Box] = []

    def plan(
        self,
        *arguments: str,
        tty: tuple[int, int] | None = None,
        stdin: bool = False,
        namespaces: int = ALL_NAMESPACES,
        env: Sequence[str] = ("PATH=/bin",),
        log: tuple[int, int] | None = (10 << 20, 3),
        monitor: Callable[[Plan], object] | None = None,
        in_root: Callable[[Plan], object] | None = None,
        inside: Callable[[Plan], object] | None = None,
        program: str | None = None,
    ) -> Plan:
        """The plan of a small container; the callables add operations at their stages."""
        plan = Plan()
        plan.add("RUN_DIR", str(self.run_dir))
        plan.add("EXIT_FILE", str(self.exit_file))
        if log:
            plan.add("LOG", str(self.log), *log)
        plan.add("STDIO", (STDIO_TTY if tty else 0) | (STDIO_OPEN_STDIN if stdin else 0))
        if tty:
            plan.add("TTY_SIZE", *tty)
        plan.add("CLONE", namespaces)
        if monitor:
            monitor(plan)
        plan.add("PROPAGATION", MS_REC | MS_PRIVATE)
        plan.add("ROOT", str(self.root))
        plan.add("MOUNT_IN", "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "")
        plan.add("MOUNT_IN", "tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
        plan.add("MOUNT_IN", "tmpfs", "/tmp", "tmpfs", 0, "")
        plan.add(
            "MOUNT_IN", "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"
        )
        plan.add("MKNOD_IN", "/dev/null", 0o20666, os.makedev(1, 3), 0, 0)
        if in_root:
            in_root(plan)
        if tty:
            plan.add("CONSOLE")
        plan.add("PIVOT")
        if inside:
            inside(plan)
        plan.add("EXEC", program if program is not None else arguments[0], list(arguments), list(env))
        return plan

    def start(self, plan: Plan | bytes, *, owner: bool = False) -> Started:
        """Launch. LaunchFailed when the launcher says so."""
        inherited = {3: self._plan_file(bytes(plan))}
        status, inherited[4] = os.pipe()
        if owner:
            inherited[5], our_write = os.pipe()
            our_read, inherited[6] = os.pipe()
            self.owner = Frames(our_read, our_write)
            self.frames.append(self.owner)
        process = _spawn([str(self.launcher), "launch"], inherited, self.environment)
        try:
            line = _read_all(status)
        finally:
            os.close(status)
            assert os.waitpid(process, 0)[1] == 0
        words = line.split(maxsplit=3)
        assert words, "the launcher said nothing"
        if words[0] == "E":
            raise LaunchFailed(int(words[1]), int(words[2]), words[3])
        assert words[0] == "S" and line.endswith("\n"), line
        with contextlib.suppress(FileNotFoundError):  # a short life may be over already
            running = (self.run_dir / "status").read_text().split()
            if running[0] == "running":
                self.monitors.append((int(running[1]), int(running[3])))
        return Started(int(words[1]), int(words[2]))

    def start_unheard(self, plan: Plan) -> None:
        """Launch with nobody at the other end of the status pipe."""
        read, write = os.pipe()
        os.close(read)
        process = _spawn([str(self.launcher), "launch"], {3: self._plan_file(bytes(plan)), 4: write}, self.environment)
        assert os.waitpid(process, 0)[1] == 0

    @property
    def monitor(self) -> int:
        return self.monitors[-1][0]

    def attach(self) -> Frames:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(self.run_dir, os.O_PATH)
        sock.connect(f"/proc/self/fd/{directory}/attach.sock")
        os.close(directory)
        fd = sock.detach()
        client = Frames(fd, fd)
        self.frames.append(client)
        return client

    def wait_for_a_turn(self) -> None:
        """Until the monitor has done what it was doing: it is one loop, which closes clients that talk nonsense."""
        client = self.attach()
        os.write(client.write_fd, b"\xff" + bytes(7))
        assert client.next() is None

    def ended(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Wait for the end to be recorded and the monitor's files to be gone."""
        wait_until(self.exit_file.exists, "the exit file", timeout_s)
        wait_until(lambda: not (self.run_dir / "status").exists(), "the status file's end", timeout_s)
        words = self.exit_file.read_text().split()
        assert words[0] == "exited" and len(words) == 6
        return Ended(*map(int, words[1:]))

    def run(self, *arguments: str, **options: object) -> tuple[int, bytes, bytes]:
        """Start, wait, and return exit code, stdout, stderr as an owner sees them."""
        self.start(self.plan(*arguments, **options), owner=True)  # type: ignore[arg-type]
        assert self.owner is not None
        out, err, code = self.owner.rest()
        self.owner.send(CLAIM)
        assert self.ended().code == code
        assert code is not None
        return code, out, err

    def exec_plan(
        self, started: Started, *arguments: str, namespaces: int = ALL_NAMESPACES, tty: tuple[int, int] | None = None,
        env: Sequence[str] = ("PATH=/bin",), inside: Callable[[Plan], object] | None = None,
    ) -> Plan:  # fmt: skip
        plan = Plan()
        if tty:
            plan.add("TTY_SIZE", *tty)
        plan.add("ENTER", started.pid, started.start_ticks, namespaces)
        if tty:
            plan.add("CONSOLE")
        if inside:
            inside(plan)
        plan.add("EXEC", arguments[0], list(arguments), list(env))
        return plan

    def execute(self, plan: Plan, *flags: str, stdio: dict[int, int] | None = None) -> tuple[int, socket.socket]:
        """Start the exec role: its process and our end of the status socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inherited = {3: self._plan_file(bytes(plan)), 4: theirs.detach(), **(stdio or {})}
        return _spawn([str(self.launcher), "exec", *flags], inherited, self.environment), ours

    def make_like(self) -> Box:
        """Another container with the same root."""
        directory = self.directory / f"more{len(self.more)}"
        directory.mkdir()
        self.more.append(Box(self.launcher, directory, self.root, self.environment))
        return self.more[-1]

    def clean(self) -> None:
        for box in self.more:
            box.clean()
        for client in self.frames:
            client.close()
        for monitor, child in self.monitors:
            for pid in (child, monitor):
                # A pid is only ours while the monitor of that name lives.
                if process_exists(monitor):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            wait_until(lambda monitor=monitor: not process_exists(monitor), "the monitor's end")  # type: ignore[misc]

    def _plan_file(self, data: bytes) -> int:
        fd = os.memfd_create("plan")
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd


def _read_all(fd: int) -> str:
    data = b""
    while more := os.read(fd, 4096):
        data += more
    return data.decode()


def _spawn(arguments: list[str], inherited: dict[int, int], environment: dict[str, str]) -> int:
    """posix_spawn with descriptors at the given numbers; ours are closed."""
    moved = {target: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for target, fd in inherited.items()}
    for target, fd in inherited.items():
        if target > 2:
            os.close(fd)
    try:
        return os.posix_spawn(
            arguments[0],
            arguments,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in moved.items()],
        )
    finally:
        for fd in moved.values():
            os.close(fd)


MakeBox = Callable[[], Box]


@contextlib.contextmanager
def boxes(variant: str, factory: pytest.TempPathFactory, directory: Path) -> Iterator[Callable[[], Box]]:
    """Makes containers with their own directories; kills what is left of them."""
    launcher = built(variant, factory)
    root = make_root(directory / "root")
    reports = directory / "sanitizer"
    environment = {
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={reports}:exitcode=99",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}:exitcode=99",
    }
    made: list[Box] = []

    def make() -> Box:
        own = directory / f"box{len(made)}"
        own.mkdir()
        made.append(Box(launcher, own, root, environment))
        return made[-1]

    try:
        yield make
    finally:
        for box in made:
            box.clean()
    found = list(directory.glob("sanitizer*"))
    assert not found, found[0].read_text()
