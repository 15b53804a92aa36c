"""Paths looked up in a directory that somebody hostile fills never leave it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiffin.storage.inroot import open_in_root, read_in_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc/passwd").write_bytes(b"inside")
    (inside / "a/b").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"outside")
    before = os.listdir("/proc/self/fd")
    fd = os.open(inside, os.O_PATH)
    yield fd
    os.close(fd)
    assert os.listdir("/proc/self/fd") == before


def number(root: int, path: str) -> int | None:
    with pytest.raises(OSError) as caught:
        os.close(open_in_root(root, path))
    return caught.value.errno


def link(root: int, target: str, name: str) -> None:
    os.symlink(target, name, dir_fd=root)


@pytest.mark.parametrize(
    "path", ["etc/passwd", "/etc/passwd", "//etc/./passwd", "../../etc/passwd", "a/b/../../etc/passwd"]
)
def test_plain_paths(root: int, path: str) -> None:
    assert read_in_root(root, path) == b"inside"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/etc/passwd", "l"),
        ("etc/passwd", "l"),
        ("../../../etc/passwd", "l"),
        ("/etc", "l/passwd"),
        ("/", "l/l/l/etc/passwd"),
        (".", "l/etc/passwd"),
    ],
)
def test_symlinks_stay_inside(root: int, target: str, path: str) -> None:
    link(root, target, "l")
    assert read_in_root(root, path) == b"inside"


def test_nothing_outside_can_be_had(root: int) -> None:
    for name, target in (("up", "../secret"), ("up2", "a/../../secret"), ("far", "/../../secret")):
        link(root, target, name)
        assert number(root, name) == errno.ENOENT
        assert read_in_root(root, name) is None
    assert read_in_root(root, "../secret") is None


def test_endless_symlinks(root: int) -> None:
    link(root, "l", "l")
    link(root, "y", "x")
    link(root, "x", "y")
    assert number(root, "l") == errno.ELOOP
    assert number(root, "x/etc") == errno.ELOOP
    assert number(root, "a/../" * 3000 + "etc") == errno.ELOOP


def test_a_file_is_no_directory(root: int) -> None:
    assert number(root, "etc/passwd/x") == errno.ENOTDIR
    assert number(root, "etc/passwd/../passwd") == errno.ENOTDIR


def test_special_files_are_not_opened(root: int) -> None:
    os.mkfifo("fifo", dir_fd=root)
    assert number(root, "fifo") == errno.EACCES  # opening it would wait for a writer
    assert read_in_root(root, "fifo") is None
    fd = open_in_root(root, "fifo", os.O_PATH)
    os.close(fd)


def test_directories(root: int) -> None:
    fd = open_in_root(root, "/a/b/..", os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == ["b"]
    os.close(fd)
    fd = open_in_root(root, "/")
    assert sorted(os.listdir(fd)) == ["a", "etc"]
    os.close(fd)
    assert read_in_root(root, "etc") is None


def test_the_size_has_a_limit(root: int) -> None:
    assert read_in_root(root, "etc/passwd", max_bytes=6) == b"inside"
    assert read_in_root(root, "etc/passwd", max_bytes=5) is None


def test_descriptors_are_not_inherited(root: int) -> None:
    fd = open_in_root(root, "etc/passwd")
    assert not os.get_inheritable(fd)
    os.close(fd)
