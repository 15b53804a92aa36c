"""What every rootfs driver must do: an image looks the same through each, as a program in the container sees it."""

from __future__ import annotations

import ctypes
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

import tiffin
from harness.rootfs import Store, in_mounts, look, seen
from harness.tars import END, TarMaker, header, record
from tiffin.errors import ConflictError, HostError, InvalidImageError, NotFoundError, StoreError, UsageError
from tiffin.storage.rootfs import MountStep, choose_driver, driver_named, recall

BASE = TarMaker().directory("etc").file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n").file("etc/group", b"root:x:0:\n")
BASE_TAR = BASE.file("a/b", b"one").file("a/c", b"two").file("d/e/f", b"deep").symlink("lib", "d/e").done()


@pytest.fixture(params=["composefs", "overlay"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), request.param)


def content(root: str, path: str) -> bytes:
    return Path(root, path).read_bytes()


def names(root: str) -> list[str]:
    return sorted(os.fsdecode(path) for path in seen(root) if path)


def test_layers_add_up(store: Store) -> None:
    top = TarMaker().file("a/.wh.b").file("d/.wh..wh..opq").file("d/new", b"n").file("a/c", b"2").file("lib/so", b"s")
    shown = store.mounted(store.image(BASE_TAR, top.done()), lambda root: (names(root), content(root, "a/c")))
    assert shown == (["a", "a/c", "d", "d/new", "etc", "etc/group", "etc/passwd", "lib", "lib/so"], b"2")


def test_hard_links_are_one_inode(store: Store) -> None:
    tar = TarMaker().file("f", b"x" * 5000).hardlink("d/g", "f").symlink("s", "f").hardlink("t", "s").done()

    def check(root: str) -> None:
        first, second = os.lstat(f"{root}/f"), os.lstat(f"{root}/d/g")
        assert (first.st_ino, first.st_nlink, first.st_size) == (second.st_ino, 2, 5000)
        assert os.lstat(f"{root}/s").st_ino == os.lstat(f"{root}/t").st_ino
        assert content(root, "d/g") == b"x" * 5000

    store.mounted(store.image(tar), check)


