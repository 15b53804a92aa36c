"""The whole engine on its ways around what a kernel may lack, forced on one that lacks nothing."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiffin
from harness.images import busybox_tar
from launcher_fixtures import built
from tiffin.model.container import ContainerConfig, Mount
from tiffin.model.resources import Resources


@pytest.fixture(params=["overlay", "old system calls", "both"])
def restricted(
    request: pytest.FixtureRequest,
    engine_root: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tiffin.Engine]:
    """An engine without EROFS, with a launcher for which every system call younger than Linux 5.2 is missing, both."""
    if request.param != "overlay":
        monkeypatch.setenv("TIFFIN_LAUNCHER", str(built("enosys", tmp_path_factory)))
    storage = None if request.param == "old system calls" else "overlay"
    with tiffin.Engine(engine_root, storage=storage) as engine:
        assert storage is None or engine.info()["Driver"] == "overlay"
        engine.import_image(io.BytesIO(busybox_tar()), "busybox", changes=['CMD ["sh"]'])
        yield engine


def test_a_container_from_its_creation_to_its_end(restricted: tiffin.Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    script = """
        echo started >> /kept; cat /kept /in/file; (: > /proc/sys/kernel/domainname) 2>&1 | wc -l
        echo y > /out/made; (echo x > /in/file) 2>/dev/null || echo refused
        trap 'exit 3' TERM; while :; do sleep 0.1; done
    """
    mounts = (
        Mount(type="bind", source=str(tmp_path / "file"), target="/in/file", readonly=True),
        Mount(type="bind", source=str(tmp_path), target="/out"),
        Mount(type="tmpfs", target="/t", tmpfs_options=("size=1m",)),
    )
    container = restricted.create(
        ContainerConfig(
            image="busybox",
            name="web",
            command=("sh", "-c", script),
            mounts=mounts,
            resources=Resources(memory_bytes=64 << 20, pids_limit=50),
        )
    )
    for start in (1, 2):
        restricted.start("web")
        expected = [b"started\n"] * start + [b"from outside\n", b"1\n", b"refused\n"]
        deadline = time.monotonic() + 10
        while (said := [line.data for line in restricted.logs("web", tail=start + 3)]) != expected:
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        inside = restricted.exec_run(
            "web", ["sh", "-c", "id -un; pwd; df -k /t | tail -n1"], user="alice", workdir="/tmp"
        )
        words = inside.stdout.split()
        assert inside.exit_code == 0 and words[:2] == ["alice", "/tmp"] and words[3] == "1024"
        assert (tmp_path / "made").read_text() == "y\n"
        restricted.stop("web")
        assert restricted.container("web").state.exit_code == 3
    assert restricted.container_size("web")[0] > 0
    restricted.remove("web")
    assert restricted.containers(all=True) == [] and not os.path.exists(f"{restricted.root}/containers/{container.id}")
    restricted.remove_image("busybox")
    assert restricted.images() == [] and restricted.check(contents=True) == []


def test_temporary_containers(restricted: tiffin.Engine) -> None:
    for number in range(3):
        script = f"echo {number} > /file; cat /file; ls /proc/self/fd | wc -l >&2; exit {number}"
        result = restricted.run("busybox", ["sh", "-c", script])
        assert (result.exit_code, result.stdout, result.stderr) == (number, f"{number}\n", "4\n")
    script = "echo x > /file || echo y > /dev/shm/z && echo only there"
    assert restricted.run("busybox", ["sh", "-c", script], read_only=True).stdout == "only there\n"
    assert restricted.containers(all=True) == []


def test_a_terminal(restricted: tiffin.Engine) -> None:
    restricted.create(ContainerConfig(image="busybox", name="web", command=("sleep", "60"), init=True))
    restricted.start("web")
    with restricted.exec("web", ["sh", "-c", "stty size; tty"], tty=True, tty_size=(33, 99)) as session:
        output = b""
        try:
            while data := os.read(session.master, 1000):
                output += data
        except OSError:
            pass  # EIO: the other side has closed it
        assert (session.wait(), output) == (0, b"33 99\r\n/dev/pts/0\r\n")
    restricted.remove("web", force=True)


def test_the_host_as_an_image(restricted: tiffin.Engine) -> None:
    marker = f"/etc/tiffin-test-{os.getpid()}"
    assert restricted.run("host", ["sh", "-c", f"echo x > {marker} && cat {marker}"]).stdout == "x\n"
    assert not os.path.exists(marker)


def test_a_container_keeps_the_driver_that_it_was_made_with(engine_root: str, busybox: str) -> None:
    with tiffin.Engine(engine_root, storage="overlay") as first:
        first.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", "echo x >> /kept; cat /kept")))
        first.start("web")
        assert first.wait("web", timeout_s=10) == 0
    with tiffin.Engine(engine_root) as second:
        assert second.inspect_container("web")["Driver"] == "overlay"
        second.start("web")
        assert second.wait("web", timeout_s=10) == 0
        assert [line.data for line in second.logs("web")] == [b"x\n"] * 3


def test_an_image_is_prepared_again_for_another_driver(engine_root: str, busybox: str) -> None:
    """As after a change of the kernel: nothing is damaged, and its removal leaves nothing of either."""
    assert tiffin.run(busybox, ["echo", "first"], root=engine_root).stdout == "first\n"
    with tiffin.Engine(engine_root, storage="overlay") as engine:
        assert engine.check() == []
        assert engine.run(busybox, ["echo", "second"]).stdout == "second\n"
        assert engine.check(contents=True) == []
        engine.remove_image(busybox)
        assert engine.check() == [] and os.listdir(f"{engine_root}/images") == []
