"""The tar reader: every format that is in use, and archives that somebody hostile wrote."""

from __future__ import annotations

import io
import tarfile

import pytest

from harness.tars import END, TarMaker, header, padded, pax, record
from tiffin.errors import InvalidImageError
from tiffin.storage.entry import DIRECTORY, HARDLINK, OPAQUE, REGULAR, SYMLINK, WHITEOUT, Entry
from tiffin.storage.limits import DEFAULT_LIMITS, Limits
from tiffin.storage.tarstream import TarReader


class Dribble:
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._step))


def read(data: bytes, limits: Limits = DEFAULT_LIMITS, step: int = 1 << 30) -> list[Entry]:
    """All entries; checks that literals and contents are the stream again."""
    stream = bytearray()
    teed = bytearray()
    reader = TarReader(Dribble(data, step), stream.extend, teed.extend, limits)  # type: ignore[arg-type]
    entries = []
    while (entry := reader.next()) is not None:
        entries.append(entry)
        left = reader.data_size
        while left:
            buffer, start, end = reader.take(left)
            stream += buffer[start:end]
            left -= end - start
    assert bytes(stream) == data == bytes(teed)
    return entries


def refused(data: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(InvalidImageError) as caught:
        read(data, limits)
    return str(caught.value)


@pytest.mark.parametrize("step", [1, 7, 511, 512, 4096, 1 << 30])
def test_chunks_of_any_size_give_the_same_entries(step: int) -> None:
    data = TarMaker().directory("d").file("d/" + "n" * 120, b"x" * 3000, mode=0o4755).symlink("l", "d").done()
    entries = read(data, step=step)
    assert [(entry.path, entry.kind, entry.size) for entry in entries] == [
        (b"d", DIRECTORY, 0),
        (b"d/" + b"n" * 120, REGULAR, 3000),
        (b"l", SYMLINK, 0),
    ]
    assert entries[1].mode == 0o4755
    assert entries[2].link == b"d"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_format(format: int) -> None:
    name = "a" * 60 + "/" + "b" * 60
    data = TarMaker(format).file(name, b"1").done()
    assert [entry.path for entry in read(data)] == [name.encode()]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_links_and_numbers_beyond_octal(format: int) -> None:
    data = TarMaker(format).symlink("l", "t" * 300).file("big", uid=3_000_000_000, gid=2_097_152).done()
    link, big = read(data)
    assert link.link == b"t" * 300
    assert (big.uid, big.gid) == (3_000_000_000, 2_097_152)


def test_times_before_1970_and_fractions() -> None:
    data = pax((b"mtime", b"-1.25")) + record(b"a") + pax((b"mtime", b"5.123456789999")) + record(b"b") + END
    first, second = read(data)
    assert (first.mtime_s, first.mtime_ns) == (-2, 750_000_000)
    assert (second.mtime_s, second.mtime_ns) == (5, 123_456_789)
    (gnu,) = read(record(b"a", mtime=b"\xff" * 12) + END)
    assert (gnu.mtime_s, gnu.mtime_ns) == (-1, 0)


def test_names_that_are_not_utf8_pass_as_they_are() -> None:
    assert [entry.path for entry in read(record(b"\xff\xfe/\x80") + END)] == [b"\xff\xfe/\x80"]


def test_extended_attributes_of_both_kinds() -> None:
    data = pax((b"SCHILY.xattr.user.a", b"\0=\n1"), (b"LIBARCHIVE.xattr.user.b%20c", b"aGk")) + record(b"f") + END
    (entry,) = read(data)
    assert entry.xattrs == ((b"user.a", b"\0=\n1"), (b"user.b c", b"hi"))


def test_a_global_header_gives_defaults() -> None:
    data = record(b"g", b"12 uid=1234\n", kind=b"g") + record(b"a") + pax((b"uid", b"5")) + record(b"b") + END
    assert [entry.uid for entry in read(data)] == [1234, 5]


def test_old_tars_write_directories_as_files_with_a_slash() -> None:
    (entry,) = read(record(b"old/", kind=b"\0", magic=bytes(8)) + END)
    assert (entry.path, entry.kind) == (b"old", DIRECTORY)


def test_checksums_of_signed_chars_are_accepted() -> None:
    block = header(b"\xe4\xf6")
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    (entry,) = read(header(b"\xe4\xf6", checksum=b"%06o\0 " % signed) + END)
    assert entry.path == b"\xe4\xf6"


def test_whiteouts_and_opaque_directories() -> None:
    data = b"".join(record(name) for name in (b"a/.wh.gone", b"b/.wh..wh..opq", b".wh..wh..opq", b".wh..wh.plnk")) + END
    assert [(entry.path, entry.kind) for entry in read(data)] == [
        (b"a/gone", WHITEOUT),
        (b"b", OPAQUE),
        (b"", OPAQUE),
        (b".wh..wh.plnk", REGULAR),
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"/etc/passwd", b"etc/passwd"),
        (b"./a//b/./c/", b"a/b/c"),
        (b"a/../b", b"b"),
        (b"a/b/..", b"a"),
        (b"...", b"..."),
        (b"a/..b", b"a/..b"),
        (b"./", b""),
        (b"/", b""),
    ],
)
def test_names_become_relative(name: bytes, path: bytes) -> None:
    assert [entry.path for entry in read(record(name, kind=b"5") + END)] == [path]


