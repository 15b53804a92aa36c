"""EROFS images: checked by the tools of erofs-utils, and read back by our own reader."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tiffin.errors import InvalidImageError, StoreError
from tiffin.storage.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    KIND_MODES,
    REGULAR,
    SOCKET,
    SYMLINK,
    Entry,
)  # fmt: skip
from tiffin.storage.erofs import BLOCK_BYTES, write_erofs
from tiffin.storage.erofs_read import ErofsReader, Inode
from tiffin.storage.tree import Tree, flatten

OBJECT = hashlib.sha256(b"content").hexdigest()


def file(path: bytes, size: int = 7, **values: object) -> Entry:
    return make(path, REGULAR, size=size, object=OBJECT if size else None, **values)


def make(path: bytes, kind: int, **values: object) -> Entry:
    fields: dict[str, object] = {"mode": 0o644, "uid": 0, "gid": 0, "mtime_s": 1_600_000_000, "mtime_ns": 5}
    return Entry(path, kind, **{**fields, **values})  # type: ignore[arg-type]


def written(tmp_path: Path, entries: list[Entry]) -> str:
    """Write an image, let fsck.erofs look at it, return its path."""
    return checked(tmp_path, flatten([entries]))


def checked(tmp_path: Path, tree: Tree) -> str:
    path = tmp_path / "meta.erofs"
    path.write_bytes(write_erofs(tree))
    done = subprocess.run(["fsck.erofs", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in (done.stdout + done.stderr).lower()
    return str(path)


def look(path: str, name: bytes) -> Inode:
    with ErofsReader(path) as reader:
        inode = reader.lookup(name, follow=False)
    assert inode is not None, name
    return inode


def test_every_kind_with_all_its_attributes(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            make(b"d", DIRECTORY, mode=0o2775, uid=1000, gid=70_000),
            file(b"d/f", mode=0o4755, uid=3_000_000_000, gid=4_000_000_000, mtime_s=-5, mtime_ns=999_999_999),
            file(b"empty", size=0),
            make(b"link", SYMLINK, mode=0o777, link=b"d/f"),
            make(b"null", CHARACTER, mode=0o666, major=1, minor=3),
            make(b"disk", BLOCK, major=4095, minor=1_048_575),
            make(b"fifo", FIFO),
            make(b"socket", SOCKET),
        ],
    )
    inode = look(path, b"d/f")
    assert (inode.mode, inode.uid, inode.gid) == (0o104755, 3_000_000_000, 4_000_000_000)
    assert (inode.mtime_s, inode.mtime_ns, inode.size, inode.object) == (-5, 999_999_999, 7, OBJECT)
    assert (look(path, b"d").mode, look(path, b"d").links) == (0o42775, 2)
    assert (look(path, b"empty").size, look(path, b"empty").object) == (0, None)
    assert look(path, b"null").rdev == (1, 3)
    assert look(path, b"disk").rdev == (4095, 1_048_575)
    assert stat.S_ISFIFO(look(path, b"fifo").mode)
    assert stat.S_ISSOCK(look(path, b"socket").mode)
    with ErofsReader(path) as reader:
        link = reader.lookup(b"link", follow=False)
        assert link is not None
        assert reader.content(link) == b"d/f"
        followed = reader.lookup(b"/link")
        assert followed is not None
        assert followed.nid == inode.nid
        assert reader.lookup(b"none") is None
        assert reader.lookup(b"d/f/x") is None


def test_dump_erofs_agrees(tmp_path: Path) -> None:
    path = written(tmp_path, [file(b"d/f", size=123_456, mode=0o640, uid=12, gid=34), make(b"d/s", SYMLINK, link=b"f")])
    output = subprocess.run(["dump.erofs", "--path=/d/f", path], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Size: 123456\s", output)
    assert re.search(r"Uid: 12\s+Gid: 34\s+Access: 0640/rw-r-----", output)
    assert re.search(r"Links: 1\s", output)
    summary = subprocess.run(["dump.erofs", "-s", path], capture_output=True, text=True, check=True).stdout
    assert re.search(r"inode count:\s+4\n", summary)


def test_hard_links_share_their_inode(tmp_path: Path) -> None:
    path = written(
        tmp_path, [file(b"a"), make(b"d/b", HARDLINK, link=b"a"), make(b"s", SYMLINK, link=b"x"),
                   make(b"t", HARDLINK, link=b"s")]
    )  # fmt: skip
    assert look(path, b"a").nid == look(path, b"d/b").nid
    assert look(path, b"a").links == 2
    assert look(path, b"s").nid == look(path, b"t").nid


@pytest.mark.parametrize("count", [0, 1, 2, 150, 170, 171, 172, 173, 340, 1000, 5000])
def test_directories_of_every_size(tmp_path: Path, count: int) -> None:
    names = sorted(b"n%05d" % (number * 7919 % 100_000) for number in range(count))
    path = written(tmp_path, [make(b"d", DIRECTORY), *(file(b"d/" + name, size=0) for name in names)])
    with ErofsReader(path) as reader:
        directory = reader.lookup(b"d")
        assert directory is not None
        assert [name for name, _ in reader.names(directory)] == names
        for name in names[:: max(1, count // 50)]:
            assert reader.lookup(b"d/" + name) is not None
        assert reader.lookup(b"d/n") is None
        assert reader.lookup(b"d/zzz") is None


def test_a_hundred_thousand_entries(tmp_path: Path) -> None:
    entries = [file(b"big/%x" % (number * 2_654_435_761 % 2**32)) for number in range(100_000)]
    path = written(tmp_path, entries)
    with ErofsReader(path) as reader:
        directory = reader.lookup(b"big")
        assert directory is not None
        assert [name for name, _ in reader.names(directory)] == sorted(entry.path[4:] for entry in entries)
        assert reader.inodes == 100_002


@pytest.mark.parametrize("length", [1, 59, 60, 4000, 4031, 4032, 4033, 4095])
def test_symlinks_of_every_length(tmp_path: Path, length: int) -> None:
    padding = [file(b"a%d" % number) for number in range(5)]
    path = written(tmp_path, [*padding, make(b"l", SYMLINK, link=b"t" * length)])
    with ErofsReader(path) as reader:
        inode = reader.lookup(b"l", follow=False)
        assert inode is not None
        assert reader.content(inode) == b"t" * length


def test_names_that_are_not_utf8_and_longest_ones(tmp_path: Path) -> None:
    names = [b"\xff\xfe", b"\x80", b"a b\nc", b"x" * 255, "žluťoučký".encode()]
    path = written(tmp_path, [file(name) for name in names])
    for name in names:
        assert look(path, name).object == OBJECT


@pytest.mark.parametrize("size", [1, 4096, 4097, 5 << 30, 1 << 40, (8 << 40), (8 << 40) + 1, 100 << 40])
def test_files_of_every_size(tmp_path: Path, size: int) -> None:
    image = write_erofs(flatten([[file(b"f", size=size)]]))  # fsck.erofs would read terabytes of zeros
    path = tmp_path / "meta.erofs"
    path.write_bytes(image)
    assert look(str(path), b"f").size == size


def test_extended_attributes(tmp_path: Path) -> None:
    acl = bytes.fromhex("0200000001000600ffffffff04000400ffffffff20000400ffffffff")
    xattrs = (
        (b"security.capability", bytes(range(20))),
        (b"security.selinux", b"system_u:object_r:bin_t:s0\0"),
        (b"system.posix_acl_access", acl),
        (b"system.posix_acl_default", acl + b"\0\0\0\0"),
        (b"trusted.overlay.opaque", b"y"),
        (b"trusted.overlay.redirect", b"/evil"),
        (b"trusted.x", b""),
        (b"user." + b"n" * 250, b"v" * 65535),
        (b"user.\xff", b"\0" * 4097),
    )
    for entry in (file(b"f", xattrs=xattrs), make(b"d", DIRECTORY, xattrs=xattrs), file(b"e", size=0, xattrs=xattrs)):
        path = written(tmp_path, [file(b"before"), entry, file(b"z")])
        inode = look(path, entry.path)
        assert inode.xattrs == tuple(sorted(xattrs))
        assert inode.object == entry.object


def test_attributes_before_a_long_symlink(tmp_path: Path) -> None:
    for length in (100, 3000, 4050, 9000):
        link = make(b"l", SYMLINK, link=b"t" * 60, xattrs=((b"trusted.x", b"v" * length),))
        path = written(tmp_path, [link, file(b"z")])
        with ErofsReader(path) as reader:
            inode = reader.lookup(b"l", follow=False)
            assert inode is not None
            assert reader.content(inode) == b"t" * 60


def test_attributes_that_erofs_cannot_keep() -> None:
    with pytest.raises(InvalidImageError) as caught:
        write_erofs(flatten([[file(b"f", xattrs=((b"com.apple.quarantine", b"x"),))]]))
    assert str(caught.value) == (
        "the file 'f' has the extended attribute 'com.apple.quarantine', which EROFS cannot keep"
    )
    many = tuple((b"user.%d" % number, b"v" * 60_000) for number in range(5))
    with pytest.raises(InvalidImageError) as caught:
        write_erofs(flatten([[file(b"f", xattrs=many)]]))
    assert str(caught.value) == "the file 'f' has 300160 bytes of extended attributes; the limit is 262136"


def test_the_same_tree_gives_the_same_bytes() -> None:
    entries = [file(b"b"), file(b"a/x"), make(b"c", SYMLINK, link=b"a")]
    assert write_erofs(flatten([entries])) == write_erofs(flatten([list(reversed(entries))]))
    assert len(write_erofs(flatten([entries]))) % BLOCK_BYTES == 0


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = Path(written(tmp_path, [file(b"f")]))
    whole = path.read_bytes()
    for data, why in ((whole[:-1], "it has the wrong size"), (whole[:1000], "it is truncated"),
                      (bytes(len(whole)), "its superblock is wrong")):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(StoreError) as caught:
            ErofsReader(str(path))
        assert str(caught.value) == (
            f"the image file {str(path)!r} is damaged: {why} (remove the image and load it again)"
        )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 8191), st.integers(0, 255)), min_size=1, max_size=8))
@example(flips=[(4203, 4)])  # a directory entry whose inode would be at 2^63
def test_a_mangled_image_never_crashes_the_reader(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    image = write_erofs(flatten([[file(b"d/f"), make(b"l", SYMLINK, link=b"d/f"), make(b"c", CHARACTER, minor=3)]]))
    for at, value in flips:
        image[at] = value
    path = tmp_path / "meta.erofs"
    path.write_bytes(image)
    try:
        with ErofsReader(str(path)) as reader:
            inode = reader.lookup(b"l")
            if inode is not None and stat.S_ISLNK(inode.mode):
                reader.content(inode)
    except StoreError:
        pass


names = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"bin", b"\xff"]),
    st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"-")),
).filter(lambda name: name not in (b".", b".."))
attributes = st.lists(
    st.tuples(st.sampled_from([b"user.a", b"security.b", b"trusted.overlay.c", b"user.dd"]), st.binary(max_size=300)),
    max_size=3,
    unique_by=lambda item: item[0],
).map(lambda items: tuple(sorted(items)))


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    found = []
    for _ in range(draw(st.integers(0, 12))):
        path = b"/".join(draw(st.lists(names, min_size=1, max_size=4)))
        kind = draw(st.sampled_from([REGULAR, DIRECTORY, SYMLINK, FIFO, CHARACTER, BLOCK]))
        size = draw(st.integers(0, 1 << 44)) if kind == REGULAR else 0
        link = draw(st.binary(min_size=1, max_size=4095)).replace(b"\0", b"0") if kind == SYMLINK else b""
        found.append(
            make(
                path,
                kind,
                mode=draw(st.integers(0, 0o7777)),
                uid=draw(st.integers(0, 2**32 - 2)),
                gid=draw(st.integers(0, 2**32 - 2)),
                mtime_s=draw(st.integers(-(2**40), 2**40)),
                mtime_ns=draw(st.integers(0, 999_999_999)),
                size=size,
                object=OBJECT if size else None,
                link=link,
                major=draw(st.integers(1, 4095)),
                minor=draw(st.integers(0, 1_048_575)),
                xattrs=draw(attributes),
            )
        )
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=entry_lists())
def test_any_tree_comes_out_again(tmp_path: Path, entries: list[Entry]) -> None:
    tree = flatten([entries])
    path = tmp_path / "meta.erofs"
    path.write_bytes(write_erofs(tree))
    expected = {name: node for name, node in tree.walk()}  # noqa: C416, the nodes' types are clearer so
    with ErofsReader(str(path)) as reader:
        found = dict(reader.walk())
        assert list(found) == list(expected)
        for name, node in expected.items():
            inode, entry = found[name], node.entry
            assert inode.mode == KIND_MODES[entry.kind] | (0o777 if entry.kind == SYMLINK else entry.mode)
            assert (inode.uid, inode.gid) == (entry.uid, entry.gid)
            assert (inode.mtime_s, inode.mtime_ns) == (entry.mtime_s, entry.mtime_ns)
            assert inode.xattrs == entry.xattrs
            assert inode.object == entry.object
            if entry.kind == REGULAR:
                assert inode.size == entry.size
            if entry.kind == SYMLINK:
                assert reader.content(inode) == entry.link
            if entry.kind in (CHARACTER, BLOCK):
                assert inode.rdev == (entry.major, entry.minor)


def test_reading_closes_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, [file(b"f")])
    before = os.listdir("/proc/self/fd")
    look(path, b"f")
    Path(path).write_bytes(b"")
    with pytest.raises(StoreError):
        ErofsReader(path)
    assert os.listdir("/proc/self/fd") == before
