"""One SQLite database in WAL mode, shared by any number of processes and threads."""

from __future__ import annotations

import fcntl
import os
import time
from _thread import _local, allocate_lock
from _weakref import ref

from tiffin.errors import AS_ROOT, StoreError, UsageError, os_error
from tiffin.failpoints import failpoint
from tiffin.state.schema import MIGRATIONS, SCHEMA, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        # What `sqlite3` is made of, without the types of its own (dates) that it imports first: 2 ms of every command.
        import _sqlite3 as sqlite3
    except ImportError:
        import sqlite3

IntegrityError = sqlite3.IntegrityError
BUSY_TIMEOUT_S = 30.0


def check_owner(root: str) -> None:
    """Refuse a store that others can fill with what they like: what is recorded there is run as whoever uses it.

    StoreError when the directory belongs to another user than this one and root, or when others can write to it.
    """
    try:
        found = os.stat(root)
    except OSError as error:
        raise os_error(error, "cannot open the store") from error
    if found.st_uid not in (0, os.geteuid()):
        raise StoreError(
            f"the store {root!r} belongs to user {found.st_uid}, who could have put anything into it",
            hint="choose another directory with --root",
        )
    if found.st_mode & 0o022:
        raise StoreError(
            f"the store {root!r} can be written to by other users (mode {found.st_mode & 0o7777:o})",
            hint="choose another directory with --root",
        )


class _OfThread:
    """Kept by nothing but the variables of a thread, so it goes when the thread does."""

    __slots__ = ("__weakref__",)


class Database:
    """A connection per thread to `path`, made when first used.

    Readers never wait; writers wait for each other, at most `BUSY_TIMEOUT_S`. Raises `StoreError` when the file is
    damaged, read-only, on a full disk, or written by a newer Tiffin.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._local = _local()
        self._all: list[tuple[ref[_OfThread], sqlite3.Connection]] = []
        self._lock = allocate_lock()  # guards _all and _closed
        self._closed = False

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._closed:
                raise UsageError("this engine is closed")
            connection = self._open()
            self._local.connection = connection
            self._local.thread = _OfThread()
            with self._lock:
                self._close_unused()
                self._all.append((ref(self._local.thread), connection))
        return connection

    def _close_unused(self) -> None:
        """Close the connections of threads that have ended, each of which holds descriptors."""
        living = []
        for thread, connection in self._all:
            if thread() is None:
                connection.close()
            else:
                living.append((thread, connection))
        self._all = living

    def _open(self) -> sqlite3.Connection:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o711, exist_ok=True)
        except OSError as error:
            raise os_error(error, "cannot make the store") from error
        check_owner(os.path.dirname(self.path))
        # SQLite would make it readable for everybody, with the environments of all containers in it. mknod(2) opens
        # nothing: to close a descriptor of the file would drop the locks that other threads hold (fcntl(2)).
        try:
            os.mknod(self.path, 0o600)
        except OSError:
            pass  # it is there, or SQLite will say what is wrong
        connection = None
        try:
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._create(connection)
            elif version in MIGRATIONS:
                self._migrate(connection)
            elif version != VERSION:
                raise StoreError(
                    f"the store {self.path!r} has format {version}, this Tiffin knows {VERSION}",
                    hint="use the Tiffin that wrote it, or another --root",
                )
            # NORMAL: a crash of the machine may lose the newest records, never the database (sqlite.org/wal.html).
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            # The command line leaves without closing: a short log is quickly read again by whoever comes next.
            connection.execute("PRAGMA wal_autocheckpoint=100")
            return connection
        except (sqlite3.Error, StoreError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                raise
            raise self._explained(error) from error

    def _create(self, connection: sqlite3.Connection) -> None:
        fd = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # One process and thread at a time: a switch to WAL does not wait for others, it fails.
            fcntl.flock(fd, fcntl.LOCK_EX)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != 0:
                return  # somebody else was faster
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            _execute_all(connection, SCHEMA)
            connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")
            failpoint("schema.created")
        finally:
            os.close(fd)

    @staticmethod
    def _migrate(connection: sqlite3.Connection) -> None:
        """Bring an older store to this version, in one transaction: a killed migration has changed nothing."""
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        while version in MIGRATIONS:  # unless somebody else was faster
            _execute_all(connection, MIGRATIONS[version])
            version += 1
            connection.execute(f"PRAGMA user_version={version}")
        connection.execute("COMMIT")
        failpoint("schema.migrated")

    def _explained(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            hint = "free space, or run `tiffin system prune`"
            return StoreError("cannot write the state: the disk is full", hint=hint)
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            if os.geteuid() != 0 and not os.access(self.path, os.R_OK | os.W_OK):
                return StoreError(f"cannot open the state {self.path!r}: Permission denied", hint=AS_ROOT)
            return StoreError(
                f"cannot open the state {self.path!r}: the store is read-only or missing",
                hint="choose another one with --root",
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return StoreError(
                f"the state database {self.path!r} is damaged ({error})",
                hint="run `tiffin system check`, or restore it from a backup",
            )
        if name.startswith("SQLITE_BUSY"):
            return StoreError(f"the state database was busy for {BUSY_TIMEOUT_S:.0f} s", hint="try again")
        return StoreError(f"the state database failed: {error}")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        try:
            row: tuple[Any, ...] | None = self._connection().execute(sql, parameters).fetchone()
            return row
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; returns the number of rows it changed. `sqlite3.IntegrityError` passes through."""
        try:
            return self._connection().execute(sql, parameters).rowcount
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def transaction(self, *, durable: bool = False) -> Transaction:
        """`with database.transaction(): …` commits at the end, rolls back on an exception.

        `durable` makes the commit survive a power cut (an fsync); without it a crash of the machine may lose it whole.
        Not re-entrant.
        """
        return Transaction(self, durable)

    def check(self) -> list[str]:
        """SQLite's own integrity check; an empty list when all is well."""
        return [message for (message,) in self.rows("PRAGMA integrity_check") if message != "ok"]

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            self._closed = True
            for _, connection in self._all:
                connection.close()
            self._all.clear()
        self._local = _local()


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement)


class Transaction:
    def __init__(self, database: Database, durable: bool) -> None:
        self._database = database
        self._durable = durable

    def __enter__(self) -> Database:
        if self._durable:
            self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._database.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            if self._durable:
                self._database.execute("PRAGMA synchronous=NORMAL")


def now_ns() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()
