"""How layers add up to one file system."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tars import END, TarMaker, record
from tiffin.errors import InvalidImageError
from tiffin.storage.entry import CHARACTER, DIRECTORY, OPAQUE, REGULAR, SYMLINK, WHITEOUT, Entry
from tiffin.storage.tarstream import TarReader
from tiffin.storage.tree import Tree, flatten


def parsed(tar: bytes) -> list[Entry]:
    reader = TarReader(io.BytesIO(tar), lambda data: None, lambda data: None)
    entries = []
    while (entry := reader.next()) is not None:
        left = reader.data_size
        while left:
            _, start, end = reader.take(left)
            left -= end - start
        entries.append(entry)
    return entries


def flat(*makers: TarMaker | bytes) -> Tree:
    return flatten([parsed(maker if isinstance(maker, bytes) else maker.done()) for maker in makers])


def paths(tree: Tree) -> list[bytes]:
    return [path for path, _ in tree.walk() if path]


def kind(tree: Tree, path: str) -> int:
    node = tree.lookup(path, follow=False)
    assert node is not None
    return node.entry.kind


def refused(*makers: TarMaker | bytes) -> str:
    with pytest.raises(InvalidImageError) as caught:
        flat(*makers)
    return str(caught.value)


def test_missing_directories_are_made() -> None:
    tree = flat(TarMaker().file("a/b/c", b"x"))
    assert paths(tree) == [b"a", b"a/b", b"a/b/c"]
    node = tree.lookup("a/b")
    assert node is not None
    assert (node.entry.mode, node.entry.uid, node.entry.gid, node.entry.mtime_s) == (0o755, 0, 0, 0)


def test_a_later_entry_for_a_directory_only_changes_its_attributes() -> None:
    tree = flat(TarMaker().file("a/f").directory("a", mode=0o700), TarMaker().directory("a", mode=0o711))
    node = tree.lookup("a")
    assert node is not None
    assert node.entry.mode == 0o711
    assert paths(tree) == [b"a", b"a/f"]


def test_the_last_of_two_entries_wins() -> None:
    tree = flat(TarMaker().file("f", b"1").file("f", b"22"))
    node = tree.lookup("f")
    assert node is not None
    assert node.entry.size == 2


def test_a_file_replaces_a_directory_and_back() -> None:
    base = TarMaker().file("d/x/y").file("f")
    tree = flat(base, TarMaker().file("d").file("f/in"))
    assert paths(tree) == [b"d", b"f", b"f/in"]
    assert (kind(tree, "d"), kind(tree, "f")) == (REGULAR, DIRECTORY)


def test_the_same_within_one_layer() -> None:
    tree = flat(TarMaker().file("d/x/y").file("d").directory("d/x/z"))
    assert paths(tree) == [b"d", b"d/x", b"d/x/z"]


def test_whiteouts_hide_what_is_below() -> None:
    base = TarMaker().file("a/b").file("a/c").file("d/e/f")
    tree = flat(base, TarMaker().file("a/.wh.b").file(".wh.d").file("x/.wh.never"))
    assert paths(tree) == [b"a", b"a/c"]


def test_whiteouts_never_hide_their_own_layer_in_whatever_order() -> None:
    for maker in (TarMaker().file("f").file(".wh.f"), TarMaker().file(".wh.f").file("f")):
        assert paths(flat(TarMaker().file("f/old"), maker)) == [b"f"]


def test_opaque_directories() -> None:
    base = TarMaker().file("a/b").file("a/c/d")
    for maker in (
        TarMaker().directory("a").file("a/.wh..wh..opq").file("a/new"),
        TarMaker().file("a/new").file("a/.wh..wh..opq"),
    ):
        assert paths(flat(base, maker)) == [b"a", b"a/new"]
    assert paths(flat(base, TarMaker().file(".wh..wh..opq").file("z"))) == [b"z"]
    assert paths(flat(TarMaker().file("new/.wh..wh..opq"))) == [b"new"]


def test_an_overlay_whiteout_device_hides_too() -> None:
    assert paths(flat(TarMaker().file("f").file("g"), TarMaker().device("f", "c", 0, 0))) == [b"g"]
    assert paths(flat(TarMaker().device("null", "c", 1, 3))) == [b"null"]


def test_aufs_files_serve_as_link_targets_only() -> None:
    tree = flat(TarMaker().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").hardlink("f", ".wh..wh.plnk/1.2"))
    assert paths(tree) == [b"f"]
    node = tree.lookup("f")
    assert node is not None
    assert (node.entry.size, node.names) == (1, 1)


def test_hard_links_are_one_inode() -> None:
    tree = flat(TarMaker().file("a", b"x"), TarMaker().hardlink("d/b", "/a").hardlink("c", "d/b"))
    assert tree.lookup("a") is tree.lookup("d/b") is tree.lookup("c")
    node = tree.lookup("a")
    assert node is not None
    assert node.names == 3
    assert tree.file_bytes() == 1


def test_a_replaced_name_leaves_the_other_names() -> None:
    tree = flat(TarMaker().file("a", b"x").hardlink("b", "a"), TarMaker().file("a", b"yy"))
    first, second = tree.lookup("a"), tree.lookup("b")
    assert first is not None
    assert second is not None
    assert (first.entry.size, first.names, second.entry.size, second.names) == (2, 1, 1, 1)


def test_hard_links_to_symlinks_do_not_follow_them() -> None:
    tree = flat(TarMaker().symlink("l", "/etc/passwd").hardlink("h", "l"))
    assert kind(tree, "h") == SYMLINK


def test_hard_links_to_nothing_and_to_directories() -> None:
    assert refused(TarMaker().hardlink("h", "gone")) == "the hard link 'h' leads to the missing file 'gone'"
    assert refused(TarMaker().file("f"), TarMaker().file(".wh.f").hardlink("h", "f")) == (
        "the hard link 'h' leads to the missing file 'f'"
    )
    assert refused(TarMaker().directory("d").hardlink("h", "d")) == "the hard link 'h' leads to the directory 'd'"
    assert refused(TarMaker().hardlink("h", "./")) == "the hard link 'h' leads to the directory ''"
    assert refused(TarMaker().hardlink("h", "h")) == "the hard link 'h' leads to the missing file 'h'"


def test_a_symlink_of_the_same_layer_is_followed_inside_the_image() -> None:
    tree = flat(TarMaker().directory("usr/lib").symlink("lib", "usr/lib").file("lib/so"))
    assert paths(tree) == [b"lib", b"usr", b"usr/lib", b"usr/lib/so"]
    assert kind(tree, "lib") == SYMLINK


def test_a_symlink_out_of_the_image_leads_to_its_own_root() -> None:
    tree = flat(TarMaker().directory("etc").symlink("x", "/../../..").file("x/etc/passwd", b"evil"))
    assert paths(tree) == [b"etc", b"etc/passwd", b"x"]


def test_a_dangling_or_circular_symlink_becomes_a_directory() -> None:
    tree = flat(TarMaker().symlink("x", "/nowhere").file("x/f").symlink("y", "y").file("y/f"))
    assert paths(tree) == [b"x", b"x/f", b"y", b"y/f"]


def test_a_symlink_of_a_layer_below_is_covered_as_by_overlay() -> None:
    tree = flat(TarMaker().directory("usr/lib").symlink("lib", "usr/lib"), TarMaker().file("lib/so"))
    assert paths(tree) == [b"lib", b"lib/so", b"usr", b"usr/lib"]
    assert kind(tree, "lib") == DIRECTORY


def test_whiteouts_do_not_follow_symlinks() -> None:
    base = TarMaker().file("usr/lib/so").symlink("lib", "usr/lib")
    assert paths(flat(base, TarMaker().file("lib/.wh.so"))) == [b"lib", b"usr", b"usr/lib", b"usr/lib/so"]


def test_the_root_has_attributes_too() -> None:
    tree = flat(TarMaker().directory("./", mode=0o1777, uid=5))
    assert (tree.root.entry.mode, tree.root.entry.uid) == (0o1777, 5)


def test_lookup_resolves_inside() -> None:
    tree = flat(TarMaker().file("etc/passwd").symlink("a", "/etc").symlink("etc/up", "../../..").symlink("l", "l"))
    found = tree.lookup("a/up/a/passwd")
    assert found is tree.lookup(b"/etc/passwd")
    assert found is not None
    assert tree.lookup("l") is None
    assert tree.lookup("etc/passwd/x") is None
    assert tree.lookup("none") is None
    assert tree.lookup("../../") is tree.root
    assert kind(tree, "a") == SYMLINK


def test_an_empty_image_has_a_root() -> None:
    assert paths(flatten([])) == []
    assert flatten([]).root.entry.mode == 0o755
    assert paths(flat(record(b"./", kind=b"5") + END)) == []


parts = st.sampled_from([b"a", b"b", b"c"])
some_paths = st.lists(parts, min_size=1, max_size=3).map(b"/".join)
kinds = st.sampled_from([REGULAR, DIRECTORY, SYMLINK, WHITEOUT, OPAQUE, CHARACTER])
targets = st.sampled_from([b"/", b"..", b"a", b"/a/b", b"c/../b"])


@st.composite
def layer(draw: st.DrawFn) -> list[Entry]:
    found = []
    for path, what in draw(st.lists(st.tuples(some_paths, kinds), max_size=8)):
        link = draw(targets) if what == SYMLINK else b""
        found.append(Entry(path, what, 0o644, 0, 0, 0, 0, link=link, minor=3))
    return found


def model(layers: list[list[Entry]]) -> dict[bytes, int]:
    """The same rules, on a plain dict of paths, for layers without symlinks."""
    files: dict[bytes, int] = {}

    def drop(path: bytes, itself: bool) -> None:
        for known in list(files):
            if known.startswith(path + b"/") or (itself and known == path):
                del files[known]

    def parents(path: bytes) -> None:
        names = path.split(b"/")
        for depth in range(1, len(names)):
            above = b"/".join(names[:depth])
            if files.get(above) != DIRECTORY:
                files[above] = DIRECTORY

    for entries in layers:
        for entry in entries:
            if entry.kind in (WHITEOUT, OPAQUE):
                drop(entry.path, entry.kind == WHITEOUT)
        for entry in entries:
            if entry.kind == WHITEOUT:
                continue
            parents(entry.path)
            if entry.kind in (DIRECTORY, OPAQUE):
                files[entry.path] = DIRECTORY
            else:
                drop(entry.path, True)
                files[entry.path] = entry.kind
    return files


@given(st.lists(layer(), max_size=4))
def test_any_layers_agree_with_a_simple_model(layers: list[list[Entry]]) -> None:
    plain = [[entry for entry in entries if entry.kind != SYMLINK] for entries in layers]
    assert {path: node.entry.kind for path, node in flatten(plain).walk() if path} == model(plain)


@given(st.lists(layer(), max_size=4))
def test_any_layers_make_a_sound_tree(layers: list[list[Entry]]) -> None:
    tree = flatten(layers)
    for path, node in tree.walk():
        assert (node.children is not None) == (node.entry.kind == DIRECTORY)
        if path:
            assert b"/" not in path.rpartition(b"/")[2]
            assert node.entry.kind < WHITEOUT
            assert node.names >= 1
