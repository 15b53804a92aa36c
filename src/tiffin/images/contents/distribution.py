"""Which distribution an image is of (os-release(5)), and package URLs in it (github.com/package-url/purl-spec)."""

from __future__ import annotations

from tiffin.errors import StoreError
from tiffin.images.contents.packages import APK, DEB, PYPI, RPM
from tiffin.model.record import Record
from tiffin.storage.entry import REGULAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.images.contents.files import ImageFiles
    from tiffin.images.contents.packages import Package

_PATHS = (b"etc/os-release", b"usr/lib/os-release")
_MAX_BYTES = 64 << 10
_MAX_VALUE = 200
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_USUAL = {DEB: "debian", APK: "alpine", RPM: "", PYPI: ""}


class Distribution(Record):
    """What os-release says; `id` is empty when the image has none."""

    id: str = ""
    version_id: str = ""
    name: str = ""


def distribution_of(files: ImageFiles) -> Distribution:
    """The distribution of an image."""
    values: dict[str, str] = {}
    for path in _PATHS:
        entry = files.find(path)
        if entry is not None and entry.kind == REGULAR and entry.size <= _MAX_BYTES:
            try:
                values = _values(files.read(entry, _MAX_BYTES).decode("utf-8", "replace"))
            except StoreError:
                continue
            break
    identifier = values.get("ID", "").lower()
    if not identifier or not _NAME_LETTERS.issuperset(identifier):
        return Distribution()
    name = values.get("PRETTY_NAME") or values.get("NAME") or identifier
    return Distribution(id=identifier, version_id=values.get("VERSION_ID", ""), name=name)


def _values(text: str) -> dict[str, str]:
    from shlex import split

    values = {}
    for line in text.split("\n"):
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        try:
            words = split(value)
        except ValueError:
            continue
        if len(words) == 1 and words[0].isprintable() and len(words[0]) <= _MAX_VALUE:
            values[key] = words[0]
    return values


def package_url(package: Package, distribution: Distribution) -> str:
    """ "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"."""
    namespace = "" if package.kind == PYPI else distribution.id or _USUAL[package.kind]
    name, version = package.name, package.version
    qualifiers = {"arch": package.architecture}
    if package.kind == PYPI:
        name = name.lower().replace("_", "-")
    elif distribution.id:
        release = distribution.version_id
        qualifiers["distro"] = f"{distribution.id}-{release}" if release else distribution.id
    if package.kind == RPM and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    elif package.kind in (DEB, APK):
        name = name.lower()
    parts = ["pkg:", package.kind, "/", f"{namespace}/" if namespace else "", encoded(name)]
    if version:
        parts.append(f"@{encoded(version)}")
    listed = "&".join(f"{key}={encoded(value)}" for key, value in sorted(qualifiers.items()) if value)
    return "".join(parts) + (f"?{listed}" if listed else "")


def encoded(text: str) -> str:
    """Percent-encoded, but for what package URLs leave as it is."""
    from urllib.parse import quote

    return quote(text, safe=":~", errors="replace")
