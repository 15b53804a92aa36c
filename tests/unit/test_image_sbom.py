"""Bills of materials: what SPDX 2.3 demands (its clauses 6 to 11, and its JSON schema), and what is in them."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.archives import symlink
from harness.packages import BASH, RPM_FILES, Files, image_of, rpm_header, rpm_ndb
from tiffin._version import __version__
from tiffin.cli.main import main
from tiffin.errors import UsageError
from tiffin.images.contents.distribution import Distribution, package_url
from tiffin.images.contents.packages import Package
from tiffin.images.contents.sbom import sbom

DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
STATUS = (
    b"Package: libz\nVersion: 1:1.2+b1\nArchitecture: amd64\nSource: zlib (1:1.2)\nDescription: squeezes\n"
    b'Maintainer: "Mark (the) B" <mark@example.com>\nHomepage: https://z.example/\n\n'
    b"Package: doc\nVersion: 1\nArchitecture: all\nHomepage: javascript:alert(1)\nMaintainer: Team\n\n"
)
COPYRIGHT = (
    b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: Zlib\n\n"
    b"Files: x\nLicense: strange one\n"
)
FILES: Files = {
    "etc/os-release": symlink("../usr/lib/os-release"),
    "usr/lib/os-release": DEBIAN,
    "usr/lib/libz.so": b"z",
    "usr/lib/empty": b"",
    "usr/lib/link": symlink("libz.so"),
    "opt/\udcff": b"own",
    "usr/share/doc/libz/copyright": COPYRIGHT,
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/info/libz.list": b"/usr/lib/libz.so\n/usr/lib/empty\n/usr/lib/link\n/usr/lib\n",
}
PURL = re.compile(r"pkg:[a-z]+/[A-Za-z0-9.%/~_-]+@[A-Za-z0-9.%:~_-]+(\?\S+)?")
EXPRESSION = re.compile(r"NOASSERTION|[A-Za-z0-9.+() -]+")


@pytest.fixture(autouse=True)
def epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def document_of(root: Path, files: Files, *, each: bool = False) -> dict[str, Any]:
    store, image = image_of(root, files)
    return check(sbom(store, image, files=each))


def check(document: dict[str, Any]) -> dict[str, Any]:
    """Hold a document against what the specification demands of every one; returns it as it comes out of JSON."""
    document = json.loads(json.dumps(document))
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["dataLicense"] == "CC0-1.0"
    assert document["SPDXID"] == "SPDXRef-DOCUMENT"
    assert document["name"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
    assert document["creationInfo"]["creators"] == [f"Tool: tiffin-{__version__}"]
    elements = [document, *document["packages"], *document.get("files", ())]
    identifiers = {element["SPDXID"] for element in elements}
    assert len(identifiers) == len(elements), "every identifier is given once"
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", identifier) for identifier in identifiers)
    references = {info["licenseId"] for info in document.get("hasExtractedLicensingInfos", ())}
    assert all(re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", reference) for reference in references)
    for relationship in document["relationships"]:
        assert {relationship["spdxElementId"], relationship["relatedSpdxElement"]} <= identifiers
        assert relationship["relationshipType"] in ("DESCRIBES", "CONTAINS")
    contained = [(one["spdxElementId"], one["relatedSpdxElement"]) for one in document["relationships"]]
    assert len(contained) == len(set(contained))
    sums = {file["SPDXID"]: file["checksums"][0]["checksumValue"] for file in document.get("files", ())}
    for package in document["packages"]:
        assert package["downloadLocation"] == package["licenseConcluded"] == package["copyrightText"] == "NOASSERTION"
        assert EXPRESSION.fullmatch(package["licenseDeclared"])
        words = re.findall(r"LicenseRef-[A-Za-z0-9.-]+", package["licenseDeclared"])
        assert references.issuperset(words)
        inside = sorted(sums[other] for one, other in contained if one == package["SPDXID"] and other in sums)
        assert package["filesAnalyzed"] is bool(inside)
        if inside:
            code = hashlib.sha1("".join(inside).encode()).hexdigest()
            assert package["packageVerificationCode"] == {"packageVerificationCodeValue": code}
        for external in package.get("externalRefs", ()):
            assert (external["referenceCategory"], external["referenceType"]) == ("PACKAGE-MANAGER", "purl")
            assert re.fullmatch(
                r"pkg:[a-z]+/[A-Za-z0-9.%/~_-]+@[A-Za-z0-9.%:~_-]+(\?\S+)?", external["referenceLocator"]
            )
        assert re.fullmatch(r"(Person|Organization): .+", package.get("supplier", "Person: x"))
    for file in document.get("files", ()):
        assert file["fileName"].startswith("./")
        assert [one["algorithm"] for one in file["checksums"]] == ["SHA1", "SHA256"]
        assert file["licenseConcluded"] == file["copyrightText"] == "NOASSERTION"
        assert any(other == file["SPDXID"] for _, other in contained), "every file is somebody's"
    return document


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(package for package in document["packages"] if package["name"] == name)
    return found


def test_packages(tmp_path: Path) -> None:
    document = document_of(tmp_path, FILES)
    assert document["name"] == "demo:latest"
    assert document["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    image, system, doc, libz = document["packages"]
    assert (image["name"], image["primaryPackagePurpose"]) == ("demo:latest", "CONTAINER")
    assert image["versionInfo"].startswith("sha256:")
    assert (system["name"], system["versionInfo"], system["primaryPackagePurpose"]) == (
        "debian",
        "12",
        "OPERATING_SYSTEM",
    )
    assert libz == {
        "SPDXID": "SPDXRef-Package-deb-libz-amd64",
        "name": "libz",
        "versionInfo": "1:1.2+b1",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "Zlib AND LicenseRef-strange-one",
        "copyrightText": "NOASSERTION",
        "supplier": "Person: Mark the B (mark@example.com)",
        "homepage": "https://z.example/",
        "summary": "squeezes",
        "sourceInfo": "built from the source package zlib 1:1.2",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": "pkg:deb/debian/libz@1:1.2%2Bb1?arch=amd64&distro=debian-12",
            }
        ],
    }
    assert "homepage" not in doc
    assert doc["supplier"] == "Person: Team"
    assert doc["licenseDeclared"] == "NOASSERTION"
    assert document["hasExtractedLicensingInfos"] == [
        {
            "licenseId": "LicenseRef-strange-one",
            "name": "strange one",
            "extractedText": "What a package database calls 'strange one'; it does not hold the text.",
        }
    ]
    assert "files" not in document
    assert [tuple(one.values()) for one in document["relationships"]] == [
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
        ("SPDXRef-Image", "CONTAINS", "SPDXRef-OperatingSystem"),
        ("SPDXRef-Image", "CONTAINS", "SPDXRef-Package-deb-doc-all"),
        ("SPDXRef-Image", "CONTAINS", "SPDXRef-Package-deb-libz-amd64"),
    ]


def test_files(tmp_path: Path) -> None:
    document = document_of(tmp_path, FILES, each=True)
    sums = {file["fileName"]: [one["checksumValue"] for one in file["checksums"]] for file in document["files"]}
    assert sums == {
        f"./{name.replace(chr(0xDCFF), chr(92) + 'xff')}": [
            hashlib.sha1(content).hexdigest(),
            hashlib.sha256(content).hexdigest(),
        ]
        for name, content in FILES.items()
        if isinstance(content, bytes)
    }
    names = {file["SPDXID"]: file["fileName"] for file in document["files"]}
    owned = [
        names[one["relatedSpdxElement"]]
        for one in document["relationships"]
        if one["spdxElementId"] == named(document, "libz")["SPDXID"]
    ]
    assert owned == ["./usr/lib/empty", "./usr/lib/libz.so", "./var/lib/dpkg/info/libz.list"]


def test_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, image = image_of(tmp_path, FILES)
    first = sbom(store, image, files=True)
    assert sbom(store, image, files=True) == first
    assert sbom(store, image)["documentNamespace"] != first["documentNamespace"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000001")
    assert sbom(store, image, files=True)["documentNamespace"] != first["documentNamespace"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is 'yesterday', not a number of seconds"):
        sbom(store, image)


def test_rpm(tmp_path: Path) -> None:
    database = rpm_ndb([rpm_header(BASH)])
    files = {**RPM_FILES, "var/lib/rpm/Packages.db": database, "etc/os-release": b"ID=fedora\nVERSION_ID=40\n"}
    bash = named(document_of(tmp_path, files), "bash")
    assert bash["versionInfo"] == "1:5.2.26-3.fc40"
    assert bash["licenseDeclared"] == "GPL-3.0-or-later"
    assert bash["supplier"] == "Organization: Example"
    assert bash["externalRefs"][0]["referenceLocator"] == (
        "pkg:rpm/fedora/bash@5.2.26-3.fc40?arch=x86_64&distro=fedora-40&epoch=1"
    )


def test_nothing_inside(tmp_path: Path) -> None:
    document = document_of(
        tmp_path, {"bin/tool": b"x", "etc/os-release": b"ID='unfinished\nID=\nID=../..\n"}, each=True
    )
    assert [package["SPDXID"] for package in document["packages"]] == ["SPDXRef-Image"]
    assert len(document["files"]) == 2


def test_names_that_are_alike(tmp_path: Path) -> None:
    status = b"Package: a+b\nVersion: 1\n\nPackage: a-b\nVersion: 1\n\nPackage: a_b\nVersion: 1\n\n"
    document = document_of(tmp_path, {"var/lib/dpkg/status": status})
    assert [package["SPDXID"] for package in document["packages"][1:]] == [
        "SPDXRef-Package-deb-a-b",
        "SPDXRef-Package-deb-a-b-2",
        "SPDXRef-Package-deb-a-b-3",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "version", "distribution", "url"),
    [
        ("deb", "libstdc++6", "12~1", Distribution(), "pkg:deb/debian/libstdc%2B%2B6@12~1?arch=x"),
        ("deb", "a", "", Distribution(id="ubuntu"), "pkg:deb/ubuntu/a?arch=x&distro=ubuntu"),
        ("apk", "Musl", "1-r0", Distribution(), "pkg:apk/alpine/musl@1-r0?arch=x"),
        ("rpm", "A", "1-2", Distribution(), "pkg:rpm/A@1-2?arch=x"),
        ("pypi", "Zope_Thing", "1.0+local", Distribution(id="debian"), "pkg:pypi/zope-thing@1.0%2Blocal?arch=x"),
        ("deb", "a/b@c?d#e&f é", "1", Distribution(), "pkg:deb/debian/a%2Fb%40c%3Fd%23e%26f%20%C3%A9@1?arch=x"),
    ],
)
def test_package_urls(kind: str, name: str, version: str, distribution: Distribution, url: str) -> None:
    package = Package(kind=kind, name=name, version=version, architecture="x")
    assert package_url(package, distribution) == url


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "store")
    image_of(tmp_path, FILES)
    assert main(["--root", root, "image", "sbom", "demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    check(json.loads(out))
    path = tmp_path / "out.json"
    assert main(["--root", root, "image", "sbom", "--files", "--format=spdx-json", "-o", str(path), "demo"]) == 0
    assert capsys.readouterr() == ("", "")
    assert len(check(json.loads(path.read_text()))["files"]) == 7
    assert not stat.S_IMODE(path.stat().st_mode) & 0o022
    assert main(["--root", root, "image", "sbom", "--format", "cyclonedx", "demo"]) == 1
    assert capsys.readouterr().err.startswith(
        'tiffin: invalid argument "cyclonedx" for "--format": the only format is spdx-json\n'
    )
    assert main(["--root", root, "image", "sbom", "-o", "/proc/none/x", "demo"]) == 1
    assert capsys.readouterr().err == (
        "tiffin: cannot write the bill of materials '/proc/none/x': No such file or directory\n"
    )


def test_list_of_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "store")
    image_of(tmp_path, {**FILES, "lib/apk/db/installed": b"broken", "var/lib/rpm/Packages": b"broken"})

    def packages(*words: str) -> str:
        assert main(["--root", root, "image", "packages", *words, "demo"]) == 0
        out, err = capsys.readouterr()
        assert err == (
            "tiffin: warning: the package database '/var/lib/rpm/Packages' of the image is left out: "
            "it ends too early\n"
        )
        return out

    assert packages() == (
        "NAME      VERSION    ARCH      KIND      LICENSE\n"
        "doc       1          all       deb       \n"
        "libz      1:1.2+b1   amd64     deb       Zlib and (strange one)\n"
    )
    assert packages("-q") == "doc\nlibz\n"
    assert (
        packages("--filter", "name=lib*", "--format", "{{.Source}} {{.SourceVersion}} {{.Files}}") == "zlib 1:1.2 5\n"
    )
    assert packages("--filter", "kind=rpm", "-q") == ""
    assert json.loads(packages("--filter", "name=doc", "--format", "json")) == {
        "Architecture": "all", "Files": 0, "Kind": "deb", "License": "", "Name": "doc", "Source": "doc",
        "SourceVersion": "1", "Summary": "", "Version": "1",
    }  # fmt: skip
