"""Trees that a container filled go away whole, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

from tiffin.storage.removal import remove_tree, tree_usage


def test_a_tree_with_everything(tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "file").write_bytes(b"x")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/f").write_bytes(b"x" * 10_000)
    os.link(tree / "a/b/f", tree / "g")
    (tree / "link").symlink_to(keep)
    (tree / "a/up").symlink_to("../../keep")
    os.mkfifo(tree / "fifo")
    (tree / os.fsdecode(b"\xff")).mkdir()
    size, inodes = tree_usage(str(tree))
    assert inodes == 8
    assert 10_000 <= size < 100_000
    remove_tree(str(tree))
    assert not tree.exists()
    assert (keep / "file").read_bytes() == b"x"
    remove_tree(str(tree))


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=fd)
    here = os.open("deep", os.O_RDONLY, dir_fd=fd)
    for _ in range(2500):
        os.mkdir("directory", dir_fd=here)
        below = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    assert tree_usage(str(tmp_path / "deep"))[1] == 256
    remove_tree(str(tmp_path / "deep"))
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_symlink_is_not_a_tree(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    try:
        remove_tree(str(tmp_path / "link"))
    except OSError:
        pass
    assert (tmp_path / "real/f").exists()
    assert tree_usage(str(tmp_path / "link")) == (0, 0)
    assert tree_usage(str(tmp_path / "none")) == (0, 0)
