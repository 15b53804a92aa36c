"""The host's own root as an image: seen, not changed, and without a view of other containers' files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.rootfs import in_mounts
from tiffin.paths import Paths, paths_for
from tiffin.storage.host import PLAIN, STACKED, HostDriver
from tiffin.storage.probe import MountCalls, in_private_mounts
from tiffin.storage.rootfs import recall

MS_BIND = 4096


@pytest.fixture
def paths() -> Iterator[Paths]:
    """A store outside of /tmp, which is hidden anyhow; on the file system of `/`, or nothing would be shown of it."""
    root = tempfile.mkdtemp(prefix="tiffin-host-", dir="/var/lib")
    assert os.stat(root).st_dev == os.stat("/").st_dev
    yield paths_for(root, None)
    shutil.rmtree(root)


@pytest.fixture(params=[PLAIN, STACKED])
def driver(request: pytest.FixtureRequest, paths: Paths) -> HostDriver:
    return HostDriver(paths, request.param)


def root_of(paths: Paths) -> str:
    os.makedirs(f"{paths.root}/root", exist_ok=True)
    return f"{paths.root}/root"


def test_the_host_is_seen_and_not_changed(driver: HostDriver, paths: Paths) -> None:
    driver.create("c", "host")
    root = root_of(paths)

    def work() -> None:
        assert Path(f"{root}/etc/passwd").read_bytes() == Path("/etc/passwd").read_bytes()
        assert os.stat(root).st_mode == os.stat("/").st_mode
        Path(f"{root}/etc/passwd").write_bytes(b"changed")
        Path(f"{root}/tiffin-was-here").write_bytes(b"")
        os.unlink(f"{root}/etc/group")
        assert os.listdir(f"{root}/proc") == os.listdir(f"{root}/sys") == []

    in_mounts(driver.steps("c", "host", root), work)
    assert b"root:" in Path("/etc/passwd").read_bytes()
    assert os.path.exists("/etc/group")
    assert not os.path.exists("/tiffin-was-here")
    upper = driver.upper("c")
    assert upper is not None
    assert Path(f"{upper}/etc/passwd").read_bytes() == b"changed"
    assert driver.usage("c")[1] >= 4
    driver.remove("c")
    assert driver.upper("c") is None


def test_tmp_run_and_the_store_are_empty_inside(driver: HostDriver, paths: Paths, tmp_path: Path) -> None:
    driver.create("other", "host")
    driver.create("c", "host")
    root = root_of(paths)

    def work() -> None:
        assert os.listdir(f"{root}/tmp") == os.listdir(f"{root}/run") == []
        assert os.stat(f"{root}/tmp").st_mode == 0o41777
        hidden = f"{root}{paths.root}"
        assert os.listdir(hidden) == []
        assert os.stat(hidden).st_mode == 0o40000
        assert os.stat(f"{root}/var/lib").st_mode == os.stat("/var/lib").st_mode
        os.rmdir(hidden)  # the container may, and still does not see what is below
        assert not os.path.exists(f"{hidden}/containers")
        os.mkdir(hidden)
        assert os.listdir(hidden) == []

    in_mounts(driver.steps("c", "host", root), work)
    assert os.path.isdir(f"{paths.root}/containers/other/upper")


def test_a_store_behind_a_bind_mount_is_hidden_at_its_real_place(paths: Paths, tmp_path: Path) -> None:
    real = f"{paths.root}/real"
    mounted = f"{paths.root}/mounted"
    os.mkdir(real)
    os.mkdir(mounted)
    covered: list[list[str]] = []

    def work(calls: MountCalls) -> None:
        calls.mount(real, mounted, "", MS_BIND, "", "bind")
        try:
            inner = paths_for(f"{mounted}/store", None)
            os.mkdir(inner.root)
            covered.append(HostDriver(inner, PLAIN)._covered())
        finally:
            calls.umount(mounted)

    assert in_private_mounts(work) is None
    assert covered == [[f"{real}/store"]]


def test_a_store_on_another_file_system_needs_no_hiding(paths: Paths) -> None:
    mounted = f"{paths.root}/mounted"
    os.mkdir(mounted)
    covered: list[list[str]] = []

    def work(calls: MountCalls) -> None:
        calls.mount("tmpfs", mounted, "tmpfs", 0, "size=1m", "tmpfs")
        try:
            covered.append(HostDriver(paths_for(f"{mounted}", None), PLAIN)._covered())
        finally:
            calls.umount(mounted)

    assert in_private_mounts(work) is None
    assert covered == [[]]


def test_files_of_the_host(driver: HostDriver) -> None:
    assert driver.image_file("host", "/etc/passwd") == Path("/etc/passwd").read_bytes()
    assert driver.image_file("host", "/etc/none") is None
    assert driver.image_file("host", "/etc") is None


def test_the_way_to_mount_is_found_once_per_boot(paths: Paths) -> None:
    driver = HostDriver(paths)
    assert driver.probe() is None
    assert recall(paths, "host") == ("host", PLAIN)
    assert os.listdir(paths.temporary) == []
    driver.create("c", "host")
    (step,) = driver.steps("c", "host", root_of(paths))
    assert step.data.startswith("lowerdir=/,upperdir=")
    memory = Path(paths.cache, "storage-driver-host")
    memory.write_text(memory.read_text().replace(PLAIN, STACKED))
    assert [item.fstype for item in HostDriver(paths).steps("c", "host", "/mnt")] == ["tmpfs", "overlay", "overlay"]
