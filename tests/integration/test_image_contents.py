"""What is in real images, beside what dpkg and rpm themselves say of them."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin
from harness.archives import tar_of

if TYPE_CHECKING:
    from integration.conftest import Runner

REAL = 'realpath "$(dirname "$f")"'

SPEC = """\
Name: {name}
Version: 1.2
Release: 3
{epoch}
Summary: Says hello
License: GPLv2+ and MIT
Vendor: Example
BuildArch: noarch
%description
For tests.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
for i in $(seq 300); do echo $i > %{{buildroot}}/usr/share/{name}/a-file-of-number-$i; done
%files
/usr/share/{name}
"""


def test_packages_are_those_of_dpkg(engine: tiffin.Engine, tiffin_cli: Runner, debian: str) -> None:
    """Name, version, architecture and source as dpkg-query has them; files as `dpkg -L` has them."""
    shown = "${binary:Package}|${Version}|${Architecture}|${source:Package}|${source:Version}\\n"
    lines = tiffin_cli.ok("run", "--rm", debian, "dpkg-query", "-W", "-f", shown).splitlines()
    found = engine.packages(debian)
    expected = [(line.partition("|")[0].partition(":")[0], *line.split("|")[1:]) for line in lines]
    assert [
        (one.name, one.version, one.architecture, one.source, one.source_version) for one in found if one.kind == "deb"
    ] == sorted(expected)
    for package in ("libc6", "bash", "perl-base"):
        command = f'dpkg -L {package} | while read f; do [ ! -e "$f" ] || echo "$({REAL})/${{f##*/}}"; done'
        listed = tiffin_cli.ok("run", "--rm", debian, "sh", "-c", command).splitlines()
        files = next(one.files for one in found if one.name == package)
        real = {f"/{path}" for path in files if not path.startswith("var/lib/dpkg/info/")}
        assert real == {line.replace("//", "/") for line in listed} - {"/."}
    assert all(one.files for one in found)


def test_what_a_container_did_to_an_image(engine: tiffin.Engine, tiffin_cli: Runner, debian: str) -> None:
    script = "dpkg --purge --force-all hostname 2>&1; echo hi > /etc/motd; chmod 700 /srv; rm -r /var/cache/apt"
    tiffin_cli.ok("run", "--name", "changed", debian, "sh", "-c", script)
    tiffin_cli.ok("commit", "changed", "changed:1")
    found = engine.compare_images(debian, "changed:1")
    assert [(one.change, one.name) for one in found.packages if one.change != "C"] == [("D", "hostname")]
    files = {file.path: file for file in found.files}
    assert files["/etc/motd"].details == ("content",)
    assert files["/etc/motd"].new_size == 3
    assert files["/srv"].details == ("mode 755 → 700",)
    assert (files["/usr/bin/hostname" if "/usr/bin/hostname" in files else "/bin/hostname"].change) == "D"
    assert files["/var/cache/apt"].package
    out = tiffin_cli.ok("image", "diff", debian, "changed:1")
    assert out.startswith("Packages\nD  ")
    assert tiffin_cli("image", "diff", "-q", debian, "changed:1").code == 1
    assert tiffin_cli("image", "diff", "-q", debian, debian).code == 0


def test_bill_of_materials(engine: tiffin.Engine, tiffin_cli: Runner, debian: str) -> None:
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    result = tiffin_cli("image", "sbom", "--files", debian, env=env)
    assert (result.code, result.err) == (0, "")
    assert tiffin_cli("image", "sbom", "--files", debian, env=env).out == result.out
    document = json.loads(result.out)
    names = {package["name"]: package for package in document["packages"]}
    assert names.keys() - {package.name for package in engine.packages(debian)} == {debian, "debian"}
    assert names["debian"]["versionInfo"] == "12"
    libc = names["libc6"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert libc["externalRefs"][0]["referenceLocator"] == (
        f"pkg:deb/debian/libc6@{libc['versionInfo'].replace('+', '%2B')}?arch={machine}&distro=debian-12"
    )
    file = next(file for file in document["files"] if file["fileName"] == "./etc/debian_version")
    for program, checksum in zip(("sha1sum", "sha256sum"), file["checksums"], strict=True):
        said = tiffin_cli.ok("run", "--rm", debian, program, "/etc/debian_version").split()[0]
        assert checksum["checksumValue"] == said


def _rpms(directory: Path) -> list[str]:
    for name, epoch in (("hello", "Epoch: 1"), ("other", "")):
        spec = directory / f"{name}.spec"
        spec.write_text(SPEC.format(name=name, epoch=epoch))
        command = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {directory}", str(spec)]
        subprocess.run(command, check=True, capture_output=True)
    return [str(path) for path in sorted(directory.rglob("*.rpm"))]


@pytest.fixture(scope="session")
def rpm_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as rpm leaves it in /var/lib/rpm."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpm is not installed")
    directory = tmp_path_factory.mktemp("rpm")
    database = directory / "database"
    database.mkdir()
    command = ["rpm", "--define", "_db_backend sqlite", "--dbpath", str(database), "-i", "--justdb", "--nodeps"]
    subprocess.run([*command, "--ignorearch", "--nosignature", *_rpms(directory)], check=True, capture_output=True)
    return database


FILES = {f"usr/share/{name}/a-file-of-number-7": b"7\n" for name in ("hello", "other")}
EXPECTED = [
    ("hello", "1:1.2-3", "noarch", "GPLv2+ and MIT", ("usr/share/hello", "usr/share/hello/a-file-of-number-7")),
    ("other", "1.2-3", "noarch", "GPLv2+ and MIT", ("usr/share/other", "usr/share/other/a-file-of-number-7")),
]


def _found(engine: tiffin.Engine, name: str) -> list[tuple[object, ...]]:
    return [(one.name, one.version, one.architecture, one.license, one.files) for one in engine.packages(name)]


def test_the_database_of_rpm(engine: tiffin.Engine, rpm_database: Path) -> None:
    database = {f"var/lib/rpm/{path.name}": path.read_bytes() for path in rpm_database.iterdir()}
    assert "var/lib/rpm/rpmdb.sqlite" in database
    engine.import_image(io.BytesIO(tar_of({**FILES, **database})), "rpm")
    assert _found(engine, "rpm") == EXPECTED


def test_the_database_of_older_rpm(engine: tiffin.Engine, rpm_database: Path, tmp_path: Path) -> None:
    """The same headers in a hash that Berkeley DB itself has written."""
    import sqlite3

    if shutil.which("db5.3_load") is None:
        pytest.skip("db5.3-util is not installed")
    with sqlite3.connect(rpm_database / "rpmdb.sqlite") as connection:
        blobs = [blob for (blob,) in connection.execute("SELECT blob FROM Packages")]
    connection.close()
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "db_pagesize=4096", "HEADER=END"]
    for number, blob in enumerate([struct.pack("<I", len(blobs)), *blobs]):
        lines += [f" {struct.pack('<I', number).hex()}", f" {blob.hex()}"]
    path = tmp_path / "Packages"
    text = "\n".join([*lines, "DATA=END", ""])
    subprocess.run(["db5.3_load", str(path)], input=text.encode(), check=True, capture_output=True)
    engine.import_image(io.BytesIO(tar_of({**FILES, "var/lib/rpm/Packages": path.read_bytes()})), "rpm")
    assert _found(engine, "rpm") == EXPECTED
