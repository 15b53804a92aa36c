"""Volume records, what keeps a volume from being removed, and the way from a store without volumes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tiffin.errors import ConflictError, NotFoundError, StoreError
from tiffin.model.container import Container, ContainerConfig
from tiffin.model.volume import Volume
from tiffin.state import containers, volumes
from tiffin.state.db import Database
from tiffin.state.schema import _FIRST, VERSION


def container(letter: str) -> Container:
    return Container(
        id=letter * 64, name=f"name-{letter}", image_id="sha256:0", image_name="img", driver="overlay", created_ns=1,
        config=ContainerConfig(image="img"), argv=("sh",), env=(), workdir="/", user="", hostname="h", stop_signal=15,
        stop_timeout_s=10,
    )  # fmt: skip


def first_version(path: Path) -> None:
    """A store as the first version left it, with one container."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(_FIRST)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(
        "INSERT INTO containers (id, name, image_id, created_ns, record) VALUES (?, 'old', 'sha256:0', 1, ?)",
        ("a" * 64, json.dumps(container("a").replace(name="old").to_dict())),
    )
    connection.execute("PRAGMA user_version=1")
    connection.close()


def test_a_store_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first_version(path)
    database = Database(str(path))
    assert containers.get(database, "old").name == "old"
    assert database.row("PRAGMA user_version") == (VERSION,)
    assert volumes.all_volumes(database) == []
    containers.add(database, container("b"), needs_image=False, volumes=[(Volume(name="data", created_ns=2), True)])
    assert volumes.users_of(database, "data") == [("b" * 64, "name-b")]
    database.close()
    again = Database(str(path))
    assert [volume.name for volume in volumes.all_volumes(again)] == ["data"]
    again.close()


def test_a_migrated_store_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    first_version(tmp_path / "old.db")
    tables = []
    for name in ("old.db", "new.db"):
        database = Database(str(tmp_path / name))
        tables.append(database.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"))
        database.close()
    assert tables[0] == tables[1]


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    database = Database(str(tmp_path / "state.db"))
    with pytest.raises(StoreError) as caught:
        volumes.all_volumes(database)
    expected = f"the store '{tmp_path}/state.db' has format {VERSION + 1}, this Tiffin knows {VERSION}"
    assert caught.value.message == expected


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(str(tmp_path / "state.db"))


def test_the_first_record_of_a_name_stays(database: Database) -> None:
    first = Volume(name="data", created_ns=1, labels=(("a", "1"),))
    assert volumes.add(database, first)
    assert not volumes.add(database, Volume(name="data", created_ns=2))
    assert volumes.get(database, "data") == first
    with pytest.raises(NotFoundError) as caught:
        volumes.get(database, "dat")
    assert caught.value.message == "no such volume: dat"


def test_a_volume_in_use_is_not_marked(database: Database) -> None:
    needs = [(Volume(name="data", created_ns=1), True)]
    containers.add(database, container("a"), needs_image=False, volumes=needs)
    assert not volumes.mark_removing(database, "data")
    containers.delete(database, "a" * 64, ["data"])
    assert volumes.state_of(database, "data") == volumes.REMOVING
    assert volumes.all_volumes(database) == []


def test_with_its_container_a_volume_goes_only_when_nobody_else_needs_it(database: Database) -> None:
    needs = [(Volume(name="data", created_ns=1), True)]
    for letter in "ab":
        containers.add(database, container(letter), needs_image=False, volumes=needs)
    volumes.mark_ready(database, "data")
    containers.delete(database, "a" * 64, ["data"])
    assert volumes.unfinished(database) == []
    containers.delete(database, "b" * 64, ["data"])
    assert volumes.unfinished(database) == [("data", volumes.REMOVING)]


def test_a_container_cannot_have_a_volume_that_goes(database: Database) -> None:
    volume = Volume(name="data", created_ns=1)
    volumes.add(database, volume)
    volumes.mark_removing(database, "data")
    with pytest.raises(ConflictError) as caught:
        containers.add(database, container("a"), needs_image=False, volumes=[(volume, True)])
    assert caught.value.message == "the volume data is being removed"
    volumes.delete(database, "data")
    with pytest.raises(NotFoundError) as missing:
        containers.add(database, container("a"), needs_image=False, volumes=[(volume, False)])
    assert missing.value.message == "the volume data was removed meanwhile"
    assert containers.ids(database) == set(), "neither is half recorded"


def test_removal_with_volumes_is_remembered(database: Database) -> None:
    containers.add(database, container("a"), needs_image=False)
    assert containers.mark_removing(database, "a" * 64)
    assert not containers.takes_volumes(database, "a" * 64)
    assert containers.mark_removing(database, "a" * 64, volumes=True)
    assert containers.mark_removing(database, "a" * 64)
    assert containers.takes_volumes(database, "a" * 64)
    assert containers.being_removed(database) == ["a" * 64]
