"""Bills of materials: an image's packages, and its files when asked for, as SPDX 2.3 in JSON (spdx.github.io).

The same image gives the same document, byte for byte, where SOURCE_DATE_EPOCH is set.
"""

from __future__ import annotations

from hashlib import sha1, sha256

from tiffin._version import __version__
from tiffin.images.contents.distribution import distribution_of, encoded, package_url
from tiffin.images.contents.licenses import NONE, Licenses
from tiffin.images.contents.packages import RPM
from tiffin.storage.entry import REGULAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.images.contents.distribution import Distribution
    from tiffin.images.contents.files import ImageFiles
    from tiffin.images.contents.packages import Package
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.entry import Entry

_DOCUMENT = "SPDXRef-DOCUMENT"
_IMAGE = "SPDXRef-Image"
_SYSTEM = "SPDXRef-OperatingSystem"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
_MAX_TEXT = 2000


def sbom(
    store: ImageStore,
    image: Image,
    reference: str = "",
    *,
    files: bool = False,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The document, ready for JSON; the image is called `reference` in it, if that is one of its names.

    With `files` each regular file with SHA-1 (which SPDX demands) and SHA-256, and which package has it. `warn` gets
    a sentence for each package database that cannot be read. Raises as `files_of`, UsageError for a bad
    SOURCE_DATE_EPOCH, with `files` StoreError when a content is missing.
    """
    from tiffin.images.contents.files import files_of
    from tiffin.images.contents.packages import packages_in
    from tiffin.images.timestamps import creation_time_ns, format_rfc3339

    created = format_rfc3339(creation_time_ns() // 1_000_000_000 * 1_000_000_000)
    contents = files_of(store, image)
    names = [name for name in image.names if name in (reference, f"{reference}:latest")] or [*image.names, image.id]
    name = names[0]
    document = _Document(contents, image, name)
    document.add_packages(packages_in(contents, warn=warn), files=files)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": _clean(name),
        "documentNamespace": _namespace(image, name, created, files),
        "creationInfo": {"created": created, "creators": [f"Tool: tiffin-{__version__}"]},
        **document.parts(),
    }


class _Document:
    """The lists of a document as they grow."""

    def __init__(self, files: ImageFiles, image: Image, name: str) -> None:
        self._files = files
        self._licenses = Licenses()
        self._distribution = distribution_of(files)
        self._packages = [_image(image, name)]
        self._listed: dict[str, dict[str, Any]] = {}  # files by path
        self._sums: dict[str, tuple[str, str]] = {}  # SHA-1 and SHA-256 by object
        self._relationships = [_relationship(_DOCUMENT, "DESCRIBES", _IMAGE)]
        self._identifiers: set[str] = set()
        if self._distribution.id:
            self._packages.append(_system(self._distribution))
            self._relationships.append(_relationship(_IMAGE, "CONTAINS", _SYSTEM))

    def parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"packages": self._packages}
        if self._listed:
            parts["files"] = [self._listed[path] for path in sorted(self._listed)]
        if self._licenses.references:
            parts["hasExtractedLicensingInfos"] = [
                {
                    "licenseId": reference,
                    "name": _clean(words),
                    "extractedText": f"What a package database calls '{_clean(words)}'; it does not hold the text.",
                }
                for reference, words in sorted(self._licenses.references.items())
            ]
        parts["relationships"] = self._relationships
        return parts

    def add_packages(self, packages: list[Package], *, files: bool) -> None:
        owned: set[str] = set()
        for package in packages:
            identifier = self._identifier(package)
            self._packages.append(self._package(package, identifier))
            self._relationships.append(_relationship(_IMAGE, "CONTAINS", identifier))
            if files:
                inside = [file for path in package.files if (file := self._file(path)) is not None]
                owned.update(package.files)
                self._contain(self._packages[-1], inside)
        if files:
            paths = (path.decode("utf-8", "surrogateescape") for path in self._files.entries)
            others = [file for path in paths if path not in owned and (file := self._file(path)) is not None]
            self._contain(self._packages[0], others)

    def _identifier(self, package: Package) -> str:
        words = f"{package.kind}-{package.name}-{package.architecture}".rstrip("-")
        plain = "SPDXRef-Package-" + "".join(letter if letter in _LETTERS else "-" for letter in words)
        identifier = plain
        number = 1
        while identifier in self._identifiers:
            number += 1
            identifier = f"{plain}-{number}"
        self._identifiers.add(identifier)
        return identifier

    def _package(self, package: Package, identifier: str) -> dict[str, Any]:
        found = _bare(identifier, package.name, package.version)
        found["licenseDeclared"] = self._licenses.expression(package.license)
        if package.supplier.strip():
            who = "Organization" if package.kind == RPM else "Person"
            found["supplier"] = f"{who}: {_person(package.supplier)}"
        if package.homepage.startswith(("http://", "https://")) and _is_address(package.homepage):
            found["homepage"] = package.homepage
        if package.summary.strip():
            found["summary"] = _clean(package.summary)
        if package.source and (package.source, package.source_version) != (package.name, package.version):
            built = f"{package.source} {package.source_version}".strip()
            found["sourceInfo"] = f"built from the source package {_clean(built)}"
        found["externalRefs"] = [_url(package_url(package, self._distribution))]
        return found

    def _file(self, path: str) -> dict[str, Any] | None:
        """The entry for a regular file, None for anything else."""
        if path in self._listed:
            return self._listed[path]
        raw = path.encode("utf-8", "surrogateescape")
        entry = self._files.entries[raw]
        if entry.kind != REGULAR:
            return None
        one, other = self._checksums(entry)
        self._listed[path] = file = {
            "SPDXID": f"SPDXRef-File-{sha256(raw).hexdigest()[:32]}",
            "fileName": f"./{_utf8(path)}",
            "checksums": [
                {"algorithm": "SHA1", "checksumValue": one},
                {"algorithm": "SHA256", "checksumValue": other},
            ],
            "licenseConcluded": NONE,
            "licenseInfoInFiles": [NONE],
            "copyrightText": NONE,
        }
        return file

    def _checksums(self, entry: Entry) -> tuple[str, str]:
        name = entry.object or ""
        if name not in self._sums:
            hasher = sha1(usedforsecurity=False)
            for chunk in self._files.chunks(entry):
                hasher.update(chunk)
            self._sums[name] = (hasher.hexdigest(), name or sha256().hexdigest())
        return self._sums[name]

    def _contain(self, package: dict[str, Any], files: list[dict[str, Any]]) -> None:
        if not files:
            return
        sums = sorted(file["checksums"][0]["checksumValue"] for file in files)
        package["filesAnalyzed"] = True
        code = sha1("".join(sums).encode(), usedforsecurity=False).hexdigest()
        package["packageVerificationCode"] = {"packageVerificationCodeValue": code}
        package["licenseInfoFromFiles"] = [NONE]
        identifier = package["SPDXID"]
        self._relationships += [_relationship(identifier, "CONTAINS", file["SPDXID"]) for file in files]


def _bare(identifier: str, name: str, version: str) -> dict[str, Any]:
    return {
        "SPDXID": identifier,
        "name": _clean(name),
        **({"versionInfo": _clean(version)} if version else {}),
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
    }


def _image(image: Image, name: str) -> dict[str, Any]:
    found = _bare(_IMAGE, name, image.id)
    found["primaryPackagePurpose"] = "CONTAINER"
    if image.digests:
        found["externalRefs"] = [_url(_image_url(pin, image)) for pin in image.digests]
    return found


def _image_url(pin: str, image: Image) -> str:
    repository, _, digest = pin.partition("@")
    path = repository.rpartition("/")[2]
    return f"pkg:oci/{encoded(path.lower())}@{encoded(digest)}?arch={encoded(image.architecture)}" + (
        f"&repository_url={encoded(repository)}" if "/" in repository else ""
    )


def _system(distribution: Distribution) -> dict[str, Any]:
    found = _bare(_SYSTEM, distribution.id, distribution.version_id)
    found["summary"] = _clean(distribution.name)
    found["primaryPackagePurpose"] = "OPERATING_SYSTEM"
    return found


def _relationship(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _url(locator: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}


def _namespace(image: Image, name: str, created: str, files: bool) -> str:
    """A URI for this document alone: a UUID made of what it depends on (RFC 9562, version 8)."""
    text = f"{image.id} {name} {created} {files} {__version__}"
    digits = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def _person(text: str) -> str:
    """ "Jane (jane@example.com)" of "Jane <jane@example.com>"."""
    name, open_, rest = _clean(text).partition("<")
    address = rest.partition(">")[0].strip()
    name = " ".join(name.replace("(", " ").replace(")", " ").replace('"', " ").split())
    if not name:
        return address or NONE
    return f"{name} ({address})" if open_ and "@" in address and " " not in address else name


def _is_address(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and len(text) < _MAX_TEXT


def _clean(text: str) -> str:
    """One line of valid UTF-8."""
    return " ".join(_utf8(text[:_MAX_TEXT]).split())


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
