"""The tree as it is drawn, wide and narrow, and the verbs on what images rest on as users call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.archives import open_store
from harness.lineages import APP, BASE, MIDDLE, NEW_BASE, WEB, add
from tiffin.cli import tree_view
from tiffin.cli.main import main
from tiffin.images.lineage.tree import TreeNode
from tiffin.images.store import ImageStore
from tiffin.model.image import Image, ImageConfig
from tiffin.state.blobs import Base


def _image(name: str, digit: str) -> Image:
    return Image(
        id=f"sha256:{digit * 64}", created_ns=1, architecture="amd64", os="linux", size_bytes=1, layers=(),
        names=(name,) if name else (), config=ImageConfig(), raw_config=b"{}",
    )  # fmt: skip


def _node(name: str, digit: str, *children: TreeNode, moved: bool = False, base: Base | None = None) -> TreeNode:
    return TreeNode(
        image=_image(name, digit), layer_count=2, adds_bytes=1_500_000, shared_bytes=20_000, frees_bytes=4096,
        children=children, moved=moved, base=base,
    )  # fmt: skip


NODES = [
    _node(
        "debian:12",
        "1",
        _node("app:1", "2", _node("", "3")),
        TreeNode(image=None, layer_count=1, adds_bytes=7000, children=(_node("a-rather-long-name/web:1", "4"),)),
    ),
    TreeNode(
        image=None,
        layer_count=0,
        base=Base(name="gone:1", base_id="sha256:" + "6" * 64),
        children=(_node("rest:1", "5", moved=True),),
    ),
]
WIDE = """\
IMAGE                             IMAGE ID      ADDS   SHARED  FREES
debian:12                         111111111111  1.5MB  20kB    4.1kB
├── app:1                         222222222222  1.5MB  20kB    4.1kB
│   └── <none>                    333333333333  1.5MB  20kB    4.1kB
└── (1 layer)                                   7kB
    └── a-rather-long-name/web:1  444444444444  1.5MB  20kB    4.1kB
gone:1 (not here)                 666666666666
└── rest:1 (base moved)           555555555555  1.5MB  20kB    4.1kB
"""
FORTY = """\
IMAGE                       ADDS   FREES
debian:12                   1.5MB  4.1kB
├── app:1                   1.5MB  4.1kB
│   └── <none>              1.5MB  4.1kB
└── (1 layer)               7kB
    └── a-rather-long-nam…  1.5MB  4.1kB
