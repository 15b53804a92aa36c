"""What differs between two images."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

import tiffin
from harness.archives import open_store, symlink, tar_of
from harness.packages import Files
from harness.tars import TarMaker
from tiffin.cli.main import main
from tiffin.images.contents.compare import FileDifference, ImageDifference, PackageDifference, compare
from tiffin.images.importer import import_image


def difference(root: Path, old: bytes, new: bytes, path: str | None = None) -> ImageDifference:
    store = open_store(root / "store")
    images = [import_image(store, io.BytesIO(tar), f"image:{number}") for number, tar in enumerate((old, new))]
    return compare(store, *images, path=path)


def status(*packages: tuple[str, str]) -> bytes:
    return b"".join(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n\n".encode() for name, version in packages
    )


OLD: Files = {
    "etc/motd": b"hi\n",
    "etc/same": b"same",
    "usr/bin/bash": b"1" * 1000,
    "usr/bin/gone": b"2" * 500,
    "usr/bin/kept": b"3",
    "var/lib/dpkg/info/bash.list": b"/usr\n/usr/bin\n/usr/bin/bash\n",
    "var/lib/dpkg/info/gone.list": b"/usr\n/usr/bin/gone\n",
    "var/lib/dpkg/info/kept.list": b"/usr/bin/kept\n",
    "var/lib/dpkg/status": status(("bash", "5.1"), ("gone", "1"), ("kept", "1"), ("same", "1")),
}
NEW: Files = {
    "etc/issue": b"hello\n",
    "etc/motd": b"hello\n",
    "etc/same": b"same",
    "usr/bin/bash": b"4" * 3000,
    "usr/bin/kept": b"5",
    "usr/bin/new": b"6" * 20,
    "var/lib/dpkg/info/bash.list": b"/usr\n/usr/bin\n/usr/bin/bash\n",
    "var/lib/dpkg/info/kept.list": b"/usr/bin/kept\n",
    "var/lib/dpkg/info/new.list": b"/usr/bin/new\n",
    "var/lib/dpkg/status": status(("bash", "5.2"), ("kept", "1"), ("new", "2"), ("same", "1")),
}


def package(name: str, change: str, **more: object) -> PackageDifference:
    return PackageDifference(kind="deb", name=name, architecture="amd64", change=change, **more)  # type: ignore[arg-type]


def test_packages(tmp_path: Path) -> None:
    found = difference(tmp_path, tar_of(OLD), tar_of(NEW))
    assert bool(found) is True
    assert found.packages == (
        package("bash", "C", old_version="5.1", new_version="5.2", old_size=1028, new_size=3028, files=1),
        package("gone", "D", old_version="1", old_size=519, files=2),
        package("kept", "C", old_version="1", new_version="1", old_size=15, new_size=15, files=1),
        package("new", "A", new_version="2", new_size=33, files=2),
    )
    assert found.same_packages == 1
    assert [(file.change, file.path, file.package) for file in found.files] == [
        ("A", "/etc/issue", ""),
        ("C", "/etc/motd", ""),
        ("C", "/usr/bin/bash", "bash"),
        ("D", "/usr/bin/gone", "gone"),
        ("C", "/usr/bin/kept", "kept"),
        ("A", "/usr/bin/new", "new"),
        ("D", "/var/lib/dpkg/info/gone.list", "gone"),
        ("A", "/var/lib/dpkg/info/new.list", "new"),
        ("C", "/var/lib/dpkg/status", ""),
    ]


@pytest.mark.parametrize(
    ("path", "files", "packages"),
    [
        ("/etc", ["/etc/issue", "/etc/motd"], []),
        ("usr/bin/b", [], []),
        ("/usr/bin/bash", ["/usr/bin/bash"], ["bash"]),
        ("/usr/", ["/usr/bin/bash", "/usr/bin/gone", "/usr/bin/kept", "/usr/bin/new"], ["bash", "gone", "kept", "new"]),
        ("/none", [], []),
    ],
)
def test_below_a_path(tmp_path: Path, path: str, files: list[str], packages: list[str]) -> None:
    found = difference(tmp_path, tar_of(OLD), tar_of(NEW), path)
    assert [file.path for file in found.files] == files
    assert [one.name for one in found.packages] == packages
    assert bool(found) is bool(files)


def test_what_of_a_file_differs(tmp_path: Path) -> None:
    old = (
        TarMaker()
        .directory("d", mode=0o755, mtime=1)
        .file("content", b"a")
        .file("mode", b"x", mode=0o644)
        .file("owner", b"x", uid=1, gid=2)
        .file("time", b"x", mtime=1)
        .file("type", b"x")
        .file("attributes", b"x", xattrs={"user.a": "1"})
        .file("one", b"linked")
        .hardlink("other", "one")
        .symlink("link", "a")
        .symlink("mode-of-a-link", "a", mode=0o777)
        .device("device", "c", 1, 3)
        .done()
    )
    new = (
        TarMaker()
        .directory("d", mode=0o700, mtime=2)
        .file("content", b"b")
        .file("mode", b"x", mode=0o4755)
        .file("owner", b"x", uid=3, gid=2)
        .file("time", b"x", mtime=2)
        .symlink("type", "x")
        .file("attributes", b"x", xattrs={"user.a": "2"})
        .file("other", b"linked")
        .hardlink("one", "other")
        .symlink("link", "b")
        .symlink("mode-of-a-link", "a", mode=0o755)
        .device("device", "c", 1, 5)
        .done()
    )
    found = difference(tmp_path, old, new)
    assert {file.path: file.details for file in found.files} == {
        "/attributes": ("attributes",),
        "/content": ("content",),
        "/d": ("mode 755 → 700",),
        "/device": ("device",),
        "/link": ("target a → b",),
        "/mode": ("mode 644 → 4755",),
        "/owner": ("owner 1:2 → 3:2",),
        "/type": ("type",),
    }
    assert found.files[2] == FileDifference(path="/d", change="C", details=("mode 755 → 700",), directory=True)


def test_packages_of_one_name(tmp_path: Path) -> None:
    """Several of one name are compared by version first; what is left has become the next."""

    def of(*packages: tuple[str, str]) -> bytes:
        return tar_of({"var/lib/dpkg/status": status(*packages)})

    found = difference(tmp_path, of(("linux", "1"), ("linux", "2")), of(("linux", "2"), ("linux", "3"), ("linux", "4")))
    assert [(one.change, one.old_version, one.new_version) for one in found.packages] == [
        ("C", "1", "3"),
        ("A", "", "4"),
    ]
    assert found.same_packages == 1


def test_equal_images(tmp_path: Path) -> None:
    found = difference(tmp_path, tar_of(OLD), tar_of(OLD))
    assert not found
    assert found.same_packages == 4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with the images old:1 and new:1."""
    monkeypatch.setenv("COLUMNS", "80")
    root = str(tmp_path / "root")
    strange: dict[str, bytes | tarfile.TarInfo] = {f"opt/{number:02}": b"" for number in range(30)}
    strange["opt/\x1b[31m\udcff"] = symlink("x")
    with tiffin.Engine(root) as engine:
        engine.import_image(io.BytesIO(tar_of(OLD)), "old:1")
        engine.import_image(io.BytesIO(tar_of({**NEW, **strange})), "new:1")
    return root


