"""Labels of mounted files, tried with an attribute that every file system takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiffin.errors import HostError
from tiffin.storage import relabel as module
from tiffin.storage.relabel import relabel, shared_label

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
XATTR = "user.tiffin.label"


@pytest.fixture
def tree() -> Iterator[str]:
    root = tempfile.mkdtemp(dir="/var/tmp")  # /tmp may be a tmpfs, which has no such attributes
    os.makedirs(f"{root}/dir/deep")
    Path(f"{root}/dir/deep/file").touch()
    Path(f"{root}/file").touch()
    yield root
    shutil.rmtree(root)


def labels(root: str) -> dict[str, str]:
    found = {}
    for directory, _, files in os.walk(root):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            found[os.path.relpath(path, root)] = os.getxattr(path, XATTR).decode()
    return found


def test_a_private_and_a_shared_label(tree: str) -> None:
    relabel(tree, LABEL, shared=False, xattr=XATTR)
    assert labels(tree) == dict.fromkeys((".", "dir", "dir/deep", "dir/deep/file", "file"), LABEL)
    relabel(tree, LABEL, shared=True, xattr=XATTR)
    assert set(labels(tree).values()) == {"system_u:object_r:container_file_t:s0"} == {shared_label(LABEL)}


def test_links_lead_nowhere(tree: str, tmp_path: Path) -> None:
    outside = Path(f"{tree}.outside")
    outside.touch()
    try:
        os.symlink(outside, f"{tree}/link")
        with pytest.raises(HostError) as caught:  # user attributes cannot be on a symlink; SELinux's can
            relabel(tree, LABEL, shared=False, xattr=XATTR)
        assert caught.value.message == f"cannot relabel {tree}/link for SELinux: Operation not permitted"
        assert os.listxattr(outside) == []
    finally:
        outside.unlink()


def test_a_single_file(tree: str) -> None:
    relabel(f"{tree}/file", LABEL, shared=False, xattr=XATTR)
    assert os.getxattr(f"{tree}/file", XATTR).decode() == LABEL
    assert os.listxattr(f"{tree}/dir") == []


def test_a_directory_exchanged_for_a_link_leads_nowhere(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has the directory too acts between the look at a name and the way into it."""
    outside = tempfile.mkdtemp(dir="/var/tmp")
    Path(f"{outside}/victim").touch()
    label = module._label

    def exchange(path: str, value: bytes, xattr: str) -> None:
        label(path, value, xattr)
        if path.endswith("/dir"):
            os.rename(f"{tree}/dir", f"{tree}/away")
            os.symlink(outside, f"{tree}/dir")

    monkeypatch.setattr(module, "_label", exchange)
    try:
        relabel(tree, LABEL, shared=False, xattr=XATTR)
        assert (os.listxattr(outside), os.listxattr(f"{outside}/victim")) == ([], [])
    finally:
        shutil.rmtree(outside)


def test_a_directory_that_goes_meanwhile(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    label = module._label

    def remove(path: str, value: bytes, xattr: str) -> None:
        label(path, value, xattr)
        if path.endswith("/dir"):
            shutil.rmtree(f"{tree}/dir")

    monkeypatch.setattr(module, "_label", remove)
    relabel(tree, LABEL, shared=False, xattr=XATTR)
    assert labels(tree) == dict.fromkeys((".", "file"), LABEL)
