"""--mount with real containers: images, subpaths, propagation, recursion, and places that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher_fixtures import built

if TYPE_CHECKING:
    from integration.conftest import Runner


@pytest.fixture(params=["new system calls", "old system calls"])
def either_kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The launcher as it is, and one for which openat2, open_tree and mount_setattr are missing."""
    if request.param != "new system calls":
        monkeypatch.setenv("TIFFIN_LAUNCHER", str(built("enosys", tmp_path_factory)))
    return str(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a file at every place that a subpath may or may not lead to."""
    (tmp_path / "secret").write_text("secret")
    volume = tmp_path / "volume"
    (volume / "dir" / "deep").mkdir(parents=True)
    (volume / "dir" / "file").write_text("inside\n")
    for name, target in (
        ("link", "dir"), ("round", "dir/../link"), ("absolute", str(tmp_path)), ("up", ".."),
        ("proc", "/proc/self/root"),
    ):  # fmt: skip
        (volume / name).symlink_to(target)
    return volume


@pytest.mark.usefixtures("either_kernel")
@pytest.mark.parametrize("subpath", ["dir", "link", "round", "dir/../dir"])
def test_a_subpath(tiffin: Runner, busybox: str, source: Path, subpath: str) -> None:
    tiffin.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={source}", "data")
    mount = f"type=volume,src=data,dst=/m,volume-subpath={subpath}"
    assert tiffin.ok("run", "--rm", "--mount", mount, busybox, "ls", "/m") == "deep\nfile"
    file = "type=volume,src=data,dst=/m,volume-subpath=dir/file"
    assert tiffin.ok("run", "--rm", "--mount", file, busybox, "cat", "/m") == "inside"


@pytest.mark.usefixtures("either_kernel")
@pytest.mark.parametrize("subpath", ["absolute", "absolute/secret", "up", "up/secret", "proc", "proc/etc"])
def test_a_subpath_that_leads_out(tiffin: Runner, busybox: str, engine_root: str, source: Path, subpath: str) -> None:
    base = f"{engine_root}/volumes/data/_data"
    tiffin.ok("volume", "create", "data")
    subprocess.run(["cp", "-a", f"{source}/.", base], check=True)
    refused = tiffin("run", "--rm", "--mount", f"type=volume,src=data,dst=/m,volume-subpath={subpath}", busybox, "ls")
    assert (refused.code, refused.err) == (
        125, f'tiffin: path concatenation escapes the base directory, base: "{base}", subpath: "{subpath}"\n'
    )  # fmt: skip
    # What the engine looks at first, the launcher does again where nobody can change it any more.
    tiffin.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={source}", "other")
    refused = tiffin("run", "--rm", "--mount", f"type=volume,src=other,dst=/m,volume-subpath={subpath}", busybox, "ls")
    assert refused.code == 125 and "secret" not in refused.out
    reason = "Too many levels of symbolic links" if subpath.startswith("proc/self") else "Invalid cross-device link"
    assert refused.err == (f"tiffin: cannot bind '{subpath}' of {engine_root}/volumes/other/_data on /m: {reason}\n")


def test_a_subpath_that_is_missing(tiffin: Runner, busybox: str, engine_root: str) -> None:
    refused = tiffin("run", "--rm", "--mount", "type=volume,src=data,dst=/m,volume-subpath=no/such", busybox)
    path = f"{engine_root}/volumes/data/_data/no/such"
    assert (refused.code, refused.err) == (
        125, f"tiffin: cannot access path {path}: lstat {path}: no such file or directory\n"
    )  # fmt: skip


def test_an_image(tiffin: Runner, busybox: str) -> None:
    mount = f"type=image,source={busybox},target=/image"
    script = "ls /image/bin/busybox; touch /image/new; grep ' /image ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1"
    done = tiffin("run", "--name", "web", "--mount", mount, busybox, "sh", "-c", script)
    assert (done.out, done.err) == ("/image/bin/busybox\nro\n", "touch: /image/new: Read-only file system\n")
    image_id = tiffin.ok("inspect", "-f", "{{.Id}}", "--type", "image", busybox)
    (shown,) = json.loads(tiffin.ok("inspect", "-f", "{{json .Mounts}}", "web"))
    assert shown == {
        "Type": "image", "Source": image_id, "Destination": "/image", "Mode": "ro", "RW": False, "Propagation": "",
    }  # fmt: skip
    below = tiffin.ok("run", "--rm", "--mount", f"{mount},image-subpath=bin", busybox, "ls", "/image")
    assert "busybox" in below.splitlines()
    tiffin.ok("rm", "web")
    refused = tiffin("run", "--rm", "--mount", "type=image,source=host,target=/image", busybox)
    assert refused.err.splitlines()[0] == (
        "tiffin: the image 'host' cannot be mounted: it shows only as a container's root"
    )


def test_a_mounted_image_stays(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("create", "--name", "base", busybox)
    tiffin.ok("commit", "-m", "another", "base", "other:1")
    tiffin.ok("create", "--name", "web", "--mount", "type=image,source=other:1,target=/image", busybox, "true")
    refused = tiffin("rmi", "other:1")
    short = tiffin.ok("inspect", "-f", "{{.Id}}", "web")[:12]
    assert refused.code == 1 and refused.err.splitlines()[0] == (
        f"tiffin: cannot remove the image other:1: the container web ({short}) has it mounted"
    )
    tiffin.ok("image", "prune", "-af")
    tiffin.ok("start", "-a", "web")
    tiffin.ok("rm", "web")
    tiffin.ok("rmi", "other:1")


def private_mounts(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own, from which nothing gets back."""
    command = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert str(tmp_path) not in file.read()


def test_mounts_travel_through_a_shared_bind(tiffin: Runner, busybox: str, tree: str) -> None:
    script = """
        dir=$1; shift
        mount -t tmpfs shared $dir; mount --make-shared $dir; mkdir $dir/in $dir/out
        "$@" run -d --name web --cap-add SYS_ADMIN --security-opt apparmor=unconfined -v $dir:/s:rshared IMAGE \\
            sh -c 'mount -t tmpfs inner /s/in && echo from inside > /s/in/file; while :; do sleep 1; done' >/dev/null
        for i in $(seq 50); do [ -e $dir/in/file ] && break; sleep 0.1; done
        cat $dir/in/file
        mount -t tmpfs outer $dir/out; echo from outside > $dir/out/file
        "$@" exec web cat /s/out/file
        "$@" rm -f web >/dev/null
        grep -c " $dir/in " /proc/self/mountinfo
    """.replace("IMAGE", busybox)
    done = private_mounts(script, tree, *tiffin.argv())
    assert (done.stdout, done.stderr) == ("from inside\nfrom outside\n1\n", "")


def test_mounts_reach_a_slave_but_do_not_come_back(tiffin: Runner, busybox: str, tree: str) -> None:
    script = """
        dir=$1; shift
        mount -t tmpfs shared $dir; mount --make-shared $dir; mkdir $dir/in $dir/out
        "$@" run -d --name web --cap-add SYS_ADMIN --security-opt apparmor=unconfined -v $dir:/s:rslave IMAGE \\
            sh -c 'mount -t tmpfs inner /s/in && echo from inside > /s/in/file; while :; do sleep 1; done' >/dev/null
        mount -t tmpfs outer $dir/out; echo from outside > $dir/out/file
        "$@" exec web cat /s/out/file
        for i in $(seq 50); do "$@" exec web test -e /s/in/file && break; sleep 0.1; done
        "$@" exec web cat /s/in/file
        [ ! -e $dir/in/file ] && echo not outside
        "$@" rm -f web >/dev/null
    """.replace("IMAGE", busybox)
    done = private_mounts(script, tree, *tiffin.argv())
    assert (done.stdout, done.stderr) == ("from outside\nfrom inside\nnot outside\n", "")


@pytest.mark.parametrize(("mode", "needed"), [("shared", "shared"), ("rslave", "shared or slave")])
def test_what_is_not_shared_cannot_be(tiffin: Runner, busybox: str, tree: str, mode: str, needed: str) -> None:
    script = 'dir=$1; shift; mount -t tmpfs private $dir; mkdir $dir/sub; "$@"'
    run = tiffin.argv("run", "--rm", "-v", f"{tree}/sub:/s:{mode}", busybox, "true")
    done = private_mounts(script, tree, *run)
    assert (done.returncode, done.stderr) == (
        125, f"tiffin: path {tree}/sub is mounted on {tree} but it is not a {needed} mount\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "top", "below"),
    [
        ("", "rw", "rw"),
        ("ro", "ro", "ro"),
        ("ro,bind-recursive=enabled", "ro", "ro"),
        ("ro,bind-recursive=writable", "ro", "rw"),
        ("ro,bind-recursive=readonly,bind-propagation=rprivate", "ro", "ro"),
        ("ro,bind-recursive=disabled", "ro", "-"),
        ("bind-nonrecursive", "rw", "-"),
    ],
)
def test_read_only_with_what_is_mounted_below(
    tiffin: Runner, busybox: str, tree: str, options: str, top: str, below: str
) -> None:
    script = 'dir=$1; shift; mount -t tmpfs top $dir; mkdir $dir/sub; mount -t tmpfs below $dir/sub; "$@"'
    look = """for place in /m /m/sub; do
        grep -q " $place " /proc/mounts || { echo -; continue; }
        if (: > $place/file) 2>/dev/null; then echo rw; else echo ro; fi
    done"""
    mount = ",".join(part for part in (f"type=bind,src={tree},dst=/m", options) if part)
    done = private_mounts(script, tree, *tiffin.argv("run", "--rm", "--mount", mount, busybox, "sh", "-c", look))
    assert (done.stdout, done.stderr) == (f"{top}\n{below}\n", "")


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ("/etc:/proc", '"/proc" cannot be mounted because it is not of type proc'),
        ("/etc:/proc/foo", '"/proc/foo" cannot be mounted because it is inside /proc'),
        ("/etc:/proc/sys", '"/proc/sys" cannot be mounted because it is inside /proc'),
        ("/etc:/bin/busybox", "cannot bind /etc on /bin/busybox: Not a directory"),
        ("/etc/hostname:/bin", "cannot bind /etc/hostname on /bin: Not a directory"),
        ("/etc:/link/fs", "cannot bind /etc on /link/fs: Operation not permitted"),
        ("/etc:/link", "cannot bind /etc on /link: Operation not permitted"),
        ("/etc:/knob", "cannot bind /etc on /knob: Not a directory"),
        ("/etc/hostname:/knob", "cannot bind /etc/hostname on /knob: Operation not permitted"),
    ],
)
def test_places_that_cannot_be(tiffin: Runner, busybox: str, volume: str, message: str) -> None:
    tiffin.ok("run", "--name", "base", busybox, "sh", "-c", "ln -s /proc /link; ln -s /proc/sys/kernel/panic /knob")
    tiffin.ok("commit", "base", "linked")
    refused = tiffin("run", "--rm", "-v", volume, "linked", "true")
    assert (refused.code, refused.err.splitlines()[0]) == (125, f"tiffin: {message}")
    if "Not a directory" in message:
        assert refused.err.splitlines()[1] == (
            "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists "
            "and is the expected type"
        )


