"""Engines, images and terminals for tests that run real containers. Each test has an engine root of its own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tiffin
from harness import docker_peer
from harness.docker_peer import DockerPeer
from harness.images import busybox_tar, debian_tar
from harness.leaks import wait_gone
from harness.terminal import Terminal
from launcher_fixtures import VARIANTS, Box, MakeBox, boxes
from tiffin.errors import TiffinError

TIMEOUT_S = 60.0


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Runner:
    """Calls the command line on one root: `tiffin("run", "--rm", "busybox", "true")`."""

    def __init__(self, root: str) -> None:
        self.root = root
        script = os.path.join(os.path.dirname(sys.executable), "tiffin")
        # The installed command where there is one: it is what users start.
        self.command = [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "tiffin"]

    def argv(self, *arguments: str) -> list[str]:
        return [*self.command, "--root", self.root, *arguments]

    def __call__(
        self,
        *arguments: str,
        input: str | bytes | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Result:
        done = self.binary(*arguments, input=input, env=env, cwd=cwd, timeout_s=timeout_s)
        return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def binary(
        self,
        *arguments: str,
        input: str | bytes | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """The same, with output as bytes."""
        data = input.encode() if isinstance(input, str) else input
        return subprocess.run(
            self.argv(*arguments),
            input=data if data is not None else b"",
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout_s,
            check=False,
        )

    def ok(self, *arguments: str, input: str | bytes | None = None, timeout_s: float = TIMEOUT_S) -> str:
        """The output of a command that must succeed, without the last line end."""
        result = self(*arguments, input=input, timeout_s=timeout_s)
        assert result.code == 0, f"tiffin {' '.join(arguments)}: exit code {result.code}\n{result.err}{result.out}"
        return result.out.removesuffix("\n")

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """The command in the background; the caller waits for it."""
        return subprocess.Popen(self.argv(*arguments), **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("containers need root")


@pytest.fixture
def engine_root(request: pytest.FixtureRequest) -> Iterator[str]:
    """A directory for one engine. At the end everything in it is removed the way a user would, and must be gone."""
    root = tempfile.mkdtemp(prefix="tiffin-", dir="/var/tmp")
    os.chmod(root, 0o755)
    yield root
    problems: list[str] = []
    if os.path.exists(f"{root}/state.db") and request.node.get_closest_marker("damages_store") is None:
        problems += _remove_containers(root)
    problems += wait_gone(root)
    if not problems:
        # A `tiffin cleanup` that has done its work may be closing the database at this moment.
        shutil.rmtree(root, ignore_errors=True)
        if os.path.exists(root):
            problems += wait_gone(root)
            shutil.rmtree(root)
    assert not problems, f"left behind by the test in {root}:\n" + "\n".join(problems)


def _remove_containers(root: str) -> list[str]:
    """Remove all containers; what is wrong with the store before that, and what is still there afterwards."""
    problems = []
    with tiffin.Engine(root) as engine:
        problems += [f"check: {problem}" for problem in engine.check()]
        for info in engine.containers(all=True):
            try:
                engine.remove(info.container.id, force=True)
            except TiffinError as error:
                problems.append(f"cannot remove the container {info.container.name}: {error}")
    for parent in (f"{root}/containers", f"{root}/run/containers", f"{root}/tmp"):
        if os.path.isdir(parent):
            problems += [f"{parent}/{name}" for name in sorted(os.listdir(parent))]
    return problems


@pytest.fixture
def engine(engine_root: str) -> Iterator[tiffin.Engine]:
    """An engine on `engine_root`."""
    with tiffin.Engine(engine_root) as engine:
        yield engine


@pytest.fixture
def tiffin_cli(engine_root: str) -> Runner:
    """The command line on `engine_root`."""
    return Runner(engine_root)


@pytest.fixture(name="tiffin")
def _tiffin(tiffin_cli: Runner) -> Runner:
    return tiffin_cli


@pytest.fixture(scope="session")
def busybox_archive() -> bytes:
    """The tar of the `busybox` image."""
    return busybox_tar()


@pytest.fixture(scope="session")
def debian_archive() -> Path:
    """The tar of the `debian` image."""
    return debian_tar()


@pytest.fixture
def busybox(engine: tiffin.Engine, busybox_archive: bytes) -> str:
    """The name of a small image in `engine`: busybox, root and alice (1000), CMD sh."""
    engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
    return "busybox"


@pytest.fixture
def debian(engine: tiffin.Engine, debian_archive: Path) -> str:
    """The name of a Debian image in `engine`."""
    with debian_archive.open("rb") as file:
        engine.import_image(file, "debian:bookworm", changes=['CMD ["bash"]'])
    return "debian:bookworm"


@pytest.fixture
def terminal(tiffin_cli: Runner) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals: `with terminal("run", "-it", "busybox") as screen: screen.expect("# ")`."""
    opened: list[Terminal] = []

    def open_terminal(*arguments: str, size: tuple[int, int] = (24, 80), timeout_s: float = 20.0) -> Terminal:
        opened.append(Terminal(tiffin_cli.argv(*arguments), size=size, timeout_s=timeout_s))
        return opened[-1]

    yield open_terminal
    for screen in opened:
        screen.close()


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerPeer]:
    """A private Docker to compare with, see `harness.docker_peer`."""
    if not docker_peer.installed():
        pytest.skip("there is no Docker here to compare with")
    with docker_peer.running() as docker:
        yield docker


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def make_box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeBox]:
    """Containers of the launcher alone: with the ordinary build, with one for old kernels, and with a sanitized one."""
    with boxes(request.param, tmp_path_factory, tmp_path_factory.mktemp(request.param)) as make:
        yield make


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    return make_box()
