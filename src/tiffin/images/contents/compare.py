"""What one image has that another has not: packages, files, and the sizes of both."""

from __future__ import annotations

from itertools import zip_longest

from tiffin.model.record import Record
from tiffin.storage.entry import BLOCK, CHARACTER, DIRECTORY, REGULAR, SYMLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tiffin.images.contents.files import ImageFiles
    from tiffin.images.contents.packages import Package
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.entry import Entry

ADDED, CHANGED, DELETED = "A", "C", "D"


class FileDifference(Record):
    """One path that differs. `path` is absolute; `change` is "A", "C" or "D".

    `details` says of a changed one what did: "content", "type", "mode 644 → 755", "owner 0:0 → 1:1",
    "target a → b", "device", "attributes". Times alone make no difference. Sizes are bytes of regular files, else 0.
    `package` is the name of the first package that has it, empty for none.
    """

    path: str
    change: str
    details: tuple[str, ...] = ()
    old_size: int = 0
    new_size: int = 0
    directory: bool = False
    package: str = ""


class PackageDifference(Record):
    """One package that differs: added, deleted, with another version or, the versions being equal, with other files.

    Sizes are bytes of its regular files in each image, 0 where it is not; `files` counts its paths that differ.
    """

    kind: str
    name: str
    architecture: str
    change: str
    old_version: str = ""
    new_version: str = ""
    old_size: int = 0
    new_size: int = 0
    files: int = 0


class ImageDifference(Record):
    """`packages` by kind and name, `files` by path; `same_packages` counts those without any difference."""

    old: Image
    new: Image
    packages: tuple[PackageDifference, ...]
    files: tuple[FileDifference, ...]
    same_packages: int

    def __bool__(self) -> bool:
        return bool(self.packages or self.files)


def compare(
    store: ImageStore,
    old: Image,
    new: Image,
    *,
    path: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> ImageDifference:
    """What `new` has that `old` has not, and the reverse.

    With `path` only what is at or below it, and of packages those that have a difference there. `warn` gets a
    sentence for each package database that cannot be read. Raises as `files_of`.
    """
    from tiffin.images.contents.files import files_of
    from tiffin.images.contents.packages import packages_in

    before, after = files_of(store, old), files_of(store, new)
    old_packages, new_packages = packages_in(before, warn=warn), packages_in(after, warn=warn)
    owners = _owners([*new_packages, *old_packages])
    limit = None if path is None else path.strip("/").encode("utf-8", "surrogateescape")
    files = tuple(_files(before, after, limit, owners))
    packages, same = _packages(before, after, old_packages, new_packages, files, everything=not limit)
    return ImageDifference(old=old, new=new, packages=packages, files=files, same_packages=same)


def _owners(packages: Iterable[Package]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for package in packages:
        for path in package.files:
            owners.setdefault(path, package.name)
    return owners


def _files(
    before: ImageFiles, after: ImageFiles, limit: bytes | None, owners: dict[str, str]
) -> Iterator[FileDifference]:
    old, new = before.entries, after.entries
    for path in sorted(old.keys() | new.keys()):
        if limit and path != limit and not path.startswith(limit + b"/"):
            continue
        one, other = old.get(path), new.get(path)
        details: tuple[str, ...] = ()
        if one is not None and other is not None:
            details = tuple(_details(one, other))
            if not details:
                continue
        text = path.decode("utf-8", "surrogateescape")
        shown = other or one
        yield FileDifference(
            path=f"/{text}",
            change=CHANGED if details else ADDED if other is not None else DELETED,
            details=details,
            old_size=_size(one),
            new_size=_size(other),
            directory=shown is not None and shown.kind == DIRECTORY,
            package=owners.get(text, ""),
        )


def _size(entry: Entry | None) -> int:
    return entry.size if entry is not None and entry.kind == REGULAR else 0


def _details(old: Entry, new: Entry) -> Iterator[str]:
    if old is new:
        return
    if old.kind != new.kind:
        yield "type"
    elif new.kind == REGULAR and (old.object != new.object or old.size != new.size):
        yield "content"
    elif new.kind == SYMLINK and old.link != new.link:
        yield f"target {_text(old.link)} → {_text(new.link)}"
    elif new.kind in (BLOCK, CHARACTER) and (old.major, old.minor) != (new.major, new.minor):
        yield "device"
    if old.mode != new.mode and SYMLINK not in (old.kind, new.kind):
        yield f"mode {old.mode:o} → {new.mode:o}"
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}"
    if old.xattrs != new.xattrs and sorted(old.xattrs) != sorted(new.xattrs):
        yield "attributes"


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


_Key = tuple[str, str, str]


def _packages(
    before: ImageFiles,
    after: ImageFiles,
    old: list[Package],
    new: list[Package],
    files: tuple[FileDifference, ...],
    *,
    everything: bool,
) -> tuple[tuple[PackageDifference, ...], int]:
    differing = {difference.path[1:] for difference in files if not difference.directory}
    touched = differing if everything else {difference.path[1:] for difference in files}
    found = []
    same = 0
    for one, other in _pairs(old, new):
        shown = other or one
        assert shown is not None
        paths = {*(one.files if one else ()), *(other.files if other else ())}
        count = len(paths & differing)
        changed = one is None or other is None or one.version != other.version
        if not (count or changed) or not (everything or paths & touched):
            same += 1
            continue
        found.append(
            PackageDifference(
                kind=shown.kind,
                name=shown.name,
                architecture=shown.architecture,
                change=ADDED if one is None else DELETED if other is None else CHANGED,
                old_version=one.version if one else "",
                new_version=other.version if other else "",
                old_size=_bytes(before, one),
                new_size=_bytes(after, other),
                files=count,
            )
        )
    return tuple(found), same


def _pairs(old: list[Package], new: list[Package]) -> Iterator[tuple[Package | None, Package | None]]:
    """Each package beside the one that it has become. Of several with one name, equal versions go together."""
    groups: dict[_Key, tuple[list[Package], list[Package]]] = {}
    for side, packages in enumerate((old, new)):
        for package in packages:
            key = (package.kind, package.name, package.architecture)
            groups.setdefault(key, ([], []))[side].append(package)
    for key in sorted(groups):
        before, after = groups[key]
        by_version: dict[str, list[Package]] = {}
        for package in reversed(after):
            by_version.setdefault(package.version, []).append(package)
        gone = []
        for package in before:
            same = by_version.get(package.version)
            if same:
                yield package, same.pop()
            else:
                gone.append(package)
        come = [package for packages in by_version.values() for package in packages]
        yield from zip_longest(gone, sorted(come, key=lambda package: package.version))


def _bytes(files: ImageFiles, package: Package | None) -> int:
    """The sizes of a package's files, each inode once."""
    if package is None:
        return 0
    entries = (files.entries[path.encode("utf-8", "surrogateescape")] for path in package.files)
    return sum({id(entry): entry.size for entry in entries if entry.kind == REGULAR}.values())
