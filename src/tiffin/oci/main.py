"""The command line of `tiffin-runtime`: runc's words, our launcher."""

from __future__ import annotations

import os
import sys

from tiffin._version import __version__
from tiffin.cli.options import HelpAsked, Option, Verb, parse
from tiffin.errors import NotSupportedError, TiffinError, UsageError
from tiffin.oci.state import DEFAULT_ROOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC_VERSION = "1.2.0"
NAME = "tiffin-runtime"

GLOBAL = (
    Option(name="root", help="directory for the state of containers", word="DIR", default=DEFAULT_ROOT),
    Option(name="log", help="file for errors and warnings, besides standard error", word="FILE"),
    Option(name="log-format", help="text or json", word="FORMAT", default="text"),
    Option(name="debug", help="log what is done, too", kind="bool"),
    Option(name="systemd-cgroup", help="refused: cgroups are made by cgroupfs alone", kind="bool"),
    Option(name="rootless", help="true, false or auto; it changes nothing", word="WORD"),
    Option(name="criu", help="ignored, as runc does", word="PATH"),
    Option(name="version", help="print the version", short="v", kind="bool"),
)


class Log:
    """Where messages go: standard error for people, and the file that an engine reads."""

    def __init__(self) -> None:
        self.path = ""
        self.format = "text"
        self.debugging = False

    def error(self, message: str) -> None:
        sys.stderr.write(f"{NAME}: {message}\n")
        self._write("error", message)

    def warn(self, message: str) -> None:
        # Standard error belongs to the container while it is being made.
        self._write("warning", message)
        if not self.path:
            sys.stderr.write(f"{NAME}: warning: {message}\n")

    def debug(self, message: str) -> None:
        if self.debugging:
            self._write("debug", message)

    def _write(self, level: str, message: str) -> None:
        if not self.path:
            return
        import time

        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.format == "json":
            import json

            line = json.dumps({"level": level, "msg": message, "time": stamp}, ensure_ascii=False)
        else:
            quoted = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            line = f'time="{stamp}" level={level} msg="{quoted}"'
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        os.write(descriptor, line.encode("utf-8", "replace") + b"\n")
        os.close(descriptor)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    log = Log()
    try:
        return _run(sys.argv[1:] if words is None else list(words), log)
    except TiffinError as error:
        log.error(str(error))
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        log.error(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        return 1
    except RecursionError:
        log.error("the configuration is nested too deeply")
        return 1


def _run(words: list[str], log: Log) -> int:
    top = Verb(name=NAME, summary="", run=_none, options=GLOBAL, maximum=None, interspersed=False)
    try:
        parsed = parse(top, words)
    except HelpAsked:
        return _help()
    if parsed.flag("version"):
        sys.stdout.write(f"{NAME} version {__version__}\nspec: {SPEC_VERSION}\n")
        return 0
    log.path = parsed.text("log") or ""
    log.format = parsed.text("log-format") or "text"
    log.debugging = parsed.flag("debug")
    if log.format not in ("text", "json"):
        raise UsageError(f"unknown log-format {log.format!r}: it is text or json")
    if parsed.flag("systemd-cgroup"):
        raise NotSupportedError("--systemd-cgroup is not supported: cgroups are made by cgroupfs alone")
    if not parsed.arguments or parsed.arguments[0] == "help":
        return _help()
    from tiffin.oci import commands

    name = parsed.arguments[0]
    command = commands.COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command {name!r}", hint=f"see {NAME} --help")
    options, run = command
    verb = Verb(
        name=name,
        summary="",
        run=_none,
        options=options,
        maximum=None,
        interspersed=name != "exec",
    )
    try:
        asked = parse(verb, parsed.arguments[1:])
    except HelpAsked:
        return _help_of(name, options)
    except UsageError as error:
        raise UsageError(error.message, hint=f"see {NAME} {name} --help") from None
    root = os.path.abspath(parsed.text("root") or DEFAULT_ROOT)
    return run(commands.Call(root=root, log=log, asked=asked))


def _none(*_: object) -> int:
    raise AssertionError("never called")


def _help() -> int:
    from tiffin.oci import commands

    lines = [f"Usage: {NAME} [OPTIONS] COMMAND [ARGUMENTS]", "", "An OCI runtime with runc's command line."]
    lines += ["", "Commands:"]
    lines += [f"  {name:10} {(run.__doc__ or '').rstrip('.')}" for name, (_, run) in commands.COMMANDS.items()]
    lines += ["", "Options:", *_option_lines(GLOBAL)]
    lines += ["", "Example:", f"  podman --runtime $(command -v {NAME}) run --rm busybox date"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _help_of(name: str, options: tuple[Option, ...]) -> int:
    from tiffin.oci import commands

    run = commands.COMMANDS[name][1]
    about = [line.strip() for line in (run.__doc__ or "").splitlines()]
    lines = [f"Usage: {NAME} {name} [OPTIONS] {commands.ARGUMENTS.get(name, 'ID')}", "", *about]
    if options:
        lines += ["", "Options:", *_option_lines(options)]
    example = commands.EXAMPLES.get(name)
    if example:
        lines += ["", "Example:", f"  {NAME} {example}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _option_lines(options: tuple[Option, ...]) -> list[str]:
    lines = []
    for option in options:
        shown = option.shown + (f" {option.word or 'TEXT'}" if option.kind != "bool" else "")
        lines.append(f"  {shown:28} {option.help}" + (f" (default {option.default})" if option.default else ""))
    return lines
