"""Entry point of the `tiffin` command."""

from __future__ import annotations

import os
import sys

from tiffin.cli import commands
from tiffin.cli.context import Context
from tiffin.cli.options import HelpAsked, Option, Parsed, Verb, absent, parse
from tiffin.errors import NotSupportedError, TiffinError, UsageError, as_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130
_READER_GONE = 141


def _never(context: Context, parsed: Parsed) -> int:
    raise AssertionError("the global options are no verb")


GLOBAL = Verb(
    name="",
    summary="A container engine without a daemon",
    run=_never,
    arguments="COMMAND",
    maximum=None,
    interspersed=False,
    options=(
        Option(name="root", word="dir", help="Where images and containers are", default="/var/lib/tiffin"),
        Option(name="run-root", word="dir", help="Where the state of running containers is", default="/run/tiffin"),
        Option(name="storage-driver", word="name", help="How root file systems are made; `tiffin info` shows which"),
        Option(name="userns", word="mode", help="User namespace of new containers: host, or auto[:size=N]"),
        Option(
            name="cdi-spec-dir",
            kind="list",
            word="dir",
            help="Where devices are described (CDI)",
            default="/etc/cdi and /var/run/cdi",
        ),
        Option(name="debug", short="D", kind="bool", help="Show on standard error what is done and how long it takes"),
        Option(name="version", short="v", kind="bool", help="Print the version"),
    ),
    absent={
        **absent(
            "Tiffin has no server so far and works on its own host; choose a store with --root",
            "host/H", "context/c", "connection", "url", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey",
        ),
        **absent("Tiffin reads no configuration files so far", "config"),
        **absent("use --debug", "log-level/l"),
    },
)  # fmt: skip


def main(argv: Sequence[str] | None = None, *, process_ends: bool = False) -> int:
    """Run one command; returns its exit code.

    `process_ends` promises that the process ends right away: the engine is then left to the kernel, since closing
    the last connection would have SQLite copy its log back, with two fsyncs that no user wants to wait for.
    """
    _open_missing()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")  # names and paths need not be UTF-8
    call = _Call(sys.argv[1:] if argv is None else list(argv))
    try:
        code = call.run()
        sys.stdout.flush()  # while a failure can still be told
        return code
    except TiffinError as error:
        from tiffin.cli.report import exit_code, show_error

        show_error(call.context, error)
        return exit_code(error, call.verb)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _READER_GONE
    except OSError as error:
        _discard_output()
        return _system_refused(call, error)
    finally:
        if call.context is not None and not process_ends:
            call.context.close()


def _open_missing() -> None:
    """Have descriptors 0 to 2, so that nothing else is opened under their numbers and then written to.

    To a missing standard output every write fails, as it would in any program; the others are /dev/null.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == 1 else os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - likewise


class _Call:
    """One command line: what it turned out to ask for, as far as it was read."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.context: Context | None = None
        self.verb: Verb | None = None  # when its options and arguments were understood
        self.asked: Verb | None = None  # whose help it is

    def run(self) -> int:
        try:
            return self._run()
        except HelpAsked:
            _print_help(self.asked)
            return 0

    def _run(self) -> int:
        options = parse(GLOBAL, self._words)
        if options.flag("version"):
            from tiffin._version import __version__

            print(f"Tiffin version {__version__}")
            return 0
        name, rest = _split(options.arguments)
        verb, rest = _find(name, rest)
        self.asked = verb
        self.context = Context(
            root=options.text("root"),
            run_root=options.text("run-root"),
            storage=options.text("storage-driver"),
            debug=options.flag("debug"),
            userns=options.text("userns"),
            cdi_dirs=options.items("cdi-spec-dir"),
        )
        parsed = parse(verb, rest)
        self.verb = verb
        code = verb.run(self.context, parsed)
        if self.context.debug is not None:
            self.context.debug(f"exit code {code}")
        return code


def _system_refused(call: _Call, error: OSError) -> int:
    """What the system refused, and nobody below had better words for: most often to take our output."""
    from tiffin.cli.report import show_error

    what = f"{error.filename}" if error.filename else "cannot write the output"
    shown = TiffinError(f"{what}: {error.strerror or error}", hint=as_root(error))
    shown.__cause__ = error
    show_error(call.context, shown)
    return call.verb.failed if call.verb is not None else 1


def _discard_output() -> None:
    """What could not be written has nowhere to go; Python would complain when it flushes at exit."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The verb and its words. HelpAsked when there are none."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"] if len(words) > 1 else []
    if not words:
        raise HelpAsked
    return words[0], words[1:]


def _find(name: str, rest: list[str]) -> tuple[Verb, list[str]]:
    if name in commands.VERBS:
        return commands.load(commands.VERBS[name]), rest
    if name in commands.GROUPS:
        return _find_in_group(name, rest)
    raise _unknown(name, "", commands.VERBS.keys() | commands.GROUPS.keys())


def _find_in_group(group: str, rest: list[str]) -> tuple[Verb, list[str]]:
    summary, places = commands.GROUPS[group]
    if not rest or rest[0] in ("--help", "-h"):
        return _group_page(group, summary, places), []
    name = commands.ALIASES.get(group, {}).get(rest[0], rest[0])
    if name not in places:
        raise _unknown(name, group, set(places))
    return commands.load(places[name]), rest[1:]


def _group_page(group: str, summary: str, places: dict[str, str]) -> Verb:
    def show(context: Context, parsed: Parsed) -> int:
        from tiffin.cli.usage import group_help

        sys.stdout.write(group_help(group, summary, [(name, commands.load(places[name]).summary) for name in places]))
        return 0

    return Verb(name=group, summary=summary, run=show)


def _unknown(name: str, group: str, known: set[str]) -> UsageError:
    shown = f"{group} {name}" if group else name
    reason = commands.ABSENT.get(shown) or commands.ABSENT.get(name)
    if reason is not None:
        return NotSupportedError(f"'tiffin {shown}' is not supported yet: {reason}")
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"See 'tiffin {group + ' ' if group else ''}--help'."
    if close:
        names = " or ".join(f"'tiffin {group + ' ' if group else ''}{found}'" for found in sorted(close))
        hint = f"Did you mean {names}? {hint}"
    return UsageError(f"'{shown}' is not a tiffin command.", hint=hint)


def _print_help(verb: Verb | None) -> None:
    from tiffin.cli import usage

    if verb is not None:
        sys.stdout.write(usage.verb_help(verb))
        return
    topics = [
        (title, [(name, commands.load(commands.VERBS[name]).summary) for name in names])
        for title, names in commands.TOPICS
    ]
    groups = [(name, summary) for name, (summary, _) in commands.GROUPS.items()]
    sys.stdout.write(usage.top_help([*topics, ("Groups", groups)], GLOBAL.options))
