"""What prune would take, what it takes, what the store costs, and whether it is whole."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from harness.rootfs import Store
from harness.tars import TarMaker
from tiffin.errors import NotFoundError, StoreError
from tiffin.storage.collect import Garbage, check_store, collect, disk_usage, find_garbage
from tiffin.storage.lock import store_lock
from tiffin.storage.removal import tree_usage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ingest(store: Store, tar: bytes) -> str:
    import io

    return store.layers.ingest(io.BytesIO(tar)).diff_id


A, B, SHARED = b"a" * 20_000, b"b" * 50_000, b"shared" * 2000


def two_images(store: Store) -> tuple[str, str, str, str]:
    first = TarMaker().file("a", A).file("s", SHARED).done()
    second = TarMaker().file("b", B).file("s", SHARED).done()
    one, two = store.image(first), store.image(second)
    return one, ingest(store, first), two, ingest(store, second)


def test_nothing_known_needs_nothing(store: Store) -> None:
    one, first, two, second = two_images(store)
    garbage = find_garbage(
        store.paths, store.objects, store.layers, known_layers=(), known_images=(), known_containers=()
    )
    assert garbage.layers == tuple(sorted([first, second]))
    assert garbage.images == tuple(sorted([one, two]))
    assert garbage.objects == tuple(sorted(map(digest, (A, B, SHARED))))
    assert garbage.size_bytes >= len(A) + len(B) + len(SHARED)
    with store_lock(store.paths, exclusive=True):
        assert collect(store.paths, store.objects, store.layers, garbage) == garbage.size_bytes
    assert list(store.objects) == list(store.layers) == []
    assert not store.driver.image_ready(one)


def test_what_is_known_stays(store: Store) -> None:
    one, first, two, second = two_images(store)
    store.driver.create("known", one)
    store.driver.create("unknown", two)
    os.makedirs(f"{store.paths.temporary}/image-1-dead/rootfs")
    Path(store.paths.objects, ".new-1-dead").write_bytes(b"half")
    garbage = find_garbage(
        store.paths,
        store.objects,
        store.layers,
        known_layers={first},
        known_images={one},
        known_containers={"known"},
    )
    assert garbage == Garbage(
        objects=(digest(B),),
        layers=(second,),
        images=(two,),
        containers=("unknown",),
        litter=(f"{store.paths.objects}/.new-1-dead", f"{store.paths.temporary}/image-1-dead"),
        size_bytes=garbage.size_bytes,
    )
    collect(store.paths, store.objects, store.layers, garbage)
    assert sorted(store.objects) == sorted([digest(A), digest(SHARED)])
    assert check_store(store.objects, store.layers, [store.driver], {one: [first]}, contents=True) == []
    assert store.driver.upper("known") is not None
    assert store.driver.upper("unknown") is None
    nothing = find_garbage(
        store.paths, store.objects, store.layers, known_layers={first}, known_images={one}, known_containers={"known"}
    )
    assert nothing == Garbage()


def test_an_unreadable_layer_stops_the_collection(store: Store) -> None:
    _, first, _, second = two_images(store)
    path = Path(store.layers.path(first))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError) as caught:
        find_garbage(
            store.paths, store.objects, store.layers, known_layers={first, second}, known_images=(), known_containers=()
        )
    assert str(caught.value) == f"layer {first} is damaged: it is truncated (remove its image and load it again)"
    missing = "sha256:" + "7" * 64
    with pytest.raises(NotFoundError):
        find_garbage(
            store.paths, store.objects, store.layers, known_layers={missing}, known_images=(), known_containers=()
        )


def test_disk_usage_tells_unique_from_shared(store: Store) -> None:
    one, first, two, second = two_images(store)
    usage = disk_usage(store.paths, store.objects, store.layers, {one: [first], two: [second]})
    assert (usage.objects, usage.layers) == (3, 2)
    assert usage.objects_bytes == 20_480 + 53_248 + 12_288
    by_image = {image.image_id: image for image in usage.images}
    assert (by_image[one].unique_bytes, by_image[one].shared_bytes) == (20_000, 12_000)
    assert (by_image[two].unique_bytes, by_image[two].shared_bytes) == (50_000, 12_000)
    assert (by_image[one].shared_disk_bytes, by_image[two].shared_disk_bytes) == (12_288, 12_288)
    for image, diff_id, own in ((one, first, 20_480), (two, second, 53_248)):
        prepared = tree_usage(f"{store.paths.images}/{image.removeprefix('sha256:')}")[0]
        assert by_image[image].unique_disk_bytes == own + store.layers.size_on_disk(diff_id) + prepared
    assert usage.prepared_bytes > 0
    assert disk_usage(store.paths, store.objects, store.layers, {}).images == ()


def test_shared_and_unique_sizes_add_up_to_the_size_of_an_image(store: Store) -> None:
    """Sizes of files as the image shows them: twins count twice, links once, and what a layer hides not at all."""
    base = TarMaker().file("s", SHARED).file("hidden", b"h" * 30_000).file("twin", B).file("other", B).done()
    upper = TarMaker().file("hidden", A).hardlink("link", "hidden").done()
    diff_ids = [ingest(store, tar) for tar in (base, upper)]
    image, other = store.image(base, upper), store.image(base)
    usage = disk_usage(store.paths, store.objects, store.layers, {image: diff_ids, other: diff_ids[:1]})
    found = {each.image_id: each for each in usage.images}[image]
    assert found.unique_bytes + found.shared_bytes == store.driver.prepare_image(image, diff_ids) == 132_000
    assert (found.unique_bytes, found.shared_bytes) == (len(A), len(SHARED) + 2 * len(B))
    assert found.shared_disk_bytes > 12_288 + 32_768 + 53_248  # and the layer's file


def test_check_finds_every_kind_of_damage(store: Store) -> None:
    one, first, two, second = two_images(store)
    images = {one: [first], two: [second]}

    def problems(contents: bool = False) -> list[str]:
        return check_store(store.objects, store.layers, [store.driver], images, contents=contents)

    assert problems(contents=True) == []
    path = Path(store.objects.path(digest(A)))
    path.write_bytes(A[:-1] + b"!")
    assert problems() == []
    assert problems(contents=True) == [f"object {digest(A)} of layer {first} is damaged"]
    path.write_bytes(A[:-1])
    assert problems() == [f"object {digest(A)} of layer {first} has 19999 bytes instead of 20000"]
    path.unlink()
    assert problems() == [f"object {digest(A)} of layer {first} is missing"]
    path.write_bytes(A)
    metadata = Path(f"{store.paths.images}/{one[7:]}/composefs/meta.erofs")
    whole = metadata.read_bytes()
    metadata.write_bytes(whole[:-1] + b"!")
    assert problems() == [f"image {one} is damaged: its metadata do not match their checksum"]
    metadata.write_bytes(whole)
    store.driver.remove_image(two)
    assert problems() == [f"image {two} is not prepared for the storage driver composefs"]
    store.driver.prepare_image(two, [second])
    store.layers.remove(second)
    assert problems() == [f"layer {second} is not in the store"]


def test_the_lock_keeps_prune_away_from_work_in_progress(store: Store) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def prune() -> None:
        waiting.set()
        with store_lock(store.paths, exclusive=True):
            order.append("prune")

    with store_lock(store.paths, exclusive=False), store_lock(store.paths, exclusive=False):
        thread = threading.Thread(target=prune)
        thread.start()
        assert waiting.wait(5)
        thread.join(0.2)
        order.append("work")
    thread.join(5)
    assert order == ["work", "prune"]
