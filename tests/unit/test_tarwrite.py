"""Tar streams as they are written: read again by Python's reader and by our own."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tiffin.storage.contents import FileItems, tar_items
from tiffin.storage.entry import DIRECTORY, HARDLINK, OPAQUE, REGULAR, SYMLINK, WHITEOUT, Entry
from tiffin.storage.tarstream import TarReader
from tiffin.storage.tarwrite import Streamed, tar_stream


def written(*entries: Entry, exact: bool = False) -> bytes:
    return b"".join(tar_stream(((entry, None) for entry in entries), exact=exact))


def read_again(data: bytes) -> list[Entry]:
    reader = TarReader(io.BytesIO(data), lambda _: None, lambda _: None)
    return [entry for entry, _ in tar_items(reader)]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a/b", REGULAR, 0o4755, 1000, 1001, 1_700_000_000, 0),
        Entry(b"n" * 250, REGULAR, 0o644, 0, 0, 1, 0),
        Entry(b"d/" * 60 + b"d", DIRECTORY, 0o1777, 0, 0, 1, 0),
        Entry(b"", DIRECTORY, 0o755, 0, 0, 1, 0),
        Entry(b"link", SYMLINK, 0o777, 0, 0, 1, 0, link=b"/t" * 200),
        Entry(b"hard", HARDLINK, 0o644, 0, 0, 1, 0, link=b"a/b"),
        Entry(b"big", REGULAR, 0o644, 1 << 22, (1 << 32) - 2, 1, 0),
        Entry("ümläut\udcff".encode("utf-8", "surrogateescape"), REGULAR, 0o644, 0, 0, 1, 0),
        Entry(b"x", REGULAR, 0o644, 0, 0, 1, 0, xattrs=((b"user.a", b"1\0\n2"), (b"user.b", b""))),
        Entry(b"old", REGULAR, 0o644, 0, 0, -3, 250_000_000),
        Entry(b"new", REGULAR, 0o644, 0, 0, 5, 1),
        Entry(b"gone/x", WHITEOUT, 0, 0, 0, 0, 0),
        Entry(b"anew", OPAQUE, 0, 0, 0, 0, 0),
    ],
)
def test_what_is_written_is_read_again(entry: Entry) -> None:
    assert read_again(written(entry, exact=True)) == [entry]


@pytest.mark.parametrize("length", range(80, 130))
def test_record_lengths_count_themselves(length: int) -> None:
    entry = Entry(b"x", REGULAR, 0o644, 0, 0, 1, 0, xattrs=((b"user.a", b"v" * length),))
    assert read_again(written(entry)) == [entry]


def test_a_tree(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_bytes(b"content")
    os.link(tmp_path / "dir/file", tmp_path / "dir/twin")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path, os.O_PATH)
    try:
        data = b"".join(tar_stream(FileItems(lambda _: None).tree(fd, b"top")))
    finally:
        os.close(fd)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        kinds = {member.name: member.type for member in tar}
        assert kinds == {
            "top": tarfile.DIRTYPE,
            "top/dir": tarfile.DIRTYPE,
            "top/dir/file": tarfile.REGTYPE,
            "top/dir/twin": tarfile.LNKTYPE,
            "top/fifo": tarfile.FIFOTYPE,
            "top/link": tarfile.SYMTYPE,
        }
        file = tar.extractfile("top/dir/twin")
        assert file is not None
        assert file.read() == b"content"


@pytest.mark.parametrize("exact", [False, True])
def test_holes(tmp_path: Path, exact: bool) -> None:
    size = 3 << 20
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(size)
    fd = os.open(tmp_path / "sparse", os.O_PATH)
    try:
        data = b"".join(tar_stream(FileItems(lambda _: None).tree(fd, b"sparse"), exact=exact))
    finally:
        os.close(fd)
    assert (len(data) < 1 << 20) == exact
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.next()
        assert member is not None
        assert (member.name, member.size) == ("sparse", size)
        found = tar.extractfile(member)
        assert found is not None
        assert found.read() == (tmp_path / "sparse").read_bytes()


def test_a_file_that_shrinks_meanwhile_is_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    fd = os.open(path, os.O_PATH)
    try:
        chunks = tar_stream(FileItems(lambda _: None).tree(fd, b"file"))
        first = next(chunks)
        os.truncate(path, 10)
        data = first + b"".join(chunks)
    finally:
        os.close(fd)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = tar.extractfile("file")
        assert found is not None
        assert found.read() == b"x" * 10 + bytes(990)


def test_chunks_read_as_a_file() -> None:
    stream = Streamed(iter([b"abc", b"", b"defg"]))
    assert [stream.read(2), stream.read(3), stream.read(10), stream.read(1)] == [b"ab", b"cde", b"fg", b""]
    assert Streamed(iter([b"abc", b"d"])).read() == b"abcd"
