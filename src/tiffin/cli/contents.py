"""`image diff`, `image packages` and `image sbom`: what is in images."""

from __future__ import annotations

import sys

from tiffin.cli import listing
from tiffin.cli.colour import BOLD, styled
from tiffin.cli.go_format import Fields
from tiffin.cli.listing import FILTER, FORMAT, NO_TRUNC, render_one
from tiffin.cli.options import Option, Verb
from tiffin.cli.table import ellipsis
from tiffin.cli.units import size
from tiffin.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.images.contents.compare import FileDifference, ImageDifference, PackageDifference
    from tiffin.images.contents.packages import Package

_SHOWN = 20
_SPDX = "spdx-json"


def _diff(context: Context, parsed: Parsed) -> int:
    quiet = parsed.flag("quiet")
    format = parsed.text("format")
    if quiet and format:
        raise UsageError("--quiet prints nothing, so --format has no meaning with it", hint="leave one of them out")
    old, new = parsed.arguments
    difference = context.engine.compare_images(old, new, path=parsed.text("path"))
    if parsed.flag("by-size"):
        difference = difference.replace(
            packages=tuple(sorted(difference.packages, key=_weight)), files=tuple(sorted(difference.files, key=_weight))
        )
    if format:
        sys.stdout.write(render_one(format, _document(difference)))
    elif not quiet:
        _print(difference, all_files=parsed.flag("files"), whole=not parsed.text("path"))
    return int(bool(difference) and (quiet or parsed.flag("exit-code")))


def _weight(difference: PackageDifference | FileDifference) -> int:
    return -abs(difference.new_size - difference.old_size)


def _print(difference: ImageDifference, *, all_files: bool, whole: bool) -> None:
    packages = [one for one in difference.packages if one.old_version != one.new_version]
    rebuilt = [one for one in difference.packages if one.old_version == one.new_version]
    files = [file for file in difference.files if all_files or not file.package]
    most = None if all_files else _SHOWN
    lines = [
        *_section("Packages", [_package(package) for package in packages], None),
        *_section("Packages of the same version whose files differ", [_package(package) for package in rebuilt], most),
        *_section("Files" if all_files else "Files of no package", [_file(file) for file in files], most),
    ]
    lines += _totals(difference) if whole else _totals(difference)[:-1]
    sys.stdout.write("\n".join(lines) + "\n")


def _section(title: str, rows: Sequence[tuple[str, str, str]], most: int | None) -> list[str]:
    """A heading, rows with their sizes aligned, how many were left out, and an empty line."""
    if not rows:
        return []
    shown = rows[:most]
    width = max(len(row[1]) for row in shown)
    lines = [styled(title, BOLD), *(f"{change}  {bytes_:>{width}}  {text}" for change, bytes_, text in shown)]
    if len(rows) > len(shown):
        lines.append(f"… and {len(rows) - len(shown)} more (--files shows all)")
    return [*lines, ""]


def _package(package: PackageDifference) -> tuple[str, str, str]:
    name = package.name if package.kind != "pypi" else f"{package.name} (Python)"
    if package.change != "C":
        text = f"{name} {package.new_version or package.old_version}"
    elif package.old_version != package.new_version:
        text = f"{name} {package.old_version} → {package.new_version}"
    else:
        text = f"{name} {package.new_version}: {_count(package.files)}"
    return package.change, _change(package.old_size, package.new_size), text


def _file(file: FileDifference) -> tuple[str, str, str]:
    details = f" ({', '.join(_safe(detail) for detail in file.details)})" if file.details else ""
    slash = "/" if file.directory and file.path != "/" else ""
    return file.change, _change(file.old_size, file.new_size), f"{_safe(file.path)}{slash}{details}"


def _totals(difference: ImageDifference) -> list[str]:
    old, new = difference.old.size_bytes, difference.new.size_bytes
    changes = (
        ("Packages", [package.change for package in difference.packages]),
        ("Files", [file.change for file in difference.files]),
    )
    lines = []
    for title, found in changes:
        counts = {change: found.count(change) for change in "ACD"}
        lines.append(f"{title + ':':<10}{counts['A']} added, {counts['C']} changed, {counts['D']} deleted")
    lines[0] += f", {difference.same_packages} the same"
    lines.append(f"{'Size:':<10}{size(old)} → {size(new)} ({_change(old, new) or 'the same'})")
    return lines


def _change(old: int, new: int) -> str:
    return "" if old == new else f"{'+' if new > old else '-'}{size(abs(new - old))}"


def _count(files: int) -> str:
    return f"{files} files differ" if files != 1 else "1 file differs"


def _safe(text: str) -> str:
    """A path as a terminal may show it: control characters and bytes that are not UTF-8 escaped."""
    if text.isprintable():
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _document(difference: ImageDifference) -> dict[str, Any]:
    return {
        "Old": {"Id": difference.old.id, "Size": difference.old.size_bytes},
        "New": {"Id": difference.new.id, "Size": difference.new.size_bytes},
        "SamePackages": difference.same_packages,
        "Packages": [
            {
                "Change": package.change,
                "Kind": package.kind,
                "Name": package.name,
                "Architecture": package.architecture,
                "OldVersion": package.old_version,
                "NewVersion": package.new_version,
                "OldSize": package.old_size,
                "NewSize": package.new_size,
                "Files": package.files,
            }
            for package in difference.packages
        ],
        "Files": [
            {
                "Change": file.change,
                "Path": _utf8(file.path),
                "Details": [_utf8(detail) for detail in file.details],
                "OldSize": file.old_size,
                "NewSize": file.new_size,
                "Package": file.package,
            }
            for file in difference.files
        ],
    }


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Row(Fields):
    type_name = "package"


