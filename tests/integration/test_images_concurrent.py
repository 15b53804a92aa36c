"""Several processes on one store, and processes that are killed."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from harness.archives import config_of, docker_files, open_store, tar_of
from tiffin.images.load import load
from tiffin.images.store import ImageStore

FILES = 400
TIMEOUT_S = 120

LOAD = """
import sys
from harness.archives import open_store
from tiffin.images.load import load
for image in load(open_store(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else sys.stdin.buffer):
    print(image.id)
"""


def _layer(seed: int, size: int = 20_000) -> bytes:
    source = random.Random(seed)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"d{number % 20}/f{number}")
            entry.size = size
            tar.addfile(entry, io.BytesIO(source.randbytes(size)))
    return out.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "archive.tar"
    path.write_bytes(tar_of(docker_files((_layer(1), _layer(2)), ["big:1"])))
    return path


@pytest.fixture(scope="module")
def image_id() -> str:
    return "sha256:" + hashlib.sha256(config_of((_layer(1), _layer(2)))).hexdigest()


def _start(root: Path, *source: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, str(root), *source],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _whole(store: ImageStore, image_id: str) -> None:
    image = store.get(image_id)
    assert image.names == ("big:1",)
    for diff_id in image.layers:
        written = hashlib.sha256()

        class Sink:
            write = staticmethod(written.update)

        store.layers.write_tar(diff_id, Sink())  # type: ignore[arg-type]
        assert f"sha256:{written.hexdigest()}" == diff_id
    assert store.driver.image_ready(image_id)
    assert store.database.check() == []


def test_loads_at_the_same_time(tmp_path: Path, archive: Path, image_id: str) -> None:
    root = tmp_path / "store"
    loads = [_start(root, str(archive)) for _ in range(4)]
    for running in loads:
        out, err = running.communicate(timeout=TIMEOUT_S)
        assert (out.decode().strip(), err.decode(), running.returncode) == (image_id, "", 0)
    store = open_store(root)
    assert [image.id for image in store.list()] == [image_id]
    _whole(store, image_id)


@pytest.mark.parametrize("streamed", [False, True])
def test_killed_at_any_moment(tmp_path: Path, archive: Path, image_id: str, streamed: bool) -> None:
    """Whenever a load is killed, nothing shows of it, and the next one needs no repair."""
    root = tmp_path / "store"
    started = time.monotonic()
    reference = _start(tmp_path / "reference", str(archive))
    assert reference.communicate(timeout=TIMEOUT_S)[0].decode().strip() == image_id
    whole_s = time.monotonic() - started
    killed = 0
    for step in range(8):
        with open(archive, "rb") as file:
            running = _start(root, stdin=file.fileno()) if streamed else _start(root, str(archive))
            time.sleep(whole_s * (0.05 + 0.9 * step / 8))
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=TIMEOUT_S)
            killed += running.returncode == -signal.SIGKILL
        images = open_store(root).list()
        assert images == [] or [image.id for image in images] == [image_id]
        if images:
            _whole(open_store(root), image_id)
            open_store(root).remove("big:1")
    assert killed >= 1
    store = open_store(root)
    assert [image.id for image in load(store, str(archive))] == [image_id]
    _whole(store, image_id)


def test_load_while_removing(tmp_path: Path, archive: Path, image_id: str) -> None:
    """An image that is removed while it is loaded again is whole afterwards, or gone."""
    root = tmp_path / "store"
    store = open_store(root)
    load(store, str(archive))
    for _ in range(5):
        running = _start(root, str(archive))
        while running.poll() is None:
            if store.list():
                store.remove("big:1", force=True)
            time.sleep(0.01)
        _out, err = running.communicate(timeout=TIMEOUT_S)
        # It may have been removed between being filed and being shown.
        assert running.returncode == 0 or b"no such image" in err, err.decode()
        if store.list():
            _whole(store, image_id)
