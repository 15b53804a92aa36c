"""Every move of a name: what it stood for, and since when. Rows outlive the images and names that they speak of."""

from __future__ import annotations

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.state.db import Database

KEPT_MOVES = 100
"""Moves that are kept of each name, the last ones."""


class Move(Record):
    """At `moved_ns`, `name` ("debian:12", "debian@sha256:…") came to stand for the image."""

    name: str
    image_id: str
    moved_ns: int


def add_move(database: Database, move: Move) -> None:
    """Remember a move, and forget the oldest ones of the name. Call inside a transaction."""
    database.execute("INSERT INTO tag_history VALUES (?, ?, ?)", (move.name, move.image_id, move.moved_ns))
    database.execute(
        "DELETE FROM tag_history WHERE name = ? AND rowid NOT IN"
        " (SELECT rowid FROM tag_history WHERE name = ? ORDER BY rowid DESC LIMIT ?)",
        (move.name, move.name, KEPT_MOVES),
    )


def moves_of(database: Database, name: str) -> list[Move]:
    """The moves of a name, newest first: in the order in which they were made, whatever the clock said."""
    return _moves(database, "name = ?", name)


def moves_to(database: Database, image_id: str) -> list[Move]:
    """The moves that gave the image a name, newest first."""
    return _moves(database, "image_id = ?", image_id)


def _moves(database: Database, condition: str, value: str) -> list[Move]:
    rows = database.rows(
        f"SELECT name, image_id, moved_ns FROM tag_history WHERE {condition} ORDER BY rowid DESC", (value,)
    )
    return [Move(name=name, image_id=image_id, moved_ns=moved_ns) for name, image_id, moved_ns in rows]
