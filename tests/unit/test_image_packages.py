"""The databases of dpkg, apk and Python, as images have them and as hostile ones could."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import pytest

from harness.archives import symlink
from harness.packages import image_of, packages_in_image
from tiffin.errors import UsageError
from tiffin.images.contents import packages
from tiffin.images.contents.files import FileTooLarge, files_of, flattened
from tiffin.images.contents.packages import Package, apk, dpkg, packages_of
from tiffin.images.host import host_image
from tiffin.storage.entry import SYMLINK

STATUS = b"""\
Package: hello
Status: install ok installed
Maintainer: Jane <jane@example.com>
Architecture: amd64
Source: hello-src (2.10-1)
Version: 2.10-1+b2
Description: says hello
 and more about it
 .
 at length
Homepage: https://hello.example/

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install ok half-configured
Architecture: all
Version: 2:3
"""
COPYRIGHT = b"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hello

Files: *
Copyright: somebody
License: GPL-2+
 the text

Files: lib/*
License: Expat or BSD-3-clause

Files: lib/again/*
License: GPL-2+

License: Artistic
 a text that is only quoted
"""


def test_dpkg(tmp_path: Path) -> None:
    found, warnings = packages_in_image(
        tmp_path,
        {
            "bin": symlink("usr/bin"),
            "usr/bin/hello": b"#!",
            "usr/share/doc/hello/copyright": COPYRIGHT,
            "var/lib/dpkg/status": STATUS,
            "var/lib/dpkg/info/hello:amd64.list": b"/.\n/bin\n/bin/hello\n/usr/share/doc/hello/copyright\n/left/out\n",
            "var/lib/dpkg/info/hello:amd64.postinst": b"#!",
            "var/lib/dpkg/info/format": b"1\n",
        },
    )
    assert warnings == []
    assert found == [
        Package(kind="deb", name="half", version="2:3", architecture="all", source="half", source_version="2:3"),
        Package(
            kind="deb",
            name="hello",
            version="2.10-1+b2",
            architecture="amd64",
            source="hello-src",
            source_version="2.10-1",
            license="GPL-2+ and (Expat or BSD-3-clause)",
            summary="says hello",
            supplier="Jane <jane@example.com>",
            homepage="https://hello.example/",
            files=(
                "bin",
                "usr/bin/hello",
                "usr/share/doc/hello/copyright",
                "var/lib/dpkg/info/hello:amd64.list",
                "var/lib/dpkg/info/hello:amd64.postinst",
            ),
        ),
    ]


def test_dpkg_diversions(tmp_path: Path) -> None:
    """Another package's file lies elsewhere while a package diverts it."""
    status = b"Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n"
    found, _ = packages_in_image(
        tmp_path,
        {
            "usr/bin/x": b"b's",
            "usr/bin/x.real": b"a's",
            "var/lib/dpkg/status": status,
            "var/lib/dpkg/info/a.list": b"/usr/bin/x\n",
            "var/lib/dpkg/info/b.list": b"/usr/bin/x\n",
            "var/lib/dpkg/diversions": b"/usr/bin/x\n/usr/bin/x.real\nb\n",
        },
    )
    assert [package.files[0] for package in found] == ["usr/bin/x.real", "usr/bin/x"]


def test_dpkg_without_dpkg(tmp_path: Path) -> None:
    """status.d has a file for each package, and its checksums beside it."""
    found, warnings = packages_in_image(
        tmp_path,
        {
            "usr/lib/libz.so": b"z",
            "var/lib/dpkg/status.d/zlib1g": b"Package: zlib1g\nVersion: 1.2\nArchitecture: arm64\n",
            "var/lib/dpkg/status.d/zlib1g.md5sums": b"0123  usr/lib/libz.so\n0123  usr/lib/none\n",
        },
    )
    assert warnings == []
    assert [(package.name, package.version, package.files) for package in found] == [
        (
            "zlib1g",
            "1.2",
            ("usr/lib/libz.so", "var/lib/dpkg/status.d/zlib1g", "var/lib/dpkg/status.d/zlib1g.md5sums"),
        )
    ]


def test_apk(tmp_path: Path) -> None:
    text = (
        b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nT:the libc\nU:https://musl.example/\nL:MIT\no:musl-src\n"
        b"m:Jane <jane@example.com>\nF:lib\nR:ld-musl.so\na:0:0:755\nR:libc.so\nF:\nR:top\n\n"
        b"P:empty\nV:1\nA:noarch\n\n\n"
    )
    found, warnings = packages_in_image(
        tmp_path, {"lib/apk/db/installed": text, "lib/ld-musl.so": b"x", "top": b"", "usr/lib": symlink("../lib")}
    )
    assert warnings == []
    assert found == [
        Package(kind="apk", name="empty", version="1", architecture="noarch", source="empty", source_version="1"),
        Package(
            kind="apk",
            name="musl",
            version="1.2.5-r0",
            architecture="x86_64",
            source="musl-src",
            source_version="1.2.5-r0",
            license="MIT",
            summary="the libc",
            supplier="Jane <jane@example.com>",
            homepage="https://musl.example/",
            files=("lib", "lib/ld-musl.so", "top"),
        ),
    ]