@pytest.mark.parametrize("name", [b"../x", b"/../x", b"a/../../x", b".."])
def test_names_that_leave_the_archive(name: bytes) -> None:
    assert refused(record(name) + END) == f"the archive names a path outside of itself: '{name.decode()}'"


def test_hard_links_that_leave_the_archive() -> None:
    data = record(b"h", kind=b"1", link=b"../../etc/shadow") + END
    assert refused(data) == "the archive names a path outside of itself: '../../etc/shadow'"


def test_names_that_are_too_long() -> None:
    name = b"n" * 300
    shown = "n" * 80 + "…"
    expected = f"the archive has a name of 300 bytes, Linux allows 255: '{shown}'"
    assert refused(pax((b"path", name)) + record(b"x") + END) == expected
    assert refused(record(b"long", name + b"\0", kind=b"L") + record(b"x") + END) == expected
    deep = b"/".join([b"d" * 200] * 21)
    message = refused(pax((b"path", deep)) + record(b"x") + END)
    assert message == f"the archive has a path of 4220 bytes, Linux allows 4095: '{'d' * 80}…'"


def test_names_with_a_nul() -> None:
    assert refused(pax((b"path", b"a\0b")) + record(b"x") + END) == "the archive has a name with a NUL byte: 'a\\x00b'"


def test_a_name_is_shown_without_control_characters() -> None:
    message = refused(record(b"../\x1b[31m\xff") + END)
    assert message == "the archive names a path outside of itself: '../\\x1b[31m\\xff'"


def test_whiteouts_of_no_file() -> None:
    for name in (b"a/.wh.", b"a/.wh..", b"a/.wh..."):
        assert refused(record(name) + END) == f"the archive entry '{name.decode()}' is a whiteout of no file"


def test_the_root_must_be_a_directory() -> None:
    assert refused(record(b"./", kind=b"2", link=b"/x") + END) == (
        "the archive entry './' is no directory but stands for the root"
    )


def test_no_archive_at_all() -> None:
    assert refused(b"") == "the archive is empty (0 bytes)"
    assert refused(b"#!/bin/sh\n" * 100) == "this is not a tar archive: its first header has a wrong checksum"
    assert refused(b"short") == "the archive is truncated: it ends at byte 5"


def test_damaged_header() -> None:
    data = bytearray(record(b"a", b"data") + record(b"b") + END)
    data[1024 + 20] ^= 1
    assert refused(bytes(data)) == "the archive is damaged: the header at byte 1024 has a wrong checksum"


