"""Full disks, read-only stores, power cuts and killed commands: a clear error, and a store that works afterwards."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiffin
from harness.rootfs import Store, seen
from harness.tars import TarMaker
from tiffin.errors import StoreError
from tiffin.storage.collect import check_store, collect, find_garbage
from tiffin.storage.lock import store_lock
from tiffin.storage.probe import MountCalls, in_private_mounts

MS_RDONLY, MS_REMOUNT = 1, 32


def on_small_disk(directory: Path, work: Callable[[MountCalls, str], Any], size: str = "2m") -> None:
    """Run `work` where a file system of its own, that nobody else sees, is mounted on `directory`."""
    directory.mkdir()

    def run(calls: MountCalls) -> None:
        calls.mount("tmpfs", str(directory), "tmpfs", 0, f"size={size}", "small disk")
        try:
            work(calls, str(directory))
        finally:
            calls.umount(str(directory))

    failure = in_private_mounts(run)
    if failure is not None:
        raise failure


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(StoreError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("sizes", [[5 << 20], [100_000] * 40], ids=["one large file", "many small ones"])
def test_a_full_disk(tmp_path: Path, sizes: list[int]) -> None:
    maker = TarMaker()
    for number, size in enumerate(sizes):
        maker.file(f"f{number}", os.urandom(size))
    tar = maker.done()

    def work(calls: MountCalls, root: str) -> None:
        store = Store(root)
        message = refused(lambda: store.layers.ingest(io.BytesIO(tar)))
        assert message == "cannot store the layer: the disk is full (free space, or run `tiffin system prune`)"
        assert list(store.layers) == []
        with store_lock(store.paths, exclusive=True):
            garbage = find_garbage(
                store.paths, store.objects, store.layers, known_layers=(), known_images=(), known_containers=()
            )
            collect(store.paths, store.objects, store.layers, garbage)
        small = TarMaker().file("f", b"fits").done()
        diff_id = store.layers.ingest(io.BytesIO(small)).diff_id
        image = store.image(small)
        assert check_store(store.objects, store.layers, [store.driver], {image: [diff_id]}, contents=True) == []

    on_small_disk(tmp_path / "disk", work)


def test_a_disk_that_fills_while_an_image_is_prepared(tmp_path: Path) -> None:
    maker = TarMaker()
    for number in range(3000):
        maker.file(f"d/{number:0200d}")
    tar = maker.done()

    def work(calls: MountCalls, root: str) -> None:
        store = Store(root)
        diff_id = store.layers.ingest(io.BytesIO(tar)).diff_id
        image = "sha256:" + "1" * 64
        store.objects.add_bytes(os.urandom(1_400_000))
        message = refused(lambda: store.driver.prepare_image(image, [diff_id]))
        assert message == f"cannot prepare image {image}: the disk is full (free space, or run `tiffin system prune`)"
        assert not store.driver.image_ready(image)
        assert os.listdir(store.paths.temporary) == []
        with store_lock(store.paths, exclusive=True):
            garbage = find_garbage(
                store.paths, store.objects, store.layers, known_layers={diff_id}, known_images=(), known_containers=()
            )
            collect(store.paths, store.objects, store.layers, garbage)
        store.driver.prepare_image(image, [diff_id])
        assert store.driver.image_ready(image)

    on_small_disk(tmp_path / "disk", work)


def test_a_read_only_store(tmp_path: Path) -> None:
    tar = TarMaker().file("etc/passwd", b"root").done()

    def work(calls: MountCalls, root: str) -> None:
        store = Store(root)
        diff_id = store.layers.ingest(io.BytesIO(tar)).diff_id
        image = store.image(tar)
        calls.mount("tmpfs", root, "tmpfs", MS_REMOUNT | MS_RDONLY, "", "read-only")
        hint = "(choose another one with --root)"
        assert refused(lambda: store.layers.ingest(io.BytesIO(tar))) == (
            f"cannot store the layer: the store is read-only '{store.paths.layers}' {hint}"
        )
        assert refused(lambda: store.driver.create("c", image)) == (
            f"cannot make the writable layer of container c: the store is read-only '{root}/containers' {hint}"
        )
        assert refused(lambda: store.driver.remove_image(image)).startswith(
            f"cannot remove image {image}: the store is read-only "
        )
        assert store.driver.image_file(image, "/etc/passwd") == b"root"
        out = io.BytesIO()
        store.layers.write_tar(diff_id, out)
        assert out.getvalue() == tar

    on_small_disk(tmp_path / "disk", work)


def test_a_power_cut_before_an_image_was_recorded(tmp_path: Path) -> None:
    """What such a cut leaves: names without their data. Loading the same image again must not trust them."""
    store = Store(str(tmp_path / "store"))
    tar = TarMaker().file("f", b"content").done()
    image = store.image(tar)
    for path in (
        store.objects.path(hashlib.sha256(b"content").hexdigest()),
        f"{store.paths.images}/{image[7:]}/composefs/meta.erofs",
        store.layers.path(next(iter(store.layers))),
    ):
        os.truncate(path, 0)
    assert store.image(tar) == image
    assert store.mounted(image, lambda root: Path(root, "f").read_bytes()) == b"content"
    os.truncate(f"{store.paths.images}/{image[7:]}/composefs/info", 0)
    assert store.image(tar) == image
    assert store.driver.check() == []


INGEST = """
import sys
from tiffin.paths import paths_for
from tiffin.storage.layers import LayerStore
from tiffin.storage.lock import store_lock
from tiffin.storage.objects import ObjectStore
from tiffin.storage.rootfs import driver_named
paths = paths_for(sys.argv[1], None)
objects = ObjectStore(paths.objects)
layers = LayerStore(paths.layers, objects)
print("ready", flush=True)
with store_lock(paths, exclusive=False):
    layer = layers.ingest(open(sys.argv[2], "rb", buffering=0))
    driver_named(sys.argv[3], paths, objects, layers).prepare_image("sha256:" + "a" * 64, [layer.diff_id])
