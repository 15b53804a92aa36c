"""What registries know of images that are here: manifests, packed layers, where they were seen, and bases."""

from __future__ import annotations

from tiffin.model.record import Record
from tiffin.state.db import now_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiffin.state.db import Database


class Manifest(Record):
    """A manifest or index byte for byte; `digest` is of `body`."""

    digest: str
    media_type: str
    body: bytes


class Blob(Record):
    """A layer as registries have it; `packed_by` says how to make the same bytes again, "" when nobody here can."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int
    packed_by: str = ""


class Base(Record):
    """What an image was made upon; every field may be empty. `layer_count` of the image's layers are the base's."""

    name: str = ""
    digest: str = ""
    base_id: str = ""
    layer_count: int = 0


def add_manifest(database: Database, manifest: Manifest, image_id: str = "") -> None:
    """Keep a manifest, for an image if one is named. Call inside a transaction."""
    now = now_ns()
    database.execute(
        "INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?)",
        (manifest.digest, manifest.media_type, manifest.body, now),
    )
    if image_id:
        database.execute("INSERT OR REPLACE INTO image_manifests VALUES (?, ?, ?)", (image_id, manifest.digest, now))


def manifest(database: Database, digest: str) -> Manifest | None:
    """The manifest or index with that digest."""
    row = database.row("SELECT digest, media_type, body FROM manifests WHERE digest = ?", (digest,))
    return Manifest(digest=row[0], media_type=row[1], body=row[2]) if row else None


def manifests_of(database: Database, image_id: str) -> list[Manifest]:
    """The manifests and indexes that an image came with or was pushed as, newest first."""
    rows = database.rows(
        "SELECT m.digest, m.media_type, m.body FROM image_manifests i JOIN manifests m ON m.digest = i.digest"
        " WHERE i.image_id = ? ORDER BY i.added_ns DESC, m.digest",
        (image_id,),
    )
    return [Manifest(digest=digest, media_type=media_type, body=body) for digest, media_type, body in rows]


def drop_unused_manifests(database: Database) -> None:
    """Forget manifests of no image, and blobs of no layer. Call inside a transaction, after images went."""
    database.execute("DELETE FROM manifests WHERE digest NOT IN (SELECT digest FROM image_manifests)")
    database.execute(
        "DELETE FROM blobs WHERE diff_id NOT IN (SELECT diff_id FROM layers)"
        " AND diff_id NOT IN (SELECT diff_id FROM waiting_layers)"
    )


def add_blob(database: Database, blob: Blob, repository: str = "") -> None:
    """Remember a packed layer, and where it was seen. Call inside a transaction.

    What is said of a blob last counts: a pull that unpacked it knows better than one that found its layer here.
    """
    database.execute(
        "INSERT INTO blobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET"
        " diff_id = excluded.diff_id,"
        " packed_by = CASE WHEN excluded.packed_by != '' THEN excluded.packed_by ELSE packed_by END",
        (blob.digest, blob.diff_id, blob.media_type, blob.size_bytes, blob.packed_by),
    )
    if repository:
        database.execute("INSERT OR REPLACE INTO blob_places VALUES (?, ?, ?)", (blob.digest, repository, now_ns()))


def blob(database: Database, digest: str) -> Blob | None:
    """The packed layer with that digest."""
    found = _blobs(database, "digest = ?", digest)
    return found[0] if found else None


def blobs_of_layer(database: Database, diff_id: str) -> list[Blob]:
    """Every form in which a layer was seen."""
    return _blobs(database, "diff_id = ?", diff_id)


def _blobs(database: Database, condition: str, value: str) -> list[Blob]:
    rows = database.rows(
        f"SELECT digest, diff_id, media_type, size_bytes, packed_by FROM blobs WHERE {condition} ORDER BY digest",
        (value,),
    )
    return [
        Blob(digest=digest, diff_id=diff_id, media_type=media_type, size_bytes=size_bytes, packed_by=packed_by)
        for digest, diff_id, media_type, size_bytes, packed_by in rows
    ]


def all_digests(database: Database) -> set[str]:
    """Every packed layer that is known."""
    return {row[0] for row in database.rows("SELECT digest FROM blobs")}


def places_of_blob(database: Database, digest: str) -> list[str]:
    """Repositories ("host:port/path") where a blob was seen, latest first."""
    rows = database.rows(
        "SELECT repository FROM blob_places WHERE digest = ? ORDER BY seen_ns DESC, repository", (digest,)
    )
    return [row[0] for row in rows]


def forget_place(database: Database, digest: str, repository: str) -> None:
    """The blob is not there any more."""
    with database.transaction():
        database.execute("DELETE FROM blob_places WHERE digest = ? AND repository = ?", (digest, repository))


def keep_waiting(database: Database, diff_id: str, blob: Blob | None = None) -> None:
    """Keep a finished layer for the next pull, until an image has it or a prune takes it. It must be on disk.

    `blob` is what it was unpacked from.
    """
    with database.transaction(durable=True):
        if blob is not None:
            add_blob(database, blob)
        database.execute("INSERT OR REPLACE INTO waiting_layers VALUES (?, ?)", (diff_id, now_ns()))


def waiting(database: Database) -> list[str]:
    """diff_ids of the layers that no image has yet."""
    return [row[0] for row in database.rows("SELECT diff_id FROM waiting_layers ORDER BY diff_id")]


def drop_waiting(database: Database, diff_ids: Iterable[str] | None = None) -> None:
    """An image has these layers now; or None: nobody waits any more. Call inside a transaction."""
    if diff_ids is None:
        database.execute("DELETE FROM waiting_layers")
        return
    for diff_id in diff_ids:
        database.execute("DELETE FROM waiting_layers WHERE diff_id = ?", (diff_id,))


def set_base(database: Database, image_id: str, base: Base) -> None:
    """Record what an image was made upon. Call inside a transaction."""
    database.execute(
        "INSERT OR REPLACE INTO image_bases VALUES (?, ?, ?, ?, ?)",
        (image_id, base.name, base.digest, base.base_id, base.layer_count),
    )


def base_of(database: Database, image_id: str) -> Base | None:
    """What an image was made upon, where that is recorded."""
    row = database.row("SELECT name, digest, base_id, layer_count FROM image_bases WHERE image_id = ?", (image_id,))
    return Base(name=row[0], digest=row[1], base_id=row[2], layer_count=row[3]) if row else None


def all_bases(database: Database) -> dict[str, Base]:
    """What is recorded of every image's base, by the image's ID."""
    rows = database.rows("SELECT image_id, name, digest, base_id, layer_count FROM image_bases")
    return {row[0]: Base(name=row[1], digest=row[2], base_id=row[3], layer_count=row[4]) for row in rows}


def images_of_manifests(database: Database) -> dict[str, list[str]]:
    """The IDs of the images that came with each manifest or index, by its digest."""
    found: dict[str, list[str]] = {}
    for digest, image_id in database.rows("SELECT digest, image_id FROM image_manifests ORDER BY digest, image_id"):
        found.setdefault(digest, []).append(image_id)
    return found


def made_upon(database: Database, base_id: str) -> list[str]:
    """IDs of the images that record this one as their base."""
    return [
        row[0]
        for row in database.rows("SELECT image_id FROM image_bases WHERE base_id = ? ORDER BY image_id", (base_id,))
    ]