@pytest.mark.parametrize(("cut", "end"), [(100, 100), (512 + 3, 515), (512 + 512 + 7, 1031), (1024 + 700, 1724)])
def test_truncated_archives(cut: int, end: int) -> None:
    data = record(b"a", b"x" * 10) + record(b"b", b"y" * 600)
    assert refused(data[:cut]) == f"the archive is truncated: it ends at byte {end}"


def test_an_archive_may_end_without_its_trailer_but_not_after_a_pax_header() -> None:
    assert len(read(record(b"a", b"x"))) == 1
    data = pax((b"path", b"x"))
    assert refused(data) == f"the archive is truncated: it ends at byte {len(data)}"


def test_sizes_that_lie() -> None:
    assert refused(header(b"a", size=(1 << 33) - 1) + bytes(4096)) == "the archive is truncated: it ends at byte 4608"
    assert refused(header(b"a", size=b"\xff" * 12) + END) == "the archive has an entry with a negative size at byte 0"
    assert refused(header(b"a", size=b"-0000000001\0") + END) == (
        "the archive has an entry with a negative size at byte 0"
    )
    huge = b"\x80" + b"\xff" * 11
    assert refused(header(b"a", size=huge) + END) == "the archive has a number that does not fit in 64 bits"
    assert refused(header(b"a", size=b"0000000009x\0") + END) == (
        "the archive has '0000000009x\\x00' where a number should be"
    )


def test_sizes_of_links_are_ignored() -> None:
    data = header(b"h", kind=b"1", link=b"t", size=1 << 30) + record(b"after") + END
    assert [(entry.path, entry.kind, entry.size) for entry in read(data)] == [
        (b"h", HARDLINK, 0),
        (b"after", REGULAR, 0),
    ]


def test_owners_and_devices_that_cannot_be() -> None:
    assert refused(record(b"a", uid=b"\xff" * 8) + END) == "the archive entry 'a' has the wrong owner -1:0"
    assert refused(pax((b"gid", b"4294967295")) + record(b"a") + END) == (
        "the archive entry 'a' has the wrong owner 0:4294967295"
    )
    assert refused(record(b"d", kind=b"3", devices=b"0010000\0" + b"0000000\0") + END) == (
        "the archive entry 'd' has the device number 4096:0, Linux ends at 4095:1048575"
    )


def test_links_to_nothing_and_endless_symlinks() -> None:
    assert refused(record(b"l", kind=b"2") + END) == "the archive entry 'l' is a link to nothing"
    assert refused(pax((b"linkpath", b"t" * 4096)) + record(b"l", kind=b"2", link=b"x") + END) == (
        "the archive has a symlink of 4096 bytes, Linux allows 4095: 'l'"
    )


def test_unknown_types() -> None:
    assert refused(record(b"m", kind=b"M") + END) == "the archive entry 'm' has the unknown type 'M'"


def test_data_after_a_lone_zero_block() -> None:
    data = record(b"a") + bytes(512) + record(b"b") + END
    assert refused(data) == "the archive is damaged: data follow a lone zero block at byte 512"


def test_what_follows_the_end_is_kept_and_ignored() -> None:
    assert len(read(record(b"a") + END + b"garbage" * 100_000)) == 1


def test_a_pax_header_without_an_entry() -> None:
    data = pax((b"path", b"x")) + END
    assert refused(data) == f"the archive is damaged: an entry is missing at byte {len(data) - 1024}"


@pytest.mark.parametrize(
    "body", [b"99 path=x\n", b"x path=x\n", b"9 path=xy", b"4 a\n", b"7 path\n", b"6 =ab\n", b"-9 path=x\n", b"noblank"]
)
def test_malformed_pax_headers(body: bytes) -> None:
    assert refused(record(b"p", body, kind=b"x") + record(b"a") + END) == "the archive has a malformed pax header"


