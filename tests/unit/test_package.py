"""The public face: what `import tiffin` promises, from where, and which version it is."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tiffin
from tiffin import errors
from tiffin.launcher_path import launcher_path

PROJECT = Path(__file__).parents[2]

PUBLIC = """
    AmbiguousError Attachment CommandNotExecutable CommandNotFound ConflictError Container ContainerConfig
    ContainerInfo ContainerState Device Engine Event ExecSession FileChange Health HealthCheck HealthResult
    HistoryEntry HostError Image ImageConfig InvalidImageError
    LaunchError LimitWrite LogConfig LogLine Mount NotFoundError NotSupportedError OptionError Pod PodInfo
    RegistryDenied RegistryError Resources RestartPolicy Result Stats StoreError
    TiffinError Ulimit UsageError Volume VolumeInfo __version__ run
"""


def test_exports_are_exactly_these() -> None:
    assert sorted(tiffin.__all__) == sorted(PUBLIC.split())
    assert dir(tiffin) == sorted(PUBLIC.split())


@pytest.mark.parametrize("name", sorted(PUBLIC.split()))
def test_every_export_is_there(name: str) -> None:
    value = getattr(importlib.import_module("tiffin"), name)
    assert value is getattr(tiffin, name), "a second look must find the same object"


def test_every_error_is_exported() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TiffinError)
    }
    assert raised <= set(tiffin.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        tiffin.Docker
    assert str(caught.value) == "module 'tiffin' has no attribute 'Docker'"


def test_one_version_everywhere() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tiffin", "--version"], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert said == f"Tiffin version {tiffin.__version__}\n"
    assert metadata.version("tiffin") == tiffin.__version__


def test_import_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import tiffin; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20).stdout
    assert loaded.split() == ["__future__", "tiffin", "tiffin._version"]


def test_launcher_is_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIFFIN_LAUNCHER", raising=False)
    path = launcher_path()
    assert os.path.dirname(path) == os.path.dirname(os.path.abspath(tiffin.__file__))
    assert os.access(path, os.X_OK)


def test_launcher_can_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_LAUNCHER", "/opt/launchers/sanitized")
    assert launcher_path() == "/opt/launchers/sanitized"


def test_no_file_is_too_long() -> None:
    sources = [*PROJECT.glob("src/**/*.py"), *PROJECT.glob("src/**/*.[ch]")]
    tests = list(PROJECT.glob("tests/**/*.py"))  # a table of cases may be longer than code to be understood
    for paths, limit in ((sources, 500), (tests, 700)):
        assert {str(path): lines for path in paths if (lines := _lines(path)) > limit} == {}


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
