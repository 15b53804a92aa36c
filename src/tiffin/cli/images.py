"""`images`, `rmi`, `tag` and `history`."""

from __future__ import annotations

import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.report import for_each, show_error
from tiffin.cli.table import ellipsis
from tiffin.cli.units import ago, local_time, parse_moment, rfc3339, size
from tiffin.errors import AmbiguousError, NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.image import HistoryEntry, Image

_HEADINGS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
}
_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_NONE = "<none>"


class Row(Fields):
    type_name = "image"


class Step(Fields):
    type_name = "history entry"


def short_id(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _images(context: Context, parsed: Parsed) -> int:
    if parsed.flag("tree"):
        for option in ("digests", "format", "quiet"):
            if parsed.given(option):
                raise UsageError(
                    f"--{option} does not go with --tree", hint="`tiffin image tree --format` has rows for scripts"
                )
    filters = listing.parse_filters(parsed, _FILTERS)
    if parsed.arguments:
        filters.setdefault("reference", []).append(parsed.arguments[0])
    pairs = [(image, name) for image in context.engine.images(all=parsed.flag("all")) for name in names(image)]
    for keep in _conditions(context, filters):
        pairs = [(image, name) for image, name in pairs if keep(image, name)]
    full, format = parsed.flag("no-trunc"), parsed.text("format")
    if parsed.flag("tree"):
        from tiffin.cli import tree_view

        chosen = list(dict.fromkeys(image.id for image, name in pairs if name != "host"))
        if chosen:
            tree_view.show(context.engine.image_tree(chosen if filters else ()), None, full=full)
        return 0
    if parsed.flag("quiet") and not format:
        listing.quietly(dict.fromkeys(image.id if full else short_id(image.id) for image, _ in pairs))
        return 0
    now_ns = time.time_ns()
    rows = [row(image, name, now_ns, full=full) for image, name in pairs]
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
    if parsed.flag("digests"):
        columns.insert(2, "Digest")
    listing.show(format, rows, _HEADINGS, columns)
    return 0


def names(image: Image) -> tuple[str, ...]:
    """Each name is a line of its own; pinned digests only where their repository has no tag."""
    tagged = {name.rpartition(":")[0] for name in image.names}
    return (*image.names, *(name for name in image.digests if name.partition("@")[0] not in tagged)) or ("",)


def row(image: Image, name: str, now_ns: int, *, full: bool) -> Row:
    digest = next((pin.partition("@")[2] for pin in image.digests if pin.partition("@")[0] == _split(name)[0]), _NONE)
    repository, tag = _split(name)
    return Row(
        Containers="N/A",
        CreatedAt=local_time(image.created_ns) if image.created_ns else "N/A",
        CreatedSince=ago(image.created_ns, now_ns),
        Digest=digest,
        ID=image.id if full else short_id(image.id),
        Repository=repository,
        SharedSize="N/A",
        Size=size(image.size_bytes),
        Tag=tag,
        UniqueSize="N/A",
        VirtualSize=size(image.size_bytes),
    )


def _split(name: str) -> tuple[str, str]:
    """Repository and tag as they are shown."""
    if "@" in name:
        return name.partition("@")[0], _NONE
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name or _NONE, _NONE if not name else "latest"
    return repository, tag


def _conditions(context: Context, filters: dict[str, list[str]]) -> list[Callable[[Image, str], bool]]:
    conditions: list[Callable[[Image, str], bool]] = []
    for name, values in filters.items():
        if name == "dangling":
            wanted = listing.truth(name, values[-1])
            conditions.append(lambda image, _, wanted=wanted: (not image.names) == wanted)  # type: ignore[misc]
        elif name == "label":
            conditions.append(
                lambda image, _, values=values: listing.labels_match(values, dict(image.config.labels))  # type: ignore[misc]
            )
        elif name == "reference":
            conditions.append(
                lambda image, shown, values=values: any(  # type: ignore[misc]
                    value in image.digests if "@" in value else _fits(value, shown) for value in values
                )
            )
        else:
            moment = min(_moment(context, name, value) for value in values)
            if name == "since":
                conditions.append(lambda image, _, moment=moment: image.created_ns > moment)  # type: ignore[misc]
            else:
                conditions.append(lambda image, _, moment=moment: image.created_ns < moment)  # type: ignore[misc]
    return conditions


def _moment(context: Context, name: str, value: str) -> int:
    if name != "until":
        return context.engine.image(value).created_ns
    try:
        return parse_moment(value, time.time_ns())
    except ValueError as error:
        raise listing.bad_filter(f"until={value}", str(error)) from None


def _fits(pattern: str, name: str) -> bool:
    """Docker's rule: a pattern without a tag fits every tag; * and ? do not cross slashes."""
    from fnmatch import fnmatchcase

    repository, tag = _split(name)
    wanted, colon, wanted_tag = pattern.rpartition(":")
    if not colon or "/" in wanted_tag:
        wanted, wanted_tag = pattern, "*"
    parts, wanted_parts = repository.split("/"), wanted.split("/")
    if len(parts) != len(wanted_parts) or not fnmatchcase(tag, wanted_tag):
        return False
    return all(fnmatchcase(part, want) for part, want in zip(parts, wanted_parts, strict=True))


def _rmi(context: Context, parsed: Parsed) -> int:
    force = parsed.flag("force")

    def remove(reference: str) -> str | None:
        try:
            return "\n".join(context.engine.remove_image(reference, force=force)) or None
        except NotFoundError as error:
            if not force or isinstance(error, AmbiguousError):
                raise
            show_error(context, error)  # said, but no failure: what was wanted is so
            return None

    return for_each(context, parsed.arguments, remove)


def _tag(context: Context, parsed: Parsed) -> int:
    context.engine.tag(parsed.arguments[0], parsed.arguments[1])
    return 0


def _history(context: Context, parsed: Parsed) -> int:
    image = context.engine.image(parsed.arguments[0])
    entries = context.engine.history(image.id)
    full, human, format = parsed.flag("no-trunc"), parsed.flag("human", True), parsed.text("format")
    top = image.id if full else short_id(image.id)
    now_ns = time.time_ns()
    rows = [
        _step(entry, top if index == 0 else "<missing>", now_ns, full=full, human=human)
        for index, entry in enumerate(entries)
    ]
    if parsed.flag("quiet") and not format:
        listing.quietly(str(row["ID"]) for row in rows)
        return 0
    headings = {
        "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
        "Comment": "COMMENT",
    }  # fmt: skip
    columns = ["ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"]
    listing.show(format, rows, headings, columns)
    return 0


def _step(entry: HistoryEntry, shown_id: str, now_ns: int, *, full: bool, human: bool) -> Step:
    created_by = " ".join(entry.created_by.split())
    return Step(
        Comment=entry.comment,
        CreatedAt=rfc3339(entry.created_ns),
        CreatedBy=created_by if full else ellipsis(created_by, 45),
        CreatedSince=ago(entry.created_ns, now_ns) if human else rfc3339(entry.created_ns),
        ID=shown_id,
        Size=size(entry.size_bytes) if human else str(entry.size_bytes),
    )


IMAGES = Verb(
    name="images",
    summary="List images",
    run=_images,
    arguments="[REPOSITORY[:TAG]]",
    maximum=1,
    options=(
        Option(name="all", short="a", kind="bool", help="Also the image 'host', which is the host's own system"),
        Option(name="digests", kind="bool", help="Show digests"),
        listing.FILTER,
        listing.FORMAT,
        listing.NO_TRUNC,
        listing.QUIET,
        Option(name="tree", kind="bool", help="As a tree, as `tiffin image tree` draws it"),
    ),
    description=f"Filters: {', '.join(_FILTERS)}.",
    examples=(
        ("tiffin images 'debian:*'", "one repository"),
        ("tiffin images --filter dangling=true -q", "images without a name"),
    ),
)
RMI = Verb(
    name="rmi",
    summary="Remove one or more images",
    run=_rmi,
    arguments="IMAGE [IMAGE...]",
    minimum=1,
    maximum=None,
    options=(Option(name="force", short="f", kind="bool", help="Even if stopped containers use it; all its names"),),
    absent=absent("Tiffin keeps one platform per image, and no parents", "no-prune", "platform"),
    examples=(("tiffin rmi debian:bookworm", "its name, and with the last one the image"),),
)
TAG = Verb(
    name="tag",
    summary="Give an image one more name",
    run=_tag,
    arguments="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    minimum=2,
    maximum=2,
    interspersed=False,
    examples=(("tiffin tag debian:bookworm base", "the same as base:latest"),),
)
HISTORY = Verb(
    name="history",
    summary="Show the steps that made an image",
    run=_history,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(
        listing.FORMAT,
        Option(name="human", short="H", kind="bool", help="Sizes and times for people", default="true"),
        listing.NO_TRUNC,
        listing.QUIET,
    ),
    absent=absent("Tiffin keeps one platform per image so far", "platform"),
    examples=(("tiffin history --no-trunc debian:bookworm", "whole command lines"),),
)
