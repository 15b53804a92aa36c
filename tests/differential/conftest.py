"""Docker and Tiffin side by side, each with the same images."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from differential.pair import Said, Side
from harness.docker_peer import DockerPeer
from harness.images import busybox_tar
from harness.leaks import wait_gone

APP = (
    'CMD ["one", "two"]',
    'ENTRYPOINT ["echo", "entry"]',
    "ENV GREETING=hello PLACE=world",
    "WORKDIR /srv/app",
    "USER alice",
    "LABEL team=a tier=front",
    "EXPOSE 80/tcp",
    "VOLUME /data",
)


class Pair(NamedTuple):
    docker: Side
    tiffin: Side

    def run(self, line: str) -> tuple[Said, Said]:
        """One line on both, at the same time."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.submit(self.docker.run, line), pool.submit(self.tiffin.run, line)
            return first.result(), second.result()


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """The engines; skipped where Docker is not installed, which in CI is a failure."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    if shutil.which("dockerd") is None:
        pytest.skip("docker.io is not installed")
    work = Path(tempfile.mkdtemp(prefix="tiffin-differential-", dir="/var/tmp"))
    work.chmod(0o755)
    try:
        with DockerPeer(work / "dockerd") as peer:
            root = str(work / "store")
            script = os.path.join(os.path.dirname(sys.executable), "tiffin")
            command = [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "tiffin"]
            sides = Pair(
                Side("docker", work / "a", peer.command),
                Side("tiffin", work / "b", [*command, "--root", root]),
            )
            try:
                _import(sides)
                yield sides
            finally:
                _clean(sides.tiffin)
                left = wait_gone(root)
            assert left == []
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _import(pair: Pair) -> None:
    changes = " ".join(f"--change '{change}'" for change in APP)
    for side in pair:
        (side.files / "busybox.tar").write_bytes(busybox_tar())
    for line in (
        "E import --change 'CMD [\"sh\"]' $T/busybox.tar busybox",
        f"E import {changes} $T/busybox.tar app",
    ):
        for said in pair.run(line):
            assert said.code == 0, said


def _clean(side: Side) -> None:
    side.run("E ps -aq | xargs -r E rm -fv")