def test_sparse_files_stay_sparse(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(50 << 20)
        file.write(b"end")
    tar = subprocess.run(["tar", "-cS", "-C", source, "sparse"], capture_output=True, check=True).stdout
    assert len(tar) < 100_000

    def check(root: str) -> None:
        status = os.stat(f"{root}/sparse")
        assert status.st_size == (50 << 20) + 3
        whole = content(root, "sparse")
        assert (whole[:5], whole[-3:], whole.count(0)) == (b"begin", b"end", (50 << 20) - 5)

    image = store.image(tar)
    store.mounted(image, check)
    digest = next(iter(store.objects))
    assert os.stat(store.objects.path(digest)).st_blocks * 512 < 1 << 20
    if store.driver.name == "overlay":
        copy = f"{store.paths.images}/{image[7:]}/overlay/rootfs/sparse"
        assert os.stat(copy).st_blocks * 512 < 1 << 20


def test_devices_fifos_and_modes(store: Store) -> None:
    tar = (
        TarMaker()
        .device("null", "c", 1, 3, mode=0o666)
        .device("disk", "b", 259, 70_000, mode=0o640, gid=6)
        .fifo("fifo", mode=0o600)
        .file("su", b"#!", mode=0o6755, uid=1000, gid=3_000_000_000)
        .directory("sticky", mode=0o1777)
        .file("none", mode=0)
        .done()
    )

    def check(root: str) -> None:
        assert Path(root, "null").write_bytes(b"gone") == 4
        assert look(f"{root}/null")[:6] == (stat.S_IFCHR | 0o666, 0, 0, 1_600_000_000 * 10**9, "", (1, 3))
        disk = look(f"{root}/disk")
        assert (disk.mode, disk.gid, disk.device) == (stat.S_IFBLK | 0o640, 6, (259, 70_000))
        assert look(f"{root}/fifo").mode == stat.S_IFIFO | 0o600
        su = look(f"{root}/su")
        assert (su.mode, su.uid, su.gid) == (stat.S_IFREG | 0o6755, 1000, 3_000_000_000)
        assert look(f"{root}/sticky").mode == stat.S_IFDIR | 0o1777
        assert look(f"{root}/none").mode == stat.S_IFREG

    store.mounted(store.image(tar), check)


def test_programs_run_and_set_user_id_works(store: Store) -> None:
    busybox = Path("/bin/busybox").read_bytes()
    tar = TarMaker().file("bin/busybox", busybox, mode=0o4755, uid=1234).done()

    def check(root: str) -> str:
        argv = [f"{root}/bin/busybox", "grep", "Uid", "/proc/self/status"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert store.mounted(store.image(tar), check).split() == ["Uid:", "0", "1234", "1234", "1234"]


def acl(*entries: tuple[int, int, int]) -> bytes:
    """posix_acl_xattr.h: version 2, then tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_extended_attributes_capabilities_and_acls(store: Store) -> None:
    nobody = 0xFFFF_FFFF
    access = acl((1, 6, nobody), (2, 4, 1000), (4, 4, nobody), (16, 4, nobody), (32, 4, nobody))
    capability = struct.pack("<5I", 0x0200_0001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep
    wanted = {
        "f": {"security.capability": capability, "user.text": b"value", "system.posix_acl_access": access},
        "d": {"system.posix_acl_default": access, "user.big": b"b" * 3000, "trusted.x": b"\0\1"},
    }
    tar = b""
    for name, xattrs in wanted.items():
        body = b""
        for key, value in xattrs.items():
            text = b" SCHILY.xattr." + key.encode() + b"=" + value + b"\n"
            length = len(text) + len(str(len(text)))
            length += len(str(length)) - len(str(len(text)))
            body += str(length).encode() + text
        kind = b"5" if name == "d" else b"0"
        tar += record(b"x", body, kind=b"x") + header(name.encode(), kind=kind, mode=b"0000664\0")

    def check(root: str) -> None:
        for name, xattrs in wanted.items():
            path = f"{root}/{name}"
            assert {key: os.getxattr(path, key) for key in os.listxattr(path)} == xattrs

    store.mounted(store.image(tar + END), check)


def test_an_images_own_overlay_attributes_steer_nothing(store: Store) -> None:
    attributes = {"trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/etc"}
    tar = TarMaker().directory("d", xattrs=attributes).file("d/f", b"x").file("etc/secret").done()
    assert store.mounted(store.image(tar), names) == ["d", "d/f", "etc", "etc/secret"]


def test_names_of_every_kind(store: Store) -> None:
    raw = [b"\xff\xfe", "naïve".encode(), b"n" * 255, b"a b\tc\nd", b"-rf", b"\\", b"d/" * 100 + b"end"]
    tar = b"".join(record(b"x", _pax_path(name), kind=b"x") + record(b"short", name[:10], kind=b"0") for name in raw)
    shown = store.mounted(store.image(tar + END), seen)
    assert {path for path in shown if stat.S_ISREG(shown[path].mode)} == set(raw)


def _pax_path(name: bytes) -> bytes:
    text = b" path=" + name + b"\n"
    length = len(text) + 2 if len(text) < 98 else len(text) + 3
    return str(length).encode() + text


def test_times(store: Store) -> None:
    tar = (
        TarMaker()
        .file("f", b"x", mtime=1.5)
        .file("old", b"x", mtime=-10_000.25)
        .directory("d", mtime=123_456_789.987654321)
        .symlink("l", "f", mtime=77)
        .file("d/late", b"", mtime=5_000_000_000)
        .done()
    )

    def check(root: str) -> list[int]:
        return [os.lstat(f"{root}/{name}").st_mtime_ns for name in ("f", "old", "l", "d/late")]

    assert store.mounted(store.image(tar), check) == [1_500_000_000, -10_000_250_000_000, 77 * 10**9, 5 * 10**18]


def test_the_root_directory_has_the_images_attributes(store: Store) -> None:
    tar = TarMaker().directory("./", mode=0o1751, uid=12, gid=34, mtime=99, xattrs={"user.root": "yes"}).done()
    root = store.mounted(store.image(tar), look)
    assert (root.mode, root.uid, root.gid, root.mtime_ns) == (stat.S_IFDIR | 0o1751, 12, 34, 99 * 10**9)
    assert dict(root.xattrs)["user.root"] == b"yes"


def test_writing_changes_the_container_only(store: Store) -> None:
    image = store.image(BASE_TAR)

    def change(root: str) -> None:
        Path(root, "a/b").write_bytes(b"changed")
        os.unlink(f"{root}/a/c")
        os.chmod(f"{root}/d/e/f", 0o600)
        os.rename(f"{root}/d", f"{root}/moved")
        os.mkdir(f"{root}/new")
        os.link(f"{root}/a/b", f"{root}/new/hard")
        os.setxattr(f"{root}/new", "user.k", b"v")

    def after(root: str) -> tuple[list[str], bytes, int]:
        return names(root), content(root, "a/b"), os.stat(f"{root}/moved/e/f").st_mode

    store.mounted(image, change, container="one")
    shown = store.mounted(image, after, container="one")
    assert shown[0] == sorted(
        ["a", "a/b", "etc", "etc/group", "etc/passwd", "lib", "moved", "moved/e", "moved/e/f", "new", "new/hard"]
    )
    assert shown[1:] == (b"changed", stat.S_IFREG | 0o600)
    assert store.mounted(image, lambda root: content(root, "moved/e/f"), container="one") == b"deep"
    size, inodes = store.driver.usage("one")
    assert inodes >= 6
    assert size >= 4096
    assert store.mounted(image, lambda root: content(root, "a/b"), container="two") == b"one"
    store.driver.remove("one")
    store.driver.remove("one")
    assert (store.driver.upper("one"), store.driver.usage("one")) == (None, (0, 0))
    assert store.driver.upper("two") is not None


def test_page_cache_is_shared_between_containers(tmp_path: Path) -> None:
    """Two images with the same file: with composefs it is the same inode below, so cached once."""
    store = Store(str(tmp_path / "store"))
    big = os.urandom(8 << 20)
    one = store.image(TarMaker().file("x", big).done())
    two = store.image(TarMaker().file("other/name", big).file("more").done())
    digest = next(name for name in store.objects)

    def cached(path: str) -> int:
        """Resident pages of a file, mincore(2)."""
        import mmap

        libc = ctypes.CDLL(None, use_errno=True)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as view:
            pages = (len(view) + 4095) // 4096
            vector = ctypes.create_string_buffer(pages)
            libc.mmap.restype = ctypes.c_void_p
            address = libc.mmap(None, ctypes.c_size_t(len(view)), 1, 2, file.fileno(), ctypes.c_long(0))
            assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(view)), vector) == 0
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(len(view)))
            return sum(byte & 1 for byte in vector.raw)

    with open(store.objects.path(digest), "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert store.mounted(one, lambda root: cached(f"{root}/x"), "one") < 100
    store.mounted(two, lambda root: content(root, "other/name"), "two")
    assert store.mounted(one, lambda root: cached(f"{root}/x"), "one") == 2048


def test_files_of_the_image(store: Store) -> None:
    release = TarMaker().symlink("etc/os-release", "../usr/lib/os-release").file("usr/lib/os-release", b"ID=x")
    image = store.image(BASE_TAR, release.done())
    driver = store.driver
    assert driver.image_file(image, "/etc/passwd") == b"root:x:0:0::/root:/bin/sh\n"
    assert driver.image_file(image, "etc/group") == b"root:x:0:\n"
    assert driver.image_file(image, "/etc/os-release") == b"ID=x"
    assert driver.image_file(image, "/lib/../f") is None
    assert driver.image_file(image, "/lib/f") == b"deep"
    assert driver.image_file(image, "/etc") is None
    assert driver.image_file(image, "/none") is None
    assert driver.image_file(image, "/lib/f", max_bytes=3) is None
    assert driver.image_file(image, "/etc/passwd", max_bytes=3) is None
    bare = store.image(TarMaker().file("x").done())
    assert driver.image_file(bare, "/etc/passwd") is None
    assert driver.image_file(bare, "/x") == b""


def test_links_in_etc_do_not_leave_the_image(store: Store) -> None:
    tar = TarMaker().symlink("etc/passwd", "/../../../../etc/hostname").symlink("etc/x", "/etc/hostname").done()
    image = store.image(tar)
    assert store.driver.image_file(image, "/etc/passwd") is None
    assert store.driver.image_file(image, "/etc/x") is None


def test_preparing_twice_and_at_once(store: Store) -> None:
    diff_id = store.layers.ingest(io.BytesIO(BASE_TAR)).diff_id
    image = "sha256:" + "5" * 64
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(store.driver.prepare_image(image, [diff_id]))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [46] * 6
    assert store.driver.prepare_image(image, [diff_id]) == 46
    assert os.listdir(store.paths.temporary) == []
    assert store.driver.image_ready(image)
    assert store.driver.check() == []
    store.driver.remove_image(image)
    store.driver.remove_image(image)
    assert not store.driver.image_ready(image)
    assert os.listdir(store.paths.images) == os.listdir(store.paths.temporary) == []


def test_images_that_were_not_prepared(store: Store) -> None:
    image = "sha256:" + "6" * 64
    expected = f"image {image} has not been prepared for the storage driver {store.driver.name} (load it again)"
    calls: list[Any] = [
        lambda: store.driver.create("c", image),
        lambda: store.driver.steps("c", image, "/mnt"),
        lambda: store.driver.image_file(image, "/x"),
    ]
    for call in calls:
        with pytest.raises(NotFoundError) as caught:
            call()
        assert str(caught.value) == expected
    assert store.driver.image_file(image, "/etc/passwd") is None
    with pytest.raises(NotFoundError) as caught:
        store.driver.prepare_image(image, ["sha256:" + "9" * 64])
    assert str(caught.value) == f"layer sha256:{'9' * 64} is not in the store"
    assert os.listdir(store.paths.temporary) == []


def test_a_container_is_created_once(store: Store) -> None:
    image = store.image(BASE_TAR)
    store.driver.create("c", image)
    with pytest.raises(ConflictError) as caught:
        store.driver.create("c", image)
    assert str(caught.value) == "container c has a writable layer already"


def test_paths_with_separators(tmp_path: Path, store: Store) -> None:
    odd = Store(str(tmp_path / "a:b,c\\d e"), store.driver.name)
    assert "etc/passwd" in odd.mounted(odd.image(BASE_TAR), names)


def test_a_store_too_deep_to_mount(tmp_path: Path, store: Store) -> None:
    deep = Store(str(tmp_path.joinpath(*["d" * 200] * 7)), store.driver.name)
    image = deep.image(BASE_TAR)
    deep.driver.create("c", image)
    with pytest.raises(HostError) as caught:
        deep.driver.steps("c", image, "/mnt")
    assert str(caught.value).startswith("the store's paths are too long to mount: ")
    assert str(caught.value).endswith(" bytes of options, the kernel takes 4095 (choose a shorter --root)")


def test_attributes_that_the_driver_cannot_keep(store: Store) -> None:
    tar = TarMaker().file("f", xattrs={"com.example.odd": "x"}).done()
    with pytest.raises((InvalidImageError, StoreError)) as caught:
        store.image(tar)
    assert (
        str(caught.value)
        == {
            "composefs": "the file 'f' has the extended attribute 'com.example.odd', which EROFS cannot keep",
            "overlay": "the store's file system cannot keep the extended attribute 'com.example.odd' of 'f': "
            "Operation not supported",
        }[store.driver.name]
    )
    assert list(store.layers)  # harmless: prune takes it
    assert os.listdir(store.paths.temporary) == []


def test_both_drivers_show_the_same(tmp_path: Path) -> None:
    tars = [BASE_TAR, TarMaker().file("a/.wh.c").hardlink("h", "a/b").device("n", "c", 1, 3).directory("x/y").done()]
    shown = []
    for name in ("composefs", "overlay"):
        store = Store(str(tmp_path / name), name)
        found = store.mounted(store.image(*tars), seen)
        shown.append({path: item._replace(mtime_ns=0) if path == b"" else item for path, item in found.items()})
    assert shown[0] == shown[1]


def test_choosing_a_driver(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    arguments = (store.paths, store.objects, store.layers)
    driver, reason = choose_driver(*arguments, None)
    assert (driver.name, reason) == (
        "composefs",
        "this kernel mounts EROFS from files and has overlay with data-only layers",
    )
    assert recall(store.paths, "") == ("composefs", reason)
    assert choose_driver(*arguments, None)[1] == reason
    assert choose_driver(*arguments, "overlay")[0].name == "overlay"
    memory = Path(store.paths.cache, "storage-driver")
    memory.write_text(memory.read_text().replace("composefs", "overlay"))
    assert choose_driver(*arguments, None)[0].name == "overlay"
    memory.write_text("another kernel\ncomposefs x\n")
    assert recall(store.paths, "") is None
    assert choose_driver(*arguments, None)[0].name == "composefs"
    assert os.listdir(store.paths.temporary) == []
    with pytest.raises(UsageError) as caught:
        choose_driver(*arguments, "zfs")
    assert str(caught.value) == "there is no storage driver 'zfs' (choose one of composefs, overlay)"


def test_when_nothing_can_be_mounted(tmp_path: Path) -> None:
    """Without CAP_SYS_ADMIN every probe fails, and the error says at what."""
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c", CHOOSE]
    source = os.path.dirname(os.path.dirname(tiffin.__file__))
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": source}
    )
    assert done.stdout == (
        "no storage driver works on this host: "
        "composefs cannot work here: a mount namespace of its own: Operation not permitted; "
        "overlay cannot work here: a mount namespace of its own: Operation not permitted (run as root)\n"
    )


CHOOSE = """
import sys
from tiffin.errors import HostError
from tiffin.paths import paths_for
from tiffin.storage.layers import LayerStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.rootfs import choose_driver
paths = paths_for(sys.argv[1], None)
objects = ObjectStore(paths.objects)
try:
    choose_driver(paths, objects, LayerStore(paths.layers, objects), None)
except HostError as error:
    print(error)
"""


def build_tree(base: Path) -> None:
    """A directory with all that tar can say."""
    (base / "dir/sub").mkdir(parents=True)
    (base / "dir/file").write_bytes(b"content\n" * 300)
    (base / "dir/empty").write_bytes(b"")
    (base / "dir/sub" / ("n" * 90)).write_bytes(b"long name")
    os.link(base / "dir/file", base / "dir/sub/hard")
    (base / "link").symlink_to("dir/file")
    os.mkfifo(base / "fifo")
    os.mknod(base / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(base / "sparse", "wb") as file:
        file.truncate(3 << 20)
        for at in range(0, 3 << 20, 100_000):
            file.seek(at)
            file.write(b"data")
    os.chmod(base / "dir/file", 0o4751)
    os.chown(base / "dir/sub", 1000, 1001)
    os.chmod(base / "dir", 0o2755)


GNU_TAR = [
    ["--format=gnu"],
    ["--format=gnu", "-S"],
    ["--format=oldgnu"],
    ["--format=oldgnu", "-S"],
    ["--format=ustar"],
    ["--format=v7"],
    ["--format=pax"],
    ["--format=pax", "-S", "--sparse-version=0.0"],
    ["--format=pax", "-S", "--sparse-version=0.1"],
    ["--format=pax", "-S", "--sparse-version=1.0"],
    ["--format=pax", "--xattrs", "--xattrs-include=*"],
    ["--format=gnu", "--label=volume"],
    ["--format=gnu", "-b1"],
    ["--format=gnu", "--incremental"],
]


@pytest.mark.parametrize("options", GNU_TAR, ids=" ".join)
def test_gnu_tar(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    build_tree(source)
    if "--xattrs" in options:
        os.setxattr(source / "dir/file", "user.k", b"v\0\n=")
        os.setxattr(source / "dir/file", "security.capability", struct.pack("<5I", 0x0200_0001, 1 << 13, 0, 0, 0))
    if "--format=v7" in options:
        for name in ("fifo", "null"):
            os.unlink(source / name)
    command = ["tar", "-c", *options, "-C", source, "--numeric-owner", "--sort=name", "."]
    tar = subprocess.run(command, capture_output=True, check=True).stdout
    _comes_out_again(tmp_path, source, tar, nanoseconds="--format=pax" in options)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_pythons_tarfile(tmp_path: Path, format: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    build_tree(source)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        tar.add(source, arcname=".")
    _comes_out_again(tmp_path, source, out.getvalue(), nanoseconds=False)


def test_busybox_tar(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    build_tree(source)
    tar = subprocess.run(["busybox", "tar", "-c", "-C", source, "."], capture_output=True, check=True).stdout
    _comes_out_again(tmp_path, source, tar, nanoseconds=False)


def _comes_out_again(tmp_path: Path, source: Path, tar: bytes, *, nanoseconds: bool) -> None:
    """The same bytes by write_tar, and the same files through the mount."""
    store = Store(str(tmp_path / "store"))
    diff_id = store.layers.ingest(io.BytesIO(tar)).diff_id
    out = io.BytesIO()
    store.layers.write_tar(diff_id, out)
    assert out.getvalue() == tar
    expected, shown = seen(str(source)), store.mounted(store.image(tar), lambda root: seen(root))
    assert sorted(shown) == sorted(expected)
    for path, item in expected.items():
        found = shown[path]
        assert found._replace(mtime_ns=0) == item._replace(mtime_ns=0), path
        # tarfile rounds a time to what a float holds; formats without fractions cut them.
        precision = 1 if nanoseconds else 10**9
        assert abs(found.mtime_ns - item.mtime_ns) < precision, path


def test_debians_own_tar(tmp_path: Path, debian_archive: Path) -> None:
    """A whole system: the same bytes out, and no difference to what GNU tar unpacks."""
    store = Store(str(tmp_path / "store"))
    with open(debian_archive, "rb", buffering=0) as file:
        diff_id = store.layers.ingest(file).diff_id
    with open(tmp_path / "again.tar", "wb") as out:
        store.layers.write_tar(diff_id, out)
    subprocess.run(["cmp", debian_archive, tmp_path / "again.tar"], check=True)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
    subprocess.run(["tar", "-xp", *options, "-f", debian_archive, "-C", unpacked], check=True)
    image = "sha256:" + "d" * 64
    store.driver.prepare_image(image, [diff_id])
    expected, shown = seen(str(unpacked)), store.mounted(image, seen)
    different = [path for path in expected.keys() | shown.keys() if expected.get(path) != shown.get(path)]
    assert different == []
    metadata = f"{store.paths.images}/{image[7:]}/composefs/meta.erofs"
    subprocess.run(["fsck.erofs", metadata], check=True, capture_output=True)


def test_mount_steps_that_fail_name_their_kind() -> None:
    step = MountStep(source="/none", target="/", fstype="erofs")
    with pytest.raises(OSError, match="erofs mount"):
        in_mounts((step,), lambda: None)


def test_a_driver_by_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for name in ("composefs", "overlay", "host"):
        assert driver_named(name, store.paths, store.objects, store.layers).name == name
