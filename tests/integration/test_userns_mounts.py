"""What can be mounted in a container with a user namespace, and what cannot; on every storage driver."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tiffin as package
from launcher_fixtures import built
from tiffin import Engine
from tiffin.errors import LaunchError, NotSupportedError
from tiffin.model.container import ContainerConfig, Mount

if TYPE_CHECKING:
    from integration.conftest import Runner

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=755"}


@pytest.fixture(params=["composefs", "overlay", "sanitized"])
def on(
    request: pytest.FixtureRequest,
    engine_root: str,
    busybox_archive: bytes,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:
    """An engine on each driver, and one whose launcher looks at its own memory, with the image `busybox`."""
    storage = request.param
    reports = tmp_path_factory.mktemp("reports")
    reports.chmod(0o777)
    if storage == "sanitized":
        storage = "composefs"
        monkeypatch.setenv("TIFFIN_LAUNCHER", str(built("sanitized", tmp_path_factory)))
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            monkeypatch.setenv(name, f"detect_leaks=0:log_path={reports}/found:exitcode=99")
    with package.Engine(engine_root, storage=storage) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
        yield engine
    assert [path.read_text() for path in reports.iterdir()] == []


def sh(engine: Engine, script: str, *mounts: Mount, **options: Any) -> str:
    done = engine.run("busybox", ["sh", "-c", script], **{"userns": "auto", "mounts": mounts, **options})
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of alice's, with something below it."""
    (tmp_path / "dir" / "deep").mkdir(parents=True)
    (tmp_path / "dir" / "file").write_text("inside\n")
    for path in (tmp_path, tmp_path / "dir", tmp_path / "dir" / "deep", tmp_path / "dir" / "file"):
        os.chown(path, 1000, 1000)
        path.chmod(0o755)
    return tmp_path


def test_a_subpath_of_a_volume(on: Engine, source: Path) -> None:
    on.volume_create("data")
    base = on.inspect_volume("data")["Mountpoint"]
    subprocess.run(["cp", "-a", f"{source}/.", base], check=True)
    volume = Mount(type="volume", source="data", target="/m", subpath="dir")
    assert sh(on, "stat -c '%n %u' /m /m/*; echo x > /m/made", volume) == "/m 1000\n/m/deep 1000\n/m/file 1000\n"
    assert os.lstat(f"{base}/dir/made").st_uid == 0


def test_an_image(on: Engine) -> None:
    image = Mount(type="image", source="busybox", target="/image", readonly=True)
    again = image.replace(target="/again", subpath="bin")
    script = "stat -c '%u %u' /image/bin/busybox /again/busybox /image/home/alice; touch /image/x 2>&1 | cut -d: -f3"
    assert sh(on, script, image, again) == "0 0\n0 0\n1000 1000\n Read-only file system\n"


