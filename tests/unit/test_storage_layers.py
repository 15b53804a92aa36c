"""Objects and layers: what goes in comes out byte for byte, and nothing half-done is ever visible."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.tars import END, TarMaker, header, padded, pax, record
from tiffin.errors import InvalidImageError, NotFoundError, StoreError
from tiffin.storage import objects as objects_module
from tiffin.storage.layers import LayerStore
from tiffin.storage.limits import Limits
from tiffin.storage.objects import HOLE_BYTES, ObjectStore, UnnamedFile


@pytest.fixture
def layers(tmp_path: Path) -> LayerStore:
    return LayerStore(str(tmp_path / "layers"), ObjectStore(str(tmp_path / "objects")))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def again(layers: LayerStore, diff_id: str) -> bytes:
    out = io.BytesIO()
    layers.write_tar(diff_id, out)
    return out.getvalue()


def test_a_layer_comes_out_as_it_went_in(layers: LayerStore) -> None:
    data = TarMaker().directory("d").file("d/f", b"hello", mode=0o600).file("empty").hardlink("h", "d/f").done()
    layer = layers.ingest(io.BytesIO(data), expected_diff_id="sha256:" + digest(data))
    assert (layer.diff_id, layer.size_bytes, layer.file_bytes) == ("sha256:" + digest(data), len(data), 5)
    assert again(layers, layer.diff_id) == data
    assert layers.info(layer.diff_id) == layer
    assert layers.objects_of(layer.diff_id) == [digest(b"hello")]
    assert [(entry.path, entry.object) for entry in layers.entries(layer.diff_id)] == [
        (b"d", None),
        (b"d/f", digest(b"hello")),
        (b"empty", None),
        (b"h", None),
    ]
    assert list(layers) == [layer.diff_id]


def test_all_of_an_entry_is_kept(layers: LayerStore) -> None:
    data = (
        TarMaker()
        .file("f", b"x", mode=0o6751, uid=70_000, gid=3_000_000_000, mtime=12.5, xattrs={"user.k": "v", "user.e": ""})
        .device("c", "c", 4095, 1_048_575)
        .symlink("l", "../t")
        .done()
    )
    diff_id = layers.ingest(io.BytesIO(data)).diff_id
    file, device, link = layers.entries(diff_id)
    assert (file.mode, file.uid, file.gid) == (0o6751, 70_000, 3_000_000_000)
    assert (file.mtime_s, file.mtime_ns) == (12, 500_000_000)
    assert file.xattrs == ((b"user.e", b""), (b"user.k", b"v"))
    assert (device.major, device.minor) == (4095, 1_048_575)
    assert link.link == b"../t"


def test_large_files_with_holes(layers: LayerStore) -> None:
    data = os.urandom(100_000) + bytes(3 << 20) + os.urandom(5000) + bytes(HOLE_BYTES * 3)
    tar = TarMaker().file("small", b"s").file("f", data).done()
    diff_id = layers.ingest(io.BytesIO(tar)).diff_id
    assert again(layers, diff_id) == tar
    status = os.stat(layers.objects.path(digest(data)))
    assert status.st_size == len(data)
    assert status.st_blocks * 512 < 400_000
    assert layers.objects.verify(digest(data))


def test_sparse_entries_become_whole_files(layers: LayerStore) -> None:
    content = b"ab" + bytes(9998) + b"cd" + bytes(5000)
    fields = b"%011o\0%011o\0%011o\0%011o\0" % (0, 2, 10_000, 2)
    tail = bytes(41) + fields.ljust(96, b"\0") + b"\0" + b"%011o\0" % len(content) + bytes(17)
    tar = header(b"s", size=4, kind=b"S", magic=b"ustar  \0", tail=tail) + padded(b"abcd") + record(b"z", b"last") + END
    layer = layers.ingest(io.BytesIO(tar))
    assert layer.file_bytes == len(content) + 4
    assert layers.entries(layer.diff_id)[0].object == digest(content)
    assert layers.objects.verify(digest(content))
    assert again(layers, layer.diff_id) == tar


def test_a_sparse_file_that_is_all_hole(layers: LayerStore) -> None:
    numbers = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"2000000"))
    stored = record(b"GNUSparseFile.0/real", padded(b"1\n2000000\n0\n"))
    tar = pax(*numbers, (b"GNU.sparse.name", b"real")) + stored + END
    diff_id = layers.ingest(io.BytesIO(tar)).diff_id
    (entry,) = layers.entries(diff_id)
    assert (entry.path, entry.size, entry.object, entry.sparse) == (b"real", 2_000_000, digest(bytes(2_000_000)), True)
    assert os.stat(layers.objects.path(digest(bytes(2_000_000)))).st_blocks == 0
    assert again(layers, diff_id) == tar


def test_the_wrong_digest(layers: LayerStore) -> None:
    data = record(b"a", b"x") + END
    wrong = "sha256:" + "0" * 64
    with pytest.raises(InvalidImageError) as caught:
        layers.ingest(io.BytesIO(data), expected_diff_id=wrong)
    assert str(caught.value) == f"layer sha256:{digest(data)} does not match its digest: expected {wrong}"
    assert list(layers) == []


@pytest.mark.parametrize(
    ("data", "limits", "compressed", "message"),
    [
        (
            record(b"a", bytes(5000)) + END,
            Limits(max_layer_bytes=4000),
            None,
            "the layer unpacks to more than the limit of 4000 bytes",
        ),
        (
            pax((b"GNU.sparse.size", b"9000000000000"), (b"GNU.sparse.map", b"")) + record(b"a") + END,
            Limits(),
            None,
            "the layer unpacks to more than the limit of 68719476736 bytes",
        ),
        (
            record(b"a", bytes(5000)) + END,
            Limits(max_ratio=10, ratio_floor_bytes=1000),
            200,
            "the layer unpacks to more than 2000 bytes from 200; the limit is 10 to 1",
        ),
    ],
)
def test_bombs(layers: LayerStore, data: bytes, limits: Limits, compressed: int | None, message: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        layers.ingest(io.BytesIO(data), limits=limits, compressed_size=compressed)
    assert str(caught.value) == message
    assert list(layers) == []


def test_the_ratio_counts_only_beyond_its_floor(layers: LayerStore) -> None:
    data = record(b"a", bytes(50_000)) + END
    layers.ingest(io.BytesIO(data), limits=Limits(max_ratio=10), compressed_size=100)


@pytest.mark.parametrize("cut", [0, 100, 600, 1100, 3000, 5000])
def test_a_truncated_stream_leaves_no_layer(layers: LayerStore, cut: int) -> None:
    data = record(b"a", b"x") + record(b"b", bytes(6000))
    with pytest.raises(InvalidImageError):
        layers.ingest(io.BytesIO(data[:cut]))
    assert list(layers) == []
    assert os.listdir(layers.directory) == []


def test_a_stream_that_cannot_be_read(layers: LayerStore) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreError) as caught:
        layers.ingest(Broken())  # type: ignore[arg-type]
    assert str(caught.value) == "cannot read the layer: Input/output error"


def test_layers_that_are_not_here(layers: LayerStore) -> None:
    diff_id = "sha256:" + "1" * 64
    assert not layers.has(diff_id)
    for call in (layers.entries, layers.objects_of, layers.info, layers.size_on_disk):
        with pytest.raises(NotFoundError) as caught:
            call(diff_id)
        assert str(caught.value) == f"layer {diff_id} is not in the store"
    layers.remove(diff_id)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "it is truncated"),
        (lambda data: b"", "it is truncated or no layer file"),
        (lambda data: b"X" + data[1:], "it is truncated or no layer file"),
        (lambda data: data[:-70] + b"\0" + data[-69:], "its index has a wrong checksum"),
    ],
)
def test_a_damaged_layer_says_so_and_is_replaced(
    layers: LayerStore, damage: Callable[[bytes], bytes], reason: str
) -> None:
    data = TarMaker().file("f", b"hello").done()
    diff_id = layers.ingest(io.BytesIO(data)).diff_id
    path = Path(layers.path(diff_id))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError) as caught:
        layers.entries(diff_id)
    assert str(caught.value) == f"layer {diff_id} is damaged: {reason} (remove its image and load it again)"
    assert not layers.has(diff_id)
    layers.ingest(io.BytesIO(data))
    assert again(layers, diff_id) == data


def test_a_flipped_byte_in_a_frame(layers: LayerStore) -> None:
    tar = TarMaker().file("f", b"hello").done()
    diff_id = layers.ingest(io.BytesIO(tar)).diff_id
    path = Path(layers.path(diff_id))
    whole = path.read_bytes()
    entries = layers.entries(diff_id)
    noticed = 0
    places = range(8, len(whole) - 70, 7)
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert again(layers, diff_id) == tar  # deflate has bits without a meaning
            assert layers.entries(diff_id) == entries
        except StoreError as error:
            noticed += str(error).startswith(f"layer {diff_id} is damaged: ")
    assert noticed > 0.9 * len(places)


def test_a_damaged_object_is_found_when_the_layer_is_written(layers: LayerStore) -> None:
    diff_id = layers.ingest(io.BytesIO(TarMaker().file("f", b"hello").done())).diff_id
    path = Path(layers.objects.path(digest(b"hello")))
    path.write_bytes(b"jello")
    with pytest.raises(StoreError) as caught:
        again(layers, diff_id)
    hint = "(remove its image and load it again)"
    assert str(caught.value) == f"layer {diff_id} is damaged: what it holds does not match its digest {hint}"
    assert not layers.objects.verify(digest(b"hello"))
    path.write_bytes(b"hell")
    with pytest.raises(StoreError) as caught:
        again(layers, diff_id)
    assert str(caught.value) == f"layer {diff_id} is damaged: object {digest(b'hello')} is too short {hint}"
    path.unlink()
    with pytest.raises(StoreError) as caught:
        again(layers, diff_id)
    assert str(caught.value) == (
        f"object {digest(b'hello')} is missing from the store (run `tiffin system check`, then load the image again)"
    )


def test_an_object_that_a_power_cut_left_short_is_replaced(layers: LayerStore) -> None:
    small, large = b"hello", os.urandom(3 << 20)
    data = TarMaker().file("f", small).file("g", large).done()
    diff_id = layers.ingest(io.BytesIO(data)).diff_id
    for content in (small, large):
        Path(layers.objects.path(digest(content))).write_bytes(b"")
    layers.ingest(io.BytesIO(data))
    assert again(layers, diff_id) == data
    assert sorted(os.listdir(layers.objects.root)) == sorted({digest(small)[:2], digest(large)[:2]})


def test_objects_are_readable_but_cannot_be_listed(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        store = ObjectStore(str(tmp_path / "objects"))
        name = store.add_bytes(b"x")
        writer = store.writer()
        writer.write(b"y" * 10, 0, 10)
        other = writer.finish()
    finally:
        os.umask(old)
    for key in (name, other):
        assert stat.S_IMODE(os.stat(store.path(key)).st_mode) == 0o644
        assert stat.S_IMODE(os.stat(os.path.dirname(store.path(key))).st_mode) == 0o711
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o711
    assert sorted(store) == sorted([name, other])


def test_the_same_content_is_stored_once(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    assert store.add_bytes(b"x") == store.add_bytes(memoryview(b"x")) == digest(b"x")
    inode = os.stat(store.path(digest(b"x"))).st_ino
    store.add_bytes(b"x")
    assert os.stat(store.path(digest(b"x"))).st_ino == inode
    assert store.disk_usage()[0] == 1
    assert store.remove(digest(b"x")) > 0
    assert store.remove(digest(b"x")) == 0
    assert list(store) == []


def test_without_o_tmpfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open
    refusals = []

    def refusing(path: str, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            refusals.append(path)
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(objects_module.os, "open", refusing)
    layers = LayerStore(str(tmp_path / "layers"), ObjectStore(str(tmp_path / "objects")))
    data = TarMaker().file("f", b"hello").file("f2", b"hello").file("g", os.urandom(2 << 20)).done()
    diff_id = layers.ingest(io.BytesIO(data)).diff_id
    layers.ingest(io.BytesIO(data))
    assert again(layers, diff_id) == data
    assert refusals
    found = [name for _, _, names in os.walk(tmp_path) for name in names]
    assert not [name for name in found if name.startswith(objects_module.NEW_PREFIX)]
    assert len(found) == 3


def test_an_unnamed_file_is_gone_when_closed(tmp_path: Path) -> None:
    new = UnnamedFile(str(tmp_path))
    os.write(new.fd, b"x")
    new.close()
    assert list(tmp_path.iterdir()) == []


names = st.binary(min_size=1, max_size=60).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"-"))
contents = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda head, zeros: head + bytes(zeros), st.binary(max_size=100), st.integers(0, 1_200_000)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(names, contents), max_size=8),
    format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    trailer=st.binary(max_size=600),
)
def test_any_archive_of_pythons_comes_out_again(
    layers: LayerStore, files: list[tuple[bytes, bytes]], format: int, trailer: bytes
) -> None:
    maker = TarMaker(format)
    for name, data in files:
        maker.file("d/x" + os.fsdecode(name), data)
    tar = maker.done() + trailer
    layer = layers.ingest(io.BytesIO(tar))
    assert layer.diff_id == "sha256:" + digest(tar)
    assert again(layers, layer.diff_id) == tar
    expected = [(b"d/x" + name, len(data), digest(data) if data else None) for name, data in files]
    assert [(entry.path, entry.size, entry.object) for entry in layers.entries(layer.diff_id)] == expected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=6), cut=st.integers(0, 7000))
def test_a_mangled_archive_is_refused_or_reproduced(layers: LayerStore, flips: list[tuple[int, int]], cut: int) -> None:
    maker = TarMaker(tarfile.PAX_FORMAT).directory("d").file("d/f", b"x" * 700, xattrs={"user.a": "1"})
    data = bytearray(maker.symlink("l", "t" * 150).hardlink("h", "d/f").device("c", "c", 1, 3).done())
    for at, value in flips:
        data[at % len(data)] = value
    tar = bytes(data[:cut])
    try:
        layer = layers.ingest(io.BytesIO(tar))
    except InvalidImageError:
        return
    assert again(layers, layer.diff_id) == tar


PEAK = """
import sys
from tiffin.storage.layers import LayerStore
from tiffin.storage.objects import ObjectStore
root, megabytes, entries = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from harness.tars import header
class Stream:
    def __init__(self):
        self.parts = self.all()
        self.have = b""
    def all(self):
        for number in range(entries):
            yield header(b"%d" % number) if number % 3 else header(b"%d" % number, size=1) + b"x".ljust(512, b"\\0")
        yield header(b"big", size=megabytes << 20)
        block = bytes(range(256)) * 4096
        for _ in range(megabytes):
            yield block
        yield bytes(1024)
    def read(self, size):
        while len(self.have) < size and (part := next(self.parts, b"")):
            self.have += part
        data, self.have = self.have[:size], self.have[size:]
        return data
LayerStore(root + "/layers", ObjectStore(root + "/objects")).ingest(Stream())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize(("megabytes", "entries"), [(400, 10), (1, 60_000)])
def test_memory_stays_bounded(tmp_path: Path, megabytes: int, entries: int) -> None:
    source = os.path.dirname(os.path.dirname(os.path.dirname(objects_module.__file__)))
    tests = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path), str(megabytes), str(entries)],
        env={**os.environ, "PYTHONPATH": f"{source}:{tests}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 60_000  # KiB


def test_file_descriptors_are_given_back(layers: LayerStore) -> None:
    before = os.listdir("/proc/self/fd")
    data = TarMaker().file("f", b"hello").file("g", os.urandom(2 << 20)).done()
    diff_id = layers.ingest(io.BytesIO(data)).diff_id
    again(layers, diff_id)
    with pytest.raises(InvalidImageError):
        layers.ingest(io.BytesIO(data[:-11_000]))
    assert os.listdir("/proc/self/fd") == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > len(before)