def test_pax_values_that_are_no_numbers() -> None:
    assert refused(pax((b"size", b"-1")) + record(b"a") + END) == (
        "the archive has '-1' for 'size' where a number should be"
    )
    assert refused(pax((b"mtime", b"soon")) + record(b"a") + END) == "the archive has 'soon' where a time should be"


def test_extended_attributes_that_cannot_be() -> None:
    value = b"v" * 65536
    assert refused(pax((b"SCHILY.xattr.user.a", value)) + record(b"a") + END) == (
        "the archive has an extended attribute of 65536 bytes, Linux allows 65535: 'user.a'"
    )
    assert refused(pax((b"SCHILY.xattr.", b"v")) + record(b"a") + END) == (
        "the archive has an extended attribute with a name that cannot be: ''"
    )
    assert refused(pax((b"LIBARCHIVE.xattr.user.a", b"!!")) + record(b"a") + END) == (
        "the archive has an extended attribute that is not base64: 'user.a'"
    )


def test_headers_beyond_the_limit() -> None:
    data = header(b"p", kind=b"x", size=(1 << 20) + 1) + bytes(4096)
    assert refused(data) == "the archive has a pax header of 1048577 bytes; the limit is 1048576"
    data = header(b"p", kind=b"L", size=1 << 30) + bytes(4096)
    assert refused(data) == "the archive has a long name of 1073741824 bytes; the limit is 1048576"


def test_entries_beyond_the_limit() -> None:
    data = record(b"a") * 3 + END
    assert refused(data, Limits(max_entries=2)) == "the archive has more than 2 entries"
    assert len(read(data, Limits(max_entries=3))) == 3


def old_sparse(segments: list[tuple[int, int]], real_size: int, extended: bytes = b"\0") -> bytes:
    """The part of an old GNU header from offset 345 on."""
    fields = b"".join(b"%011o\0%011o\0" % segment for segment in segments).ljust(96, b"\0")
    return bytes(41) + fields + extended + b"%011o\0" % real_size + bytes(17)


def test_old_gnu_sparse_with_an_extension() -> None:
    extension = padded((b"%011o\0%011o\0" % (1000, 2)).ljust(504, b"\0") + b"\0")
    head = header(
        b"s", size=10, kind=b"S", magic=b"ustar  \0", tail=old_sparse([(0, 2), (10, 2), (20, 2), (30, 2)], 5000, b"\1")
    )
    (entry,) = read(head + extension + padded(b"aabbccddee") + END)
    assert (entry.size, entry.sparse) == (5000, True)


@pytest.mark.parametrize(
    ("segments", "real_size", "reason"),
    [
        ([(0, 5), (3, 5)], 100, "has a sparse map out of order"),
        ([(0, 10)], 5, "has a sparse map that does not fit its data"),
        ([(0, 3)], 100, "has a sparse map that does not fit its data"),
    ],
)
def test_sparse_maps_that_lie(segments: list[tuple[int, int]], real_size: int, reason: str) -> None:
    head = header(b"s", size=10, kind=b"S", magic=b"ustar  \0", tail=old_sparse(segments, real_size))
    assert refused(head + padded(b"x" * 10) + END) == f"the archive entry 's' {reason}"


def test_pax_sparse_maps_that_lie() -> None:
    major = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"100"))
    assert refused(pax(*major) + record(b"s", b"9\n0\n") + END) == "the archive entry 's' has a wrong sparse map"
    assert refused(pax(*major) + record(b"s", b"x\n") + END) == "the archive entry 's' has a wrong sparse map"
    assert refused(pax(*major[:2]) + record(b"s", b"0\n") + END) == "the archive entry 's' is sparse without a size"
    odd = ((b"GNU.sparse.size", b"9"), (b"GNU.sparse.map", b"1,2,3"))
    assert refused(pax(*odd) + record(b"s") + END) == "the archive has a sparse map with an odd number of fields"
    assert refused(pax((b"GNU.sparse.major", b"2")) + record(b"s") + END) == (
        "the archive has a sparse file of the unknown format '2'"
    )
