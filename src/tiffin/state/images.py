"""Images, their layers and names in the database."""

from __future__ import annotations

from tiffin.model.image import Image, image_config
from tiffin.plain_json import loads
from tiffin.state import tags
from tiffin.state.db import now_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from tiffin.state.blobs import Base, Blob, Manifest
    from tiffin.state.db import Database

_IMAGE = "SELECT id, config, created_ns, architecture, os, variant, size_bytes FROM images"


def add_image(
    database: Database,
    *,
    image_id: str,
    config: bytes,
    created_ns: int,
    architecture: str,
    os: str,
    variant: str,
    size_bytes: int,
    layers: Sequence[tuple[str, int]],
    names: Iterable[str] = (),
    manifests: Iterable[Manifest] = (),
    packed: Iterable[tuple[Blob, str]] = (),
    base: Base | None = None,
) -> None:
    """File an image with its `layers` (diff_id, tar size in bytes; base first) and `names`, all in one durable commit.

    `manifests` are those it came with, `packed` its layers' blobs with the repositories where they were seen.
    What the records speak of must be on disk before (syncfs). An image that is here already only gets the names.
    """
    from tiffin.state import blobs

    now = now_ns()
    with database.transaction(durable=True):
        for diff_id, tar_bytes in layers:
            database.execute("INSERT OR IGNORE INTO layers VALUES (?, ?, ?)", (diff_id, tar_bytes, now))
        added = database.execute(
            "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (image_id, config, created_ns, architecture, os, variant, size_bytes, now),
        )
        if added:
            for position, (diff_id, _) in enumerate(layers):
                database.execute("INSERT INTO image_layers VALUES (?, ?, ?)", (image_id, position, diff_id))
        for manifest in manifests:
            blobs.add_manifest(database, manifest, image_id)
        for blob, repository in packed:
            blobs.add_blob(database, blob, repository)
        if base is not None and (added or blobs.base_of(database, image_id) is None):
            blobs.set_base(database, image_id, base)
        blobs.drop_waiting(database, (diff_id for diff_id, _ in layers))
        for name in names:
            _set_tag(database, name, image_id, now)


def set_tag(database: Database, name: str, image_id: str) -> bool:
    """Point `name` at an image, moving it if it pointed elsewhere; False when there is no such image."""
    with database.transaction(durable=True):
        if not database.row("SELECT 1 FROM images WHERE id = ?", (image_id,)):
            return False
        _set_tag(database, name, image_id, now_ns())
        return True


def set_name(database: Database, name: str, image_id: str) -> None:
    """As `set_tag`, for an image that is there, inside a transaction."""
    _set_tag(database, name, image_id, now_ns())


def _set_tag(database: Database, name: str, image_id: str, now: int) -> None:
    if database.row("SELECT 1 FROM tags WHERE name = ? AND image_id = ?", (name, image_id)):
        return
    database.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (name, image_id, now))
    tags.add_move(database, tags.Move(name=name, image_id=image_id, moved_ns=now))


def image_by_id(database: Database, image_id: str) -> Image | None:
    """The image with this full ID."""
    row = database.row(f"{_IMAGE} WHERE id = ?", (image_id,))
    return _image(database, row) if row else None


def id_of_name(database: Database, name: str) -> str | None:
    """The ID of the image that "name:tag" or "name@digest" stands for."""
    row = database.row("SELECT image_id FROM tags WHERE name = ?", (name,))
    return str(row[0]) if row else None


def all_names(database: Database) -> dict[str, str]:
    """Every name and digest reference, with the ID of the image that it stands for."""
    return dict(database.rows("SELECT name, image_id FROM tags"))


def ids_with_prefix(database: Database, digits: str, limit: int = 10) -> list[str]:
    """Full IDs that begin with these hex digits, at most `limit`."""
    # "sha256:" + digits + "g" is above every ID with that prefix, as hex digits end at "f".
    rows = database.rows(
        "SELECT id FROM images WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (f"sha256:{digits}", f"sha256:{digits}g", limit),
    )
    return [row[0] for row in rows]


def names_of_repository(database: Database, repository: str) -> list[str]:
    """All tags ("repository:…") of one repository, without digest references."""
    # ";" follows ":" in ASCII.
    rows = database.rows(
        "SELECT name FROM tags WHERE name >= ? AND name < ? ORDER BY name", (f"{repository}:", f"{repository};")
    )
    return [row[0] for row in rows]


