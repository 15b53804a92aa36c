"""One layer from many and layers by package from one: the files stay what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.archives import open_store, symlink, tar_of
from harness.lineages import APP, BASE, MIDDLE, add
from harness.tars import TarMaker
from tiffin.errors import ConflictError, NotFoundError, StoreError, UsageError
from tiffin.images.lineage.bases import base_upon
from tiffin.images.lineage.flatten import flatten_image, flattened
from tiffin.images.lineage.split import split_image
from tiffin.images.store import ImageStore
from tiffin.model.image import Image
from tiffin.state import blobs
from tiffin.state.blobs import Base
from tiffin.storage.entry import DIRECTORY

# Everything that a layer can say, below and above.
BELOW = (
    TarMaker()
    .directory("", mode=0o711, uid=3, mtime=5)
    .directory("d", mode=0o1777, mtime=1_500_000_000.25)
    .file("d/f", b"content", mode=0o4755, uid=1000, gid=4_000_000, mtime=1_600_000_000.123456789)
    .file("d/empty", b"")
    .file("d/holes", bytes(200_000) + b"end")
    .file("before/1970", b"x", mtime=-1.5)
    .hardlink("twin", "d/f")
    .symlink("link", "d/f", mode=0o777)
    .fifo("fifo", mode=0o600)
    .device("null", "c", 1, 3, mode=0o666)
    .device("disk", "b", 8, 1)
    .file("n" * 200, b"long name")
    .symlink("far", "t/" * 90)
    .file("\udcff\udcfe", b"no UTF-8")
    .file("capable", b"x", xattrs={"security.capability": "\x01\x00\x00\x02value", "user.a": "ä"})
    .directory("e", xattrs={"user.b": "of a directory"})
    .symlink("labelled", "e", xattrs={"security.selinux": "of a link"})
    .fifo("pipe", xattrs={"trusted.c": "of a pipe"})
    .file("e/deleted", b"1")
    .file("e/kept", b"1")
    .done()
)
ABOVE = TarMaker().file("e/.wh.deleted").file("d/f2", b"2").hardlink("third", "d/f").file("implicit/x", b"3").done()


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


def facts(store: ImageStore, image: Image) -> dict[bytes, tuple[Any, ...]]:
    """What every path of an image is, with all names of its inode; how a tar stores holes is no part of it."""
    names: dict[int, list[bytes]] = {}
    nodes = list(flattened(store, image).walk())
    for path, node in nodes:
        names.setdefault(id(node), []).append(path)
    return {
        path: (
            *(getattr(node.entry, field) for field in node.entry.__slots__ if field not in ("path", "sparse")),
            names[id(node)] if node.entry.kind != DIRECTORY else None,
        )
        for path, node in nodes
    }


def test_flattened(store: ImageStore) -> None:
    image = add(store, "many:1", BELOW, ABOVE, User="app", Env=["A=1"])
    progress: list[int] = []
    flat = flatten_image(store, "many:1", "flat:1", progress=progress.append)
    assert len(flat.layers) == 1 and flat.names == ("flat:1",)
    assert facts(store, flat) == facts(store, image)
    assert flat.config == image.config and flat.created_ns == image.created_ns
    assert progress == sorted(progress) and progress[-1] == store.layers.info(flat.layers[0]).size_bytes
    assert json.loads(flat.raw_config)["history"] == [
        {
            "created": json.loads(image.raw_config)["created"],
            "created_by": "tiffin image flatten",
            "comment": f"flattened from {image.id}",
        }
    ]
    assert flat.size_bytes == image.size_bytes


def test_flattened_again(store: ImageStore) -> None:
    """The same image gives the same one, and what is flat already the same layer."""
    add(store, "many:1", BELOW, ABOVE)
    flat = flatten_image(store, "many:1")
    assert flat.names == ()
    assert flatten_image(store, "many:1").id == flat.id
    again = flatten_image(store, flat.id, "again:1")
    assert again.layers == flat.layers and again.id != flat.id
    other = open_store(Path(store.paths.root, "other"))
    add(other, "many:1", BELOW, ABOVE)
    assert flatten_image(other, "many:1").id == flat.id


def test_what_a_flattened_image_rests_on(store: ImageStore) -> None:
    """The base stays known by name, so that `outdated` can tell; its layers are not the first ones any more."""
    base = add(store, "base:1", BASE)
    image = add(store, "app:1", BASE, APP)
    with store.database.transaction():
        blobs.set_base(store.database, image.id, base_upon(store.database, base))
    flat = flatten_image(store, "app:1")
    assert blobs.base_of(store.database, flat.id) == Base(name="base:1", base_id=base.id, layer_count=0)


def test_nothing_to_flatten(store: ImageStore) -> None:
    add(store, "empty:1")
    flat = flatten_image(store, "empty:1")
    assert list(facts(store, flat)) == [b""]
    for act in (flatten_image, split_image):
        with pytest.raises(NotFoundError, match="no such image: gone"):
            act(store, "gone")
        with pytest.raises(UsageError, match="invalid reference format"):
            act(store, "empty:1", "No Name")
    with pytest.raises(UsageError) as caught:
        flatten_image(store, "host")
    assert caught.value.message == "the image 'host' cannot be flattened: it has no layers, it is the host itself"
    with pytest.raises(UsageError) as caught:
        split_image(store, "host")
    assert caught.value.message == "the image 'host' cannot be split: it has no layers, it is the host itself"


def test_a_damaged_object(store: ImageStore) -> None:
    image = add(store, "app:1", BASE, APP)
    (digest,) = store.layers.objects_of(image.layers[0])[-1:]
    with open(store.layers.objects.path(digest), "r+b") as file:
        file.truncate(10)
    before = sorted(store.layers)
    with pytest.raises(StoreError, match="an object of 100000 bytes has only 10"):
        flatten_image(store, "app:1", "flat:1")
    assert sorted(store.layers) == before


STATUS = "".join(
    f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\n"
    for name, version in (("big", "1.0"), ("middling", "2-1"), ("small", "3"), ("tiny", "4"))
)
LISTS = {
    "big": ["/.", "/usr", "/usr/lib", "/usr/lib/big", "/usr/lib/big/data", "/usr/lib/big/twin"],
    "middling": ["/.", "/bin", "/usr", "/usr/bin", "/usr/bin/middling", "/bin/through-link"],
    "small": ["/.", "/usr", "/usr/bin", "/usr/bin/small", "/usr/share/disputed"],
    "tiny": ["/.", "/usr", "/usr/bin", "/usr/bin/tiny", "/usr/share/removed"],
}


def debian(extra: bytes, *, moment: int) -> bytes:
    """A system with four packages and a file of its own; `moment` is the time of its directories."""
    tar = TarMaker().symlink("bin", "usr/bin", mtime=moment)
    for name in ("etc", "usr", "usr/bin", "usr/lib", "usr/lib/big", "usr/share", "var", "var/lib", "var/lib/dpkg",
                 "var/lib/dpkg/info"):  # fmt: skip
        tar.directory(name, mtime=moment, mode=0o700 if name == "usr/lib/big" else 0o755)
    tar.file("usr/lib/big/data", b"B" * 90_000, mtime=11).hardlink("usr/lib/big/twin", "usr/lib/big/data")
    tar.file("usr/bin/middling", b"M" * 9_000, mtime=12).file("usr/bin/through-link", b"through", mtime=13)
    tar.file("usr/bin/small", b"S" * 900, mtime=14).hardlink("usr/share/shared-inode", "usr/bin/small")
    tar.file("usr/bin/tiny", b"T", mtime=15).file("usr/share/disputed", b"?").hardlink("etc/x", "usr/share/disputed")
    tar.file("etc/mine", extra)
    tar.file("var/lib/dpkg/status", STATUS.encode() + extra)
    for name, paths in LISTS.items():
        tar.file(f"var/lib/dpkg/info/{name}.list", "\n".join(paths).encode() + b"\n", mtime=moment)
    return tar.done()


def _layers_of(image: Image) -> dict[str, str]:
    steps = json.loads(image.raw_config)["history"]
    return dict(zip((step["comment"] for step in steps), image.layers, strict=True))


@pytest.mark.parametrize("layers", [3, 4, 5, 6, 20])
def test_split(store: ImageStore, layers: int) -> None:
    image = add(store, "debian:1", debian(b"", moment=100), tar_of({"usr/bin/.wh.tiny": b"", "srv/x": b"1"}), User="u")
    split = split_image(store, "debian:1", "split:1", layers=layers)
    assert facts(store, split) == facts(store, image)
    assert split.config == image.config and split.names == ("split:1",)
    assert len(split.layers) <= layers
    # Of the package "tiny" nothing is left, of "small" what shares an inode with a file of none.
    between = ["2 packages"] if layers == 3 else ["deb big 1.0", "deb middling 2-1"]
    assert list(_layers_of(split)) == ["files of no package", *between, "directories and links"]
    assert split_image(store, "debian:1", layers=layers).id == split.id


def test_the_same_packages_are_the_same_layers(store: ImageStore) -> None:
    """However the rest of the images differs, with the times of directories and of dpkg's own lists."""
    add(store, "one:1", debian(b"one", moment=100))
    add(store, "two:1", debian(b"another", moment=200))
    one, two = (_layers_of(split_image(store, name)) for name in ("one:1", "two:1"))
    same = {title for title in one if one[title] == two[title]}
    assert same == {"deb big 1.0", "deb middling 2-1", "deb tiny 4"}


