"""Stores that are damaged, full or read-only: an exact error, and nothing lost."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiffin
from tiffin.errors import StoreError, TiffinError
from tiffin.model.container import ContainerConfig
from tiffin.state.schema import VERSION


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, on a loop device."""
    image = tmp_path / "disk"
    subprocess.run(["truncate", "-s", "24M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "4096", str(image)], check=True)
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    yield mount
    # The last monitor says the exit code first and ends a moment later.
    for _ in range(100):
        if subprocess.run(["umount", str(mount)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["umount", str(mount)], check=True)


def tar_of(size: int) -> bytes:
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return archive.getvalue()


def test_disk_full_during_import(small_disk: Path, busybox_archive: bytes) -> None:
    with tiffin.Engine(str(small_disk / "root")) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
        with pytest.raises(StoreError) as caught:
            engine.import_image(io.BytesIO(tar_of(30 << 20)), "big")
        assert caught.value.message.startswith("cannot store the layer: the disk is full")
        assert caught.value.hint == "free space, or run `tiffin system prune`"
        assert [image.names for image in engine.images()] == [("busybox:latest",)]
        assert engine.run("busybox", ["echo", "works"]).stdout == "works\n"
        engine.prune(engine.prune_plan())
        assert engine.check() == []


def test_a_container_that_fills_the_disk(small_disk: Path, busybox_archive: bytes) -> None:
    with tiffin.Engine(str(small_disk / "root")) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
        result = engine.run("busybox", ["dd", "if=/dev/zero", "of=/fill", "bs=1M"])
        assert result.exit_code != 0 and "No space left on device" in result.stderr
        assert engine.run("busybox", ["echo", "works"]).stdout == "works\n"
        container = engine.create(
            ContainerConfig(image="busybox", command=("sh", "-c", "dd if=/dev/zero of=/fill; yes"))
        )
        engine.start(container.id)
        try:
            # The log cannot grow either; the container runs on, and removing it gives the space back.
            assert engine.container(container.id).state.status == "running"
        finally:
            engine.remove(container.id, force=True)
        assert engine.run("busybox", ["dd", "if=/dev/zero", "of=/fill", "bs=1M", "count=5"]).exit_code == 0


def test_read_only_store(small_disk: Path, busybox_archive: bytes) -> None:
    root = str(small_disk / "root")
    with tiffin.Engine(root) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with tiffin.Engine(root) as engine, pytest.raises(StoreError) as caught:
        engine.create(ContainerConfig(image="busybox", command=("true",)))
    assert "read-only" in caught.value.message and caught.value.hint == "choose another one with --root"
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with tiffin.Engine(root) as engine:
        assert engine.run("busybox", ["echo", "works"]).stdout == "works\n"


@pytest.mark.damages_store
def test_a_database_that_is_none(engine: tiffin.Engine) -> None:
    engine.images()
    engine.close()
    path = Path(engine.root) / "state.db"
    path.write_bytes(b"this is not a database, but long enough to be taken for one" * 100)
    for extra in ("-wal", "-shm"):
        Path(f"{path}{extra}").unlink(missing_ok=True)
    with tiffin.Engine(engine.root) as again:
        with pytest.raises(StoreError) as caught:
            again.images()
        assert caught.value.message == f"the state database '{path}' is damaged (file is not a database)"
        assert caught.value.hint == "run `tiffin system check`, or restore it from a backup"
        assert again.check() == [str(caught.value)]


@pytest.mark.damages_store
def test_a_database_from_the_future(engine: tiffin.Engine) -> None:
    import sqlite3

    engine.images()
    engine.close()
    connection = sqlite3.connect(f"{engine.root}/state.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with tiffin.Engine(engine.root) as again, pytest.raises(StoreError) as caught:
        again.images()
    assert caught.value.message == f"the store '{engine.root}/state.db' has format 99, this Tiffin knows {VERSION}"


@pytest.mark.damages_store
def test_a_damaged_object_is_found(engine: tiffin.Engine, busybox: str) -> None:
    objects = sorted(
        Path(engine.root, "objects").rglob("??????????????????????????????????????????????????????????????")
    )
    victim = max(objects, key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[1000] ^= 1
    victim.write_bytes(data)
    (finding,) = engine.check(contents=True)
    assert finding.startswith(f"object {victim.parent.name}{victim.name} of layer sha256:") and finding.endswith(
        " is damaged"
    )
    victim.unlink()
    (finding,) = engine.check()
    assert finding.endswith(" is missing")


@pytest.mark.damages_store
def test_a_missing_prepared_image_is_made_again(engine: tiffin.Engine, busybox: str) -> None:
    import shutil

    shutil.rmtree(f"{engine.root}/images")
    assert any("is not prepared" in finding for finding in engine.check())
    assert engine.run(busybox, ["echo", "works"]).stdout == "works\n"
    assert engine.check() == []


def test_two_imports_of_one_image_at_once(engine: tiffin.Engine, busybox_archive: bytes) -> None:
    import threading

    failures: list[TiffinError] = []

    def work() -> None:
        try:
            engine.import_image(io.BytesIO(busybox_archive), "same")
        except TiffinError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine.prune(engine.prune_plan())
    assert engine.check() == []
