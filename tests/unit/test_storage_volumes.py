"""Volumes' directories: filling them once, and copies that keep everything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tiffin.errors import UsageError
from tiffin.paths import Paths
from tiffin.storage import volumes
from tiffin.storage.copy_out import copy_from_host
from tiffin.storage.removal import remove_tree


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(root=str(tmp_path / "root"), run=str(tmp_path / "run"))


def copier(*names: str) -> Callable[[str], bool]:
    def copy(directory: str) -> bool:
        os.mkdir(directory)
        for name in names:
            Path(directory, name).write_text(f"from the image: {name}")
        os.chmod(directory, 0o2750)
        return True

    return copy


def listing(paths: Paths) -> list[str]:
    return sorted(os.listdir(volumes.data_path(paths, "data")))


def test_made_as_docker_makes_them(paths: Paths) -> None:
    old = os.umask(0o077)
    try:
        with volumes.VolumeLock(paths, "data"):
            volumes.make(paths, "data")
            volumes.make(paths, "data")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(volumes.data_path(paths, "data")).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{paths.volumes}/data").st_mode) == 0o700
    assert volumes.directories(paths) == ["data"]


def test_filled_once_with_the_directory_s_mode(paths: Paths) -> None:
    with volumes.VolumeLock(paths, "data"):
        volumes.make(paths, "data")
        volumes.fill(paths, "data", copier("a", "b"))
        assert listing(paths) == ["a", "b"]
        assert stat.S_IMODE(os.stat(volumes.data_path(paths, "data")).st_mode) == 0o2750
        volumes.fill(paths, "data", copier("c"))
    assert listing(paths) == ["a", "b"]
    assert os.listdir(f"{paths.volumes}/data") == ["_data"]


def test_nothing_to_copy_leaves_it_as_it_is(paths: Paths) -> None:
    with volumes.VolumeLock(paths, "data"):
        volumes.make(paths, "data")
        volumes.fill(paths, "data", lambda directory: False)
    assert listing(paths) == []


def test_a_killed_copy_is_begun_anew(paths: Paths) -> None:
    with volumes.VolumeLock(paths, "data"):
        volumes.make(paths, "data")
        copier("half")(f"{paths.volumes}/data/filling")
        volumes.fill(paths, "data", copier("whole"))
    assert listing(paths) == ["whole"]


def test_a_killed_move_is_finished_and_keeps_what_was_written_since(paths: Paths) -> None:
    with volumes.VolumeLock(paths, "data"):
        volumes.make(paths, "data")
        copier("a", "b")(f"{paths.volumes}/data/filled")
        Path(volumes.data_path(paths, "data"), "a").write_text("mine")
        volumes.fill(paths, "data", copier("never"))
    assert listing(paths) == ["a", "b"]
    assert Path(volumes.data_path(paths, "data"), "a").read_text() == "mine"
    assert os.listdir(f"{paths.volumes}/data") == ["_data"]


def test_the_lock_notices_that_its_directory_was_replaced(paths: Paths) -> None:
    with volumes.VolumeLock(paths, "data"):
        volumes.make(paths, "data")
        with pytest.raises(BlockingIOError), volumes.VolumeLock(paths, "data", wait=False):
            pass
        volumes.remove(paths, "data")
    with volumes.VolumeLock(paths, "data"):
        assert os.path.isdir(f"{paths.volumes}/data")


def test_a_copy_of_the_host_keeps_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub" / "hidden").mkdir(parents=True)
    (source / "sub" / "hidden" / "secret").write_text("no")
    (source / "file").write_bytes(b"x" * 100_000)
    os.link(source / "file", source / "sub" / "again")
    (source / "link").symlink_to("/etc/shadow")
    os.mkfifo(source / "fifo")
    os.chmod(source / "file", 0o4755)
    os.chmod(source, 0o1750)
    os.setxattr(source / "file", "user.colour", b"red")
    os.utime(source / "file", ns=(1, 2_000_000_003))
    os.utime(source / "sub", ns=(1, 5))
    destination = tmp_path / "copy"
    assert copy_from_host(str(source), str(destination), [str(source / "sub" / "hidden")])
    found = sorted(str(path.relative_to(destination)) for path in destination.rglob("*"))
    assert found == ["fifo", "file", "link", "sub", "sub/again", "sub/hidden"]
    status = os.stat(destination / "file")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_nlink) == (0o4755, 2_000_000_003, 2)
    assert os.getxattr(destination / "file", "user.colour") == b"red"
    assert os.readlink(destination / "link") == "/etc/shadow"
    assert stat.S_ISFIFO(os.stat(destination / "fifo").st_mode)
    assert os.stat(destination / "sub").st_mtime_ns == 5
    assert stat.S_IMODE(os.stat(destination).st_mode) == 0o1750
    remove_tree(str(destination))


def test_what_is_no_directory_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError) as caught:
        copy_from_host(f"{tmp_path}/file", f"{tmp_path}/copy", [])
    assert caught.value.message == f"cannot mount volume over existing file, file exists {tmp_path}/file"
    assert not copy_from_host(f"{tmp_path}/none", f"{tmp_path}/copy", [])
    (tmp_path / "empty" / "below").mkdir(parents=True)
    assert not copy_from_host(f"{tmp_path}/empty/below", f"{tmp_path}/copy", [f"{tmp_path}/empty"])
