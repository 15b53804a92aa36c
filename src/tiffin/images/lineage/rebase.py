"""`image rebase`: an image's own layers on another base, without running anything again."""

from __future__ import annotations

import json

from tiffin.errors import ConflictError, InvalidImageError, NotFoundError, UsageError
from tiffin.images.config import parse_config
from tiffin.images.host import is_host_id
from tiffin.images.lineage.bases import Lineage, base_upon, begins_with
from tiffin.images.lineage.joined import joined_config, joined_history, steps_of
from tiffin.images.reference import is_id, parse_reference
from tiffin.images.store import tag_keys
from tiffin.images.timestamps import creation_time_ns, format_rfc3339
from tiffin.model.record import Record
from tiffin.state import blobs, tags
from tiffin.storage.entry import DIRECTORY, shown
from tiffin.storage.tree import flatten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.tree import Tree

    Facts = tuple[object, ...]

SHOWN_CONFLICTS = 20


class Rebased(Record):
    """What came of it. `image` is the new one, None after a dry run, the old one when `unchanged`.

    `conflicts` are the paths for which the upper layers' version was taken though the base changed them, too.
    `old_base` is None when the old base is not here: then the image's whole config was kept. `layer_count` of the
    image's layers are its own.
    """

    image: Image | None
    old: Image
    old_base: Image | None
    new_base: Image
    layer_count: int
    conflicts: tuple[bytes, ...] = ()
    unchanged: bool = False
    name: str = ""


def rebase(
    store: ImageStore,
    reference: str,
    onto: str,
    *,
    base: str = "",
    name: str = "",
    force: bool = False,
    dry_run: bool = False,
) -> Rebased:
    """Make a new image of `onto` and the own layers of `reference`; the old one stays under its ID.

    The old base is `base`; else of all that the image rests on what has or had the name of `onto`, or its repository;
    else what is recorded; else the image here with the most layers in common. The name that `reference` is moves to
    the new image, unless another `name` is given. ConflictError when files that the image's
    own layers changed or deleted were changed between the bases as well, unless `force` takes the upper ones;
    UsageError for bases that cannot be, NotFoundError.
    """
    image, new = store.get(reference), store.get(onto)
    names = tag_keys([name]) if name else [_name_meant(image, reference)]
    key = names[0]
    _check(image, new, reference, onto)
    with store.adding():
        old, old_layers = _old_base(store, image, reference, base, onto)
        if old is not None and old.id == new.id:
            if name and not dry_run:
                store.tag(image.id, key)
            return Rebased(
                image=image, old=image, old_base=old, new_base=new, layer_count=len(image.layers) - len(old_layers),
                unchanged=True, name=key,
            )  # fmt: skip
        own = image.layers[len(old_layers) :]
        conflicts = tuple(_conflicts(store, old_layers, new.layers, own, reference, onto))
        if conflicts and not force:
            raise _refused(conflicts, reference, onto)
        made = None if dry_run else _add(store, image, old, old_layers, new, onto, own, [key] if key else [])
    if made is not None and key:
        store.tell("tag", made, key)
    return Rebased(
        image=made, old=image, old_base=old, new_base=new, layer_count=len(own), conflicts=conflicts, name=key
    )


def _name_meant(image: Image, reference: str) -> str:
    """The tag that the reference is; "" for an ID or a digest, which stay what they are."""
    if is_id(reference):
        return ""
    try:
        key = parse_reference(reference).key
    except UsageError:
        return ""
    return key if key in image.names else ""


def _check(image: Image, new: Image, reference: str, onto: str) -> None:
    for one, asked in ((image, reference), (new, onto)):
        if is_host_id(one.id):
            raise UsageError(f"the image {asked!r} has no layers, so it can neither be rebased nor be a base")
    if image.id == new.id:
        raise UsageError(f"{reference} and {onto} are the same image: it cannot rest on itself")
    if len(new.layers) > len(image.layers) and begins_with(new, image):
        raise UsageError(f"{onto} rests on {reference} itself")
    if (image.os, image.architecture) != (new.os, new.architecture) or (
        image.variant and new.variant and image.variant != new.variant
    ):
        raise UsageError(
            f"{reference} is for {_platform(image)}, {onto} for {_platform(new)}: their programs do not run together"
        )


def _platform(image: Image) -> str:
    return "/".join(part for part in (image.os, image.architecture, image.variant) if part)


def _old_base(
    store: ImageStore, image: Image, reference: str, asked: str, onto: str
) -> tuple[Image | None, tuple[str, ...]]:
    """The old base, where it is here, and its layers."""
    if asked:
        old = store.get(asked)
        if old.id == image.id:
            raise UsageError(f"{reference} and {asked} are the same image: it cannot rest on itself")
        if not begins_with(image, old) or not old.layers:
            raise UsageError(
                f"{reference} does not rest on {asked}: {_difference(image, old)}",
                hint=f"`tiffin image tree {reference}` shows what it rests on",
            )
        return old, old.layers
    lineage = Lineage(store)
    named = _same_name(store, lineage, image, onto)
    if named is not None:
        return named, named.layers
    recorded = lineage.recorded(image)
    if recorded is not None and recorded.layers and begins_with(image, recorded):
        return recorded, recorded.layers
    base = blobs.base_of(store.database, image.id)
    if base is not None and 0 < base.layer_count <= len(image.layers) and recorded is None:
        return None, image.layers[: base.layer_count]
    found = lineage.by_layers(image)
    if found is not None and len(found.layers) < len(image.layers):
        return found, found.layers
    raise NotFoundError(
        f"it is not known what {reference} rests on: no base is recorded, and no image here has its first layers",
        hint="name it with --base",
    )


