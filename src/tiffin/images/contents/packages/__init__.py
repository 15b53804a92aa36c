"""The packages that an image's own databases say are installed: dpkg, apk, rpm and Python's."""

from __future__ import annotations

from tiffin.errors import StoreError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tiffin.images.contents.files import ImageFiles
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.storage.entry import Entry

    Warn = Callable[[str], None]

DEB, APK, RPM, PYPI = "deb", "apk", "rpm", "pypi"  # as package URLs call them (purl-spec, types)
MAX_PACKAGES = 200_000
_MAX_FIELD = 4096  # characters of a name or version; what is longer is none


class Package(Record):
    """One installed package.

    `kind` is "deb", "apk", "rpm" or "pypi"; `version` and `license` are as the database has them, the latter empty
    when it does not say. `source` is the source package's name, where it is another one `source_version` its version.
    `files` are the paths that the package brought and that the image has: files and directories (which packages may
    share), relative, links above them resolved; os.fsencode() of one is a key of `flattened()`. For dpkg they include
    its notes on the package, /var/lib/dpkg/info/NAME.*.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    source_version: str = ""
    license: str = ""
    summary: str = ""
    supplier: str = ""
    homepage: str = ""
    files: tuple[str, ...] = ()


class Damaged(Exception):
    """A database, or a part of one, makes no sense; the text says why."""


class Sources:
    """What the readers of databases share: the image's files, and where they tell of what cannot be read."""

    def __init__(self, files: ImageFiles, warn: Warn | None = None) -> None:
        self.files = files
        self._warn = warn

    def warn(self, path: bytes, reason: object) -> None:
        if self._warn is not None:
            from tiffin.storage.entry import shown

            self._warn(f"the package database {shown(b'/' + path)} of the image is left out: {reason}")

    def text(self, path: bytes, most: int) -> str | None:
        """A text file, bytes that are not UTF-8 replaced; None when it is not there or, with a warning, unreadable."""
        data = self.data(path, most)
        return None if data is None else data.decode("utf-8", "replace")

    def data(self, path: bytes, most: int) -> bytes | None:
        from tiffin.images.contents.files import FileTooLarge

        entry = self.regular(path)
        if entry is None:
            return None
        try:
            return self.files.read(entry, most)
        except (FileTooLarge, StoreError) as error:
            self.warn(path, error)
            return None

    def regular(self, path: bytes) -> Entry | None:
        from tiffin.storage.entry import REGULAR

        entry = self.files.find(path)
        return entry if entry is not None and entry.kind == REGULAR else None

    def existing(self, paths: Iterable[bytes]) -> tuple[str, ...]:
        """Those of a package's paths that the image has, under their real names, each once and sorted."""
        real = self.files.real
        found = {path for name in paths if (path := real(name))}
        return tuple(path.decode("utf-8", "surrogateescape") for path in sorted(found))


def packages_of(store: ImageStore, image: Image, *, warn: Warn | None = None) -> list[Package]:
    """All packages of an image, by kind, name, version and architecture.

    `warn` gets a sentence for each database that cannot be read. Raises as `files_of`.
    """
    from tiffin.images.contents.files import files_of

    return packages_in(files_of(store, image), warn=warn)


def packages_in(files: ImageFiles, *, warn: Warn | None = None) -> list[Package]:
    """The same for files at hand."""
    from itertools import islice

    from tiffin.images.contents.packages import apk, dpkg, python, rpm

    sources = Sources(files, warn)
    every = (package for reader in (dpkg, apk, rpm, python) for package in reader.packages(sources) if _sane(package))
    found = set(islice(every, MAX_PACKAGES))
    if warn is not None and next(every, None) is not None:
        warn(f"the image has more than {MAX_PACKAGES} packages: the rest is left out")
    kinds = (DEB, APK, RPM, PYPI)
    return sorted(found, key=lambda one: (kinds.index(one.kind), one.name, one.version, one.architecture, one.files))


def _sane(package: Package) -> bool:
    short = (package.name, package.version, package.architecture, package.source, package.source_version)
    return bool(package.name) and all(len(text) <= _MAX_FIELD and text.isprintable() for text in short)