def all_images(database: Database) -> list[Image]:
    """Every image, newest first (by the image's own creation time, then by when it was added)."""
    layers: dict[str, list[str]] = {}
    for image_id, diff_id in database.rows("SELECT image_id, diff_id FROM image_layers ORDER BY image_id, position"):
        layers.setdefault(image_id, []).append(diff_id)
    names: dict[str, list[str]] = {}
    for image_id, name in database.rows("SELECT image_id, name FROM tags ORDER BY name"):
        names.setdefault(image_id, []).append(name)
    return [
        _record(row, layers.get(row[0], []), names.get(row[0], []))
        for row in database.rows(f"{_IMAGE} ORDER BY created_ns DESC, added_ns DESC, id")
    ]


def last_tagged_ns(database: Database, image_id: str) -> int:
    """When a name was last given to the image; 0 for never."""
    row = database.row("SELECT max(moved_ns) FROM tags WHERE image_id = ?", (image_id,))
    return int(row[0]) if row and row[0] else 0


def layer_known(database: Database, diff_id: str) -> bool:
    """Whether there is a record of the layer."""
    return database.row("SELECT 1 FROM layers WHERE diff_id = ?", (diff_id,)) is not None


def containers_of(database: Database, image_id: str) -> list[tuple[str, str]]:
    """(ID, name) of the containers made from an image, or with it mounted, oldest first."""
    # A mounted one stands in the record only: removals are rare, and no other source looks like an image's ID.
    rows = database.rows(
        "SELECT id, name FROM containers WHERE image_id = ? OR instr(record, ?) ORDER BY created_ns",
        (image_id, f'"source":"{image_id}"'),
    )
    return [(row[0], row[1]) for row in rows]


def made_from(database: Database, container_id: str, image_id: str) -> bool:
    """Whether the image is the container's own, not one that it has mounted."""
    row = database.row("SELECT 1 FROM containers WHERE id = ? AND image_id = ?", (container_id, image_id))
    return row is not None


def images_with(database: Database, diff_id: str, position: int) -> list[str]:
    """IDs of the images that have a layer at this position, counted from the base, which is at 0."""
    rows = database.rows("SELECT image_id FROM image_layers WHERE diff_id = ? AND position = ?", (diff_id, position))
    return [row[0] for row in rows]


def drop_names(database: Database, names: Iterable[str]) -> None:
    """Forget names. Call inside a transaction."""
    for name in names:
        database.execute("DELETE FROM tags WHERE name = ?", (name,))


def drop_image(database: Database, image_id: str) -> None:
    """Forget an image and its names; its layers stay until `drop_layers`. Call inside a transaction."""
    database.execute("DELETE FROM images WHERE id = ?", (image_id,))


def drop_layers(database: Database, diff_ids: Iterable[str]) -> list[str]:
    """Forget those of `diff_ids` that no image has, and return them. Call inside a transaction."""
    return [
        diff_id
        for diff_id in diff_ids
        if database.execute(
            "DELETE FROM layers WHERE diff_id = ? AND NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?)",
            (diff_id, diff_id),
        )
    ]


def _image(database: Database, row: tuple[Any, ...]) -> Image:
    layers = database.rows("SELECT diff_id FROM image_layers WHERE image_id = ? ORDER BY position", (row[0],))
    names = database.rows("SELECT name FROM tags WHERE image_id = ? ORDER BY name", (row[0],))
    return _record(row, [diff_id for (diff_id,) in layers], [name for (name,) in names])


def _record(row: tuple[Any, ...], layers: list[str], names: list[str]) -> Image:
    image_id, raw, created_ns, architecture, os, variant, size_bytes = row
    return Image(
        id=image_id,
        created_ns=created_ns,
        architecture=architecture,
        os=os,
        variant=variant,
        size_bytes=size_bytes,
        layers=tuple(layers),
        names=tuple(name for name in names if "@" not in name),
        digests=tuple(name for name in names if "@" in name),
        config=image_config(loads(raw.decode("utf-8", "surrogatepass")).get("config") or {}),
        raw_config=raw,
    )
