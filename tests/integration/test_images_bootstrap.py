"""Debian from its package archive, and what is left when that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.archives import open_store
from harness.leaks import wait_gone
from tiffin.errors import HostError, UsageError
from tiffin.images.bootstrap import bootstrap
from tiffin.images.store import ImageStore

TIMEOUT_S = 300

BOOTSTRAP = """
import sys
from harness.archives import open_store
from tiffin.images.bootstrap import bootstrap
bootstrap(open_store(sys.argv[1]), "debian:bookworm", progress=lambda line: print(line, flush=True))
"""


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    tmp_path.chmod(0o755)
    return open_store(tmp_path / "store")


def _files(store: ImageStore) -> list[str]:
    return os.listdir(store.paths.temporary) if os.path.exists(store.paths.temporary) else []


@pytest.mark.slow
def test_bootstrap(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    lines: list[str] = []
    image = bootstrap(store, "debian:bookworm", include=["hello"], progress=lines.append)
    assert image.names == ("debian:bookworm",)
    config = json.loads(image.raw_config)
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["config"] == {
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Cmd": ["bash"],
    }
    assert config["history"] == [
        {"created": "2023-11-14T22:13:20Z", "created_by": "mmdebstrap --variant=minbase --include=hello bookworm"}
    ]

    def text(path: str) -> str:
        return (store.driver.image_file(image.id, path) or b"").decode()

    assert text("/etc/debian_version").startswith("12")
    assert "Package: hello" in text("/var/lib/dpkg/status") or store.driver.image_file(image.id, "/usr/bin/hello")
    assert text("/etc/hostname") == text("/etc/resolv.conf") == "", "nothing of this host is in the image"
    assert store.driver.image_file(image.id, "/etc/apt/apt.conf.d/00host-settings") is None
    assert "I: running apt-get update..." in lines
    assert _files(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(store: ImageStore, how: signal.Signals) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", BOOTSTRAP, store.paths.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout
    for line in running.stdout:
        if line.startswith(b"I: installing essential packages"):  # proc and sys are mounted now, dpkg is at work
            break
    time.sleep(1)
    running.send_signal(how)
    err = running.communicate(timeout=TIMEOUT_S)[1]
    assert running.returncode == -how or b"KeyboardInterrupt" in err, err.decode()
    assert wait_gone(store.paths.root) == []
    assert store.list() == []
    if how == signal.SIGINT:
        assert _files(store) == []
    else:  # what it had done so far is gone with the look for images
        assert _files(store) == []


def test_suite_that_is_not_there(store: ImageStore) -> None:
    with pytest.raises(HostError) as caught:
        bootstrap(store, "debian:no-such-suite", mirror="http://127.0.0.1:9/debian")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("mmdebstrap could not make no-such-suite (exit code ")
    assert lines[0].endswith("); its last words:")
    assert any(line.startswith("E: ") for line in lines[1:])
    assert lines[-1] == " (see whether the suite exists and the package archive can be reached)"
    assert store.list() == []
    assert _files(store) == []


def test_refused(store: ImageStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for arguments, message in (
        ({"name": "Debian"}, "invalid reference format: repository name 'Debian' must be lowercase: 'Debian'"),
        ({"name": "host"}, "the image name 'host' is reserved for the host's own system (choose another name)"),
        (
            {"name": "debian", "variant": "huge"},
            "there is no bootstrap variant 'huge' (use one of extract, custom, essential, apt, required, minbase, "
            "buildd, important, debootstrap, standard)",
        ),
        ({"name": "debian", "include": ["--hook"]}, "invalid package name '--hook'"),
        ({"name": "debian", "mirror": "-"}, "invalid mirror '-' (give the URI of a package archive)"),
    ):
        with pytest.raises(UsageError) as caught:
            bootstrap(store, **arguments)  # type: ignore[arg-type]
        assert str(caught.value) == message
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as missing:
        bootstrap(store, "debian:bookworm")
    assert str(missing.value) == ("bootstrap needs mmdebstrap, which is not installed (apt-get install mmdebstrap)")
    assert missing.value.exit_code == 1
