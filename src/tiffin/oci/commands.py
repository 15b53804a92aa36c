"""The commands of `tiffin-runtime`: options in, the use case, output."""

from __future__ import annotations

from tiffin.cli.options import Option, Parsed
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.record import Record
from tiffin.oci.main import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.oci.lifecycle import Request, Runtime

    Command = tuple[tuple[Option, ...], Callable[["Call"], int]]


class Call(Record):
    """One invocation."""

    root: str
    log: Log
    asked: Parsed

    def runtime(self) -> Runtime:
        from tiffin.oci.lifecycle import Runtime

        return Runtime(self.root, self.log.warn)

    def id(self) -> str:
        """The one argument."""
        if len(self.asked.arguments) != 1:
            raise UsageError(f"{self.asked.verb.name} takes one argument, the container's ID")
        return self.asked.arguments[0]

    def count(self, name: str) -> int:
        value = self.asked.number(name) or 0
        if not 0 <= value <= 4096:
            raise UsageError(f"--{name} {value} is not within 0 and 4096")
        return value


_BUNDLE = Option(name="bundle", short="b", help="directory with config.json", word="DIR", default=".")
_CONSOLE = Option(name="console-socket", help="socket that is sent the terminal", word="PATH")
_PID_FILE = Option(name="pid-file", help="file for the process's ID", word="PATH")
_PRESERVE = Option(name="preserve-fds", help="hand on that many descriptors from 3 on", kind="int", word="N")
_NO_PIVOT = Option(name="no-pivot", help="refused: there is always a pivot_root", kind="bool")
_NO_KEYRING = Option(name="no-new-keyring", help="refused: every container has a keyring of its own", kind="bool")
_DETACH = Option(name="detach", short="d", help="do not wait", kind="bool")
_FORMAT = Option(name="format", short="f", help="table or json", word="FORMAT", default="table")


def _request(call: Call, *, detached: bool) -> Request:
    from tiffin.oci.lifecycle import Request

    asked = call.asked
    for name in ("no-pivot", "no-new-keyring"):
        if asked.flag(name):
            option = next(option for option in asked.verb.options if option.name == name)
            raise NotSupportedError(f"--{name} is not supported: {option.help.removeprefix('refused: ')}")
    return Request(
        root=call.root,
        id=call.id(),
        bundle=asked.text("bundle") or ".",
        console_socket=asked.text("console-socket") or "",
        pid_file=asked.text("pid-file") or "",
        preserve_fds=call.count("preserve-fds"),
        detached=detached,
    )


def create(call: Call) -> int:
    """Create a container; its program waits for `start`."""
    call.runtime().create(_request(call, detached=True))
    return 0


def start(call: Call) -> int:
    """Run the program of a created container."""
    runtime = call.runtime()
    runtime.start(runtime.load(call.id()))
    return 0


def run(call: Call) -> int:
    """Create a container, start it, and wait for its end unless detached."""
    from tiffin.oci import foreground

    detached = call.asked.flag("detach")
    return foreground.run(
        call.runtime(), _request(call, detached=detached), detached=detached, keep=call.asked.flag("keep")
    )


def state(call: Call) -> int:
    """Print the state of a container as JSON."""
    import json

    print(json.dumps(call.runtime().load(call.id()).shown(), indent=2))
    return 0


def kill(call: Call) -> int:
    """Send a signal (default TERM) to a container's first process, or to all of them."""
    from tiffin.runtime import signals

    if not 1 <= len(call.asked.arguments) <= 2:
        raise UsageError("kill takes the container's ID and perhaps a signal")
    runtime = call.runtime()
    number = signals.number(call.asked.arguments[1] if len(call.asked.arguments) > 1 else "TERM")
    runtime.kill(runtime.load(call.asked.arguments[0]), number, everybody=call.asked.flag("all"))
    return 0


