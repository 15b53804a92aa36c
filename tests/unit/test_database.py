"""The database: who may read it, and what it holds open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

from tiffin.state.db import Database


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "store" / "state.db"))
    with database.transaction():
        database.execute(
            "INSERT INTO containers (id, name, image_id, created_ns, record) VALUES ('a', 'b', 'c', 1, '{}')"
        )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()}
    database.close()
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_threads_that_ended_leave_nothing_open(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "state.db"))
    assert database.row("SELECT 1") == (1,)
    numbers = []

    def look() -> None:
        database.row("SELECT 1")
        numbers.append(len(os.listdir("/proc/self/fd")))

    for _ in range(20):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    database.close()
    assert max(numbers) <= min(numbers) + 3


HAMMER = """
import os, sys
from tiffin.state.db import Database
for number in range(25):
    database = Database(sys.argv[1])
    with database.transaction():
        name = f"{os.getpid()}-{number}"
        database.execute("INSERT INTO containers (id, name, image_id, created_ns, record) VALUES (?, ?, '', 1, '')",
                         (name, name))
    database.close()  # the last one to close folds the log back: openers must bear with that
"""


def test_many_processes_open_create_and_close_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    processes = [subprocess.Popen([sys.executable, "-c", HAMMER, path], stderr=subprocess.PIPE) for _ in range(8)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
    database = Database(path)
    assert database.row("SELECT count(*) FROM containers") == (200,)
    assert database.check() == []
    database.close()


def test_many_threads_create_at_once(tmp_path: Path) -> None:
    def count(database: Database, found: list[object]) -> None:
        found.append(database.row("SELECT count(*) FROM images"))

    for attempt in range(10):
        database = Database(str(tmp_path / str(attempt) / "state.db"))
        found: list[object] = []
        threads = [threading.Thread(target=count, args=(database, found)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        database.close()
        assert found == [(0,)] * 8
