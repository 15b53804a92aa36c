"""Container records in the database: added once, looked up by name or ID, changed as a whole, deleted once."""

from __future__ import annotations

from tiffin.errors import AmbiguousError, ConflictError, NotFoundError
from tiffin.failpoints import failpoint
from tiffin.model.container import Container, container_from_dict
from tiffin.plain_json import dumps, loads
from tiffin.state.db import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.model.volume import Volume
    from tiffin.state.db import Database

HEX_DIGITS = frozenset("0123456789abcdef")


def add(
    database: Database,
    container: Container,
    *,
    needs_image: bool,
    volumes: Iterable[tuple[Volume, bool]] = (),
    take_ids: Callable[[Database, Container], Container] | None = None,
) -> Container:
    """Insert a record. ConflictError when the name is in use, NotFoundError when the image went away meanwhile.

    `volumes` are those that it needs, see `state.volumes.use`; `take_ids` decides its maps, see `state.ids`. Returns
    the record as it was inserted.
    """
    try:
        with database.transaction():
            if take_ids is not None:
                container = take_ids(database, container)
            if needs_image and not database.row("SELECT 1 FROM images WHERE id = ?", (container.image_id,)):
                raise NotFoundError(f"the image {container.image_name!r} was removed meanwhile")
            for mount in container.config.mounts:
                if mount.type == "image" and not database.row("SELECT 1 FROM images WHERE id = ?", (mount.source,)):
                    raise NotFoundError(f"the image {mount.source[7:19]} was removed meanwhile")
            database.execute(
                "INSERT INTO containers (id, name, image_id, created_ns, record) VALUES (?, ?, ?, ?, ?)",
                (
                    container.id,
                    container.name,
                    container.image_id,
                    container.created_ns,
                    dumps(container.to_dict()),
                ),
            )
            if volumes:
                from tiffin.state.volumes import use

                use(database, container.id, volumes)
            if container.uid_maps:
                from tiffin.state.ids import record

                record(database, container)
    except IntegrityError as error:
        raise _name_in_use(database, container.name) from error
    return container


def change(database: Database, container_id: str, change: Callable[[Container], Container]) -> Container:
    """Replace a record by what `change` makes of it, in one transaction; the new one. `id` and times stay.

    ConflictError when its new name is in use, NotFoundError when the container is gone or going.
    """
    changed = None
    try:
        with database.transaction():
            container = current(database, container_id)
            if container is None:
                raise NotFoundError(f"no such container: {container_id[:12]}")
            changed = change(container)
            database.execute(
                "UPDATE containers SET name = ?, record = ? WHERE id = ?",
                (changed.name, dumps(changed.to_dict()), container_id),
            )
    except IntegrityError as error:
        raise _name_in_use(database, changed.name if changed else "") from error
    failpoint("change.recorded")
    return changed


def current(database: Database, container_id: str) -> Container | None:
    """The record as it is now; None when the container is gone, or its removal has begun."""
    row = database.row("SELECT record FROM containers WHERE id = ? AND removing = 0", (container_id,))
    return container_from_dict(loads(row[0])) if row else None


def exists(database: Database, container_id: str) -> bool:
    return database.row("SELECT 1 FROM containers WHERE id = ?", (container_id,)) is not None


def _name_in_use(database: Database, name: str) -> ConflictError:
    holder = database.row("SELECT id FROM containers WHERE name = ?", (name,))
    by = f" by container {holder[0][:12]}" if holder else ""
    return ConflictError(
        f"the container name {name!r} is already in use{by}",
        hint="remove or rename that container, or choose another name",
    )


def name_taken(database: Database, name: str) -> bool:
    return database.row("SELECT 1 FROM containers WHERE name = ?", (name,)) is not None


def ambiguous(reference: str, kind: str, ids: list[str]) -> AmbiguousError:
    """The error for a beginning of several IDs, which names three of them."""
    some = ", ".join([*(one[:12] for one in sorted(ids)[:3]), *(["…"] if len(ids) > 3 else [])])
    return AmbiguousError(f"{reference!r} is the beginning of several {kind} IDs ({some})")


def get(database: Database, reference: str) -> Container:
    """By name, full ID or unique ID prefix, in this order. NotFoundError, AmbiguousError."""
    row = database.row("SELECT record FROM containers WHERE name = ? OR id = ?", (reference.lstrip("/"), reference))
    if row is None and reference and HEX_DIGITS.issuperset(reference) and len(reference) < 64:
        rows = database.rows(
            "SELECT record, id FROM containers WHERE id >= ? AND id < ? LIMIT 4", (reference, reference + "g")
        )
        if len(rows) > 1:
            raise ambiguous(reference, "container", [container_id for _, container_id in rows])
        row = rows[0] if rows else None
    if row is None:
        raise NotFoundError(f"no such container: {reference}", hint="`tiffin ps -a` lists what is here")
    return container_from_dict(loads(row[0]))


def all_containers(database: Database) -> list[tuple[Container, bool]]:
    """Every record, newest first, and whether its removal has begun."""
    rows = database.rows("SELECT record, removing FROM containers ORDER BY created_ns DESC, id")
    return [(container_from_dict(loads(record)), bool(removing)) for record, removing in rows]


def in_pods(database: Database, pod_id: str = "") -> list[tuple[Container, bool]]:
    """The records of a pod's members, or of all pods', the oldest first, and whether their removal has begun."""
    # A quoted name before a colon can only be a field: quotes within values are escaped.
    rows = database.rows(
        "SELECT record, removing FROM containers WHERE instr(record, ?) ORDER BY created_ns, id", (f'"pod":"{pod_id}',)
    )
    found = [(container_from_dict(loads(record)), bool(removing)) for record, removing in rows]
    return [entry for entry in found if entry[0].config.pod and (not pod_id or entry[0].config.pod == pod_id)]


def ids(database: Database) -> set[str]:
    return {container_id for (container_id,) in database.rows("SELECT id FROM containers")}


def any_left(database: Database) -> bool:
    """Whether there is any container, be it about to go."""
    return database.row("SELECT 1 FROM containers LIMIT 1") is not None


def mark_removing(database: Database, container_id: str, *, volumes: bool = False) -> bool:
    """Removal begins, of its anonymous volumes too if asked; from now on every command may finish it.

    False when the record is gone already.
    """
    mark = 2 if volumes else 1
    return database.execute("UPDATE containers SET removing = max(removing, ?) WHERE id = ?", (mark, container_id)) > 0


def takes_volumes(database: Database, container_id: str) -> bool:
    """Whether the removal that has begun takes the anonymous volumes along."""
    return database.row("SELECT 1 FROM containers WHERE id = ? AND removing = 2", (container_id,)) is not None


def delete(database: Database, container_id: str, volumes: Iterable[str] = ()) -> None:
    """The container is gone. Those of `volumes` that nobody else needs are marked for removal in the same moment."""
    with database.transaction():
        database.execute("DELETE FROM containers WHERE id = ?", (container_id,))
        for name in volumes:
            from tiffin.state.volumes import mark_removing as mark_volume

            mark_volume(database, name)


def being_removed(database: Database) -> list[str]:
    """IDs whose removal began and was not finished."""
    return [container_id for (container_id,) in database.rows("SELECT id FROM containers WHERE removing != 0")]
