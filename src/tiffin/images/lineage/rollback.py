"""`image rollback`: where a name has pointed to, and putting it back there."""

from __future__ import annotations

from tiffin.errors import AmbiguousError, ConflictError, NotFoundError, UsageError
from tiffin.images.reference import id_prefix, is_digest, is_id, parse_tag
from tiffin.model.record import Record
from tiffin.state import blobs, tags
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image


class TagMove(Record):
    """One time that a name came to stand for an image; `current` is where it is now.

    `here` tells whether the image still is; `created_ns` is 0 when it is not. `pin` is "repository@sha256:…" by which
    the image was pulled, "" when none is known.
    """

    name: str
    image_id: str
    moved_ns: int
    created_ns: int
    here: bool
    current: bool
    pin: str = ""


def tag_moves(store: ImageStore, name: str) -> list[TagMove]:
    """All moves that are remembered of a name, newest first. NotFoundError when there are none, UsageError."""
    key = parse_tag(name).key
    moves = tags.moves_of(store.database, key)
    if not moves:
        raise NotFoundError(f"no move of the name {key} is remembered", hint="`tiffin images` lists what is here")
    now = records.id_of_name(store.database, key)
    found = []
    for number, move in enumerate(moves):
        image = records.image_by_id(store.database, move.image_id)
        found.append(
            TagMove(
                name=key,
                image_id=move.image_id,
                moved_ns=move.moved_ns,
                created_ns=image.created_ns if image is not None else 0,
                here=image is not None,
                current=number == 0 and move.image_id == now,
                pin=_pin(store, move.image_id, key),
            )
        )
    return found


def rollback(store: ImageStore, name: str, to: str = "") -> Image:
    """Have `name` stand for what it stood for before its last move, or for `to`, an image that it once was.

    `to` is an ID, the beginning of one, or the digest of a manifest. The rollback is a move itself: a second one
    undoes the first. A name that was removed gets its last image back. NotFoundError when that image is gone.
    """
    moves = tag_moves(store, name)
    key = moves[0].name
    chosen = _named(store, moves, to) if to else _previous(store, moves)
    if not chosen.here:
        raise NotFoundError(
            f"cannot roll back {key}: the image {_short(chosen.image_id)} that it named before is not here any more",
            hint=f"`tiffin pull {chosen.pin}` gets it back; then try again" if chosen.pin else
            f"`tiffin image rollback --list {key}` shows what is",
        )  # fmt: skip
    return store.tag(chosen.image_id, key)


def _previous(store: ImageStore, moves: list[TagMove]) -> TagMove:
    now = records.id_of_name(store.database, moves[0].name)
    if now is None:
        return moves[0]
    for move in moves:
        if move.image_id != now:
            return move
    raise ConflictError(f"cannot roll back {moves[0].name}: it has named no other image before {_short(now)}")


def _named(store: ImageStore, moves: list[TagMove], to: str) -> TagMove:
    key = moves[0].name
    digest = to.rpartition("@")[2]
    wanted: set[str] = set()
    if is_digest(digest):
        wanted = set(blobs.images_of_manifests(store.database).get(digest, ()))
        wanted |= {move.image_id for move in moves if move.pin.endswith(f"@{digest}")}
        wanted |= {move.image_id for move in moves if move.image_id == digest}
    digits = id_prefix(to)
    if not wanted and digits and not is_id(to):
        wanted = {move.image_id for move in moves if move.image_id.startswith(f"sha256:{digits}")}
        if len(wanted) > 1:
            some = ", ".join(sorted(_short(image_id) for image_id in wanted))
            raise AmbiguousError(f"the image ID prefix {to!r} is ambiguous: {some}", hint="give more digits")
    elif not wanted and digits:
        wanted = {f"sha256:{digits}"}
    elif not wanted and not is_digest(digest):
        raise UsageError(f"--to takes an image ID or a digest, not {to!r}")
    for move in moves:
        if move.image_id in wanted:
            return move
    raise NotFoundError(
        f"cannot roll back {key}: it is not remembered to have named {to}",
        hint=f"`tiffin image rollback --list {key}` shows what it named; `tiffin tag` gives it to any image",
    )


def _pin(store: ImageStore, image_id: str, key: str) -> str:
    """The digest reference under which the image came, of the name's own repository if possible."""
    pins = [move.name for move in tags.moves_to(store.database, image_id) if "@" in move.name]
    repository = key.rpartition(":")[0]
    own = [pin for pin in pins if pin.partition("@")[0] == repository]
    return (own or pins or [""])[0]


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
