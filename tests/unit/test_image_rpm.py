"""RPM's databases in images: SQLite, ndb and Berkeley DB, whole and damaged in every way."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.archives import symlink
from harness.packages import (
    BASH,
    KEY,
    NAME,
    RPM_FILES,
    RPM_TABLE,
    VERSION,
    packages_in_image,
    rpm_bdb,
    rpm_header,
    rpm_ndb,
    rpm_sqlite,
)  # fmt: skip
from tiffin.images.contents.files import ImageFiles
from tiffin.images.contents.packages import Damaged, Package, packages_in, rpmdb
from tiffin.images.contents.packages.rpm import Header
from tiffin.storage.entry import REGULAR, Entry
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tree import flatten

BLOBS = [rpm_header(BASH), rpm_header(KEY)]
SHELL = Package(
    kind="rpm",
    name="bash",
    version="1:5.2.26-3.fc40",
    architecture="x86_64",
    source="bash",
    source_version="5.2.26-3.fc40",
    license="GPLv3+",
    summary="A shell",
    supplier="Example",
    files=("bin/bash", "etc/bashrc"),
)
SQLITE, NDB, BDB = "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db", "var/lib/rpm/Packages"


def with_tag(tag: int, kind: int, offset: int, count: int, data: bytes) -> bytes:
    """A header with one tag."""
    return struct.pack(">IIIIII", 1, len(data), tag, kind, offset, count) + data


def left_out(path: str, reason: str) -> list[str]:
    return [f"the package database '/{path}' of the image is left out: {reason}"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (NDB, rpm_ndb(BLOBS)),
        (BDB, rpm_bdb(BLOBS)),
        (BDB, rpm_bdb(BLOBS, order=">", page_size=1024)),
        (SQLITE, b""),
    ],
)
def test_rpm(tmp_path: Path, path: str, content: bytes) -> None:
    content = content or rpm_sqlite(tmp_path / "db", BLOBS)
    assert packages_in_image(tmp_path, {**RPM_FILES, path: content}) == ([SHELL], [])


def test_one_database_of_two_names(tmp_path: Path) -> None:
    found, warnings = packages_in_image(
        tmp_path, {NDB: rpm_ndb(BLOBS), "var/lib/rpm": symlink("../../usr/lib/sysimage/rpm")}
    )
    assert ([package.name for package in found], warnings) == (["bash"], [])


def test_what_is_in_the_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(RPM_TABLE)
    connection.execute("INSERT INTO Packages (blob) VALUES (?)", (BLOBS[0],))
    connection.commit()
    content, journal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    connection.close()
    assert journal
    files = {**RPM_FILES, SQLITE: content, f"{SQLITE}-wal": journal, f"{SQLITE}-shm": b"\xff" * 32768}
    assert packages_in_image(tmp_path / "1", files) == ([SHELL], [])
    files = {**RPM_FILES, SQLITE: path.read_bytes(), f"{SQLITE}-wal": b""}
    assert packages_in_image(tmp_path / "2", files) == ([SHELL], [])
    _, warnings = packages_in_image(tmp_path / "3", {SQLITE: content, f"{SQLITE}-wal": b"nonsense" * 1000})
    assert warnings in (left_out(SQLITE, "it has no table of packages"), left_out(SQLITE, "file is not a database"))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("CREATE TABLE Other (blob)", "it has no table of packages"),
        (
            "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT 0 UNION ALL SELECT 0 FROM n) SELECT blob FROM n",
            "it has no table of packages",
        ),
        ("CREATE TABLE Packages (a, blob AS (zeroblob(1000000000)))", "it has no table of packages"),
        ("CREATE VIRTUAL TABLE Packages USING fts5(blob)", "it has no table of packages"),
        ("CREATE TABLE Packages (hnum)", "no such column: blob"),
    ],
)
def test_sqlite_with_a_program_inside(tmp_path: Path, schema: str, reason: str) -> None:
    content = rpm_sqlite(tmp_path / "db", (), schema=schema)
    assert packages_in_image(tmp_path, {SQLITE: content}) == ([], left_out(SQLITE, reason))


def test_sqlite_that_is_none(tmp_path: Path) -> None:
    for number, content in enumerate((b"x", b"SQLite format 3\0", b"\0" * 8192)):
        found, warnings = packages_in_image(tmp_path / str(number), {SQLITE: content})
        assert found == []
        assert len(warnings) == 1
        assert warnings[0].startswith(left_out(SQLITE, "")[0])
    whole = rpm_sqlite(tmp_path / "db", [b"x" * 100_000])
    assert packages_in_image(tmp_path / "cut", {SQLITE: whole[:9000]}) == (
        [],
        left_out(SQLITE, "database disk image is malformed"),
    )


def spoiled(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


ONE = rpm_ndb(BLOBS[:1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RpmP", "it ends too early"),
        (spoiled(ONE, 0, b"x"), "it is no ndb database of version 0"),
        (spoiled(ONE, 4, b"\1"), "it is no ndb database of version 0"),
        (spoiled(ONE, 12, b"\0\0\0\0"), "it is no ndb database of version 0"),
        (spoiled(ONE, 12, b"\0\0\1\0"), "it ends too early"),
        (spoiled(ONE, 12, b"\0\0\0\1"), "it is no ndb database of version 0"),
        (spoiled(ONE, 32, b"x"), "one of its slots is none"),
        (spoiled(ONE, 40, b"\xff\xff\xff\xff"), "it ends too early"),
        (spoiled(ONE, 44, b"\0\0\0\0"), "the blob of package 1 is not where its slot says"),
        (spoiled(ONE, 4096, b"x"), "the blob of package 1 is not where its slot says"),
        (
            spoiled(spoiled(ONE, 44, b"\xff\xff\xff\xff"), 4108, b"\xff\xff\xff\xff"),
            "a header has 4294967295 bytes, more than the 67108864 that are read",
        ),
        (spoiled(spoiled(ONE, 44, b"\xff\xff\xff\0"), 4108, b"\0\0\1\0"), "its headers are longer than it is itself"),
        (ONE[:4200], "it ends too early"),
    ],
)
def test_ndb_that_lies(tmp_path: Path, content: bytes, reason: str) -> None:
    assert packages_in_image(tmp_path, {NDB: content}) == ([], left_out(NDB, reason))


def test_slots_of_one_blob(tmp_path: Path) -> None:
    """A hundred slots that name the same bytes are not a hundred packages to be read."""
    content = ONE
    for number in range(100):
        content = spoiled(content, 48 + 16 * number, ONE[32:48])
    found, warnings = packages_in_image(tmp_path, {NDB: content})
    assert [package.name for package in found] == ["bash"]
    assert warnings == left_out(NDB, "its headers are longer than it is itself")


HASH = rpm_bdb(BLOBS[:1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HASH[:70], "it ends too early"),
        (spoiled(HASH, 12, b"x"), "it is no hash of Berkeley DB"),
        (spoiled(HASH, 25, b"\x09"), "it is no hash of Berkeley DB"),
        (spoiled(HASH, 24, b"\1"), "it is encrypted"),
        (spoiled(HASH, 20, b"\1\2"), "its pages cannot have 513 bytes"),
        (spoiled(HASH, 20, b"\0\0\0\x40"), "its pages cannot have 1073741824 bytes"),
        (spoiled(HASH, 512 + 20, b"\xff\xff"), "a page has more items than it can hold"),
        (spoiled(HASH, 512 + 26, b"\0\0\0\0"), "the items of a page overlap"),
        (spoiled(HASH, 1024 + 25, b"\1"), "page 2 does not continue a header"),
        (spoiled(HASH, 1024 + 22, b"\xff\xff"), "page 2 does not continue a header"),
        (HASH[:1024], "it has no page 2"),
    ],
)
def test_hash_that_lies(tmp_path: Path, content: bytes, reason: str) -> None:
    assert packages_in_image(tmp_path, {BDB: content}) == ([], left_out(BDB, reason))


def test_overflow_pages_in_a_circle(tmp_path: Path) -> None:
    blob = rpm_header({NAME: "a", VERSION: "x" * 2000})
    content = rpm_bdb([blob])
    content = spoiled(content, 1024 + 16, struct.pack("<I", 2))  # its first page is its own successor
    found, _ = packages_in_image(tmp_path, {BDB: content})
    assert len(found) <= 1
    at = content.index(struct.pack("<I", len(blob)), 512)
    huge = spoiled(content, at, struct.pack("<I", 0x3FFFFFF))
    assert packages_in_image(tmp_path / "huge", {BDB: huge})[1] == left_out(
        BDB, "its headers are longer than it is itself"
    )


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"\0\0", "its header is too short"),
        (struct.pack(">II", 1, 0), "its header is longer than its record"),
        (struct.pack(">II", 0xFFFFFFFF, 0), "its header is longer than its record"),
        (with_tag(NAME, 6, 0, 1, b"x"), "its tag 1000 does not end"),
        (
            with_tag(NAME, 6, 5, 1, b"\0"),
            "its tag 1000 has more strings than bytes",
        ),
        (
            with_tag(1117, 8, 0, 0xFFFFFFFF, b"\0"),
            "its tag 1117 has more strings than bytes",
        ),
        (
            with_tag(1003, 4, 0, 9, b"\0"),
            "its tag 1003 is longer than its data",
        ),
        (rpm_header({**BASH, 1116: [0, 7, 1]}), "a file of it is in a directory that it does not have"),
    ],
)
def test_header_that_lies(tmp_path: Path, blob: bytes, reason: str) -> None:
    """One bad package costs only itself."""
    found, warnings = packages_in_image(tmp_path, {NDB: rpm_ndb([blob, BLOBS[0]])})
    assert [package.name for package in found] == ["bash"]
    assert warnings == left_out(NDB, f"one of its packages: {reason}")


def test_header_without_anything() -> None:
    header = Header(struct.pack(">II", 0, 0))
    assert (header.text(NAME), header.strings(1117), header.numbers(1003), list(header.paths())) == ("", [], (), [])


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore(str(tmp_path_factory.mktemp("objects")))


@pytest.fixture(scope="module")
def sqlite_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return rpm_sqlite(tmp_path_factory.mktemp("sqlite") / "db", BLOBS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(rpmdb.READERS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
    cut=st.none() | st.floats(0, 1),
)
def test_damage_is_told(
    objects: ObjectStore, sqlite_bytes: bytes, name: bytes, changes: list[tuple[float, bytes]], cut: float | None
) -> None:
    """Whatever bytes change, there are packages or a warning, never another exception."""
    makers: dict[bytes, Callable[[], bytes]] = {
        b"rpmdb.sqlite": lambda: sqlite_bytes,
        b"Packages.db": lambda: rpm_ndb(BLOBS),
        b"Packages": lambda: rpm_bdb(BLOBS),
    }
    content = makers[name]()
    for place, new in changes:
        content = spoiled(content, int(place * len(content)), new)
    if cut is not None:
        content = content[: int(cut * len(content))]
    entry = Entry(b"var/lib/rpm/" + name, REGULAR, 0o644, 0, 0, 0, 0, len(content), objects.add_bytes(content))
    files = ImageFiles(flatten([[entry]]), objects, f"{objects.root}/tmp")
    warnings: list[str] = []
    found = packages_in(files, warn=warnings.append)
    assert all(package.kind == "rpm" for package in found)
    assert all(text.startswith("the package database '/var/lib/rpm/") for text in warnings)


def test_a_database_beyond_all_measure(objects: ObjectStore) -> None:
    entry = Entry(b"x", REGULAR, 0o644, 0, 0, 0, 0, 3 << 30, objects.add_bytes(b"x"))
    files = ImageFiles(flatten([[entry]]), objects, f"{objects.root}/tmp")
    for reader in rpmdb.READERS.values():
        with pytest.raises(Damaged, match="it has 3221225472 bytes, more than the 2147483648 that are read"):
            list(reader(files, b"x", entry))
