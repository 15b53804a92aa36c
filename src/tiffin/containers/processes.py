"""The processes of a container, read from the host's /proc: nothing inside has to be there, nor to be believed."""

from __future__ import annotations

import os
import time

from tiffin.containers import events, pause
from tiffin.errors import UsageError
from tiffin.model.container import Container
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tiffin.parts import Parts

DEFAULT_COLUMNS = ("user=UID", "pid", "ppid", "c", "stime", "tname", "time", "cmd")
_DAY_S = 86400


class ProcessTable(Record):
    """Rows of text under titles; the columns are as asked, processes by ascending ID (the host's)."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(parts: Parts, container: Container, columns: Sequence[str] = ()) -> ProcessTable:
    """One row per process. A column is a name of ps(1)'s `-o`, or "name=TITLE"; none are those of `ps -f`.

    UsageError for an unknown column, ConflictError when the container does not run.
    """
    chosen = [_column(text) for text in columns or DEFAULT_COLUMNS]
    pause.running(parts, container)
    events.tell(parts, container, "top")
    host = _Host()
    rows = []
    for pid in parts.cgroups.processes(container.id):
        process = _read(host, pid)
        if process is not None:
            rows.append(tuple(show(process) for _, show in chosen))
    return ProcessTable(titles=tuple(title for title, _ in chosen), rows=tuple(rows))


def _column(text: str) -> tuple[str, Callable[[_Process], str]]:
    name, equals, title = text.partition("=")
    found = COLUMNS.get(name.lower())
    if found is None:
        raise UsageError(f"unknown column {name!r}", hint=f"the columns are {', '.join(COLUMNS)}")
    return (title if equals else found[0], found[1])


class _Host:
    """What the figures of processes are measured by (proc_stat(5), proc_meminfo(5))."""

    def __init__(self) -> None:
        self.ticks = os.sysconf("SC_CLK_TCK")
        self.page_bytes = os.sysconf("SC_PAGE_SIZE")
        self.memory_bytes = self.page_bytes * os.sysconf("SC_PHYS_PAGES")
        self.uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.now_s = time.time()
        self._names: dict[tuple[str, int], str] = {}

    def user(self, uid: int) -> str:
        import pwd

        return self._name("user", uid, lambda: pwd.getpwuid(uid).pw_name)

    def group(self, gid: int) -> str:
        import grp

        return self._name("group", gid, lambda: grp.getgrgid(gid).gr_name)

    def _name(self, kind: str, number: int, look_up: Callable[[], str]) -> str:
        if (kind, number) not in self._names:
            try:
                self._names[kind, number] = look_up()
            except KeyError:
                self._names[kind, number] = str(number)
        return self._names[kind, number]


class _Process:
    """One process as proc_pid_stat(5), proc_pid_status(5) and proc_pid_cmdline(5) tell it."""

    def __init__(self, host: _Host, pid: int, stat: bytes, status: bytes, cmdline: bytes) -> None:
        self.host = host
        self.pid = pid
        head, _, tail = stat.rpartition(b")")
        self.name = _printable(head.partition(b"(")[2])
        fields = tail.split()
        self.state = fields[0].decode()
        numbers = [int(field) for field in fields[1:22]]
        self.ppid, self.pgid, self.sid, self.tty_number, self.foreground = numbers[:5]
        self.cpu_s = (numbers[10] + numbers[11]) / host.ticks
        self.priority, self.nice, self.threads = numbers[14], numbers[15], numbers[16]
        self.age_s = max(0.0, host.uptime_s - numbers[18] / host.ticks)
        self.virtual_bytes = numbers[19]
        self.resident_bytes = numbers[20] * host.page_bytes
        self.status = dict(_pairs(status))
        self.words = [_printable(word) for word in cmdline.rstrip(b"\0").split(b"\0")] if cmdline else []

    def id(self, kind: str, effective: bool) -> int:
        return int(self.status[kind].split()[1 if effective else 0])

    @property
    def started_s(self) -> float:
        return self.host.now_s - self.age_s

    @property
    def cpu_percent(self) -> float:
        return 100 * self.cpu_s / self.age_s if self.age_s else 0.0

    @property
    def command(self) -> str:
        if self.state == "Z":
            return f"[{self.name}] <defunct>"
        return " ".join(self.words) if self.words else f"[{self.name}]"


def _read(host: _Host, pid: int) -> _Process | None:
    """None when the process has ended."""
    texts = []
    for name in ("stat", "status", "cmdline"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                texts.append(file.read())
        except (FileNotFoundError, ProcessLookupError):
            return None
    return _Process(host, pid, *texts)


def _pairs(status: bytes) -> Iterable[tuple[str, str]]:
    for line in status.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        yield key, value.strip()


def _printable(word: bytes) -> str:
    """What a process calls itself must not reach a terminal as control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in word.decode("utf-8", "replace"))


