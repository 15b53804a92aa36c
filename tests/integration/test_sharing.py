"""Images that were built apart share their contents: on disk, in the page cache, and in processes' memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from harness.dynamic import mapped, sleep_tar, wait_asleep
from harness.terminal import Terminal
from tiffin.errors import NotFoundError, UsageError
from tiffin.model.container import ContainerConfig

if TYPE_CHECKING:
    from integration.conftest import Runner

EXTRA = b"one package more\n" * 5000


def two_images(engine: package.Engine) -> tuple[str, str]:
    """Images whose layers have nothing in common but the files' contents."""
    first = engine.import_image(io.BytesIO(sleep_tar()), "first")
    other = sleep_tar(backwards=True, mtime=1_600_000_000, extra=EXTRA)
    second = engine.import_image(io.BytesIO(other), "second")
    assert not set(first.layers) & set(second.layers)
    return first.id, second.id


def started(engine: package.Engine, name: str, image: str) -> int:
    """A container that sleeps; the ID of its only process."""
    engine.create(ContainerConfig(image=image, name=name, command=("/bin/sleep", "600")))
    engine.start(name)
    pid = engine.container(name).state.pid
    wait_asleep(pid)
    return pid


@pytest.fixture
def overlay(engine_root: str) -> Iterator[package.Engine]:
    with package.Engine(engine_root, storage="overlay") as engine:
        yield engine


def test_containers_of_different_images_map_the_same_pages(engine: package.Engine) -> None:
    if engine.info()["Driver"] != "composefs":
        pytest.skip("this kernel has no composefs")
    two_images(engine)
    one = started(engine, "one", "first")
    alone = mapped(one, "libc.so")
    # The host's own processes have another libc, so nobody shares this one yet.
    assert alone.private_clean > 500_000
    assert (alone.shared_clean, alone.pss) == (0, alone.rss)
    two = started(engine, "two", "second")
    for pid in (one, two):
        found = mapped(pid, "libc.so")
        assert found.shared_clean > 500_000
        assert found.pss < found.rss * 0.7
    ones, twos = mapped(one, "libc.so").frames, mapped(two, "libc.so").frames
    both = ones.keys() & twos.keys()
    assert len(both) > 100
    # maps shows the overlays' inodes, two different ones; the memory itself tells that there is one file below.
    assert all(ones[page] == twos[page] != 0 for page in both)
    loader = mapped(one, "ld-linux"), mapped(two, "ld-linux")
    assert loader[0].frames.items() & loader[1].frames.items()


def test_the_library_is_one_object(engine: package.Engine) -> None:
    two_images(engine)
    sharing, memory = engine.image_sharing()
    assert memory.containers == ()
    second, first = sharing.images  # newest first
    assert (first.name, second.name) == ("first:latest", "second:latest")
    assert first.unique_bytes == 0
    assert second.unique_bytes == len(EXTRA)
    assert second.files == first.files + 1 == first.shared_files + 1 == second.shared_files + 1
    (pair,) = sharing.pairs
    assert (pair.first, pair.second) == (second.id, first.id)
    assert (pair.files, pair.size_bytes) == (first.files, first.size_bytes)
    assert sharing.size_bytes == second.size_bytes
    assert sharing.saved_bytes == first.size_bytes
    assert sharing.disk_bytes == pytest.approx(sharing.size_bytes, rel=0.05)


def test_containers_of_one_image_share_with_the_overlay_driver_and_those_of_two_do_not(overlay: package.Engine) -> None:
    two_images(overlay)
    one = started(overlay, "one", "first")
    two = started(overlay, "two", "second")
    assert mapped(one, "libc.so").shared_clean == mapped(two, "libc.so").shared_clean == 0
    three = started(overlay, "three", "first")
    assert mapped(one, "libc.so").shared_clean > 500_000
    assert mapped(one, "libc.so").frames.items() & mapped(three, "libc.so").frames.items()
    by_name = {found.name: found for found in overlay.image_sharing()[1].containers}
    assert by_name["two"].mapped_shared_bytes == by_name["two"].cached_shared_bytes == 0
    assert by_name["one"].mapped_shared_bytes > 500_000
    assert by_name["one"].cached_shared_bytes == by_name["one"].cached_bytes > 0


def test_what_running_containers_share_is_measured(engine: package.Engine, tiffin: Runner) -> None:
    if engine.info()["Driver"] != "composefs":
        pytest.skip("this kernel has no composefs")
    two_images(engine)
    started(engine, "one", "first")
    alone = engine.image_sharing()[1].containers[0]
    assert alone.mapped_bytes > 500_000
    assert alone.mapped_shared_bytes == alone.cached_shared_bytes == 0
    pids = {name: started(engine, name, image) for name, image in (("two", "second"), ("three", "second"))}
    facts = json.loads(tiffin.ok("image", "sharing", "--format", "json"))
    by_name = {container["Name"]: container for container in facts["Containers"]}
    assert by_name.keys() == {"one", "two", "three"}
    for container in by_name.values():
        assert 500_000 < container["MappedShared"] <= container["Mapped"] <= container["Cached"]
        assert container["CachedShared"] <= container["Cached"]
        assert container["PSS"] < container["RSS"]
    rss = sum(mapped(pids["two"], name).rss for name in ("libc.so", "ld-linux", "/sleep"))
    assert rss == pytest.approx(by_name["two"]["Mapped"], rel=0.15)
    assert facts["PageCache"]["Size"] < facts["PageCache"]["SeparateSize"]
    # Only those that were asked for, and what they share among each other.
    (only,) = json.loads(tiffin.ok("image", "sharing", "first", "--format", "json"))["Containers"]
    assert (only["Name"], only["MappedShared"]) == ("one", 0)
    engine.remove("one", force=True)
    assert "\none " not in tiffin.ok("image", "sharing")


