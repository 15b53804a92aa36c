"""Transfers that are cut short, that meet each other, or that the disk has no room for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiffin
from harness.archives import LAYER, Layout, compressed, digest, tar_of
from harness.registries import registry
from harness.served import Served, served
from tiffin.errors import StoreError
from tiffin.images.transfer.steps import Step
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from integration.conftest import Runner

KILLS = 100
NOISE = tar_of({f"noise{number}": os.urandom(300_000) for number in range(8)})
TESTS = Path(__file__).parents[1]


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "registries.toml").write_text("")
    monkeypatch.setenv("TIFFIN_REGISTRIES", str(tmp_path / "registries.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def put(server: Served, *layers: bytes, tag: str = "1") -> str:
    layout = Layout()
    server.put(layout, tag, layout.image(layers, pack="gzip"))
    return server.name(tag)


def wait_for(what: str, found: object) -> None:
    deadline = time.monotonic() + 30
    while not found():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def hold_back(server: Served, layer: bytes) -> threading.Event:
    """Send half of a layer's blob, and the rest when the event is set."""
    blob = compressed(layer, "gzip")
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield blob[: len(blob) // 2]
        go_on.wait(60)
        yield blob[len(blob) // 2 :]

    server.blobs[digest(blob)] = slowly
    return go_on


def layers_of(engine: tiffin.Engine) -> list[Path]:
    return list(Path(engine.root).glob("layers/*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_interrupted(tiffin: Runner, engine: tiffin.Engine, server: Served, number: signal.Signals, code: int) -> None:
    """The layer that was finished stays for the next pull, and nothing of the other one."""
    name = put(server, LAYER, NOISE)
    go_on = hold_back(server, NOISE)
    process = tiffin.start("pull", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    database = engine._parts.database
    wait_for("the small layer", lambda: layers_of(engine) if number == signal.SIGINT else blobs.waiting(database))
    wait_for("objects of the large one", lambda: len(list(Path(engine.root).glob("objects/*/*"))) > 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    go_on.set()
    assert engine.check() == []
    assert set(engine._parts.layers) == {digest(LAYER)} == set(blobs.waiting(engine._parts.database))
    server.asked.clear()
    assert engine.pull(name)[0].layers == (digest(LAYER), digest(NOISE))
    assert not any(digest(compressed(LAYER, "gzip")) in path for path in server.asked)
    assert engine.check(contents=True) == []


def test_prune_takes_what_waits(engine: tiffin.Engine, server: Served) -> None:
    name = put(server, LAYER, NOISE)
    server.blobs[digest(compressed(NOISE, "gzip"))] = b"nonsense"
    with pytest.raises(tiffin.TiffinError):
        engine.pull(name)
    engine.prune(engine.prune_plan())
    assert list(engine._parts.layers) == []
    assert list(engine._parts.objects) == []
    assert blobs.waiting(engine._parts.database) == []


def test_two_processes_pull_the_same(tiffin: Runner, engine: tiffin.Engine, server: Served) -> None:
    """Both succeed, and the second waits for the first one's layer instead of fetching it as well."""
    name = put(server, NOISE)
    go_on = hold_back(server, NOISE)
    pulls = [
        tiffin.start("pull", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        for _ in range(2)
    ]
    config = [path for path in server.asked if "blobs" in path]
    wait_for("both", lambda: sum("/manifests/sha256" in path for path in server.asked) >= 2)
    time.sleep(0.5)
    go_on.set()
    for process in pulls:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.decode().splitlines()[-2:] == [f"Status: Downloaded newer image for {name}", name]
    blob = digest(compressed(NOISE, "gzip"))
    assert sum(blob in path for path in server.asked) == 1, config
    assert len(engine.images()) == 1
    assert engine.check(contents=True) == []


def test_two_threads_pull_different_images_with_a_layer_in_common(engine: tiffin.Engine, server: Served) -> None:
    names = [put(server, NOISE, LAYER, tag="1"), put(server, NOISE, tag="2")]
    go_on = hold_back(server, NOISE)
    threads = [threading.Thread(target=engine.pull, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert {name for image in engine.images() for name in image.names} == set(names)
    assert sum(digest(compressed(NOISE, "gzip")) in path for path in server.asked) == 1


def test_rmi_during_a_pull(tiffin: Runner, engine: tiffin.Engine, server: Served) -> None:
    """The image that goes shares a layer with the one that comes."""
    old = put(server, LAYER, tag="old")
    engine.pull(old)
    name = put(server, LAYER, NOISE)
    go_on = hold_back(server, NOISE)
    process = tiffin.start("pull", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(
        "the pull",
        lambda: any("/blobs/" in path and digest(compressed(NOISE, "gzip")) in path for path in server.asked),
    )
    tiffin.ok("rmi", old)
    go_on.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [image.names for image in engine.images()] == [(name,)]
    assert engine.check(contents=True) == []


def test_a_full_disk(server: Served, tmp_path: Path) -> None:
    """The error says so, what was written is gone, and with more room the pull works."""
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0755", "tmpfs", root], check=True)
    try:
        name = put(server, tar_of({"noise": os.urandom(6 << 20)}))
        with tiffin.Engine(str(root)) as engine:
            with pytest.raises(StoreError) as caught:
                engine.pull(name)
            assert caught.value.message == "cannot store the layer: the disk is full"
            assert caught.value.hint == "free space, or run `tiffin system prune`"
            assert list(engine._parts.objects) == []
            assert engine.images() == []
            subprocess.run(["mount", "-o", "remount,size=30m", root], check=True)
            assert engine.pull(name)[0].names == (name,)
            assert engine.check(contents=True) == []
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_full_disk_with_a_kept_blob(server: Served, tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m,mode=0755", "tmpfs", root], check=True)
    try:
        name = put(server, tar_of({"noise": os.urandom(6 << 20)}))
        with tiffin.Engine(str(root)) as engine:
            with pytest.raises(StoreError, match="the disk is full"):
                engine.pull(name, keep_blobs=True)
            assert list(engine._parts.objects) == []
            assert list(root.glob("blobs/*/*")) == []
    finally:
        subprocess.run(["umount", root], check=True)


def test_progress_is_told_from_the_first_byte_to_the_last(engine: tiffin.Engine, server: Served) -> None:
    name = put(server, NOISE)
    steps: list[Step] = []
    engine.pull(name, progress=steps.append)
    moving = [step for step in steps if step.status == "Downloading"]
    assert moving and all(0 < step.current <= step.total for step in moving)
    assert [step.status for step in steps if step.status != "Downloading"] == [
        "Pulling from app",
        "Pulling fs layer",
        "Pull complete",
        next(step.status for step in steps if step.status.startswith("Digest: sha256:")),
        f"Status: Downloaded newer image for {name}",
    ]


def test_killed_at_random_points(engine_root: str, tmp_path: Path) -> None:
    """A hundred times, pulls and pushes; `system check` finds nothing, and the next pull and push succeed."""
    with registry(tmp_path) as server, tiffin.Engine(engine_root) as engine:
        name, target = f"{server.host}/team/app:1", f"{server.host}/copies/app:1"
        import io

        engine.import_image(io.BytesIO(NOISE), name)
        engine.push(name)
        engine.remove_image(name)
        begun = time.monotonic()
        done = subprocess.run(
            [
                sys.executable, "-m", "harness.transfer_killer",
                engine_root, name, target, str(KILLS), str(int(time.time())),
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), *sys.path))},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        tally, *problems = done.stdout.splitlines()
        assert problems == []
        assert json.loads(tally.replace("'", '"')).get("killed", 0) > KILLS // 3, tally
        print(f"{tally} in {time.monotonic() - begun:.1f} s")
