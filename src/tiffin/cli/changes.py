"""`diff`, `export` and `commit`: what a container made of its image."""

from __future__ import annotations

import os
import sys

from tiffin.cli.options import Option, Verb
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _diff(context: Context, parsed: Parsed) -> int:
    lines = [f"{change.kind} {change.path}\n" for change in context.engine.diff(parsed.arguments[0])]
    sys.stdout.buffer.write("".join(lines).encode("utf-8", "surrogateescape"))
    return 0


def _export(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.progress import Progress, counted

    path = parsed.text("output")
    if path is not None:
        with Progress("Exporting") as progress:
            context.engine.export(parsed.arguments[0], path, progress=progress.callback)
        return 0
    if os.isatty(1):
        raise UsageError("refusing to write a tar archive to a terminal", hint="use -o, or redirect standard output")
    with Progress("Exporting") as progress:
        context.engine.export(parsed.arguments[0], counted(sys.stdout.buffer, progress))
    sys.stdout.buffer.flush()
    return 0


def _commit(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.progress import Progress

    with Progress("Committing") as progress:
        image = context.engine.commit(
            parsed.arguments[0],
            parsed.arguments[1] if len(parsed.arguments) > 1 else None,
            changes=parsed.items("change"),
            author=parsed.text("author") or "",
            message=parsed.text("message") or "",
            pause=parsed.flag("pause", default=True),
            progress=progress.callback,
        )
    print(image.id)
    return 0


DIFF = Verb(
    name="diff",
    summary="Show which files a container added (A), changed (C) and deleted (D)",
    run=_diff,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    examples=(("tiffin diff web", "compared with its image"),),
)

EXPORT = Verb(
    name="export",
    summary="Write all files of a container as a tar archive",
    run=_export,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    options=(Option(name="output", short="o", word="path", help="Where to; standard output without it"),),
    description="What is mounted in the container is left out. The container need not run.",
    examples=(
        ("tiffin export web -o web.tar", "to a file"),
        ("tiffin export web | tiffin import - web:flat", "as an image of one layer"),
    ),
)

COMMIT = Verb(
    name="commit",
    summary="Make an image from what a container changed",
    run=_commit,
    arguments="CONTAINER [REPOSITORY[:TAG]]",
    minimum=1,
    maximum=2,
    options=(
        Option(name="author", short="a", word="text", help="Who made it, such as “Jane <jane@example.com>”"),
        Option(name="change", short="c", kind="list", word="instruction", help="Apply a Dockerfile instruction to it"),
        Option(name="message", short="m", word="text", help="Comment for the image's history"),
        Option(name="pause", short="p", kind="bool", help="Have it stand still meanwhile", default="true"),
    ),
    description="What is mounted in the container is left out.",
    examples=(
        ("tiffin commit web web:patched", "a new layer on its image's"),
        ("tiffin commit -c 'CMD [\"nginx\"]' -m 'with nginx' web", "with another command"),
    ),
)
