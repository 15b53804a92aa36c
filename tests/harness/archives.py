"""Image archives made by hand, right or wrong in every way that a test asks for."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiffin.images.store import ImageStore
from tiffin.paths import paths_for
from tiffin.state.db import Database
from tiffin.storage.layers import LayerStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.rootfs import driver_named

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
CREATED = "2024-05-06T07:08:09.5Z"


def open_store(root: Path | str, driver: str = "composefs") -> ImageStore:
    """An image store of its own, without an engine around it."""
    paths = paths_for(str(root), None)
    objects = ObjectStore(paths.objects)
    layers = LayerStore(paths.layers, objects)
    rootfs = driver_named(driver, paths, objects, layers)
    return ImageStore(paths, Database(paths.database), lambda: layers, lambda: rootfs)


def tar_of(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar with these members, as they are: a TarInfo is written without data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def symlink(target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo()
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hexdigest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def to_json(document: Any) -> bytes:
    return json.dumps(document).encode()


LAYER = tar_of({"etc/hostname": b"tiffin\n", "bin/tool": b"#!/bin/sh\n" * 50})
UPPER = tar_of({"etc/motd": b"hello\n", "etc/.wh.hostname": b""})


def config_of(layers: Iterable[bytes], *, architecture: str = MACHINE, **more: Any) -> bytes:
    """An OCI image config for uncompressed layers."""
    return to_json(
        {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/tool"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            "history": [{"created": CREATED, "created_by": f"step {n}"} for n, _ in enumerate(layers)],
            **more,
        }
    )


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


class Layout:
    """An OCI image layout in memory; `files` may be spoiled before it is packed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        self.files[f"blobs/sha256/{hexdigest(data)}"] = data
        return descriptor(data, media_type, **more)

    def image(
        self, layers: Iterable[bytes] = (LAYER,), *, config: bytes | None = None, pack: str = "", **more: Any
    ) -> dict[str, Any]:
        """The manifest of an image, with `layers` given uncompressed; returns its descriptor."""
        layers = list(layers)
        config = config_of(layers) if config is None else config
        packed = [compressed(layer, pack) for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(config, OCI_CONFIG),
            "layers": [self.blob(layer, OCI_LAYER + (f"+{pack}" if pack else "")) for layer in packed],
        }
        return self.blob(to_json(manifest), OCI_MANIFEST, **more)

    def index(self, *manifests: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A nested index; returns its descriptor."""
        return self.blob(
            to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)}), OCI_INDEX, **more
        )

    def top(self, *manifests: dict[str, Any]) -> Layout:
        self.files["index.json"] = to_json({"schemaVersion": 2, "manifests": list(manifests)})
        return self

    def tar(self) -> bytes:
        return tar_of(self.files)

    def write(self, directory: Path) -> str:
        for name, data in self.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return str(directory)


def compressed(data: bytes, pack: str) -> bytes:
    if pack == "gzip":
        return gzip.compress(data, mtime=0)
    if pack == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data


def docker_files(
    layers: Iterable[bytes] = (LAYER,),
    names: Iterable[str] = ("demo:1",),
    *,
    pack: str = "",
    config: bytes | None = None,
) -> dict[str, bytes | tarfile.TarInfo]:
    """The members of an old `docker save`: <id>/layer.tar and manifest.json."""
    layers = list(layers)
    config = config_of(layers) if config is None else config
    files: dict[str, bytes | tarfile.TarInfo] = {}
    paths = []
    for number, layer in enumerate(layers):
        directory = f"{number:064x}"
        files[f"{directory}/VERSION"] = b"1.0"
        files[f"{directory}/json"] = b"{}"
        files[f"{directory}/layer.tar"] = compressed(layer, pack)
        paths.append(f"{directory}/layer.tar")
    files[f"{hexdigest(config)}.json"] = config
    files["manifest.json"] = to_json(
        [{"Config": f"{hexdigest(config)}.json", "RepoTags": list(names) or None, "Layers": paths}]
    )
    return files


def platforms(layout: Layout, *names: str) -> list[dict[str, Any]]:
    """Manifests of one image for several platforms."""
    manifests = []
    for name in names:
        parts = name.split("/")
        platform = dict(zip(("os", "architecture", "variant"), parts, strict=False))
        config = config_of((LAYER,), architecture=parts[1])
        manifests.append(layout.image((LAYER,), config=config, platform=platform))
    return manifests


class Pipe(io.RawIOBase):
    """A stream that cannot be sought and gives little at a time, as a pipe does."""

    def __init__(self, data: bytes, most: int = 65536) -> None:
        self._data = io.BytesIO(data)
        self._most = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._most) if size >= 0 else self._most)
