"""Limits of block IO, measured with direct reads and writes: on the store's disk, and on a loop device of the test."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.cgroups.blockdev import disk_name, disks_of, scheduler
from tiffin.cgroups.driver import choose_driver
from tiffin.errors import HostError, UsageError
from tiffin.model.container import ContainerConfig, Mount
from tiffin.model.resources import Resources

if TYPE_CHECKING:
    from integration.conftest import Runner

MB = 1 << 20
V1 = choose_driver().version == 1


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device with an empty ext4."""
    image = Path("/var/tmp") / f"tiffin-loop-{os.getpid()}"
    with image.open("wb") as file:
        file.truncate(64 * MB)
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "nodiscard", image], check=True, capture_output=True
    )
    done = subprocess.run(["losetup", "--show", "-f", image], check=True, capture_output=True, text=True)
    device = done.stdout.strip()
    yield device
    subprocess.run(["losetup", "-d", device], check=True)
    image.unlink()


@pytest.fixture
def here() -> Iterator[str]:
    """A directory on the disk of /var/tmp, which is the store's as well."""
    directory = Path(f"/var/tmp/tiffin-io-{os.getpid()}")
    directory.mkdir()
    yield str(directory)
    subprocess.run(["rm", "-r", directory], check=True)


@pytest.fixture
def looped(loop: str, tmp_path: Path) -> Iterator[str]:
    """Where it is mounted."""
    place = tmp_path / "looped"
    place.mkdir()
    subprocess.run(["mount", loop, place], check=True)
    yield str(place)
    subprocess.run(["umount", place], check=True)


def start(engine: tiffin.Engine, image: str, resources: Resources, here: str, looped: str = "") -> None:
    mounts = [Mount(type="bind", source=here, target="/here")]
    if looped:
        mounts.append(Mount(type="bind", source=looped, target="/loop"))
    config = ContainerConfig(
        image=image, command=("sleep", "600"), name="cc", mounts=tuple(mounts), resources=resources
    )
    engine.create(config)
    engine.start("cc")


def seconds(engine: tiffin.Engine, *words: str) -> float:
    """How long one dd takes inside, less what a call takes that copies nothing."""
    idle = 1e9
    for _ in range(3):
        began = time.monotonic()
        engine.exec_run("cc", ["dd", "if=/dev/zero", "of=/dev/null", "count=0"])
        idle = min(idle, time.monotonic() - began)
    began = time.monotonic()
    result = engine.exec_run("cc", ["dd", *words])
    assert result.exit_code == 0, result.stderr
    return time.monotonic() - began - idle


def write(engine: tiffin.Engine, place: str, block: str, count: int) -> float:
    return seconds(engine, "if=/dev/zero", f"of={place}/file", f"bs={block}", f"count={count}", "oflag=direct")


def read(engine: tiffin.Engine, place: str, block: str, count: int) -> float:
    return seconds(engine, f"if={place}/file", "of=/dev/null", f"bs={block}", f"count={count}", "iflag=direct")


def takes(measure: Callable[[], float], expected_s: float, tolerance: float = 0.15) -> None:
    """A disk that others keep busy can be slower than the limit, never faster."""
    seen = []
    for _ in range(3):
        seen.append(measure())
        assert seen[-1] >= (1 - tolerance) * expected_s, seen
        if seen[-1] <= (1 + tolerance) * expected_s:
            return
    pytest.fail(f"{seen} s instead of {expected_s} s")


def test_rates_hold_for_every_device(engine: tiffin.Engine, busybox: str, here: str, looped: str) -> None:
    limits = Resources(io_read_bps=5 * MB, io_write_bps=5 * MB)
    start(engine, busybox, limits, here, looped)
    for place in ("/here", "/loop"):
        takes(lambda place=place: write(engine, place, "512k", 12), 1.2)  # type: ignore[misc]
        takes(lambda place=place: read(engine, place, "512k", 12), 1.2)  # type: ignore[misc]
    takes(lambda: write(engine, "", "512k", 12), 1.2)  # the root itself
    engine.update("cc", Resources(io_read_bps=10 * MB, io_write_bps=-1))
    for place in ("/here", "/loop"):
        takes(lambda place=place: read(engine, place, "512k", 12), 0.6, 0.25)  # type: ignore[misc]
        assert min(write(engine, place, "512k", 12) for _ in range(2)) < 0.9


def test_operations_are_counted(engine: tiffin.Engine, busybox: str, here: str) -> None:
    start(engine, busybox, Resources(io_read_iops=100, io_write_iops=100), here)
    takes(lambda: write(engine, "/here", "4k", 240), 2.4)
    takes(lambda: read(engine, "/here", "4k", 240), 2.4)
    engine.update("cc", Resources(io_read_iops=200))
    takes(lambda: read(engine, "/here", "4k", 240), 1.2, 0.2)