def test_the_tables(engine: package.Engine, tiffin: Runner) -> None:
    two_images(engine)
    lines = tiffin.ok("image", "sharing", "first", "second").splitlines()
    assert lines[0].split() == ["IMAGE", "FILES", "SIZE", "SHARED", "FILES", "SHARED", "SIZE", "UNIQUE", "SIZE"]
    assert lines[1].split()[:2] == ["1", "first:latest"]
    assert lines[2].split()[-1] == "85kB"
    assert lines[4].startswith("Together ")
    assert lines[4].endswith("%) saved.")
    assert lines[6] == "Shared by each two:"
    assert lines[8].split()[:3] == ["1", "first:latest", "-"]
    assert lines[8].split()[3] == lines[9].split()[2]
    assert len(lines) == 10
    assert tiffin.ok("image", "sharing", "--format", "{{len .Pairs}} {{.Total.Files}}").split()[0] == "1"


def test_a_narrow_terminal_gets_narrow_tables(engine: package.Engine, terminal: Callable[..., Terminal]) -> None:
    for number in range(8):
        engine.import_image(io.BytesIO(sleep_tar(extra=b"%d" % number)), f"image{number}")
    with terminal("image", "sharing", size=(60, 60)) as screen:
        assert screen.wait() == 0
        text = screen.text
    pairs = text.partition("Shared by each two:")[2]
    assert pairs.count("image0:latest") > 1  # more than one block of columns
    assert max(map(len, pairs.splitlines())) <= 60


def test_nothing_to_compare(tiffin: Runner, engine: package.Engine) -> None:
    assert tiffin.ok("image", "sharing").splitlines()[-1] == (
        "Together 0B in 0 files, 0B on disk; each on its own 0B: 0B saved."
    )


def test_images_that_cannot_be_compared(engine: package.Engine) -> None:
    with pytest.raises(NotFoundError) as missing:
        engine.image_sharing(["nosuch"])
    assert str(missing.value) == "no such image: nosuch (`tiffin images` lists what is here)"
    with pytest.raises(UsageError) as host:
        engine.image_sharing(["host"])
    assert str(host.value) == "the image 'host' is the host itself: it has nothing in the store to share"


def test_without_the_right_to_see_frames(engine: package.Engine, tiffin: Runner) -> None:
    two_images(engine)
    started(engine, "one", "first")
    command = ["setpriv", "--bounding-set", "-sys_admin", *tiffin.argv("image", "sharing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", "tiffin: the kernel does not tell which memory processes share: that takes CAP_SYS_ADMIN\n",
    )  # fmt: skip


def test_what_is_missing_is_not_counted(engine: package.Engine) -> None:
    """An object that is lost is told of by `system check`, and keeps nobody from looking at the others."""
    two_images(engine)
    started(engine, "one", "second")
    sharing, memory = engine.image_sharing()
    digest = hashlib.sha256(EXTRA).hexdigest()
    path = f"{engine.root}/objects/{digest[:2]}/{digest[2:]}"
    os.rename(path, f"{engine.root}/kept")
    try:
        assert (
            engine.image_sharing()[0].disk_bytes == sharing.disk_bytes - os.stat(f"{engine.root}/kept").st_blocks * 512
        )
        assert engine.image_sharing()[1].containers[0].cached_bytes < memory.containers[0].cached_bytes
        assert any(digest in problem for problem in engine.check())
    finally:
        os.rename(f"{engine.root}/kept", path)


@pytest.mark.damages_store
def test_a_damaged_layer_is_named(engine: package.Engine, tiffin: Runner) -> None:
    two_images(engine)
    diff_id = engine.image("first").layers[0]
    path = f"{engine.root}/layers/{diff_id.removeprefix('sha256:')}"
    os.truncate(path, os.path.getsize(path) // 2)
    for words in (("image", "sharing"), ("system", "df", "-v")):
        found = tiffin(*words)
        assert (found.code, found.err.splitlines()[0]) == (1, f"tiffin: layer {diff_id} is damaged: it is truncated")


def test_disk_usage_by_two_measures(engine: package.Engine, tiffin: Runner) -> None:
    first, second = two_images(engine)
    rows = {row["ID"]: row for row in engine.disk_usage()["ImageList"]}
    for row in rows.values():
        assert row["SharedSize"] + row["UniqueSize"] == row["Size"]
        assert row["UniqueDiskSize"] < row["DiskSize"]
    assert (rows[first]["UniqueSize"], rows[second]["UniqueSize"]) == (0, len(EXTRA))
    before = _store_bytes(engine.root)
    frees = rows[second]["UniqueDiskSize"]
    table = tiffin.ok("system", "df", "-v").splitlines()
    assert table[2].split("  ")[0] == "NAMES"
    assert [part.strip() for part in table[2].split("  ") if part][-6:] == [
        "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS", "ON DISK", "WOULD FREE",
    ]  # fmt: skip
    shown = tiffin.ok("system", "df", "-v", "--format", "{{range .Images}}{{.ID}} {{.UniqueDiskSize}}\n{{end}}")
    assert second in shown
    engine.remove_image("second")
    assert before - _store_bytes(engine.root) == pytest.approx(frees, abs=1 << 14)  # directories shrink, too


def _store_bytes(root: str) -> int:
    from tiffin.storage.removal import tree_usage

    return sum(tree_usage(os.path.join(root, name))[0] for name in ("objects", "layers", "images"))
