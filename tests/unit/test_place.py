"""Putting files below a directory: what is replaced, and that nothing leaves the root."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.tars import TarMaker
from tiffin.errors import ConflictError, InvalidImageError
from tiffin.storage.contents import tar_items
from tiffin.storage.place import Placer, resolve
from tiffin.storage.tarstream import TarReader


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root, beside something that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/victim").write_text("untouched")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def unpack(root: Path, tar: bytes, *, base: bytes = b"", follow: bool = True) -> list[str]:
    warnings: list[str] = []
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        reader = TarReader(io.BytesIO(tar), lambda _: None, lambda _: None)
        with Placer(fd, base, follow=follow, owner=None, special=False, warn=warnings.append) as placer:
            for entry, content in tar_items(reader):
                placer.place(entry, content)
    finally:
        os.close(fd)
    assert (root.parent / "outside/victim").read_text() == "untouched"
    assert os.listdir(root.parent / "outside") == ["victim"]
    return warnings


def test_files_directories_and_links(root: Path) -> None:
    tar = TarMaker().directory("d", mode=0o750, mtime=1000).file("d/f", b"hi", mode=0o640, mtime=2000)
    tar.hardlink("d/g", "d/f").symlink("s", "d/f").file("deep/er/x", b"")
    unpack(root, tar.done())
    assert (root / "d/f").read_text() == "hi"
    assert (root / "d/f").stat().st_ino == (root / "d/g").stat().st_ino
    assert (root / "d/f").stat().st_mode & 0o7777 == 0o640
    assert ((root / "d").stat().st_mtime, (root / "d/f").stat().st_mtime) == (1000, 2000)
    assert os.readlink(root / "s") == "d/f"
    assert (root / "deep/er/x").stat().st_size == 0


def test_setuid_goes_where_the_owner_changes(root: Path) -> None:
    unpack(root, TarMaker().file("su", b"#!", mode=0o6755).done())
    assert (root / "su").stat().st_mode & 0o7777 == 0o755


def test_a_file_replaces_the_link_of_its_name(root: Path) -> None:
    (root / "x").symlink_to("../outside/victim")
    unpack(root, TarMaker().file("x", b"new").done())
    assert not (root / "x").is_symlink()
    assert (root / "x").read_text() == "new"


def test_links_in_the_way_stay_in_the_root(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "abs").symlink_to("/etc")
    (root / "up").symlink_to("../../../../outside")
    (root / "outside").mkdir()
    unpack(root, TarMaker().file("abs/a", b"1").file("up/b", b"2").done())
    assert (root / "etc/a").read_text() == "1"
    assert (root / "outside/b").read_text() == "2"


def test_links_in_the_way_are_refused_where_they_are_not_followed(root: Path) -> None:
    tar = TarMaker().symlink("link", "../outside").file("link/victim", b"!").done()
    with pytest.raises(ConflictError) as caught:
        unpack(root, tar, follow=False)
    assert str(caught.value) == "cannot copy below 'link': it is no directory"
    assert (root.parent / "outside/victim").read_text() == "untouched"


def test_a_hard_link_takes_nothing_from_outside(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    with pytest.raises(InvalidImageError) as caught:
        unpack(root, TarMaker().directory("d").hardlink("d/mine", "d/victim").done())
    assert str(caught.value) == "the hard link 'd/mine' leads to the missing file 'd/victim'"
    with pytest.raises(OSError):
        unpack(root, TarMaker().hardlink("mine", "out/victim").done())


@pytest.mark.parametrize("name", ["../outside/victim", "a/../../outside/victim"])
def test_names_that_leave_the_root(root: Path, name: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        unpack(root, TarMaker().file(name, b"!").done())
    assert str(caught.value) == f"the archive names a path outside of itself: {name!r}"


def test_directories_and_files_do_not_replace_each_other(root: Path) -> None:
    (root / "d").mkdir()
    (root / "f").write_text("")
    with pytest.raises(ConflictError) as caught:
        unpack(root, TarMaker().file("d", b"").done())
    assert str(caught.value) == "cannot overwrite directory 'd' with non-directory"
    with pytest.raises(ConflictError) as caught:
        unpack(root, TarMaker().directory("f").done())
    assert str(caught.value) == "cannot overwrite non-directory 'f' with directory"


def test_devices_are_left_out_and_whiteouts_refused(root: Path) -> None:
    warnings = unpack(root, TarMaker().device("sda", "b", 8, 0).file("f", b"").done())
    assert warnings == ["devices are not copied: 'sda'"]
    assert os.listdir(root) == ["f"]
    with pytest.raises(InvalidImageError) as caught:
        unpack(root, TarMaker().file(".wh.f", b"").done())
    assert str(caught.value) == "the archive hides 'f' (.wh.), which only image layers can"


@pytest.mark.parametrize(
    ("path", "follow", "expected"),
    [
        (b"/a/b/f", True, b"a/b/f"),
        (b"link/f", True, b"a/b/f"),
        (b"link", False, b"link"),
        (b"link", True, b"a/b"),
        (b"../../a", True, b"a"),
        (b"dangling", True, b"a/new"),
        (b"", True, b""),
    ],
)
def test_resolve(root: Path, path: bytes, follow: bool, expected: bytes) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/f").write_text("")
    (root / "link").symlink_to("/a/b")
    (root / "dangling").symlink_to("link/../new")
    fd = os.open(root, os.O_PATH)
    try:
        found, status = resolve(fd, path, follow=follow)
    finally:
        os.close(fd)
    assert found == expected
    assert (status is None) == (expected == b"a/new")


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda root: None, b"no/such"),
        (lambda root: (root / "f").write_text(""), b"f/x"),
        (lambda root: (root / "loop").symlink_to("loop"), b"loop"),
    ],
)
def test_resolve_to_nothing(root: Path, make: Callable[[Path], object], path: bytes) -> None:
    make(root)
    fd = os.open(root, os.O_PATH)
    try:
        with pytest.raises(OSError):
            resolve(fd, path)
    finally:
        os.close(fd)
