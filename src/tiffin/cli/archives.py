"""`import`, `load`, `save` and `bootstrap`: images in and out."""

from __future__ import annotations

import os
import sys

from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.progress import Progress, size_of
from tiffin.errors import NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import IO

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _import(context: Context, parsed: Parsed) -> int:
    path = parsed.arguments[0]
    name = parsed.arguments[1] if len(parsed.arguments) > 1 else None
    if path.startswith(("http://", "https://")):
        raise NotSupportedError(
            "importing from an address is not supported yet: Tiffin fetches nothing from the network so far",
            hint=f"curl -L {path} | tiffin import - {name or 'NAME'}",
        )
    quiet = parsed.flag("quiet")
    with (
        open_source(path, "the tar archive") as source,
        Progress("Importing", total_bytes=size_of(source), quiet=quiet) as progress,
    ):
        image = context.engine.import_image(
            source,
            name,
            changes=parsed.items("change"),
            message=parsed.text("message") or "",
            platform=parsed.text("platform"),
            progress=progress.callback,
        )
    print(image.id)
    return 0


def _load(context: Context, parsed: Parsed) -> int:
    path = parsed.text("input") or "-"
    platform = parsed.text("platform")
    quiet = parsed.flag("quiet")
    if path != "-" and os.path.isdir(path):
        with Progress("Loading", quiet=quiet) as progress:
            images = context.engine.load(path, platform=platform, progress=progress.callback)
    else:
        with (
            open_source(path, "the image archive") as source,
            Progress("Loading", total_bytes=size_of(source), quiet=quiet) as progress,
        ):
            images = context.engine.load(source, platform=platform, progress=progress.callback)
    for image in images:
        for name in image.names:
            print(f"Loaded image: {name}")
        if not image.names:
            print(f"Loaded image ID: {image.id}")
    return 0


def _save(context: Context, parsed: Parsed) -> int:
    path, format = parsed.text("output"), parsed.text("format") or "docker-archive"
    compression = parsed.text("compress") or "none"
    if format not in ("docker-archive", "oci-archive", "oci-dir"):
        raise parsed.invalid("format", format, "it is docker-archive, oci-archive or oci-dir")
    if compression not in ("none", "gzip", "zstd"):
        raise parsed.invalid("compress", compression, "it is none, gzip or zstd")
    if path is None:
        if format == "oci-dir":
            raise UsageError("--format oci-dir needs a directory", hint="name one with -o")
        if os.isatty(1):
            raise UsageError("refusing to save an image to a terminal", hint="use -o, or redirect standard output")
    destination: str | IO[bytes] = path or sys.stdout.buffer
    with Progress("Saving") as progress:
        context.engine.save(
            parsed.arguments, destination, format=format, compression=compression, progress=progress.callback
        )
    sys.stdout.buffer.flush()
    return 0


def _bootstrap(context: Context, parsed: Parsed) -> int:
    quiet = parsed.flag("quiet")
    include = [package for text in parsed.items("include") for package in text.split(",") if package]

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    with Progress("Bootstrapping", quiet=quiet) as progress:
        image = context.engine.bootstrap(
            parsed.arguments[0],
            mirror=parsed.text("mirror"),
            variant=parsed.text("variant") or "minbase",
            include=include,
            progress=None if quiet else progress.say if progress.visible else say,
        )
    print(image.id)
    return 0


def open_source(path: str, what: str) -> AbstractContextManager[IO[bytes]]:
    if path != "-":
        try:
            return open(path, "rb")
        except OSError as error:
            raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    if os.isatty(0):
        raise UsageError(f"{what} should come from standard input, but that is a terminal", hint="name a file instead")
    return open(0, "rb", closefd=False)


_QUIET = Option(name="quiet", short="q", kind="bool", help="Do not show how far it is")
_PLATFORM = Option(name="platform", word="os/arch[/variant]", help="The platform, where there are several")

IMPORT = Verb(
    name="import",
    summary="Make an image from a tar archive of a root file system",
    run=_import,
    arguments="FILE|- [REPOSITORY[:TAG]]",
    minimum=1,
    maximum=2,
    options=(
        Option(name="change", short="c", kind="list", word="instruction", help="Apply a Dockerfile instruction to it"),
        Option(name="message", short="m", word="text", help="Comment for the image's history"),
        _PLATFORM,
        _QUIET,
    ),
    description="The archive may be compressed with gzip, zstd, bzip2 or xz.",
    examples=(
        ("tiffin import -c 'CMD [\"sh\"]' rootfs.tar.gz busybox", "with a default command"),
        ("tar -C rootfs -c . | tiffin import - mine", "from a pipe"),
    ),
)
LOAD = Verb(
    name="load",
    summary="Load images from a docker-archive, or an OCI archive or directory",
    run=_load,
    options=(
        Option(name="input", short="i", word="path", help="File or directory; standard input without it"),
        _PLATFORM,
        _QUIET,
    ),
    examples=(("tiffin load -i images.tar", "what `docker save` or `tiffin save` wrote"),),
)
SAVE = Verb(
    name="save",
    summary="Save images to an archive or directory",
    run=_save,
    arguments="IMAGE [IMAGE...]",
    minimum=1,
    maximum=None,
    options=(
        Option(name="compress", word="none|gzip|zstd", help="Compression of layers", default="none"),
        Option(name="format", word="format", help="docker-archive, oci-archive or oci-dir", default="docker-archive"),
        Option(name="output", short="o", word="path", help="Where to; standard output without it"),
    ),
    absent=absent("Tiffin keeps one platform per image so far", "platform"),
    examples=(
        ("tiffin save debian:bookworm | docker load", "to another engine"),
        ("tiffin save --format oci-dir --compress zstd -o layout debian:bookworm", "an OCI layout"),
    ),
)
BOOTSTRAP = Verb(
    name="bootstrap",
    summary="Make a Debian or Ubuntu image from its package archive; no registry is needed",
    run=_bootstrap,
    arguments="NAME",
    minimum=1,
    maximum=1,
    options=(
        Option(name="include", kind="list", word="package,…", help="Packages to install as well"),
        Option(name="mirror", word="address", help="The package archive", default="the host's own"),
        Option(name="quiet", short="q", kind="bool", help="Do not show what mmdebstrap says"),
        Option(name="variant", word="name", help="mmdebstrap's variant: essential, apt, minbase, …", default="minbase"),
    ),
    description="NAME is a distribution and its release, and becomes the image's name. Needs mmdebstrap.",
    examples=(
        ("tiffin bootstrap debian:bookworm", "about ten seconds"),
        ("tiffin bootstrap --include curl,ca-certificates debian:bookworm", "with more packages"),
    ),
)