def test_rates_of_one_device(engine: tiffin.Engine, busybox: str, here: str, loop: str, looped: str) -> None:
    """The lower one holds where a device has both; the others keep theirs."""
    device = ((loop, 5 * MB),)
    start(engine, busybox, Resources(device_write_bps=device, io_write_bps=20 * MB), here, looped)
    takes(lambda: write(engine, "/loop", "512k", 12), 1.2)
    takes(lambda: write(engine, "/here", "512k", 48), 1.2, 0.2)
    engine.update("cc", Resources(device_read_iops=((loop, 50),)))
    takes(lambda: read(engine, "/loop", "4k", 80), 1.6)
    assert read(engine, "/here", "4k", 80) < 1.2
    engine.update("cc", Resources(device_write_bps=((loop, 10 * MB),), device_read_iops=((loop, -1),)))
    takes(lambda: write(engine, "/loop", "512k", 24), 1.2)
    assert read(engine, "/loop", "4k", 80) < 1.2
    engine.update("cc", Resources(device_write_bps=((loop, -1),)))
    takes(lambda: write(engine, "/loop", "512k", 48), 1.2, 0.2)  # what holds for all
    asked = engine.container("cc").container.config.resources
    assert asked == Resources(io_write_bps=20 * MB)


@pytest.mark.skipif(not V1, reason="BFQ is a module that the guest has not")
def test_weights_that_the_scheduler_ignores_are_told(tiffin: Runner, busybox: str, here: str) -> None:
    disk = disks_of([here])[0]
    if scheduler(disk) == "bfq":
        pytest.skip("here it is not ignored")
    words = (
        f"tiffin: warning: the weight of container cc has no effect on {disk_name(disk)}, whose IO scheduler is "
        f"{scheduler(disk)}: only bfq weighs\n"
    )
    result = tiffin("run", "-d", "--name", "cc", "--blkio-weight", "300", busybox, "sleep", "60")
    assert (result.code, result.err) == (0, words)
    assert tiffin("update", "--blkio-weight", "400", "cc") == (0, "cc\n", words)
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.BlkioWeight}}", "cc") == "400"


@pytest.mark.skipif(not V1, reason="BFQ is a module that the guest has not")
def test_a_weight_of_one_device(engine: tiffin.Engine, busybox: str, here: str, loop: str) -> None:
    name = loop.removeprefix("/dev/")
    Path(f"/sys/block/{name}/queue/scheduler").write_text("none")
    with pytest.raises(HostError) as caught:
        start(engine, busybox, Resources(device_weights=((loop, 200),)), here)
    assert str(caught.value) == (
        f"--blkio-weight-device {loop}: the IO scheduler of {name} is none, which takes no weights "
        f"(echo bfq > /sys/block/{name}/queue/scheduler)"
    )
    Path(f"/sys/block/{name}/queue/scheduler").write_text("bfq")
    try:
        start(engine, busybox, Resources(device_weights=((loop, 200),)), here)
        container_id = engine.container("cc").container.id
        number = disks_of([loop])[0]
        for weight, before in ((200, 200), (700, 200)):
            engine.update("cc", Resources(device_weights=((loop, weight),)))
            planned = choose_driver().planned(container_id, Resources(device_weights=((loop, 300),)))
            assert [(write.before, write.value) for write in planned] == [(f"{number} {weight}", f"{number} 300")], (
                before
            )
    finally:
        engine.remove("cc", force=True)
        Path(f"/sys/block/{name}/queue/scheduler").write_text("none")


def test_what_is_no_device(tiffin: Runner, busybox: str) -> None:
    for option, message in (
        ("--device-read-bps=/dev/nosuch:1m", "cannot limit the device /dev/nosuch: No such file or directory"),
        ("--device-write-iops=/dev/null:10", "cannot limit /dev/null: it is not a block device"),
        ("--io-read-bps=0", f"the rate for --io-read-bps must be within 1 and {2**63 - 1}: 0\n-1 lifts the limit"),
        ("--device-read-iops=/dev/null:0",
         f"the rate of /dev/null for --device-read-iops must be within 1 and {2**32 - 1}: 0\n-1 lifts the limit"),
        ("--blkio-weight=5", "the weight must be within 10 and 1000: 5"),
    ):  # fmt: skip
        result = tiffin("create", option, busybox, "true")
        assert (result.code, result.err) == (1, f"tiffin: {message}\n"), option


def test_places_on_no_disk(engine: tiffin.Engine, busybox: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, command=("true",), resources=Resources(io_read_bps=-5)))
    assert caught.value.message == f"the rate for --io-read-bps must be within 1 and {2**63 - 1}: -5"
    assert disks_of(["/proc", "/dev", "/nosuch"]) == ()