def test_python(tmp_path: Path) -> None:
    place = "usr/lib/python3/dist-packages"
    found, warnings = packages_in_image(
        tmp_path,
        {
            f"{place}/demo_pkg-1.0.dist-info/METADATA": b"Metadata-Version: 2.4\nName: Demo_Pkg\nVersion: 1.0\n"
            b"Summary: a demo\nLicense-Expression: MIT OR Apache-2.0\n\nName: no header any more\n",
            f"{place}/demo_pkg-1.0.dist-info/RECORD": b'demo.py,sha256=x,1\n"with,comma.py",,\n../../../bin/demo,,\n'
            b"/opt/abs,,\nmissing.py,,\n../../../../../../etc/passwd,,\n",
            f"{place}/demo.py": b"1",
            f"{place}/with,comma.py": b"1",
            "usr/bin/demo": b"1",
            "opt/abs": b"1",
            "etc/passwd": b"the image's own",
            "opt/venv/lib/python3.12/site-packages/old-2.egg-info/PKG-INFO": b"Name: old\nVersion: 2\n"
            b"License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n"
            b"Classifier: License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)\n",
            "opt/venv/lib/python3.12/site-packages/old-2.egg-info/installed-files.txt": b"../old.py\n",
            "opt/venv/lib/python3.12/site-packages/old.py": b"1",
            "srv/site-packages/flat.egg-info": b"Name: flat\nVersion: 3\nLicense: BSD\n",
            "srv/elsewhere/no.dist-info/METADATA": b"Name: no\nVersion: 1\n",
        },
    )
    assert warnings == []
    assert [(package.kind, package.name, package.version, package.license) for package in found] == [
        ("pypi", "Demo_Pkg", "1.0", "MIT OR Apache-2.0"),
        ("pypi", "flat", "3", "BSD"),
        ("pypi", "old", "2", "MIT License and GPLv3+"),
    ]
    assert found[0].summary == "a demo"
    assert found[0].files == (
        "etc/passwd",
        "opt/abs",
        "usr/bin/demo",
        f"{place}/demo.py",
        f"{place}/demo_pkg-1.0.dist-info",
        f"{place}/demo_pkg-1.0.dist-info/METADATA",
        f"{place}/demo_pkg-1.0.dist-info/RECORD",
        f"{place}/with,comma.py",
    )
    assert found[1].files == ("srv/site-packages/flat.egg-info",)
    assert "opt/venv/lib/python3.12/site-packages/old.py" in found[2].files


def test_a_database_behind_links(tmp_path: Path) -> None:
    """Links are followed inside the image: the host's own database is never read."""
    found, warnings = packages_in_image(
        tmp_path,
        {
            "var/lib/dpkg": symlink("/../../../data"),
            "data/status": symlink("../../../../real"),
            "real": b"Package: inside\nVersion: 1\n",
            "lib/apk/db/installed": symlink("installed"),
            "usr/lib/apk": symlink("/no/such/place"),
        },
    )
    assert warnings == []
    assert [package.name for package in found] == ["inside"]


@pytest.mark.parametrize(
    ("module", "limit", "path", "content"),
    [
        (dpkg, "_MAX_STATUS", "var/lib/dpkg/status", b"Package: a\nVersion: 1\n"),
        (apk, "_MAX_BYTES", "lib/apk/db/installed", b"P:a\nV:1\n"),
    ],
)
def test_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, limit: str, path: str, content: bytes
) -> None:
    monkeypatch.setattr(module, limit, len(content))
    found, warnings = packages_in_image(tmp_path / "1", {path: content})
    assert ([package.name for package in found], warnings) == (["a"], [])
    monkeypatch.setattr(module, limit, len(content) - 1)
    found, warnings = packages_in_image(tmp_path / "2", {path: content})
    assert found == []
    size = len(content)
    assert warnings == [
        f"the package database '/{path}' of the image is left out: it has {size} bytes, more than the {size - 1} "
        "that are read"
    ]


