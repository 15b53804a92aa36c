"""What only the guest of tests/v2 can show: Linux 6.1 without EROFS mounts from files, cgroup v2 alone, AppArmor.

Not collected on hosts, which do not have these: tests/v2/run.py names this file.
"""

from __future__ import annotations

import io
import shutil
import tempfile

import pytest

import tiffin
from harness.leaks import wait_gone
from harness.tars import TarMaker
from tiffin.errors import HostError, LaunchError, StoreError
from tiffin.model.container import ContainerConfig, Mount

NO_EROFS = "composefs cannot work here: this kernel cannot mount EROFS from a file, Linux 6.12 and later can"


def test_the_storage_driver_is_overlay(engine: tiffin.Engine, busybox: str) -> None:
    info = engine.info()
    assert (info["Driver"], info["DriverStatus"]) == ("overlay", [["Chosen because", NO_EROFS]])
    assert (info["CgroupVersion"], info["KernelVersion"][:2]) == ("2", "6.")


def test_composefs_is_refused(engine_root: str) -> None:
    with tiffin.Engine(engine_root, storage="composefs") as engine, pytest.raises(HostError) as caught:
        engine.info()
    assert str(caught.value) == f"the storage driver {NO_EROFS} (leave --storage away)"


def test_a_store_on_tmpfs(busybox_archive: bytes) -> None:
    """Overlay's own attributes can be kept there; those that users give to files cannot, before Linux 6.6."""
    root = tempfile.mkdtemp(prefix="tiffin-", dir="/run")
    with tiffin.Engine(root) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox")
        script = "rm /etc/group; mkdir /a; mv /home /a/b; ls /a/b"
        assert engine.run("busybox", ["sh", "-c", script]).stdout == "alice\n"
        tar = TarMaker().file("f", b"x", xattrs={"user.k": "v"}).done()
        with pytest.raises(StoreError) as caught:
            engine.import_image(io.BytesIO(tar), "attributed")
        assert str(caught.value) == (
            "the store's file system cannot keep the extended attribute 'user.k' of 'f': Operation not supported"
        )
        assert len(engine.images()) == 1
        engine.remove_image("busybox")
    assert wait_gone(root) == []
    shutil.rmtree(root)


def test_a_tmpfs_has_no_mapped_ids(engine: tiffin.Engine, busybox: str) -> None:
    """Linux 6.3 and later can: there test_userns_mounts.py shares such a volume."""
    engine.volume_create("fast", options={"type": "tmpfs", "device": "tmpfs"})
    fast = (Mount(type="volume", source="fast", target="/fast"),)
    with pytest.raises(LaunchError) as caught:
        engine.run(busybox, ["true"], userns="auto", mounts=fast)
    assert str(caught.value) == (
        f"cannot bind {engine.root}/volumes/fast/_data on /fast with mapped ids: Invalid argument"
        " (its file system, or this kernel, has no mounts with mapped ids)"
    )
    # One that is only the container's is made by its root, and needs none.
    tmpfs = (Mount(type="tmpfs", target="/t"),)
    assert engine.run(busybox, ["stat", "-c", "%u", "/t"], userns="auto", mounts=tmpfs).stdout == "0\n"
    assert engine.run(busybox, ["touch", "/fast/x"], mounts=fast).exit_code == 0


def test_apparmor_confines(engine: tiffin.Engine, busybox: str) -> None:
    assert "name=apparmor" in engine.info()["SecurityOptions"]
    label = engine.run(busybox, ["cat", "/proc/self/attr/apparmor/current"])
    assert label.stdout == "tiffin-default (enforce)\n"
    plain = engine.run(busybox, ["cat", "/proc/self/attr/apparmor/current"], security_opts=("apparmor=unconfined",))
    assert plain.stdout == "unconfined\n"
    # With everything else given, only AppArmor is left to refuse a mount.
    options = ("seccomp=unconfined", "systempaths=unconfined")
    script = "mount -t tmpfs x /mnt 2>&1 || mkdir -p /mnt && mount -t tmpfs x /mnt"
    refused = engine.run(busybox, ["sh", "-c", script], cap_add=("SYS_ADMIN",), security_opts=options)
    assert refused.exit_code != 0 and "Permission denied" in refused.stderr
    allowed = engine.run(
        busybox, ["sh", "-c", script], cap_add=("SYS_ADMIN",), security_opts=(*options, "apparmor=unconfined")
    )
    assert allowed.exit_code == 0, allowed.stderr


def test_apparmor_holds_in_exec(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    assert engine.exec_run("web", ["cat", "/proc/self/attr/apparmor/current"]).stdout == "tiffin-default (enforce)\n"
    # A signal from inside, and the end from outside, pass the profile.
    assert engine.exec_run("web", ["sh", "-c", "sleep 9 & kill $!; wait $!"]).exit_code == 143
    engine.stop("web", timeout_s=0)
    with pytest.raises(HostError) as caught:
        engine.run(busybox, ["true"], security_opts=("apparmor=nosuch",))
    assert caught.value.message == "the AppArmor profile 'nosuch' is not loaded"