gone:1 (not here)
└── rest:1 (base moved)     1.5MB  4.1kB
"""


@pytest.fixture(autouse=True)
def _locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def store(root: str) -> ImageStore:
    return open_store(root)


def _shown(capsys: pytest.CaptureFixture[str], format: str | None = None, *, full: bool = False) -> str:
    tree_view.show(NODES, format, full=full)
    return capsys.readouterr().out


def _call(capsys: pytest.CaptureFixture[str], root: str, *words: str) -> tuple[int, str, str]:
    code = main(["--root", root, *words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_wide(capsys: pytest.CaptureFixture[str]) -> None:
    assert _shown(capsys) == WIDE


@pytest.mark.parametrize("width", range(20, 90))
def test_no_line_is_wider_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = _shown(capsys).splitlines()
    assert max(map(len, lines)) <= width and len(lines) == len(WIDE.splitlines())
    if width >= 69:
        assert lines == WIDE.splitlines()


def test_narrow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert _shown(capsys) == FORTY


@pytest.mark.parametrize(
    ("variables", "drawn"),
    [
        ({"LC_ALL": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),  # Python's own doing
        ({"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": ""}, False),
        ({"LC_ALL": "", "LC_CTYPE": "UTF-8", "LANG": ""}, True),
        ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "de_DE.UTF-8"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "de_DE.utf8@euro"}, True),
        ({"LC_ALL": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_lines_are_drawn_where_the_locale_has_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], drawn: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = _shown(capsys)
    assert out.isascii() is not drawn
    assert ("├── " in out) is drawn and ("|-- " in out) is not drawn


def test_ascii_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("COLUMNS", "30")
    out = _shown(capsys)
    assert out.isascii() and "`-- a-rat" in out and ".." in out
    assert max(map(len, out.splitlines())) <= 30


def test_rows_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in _shown(capsys, "json", full=True).splitlines()]
    assert [row["ID"][7] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["Parent"][7:8] for row in rows] == ["", "1", "2", "1", ""]
    assert rows[1] == {
        "Adds": "1.5MB", "AddsBytes": 1_500_000, "Base": "", "BaseDigest": "", "BaseID": "", "BaseMoved": False,
        "Depth": 1, "Frees": "4.1kB", "FreesBytes": 4096, "ID": f"sha256:{'2' * 64}", "Layers": 2, "Names": "app:1",
        "Parent": f"sha256:{'1' * 64}", "Shared": "20kB", "SharedBytes": 20_000, "Tree": "├── app:1",
    }  # fmt: skip
    assert _shown(capsys, "{{.Names}} {{.Depth}} {{.BaseMoved}}") == (
        "debian:12 0 false\napp:1 1 false\n 2 false\na-rather-long-name/web:1 2 false\nrest:1 1 true\n"
    )


def test_tree_and_images(capsys: pytest.CaptureFixture[str], store: ImageStore, root: str) -> None:
    assert _call(capsys, root, "image", "tree") == (0, "", "")
    assert _call(capsys, root, "images", "--tree") == (0, "", "")
    add(store, "base:1", BASE)
    add(store, "app:1", BASE, APP)
    add(store, "web:1", BASE, WEB)
    _, whole, _ = _call(capsys, root, "image", "tree")
    assert [line.split()[-5] for line in whole.splitlines()[1:]] == ["base:1", "app:1", "web:1"]
    assert _call(capsys, root, "images", "--tree") == (0, whole, "")
    assert _call(capsys, root, "images", "--all", "--tree") == (0, whole, "")
    part = _call(capsys, root, "image", "tree", "web:1")
    assert "app:1" not in part[1] and "base:1" in part[1]
    assert _call(capsys, root, "images", "--tree", "web") == part
    assert _call(capsys, root, "images", "--tree", "nothing") == (0, "", "")
    assert _call(capsys, root, "image", "tree", "gone") == (
        1, "", "tiffin: no such image: gone\n`tiffin images` lists what is here\n",
    )  # fmt: skip
    for option in ("--quiet", "--digests", "--format=json"):
        name = option.partition("=")[0]
        assert _call(capsys, root, "images", "--tree", option) == (
            1, "", f"tiffin: {name} does not go with --tree\n`tiffin image tree --format` has rows for scripts\n",
        )  # fmt: skip


def test_outdated(capsys: pytest.CaptureFixture[str], store: ImageStore, root: str) -> None:
    base = add(store, "debian:12", BASE)
    app = add(store, "app:1", BASE, APP)
    heading = "IMAGE     BASE      WAS       NOW       WHERE     STATUS\n"
    assert _call(capsys, root, "image", "outdated", "--exit-code") == (0, heading, "")
    new = add(store, "debian:12", NEW_BASE)
    was, now = base.id[7:19], new.id[7:19]
    expected = (
        "IMAGE     BASE        WAS            NOW            WHERE     STATUS\n"
        f"app:1     debian:12   {was}   {now}   here      outdated\n"
    )
    assert _call(capsys, root, "image", "outdated") == (0, expected, "")
    assert _call(capsys, root, "image", "outdated", "--exit-code") == (1, expected, "")
    assert _call(capsys, root, "image", "outdated", "-q", "--exit-code") == (1, f"{app.id[7:19]}\n", "")
    assert _call(capsys, root, "image", "outdated", "--exit-code", "debian:12")[0] == 0
    everything = _call(capsys, root, "image", "outdated", "--all")[1]
    assert sorted(line.split()[-1] for line in everything.splitlines()[1:]) == ["base", "base", "outdated"]
    (row,) = _call(capsys, root, "image", "outdated", "--format", "json", "--no-trunc")[1].splitlines()
    assert json.loads(row) == {
        "Base": "debian:12", "ID": app.id, "Image": "app:1", "Now": new.id, "Reason": "", "Status": "outdated",
        "Via": "", "Was": base.id, "Where": "here",
    }  # fmt: skip


def test_rebase(capsys: pytest.CaptureFixture[str], store: ImageStore, root: str) -> None:
    old = add(store, "debian:12", BASE)
    add(store, "app:1", BASE, APP)
    assert _call(capsys, root, "image", "rebase", "app:1") == (
        1, "", "tiffin: the new base is missing\nname it with --onto\n",
    )  # fmt: skip
    new = add(store, "debian:12", NEW_BASE)
    assert _call(capsys, root, "image", "rebase", "app:1", "--onto", "debian:12", "--dry-run") == (
        0, f"app:1 with 1 layer of its own can rest on debian:12 instead of {old.id[7:19]}, named app:1\n", "",
    )  # fmt: skip
    code, out, err = _call(capsys, root, "image", "rebase", "app:1", "--onto", "debian:12")
    assert (code, out) == (0, f"{store.get('app:1').id}\n")
    assert err == f"app:1 rests on debian:12 ({new.id[7:19]}) now, before on {old.id[7:19]}\n"
    again = _call(capsys, root, "image", "rebase", "app:1", "--onto", "debian:12")
    assert again == (0, out, "app:1 rests on debian:12 already\n")
    add(store, "mine:1", BASE, NEW_BASE)
    add(store, "other:1", MIDDLE)
    code, out, err = _call(capsys, root, "image", "rebase", "mine:1", "--base", old.id, "--onto", "other:1")
    assert (code, out) == (1, "")
    assert err == (
        "tiffin: cannot rebase mine:1 onto other:1: 3 files that its own layers changed changed in the base as well:\n"
        "  /bin/sh\n  /etc/conf\n  /etc/os\nbuild it anew, or take its own versions with --force\n"
    )
    code, _, err = _call(capsys, root, "image", "rebase", "mine:1", "--base", old.id, "--onto", "other:1", "--force")
    assert code == 0 and err.endswith(
        "these are as mine:1 has them, though the base changed them:\n  /bin/sh\n  /etc/conf\n  /etc/os\n"
    )


def test_flatten_and_split(capsys: pytest.CaptureFixture[str], store: ImageStore, root: str) -> None:
    add(store, "app:1", BASE, APP)
    code, out, err = _call(capsys, root, "image", "flatten", "app:1", "-t", "flat:1")
    assert (code, out, err) == (0, f"{store.get('flat:1').id}\n", "")
    assert _call(capsys, root, "image", "split", "app:1")[2].startswith("tiffin: cannot split app:1: no packages")
    assert _call(capsys, root, "image", "split", "app:1", "--layers", "2") == (
        1, "", "tiffin: an image can be split into 3 to 127 layers, not 2\n",
    )  # fmt: skip


def test_rollback(capsys: pytest.CaptureFixture[str], store: ImageStore, root: str) -> None:
    first, second = add(store, "app:1", BASE), add(store, "app:1", APP)
    code, out, _ = _call(capsys, root, "image", "rollback", "--list", "app:1", "--format", "{{.ID}} {{.Status}}")
    assert (code, out) == (0, f"{second.id[7:19]} current\n{first.id[7:19]} here\n")
    assert _call(capsys, root, "image", "rollback", "app:1") == (0, f"{first.id}\n", "")
    assert _call(capsys, root, "image", "rollback", "app:1", "--to", second.id[7:12]) == (0, f"{second.id}\n", "")
    table = _call(capsys, root, "image", "rollback", "-l", "app:1")[1].splitlines()
    assert table[0].split() == ["MOVED", "IMAGE", "ID", "CREATED", "STATUS", "DIGEST"] and len(table) == 5
    for words, sentence in (
        (("--list", "--to", "1"), "--to and --list exclude each other: a list changes nothing"),
        (("--format", "json"), "--format goes with --list"),
        (("--no-trunc",), "--no-trunc goes with --list"),
    ):
        assert _call(capsys, root, "image", "rollback", *words, "app:1") == (1, "", f"tiffin: {sentence}\n")
