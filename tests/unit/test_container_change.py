"""Changing containers: records, and the limits that come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.cgroups import files
from tiffin.containers.change import merged
from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError
from tiffin.model.container import Container, ContainerConfig
from tiffin.model.resources import Resources
from tiffin.state import containers as records
from tiffin.state.db import Database

MB = 1 << 20


def container(name: str, digit: str) -> Container:
    return Container(
        id=digit * 64, name=name, image_id="host", image_name="host", driver="host", created_ns=1,
        config=ContainerConfig(image="host"), argv=("true",), env=(), workdir="/", user="", hostname="h",
        stop_signal=15, stop_timeout_s=10,
    )  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(str(tmp_path / "state.db"))
    for name, digit in (("one", "a"), ("two", "b")):
        records.add(database, container(name, digit), needs_image=False)
    return database


def test_a_record_changes_with_its_name(database: Database) -> None:
    changed = records.change(database, "a" * 64, lambda now: now.replace(name="three", hostname="x"))
    assert records.get(database, "three") == changed == container("three", "a").replace(hostname="x")
    with pytest.raises(NotFoundError):
        records.get(database, "one")
    records.add(database, container("one", "c"), needs_image=False)


def test_a_name_in_use_changes_nothing(database: Database) -> None:
    with pytest.raises(ConflictError) as caught:
        records.change(database, "a" * 64, lambda now: now.replace(name="two", hostname="x"))
    assert caught.value.message == "the container name 'two' is already in use by container bbbbbbbbbbbb"
    assert records.get(database, "one") == container("one", "a")
    records.change(database, "a" * 64, lambda now: now.replace(name="free"))  # the transaction is over


def test_what_is_gone_or_going_does_not_change(database: Database) -> None:
    records.mark_removing(database, "a" * 64)
    for digit in "ad":
        assert records.current(database, digit * 64) is None
        with pytest.raises(NotFoundError) as caught:
            records.change(database, digit * 64, lambda now: now)
        assert caught.value.message == f"no such container: {digit * 12}"
    assert records.exists(database, "a" * 64)
    assert not records.exists(database, "d" * 64)


@pytest.mark.parametrize(
    ("now", "changes", "after"),
    [
        (Resources(), Resources(cpus=1.5), Resources(cpus=1.5)),
        (Resources(cpus=1.5, pids_limit=9), Resources(pids_limit=-1), Resources(cpus=1.5, pids_limit=-1)),
        # As much swap as memory came with the old limit; the sum stays what it was.
        (
            Resources(memory_bytes=64 * MB),
            Resources(memory_bytes=32 * MB),
            Resources(memory_bytes=32 * MB, memory_swap_bytes=128 * MB),
        ),
        (
            Resources(memory_bytes=64 * MB),
            Resources(memory_bytes=256 * MB, memory_swap_bytes=-1),
            Resources(memory_bytes=256 * MB, memory_swap_bytes=-1),
        ),
        (Resources(), Resources(memory_bytes=64 * MB), Resources(memory_bytes=64 * MB)),
        (Resources(memory_bytes=64 * MB), Resources(cpus=1), Resources(memory_bytes=64 * MB, cpus=1)),
    ],
)
def test_limits_after_a_change(now: Resources, changes: Resources, after: Resources) -> None:
    assert merged(now, changes, counts_swap=True) == after


def test_without_accounting_of_swap_memory_is_alone() -> None:
    after = merged(Resources(memory_bytes=64 * MB), Resources(memory_bytes=256 * MB), counts_swap=False)
    assert after == Resources(memory_bytes=256 * MB)


def test_memory_beyond_the_sum_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        merged(Resources(memory_bytes=64 * MB), Resources(memory_bytes=256 * MB), counts_swap=True)
    assert caught.value.message == (
        f"the memory limit ({256 * MB} bytes) would exceed the limit of memory plus swap ({128 * MB} bytes)"
    )
    assert caught.value.hint == "change both in one update"


def test_values_written_as_one_are_put_back_as_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1\n")
    two.write_text("2\n")
    with files.Change() as write:
        write(str(one), "3")
    assert one.read_text().startswith("3")

    def change() -> None:
        with files.Change() as write:
            write(str(one), "5")
            write(str(one), "6")
            write(str(two), "7")
            write(str(tmp_path / "none" / "such"), "8")

    with pytest.raises(HostError) as caught:
        change()
    assert caught.value.message == f"cannot write '8' to {tmp_path}/none/such: No such file or directory"
    assert (one.read_text()[0], two.read_text()[0]) == ("3", "2")
