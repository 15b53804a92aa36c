"""`tiffin cp` as a user types it, and what containers may try meanwhile."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from harness.tars import TarMaker
from tiffin.model.container import ContainerConfig, Mount

if TYPE_CHECKING:
    from harness.terminal import Terminal
    from integration.conftest import Runner

SETUP = """
mkdir -p /data/sub /w
echo hi >/data/f
echo deep >/data/sub/g
ln -s f /data/link
ln -s / /data/root
ln -s sub /data/dirlink
mkfifo /data/pipe
"""


@pytest.fixture(params=["running", "stopped"])
def web(request: pytest.FixtureRequest, engine: library.Engine, busybox: str) -> str:
    """A container with files in /data and an empty /w."""
    engine.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", f"{SETUP} touch /ready; sleep 100")))
    engine.start("web")
    while engine.exec_run("web", ["test", "-e", "/ready"]).exit_code:
        time.sleep(0.01)
    if request.param == "stopped":
        engine.stop("web", timeout_s=0)
    return "web"


@pytest.fixture
def created(engine: library.Engine, busybox: str) -> str:
    engine.create(ContainerConfig(image=busybox, name="new1", command=("sleep", "100")))
    return "new1"


def inside(tiffin: Runner, path: str) -> str:
    """What a file of `web` holds, by way of cp."""
    data = tiffin.binary("cp", f"web:{path}", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.next()
        assert member is not None
        file = tar.extractfile(member)
        assert file is not None
        return file.read().decode()


def tree(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


DATA = ["dirlink", "f", "link", "pipe", "root", "sub", "sub/g"]


def test_files_out(tiffin: Runner, web: str, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "old").write_text("old and longer")
    for target in ("new", "old", "dir/"):
        assert tiffin("cp", "web:/data/f", f"{tmp_path}/{target}") == (0, "", "")
    assert [(tmp_path / name).read_text() for name in ("new", "old", "dir/f")] == ["hi\n"] * 3
    tiffin.ok("cp", "web:data/link", f"{tmp_path}/link")
    assert os.readlink(tmp_path / "link") == "f"
    tiffin.ok("cp", "-L", "web:data/link", f"{tmp_path}/followed")
    assert (tmp_path / "followed").read_text() == "hi\n"
    tiffin.ok("cp", "web:/data/root/data/dirlink/g", f"{tmp_path}/g")
    assert (tmp_path / "g").read_text() == "deep\n"


def test_directories_out(tiffin: Runner, web: str, tmp_path: Path) -> None:
    tiffin.ok("cp", "web:/data", f"{tmp_path}/new")
    assert tree(tmp_path / "new") == DATA
    (tmp_path / "there").mkdir()
    tiffin.ok("cp", "web:/data", f"{tmp_path}/there")
    assert tree(tmp_path / "there") == ["data", *(f"data/{name}" for name in DATA)]
    (tmp_path / "flat").mkdir()
    tiffin.ok("cp", "web:/data/.", f"{tmp_path}/flat")
    assert tree(tmp_path / "flat") == DATA
    tiffin.ok("cp", "web:/data/dirlink/", f"{tmp_path}/followed")
    assert tree(tmp_path / "followed") == ["g"]


def test_files_in(tiffin: Runner, web: str, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_text("mine")
    os.chown(local, 1000, 1001)
    local.chmod(0o4751)
    os.utime(local, (1000, 1000))
    for target in ("/w/new", "/data/f", "/w/", "/data/root/w/root", "/data/link"):
        assert tiffin("cp", str(local), f"web:{target}") == (0, "", "")
    data = tiffin.binary("cp", "web:/w", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["w", "w/local", "w/new", "w/root"]
        member = tar.getmember("w/local")
        assert (member.mode, member.uid, member.gid, member.mtime) == (0o4751, 1000, 1001, 1000)
    assert inside(tiffin, "/data/f") == "mine"
    assert inside(tiffin, "/data/dirlink/g") == "deep\n"


def test_directories_in(tiffin: Runner, web: str, tmp_path: Path) -> None:
    (tmp_path / "src/sub").mkdir(parents=True)
    (tmp_path / "src/sub/x").write_text("1")
    tiffin.ok("cp", f"{tmp_path}/src", "web:/w/new")
    tiffin.ok("cp", f"{tmp_path}/src", "web:/w")
    tiffin.ok("cp", f"{tmp_path}/src/.", "web:/w")
    with tarfile.open(fileobj=io.BytesIO(tiffin.binary("cp", "web:/w/.", "-").stdout)) as tar:
        names = ["new", "new/sub", "new/sub/x", "src", "src/sub", "src/sub/x", "sub", "sub/x"]
        assert tar.getnames() == [".", *names]


def test_tar_streams(tiffin: Runner, web: str) -> None:
    tar = TarMaker().file("a/f", b"1", uid=7, gid=8).symlink("s", "/nowhere").done()
    assert tiffin("cp", "-", "web:/w", input=tar) == (0, "", "")
    import gzip

    assert tiffin("cp", "-", "web:/w", input=gzip.compress(TarMaker().file("z", b"2").done())) == (0, "", "")
    with tarfile.open(fileobj=io.BytesIO(tiffin.binary("cp", "web:/w", "-").stdout)) as read:
        assert read.getnames() == ["w", "w/a", "w/a/f", "w/s", "w/z"]
        assert (read.getmember("w/a/f").uid, read.getmember("w/a/f").gid) == (7, 8)


def test_owners(tiffin: Runner, engine: library.Engine, busybox: str, tmp_path: Path) -> None:
    engine.create(ContainerConfig(image=busybox, name="mine", user="alice", command=("sleep", "9")))
    (tmp_path / "f").write_text("")
    os.chown(tmp_path / "f", 5, 6)
    tiffin.ok("cp", f"{tmp_path}/f", "mine:/kept")
    tiffin.ok("cp", "-a", f"{tmp_path}/f", "mine:/hers")
    for name, owner in (("kept", (5, 6)), ("hers", (1000, 1000))):
        tiffin.ok("cp", f"mine:/{name}", f"{tmp_path}/{name}")
        assert (tmp_path / name).stat().st_uid == os.geteuid()
        tiffin.ok("cp", "-a", f"mine:/{name}", f"{tmp_path}/{name}")
        assert ((tmp_path / name).stat().st_uid, (tmp_path / name).stat().st_gid) == owner


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("cp web:/nosuch OUT/x", 1, "could not find the file /nosuch in container web"),
        ("cp web:/data/f OUT/no/x", 1, 'invalid output path: directory "OUT/no" does not exist'),
        ("cp web:/data/f OUT/new/", 1, "OUT/new/: no such directory"),
        ("cp web:/data/f/ OUT/new", 1, "web:/data/f/: not a directory"),
        ("cp web:/data OUT/file", 1, "cannot copy directory to OUT/file: it is a file"),
        ("cp OUT/nosuch web:/w", 1, "lstat OUT/nosuch: no such file or directory"),
        ("cp OUT/file web:/no/such/x", 1, "could not find the file /no/such in container web"),
        ("cp OUT/file web:/w/new/", 1, "web:/w/new/: no such directory"),
        ("cp OUT web:/data/f", 1, "cannot copy directory to web:/data/f: it is a file"),
        ("cp OUT/file web:/data/f/", 1, "web:/data/f/: not a directory"),
        ("cp /dev/zero web:/w", 1, "cannot copy /dev/zero: it is a device\ncopy what it gives with `tiffin exec`"),
        ("cp - web:/w/new", 1, 'destination "web:/w/new" must be a directory'),
        ("cp - web:/data/f", 1, 'destination "web:/data/f" must be a directory'),
        ("cp - web:/w", 1, "the archive is empty (0 bytes)"),
        ("cp web:/proc/self/environ OUT", 1, "could not find the file /proc/self/environ in container web"),
        ("cp nosuch:/x OUT", 1, "no such container: nosuch\n`tiffin ps -a` lists what is here"),
    ],
)
def test_mistakes(tiffin: Runner, web: str, tmp_path: Path, words: str, code: int, message: str) -> None:
    (tmp_path / "file").write_text("")
    arguments = [word.replace("OUT", str(tmp_path)) for word in words.split()]
    assert tiffin(*arguments) == (code, "", f"tiffin: {message.replace('OUT', str(tmp_path))}\n")


def test_into_one_that_never_ran(tiffin: Runner, created: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("before")
    tiffin.ok("cp", f"{tmp_path}/f", f"{created}:/etc/f")
    tiffin.ok("start", created)
    assert tiffin.ok("exec", created, "cat", "/etc/f") == "before"


def test_mounts_are_seen_and_written(tiffin: Runner, engine: library.Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "rw").mkdir()
    (tmp_path / "ro").mkdir()
    (tmp_path / "f").write_text("x")
    mounts = (
        Mount(type="bind", source=f"{tmp_path}/rw", target="/rw"),
        Mount(type="bind", source=f"{tmp_path}/ro", target="/ro", readonly=True),
        Mount(type="tmpfs", target="/fast"),
    )
    engine.create(ContainerConfig(image=busybox, name="web", mounts=mounts, read_only=True, command=("sleep", "100")))
    engine.start("web")
    refused = (1, "", "tiffin: cannot copy to web:{}: the file system is read-only\n")
    for running in (True, False):
        tiffin.ok("cp", f"{tmp_path}/f", f"web:/rw/{running}")
        assert (tmp_path / f"rw/{running}").read_text() == "x"
        for path in ("/ro/x", "/x"):
            assert tiffin("cp", f"{tmp_path}/f", f"web:{path}") == (*refused[:2], refused[2].format(path))
        if running:
            tiffin.ok("cp", f"{tmp_path}/f", "web:/fast/x")
            assert tiffin.ok("exec", "web", "cat", "/fast/x") == "x"
            assert "hostname" not in inside(tiffin, "/etc/hosts")
            tiffin.ok("stop", "-t", "0", "web")


def test_a_file_that_is_mounted_is_written_in_place(tiffin: Runner, engine: library.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "100")))
    engine.start("web")
    tar = TarMaker().file("hosts", b"127.0.0.1 me\n").done()
    assert tiffin("cp", "-", "web:/etc", input=tar) == (0, "", "")
    assert tiffin.ok("exec", "web", "cat", "/etc/hosts") == "127.0.0.1 me"


def test_devices(tiffin: Runner, engine: library.Engine, busybox: str, tmp_path: Path) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", "mknod /d c 1 5; sleep 100")))
    engine.start("web")
    while engine.exec_run("web", ["test", "-e", "/d"]).exit_code:
        time.sleep(0.01)
    message = "tiffin: cannot copy web:/d: it is a device\ncopy what it gives with `tiffin exec`\n"
    assert tiffin("cp", "web:/d", str(tmp_path)) == (1, "", message)
    with tarfile.open(fileobj=io.BytesIO(tiffin.binary("cp", "web:/d", "-").stdout)) as tar:
        assert tar.getmember("d").ischr()
    tiffin.ok("exec", "web", "sh", "-c", "mkdir /x; mknod /x/d c 1 5; echo 1 >/x/f")
    assert tiffin("cp", "web:/x", str(tmp_path)) == (0, "", "tiffin: warning: devices are not copied: 'x/d'\n")
    assert tree(tmp_path) == ["x", "x/f"]


def test_no_terminal_gets_a_tar(web: str, terminal: Callable[..., Terminal]) -> None:
    screen = terminal("cp", "web:/data", "-")
    screen.expect("refusing to write a tar archive to a terminal")
    assert screen.wait() == 1


@pytest.fixture
def victim() -> Iterator[Path]:
    """A directory of the host whose path exists inside as well."""
    path = Path("/var/tmp/tiffin-victim")
    path.mkdir()
    (path / "f").write_text("host")
    yield path
    subprocess.run(["rm", "-r", str(path)], check=True)


def test_a_container_that_swaps_directories_for_links(
    engine: library.Engine, busybox: str, victim: Path, tmp_path: Path
) -> None:
    """It points a name now at a directory, now at where the host has something; both sides stay their own."""
    script = f"""
    mkdir -p {victim} /real; echo inside >{victim}/f; echo inside >/real/f
    while :; do ln -s {victim} /l; mv -T /l /swap; rm /swap; mkdir /swap; echo inside >/swap/f; rm -r /swap
    ln -s ../../../../../../{victim} /swap; rm /swap; done
    """
    engine.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", script)))
    engine.start("web")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/f").write_text("outside")
    (tmp_path / "src/new").write_text("outside")
    end = time.monotonic() + 3
    outcomes = set()
    while time.monotonic() < end:
        for copy in (
            lambda: engine.copy_in("web", f"{tmp_path}/src/.", "/swap"),
            lambda: engine.copy_out("web", "/swap/f", f"{tmp_path}/got"),
        ):
            try:
                copy()
                outcomes.add("done")
            except library.TiffinError as error:
                outcomes.add(type(error).__name__)
        if (tmp_path / "got").exists():
            assert (tmp_path / "got").read_text() != "host"
    assert "done" in outcomes
    assert os.listdir(victim) == ["f"]
    assert (victim / "f").read_text() == "host"


def test_a_copy_holds_off_start_but_not_stop(engine: library.Engine, busybox: str, tiffin: Runner) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "100")))
    engine.start("web")
    read, write = os.pipe()
    with open(write, "wb") as out, open(read, "rb") as source:
        copying = threading.Thread(target=engine.copy_out, args=("web", "/bin", out))
        copying.start()
        assert source.read(512)
        with library.Engine(engine.root) as other:
            other.stop("web", timeout_s=0)
            starting = threading.Thread(target=other.start, args=("web",))
            starting.start()
            time.sleep(0.2)
            assert starting.is_alive()
            drained = threading.Thread(target=source.read)
            drained.start()
            copying.join()
            out.close()
            drained.join()
            starting.join()
            assert other.container("web").state.status == "running"


def test_nothing_is_mounted_on_the_host(tiffin: Runner, web: str, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    tiffin.ok("cp", "web:/data", f"{tmp_path}/data")
    assert Path("/proc/self/mountinfo").read_text() == before