_HEADINGS = {
    "Name": "NAME",
    "Version": "VERSION",
    "Architecture": "ARCH",
    "Kind": "KIND",
    "License": "LICENSE",
    "Source": "SOURCE",
    "SourceVersion": "SOURCE VERSION",
    "Summary": "SUMMARY",
    "Files": "FILES",
}
_FILTERS = ("kind", "name", "source")
_LICENSE_WIDTH = 40


def _packages(context: Context, parsed: Parsed) -> int:
    filters = listing.parse_filters(parsed, _FILTERS)
    found = [package for package in context.engine.packages(parsed.arguments[0]) if _fits(package, filters)]
    format = parsed.text("format")
    if parsed.flag("quiet") and not format:
        listing.quietly(dict.fromkeys(package.name for package in found))
        return 0
    rows = [
        Row(
            Architecture=package.architecture,
            Files=len(package.files),
            Kind=package.kind,
            License=_line(package.license, full=bool(format) or parsed.flag("no-trunc")),
            Name=package.name,
            Source=package.source,
            SourceVersion=package.source_version,
            Summary=_line(package.summary, full=True),
            Version=package.version,
        )
        for package in found
    ]
    listing.show(format, rows, _HEADINGS, ("Name", "Version", "Architecture", "Kind", "License"))
    return 0


def _line(text: str, *, full: bool) -> str:
    text = _safe(" ".join(text.split()))
    return text if full else ellipsis(text, _LICENSE_WIDTH)


def _fits(package: Package, filters: dict[str, list[str]]) -> bool:
    from fnmatch import fnmatchcase

    values = {"kind": package.kind, "name": package.name, "source": package.source}
    return all(any(fnmatchcase(values[name], one) for one in wanted) for name, wanted in filters.items())


def _sbom(context: Context, parsed: Parsed) -> int:
    import json

    format = parsed.text("format") or _SPDX
    if format != _SPDX:
        raise parsed.invalid("format", format, f"the only format is {_SPDX}")
    document = context.engine.sbom(parsed.arguments[0], files=parsed.flag("files"))
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    path = parsed.text("output")
    if path is None:
        sys.stdout.buffer.write(text.encode())
        return 0
    try:
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise HostError(f"cannot write the bill of materials {path!r}: {error.strerror}") from error
    return 0


DIFF = Verb(
    name="image diff",
    summary="Show how two images differ: by package, and by file where no package has it",
    run=_diff,
    arguments="IMAGE IMAGE",
    minimum=2,
    maximum=2,
    options=(
        Option(name="by-size", kind="bool", help="Show the largest differences first"),
        Option(name="exit-code", kind="bool", help="Exit with 1 when they differ, as diff does; then 2 is a failure"),
        Option(name="files", kind="bool", help="Show every file, those of packages too"),
        Option(name="format", word="template", help="'json', or a Go template such as '{{len .Files}}'"),
        Option(name="path", word="path", help="Only what is at or below this path"),
        Option(name="quiet", short="q", kind="bool", help="Print nothing; the exit code says whether they differ"),
    ),
    failed=2,
    description=(
        "A is what only the second image has, D what only the first has, C what both have in different forms. Files "
        "differ by type, content, mode, owner, target, device or extended attributes; times alone are no difference."
    ),
    examples=(
        ("tiffin image diff debian:old debian:new", "which packages are newer, and what else has changed"),
        ("tiffin image diff --files --path /etc web:1 web:2", "every file below /etc"),
        ("tiffin image diff --by-size --files web:1 web:2", "what made it grow"),
        ("tiffin image diff -q web:1 web:2 || echo different", "in a script"),
    ),
)

PACKAGES = Verb(
    name="image packages",
    summary="List the packages in an image",
    run=_packages,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(
        FILTER,
        FORMAT,
        NO_TRUNC,
        Option(name="quiet", short="q", kind="bool", help="Only show names"),
    ),
    description=(
        "Read from the databases in the image: dpkg's (deb), apk's (apk), rpm's (rpm) and Python's (pypi). The filters "
        "are kind, name and source (the source package), whose values may have the wildcards * and ?."
    ),
    examples=(
        ("tiffin image packages debian:bookworm", "a table"),
        ("tiffin image packages --filter 'name=libssl*' --format '{{.Version}}' web", "the version of one of them"),
    ),
)

SBOM = Verb(
    name="image sbom",
    summary="Write an image's bill of materials (SPDX 2.3)",
    run=_sbom,
    arguments="IMAGE",
    minimum=1,
    maximum=1,
    options=(
        Option(name="files", kind="bool", help="List every file, too, with SHA-1 and SHA-256"),
        Option(name="format", word="format", help="spdx-json is the only one", default=_SPDX),
        Option(name="output", short="o", word="path", help="Where to; standard output without it"),
    ),
    description=(
        "What is in it comes from the package databases in the image. Where SOURCE_DATE_EPOCH is set, the same image "
        "gives the same document, byte for byte."
    ),
    examples=(
        ("tiffin image sbom -o web.spdx.json web", "to a file"),
        ("tiffin image sbom web | jq -r '.packages[].externalRefs[]?.referenceLocator'", "the package URLs"),
    ),
)
