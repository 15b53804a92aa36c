"""Images go from and to skopeo and podman, in every format that both sides know."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.archives import LAYER, UPPER, docker_files, open_store, tar_of
from tiffin.images.load import load
from tiffin.images.save import save
from tiffin.images.store import ImageStore
from tiffin.model.image import Image

LAYERS = (LAYER, UPPER)
TIMEOUT_S = 120


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


@pytest.fixture
def image(store: ImageStore) -> Image:
    return load(store, io.BytesIO(tar_of(docker_files(LAYERS, ["demo:1"]))))[0]


def _run(*command: str, **more: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, **more}, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr}"
    return done.stdout


def _skopeo(tmp_path: Path, *arguments: str) -> str:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    return _run("skopeo", "--policy", str(policy), "--tmpdir", str(tmp_path), *arguments)


TRANSPORTS = {"docker-archive": "docker-archive", "oci-archive": "oci-archive", "oci-dir": "oci"}


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("format", TRANSPORTS)
def test_skopeo_reads_what_is_saved(
    store: ImageStore, image: Image, tmp_path: Path, format: str, compression: str
) -> None:
    path = str(tmp_path / "saved")
    save(store, ["demo:1"], path, format=format, compression=compression)
    source = f"{TRANSPORTS[format]}:{path}"
    config = json.loads(_skopeo(tmp_path, "inspect", "--config", "--raw", source))
    assert config == json.loads(image.raw_config)
    # Copying reads and verifies every byte; what comes out is loaded again.
    copied = str(tmp_path / "copied")
    _skopeo(tmp_path, "copy", "-q", source, f"oci:{copied}:back")
    back = load(open_store(tmp_path / "elsewhere"), copied)
    assert [(loaded.layers, loaded.names) for loaded in back] == [(image.layers, ("back:latest",))]


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive", "oci", "dir-gzip", "dir-zstd"])
def test_what_skopeo_writes_is_loaded(store: ImageStore, image: Image, tmp_path: Path, transport: str) -> None:
    saved = str(tmp_path / "saved")
    save(store, ["demo:1"], saved)
    path = str(tmp_path / "copied")
    if transport.startswith("dir-"):
        compression = transport.removeprefix("dir-")
        options = ["--dest-compress-format", compression, "--dest-compress"]
        _skopeo(tmp_path, "copy", "-q", *options, f"docker-archive:{saved}", f"oci:{path}:copy:1")
        name = "copy:1"
    else:
        _skopeo(tmp_path, "copy", "-q", f"docker-archive:{saved}", f"{transport}:{path}:copy:1")
        name = "copy:1"
    elsewhere = open_store(tmp_path / "elsewhere")
    loaded = load(elsewhere, path)
    assert [copy.layers for copy in loaded] == [image.layers]
    assert loaded[0].names[0].endswith(name)
    with open(path, "rb") if os.path.isfile(path) else io.BytesIO() as file:
        if os.path.isfile(path):
            piped = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
            assert piped.stdout
            with piped.stdout:
                again = load(open_store(tmp_path / "third"), piped.stdout)
            assert piped.wait() == 0
            assert [copy.id for copy in again] == [loaded[0].id]


@pytest.fixture
def podman() -> Iterator[list[str]]:
    root = tempfile.mkdtemp(prefix="podman-", dir="/var/tmp")  # podman wants a path of at most 50 characters
    command = [
        *("podman", "--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs"),
        *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
    ]
    yield command
    _run(*command, "rmi", "--all", "--force")
    shutil.rmtree(root)


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_podman_both_ways(store: ImageStore, image: Image, tmp_path: Path, podman: list[str], format: str) -> None:
    saved, back = str(tmp_path / "saved"), str(tmp_path / "back")
    save(store, ["demo:1"], saved, format=format)
    _run(*podman, "load", "-q", "-i", saved)
    shown = json.loads(_run(*podman, "image", "inspect", "demo:1"))[0]
    assert shown["Id"] == image.id.removeprefix("sha256:")
    assert shown["RootFS"]["Layers"] == list(image.layers)
    _run(*podman, "save", "-q", "--format", format, "-o", back, "demo:1")
    loaded = load(open_store(tmp_path / "elsewhere"), back)
    assert [copy.layers for copy in loaded] == [image.layers]
    if format == "docker-archive":
        assert loaded[0].names[0].endswith("/demo:1")


@pytest.mark.parametrize("driver", ["composefs", "overlay"])
def test_both_drivers_get_the_same_image(image: Image, tmp_path: Path, driver: str) -> None:
    store = open_store(tmp_path / driver, driver)
    assert load(store, io.BytesIO(tar_of(docker_files(LAYERS, ["demo:1"])))) == [image]
    assert store.driver.image_file(image.id, "/etc/motd") == b"hello\n"
    assert store.driver.image_file(image.id, "/etc/hostname") is None
    store.remove("demo:1")
    assert not store.driver.image_ready(image.id)