def delete(call: Call) -> int:
    """Remove a stopped container, or any with --force."""
    if not call.asked.arguments:
        raise UsageError("delete takes the IDs of containers")
    for container_id in call.asked.arguments:
        call.runtime().delete(container_id, force=call.asked.flag("force"))
    return 0


def exec_(call: Call) -> int:
    """Run one more process in a container."""
    from tiffin.oci import execute, foreground

    asked = call.asked
    if not asked.arguments:
        raise UsageError("exec takes the container's ID and a command, or --process")
    runtime = call.runtime()
    stored = runtime.load(asked.arguments[0])
    file = asked.text("process")
    if file and len(asked.arguments) > 1:
        raise UsageError("exec takes a command or --process, not both")
    if file:
        wanted = execute.load_process(file)
        if asked.given("tty"):
            wanted["terminal"] = asked.flag("tty")
    else:
        wanted = execute.process_of_options(stored, asked.arguments[1:], asked.items)
    if asked.flag("ignore-paused") and stored.status() == "paused":
        raise NotSupportedError("--ignore-paused is not supported: the process would stand still as all others")
    return execute.execute(
        stored,
        wanted,
        cache_dir=f"{call.root}/.cache",
        warn=call.log.warn,
        detach=asked.flag("detach"),
        console_socket=asked.text("console-socket") or "",
        pid_file=asked.text("pid-file") or "",
        preserve_fds=call.count("preserve-fds"),
        relay=foreground.relay,
    )


def ps(call: Call) -> int:
    """List the processes in a container."""
    from tiffin.oci import report

    if not call.asked.arguments:
        raise UsageError("ps takes the container's ID, and options for ps(1)")
    stored = call.runtime().load(call.asked.arguments[0])
    return report.ps(stored, call.asked.text("format") or "table", call.asked.arguments[1:])


def list_(call: Call) -> int:
    """List all containers of this --root."""
    from tiffin.oci import report

    return report.containers(call.root, call.asked.text("format") or "table", quiet=call.asked.flag("quiet"))


def pause(call: Call) -> int:
    """Freeze all processes of a container."""
    runtime = call.runtime()
    runtime.pause(runtime.load(call.id()))
    return 0


def resume(call: Call) -> int:
    """Let a paused container go on."""
    runtime = call.runtime()
    runtime.resume(runtime.load(call.id()))
    return 0


def update(call: Call) -> int:
    """Change the limits of a container."""
    from tiffin.oci import update as updates

    updates.update(call.runtime().load(call.id()), call.asked)
    return 0


def events(call: Call) -> int:
    """Print what a container uses now, as JSON; --stats is required."""
    from tiffin.oci import report

    if not call.asked.flag("stats"):
        raise NotSupportedError("events without --stats is not supported: ask again for each figure")
    return report.stats(call.runtime().load(call.id()))


def features(call: Call) -> int:
    """Print what this runtime can do, as JSON (runtime-spec features.md)."""
    import json

    from tiffin.oci.features import features as found

    if call.asked.arguments:
        raise UsageError("features takes no arguments")
    print(json.dumps(found(), indent=2))
    return 0


def spec(call: Call) -> int:
    """Write a config.json to begin with."""
    from tiffin.oci import template

    if call.asked.arguments:
        raise UsageError("spec takes no arguments")
    template.write(call.asked.text("bundle") or ".", rootless=call.asked.flag("rootless"))
    return 0


def checkpoint(call: Call) -> int:
    """Refused: processes cannot be saved and restored."""
    raise NotSupportedError(f"{call.asked.verb.name} is not supported: processes cannot be saved and restored")


_CREATE = (_BUNDLE, _CONSOLE, _PID_FILE, _PRESERVE, _NO_PIVOT, _NO_KEYRING)
_ALL = Option(name="all", short="a", help="signal every process", kind="bool")

