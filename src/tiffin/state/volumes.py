"""Volume records in the database, and which container needs which volume.

A record comes before its directory and goes after it. `state` says what is left to do when whoever began was killed:
BEING_MADE until the directory is there, REMOVING from the moment that removal begins.
"""

from __future__ import annotations

from tiffin.errors import ConflictError, NotFoundError
from tiffin.model.volume import Volume
from tiffin.plain_json import dumps, loads
from tiffin.state.db import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiffin.state.db import Database

BEING_MADE, READY, REMOVING = range(3)


def add(database: Database, volume: Volume) -> bool:
    """Insert a record unless one of that name is there; whether it was inserted."""
    added = database.execute(
        "INSERT OR IGNORE INTO volumes (name, created_ns, anonymous, state, record) VALUES (?, ?, ?, ?, ?)",
        (
            volume.name,
            volume.created_ns,
            volume.anonymous,
            BEING_MADE,
            dumps(volume.to_dict()),
        ),
    )
    return added > 0


def use(database: Database, container_id: str, volumes: Iterable[tuple[Volume, bool]]) -> None:
    """Note that a container needs volumes; each is made if it is missing, or must be there already (False).

    Call in the transaction that inserts the container. NotFoundError, ConflictError.
    """
    for volume, may_make in volumes:
        if may_make:
            add(database, volume)
        state = state_of(database, volume.name)
        if state is None:
            raise NotFoundError(f"the volume {volume.name} was removed meanwhile", hint="try again")
        if state == REMOVING:
            raise ConflictError(f"the volume {volume.name} is being removed", hint="try again")
        database.execute(
            "INSERT OR IGNORE INTO container_volumes (container_id, volume) VALUES (?, ?)", (container_id, volume.name)
        )


def get(database: Database, name: str) -> Volume:
    """By its whole name. NotFoundError."""
    row = database.row("SELECT record FROM volumes WHERE name = ? AND state != ?", (name, REMOVING))
    if row is None:
        raise NotFoundError(f"no such volume: {name}", hint="`tiffin volume ls` lists what is here")
    return _volume(row[0])


def all_volumes(database: Database) -> list[Volume]:
    """Every volume that is not being removed, by name."""
    rows = database.rows("SELECT record FROM volumes WHERE state != ? ORDER BY name", (REMOVING,))
    return [_volume(record) for (record,) in rows]


def state_of(database: Database, name: str) -> int | None:
    """BEING_MADE, READY, REMOVING; None without a record."""
    row = database.row("SELECT state FROM volumes WHERE name = ?", (name,))
    return None if row is None else int(row[0])


def mark_ready(database: Database, name: str) -> None:
    """The directory is there."""
    database.execute("UPDATE volumes SET state = ? WHERE name = ? AND state = ?", (READY, name, BEING_MADE))


def users(database: Database) -> dict[str, list[tuple[str, str]]]:
    """By volume: (ID, name) of the containers that need it, oldest first."""
    rows = database.rows(
        "SELECT used.volume, containers.id, containers.name FROM container_volumes AS used "
        "JOIN containers ON containers.id = used.container_id ORDER BY containers.created_ns"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for volume, container_id, name in rows:
        found.setdefault(volume, []).append((container_id, name))
    return found


def users_of(database: Database, name: str) -> list[tuple[str, str]]:
    """(ID, name) of the containers that need a volume, oldest first."""
    rows = database.rows(
        "SELECT containers.id, containers.name FROM container_volumes AS used "
        "JOIN containers ON containers.id = used.container_id WHERE used.volume = ? ORDER BY containers.created_ns",
        (name,),
    )
    return [(container_id, container) for container_id, container in rows]


def mark_removing(database: Database, name: str) -> bool:
    """Removal begins, unless a container needs the volume; False then, or when there is no record."""
    changed = database.execute(
        "UPDATE volumes SET state = ? WHERE name = ? "
        "AND NOT EXISTS (SELECT 1 FROM container_volumes WHERE volume = volumes.name)",
        (REMOVING, name),
    )
    return changed > 0


def delete(database: Database, name: str) -> None:
    """The directory is gone. A volume that is not marked stays."""
    database.execute("DELETE FROM volumes WHERE name = ? AND state = ?", (name, REMOVING))


def unfinished(database: Database) -> list[tuple[str, int]]:
    """(name, state) of the volumes that somebody began to make or to remove."""
    rows = database.rows("SELECT name, state FROM volumes WHERE state != 1")  # as the partial index has it
    return [(name, state) for name, state in rows]


def names(database: Database) -> set[str]:
    """Of every record, whatever its state."""
    return {name for (name,) in database.rows("SELECT name FROM volumes")}


def unfilled(database: Database, container_id: str) -> list[str]:
    """Volumes of a container that were not yet offered what its image has at their place."""
    rows = database.rows("SELECT volume FROM container_volumes WHERE container_id = ? AND filled = 0", (container_id,))
    return [name for (name,) in rows]


def mark_filled(database: Database, container_id: str) -> None:
    """The container's volumes have what its image has."""
    try:
        database.execute("UPDATE container_volumes SET filled = 1 WHERE container_id = ?", (container_id,))
    except IntegrityError:
        return  # the container was removed meanwhile, and its rows with it


def _volume(record: str) -> Volume:
    values = loads(record)
    for name in ("labels", "options"):
        values[name] = tuple((key, value) for key, value in values.get(name, ()))
    return Volume(**values)
