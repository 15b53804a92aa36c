"""What images rest on: `image tree`, `outdated`, `rebase`, `flatten`, `split` and `rollback`."""

from __future__ import annotations

import sys
import time

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb
from tiffin.cli.units import ago, rfc3339
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.images.lineage.outdated import BaseStatus
    from tiffin.images.lineage.rebase import Rebased
    from tiffin.images.lineage.rollback import TagMove
    from tiffin.model.image import Image

_TAG = Option(name="tag", short="t", word="name", help="Name of the new image")


class StatusRow(Fields):
    type_name = "base"


class MoveRow(Fields):
    type_name = "move"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _tree(context: Context, parsed: Parsed) -> int:
    from tiffin.cli import tree_view

    tree_view.show(context.engine.image_tree(parsed.arguments), parsed.text("format"), full=parsed.flag("no-trunc"))
    return 0


def _outdated(context: Context, parsed: Parsed) -> int:
    registry = parsed.flag("registry") if parsed.given("registry") else None
    found = context.engine.outdated(parsed.arguments, registry=registry)
    if not parsed.arguments and not parsed.flag("all"):
        # What has no tag any more, such as the old image after a rebase, is nobody's concern.
        found = [one for one in found if one.status in ("outdated", "unknown") and one.image.names]
    full = parsed.flag("no-trunc")
    if parsed.flag("quiet") and not parsed.given("format"):
        ids = dict.fromkeys(status.image.id for status in found if status.status == "outdated")
        listing.quietly(image_id if full else _short(image_id) for image_id in ids)
    else:
        headings = {
            "Image": "IMAGE", "Base": "BASE", "Was": "WAS", "Now": "NOW", "Where": "WHERE", "Status": "STATUS",
            "ID": "IMAGE ID", "Via": "VIA", "Reason": "REASON",
        }  # fmt: skip
        columns = ["Image", "Base", "Was", "Now", "Where", "Status"]
        format = parsed.text("format")
        rows = [_status_row(status, full=full, plain=bool(format) and format != "table") for status in found]
        listing.show(format, rows, headings, columns)
    return 1 if parsed.flag("exit-code") and any(status.status == "outdated" for status in found) else 0


def _status_row(status: BaseStatus, *, full: bool, plain: bool) -> StatusRow:
    """The table joins what belongs together; by themselves the fields are plain."""
    cut: Callable[[str], str] = str if full else _short
    base, state = status.name, status.status
    if not plain:
        base = f"{base or '-'} (via {status.via})" if status.via else base or "-"
        state = f"{state}: {status.reason}" if status.reason else state
    empty = "" if plain else "-"
    return StatusRow(
        Base=base,
        ID=cut(status.image.id),
        Image=_shown(status.image),
        Now=cut(status.now) or empty,
        Reason=status.reason,
        Status=state,
        Via=status.via,
        Was=cut(status.was) or empty,
        Where=status.where or empty,
    )


def _shown(image: Image) -> str:
    return image.names[0] if image.names else image.digests[0] if image.digests else _short(image.id)


def _rebase(context: Context, parsed: Parsed) -> int:
    onto = parsed.text("onto")
    if not onto:
        raise UsageError("the new base is missing", hint="name it with --onto")
    done = context.engine.rebase_image(
        parsed.arguments[0],
        onto,
        base=parsed.text("base") or "",
        name=parsed.text("tag") or "",
        force=parsed.flag("force"),
        dry_run=parsed.flag("dry-run"),
    )
    reference = parsed.arguments[0]
    if done.unchanged:
        _say(f"{reference} rests on {onto} already")
    elif done.old_base is None:
        _say(f"the old base is not here, so {reference} keeps its whole config")
    elif done.image is not None:
        _say(f"{reference} rests on {onto} ({_short(done.new_base.id)}) now, before on {_described(done.old_base)}")
    if done.conflicts:
        from tiffin.images.lineage.rebase import listed

        took = "would be" if parsed.flag("dry-run") else "are"
        _say(f"these {took} as {reference} has them, though the base changed them:\n{listed(done.conflicts)}")
    print(_would(done, reference, onto) if done.image is None else done.image.id)
    return 0


def _described(image: Image) -> str:
    return f"{image.names[0]} ({_short(image.id)})" if image.names else _short(image.id)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _would(done: Rebased, reference: str, onto: str) -> str:
    layers = "1 layer of its own" if done.layer_count == 1 else f"{done.layer_count} layers of its own"
    was = f" instead of {_described(done.old_base)}" if done.old_base is not None else ""
    named = f", named {done.name}" if done.name else ""
    return f"{reference} with {layers} can rest on {onto}{was}{named}"