COMMANDS: dict[str, Command] = {
    "create": (_CREATE, create),
    "start": ((), start),
    "run": ((*_CREATE, _DETACH, Option(name="keep", help="do not delete it afterwards", kind="bool")), run),
    "state": ((), state),
    "kill": ((_ALL,), kill),
    "delete": ((Option(name="force", short="f", help="kill it first", kind="bool"),), delete),
    "exec": (
        (
            _CONSOLE,
            _PID_FILE,
            _PRESERVE,
            _DETACH,
            Option(name="process", short="p", help="file with the process as JSON", word="FILE"),
            Option(name="cwd", help="working directory", word="DIR"),
            Option(name="env", short="e", help="environment variable", kind="list", word="NAME=VALUE"),
            Option(name="tty", short="t", help="allocate a terminal", kind="bool"),
            Option(name="user", short="u", help="numbers of user and group", word="UID[:GID]"),
            Option(name="additional-gids", short="g", help="one more group", kind="list", word="GID"),
            Option(name="process-label", help="SELinux label", word="LABEL"),
            Option(name="apparmor", help="AppArmor profile", word="PROFILE"),
            Option(name="no-new-privs", help="set no_new_privs", kind="bool"),
            Option(name="cap", short="c", help="one more capability", kind="list", word="CAP_NAME"),
            Option(name="ignore-paused", help="refused for a paused container", kind="bool"),
        ),
        exec_,
    ),
    "ps": ((_FORMAT,), ps),
    "list": ((_FORMAT, Option(name="quiet", short="q", help="IDs only", kind="bool")), list_),
    "pause": ((), pause),
    "resume": ((), resume),
    "update": (
        (
            Option(name="resources", short="r", help="file with linux.resources, - for standard input", word="FILE"),
            Option(name="memory", help="bytes", word="N"),
            Option(name="memory-swap", help="bytes of memory plus swap", word="N"),
            Option(name="memory-reservation", help="bytes", word="N"),
            Option(name="cpu-shares", help="weight", word="N", alias="cpu-share"),
            Option(name="cpu-quota", help="microseconds in each period", word="N"),
            Option(name="cpu-period", help="microseconds", word="N"),
            Option(name="cpu-burst", help="microseconds", word="N"),
            Option(name="cpu-idle", help="0 or 1", word="N"),
            Option(name="cpu-rt-runtime", help="microseconds", word="N"),
            Option(name="cpu-rt-period", help="microseconds", word="N"),
            Option(name="cpuset-cpus", help="processors", word="LIST"),
            Option(name="cpuset-mems", help="memory nodes", word="LIST"),
            Option(name="pids-limit", help="processes, -1 for no limit", word="N"),
            Option(name="blkio-weight", help="10 to 1000", word="N"),
        ),
        update,
    ),
    "events": ((Option(name="stats", help="once, then end", kind="bool"),), events),
    "features": ((), features),
    "spec": (
        (
            Option(name="bundle", short="b", help="directory for it", word="DIR", default="."),
            Option(name="rootless", help="with a user namespace", kind="bool"),
        ),
        spec,
    ),
    "checkpoint": ((), checkpoint),
    "restore": ((), checkpoint),
}
ARGUMENTS = {
    "kill": "ID [SIGNAL]",
    "delete": "ID...",
    "exec": "ID COMMAND [ARGUMENT...]",
    "ps": "ID [PS OPTIONS]",
    "list": "",
    "features": "",
    "spec": "",
}
EXAMPLES = {
    "create": "create --bundle /run/box box",
    "start": "start box",
    "run": "run --bundle /run/box box",
    "state": "state box",
    "kill": "kill box TERM",
    "delete": "delete --force box",
    "exec": "exec --user 1000:1000 box id",
    "ps": "ps --format json box",
    "list": "list --quiet",
    "pause": "pause box",
    "resume": "resume box",
    "update": "update --memory 64000000 box",
    "events": "events --stats box",
    "features": "features",
    "spec": "spec --bundle /run/box",
}
