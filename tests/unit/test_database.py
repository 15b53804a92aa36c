"""The database: who may read it, and what it holds open."""

from __future__ import annotations

import os
import stat
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