def diff(capsys: pytest.CaptureFixture[str], root: str, *words: str) -> tuple[int, str, str]:
    code = main(["--root", root, "image", "diff", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_command(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = diff(capsys, root, "old:1", "new:1")
    assert (code, err) == (0, "")
    opt = "".join(f"A       /opt/{number:02}\n" for number in range(16))
    assert out == (
        "Packages\n"
        "C   +2kB  bash 5.1 → 5.2\n"
        "D  -519B  gone 1\n"
        "A   +33B  new 2\n"
        "\n"
        "Packages of the same version whose files differ\n"
        "C    kept 1: 1 file differs\n"
        "\n"
        "Files of no package\n"
        "A  +6B  /etc/issue\n"
        "C  +3B  /etc/motd (content)\n"
        "A       /opt/\n"
        "A       /opt/\\x1b[31m\\xff\n"
        f"{opt}"
        "… and 15 more (--files shows all)\n"
        "\n"
        "Packages: 1 added, 2 changed, 1 deleted, 1 the same\n"
        "Files:    35 added, 4 changed, 2 deleted\n"
        "Size:     1.75kB → 3.28kB (+1.52kB)\n"
    )
    _, out, _ = diff(capsys, root, "--files", "--path", "/opt", "old:1", "new:1")
    assert out.splitlines()[1] == "A    /opt/"
    _, out, _ = diff(capsys, root, "--by-size", "old:1", "new:1")
    assert out.splitlines()[1:4] == ["C   +2kB  bash 5.1 → 5.2", "D  -519B  gone 1", "A   +33B  new 2"]


def test_command_for_scripts(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(capsys, root, "-q", "old:1", "new:1") == (1, "", "")
    assert diff(capsys, root, "-q", "old:1", "old:1") == (0, "", "")
    assert diff(capsys, root, "-q", "--path", "/etc/same", "old:1", "new:1") == (0, "", "")
    code, out, _ = diff(capsys, root, "--exit-code", "old:1", "new:1")
    assert (code, out.startswith("Packages\n")) == (1, True)
    code, out, _ = diff(capsys, root, "--exit-code", "old:1", "old:1")
    assert (code, out) == (
        0,
        "Packages: 0 added, 0 changed, 0 deleted, 4 the same\n"
        "Files:    0 added, 0 changed, 0 deleted\n"
        "Size:     1.75kB → 1.75kB (the same)\n",
    )
    _, out, _ = diff(capsys, root, "--format", "json", "--path", "/usr/bin/bash", "old:1", "new:1")
    document = json.loads(out)
    assert document["Packages"] == [
        {"Architecture": "amd64", "Change": "C", "Files": 1, "Kind": "deb", "Name": "bash", "NewSize": 3028,
         "NewVersion": "5.2", "OldSize": 1028, "OldVersion": "5.1"}
    ]  # fmt: skip
    assert document["Files"] == [
        {"Change": "C", "Details": ["content"], "NewSize": 3000, "OldSize": 1000, "Package": "bash",
         "Path": "/usr/bin/bash"}
    ]  # fmt: skip
    _, out, _ = diff(capsys, root, "--format", "{{len .Files}} {{.SamePackages}}", "old:1", "new:1")
    assert out == "41 1\n"
    _, out, _ = diff(capsys, root, "--format", "json", "--path", "/opt", "old:1", "new:1")
    assert json.loads(out)["Files"][1]["Path"] == "/opt/\x1b[31m\\xff"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["old:1"], 1, "'tiffin image diff' requires 2 arguments"),
        (["old:1", "none"], 2, "no such image: none"),
        (["old:1", "host"], 2, "the image 'host' is the host itself: its files are not in the store"),
        (["--format", "{{.Nothing", "old:1", "new:1"], 2, "template parsing error: template: :1: unclosed action"),
        (
            ["-q", "--format", "json", "old:1", "new:1"],
            2,
            "--quiet prints nothing, so --format has no meaning with it",
        ),
    ],
)
def test_command_refuses(
    root: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    found, out, err = diff(capsys, root, *words)
    assert (found, out, err.splitlines()[0]) == (code, "", f"tiffin: {message}")
