"""containerd on `tiffin-runtime`, through its own client."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiffin as package
from integration.conftest import Runner

Ctr = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ctr(tiffin: Runner, busybox: str) -> Iterator[Ctr]:
    """`ctr` on a containerd of its own that has the image `busybox`; `ctr.runtime` is ours."""
    if shutil.which("containerd") is None or shutil.which("ctr") is None:
        pytest.skip("containerd is not installed")
    root = Path(tempfile.mkdtemp(prefix="tiffin-containerd-", dir="/var/tmp"))
    (root / "config.toml").write_text(
        f'version = 2\nroot = "{root}/root"\nstate = "{root}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{root}/sock"\n'
    )
    runtime = root / "tiffin-runtime"
    source = str(Path(package.__file__).parents[1])
    runtime.write_text(
        f"#!{sys.executable} -S\nimport sys; sys.path.insert(0, {source!r})\n"
        "from tiffin.oci.main import main\nsys.exit(main())\n"
    )
    runtime.chmod(0o755)
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(root / "config.toml")], stdout=log, stderr=log)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        words = tuple(str(runtime) if word == "RUNTIME" else word for word in words)
        command = ["ctr", "--address", f"{root}/sock", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    try:
        deadline = time.monotonic() + 20
        while call("version").returncode != 0:
            assert time.monotonic() < deadline, (root / "log").read_text()
            time.sleep(0.1)
        tiffin.ok("save", "-o", str(root / "image.tar"), busybox)
        done = call("images", "import", "--snapshotter", "native", "--base-name", "busybox", str(root / "image.tar"))
        assert done.returncode == 0, done.stderr
        yield call
    finally:
        for words in (("task", "kill", "-s", "KILL", "box"), ("task", "rm", "--force", "box"), ("c", "rm", "box")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                call(*words)
        daemon.terminate()
        daemon.wait(timeout=20)
        shutil.rmtree(root)


def test_a_container_of_containerds(ctr: Ctr) -> None:
    image = ctr("images", "ls", "-q").stdout.split()[0]
    run = ("run", "--snapshotter", "native", "--runc-binary", "RUNTIME")
    done = ctr(*run, "--rm", image, "box", "sh", "-c", "echo out; exit 5")
    assert (done.returncode, done.stdout) == (5, "out\n"), done.stderr
    done = ctr(*run, "--rm", image, "box", "nosuch")
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr
    done = ctr(*run, "-d", image, "box", "sh", "-c", "while :; do sleep 0.05; done")
    assert done.returncode == 0, done.stderr
    done = ctr("task", "exec", "--exec-id", "one", "box", "sh", "-c", "hostname >/dev/null; echo inside; exit 4")
    assert (done.returncode, done.stdout) == (4, "inside\n"), done.stderr
    assert ctr("task", "pause", "box").returncode == 0 and "PAUSED" in ctr("task", "ls").stdout
    assert ctr("task", "resume", "box").returncode == 0 and "RUNNING" in ctr("task", "ls").stdout
    assert len(ctr("task", "ps", "box").stdout.splitlines()) >= 2
