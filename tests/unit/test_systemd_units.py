"""The units that `generate systemd` prints: read as strictly as systemd does, and by systemd-analyze where it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tiffin.errors import ConflictError, NotSupportedError, UsageError
from tiffin.model.container import Container, ContainerConfig, RestartPolicy
from tiffin.paths import Paths
from tiffin.system.units import boot_unit, container_unit, quoted

PATHS = Paths(root="/var/lib/tif fin", run="/run/tiffin")
KNOWN = {
    "Unit": {"Description", "Wants", "After", "RequiresMountsFor"},
    "Service": {
        "Type", "NotifyAccess", "Restart", "RemainAfterExit", "TimeoutStartSec", "TimeoutStopSec", "ExecStart",
        "ExecStop",
    },
    "Install": {"WantedBy"},
}  # fmt: skip


def container(**config: object) -> Container:
    return Container(
        id="c" * 64, name="web", image_id="i", image_name="i", driver="d", created_ns=1,
        config=ContainerConfig(image="i", **config),  # type: ignore[arg-type]
        argv=("a",), env=(), workdir="/", user="", hostname="h", stop_signal=15, stop_timeout_s=10,
    )  # fmt: skip


def read(text: str) -> dict[str, dict[str, str]]:
    """systemd.syntax(7), the part that is used: sections, each key once, no continuation."""
    sections: dict[str, dict[str, str]] = {}
    section = ""
    for line in text.splitlines():
        if not line:
            continue
        if line.startswith("["):
            assert line.endswith("]")
            section = line[1:-1]
            sections[section] = {}
            continue
        key, equals, value = line.partition("=")
        assert equals and key in KNOWN[section] and key not in sections[section] and not value.endswith("\\"), line
        sections[section][key] = value
    return sections


def test_boot() -> None:
    name, text = boot_unit(PATHS)
    unit = read(text)
    assert name == "tiffin-boot.service"
    assert unit["Service"]["Type"] == "oneshot" and unit["Service"]["RemainAfterExit"] == "yes"
    roots = '--root "/var/lib/tif fin" --run-root /run/tiffin'
    assert unit["Service"]["ExecStart"].endswith(f" {roots} start --boot")
    assert unit["Service"]["ExecStop"].endswith(f" {roots} stop --all --boot")
    assert unit["Unit"]["RequiresMountsFor"] == '"/var/lib/tif fin" /run/tiffin'
    assert unit["Install"] == {"WantedBy": "multi-user.target"}


def test_container() -> None:
    name, text = container_unit(PATHS, container(), "on-failure", None, False)
    unit = read(text)["Service"]
    assert name == "container-web.service"
    assert (unit["Type"], unit["NotifyAccess"], unit["Restart"]) == ("notify", "all", "on-failure")
    assert unit["TimeoutStopSec"] == "70"
    assert unit["ExecStart"].endswith(f" start {'c' * 64}")
    assert unit["ExecStop"].endswith(f" stop --timeout 10 {'c' * 64}")
    assert read(container_unit(PATHS, container(), "no", -1, False)[1])["Service"]["TimeoutStopSec"] == "infinity"


def test_refusals() -> None:
    with pytest.raises(ConflictError) as conflict:
        container_unit(PATHS, container(restart=RestartPolicy(name="always")), "no", None, False)
    assert conflict.value.message == "container 'web' has the restart policy 'always' of its own"
    assert conflict.value.hint == "leave restarts to systemd: `tiffin update --restart no web`"
    with pytest.raises(ConflictError, match="is removed when it ends"):
        container_unit(PATHS, container(auto_remove=True), "no", None, False)
    with pytest.raises(UsageError) as caught:
        container_unit(PATHS, container(), "unless-stopped", None, False)
    assert caught.value.message == "invalid restart policy 'unless-stopped'"
    with pytest.raises(UsageError, match="invalid time -2"):
        container_unit(PATHS, container(), "no", -2, False)
    with pytest.raises(NotSupportedError, match="--new is not supported yet"):
        container_unit(PATHS, container(), "no", None, True)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("plain/word-1", "plain/word-1"), ("", '""'), ("a b", '"a b"'), ("100%", '"100%%"'), ("$HOME", '"$$HOME"'),
        ('a"b\\', '"a\\"b\\\\"'), ("a\nb", '"a\\nb"'), (";", '";"'),
    ],
)  # fmt: skip
def test_quoting(word: str, shown: str) -> None:
    assert quoted(word) == shown


@pytest.mark.parametrize("unit", [boot_unit(PATHS), container_unit(PATHS, container(), "always", 3, False)])
def test_systemd_accepts_them(tmp_path: Path, unit: tuple[str, str]) -> None:
    """Where there is a systemd to ask; else what it would say of a line is left to the tests above."""
    read(unit[1])
    if shutil.which("systemd-analyze") is None:
        return
    path = tmp_path / unit[0]
    path.write_text(unit[1])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if unit[0] in line]
    assert complaints == [] and done.returncode == 0, done.stderr
