"""`run` and `create`."""

from __future__ import annotations

import os

from tiffin.cli.container_flags import ABSENT, CREATE_OPTIONS, RUN_OPTIONS
from tiffin.cli.container_options import attached_streams, config_from
from tiffin.cli.options import Verb
from tiffin.cli.passing import OPTIONS as PASSING
from tiffin.cli.passing import pass_fds
from tiffin.errors import NotFoundError, OptionError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import Container, ContainerConfig
    from tiffin.runtime.attach import Attachment


def _run(context: Context, parsed: Parsed) -> int:
    detach = parsed.flag("detach")
    if detach and parsed.given("attach"):
        raise UsageError("conflicting options: cannot specify both --attach and --detach")
    config = config_from(parsed)
    streams = attached_streams(parsed)
    if config.log.driver == "passthrough":
        streams = _passed_through()
    passed = pass_fds(parsed)
    if detach:
        container = _create(context, parsed, config)
        _start(context, container, passed)
        print(container.id)
        return 0

    from tiffin.cli import foreground

    keys = foreground.detach_keys(parsed)
    foreground.check_terminal(config.tty, "stdin" in streams)
    container = _create(context, parsed, config)
    attachment = _start(context, container, passed, attach=True)
    assert attachment is not None
    with attachment:
        return _attend(context, parsed, container, attachment, streams, keys)


def _attend(
    context: Context,
    parsed: Parsed,
    container: Container,
    attachment: Attachment,
    streams: frozenset[str],
    keys: bytes,
) -> int:
    from tiffin.cli import foreground

    engine = context.engine
    config = container.config
    if not config.interactive:
        attachment.close_stdin()

    def forward(number: int) -> None:
        foreground.unless_gone(lambda: engine.kill(container.id, signal=number))

    try:
        outcome = foreground.attend(
            attachment,
            tty=config.tty,
            streams=streams,
            keys=keys,
            forward=forward if parsed.flag("sig-proxy", True) else None,
            name=container.name,
        )
    except OSError:
        # Its output cannot be written, to a full disk for example: it ends, instead of running on unseen.
        foreground.unless_gone(lambda: engine.kill(container.id, signal="KILL"))
        raise
    if outcome.detached:
        return outcome.exit_code or 0
    if outcome.reader_gone:
        # As in any pipeline: whose output nobody reads any more is ended, instead of running on unseen.
        foreground.unless_gone(lambda: engine.kill(container.id, signal="KILL"))
    attachment.acknowledge()
    code = outcome.exit_code
    if code is None:
        code = engine.wait(container.id)
    if config.auto_remove:
        foreground.unless_gone(lambda: engine.remove(container.id, force=outcome.reader_gone))
    return foreground.READER_GONE if outcome.reader_gone else code


def _create_verb(context: Context, parsed: Parsed) -> int:
    try:
        attached_streams(parsed)
        config = config_from(parsed)
    except UsageError as error:
        raise OptionError(error.message, hint=error.hint) from error
    print(_create(context, parsed, config).id)
    return 0


def _create(context: Context, parsed: Parsed, config: ContainerConfig) -> Container:
    """Create the container and write its ID to --cidfile, which must not exist yet."""
    path = parsed.text("cidfile")
    if path is None:
        return _created(context, parsed, config)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise UsageError(
            f"the container ID file {path} exists already", hint="its container may still be there; else delete it"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write the container ID file {path}: {error.strerror}") from error
    with open(fd, "w") as file:
        try:
            container = _created(context, parsed, config)
        except BaseException:
            os.unlink(path)
            raise
        file.write(container.id)
    return container


def _created(context: Context, parsed: Parsed, config: ContainerConfig) -> Container:
    """Create it, with its image pulled before if --pull says so or if it is not here."""
    policy = parsed.text("pull")
    if policy == "always":
        from tiffin.cli.transfer import pull_for

        pull_for(context, parsed, config)
    try:
        return context.engine.create(config)
    except NotFoundError as error:
        if policy in ("always", "never"):
            raise
        from tiffin.cli.transfer import pull_missing

        pull_missing(context, parsed, config, error)
    return context.engine.create(config)


def _passed_through() -> frozenset[str]:
    """Nothing is relayed: the container has our own streams, which must not be a terminal, or it could type on it."""
    if any(os.isatty(fd) for fd in range(3)):
        raise UsageError("the '--log-driver passthrough' option cannot be used on a TTY")
    return frozenset()


def _start(
    context: Context, container: Container, passed: tuple[int | tuple[str, int], ...], *, attach: bool = False
) -> Attachment | None:
    size = None
    if container.config.tty:
        from tiffin.cli.terminal import window_size

        size = window_size(0, 1, 2)
    try:
        return context.engine.start(container.id, attach=attach, tty_size=size, pass_fds=passed)
    except BaseException:
        if container.config.auto_remove:
            from tiffin.cli.foreground import unless_gone

            unless_gone(lambda: context.engine.remove(container.id, force=True))
        raise


_ARGUMENTS = "IMAGE [COMMAND] [ARG...]"

RUN = Verb(
    name="run",
    summary="Create and start a container from an image",
    run=_run,
    arguments=_ARGUMENTS,
    minimum=1,
    maximum=None,
    options=(*RUN_OPTIONS, *PASSING),
    absent=ABSENT,
    interspersed=False,
    container_codes=True,
    failed=125,
    description="Options come before IMAGE; everything after it belongs to the command inside. The exit code is the "
    "command's own; 125 means that Tiffin failed, 126 that the command cannot be executed, 127 that it was not found.",
    examples=(
        ("tiffin run --rm host cat /etc/os-release", "the host's own root file system, copy-on-write"),
        ("tiffin run -it --rm debian:bookworm bash", "a shell"),
        ('tiffin run --rm -v "$PWD":/src:ro -w /src debian:bookworm ls', "work on a directory of the host"),
        ("tiffin run --rm --preserve-fds 1 host sh -c 'cat <&3' 3< file", "one more open descriptor inside"),
        ("tiffin run -d --name web -m 256m --cpus 0.5 debian:bookworm sleep infinity", "in the background, limited"),
        ("tiffin run -d --restart on-failure:5 debian:bookworm sleep infinity", "started again when it fails"),
        ("tiffin run -d --health-cmd 'test -e /run/up' debian:bookworm sleep infinity", "`tiffin ps` shows its health"),
        ("tiffin run --rm --userns auto debian:bookworm id", "its root is nobody on the host"),
        ("tiffin run --rm -it --pid container:web --network container:web busybox", "look at another one from inside"),
    ),
)

CREATE = Verb(
    name="create",
    summary="Create a container without starting it",
    run=_create_verb,
    arguments=_ARGUMENTS,
    minimum=1,
    maximum=None,
    options=CREATE_OPTIONS,
    absent=ABSENT,
    interspersed=False,
    description="Prints the container's ID. Start it with `tiffin start`.",
    examples=(("tiffin create --name web debian:bookworm sleep infinity", "create now, start later"),),
)