def _flatten(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.progress import Progress

    with Progress("Flattening") as progress:
        image = context.engine.flatten_image(parsed.arguments[0], parsed.text("tag") or "", progress=progress.callback)
    print(image.id)
    return 0


def _split(context: Context, parsed: Parsed) -> int:
    from tiffin.cli.progress import Progress

    layers = parsed.number("layers")
    with Progress("Splitting") as progress:
        image = context.engine.split_image(
            parsed.arguments[0],
            parsed.text("tag") or "",
            layers=20 if layers is None else layers,
            progress=progress.callback,
        )
    print(image.id)
    return 0


def _rollback(context: Context, parsed: Parsed) -> int:
    if not parsed.flag("list"):
        for option in ("format", "no-trunc"):
            if parsed.given(option):
                raise UsageError(f"--{option} goes with --list")
        print(context.engine.rollback(parsed.arguments[0], parsed.text("to") or "").id)
        return 0
    if parsed.given("to"):
        raise UsageError("--to and --list exclude each other: a list changes nothing")
    now_ns = time.time_ns()
    rows = [
        _move_row(move, now_ns, full=parsed.flag("no-trunc")) for move in context.engine.tag_moves(parsed.arguments[0])
    ]
    headings = {
        "Moved": "MOVED", "ID": "IMAGE ID", "Created": "CREATED", "Status": "STATUS", "Digest": "DIGEST",
        "MovedAt": "MOVED AT", "CreatedAt": "CREATED AT", "Name": "NAME",
    }  # fmt: skip
    listing.show(parsed.text("format"), rows, headings, ["Moved", "ID", "Created", "Status", "Digest"])
    return 0


def _move_row(move: TagMove, now_ns: int, *, full: bool) -> MoveRow:
    digest = move.pin.partition("@")[2]
    return MoveRow(
        Created=ago(move.created_ns, now_ns),
        CreatedAt=rfc3339(move.created_ns),
        Digest=(digest if full else _short(digest)) or "<none>",
        ID=move.image_id if full else _short(move.image_id),
        Moved=ago(move.moved_ns, now_ns),
        MovedAt=rfc3339(move.moved_ns),
        Name=move.name,
        Status="current" if move.current else "here" if move.here else "gone",
    )


TREE = Verb(
    name="image tree",
    summary="Show what images rest on, add, share and would free",
    run=_tree,
    arguments="[IMAGE...]",
    maximum=None,
    options=(listing.FORMAT, listing.NO_TRUNC),
    description=(
        "An image stands below its recorded base, else below the image with the most of its first layers. "
        "ADDS is the disk of contents that the one above lacks, SHARED of those that other images have too; "
        "FREES is what the removal of this image alone would give back."
    ),
    examples=(
        ("tiffin image tree", "all images"),
        ("tiffin image tree debian:bookworm", "what this one rests on, and what rests on it"),
        ("tiffin image tree --format json", "a line of JSON for each image, for scripts"),
    ),
)
OUTDATED = Verb(
    name="image outdated",
    summary="Show images whose base has moved on",
    run=_outdated,
    arguments="[IMAGE...]",
    maximum=None,
    options=(
        Option(
            name="all", short="a", kind="bool", help="Also images that are up to date, and those without a tag or base"
        ),
        Option(name="exit-code", kind="bool", help="Exit with 1 when any is outdated"),
        listing.FORMAT,
        listing.NO_TRUNC,
        Option(name="quiet", short="q", kind="bool", help="Only show IDs of outdated images"),
        Option(
            name="registry",
            kind="bool",
            help="Ask registries about all bases; with false about none",
            default="those whose name has a host",
        ),
    ),
    description="A registry that does not answer makes the status of its bases unknown, and is no failure.",
    examples=(
        ("tiffin image outdated", "what should be rebased or built anew"),
        ("tiffin image outdated --exit-code -q app:1", "for a script"),
    ),
)
REBASE = Verb(
    name="image rebase",
    summary="Put an image's own layers on another base",
    run=_rebase,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(
        Option(name="onto", word="image", help="The new base"),
        Option(name="base", word="image", help="The old base", default="as recorded, or as the layers tell"),
        Option(name="tag", short="t", word="name", help="Name of the new image", default="IMAGE's, which moves"),
        Option(name="force", short="f", kind="bool", help="Take IMAGE's version of files that the base changed, too"),
        Option(name="dry-run", kind="bool", help="Only see whether it can be done"),
    ),
    description=(
        "Nothing is run again. Values of the config that IMAGE has from its old base follow the new one. "
        "The old image stays under its ID."
    ),
    examples=(
        ("tiffin image rebase app:1 --onto debian:bookworm", "after the base's update"),
        ("tiffin image rebase app:1 --base debian:11 --onto debian:12 -t app:2", "where no base is recorded"),
    ),
)
FLATTEN = Verb(
    name="image flatten",
    summary="Make an image of one layer from another",
    run=_flatten,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(_TAG,),
    description="The same image gives the same result every time.",
    examples=(("tiffin image flatten app:1 -t app:flat", "the same files and config in one layer"),),
)
SPLIT = Verb(
    name="image split",
    summary="Make an image with a layer per package from another",
    run=_split,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(
        Option(name="layers", kind="int", word="number", help="At most so many layers", default="20"),
        _TAG,
    ),
    description=(
        "Files of no package come first, the biggest packages have a layer each, the others share one; "
        "directories and links are last. "
        "Images that have the same version of a package get the same layer for it."
    ),
    examples=(("tiffin image split app:1 -t app:split --layers 40", "for registries that keep each layer once"),),
)
ROLLBACK = Verb(
    name="image rollback",
    summary="Have a name stand for what it stood for before",
    run=_rollback,
    arguments="REPOSITORY[:TAG]",
    minimum=1,
    maximum=1,
    options=(
        listing.FORMAT,
        Option(name="list", short="l", kind="bool", help="List what the name has stood for; change nothing"),
        listing.NO_TRUNC,
        Option(name="to", word="image", help="An ID or digest from the list", default="the one before"),
    ),
    description="A rollback is a move of the name as well: a second one undoes the first.",
    examples=(
        ("tiffin image rollback --list app:1", "what it named, and whether that is still here"),
        ("tiffin image rollback app:1", "the image before the last move"),
    ),
)