def test_an_image_in_the_host_image(engine: Engine, busybox: str) -> None:
    image = Mount(type="image", source=busybox, target="/srv", readonly=True)
    done = engine.run("host", ["stat", "-c", "%u", "/srv/bin/busybox"], userns="auto", mounts=(image,))
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_what_is_below_a_read_only_mount(on: Engine, source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    below = tmp_path_factory.mktemp("below")
    below.chmod(0o777)
    subprocess.run(["mount", "--bind", str(below), f"{source}/dir/deep"], check=True)
    try:
        bind = Mount(type="bind", source=str(source), target="/m", readonly=True)
        script = "touch /m/x /m/dir/deep/x 2>&1 | cut -d: -f3; grep -c ' /m.* ro,' /proc/mounts"
        assert sh(on, script, bind) == " Read-only file system\n Read-only file system\n2\n"
        # Its files are the host's, unless they are mapped.
        script = "touch /m/dir/deep/$0; grep -c ' /m.* ro,' /proc/mounts"
        assert sh(on, script, bind.replace(readonly_recursive="disabled")) == "1\n"
        assert sh(on, script, bind.replace(readonly_recursive="disabled", idmap=True)) == "1\n"
        assert sh(on, "stat -c %u /m/dir/file", bind.replace(readonly_recursive="forced", idmap=True)) == "1000\n"
    finally:
        subprocess.run(["umount", f"{source}/dir/deep"], check=True)


def test_a_volume_that_is_another_name(on: Engine, source: Path) -> None:
    on.volume_create("data", options={"type": "none", "o": "bind", "device": str(source)})
    volume = Mount(type="volume", source="data", target="/m")
    assert sh(on, "stat -c %u /m/dir/file; echo x > /m/made", volume) == "1000\n"
    assert os.lstat(source / "made").st_uid == 0
    assert sh(on, "stat -c %u /m/file; cat /m/file", volume.replace(subpath="dir", readonly=True)) == "1000\ninside\n"
    config = ContainerConfig(image="busybox", name="stopped", userns="auto", mounts=(volume.replace(subpath="dir"),))
    container = on.create(config.replace(command=("true",)))
    on.start(container.id)
    on.wait(container.id, timeout_s=20)
    archive = io.BytesIO()
    on.copy_out(container.id, "/m/file", archive)
    assert b"inside\n" in archive.getvalue()


def test_a_tmpfs_volume(on: Engine) -> None:
    on.volume_create("fast", options=TMPFS)
    volume = Mount(type="volume", source="fast", target="/fast")
    look = "stat -c '%u %a' /fast; stat -c %u /fast/* 2>/dev/null; grep ' /fast ' /proc/mounts | cut -d' ' -f3"
    assert sh(on, look, volume) == "1000 755\ntmpfs\n"
    script = "echo x > /fast/mine; sleep 1000"
    config = ContainerConfig(image="busybox", userns="auto", mounts=(volume,), stop_timeout_s=0)
    one = on.create(config.replace(name="one", command=("sh", "-c", script)))
    on.start(one.id)
    while on.exec_run("one", ["test", "-s", "/fast/mine"]).exit_code:
        pass
    assert sh(on, f"{look}; touch /fast/hers", volume, userns="container:one") == "1000 755\n0\ntmpfs\n"
    assert on.exec_run("one", ["ls", "/fast"]).stdout == "hers\nmine\n"
    for userns in ("auto", "host"):
        with pytest.raises(NotSupportedError) as caught:
            on.create(config.replace(userns=userns))
        assert caught.value.message == (
            "the tmpfs volume fast cannot be shared with container 'one', whose user namespace has other ids"
        )


def test_a_tmpfs_that_begins_with_what_it_covers(on: Engine) -> None:
    tmpfs = Mount(type="tmpfs", target="/home", tmpfs_options=("tmpcopyup",))
    assert sh(on, "stat -c %u /home/alice; touch /home/x; grep -c ' /home tmpfs ' /proc/mounts", tmpfs) == "1000\n1\n"


def test_an_image_cannot_lead_a_mount_into_proc(on: Engine, source: Path) -> None:
    name = on.create(ContainerConfig(image="busybox", command=("ln", "-s", "/proc/self", "/link"))).id
    on.start(name)
    on.wait(name, timeout_s=20)
    on.commit(name, "led")
    bind = Mount(type="bind", source=str(source / "dir" / "file"), target="/link/status")
    for userns in ("host", "auto"):
        with pytest.raises(LaunchError) as caught:
            on.run("led", ["true"], userns=userns, mounts=(bind,))
        assert caught.value.message == (f"cannot bind {source}/dir/file on /link/status: Operation not permitted")


@pytest.mark.parametrize("mode", ["shared", "rshared"])
def test_nothing_is_shared_with_the_host(on: Engine, source: Path, mode: str) -> None:
    bind = Mount(type="bind", source=str(source), target="/m", propagation=mode)
    with pytest.raises(NotSupportedError) as caught:
        on.create(ContainerConfig(image="busybox", userns="auto", mounts=(bind,)))
    assert caught.value.message == (
        f"the mount at /m cannot be {mode} in a user namespace: what its root mounts there would be mounted on the host"
    )
    assert not on.containers(all=True)


def test_a_subpath_of_a_tmpfs_volume(on: Engine) -> None:
    on.volume_create("fast", options=TMPFS)
    volume = Mount(type="volume", source="fast", target="/fast", subpath="x")
    for userns in ("auto", "host"):
        with pytest.raises(NotSupportedError, match=r"^a subpath of the tmpfs volume fast is not supported yet$"):
            on.create(ContainerConfig(image="busybox", userns=userns, mounts=(volume,)))


def test_other_runtimes(engine: Engine, busybox: str, source: Path) -> None:
    bind = Mount(type="bind", source=str(source), target="/m", propagation="rshared")
    ours = (
        "the mount at /m does not go with --runtime crun so far: images, subpaths, volumes with mount options and "
        "shared binds are mounted by Tiffin's own launcher only"
    )
    for userns, mount, message in (
        ("auto", bind.replace(propagation="rslave"), "a user namespace does not go with --runtime crun so far"),
        ("host", bind, ours),
        ("host", Mount(type="image", source=busybox, target="/m", readonly=True), ours),
        ("host", Mount(type="volume", source="data", target="/m", subpath="x"), ours),
    ):
        config = ContainerConfig(image=busybox, runtime="crun", userns=userns, mounts=(mount,))
        with pytest.raises(NotSupportedError) as caught:
            engine.create(config)
        assert caught.value.message == message


@pytest.mark.parametrize("option", ["--mount=type=bind,src={},dst=/m,idmap", "-v={}:/m:idmap,ro"])
def test_idmap_on_the_command_line(tiffin: Runner, busybox: str, source: Path, option: str) -> None:
    words = ("--rm", option.format(source), busybox, "stat", "-c", "%u", "/m/dir/file")
    assert tiffin.ok("run", "--userns", "auto", *words) == "1000"
    refused = tiffin("run", *words)
    assert refused.code == 125 and refused.err.splitlines()[0] == (
        "tiffin: a mount can map ids (idmap) only in a container with a user namespace"
    )