print("done", flush=True)
"""


@pytest.mark.parametrize("driver", ["composefs", "overlay"])
def test_a_killed_ingest_leaves_a_store_that_works(tmp_path: Path, driver: str) -> None:
    maker = TarMaker()
    for number in range(400):
        maker.file(f"d{number % 20}/f{number}", random.Random(number).randbytes(20_000))
    tar = maker.file("large", random.Random(1).randbytes(6 << 20)).done()
    (tmp_path / "layer.tar").write_bytes(tar)
    store = Store(str(tmp_path / "store"), driver)
    image = "sha256:" + "a" * 64
    source = os.path.dirname(os.path.dirname(tiffin.__file__))
    command = [sys.executable, "-c", INGEST, store.paths.root, str(tmp_path / "layer.tar"), driver]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": source}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()  # the start of the interpreter is not what is to be cut short
        assert "done" in process.stdout.read()
        whole_s = time.monotonic() - started
    store.driver.remove_image(image)
    killed = 0
    for attempt in range(12):
        for diff_id in list(store.layers):
            store.layers.remove(diff_id)
        with store_lock(store.paths, exclusive=True):
            collect(store.paths, store.objects, store.layers, _everything(store, set()))
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": source}
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(whole_s * attempt / 12)
            process.send_signal(signal.SIGKILL)
            killed += "done" not in process.stdout.read()
        for diff_id in store.layers:  # what is visible is whole
            assert diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
            store.layers.write_tar(diff_id, io.BytesIO())
        if store.driver.image_ready(image):
            assert store.driver.check() == []
            store.driver.remove_image(image)
    assert killed >= 3
    assert store.mounted(store.image(tar), lambda root: len(seen(root))) == 422
    known = set(store.layers)
    with store_lock(store.paths, exclusive=True):
        collect(store.paths, store.objects, store.layers, _everything(store, known))
    assert os.listdir(store.paths.temporary) == []
    assert [name for name in os.listdir(store.paths.objects) if len(name) != 2] == []


def _everything(store: Store, known: set[str]) -> Any:
    return find_garbage(
        store.paths, store.objects, store.layers, known_layers=known, known_images=(), known_containers=()
    )
