"""Packed layers that were asked to be kept, byte for byte: `blobs/sha256/<hex>` in the store's root."""

from __future__ import annotations

import os

from tiffin.errors import os_error
from tiffin.storage.objects import NEW_PREFIX, UnnamedFile, make_directory, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import BinaryIO

    from tiffin.paths import Paths


def path_of(paths: Paths, digest: str) -> str:
    """Where the blob is, or would be."""
    return f"{paths.root}/blobs/{digest.replace(':', '/')}"


def is_kept(paths: Paths, digest: str) -> bool:
    return os.path.isfile(path_of(paths, digest))


def open_kept(paths: Paths, digest: str) -> BinaryIO | None:
    """The blob's file, None when it was not kept."""
    try:
        return open(path_of(paths, digest), "rb", buffering=0)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error(error, f"cannot read the kept blob {digest}") from error


class KeptFile:
    """A blob on its way in: `write` it, and `keep` it when it has been verified. `close` in any case."""

    def __init__(self, paths: Paths, digest: str) -> None:
        self._path = path_of(paths, digest)
        self._what = f"cannot keep the blob {digest}"
        try:
            make_directory(f"{paths.root}/blobs")
            os.chmod(f"{paths.root}/blobs", 0o700)
            make_directory(os.path.dirname(self._path))
            self._new = UnnamedFile(os.path.dirname(self._path), 0o600)
        except OSError as error:
            raise os_error(error, self._what) from error

    def write(self, data: bytes) -> None:
        try:
            write_all(self._new.fd, data)
        except OSError as error:
            raise os_error(error, self._what) from error

    def keep(self) -> None:
        try:
            self._new.appear(self._path, self._new.fd)
        except OSError as error:
            raise os_error(error, self._what) from error

    def close(self) -> None:
        self._new.close()


def all_kept(paths: Paths) -> Iterator[tuple[str, str]]:
    """(digest, path) of every kept blob, and of unfinished ones with the digest ""."""
    top = f"{paths.root}/blobs"
    for algorithm in _names(top):
        for name in _names(f"{top}/{algorithm}"):
            unfinished = name.startswith(NEW_PREFIX)
            yield "" if unfinished else f"{algorithm}:{name}", f"{top}/{algorithm}/{name}"


def drop_kept(paths: Paths, known: Collection[str]) -> None:
    """Remove the files of blobs that are not `known`. Hold the store's lock alone."""
    for digest, path in all_kept(paths):
        if digest not in known:
            os.unlink(path)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