def test_nonsense(tmp_path: Path) -> None:
    """What makes no sense gives no packages, and no traceback."""
    place = "usr/lib/python3/site-packages"
    found, warnings = packages_in_image(
        tmp_path,
        {
            "var/lib/dpkg/status": b"\xff\xfe\0\0no colon\n continued\n\n:\n\nPackage:\n\n"
            b"Package: a\x1b[31m\nVersion: 1\n\nPackage: b\nVersion: \xff\n\nPackage: " + b"c" * 5000 + b"\n",
            "var/lib/dpkg/info/b.list": b"/\xff\n\n///\n/../../..\n",
            "var/lib/dpkg/diversions": b"one line",
            "lib/apk/db/installed": b"P\nP:\n\nR:x\nF:\xff\n\n\n\n",
            f"{place}/bad.dist-info/METADATA": b"Version: 1\n\n",
            f"{place}/worse.dist-info/METADATA": b"Name: worse\n",
            f"{place}/worse.dist-info/RECORD": b'"' + b"x" * 200_000,
            f"{place}/none.dist-info": b"Name: a file that should be a directory\nVersion: 1\n",
            f"{place}/empty.egg-info/x": b"",
        },
    )
    assert [(package.kind, package.name, package.version) for package in found] == [
        ("deb", "b", "\ufffd"),
        ("pypi", "a file that should be a directory", "1"),
    ]
    assert found[0].files == ("var/lib/dpkg/info/b.list",)
    left_out = f"the package database '/{place}/%s.dist-info' of the image is left out: "
    assert warnings == [
        left_out % "bad" + "its metadata has no name",
        left_out % "worse" + "its RECORD makes no sense in line 1: field larger than field limit (131072)",
    ]


def test_a_content_that_is_missing(tmp_path: Path) -> None:
    store, image = image_of(tmp_path, {"var/lib/dpkg/status": STATUS})
    entry = files_of(store, image).entries[b"var/lib/dpkg/status"]
    assert entry.object
    store.layers.objects.remove(entry.object)
    warnings: list[str] = []
    assert packages_of(store, image, warn=warnings.append) == []
    assert len(warnings) == 1
    assert f"object {entry.object} is missing from the store" in warnings[0]


def test_many_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_PACKAGES", 3)
    text = b"".join(b"Package: p%d\nVersion: 1\n\n" % number for number in range(5))
    found, warnings = packages_in_image(tmp_path, {"var/lib/dpkg/status": text})
    assert [package.name for package in found] == ["p0", "p1", "p2"]
    assert warnings == ["the image has more than 3 packages: the rest is left out"]


def test_files(tmp_path: Path) -> None:
    store, image = image_of(
        tmp_path, {"a/b/file": b"content", "a/link": symlink("b"), "loop": symlink("loop"), "empty": b""}
    )
    files = files_of(store, image)
    assert files.real(b"/a/link/file") == b"a/b/file"
    assert files.real(b"a/link") == b"a/link"
    assert files.real(b"a/link/.") == b"a/b"
    assert files.real(b"a/link/../../..") == b""
    assert files.real(b"a/../a/./link//../link/file") == b"a/b/file"
    assert files.real(b"a/" * 2100 + b"file") is files.real(b"empty/..") is None
    assert files.real(b"loop/x") is files.real(b"a/b/file/x") is files.real(b"a/none") is None
    assert files.names(b"a") == [b"b", b"link"]
    assert files.names(b"none") == files.names(b"empty") == []
    entry = files.find(b"a/link/file")
    assert entry is not None
    assert files.read(entry, 7) == b"content"
    with pytest.raises(FileTooLarge, match="it has 7 bytes, more than the 6 that are read"):
        files.read(entry, 6)
    assert files.read(files.entries[b"empty"], 0) == b""
    assert flattened(store, image)[b"a/link"].kind == SYMLINK
    with pytest.raises(UsageError) as caught:
        files_of(store, host_image())
    assert caught.value.message == "the image 'host' is the host itself: its files are not in the store"


def test_links_are_followed_once(tmp_path: Path) -> None:
    """A chain of links in front of a hundred thousand paths costs little more than the paths themselves."""
    dots = "./" * 400
    files: dict[str, bytes | tarfile.TarInfo] = {f"l{number}": symlink(f"{dots}l{number + 1}") for number in range(39)}
    lines = [*(f"/l0/none{number}/x" for number in range(100_000)), "/l0/file", ""]
    files |= {
        "l39": symlink(f"/{dots}d"),
        "d/file": b"x",
        "var/lib/dpkg/status": b"Package: a\nVersion: 1\n",
        "var/lib/dpkg/info/a.list": "\n".join(lines).encode(),
    }
    began = time.process_time()
    found, warnings = packages_in_image(tmp_path, files)
    assert warnings == []
    assert found[0].files == ("d/file", "var/lib/dpkg/info/a.list")
    assert time.process_time() - began < 10