def _same_name(store: ImageStore, lineage: Lineage, image: Image, onto: str) -> Image | None:
    """Of all that the image rests on, what has or had the new base's name, else what has or had its repository."""
    if is_id(onto):
        return None
    try:
        key = parse_reference(onto).replace(digest="").key
    except UsageError:
        return None
    repository = key.rpartition(":")[0]
    found: Image | None = None
    at, above = image, lineage.parent(image)  # the first rests on the second
    while above is not None:
        base = lineage.bases.get(at.id)
        names = {move.name for move in tags.moves_to(store.database, above.id) if "@" not in move.name}
        names |= {base.name} if base is not None and base.name else set()
        if above.layers and begins_with(image, above):
            if key in names:
                return above
            if found is None and any(name.rpartition(":")[0] == repository for name in names):
                found = above
        at = above
        above = lineage.parent(above)
    return found


def _difference(image: Image, base: Image) -> str:
    if not base.layers:
        return "a base needs layers"
    same = 0
    while same < min(len(image.layers), len(base.layers)) and image.layers[same] == base.layers[same]:
        same += 1
    if same == len(image.layers):
        return f"it has only {same} of {len(base.layers)} layers"
    return f"its first {same} layers are the same, then others follow" if same else "its layers are others"


def _conflicts(
    store: ImageStore,
    old_layers: tuple[str, ...],
    new_layers: tuple[str, ...],
    own: tuple[str, ...],
    reference: str,
    onto: str,
) -> list[bytes]:
    """Paths where the own layers on the new base do not give what a merge of both changes would.

    Compared are the four file systems: the old base, the new one, the image, and the result. Times do not count.
    """
    upper = [store.layers.entries(diff_id) for diff_id in own]
    below = [store.layers.entries(diff_id) for diff_id in old_layers]
    above = [store.layers.entries(diff_id) for diff_id in new_layers]
    try:
        result = _facts(flatten([*above, *upper]))
    except InvalidImageError as error:
        raise ConflictError(f"the layers of {reference} do not fit {onto}: {error.message}") from error
    before, after, image = _facts(flatten(below)), _facts(flatten(above)), _facts(flatten([*below, *upper]))
    found = []
    for path in {*before, *after, *image, *result}:
        was, base, mine, got = before.get(path), after.get(path), image.get(path), result.get(path)
        if base is None and _is_directory(mine) and _is_directory(got):
            continue  # the new base has it no more, but something of the image's may lie in it
        if mine == was:
            agreed = got == base
        else:
            agreed = got == mine and base in (was, mine)
        if not agreed:
            found.append(path)
    return sorted(found)


def _is_directory(facts: Facts | None) -> bool:
    return facts is not None and facts[0] == DIRECTORY


def _facts(tree: Tree) -> dict[bytes, Facts]:
    """What counts of every path: everything but times, and names of one inode beyond what they hold."""
    facts: dict[bytes, Facts] = {}
    for path, node in tree.walk():
        entry = node.entry
        facts[path] = (
            entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.object, entry.link, entry.major,
            entry.minor, entry.xattrs,
        )  # fmt: skip
    return facts


def _refused(conflicts: tuple[bytes, ...], reference: str, onto: str) -> ConflictError:
    files = "1 file" if len(conflicts) == 1 else f"{len(conflicts)} files"
    return ConflictError(
        f"cannot rebase {reference} onto {onto}: {files} that its own layers changed changed in the base as well:\n"
        + listed(conflicts),
        hint="build it anew, or take its own versions with --force",
    )


def listed(conflicts: tuple[bytes, ...]) -> str:
    """A line for each of the first ones, and how many more there are."""
    lines = [f"  {shown(b'/' + path)[1:-1]}" for path in conflicts[:SHOWN_CONFLICTS]]
    if len(conflicts) > SHOWN_CONFLICTS:
        lines.append(f"  and {len(conflicts) - SHOWN_CONFLICTS} more")
    return "\n".join(lines)


def _add(
    store: ImageStore,
    image: Image,
    old: Image | None,
    old_layers: tuple[str, ...],
    new: Image,
    onto: str,
    own: tuple[str, ...],
    names: list[str],
) -> Image:
    document, of_new = json.loads(image.raw_config), json.loads(new.raw_config)
    of_old: dict[str, Any] | None = json.loads(old.raw_config) if old is not None else None
    config = joined_config(
        document.get("config") or {},
        None if of_old is None else of_old.get("config") or {},
        of_new.get("config") or {},
    )
    steps = steps_of(of_old, document) if of_old is not None else None
    history = joined_history(document, steps, len(old_layers), of_new, len(new.layers))
    layers = (*new.layers, *own)
    made = {
        **document,
        "created": format_rfc3339(creation_time_ns()),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": history,
    }
    for field in ("os.version", "os.features", "variant"):
        if field in of_new:
            made[field] = of_new[field]
    raw = json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
    sized = [(diff_id, store.layers.info(diff_id).size_bytes) for diff_id in layers]
    return store.add(parse_config(raw), sized, names, base=base_upon(store.database, new, onto))
