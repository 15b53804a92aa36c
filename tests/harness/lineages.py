"""Small images that rest on each other."""

from __future__ import annotations

import io
from typing import Any

from harness.archives import CREATED, MACHINE, digest, docker_files, tar_of, to_json
from tiffin.images.load import load
from tiffin.images.store import ImageStore
from tiffin.model.image import Image

BASE = tar_of({"etc/os": b"1\n", "etc/conf": b"a\n", "bin/sh": b"x" * 100_000})
NEW_BASE = tar_of({"etc/os": b"2\n", "etc/conf": b"a\n", "bin/sh": b"y" * 100_000})
MIDDLE = tar_of({"opt/middle": b"m" * 50_000})
APP = tar_of({"opt/app": b"app" * 9_000, "srv/data": b"d\n"})
WEB = tar_of({"opt/web": b"web" * 9_000})


def config(
    layers: tuple[bytes, ...], *, created: str = CREATED, architecture: str = MACHINE, **execution: Any
) -> bytes:
    """An image config with a step for each layer."""
    return to_json(
        {
            "created": created,
            "architecture": architecture,
            "os": "linux",
            "config": execution,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            "history": [{"created": created, "created_by": f"step {digest(layer)[7:13]}"} for layer in layers],
        }
    )


def add(store: ImageStore, name: str, *layers: bytes, **more: Any) -> Image:
    """An image as `docker save` would bring it: nothing is recorded of its base."""
    files = docker_files(layers, [name] if name else [], config=config(layers, **more))
    return load(store, io.BytesIO(tar_of(files)))[0]


def at(minute: int) -> str:
    """A creation time."""
    return f"2024-01-01T00:{minute:02d}:00Z"
