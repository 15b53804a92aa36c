"""Ids inside and outside, capabilities of files, and who gets which range."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tiffin.containers import userns
from tiffin.errors import HostError, UsageError
from tiffin.model.idmap import OVERFLOW, IdMap, covers, text
from tiffin.state import schema
from tiffin.state.db import Database
from tiffin.state.ids import free_range
from tiffin.storage.contents import CAPABILITY, plain_capability, rooted_capability

IDS = IdMap(uids=((0, 1000, 10), (10, 5, 1)), gids=((0, 2000, 3),))


def test_there_and_back() -> None:
    assert IDS.root == (1000, 2000)
    assert IDS.outside(10, 2) == (5, 2002) and IDS.inside(5, 2002) == (10, 2)
    assert IDS.outside(11, 3) == (OVERFLOW, OVERFLOW) == IDS.inside(0, 1999)
    assert covers(IDS.uids, 10) and not covers(IDS.uids, 11)
    assert text(IDS.uids) == "0 1000 10\n10 5 1\n"


def test_capabilities_of_files() -> None:
    version_2 = bytes.fromhex("0100000200200000000000000000000000000000")
    version_3 = rooted_capability(CAPABILITY, version_2, 1000)
    assert version_3 == bytes.fromhex("0100000300200000000000000000000000000000e8030000")
    assert plain_capability(CAPABILITY, version_3) == version_2
    assert plain_capability(CAPABILITY, version_2) == version_2
    assert rooted_capability(CAPABILITY, version_3, 7) == version_3
    assert plain_capability(b"user.x", version_3) == version_3


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"{tmp_path}/state.db")


def take(database: Database, first: int, size: int) -> None:
    name = f"c{first}"
    database.execute(
        "INSERT OR IGNORE INTO containers (id, name, image_id, created_ns, record) VALUES (?, ?, '', 0, '')",
        (name, name),
    )
    database.execute("INSERT INTO id_ranges VALUES (?, ?, ?)", (name, first, size))


def test_the_first_gap_that_is_large_enough(database: Database) -> None:
    pools = [(1000, 100), (5000, 100)]
    assert free_range(database, 10, pools) == 1000
    take(database, 1000, 10)
    take(database, 1015, 40)
    take(database, 1020, 5)
    assert free_range(database, 5, pools) == 1010
    assert free_range(database, 6, pools) == 1055
    assert free_range(database, 50, pools) == 5000
    take(database, 5000, 100)
    with pytest.raises(HostError, match="no 50 subordinate ids are free for a user namespace"):
        free_range(database, 50, pools)
    database.execute("DELETE FROM containers WHERE id = 'c1015'")
    assert free_range(database, 50, pools) == 1025


def test_a_store_of_the_version_before(tmp_path: Path) -> None:
    path = f"{tmp_path}/state.db"
    connection = sqlite3.connect(path)
    connection.executescript(schema._FIRST + schema._VOLUMES + "PRAGMA user_version=2;")
    connection.close()
    database = Database(path)
    assert database.rows("SELECT * FROM id_ranges") == []
    assert database.row("PRAGMA user_version") == (schema.VERSION,)
    database.close()
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_those_set_aside_for_containers(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("alice:100000:65536\ncontainers:200000:10\nbad\ncontainers:300000:5\n")
    assert userns.subordinate_map(str(path), "containers") == ((0, 200000, 10), (10, 300000, 5))
    with pytest.raises(UsageError) as caught:
        userns.subordinate_map(str(path), "bob")
    assert caught.value.message == f"{path} gives 'bob' no ids"


@pytest.mark.parametrize("words", ["", "1", "a:b:c", "1:2:", "-1:2:3", "1:2:3:4", "+1:2:3", "@1:2:3"])
def test_bad_maps(words: str) -> None:
    with pytest.raises(UsageError) as caught:
        userns.parse_map(words)
    assert caught.value.message == f"invalid map of ids {words!r}: it is not of the form CONTAINER:HOST:SIZE"


def test_too_many_maps() -> None:
    with pytest.raises(UsageError, match="341 uid maps, but the kernel takes 340"):
        userns.check_maps(tuple((number, number + 1000, 1) for number in range(341)), "uid")
