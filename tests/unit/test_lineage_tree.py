"""What images rest on, the tree of them, and what the removal of one gives back."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from harness.archives import Layout, config_of, open_store, tar_of
from harness.lineages import APP, BASE, MIDDLE, NEW_BASE, WEB, add, at
from tiffin.errors import NotFoundError, UsageError
from tiffin.images.config import parse_config
from tiffin.images.lineage.bases import Lineage, base_of_annotations, base_upon
from tiffin.images.lineage.tree import TreeNode, tree, walk
from tiffin.images.load import load
from tiffin.images.save import save
from tiffin.images.store import ImageStore
from tiffin.model.image import Image
from tiffin.state import blobs
from tiffin.state.blobs import Base, Manifest


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


def _record(store: ImageStore, image: Image, base: Base) -> None:
    with store.database.transaction():
        blobs.set_base(store.database, image.id, base)


def _drawn(nodes: list[TreeNode]) -> list[str]:
    """Names, indented by their depth; layers in common as "+" and their number, bases that are not here as "-"."""
    return ["  " * depth + _name(node) for depth, node in walk(nodes)]


def _name(node: TreeNode) -> str:
    if node.image is not None:
        return node.image.names[0] if node.image.names else node.image.id[7:19]
    return f"-{node.base.name}" if node.base is not None else f"+{node.layer_count}"


def _on_disk(store: ImageStore) -> int:
    return sum(
        os.lstat(path).st_blocks * 512
        for directory in ("objects", "layers", "images")
        for path in Path(store.paths.root, directory).rglob("*")
        if path.is_file()
    )


def test_by_layers(store: ImageStore) -> None:
    add(store, "base:1", BASE)
    add(store, "middle:1", BASE, MIDDLE)
    add(store, "app:1", BASE, MIDDLE, APP)
    add(store, "web:1", BASE, WEB)
    add(store, "alone:1", NEW_BASE)
    assert _drawn(tree(store)) == ["alone:1", "base:1", "  middle:1", "    app:1", "  web:1"]


def test_layers_that_no_image_has_by_themselves(store: ImageStore) -> None:
    add(store, "a:1", BASE, MIDDLE, APP)
    add(store, "b:1", BASE, MIDDLE, WEB)
    add(store, "c:1", BASE, NEW_BASE)
    assert _drawn(tree(store)) == ["+1", "  +2", "    a:1", "    b:1", "  c:1"]
    add(store, "base:1", BASE)
    assert _drawn(tree(store)) == ["base:1", "  +2", "    a:1", "    b:1", "  c:1"]


def test_the_same_layers_stand_below_the_oldest(store: ImageStore) -> None:
    add(store, "young:1", BASE, created=at(2), User="1")
    add(store, "old:1", BASE, created=at(1), User="2")
    add(store, "middling:1", BASE, created=at(1), User="3")
    oldest, *others = sorted(store.list(), key=lambda image: (image.created_ns, image.id))
    assert _drawn(tree(store)) == [oldest.names[0], *sorted(f"  {image.names[0]}" for image in others)]


def test_no_layers(store: ImageStore) -> None:
    add(store, "empty:1", User="1")
    add(store, "empty:2", User="2")
    add(store, "app:1", APP)
    assert _drawn(tree(store)) == ["app:1", "empty:1", "empty:2"]


def test_what_is_recorded_counts_more_than_layers(store: ImageStore) -> None:
    base = add(store, "base:1", BASE)
    add(store, "middle:1", BASE, MIDDLE)
    app = add(store, "app:1", BASE, MIDDLE, APP)
    flat = add(store, "flat:1", NEW_BASE)
    _record(store, app, Base(base_id=base.id, layer_count=1))
    _record(store, flat, base_upon(store.database, app))
    assert _drawn(tree(store)) == ["base:1", "  app:1", "    flat:1", "  middle:1"]


def test_a_base_that_is_not_here(store: ImageStore) -> None:
    app = add(store, "app:1", BASE, APP)
    web = add(store, "web:1", BASE, WEB)
    for image in (app, web):
        _record(store, image, Base(name="debian:12", digest="sha256:" + "1" * 64, layer_count=1))
    assert _drawn(tree(store)) == ["-debian:12", "  app:1", "  web:1"]
    _record(store, web, Base(name="debian:12", digest="sha256:" + "2" * 64))
    assert _drawn(tree(store)) == ["-debian:12", "  app:1", "-debian:12", "  web:1"]
    _record(store, app, Base(digest="sha256:" + "2" * 64))
    _record(store, web, Base(digest="sha256:" + "2" * 64))
    assert _drawn(tree(store)) == ["-", "  +1", "    app:1", "    web:1"]
    # An image with these layers may well be it.
    add(store, "base:1", BASE)
    assert _drawn(tree(store)) == ["base:1", "  app:1", "  web:1"]


def test_a_name_alone_counts_while_the_layers_agree(store: ImageStore) -> None:
    app = add(store, "app:1", BASE, APP)
    _record(store, app, Base(name="debian:12"))
    add(store, "debian:12", NEW_BASE)
    assert Lineage(store).recorded(app) is None
    base = add(store, "debian:12", BASE)
    found = Lineage(store).recorded(app)
    assert found is not None and found.id == base.id


def test_an_index_names_bases_for_several_platforms(store: ImageStore) -> None:
    index = "sha256:" + "2" * 64
    bases = [add(store, "base:1", BASE), add(store, "base:2", NEW_BASE)]
    app = add(store, "app:1", NEW_BASE, APP)
    with store.database.transaction():
        for image in bases:
            blobs.add_manifest(store.database, Manifest(digest=index, media_type="x", body=b"x"), image.id)
    _record(store, app, Base(digest=index))
    found = Lineage(store).recorded(app)
    assert found is not None and found.id == bases[1].id


def test_circles_end(store: ImageStore) -> None:
    one, two, three = (add(store, f"{name}:1", layer) for name, layer in (("a", BASE), ("b", APP), ("c", WEB)))
    for image, base in ((one, two), (two, three), (three, one)):
        _record(store, image, Base(base_id=base.id))
    found = list(walk(tree(store)))
    assert sorted(node.image.names[0] for _, node in found if node.image) == ["a:1", "b:1", "c:1"]
    assert sorted(depth for depth, _ in found) == [0, 1, 2]
    _record(store, one, Base(base_id=one.id))
    assert Lineage(store).recorded(one) is None
    assert len(list(walk(tree(store)))) == 3


def test_a_long_chain(store: ImageStore) -> None:
    """Images that differ in their config alone, each made upon the last: deeper than Python recurses."""
    import sys

    base = add(store, "base:1", BASE)
    count = sys.getrecursionlimit() + 200
    before = base.id
    with store.database.transaction():
        for number in range(count):
            image_id = f"sha256:{number:064x}"
            store.database.execute(
                "INSERT INTO images SELECT ?, config, created_ns + ?, architecture, os, variant, size_bytes, added_ns"
                " FROM images WHERE id = ?",
                (image_id, number + 1, base.id),
            )
            blobs.set_base(store.database, image_id, Base(base_id=before))
            before = image_id
    depths = [depth for depth, _ in walk(tree(store))]
    assert depths == list(range(count + 1))
    assert [depth for depth, _ in walk(tree(store, [before]))] == depths


def test_only_what_is_above_and_below(store: ImageStore) -> None:
    add(store, "base:1", BASE)
    add(store, "middle:1", BASE, MIDDLE)
    add(store, "app:1", BASE, MIDDLE, APP)
    add(store, "web:1", BASE, WEB)
    add(store, "alone:1", NEW_BASE)
    assert _drawn(tree(store, ["middle:1"])) == ["base:1", "  middle:1", "    app:1"]
    assert _drawn(tree(store, ["web:1", "alone:1"])) == ["alone:1", "base:1", "  web:1"]
    with pytest.raises(NotFoundError, match="no such image: gone"):
        tree(store, ["gone"])
    with pytest.raises(UsageError) as caught:
        tree(store, ["host"])
    assert str(caught.value) == "the image 'host' is in no tree: it has no layers, it is the host itself"


def test_sizes_are_what_removal_gives_back(store: ImageStore) -> None:
    add(store, "base:1", BASE)
    add(store, "app:1", BASE, APP)
    add(store, "web:1", BASE, WEB)
    add(store, "alone:1", tar_of({"opt/app": b"app" * 9_000, "only": b"o" * 70_000}))
    nodes = {node.image.names[0]: node for _, node in walk(tree(store)) if node.image}
    disk = {name: 4096 * -(-size // 4096) for name, size in {"sh": 100_000, "app": 27_000, "only": 70_000}.items()}
    assert nodes["base:1"].adds_bytes == disk["sh"] + 2 * 4096
    assert nodes["base:1"].shared_bytes == nodes["base:1"].adds_bytes
    assert nodes["app:1"].adds_bytes == disk["app"] + 4096
    assert nodes["app:1"].shared_bytes == nodes["base:1"].adds_bytes + disk["app"]
    assert nodes["alone:1"].adds_bytes == disk["app"] + disk["only"]
    assert nodes["alone:1"].shared_bytes == disk["app"]
    for name in ("alone:1", "base:1", "app:1", "web:1"):
        promised = {node.image.names[0]: node.frees_bytes for _, node in walk(tree(store)) if node.image}
        before = _on_disk(store)
        store.remove(name)
        freed = before - _on_disk(store)
        # Directories are not counted here; what was prepared has two of a block each.
        assert 0 <= promised[name] - freed <= 8192, name


def test_removal_says_what_rests_on_the_image(store: ImageStore) -> None:
    add(store, "base:1", BASE)
    add(store, "middle:1", BASE, MIDDLE)
    add(store, "app:1", BASE, MIDDLE, APP)
    add(store, "web:1", BASE, WEB)
    assert store.remove("web:1")[1].startswith("Deleted: ")
    lines = store.remove("base:1")
    assert lines[0] == "Untagged: base:1"
    assert lines[1] == "Kept: 1 layer that app:1 and middle:1 rest on"
    assert lines[2].startswith("Deleted: sha256:") and len(lines) == 3
    assert store.remove("middle:1")[1] == "Kept: 2 layers that app:1 rests on"
    for number in range(13):
        add(store, f"many:{number:02d}", BASE, MIDDLE, created=at(number))
    last = store.remove("many:12")[1]
    assert last == "Kept: 2 layers that app:1, many:00, many:01, many:02, many:03, many:04, many:05, many:06, many:07, many:08 and 3 more rest on"  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("format", ["oci-archive", "oci-dir"])
def test_bases_go_with_archives(store: ImageStore, tmp_path: Path, format: str) -> None:
    base = add(store, "base:1", BASE)
    app = add(store, "app:1", BASE, APP)
    _record(store, app, Base(name="base:1", digest="sha256:" + "3" * 64, base_id=base.id, layer_count=1))
    archive = str(tmp_path / "archive")
    save(store, ["base:1", "app:1"], archive, format=format)
    other = open_store(tmp_path / "other")
    load(other, archive)
    assert blobs.base_of(other.database, app.id) == Base(name="base:1", digest="sha256:" + "3" * 64)
    assert blobs.base_of(other.database, base.id) is None
    # What is recorded here is no worse than what an archive says.
    load(store, archive)
    assert blobs.base_of(store.database, app.id) == Base(
        name="base:1", digest="sha256:" + "3" * 64, base_id=base.id, layer_count=1
    )


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, None),
        ({"org.opencontainers.image.title": "x"}, None),
        ({"name": "Not A Name"}, None),
        ({"name": "debian", "digest": "sha256:short"}, Base(name="debian")),
        ({"name": "registry.example/debian:12"}, Base(name="registry.example/debian:12")),
        ({"name": "../../etc:1", "digest": "sha256:" + "4" * 64}, Base(digest="sha256:" + "4" * 64)),
        ({"name": "a" * 5000}, None),
    ],
)
def test_annotations_are_claims(store: ImageStore, annotations: dict[str, str], expected: Base | None) -> None:
    said = {f"org.opencontainers.image.base.{key}" if "." not in key else key: value
            for key, value in annotations.items()}  # fmt: skip
    assert base_of_annotations(said, (), store.database) == expected


def test_recorded_claims_are_read_with_care(store: ImageStore) -> None:
    app = add(store, "app:1", BASE, APP)
    _record(store, app, Base(name="\x1b[2Jdebian", digest="sha256:\n"))
    assert Lineage(store).bases[app.id] == Base()
    assert _drawn(tree(store)) == ["app:1"]


def test_what_is_known_of_an_image_that_comes_again_stays(store: ImageStore) -> None:
    base = add(store, "base:1", BASE)
    app = add(store, "app:1", BASE, APP)
    known = base_upon(store.database, base)
    _record(store, app, known)
    layers = [(diff_id, 1) for diff_id in app.layers]
    with store.adding():
        store.add(parse_config(app.raw_config), layers, ["app:2"], base=Base(name="other:1"))
    assert blobs.base_of(store.database, app.id) == known


def test_annotations_of_an_image_that_is_here(store: ImageStore) -> None:
    digest = "sha256:" + "5" * 64
    base = add(store, "base:1", BASE)
    app = add(store, "app:1", BASE, APP)
    with store.database.transaction():
        blobs.add_manifest(store.database, Manifest(digest=digest, media_type="x", body=b"x"), base.id)
    said = {"org.opencontainers.image.base.digest": digest}
    assert base_of_annotations(said, app.layers, store.database) == Base(digest=digest, base_id=base.id, layer_count=1)
    # The digest is somebody's claim: an image with other layers does not rest on it.
    assert base_of_annotations(said, app.layers[1:], store.database) == Base(digest=digest)


def test_hostile_annotations_are_refused_or_left_out(store: ImageStore) -> None:
    layout = Layout()
    name = "org.opencontainers.image.base.name"
    manifest = layout.image((BASE,), config=config_of((BASE,)))
    body = layout.files[f"blobs/sha256/{manifest['digest'][7:]}"]
    changed = body[:-1] + b',"annotations":{"' + name.encode() + b'":"../x"}}'
    layout.top(layout.blob(changed, manifest["mediaType"]))
    (image,) = load(store, io.BytesIO(layout.tar()))
    assert blobs.base_of(store.database, image.id) is None