def test_places_in_proc_that_can_be(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    assert tiffin.ok("run", "--rm", "-v", f"{tmp_path}/uptime:/proc/uptime", busybox, "cat", "/proc/uptime") == (
        "1.00 1.00"
    )
    tiffin.ok("run", "--rm", "-v", "/proc:/proc", busybox, "true")


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="here labels are real")
def test_a_relabel_without_selinux(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert tiffin.ok("run", "--rm", "-v", f"{tmp_path}:/m:ro,Z", busybox, "ls", "/m") == "file"
    assert os.listxattr(tmp_path / "file") == []
    tiffin.ok("create", "--name", "web", "-v", f"{tmp_path}:/m:z", "-v", "data:/d:Z", busybox)
    assert tiffin.ok("inspect", "-f", "{{json .HostConfig.Binds}}", "web") == f'["{tmp_path}:/m:z","data:/d:Z"]'
    assert tiffin.ok("run", "--rm", "--volumes-from", "web:z", busybox, "ls", "/m") == "file"
    for path in ("/", "/etc", "/usr/", "/home"):
        refused = tiffin("run", "--rm", "-v", f"{path}:/m:Z", busybox)
        assert (refused.code, refused.err) == (
            125, f"tiffin: SELinux relabeling of {os.path.normpath(path)} is not allowed\n"
        )  # fmt: skip


def test_a_tmpfs_takes_the_mode_and_a_copy_of_what_it_covers(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "--name", "base", busybox, "sh", "-c", """
        mkdir -p /stock/dir; echo kept > /stock/dir/file; ln -s dir/file /stock/link; chown 5:6 /stock/dir/file
        chmod 2751 /stock/dir; mkfifo /stock/pipe; chmod 750 /stock
    """)  # fmt: skip
    tiffin.ok("commit", "base", "stocked")
    look = "stat -c '%a %n' /stock /new; cat /stock/link; stat -c '%u:%g %a %F' /stock/dir/file /stock/dir /stock/pipe"
    shown = tiffin.ok("run", "--rm", "--tmpfs", "/stock:tmpcopyup,ro", "--tmpfs", "/new", "stocked", "sh", "-c", look)
    assert shown.splitlines() == [
        "750 /stock", "1777 /new", "kept", "5:6 644 regular file", "0:0 2751 directory", "0:0 644 fifo",
    ]  # fmt: skip
    assert tiffin.ok("run", "--rm", "--tmpfs", "/stock", "stocked", "stat", "-c", "%a", "/stock") == "750"
    assert tiffin.ok("run", "--rm", "--tmpfs", "/stock:mode=711", "stocked", "stat", "-c", "%a", "/stock") == "711"
    assert tiffin.ok("run", "--rm", "--tmpfs", "/stock", "stocked", "ls", "/stock") == ""


def test_cp_sees_a_subpath_of_a_stopped_container(tiffin: Runner, busybox: str, source: Path, engine_root: str) -> None:
    tiffin.ok("run", "--name", "base", busybox, "mkdir", "/m")
    tiffin.ok("commit", "base", "placed")
    tiffin.ok("volume", "create", "data")
    subprocess.run(["cp", "-a", f"{source}/.", f"{engine_root}/volumes/data/_data"], check=True)
    tiffin.ok("create", "--name", "web", "--mount", "type=volume,src=data,dst=/m,volume-subpath=dir", "placed")
    tiffin.ok("cp", "web:/m/file", f"{source}/copied")
    assert (source / "copied").read_text() == "inside\n"
    tiffin.ok("create", "--name", "bad", "--mount", "type=volume,src=data,dst=/m,volume-subpath=absolute", "placed")
    refused = tiffin("cp", "bad:/m/secret", f"{source}/copied")
    assert refused.err == "tiffin: could not find the file /m/secret in container bad\n"