def _terminal(process: _Process) -> str:
    number = process.tty_number
    major, minor = (number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00)
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "console" if (major, minor) == (5, 1) else "?"


def _flags(process: _Process) -> str:
    """ps(1)'s "STAT": the state and what is special."""
    marks = process.state
    if process.nice:
        marks += "<" if process.nice < 0 else "N"
    if process.status.get("VmLck", "0 kB") != "0 kB":
        marks += "L"
    if process.sid == process.pid:
        marks += "s"
    if process.threads > 1:
        marks += "l"
    return marks + ("+" if process.foreground == process.pgid else "")


def _long_time(seconds: float) -> str:
    """[days-]hours:minutes:seconds."""
    days, rest = divmod(int(seconds), _DAY_S)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _elapsed(seconds: float) -> str:
    """The same, with hours only when there are any."""
    text = _long_time(seconds)
    return text.removeprefix("00:") if seconds < 3600 else text


def _began(process: _Process) -> str:
    """A time of this day, a day of this year, or a year."""
    then, now = time.localtime(process.started_s), time.localtime(process.host.now_s)
    if then.tm_year != now.tm_year:
        return time.strftime("%Y", then)
    return time.strftime("%H:%M" if then.tm_yday == now.tm_yday else "%b%d", then)


def _short_time(process: _Process) -> str:
    return f"{int(process.cpu_s) // 60}:{int(process.cpu_s) % 60:02d}"


def _began_shortly(process: _Process) -> str:
    return time.strftime("%H:%M" if process.age_s < _DAY_S else "%b%d", time.localtime(process.started_s))


def _c(process: _Process) -> str:
    return str(min(99, int(process.cpu_percent)))


def _percent_of_memory(process: _Process) -> str:
    return f"{100 * process.resident_bytes / process.host.memory_bytes:.1f}"


# Names and titles as ps(1) has them.
COLUMNS: dict[str, tuple[str, Callable[[_Process], str]]] = {
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: str(p.ppid)),
    "pgid": ("PGID", lambda p: str(p.pgid)),
    "sid": ("SID", lambda p: str(p.sid)),
    "user": ("USER", lambda p: p.host.user(p.id("Uid", True))),
    "euser": ("EUSER", lambda p: p.host.user(p.id("Uid", True))),
    "ruser": ("RUSER", lambda p: p.host.user(p.id("Uid", False))),
    "uid": ("UID", lambda p: str(p.id("Uid", True))),
    "euid": ("EUID", lambda p: str(p.id("Uid", True))),
    "ruid": ("RUID", lambda p: str(p.id("Uid", False))),
    "group": ("GROUP", lambda p: p.host.group(p.id("Gid", True))),
    "gid": ("GID", lambda p: str(p.id("Gid", True))),
    "rgid": ("RGID", lambda p: str(p.id("Gid", False))),
    "c": ("C", _c),
    "%cpu": ("%CPU", lambda p: f"{p.cpu_percent:.1f}"),
    "pcpu": ("%CPU", lambda p: f"{p.cpu_percent:.1f}"),
    "%mem": ("%MEM", _percent_of_memory),
    "pmem": ("%MEM", _percent_of_memory),
    "vsz": ("VSZ", lambda p: str(p.virtual_bytes // 1024)),
    "rss": ("RSS", lambda p: str(p.resident_bytes // 1024)),
    "ni": ("NI", lambda p: str(p.nice)),
    "pri": ("PRI", lambda p: str(39 - p.priority)),
    "nlwp": ("NLWP", lambda p: str(p.threads)),
    "s": ("S", lambda p: p.state),
    "state": ("S", lambda p: p.state),
    "stat": ("STAT", _flags),
    "tty": ("TT", _terminal),
    "tname": ("TTY", _terminal),
    "stime": ("STIME", _began),
    "start_time": ("START", _began),
    "bsdstart": ("START", _began_shortly),
    "lstart": ("STARTED", lambda p: time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(p.started_s))),
    "etime": ("ELAPSED", lambda p: _elapsed(p.age_s)),
    "etimes": ("ELAPSED", lambda p: str(int(p.age_s))),
    "time": ("TIME", lambda p: _long_time(p.cpu_s)),
    "cputime": ("TIME", lambda p: _long_time(p.cpu_s)),
    "bsdtime": ("TIME", _short_time),
    "comm": ("COMMAND", lambda p: p.name + (" <defunct>" if p.state == "Z" else "")),
    "cmd": ("CMD", lambda p: p.command),
    "args": ("COMMAND", lambda p: p.command),
    "command": ("COMMAND", lambda p: p.command),
}
