"""`attach` and `start`."""

from __future__ import annotations

from tiffin.cli.container_flags import DETACH_KEYS, SIG_PROXY
from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.passing import OPTIONS as PASSING
from tiffin.cli.passing import pass_fds
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import Container
    from tiffin.runtime.attach import Attachment


def _attach(context: Context, parsed: Parsed) -> int:
    from tiffin.cli import foreground

    keys = foreground.detach_keys(parsed)
    container = context.engine.container(parsed.arguments[0]).container
    with_stdin = container.config.interactive and not parsed.flag("no-stdin")
    foreground.check_terminal(container.config.tty, with_stdin)
    with context.engine.attach(container.id) as attachment:
        if container.config.tty and (size := foreground.terminal_size()):
            # A change of size is what has programs draw again; without one the screen would stay empty.
            attachment.resize(size[0], size[1] + 1)
            attachment.resize(*size)
        return _attend(context, parsed, container, attachment, keys, with_stdin=with_stdin)


def _start(context: Context, parsed: Parsed) -> int:
    interactive = parsed.flag("interactive")
    if parsed.flag("boot"):
        return _boot(context, parsed)
    if not interactive and not parsed.flag("attach"):
        from tiffin.cli.report import for_each

        passed = pass_fds(parsed)
        if passed and len(parsed.arguments) > 1:
            raise UsageError("descriptors can be passed to one container only")

        def start(reference: str) -> str:
            context.engine.start(reference, pass_fds=passed)
            _tell_systemd(context, reference)
            return reference

        from tiffin.cli.lifecycle import all_or_named

        return for_each(context, all_or_named(context, parsed, running=False), start)

    from tiffin.cli import foreground
    from tiffin.cli.lifecycle import all_or_named

    if parsed.flag("all") or len(parsed.arguments) > 1:
        raise UsageError("you cannot start and attach multiple containers at once")
    keys = foreground.detach_keys(parsed)
    container = context.engine.container(all_or_named(context, parsed, running=False)[0]).container
    with_stdin = interactive and container.config.interactive
    foreground.check_terminal(container.config.tty, with_stdin)
    size = foreground.terminal_size() if container.config.tty else None
    attachment = context.engine.start(container.id, attach=True, tty_size=size, pass_fds=pass_fds(parsed))
    assert attachment is not None
    with attachment:
        return _attend(context, parsed, container, attachment, keys, with_stdin=with_stdin)


def _boot(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.report import exit_code, show_error

    if parsed.arguments or parsed.flag("all"):
        raise UsageError("--boot takes no containers", hint=parsed.verb.see_help)
    code = 0
    for result in context.engine.start_boot():
        if result.error is None:
            print(result.name)
        else:
            show_error(context, result.error)
            code = code or exit_code(result.error)
    return code


def _tell_systemd(context: Context, reference: str) -> None:
    """In a unit of Type=notify: the monitor is the main process (sd_notify(3))."""
    import os

    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket

    pid = context.engine.container(reference).state.monitor_pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.send(f"MAINPID={pid}\nREADY=1\n".encode() if pid else b"READY=1\n")


def _attend(
    context: Context, parsed: Parsed, container: Container, attachment: Attachment, keys: bytes, *, with_stdin: bool
) -> int:
    """Watch until it ends. Whoever started it looks after its removal, so nothing is cleaned up here."""
    from tiffin.cli import foreground

    def forward(number: int) -> None:
        foreground.unless_gone(lambda: context.engine.kill(container.id, signal=number))

    outcome = foreground.attend(
        attachment,
        tty=container.config.tty,
        streams=frozenset(("stdin", "stdout", "stderr") if with_stdin else ("stdout", "stderr")),
        keys=keys,
        forward=forward if parsed.flag("sig-proxy", True) else None,
        name=container.name,
    )
    if outcome.detached:
        return outcome.exit_code or 0
    if outcome.reader_gone:
        return foreground.READER_GONE
    return outcome.exit_code if outcome.exit_code is not None else context.engine.wait(container.id)


ATTACH = Verb(
    name="attach",
    summary="Attach to a running container's input and output",
    run=_attach,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    options=(DETACH_KEYS, SIG_PROXY, Option(name="no-stdin", kind="bool", help="Do not attach standard input")),
    description="Leave with the detach keys; the container runs on. The exit code is the container's.",
    examples=(("tiffin attach --no-stdin web", "watch only"),),
)

START = Verb(
    name="start",
    summary="Start one or more stopped containers",
    run=_start,
    arguments="CONTAINER [CONTAINER...]",
    maximum=None,
    options=(
        Option(name="all", kind="bool", help="All that do not run"),
        Option(name="boot", kind="bool", help="What restarts always or unless stopped, after the host has come up"),
        Option(name="attach", short="a", kind="bool", help="Attach to its output, and pass signals on"),
        DETACH_KEYS,
        Option(name="interactive", short="i", kind="bool", help="Attach standard input as well"),
        SIG_PROXY,
        *PASSING,
    ),
    absent=absent("Tiffin does not checkpoint containers so far", "checkpoint", "checkpoint-dir"),
    examples=(
        ("tiffin start web", "in the background"),
        ("tiffin start -ai shell", "and be in it"),
        ("tiffin start --boot", "what a unit does at boot; `tiffin generate systemd --boot` prints it"),
    ),
)
