"""`pull` and `push`, and the pulls of `run` and `create`."""

from __future__ import annotations

import sys

from tiffin.cli.board import Json, presenter
from tiffin.cli.options import Option, Verb, absent
from tiffin.errors import NotFoundError, NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.board import Board, Lines
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.images.transfer.steps import Step
    from tiffin.model.container import ContainerConfig


def _pull(context: Context, parsed: Parsed) -> int:
    _check_trust(parsed)
    name = parsed.arguments[0]
    shown = _presenter(parsed)
    with _Shown(shown) as progress:
        images = context.engine.pull(
            name,
            platform=parsed.text("platform"),
            all_tags=parsed.flag("all-tags"),
            keep_blobs=True if parsed.flag("keep-blobs") else None,
            progress=progress,
        )
    if isinstance(shown, Json):
        for image in images:
            shown.tell({"aux": {"ID": image.id, "RepoTags": list(image.names), "RepoDigests": list(image.digests)}})
    else:
        print(_full_name(name, parsed.flag("all-tags")))
    return 0


def _push(context: Context, parsed: Parsed) -> int:
    _check_trust(parsed)
    compression = parsed.text("compression")
    if compression not in (None, "gzip", "zstd"):
        raise parsed.invalid("compression", compression or "", "it is gzip or zstd")
    if parsed.flag("force-compression") and compression is None:
        raise UsageError("--force-compression needs --compression", hint="say which: --compression zstd")
    name = parsed.arguments[0]
    shown = _presenter(parsed)
    with _Shown(shown) as progress:
        pushed = context.engine.push(
            name,
            all_tags=parsed.flag("all-tags"),
            compression=compression,
            force_compression=parsed.flag("force-compression"),
            progress=progress,
        )
    if isinstance(shown, Json):
        for each in pushed:
            tag = each.name.rpartition(":")[2]
            shown.tell({"aux": {"Tag": tag, "Digest": each.digest, "Size": each.size_bytes}})
    elif parsed.flag("quiet"):
        print(_full_name(name, parsed.flag("all-tags")))
    return 0


def pull_missing(context: Context, parsed: Parsed, config: ContainerConfig, error: NotFoundError) -> None:
    """Get the image of a new container that is not here, told on standard error; `error` when nobody could have it."""
    from tiffin.images.host import is_host_id

    engine = context.engine
    try:
        image = engine.image(config.image)
    except NotFoundError:
        pass
    else:
        if is_host_id(image.id) or not config.platform:
            raise error
    if not engine.can_pull(config.image):
        raise error
    if not parsed.flag("quiet"):
        sys.stderr.write(f"Unable to find image '{_full_name(config.image, False)}' locally\n")
    pull_for(context, parsed, config)


def pull_for(context: Context, parsed: Parsed, config: ContainerConfig) -> None:
    """Pull the image of a new container, told on standard error."""
    with _Shown(None if parsed.flag("quiet") else presenter(sys.stderr)) as progress:
        context.engine.pull(config.image, platform=config.platform or None, progress=progress)


class _Shown:
    """`with _Shown(presenter) as progress: …`; None shows nothing."""

    def __init__(self, shown: Board | Lines | Json | None) -> None:
        self._shown = shown

    def __enter__(self) -> Callable[[Step], None] | None:
        if self._shown is None:
            return None
        return self._shown.__enter__().show

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.__exit__()


def _presenter(parsed: Parsed) -> Board | Lines | Json | None:
    format = parsed.text("format")
    if format not in (None, "", "json"):
        raise parsed.invalid("format", format or "", "it is json")
    if format:
        return Json(sys.stdout)
    return None if parsed.flag("quiet") else presenter()


def _check_trust(parsed: Parsed) -> None:
    if not parsed.flag("disable-content-trust", True):
        raise NotSupportedError(
            "--disable-content-trust=false is not supported: Docker's content trust needs a server of its own",
            hint="policy.json says which signatures images must have",
        )


def _full_name(name: str, all_tags: bool) -> str:
    from tiffin.images.reference import DEFAULT_TAG, parse_reference

    reference = parse_reference(name)
    if all_tags or reference.tag or reference.digest:
        return str(reference)
    return f"{reference.name}:{DEFAULT_TAG}"


_ALL = Option(name="all-tags", short="a", kind="bool", help="All tags of the repository")
_TRUST = Option(
    name="disable-content-trust", kind="bool", help="Accepted as true, its default: policy.json has the rules"
)
_FORMAT = Option(name="format", word="json", help="A JSON object a line, as Docker's API has them")

PULL = Verb(
    name="pull",
    summary="Get an image from a registry",
    run=_pull,
    arguments="NAME[:TAG|@DIGEST]",
    minimum=1,
    maximum=1,
    options=(
        _ALL,
        _TRUST,
        _FORMAT,
        Option(name="keep-blobs", kind="bool", help="Keep the packed layers too, to push them elsewhere as they are"),
        Option(name="platform", word="os/arch[/variant]", help="The platform to get", default="the host's"),
        Option(name="quiet", short="q", kind="bool", help="Print the name only"),
    ),
    description="NAME begins with a registry's host, or is looked for at the search registries of registries.toml. "
    "Layers that are here are not fetched; those that were finished before a pull was cut short stay for the next one.",
    examples=(
        ("tiffin pull registry.example/team/app:1.2", "by tag"),
        ("tiffin pull --platform linux/arm64 registry.example/team/app", "for another platform"),
        ("tiffin pull -q localhost:5000/team/app", "for scripts"),
    ),
)
PUSH = Verb(
    name="push",
    summary="Give an image to a registry",
    run=_push,
    arguments="NAME[:TAG]",
    minimum=1,
    maximum=1,
    options=(
        _ALL,
        Option(name="compression", word="gzip|zstd", help="For layers that have to be packed", default="gzip"),
        _TRUST,
        Option(name="force-compression", kind="bool", help="For all layers, also those that exist packed otherwise"),
        _FORMAT,
        Option(name="quiet", short="q", kind="bool", help="Print the name only"),
    ),
    absent=absent("Tiffin keeps one platform per image so far", "platform"),
    description="NAME begins with the registry's host; `tiffin tag` gives an image such a name. What the registry has "
    "is not sent. An image that came from a registry keeps its manifest, and so its digest, wherever its layers can be "
    "had as they were.",
    examples=(
        ("tiffin push registry.example/team/debian", "send it there"),
        ("tiffin push -a registry.example/team/debian", "with all of its tags"),
        ("tiffin push --compression zstd localhost:5000/team/app:1.2", "new layers as zstd"),
    ),
)
