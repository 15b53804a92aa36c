"""`cp`: files into a container and out of it."""

from __future__ import annotations

import os
import sys

from tiffin.cli.options import Option, Verb
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _cp(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.archives import open_source
    from tiffin.cli.progress import Progress, counted

    source, destination = parsed.arguments
    if not source:
        raise UsageError("source can not be empty")
    if not destination:
        raise UsageError("destination can not be empty")
    from_name, from_path = split(source)
    to_name, to_path = split(destination)
    if from_name and to_name:
        raise UsageError(
            "copying between containers is not supported",
            hint=f"tiffin cp {source} - | tiffin cp - {destination}",
        )
    follow, archive = parsed.flag("follow-link"), parsed.flag("archive")
    if from_name:
        if to_path == "-":
            if os.isatty(1):
                raise UsageError("refusing to write a tar archive to a terminal", hint="redirect standard output")
            with Progress("Copying", quiet=parsed.flag("quiet")) as progress:
                out = counted(sys.stdout.buffer, progress)
                context.engine.copy_out(from_name, from_path, out, follow_link=follow)
            sys.stdout.buffer.flush()
            return 0
        with Progress("Copying", quiet=parsed.flag("quiet")) as progress:
            context.engine.copy_out(
                from_name, from_path, to_path, follow_link=follow, archive=archive, progress=progress.callback
            )
        return 0
    if not to_name:
        raise UsageError("must specify at least one container source", hint="name a file in one as CONTAINER:PATH")
    with Progress("Copying", quiet=parsed.flag("quiet")) as progress:
        if from_path == "-":
            with open_source("-", "the tar archive") as stream:
                context.engine.copy_in(to_name, stream, to_path, archive=archive, progress=progress.callback)
        else:
            context.engine.copy_in(
                to_name, from_path, to_path, follow_link=follow, archive=archive, progress=progress.callback
            )
    return 0


def split(argument: str) -> tuple[str, str]:
    """(container, path), the container empty for a path of the host: absolute, with a leading dot, or without colon."""
    name, colon, path = argument.partition(":")
    if argument.startswith(("/", ".")) or not colon or not name:
        return "", argument
    return name, path or "/"


CP = Verb(
    name="cp",
    summary="Copy files between a container and the host",
    run=_cp,
    arguments="CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    minimum=2,
    maximum=2,
    options=(
        Option(
            name="archive", short="a", kind="bool",
            help="Into a container: give everything to its user; out of it: keep owners",
        ),
        Option(name="follow-link", short="L", kind="bool", help="Follow a symbolic link in SRC_PATH"),
        Option(name="quiet", short="q", kind="bool", help="Do not show how far it is"),
    ),
    description=(
        "A directory is copied into a directory that exists, else it becomes DEST_PATH; with /. at its end only what "
        "is in it is copied. - is a tar archive on standard input or output. The container need not run."
    ),
    examples=(
        ("tiffin cp web:/etc/nginx .", "out of a container"),
        ("tiffin cp site/. web:/srv", "what is in a directory, into one"),
        ("tiffin cp web:/var/log - | tar t", "as a tar archive"),
    ),
)  # fmt: skip
