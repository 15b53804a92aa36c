"""The image that is imported, loaded and run: Debian's minimal system, 170 MB, made by mmdebstrap once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile

CACHE = os.environ.get("TIFFIN_BENCH_CACHE") or "/var/tmp/tiffin-bench-cache"
LOADED = "bench-loaded:latest"


def debian_tar() -> str:
    """The path of the file system as a tar."""
    os.makedirs(CACHE, exist_ok=True)
    path = f"{CACHE}/debian-bookworm-minbase.tar"
    if not os.path.exists(path):
        print("making a Debian system with mmdebstrap (once, ten to twenty seconds) …", flush=True)
        unfinished = f"{CACHE}/unfinished.tar"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", unfinished], check=True, stdin=subprocess.DEVNULL
        )
        os.rename(unfinished, path)
    return path


def docker_archive(tar_path: str) -> str:
    """The path of a docker-archive of one uncompressed layer, named `LOADED`."""
    path = f"{CACHE}/docker-archive.tar"
    if os.path.exists(path):
        return path
    with open(tar_path, "rb") as file:
        diff_id = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["bash"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2025-01-01T00:00:00Z", "created_by": "benchmark"}],
            "created": "2025-01-01T00:00:00Z",
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{name}.json", "RepoTags": [LOADED], "Layers": ["layer/layer.tar"]}]
    with tarfile.open(f"{path}.new", "w") as archive:
        _add(archive, f"{name}.json", config)
        archive.add(tar_path, "layer/layer.tar")
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    os.rename(f"{path}.new", path)
    return path


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
