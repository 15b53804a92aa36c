"""Reading images again: what is damaged is found and said."""

from __future__ import annotations

import hashlib
import io
import os

import pytest

import tiffin
from harness.archives import tar_of
from integration.conftest import Runner
from tiffin.errors import NotFoundError, UsageError

FILES = {"a": b"first\n" * 1000, "b": b"second\n" * 1000, "usr/c": b"third\n"}


def made(engine: tiffin.Engine) -> tiffin.Image:
    return engine.import_image(io.BytesIO(tar_of(FILES)), "small:1")


def object_path(engine: tiffin.Engine, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{engine.root}/objects/{digest[:2]}/{digest[2:]}"


def test_whole(engine: tiffin.Engine, tiffin: Runner) -> None:
    image = made(engine)
    read: list[int] = []
    result = engine.verify_image("small:1", progress=read.append)
    assert result.whole
    assert (result.image_id, result.layers, result.damaged, result.problems) == (image.id, 1, (), ())
    assert result.read_bytes == len(tar_of(FILES)) == read[-1]
    done = tiffin("image", "verify", "small:1")
    assert (done.code, done.out) == (0, "small:1: whole (1 layer, 20.5kB)\n")
    done = tiffin("image", "verify", "-q", "--all")
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize("how", ["changed", "shorter", "missing"])
def test_a_damaged_object(engine: tiffin.Engine, tiffin: Runner, how: str) -> None:
    image = made(engine)
    path = object_path(engine, FILES["b"])
    if how == "missing":
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            if how == "changed":
                file.write(b"S")
            else:
                file.truncate(7)
    result = engine.verify_image("small:1")
    assert not result.whole
    digest = hashlib.sha256(FILES["b"]).hexdigest()
    assert [(layer.diff_id, layer.objects) for layer in result.damaged] == [(image.layers[0], (digest,))]
    done = tiffin("image", "verify", "small:1")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("small:1: DAMAGED (1 layer, ")
    assert lines[1].startswith(f"  layer {image.layers[0]}: damaged: ")
    assert lines[2] == f"    object {digest}"
    done = tiffin("image", "verify", "--repair", "small:1")
    assert done.code == 1
    assert done.out.splitlines()[-1] == (
        f"  cannot repair: layer {image.layers[0]} can be had nowhere, so what was damaged is removed:"
        " load its image again"
    )
    made(engine)  # as the sentence says
    assert engine.verify_image("small:1").whole


def test_a_damaged_layer_file(engine: tiffin.Engine) -> None:
    image = made(engine)
    path = f"{engine.root}/layers/{image.layers[0].removeprefix('sha256:')}"
    with open(path, "r+b") as file:
        file.seek(12)
        file.write(b"\xff\xff\xff\xff")
    (damage,) = engine.verify_image("small:1").damaged
    assert damage.objects == ()
    assert damage.reason.startswith("Error ")  # zlib's words
    engine.remove_image("small:1")


def test_a_damaged_prepared_image(engine: tiffin.Engine, tiffin: Runner) -> None:
    image = made(engine)
    directory = f"{engine.root}/images/{image.id.removeprefix('sha256:')}"
    (driver,) = os.listdir(directory)
    os.unlink(f"{directory}/{driver}/info")
    result = engine.verify_image("small:1")
    assert result.problems == (f"image {image.id} is not prepared for the storage driver {driver}",)
    assert not result.whole
    done = tiffin("image", "verify", "--repair", "small:1")
    assert (done.code, done.out.splitlines()[0][:17]) == (0, "small:1: repaired")
    assert engine.verify_image("small:1").whole


def test_refusals(engine: tiffin.Engine, tiffin: Runner) -> None:
    with pytest.raises(UsageError) as caught:
        engine.verify_image("host")
    assert caught.value.message == "the image 'host' cannot be verified: it is the host itself"
    with pytest.raises(NotFoundError, match="no such image: nothing"):
        engine.verify_image("nothing")
    done = tiffin("image", "verify")
    assert (done.code, done.err.splitlines()[0]) == (1, "tiffin: no image was named")
    done = tiffin("image", "verify", "--all", "x")
    assert (done.code, done.err.splitlines()[0]) == (1, "tiffin: --all goes without names of images")
    made(engine)
    done = tiffin("image", "verify", "nothing", "small:1")
    assert (done.code, done.err.splitlines()[0]) == (1, "tiffin: no such image: nothing")
    assert done.out.startswith("small:1: whole")