def test_layers_list_the_directories_above_their_files(store: ImageStore) -> None:
    """Engines that unpack each layer by itself would make them up, with other modes."""
    add(store, "one:1", debian(b"", moment=100))
    for title, diff_id in _layers_of(split_image(store, "one:1")).items():
        seen = {b""}
        for entry in store.layers.entries(diff_id):
            assert entry.path.rpartition(b"/")[0] in seen, (title, entry.path)
            if entry.kind == DIRECTORY:
                seen.add(entry.path)
                assert entry.mode == (0o700 if entry.path == b"usr/lib/big" else 0o755)


def test_links_belong_to_one_layer(store: ImageStore) -> None:
    """What has names in two packages, or one in none, is in the first layer with all of them."""
    add(store, "one:1", debian(b"", moment=100))
    layers = _layers_of(split_image(store, "one:1"))
    paths = {title: {entry.path for entry in store.layers.entries(diff_id)} for title, diff_id in layers.items()}
    assert {b"usr/lib/big/data", b"usr/lib/big/twin"} <= paths["deb big 1.0"]
    assert {b"usr/bin/small", b"usr/share/shared-inode", b"usr/share/disputed", b"etc/x"} <= paths[
        "files of no package"
    ]
    assert b"usr/bin/through-link" in paths["deb middling 2-1"]


def test_what_cannot_be_split(store: ImageStore) -> None:
    add(store, "plain:1", BASE, MIDDLE)
    with pytest.raises(ConflictError) as caught:
        split_image(store, "plain:1")
    assert str(caught.value) == (
        "cannot split plain:1: no packages were found in it"
        " (the databases of dpkg, apk, rpm and Python packages are looked for)"
    )
    for layers in (-1, 0, 2, 128):
        with pytest.raises(UsageError) as refused:
            split_image(store, "plain:1", layers=layers)
        assert refused.value.message == f"an image can be split into 3 to 127 layers, not {layers}"


def test_a_list_of_files_that_leads_out_of_the_image(store: ImageStore) -> None:
    lists = b"/../../etc/passwd\n/usr/loop/x\n/usr/bin/real\n\n/\n" + b"/a" * 3000 + b"\n"
    status = b"Package: big\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n"
    layer = tar_of({
        "usr/bin/real": b"1", "usr/loop": symlink("loop"), "etc/passwd": b"p",
        "var/lib/dpkg/status": status, "var/lib/dpkg/info/big.list": lists,
    })  # fmt: skip
    image = add(store, "bad:1", layer)
    split = split_image(store, "bad:1")
    assert facts(store, split) == facts(store, image)
