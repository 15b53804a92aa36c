"""What images are copied from: registries, OCI image layouts (directories and tar files), skopeo's directories."""

from __future__ import annotations

import os

from tiffin.errors import AmbiguousError, InvalidImageError, NotFoundError, NotSupportedError, os_error
from tiffin.images.archive import DirectoryArchive, FileArchive
from tiffin.images.archive_oci import IMAGE_NAME, INDEX, LAYOUT, REF_NAME
from tiffin.images.codecs import HEAD_BYTES, detect
from tiffin.images.config import parse_object
from tiffin.images.transfer.documents import MANIFEST_LIMIT, descriptors_of
from tiffin.images.transfer.transports import OCI, manifest_of, media_type_of
from tiffin.images.trust.sources import accept_file, accept_pulled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from tiffin.images.codecs import Readable
    from tiffin.images.transfer.documents import Descriptor
    from tiffin.images.transfer.transports import Location
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Manifest

DIR_VERSION = "Directory Transport Version: 1."
"""What the file `version` of a dir: begins with (containers-transports(5) names no more; this is what is written)."""


class RegistrySource:
    """A repository; `tag` or `digest` says what of it."""

    def __init__(self, registries: Registries, place: Repository, tag: str, digest: str) -> None:
        self._registries = registries
        self.place: Repository | None = place
        self._repository = place
        self._tag = tag
        self._digest = digest

    def top(self) -> Manifest:
        reply = self._registries.manifest(self._repository, self._digest or self._tag)
        found = manifest_of(reply.body, reply.media_type)
        return found.replace(digest=reply.digest)

    def document(self, pointer: Descriptor) -> Manifest:
        reply = self._registries.manifest(self._repository, pointer.digest)
        return manifest_of(reply.body, reply.media_type, pointer)

    def open(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        return self._registries.open_blob(self._repository, blob.digest, blob.size)

    def accept(self, digests: Sequence[str]) -> None:
        accept_pulled(self._registries, self._repository, self._tag, self._digest, digests)

    def close(self) -> None:
        pass


class TarFile:
    """A tar file whose members are read at any place by several threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - closed with this object
        except FileNotFoundError:
            raise NotFoundError(f"there is no archive {path!r}") from None
        except OSError as error:
            raise os_error(error, f"cannot read the archive {path!r}") from error
        try:
            if not self._file.seekable():
                raise NotSupportedError(f"{path!r} is not a regular file", hint="`tiffin load` takes pipes")
            packed = detect(self._file.read(HEAD_BYTES))
            self._file.seek(0)
            if packed:
                raise NotSupportedError(
                    f"the archive {path!r} is compressed ({packed})", hint="decompress it first, or `tiffin load` it"
                )
            self._archive = FileArchive(self._file)
        except BaseException:
            self._file.close()
            raise

    def has(self, name: str) -> bool:
        return self._archive.has(name)

    def document(self, name: str, what: str) -> bytes:
        return self._archive.document(name, what)

    def open(self, name: str, what: str) -> Piece:
        return Piece(self._file.fileno(), *self._archive.place(name, what))

    def close(self) -> None:
        self._file.close()


class Piece:
    """`size` bytes of a file from `start`, as a stream that leaves the file's position alone."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._at = start
        self._end = start + size
        self.size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, min(size, self._end - self._at), self._at)
        if not data and size and self._at < self._end:
            raise InvalidImageError("the archive is truncated: it became shorter while it was read")
        self._at += len(data)
        return data


class LayoutSource:
    """An OCI image layout, in a directory or a tar file."""

    place: Repository | None = None

    def __init__(self, location: Location) -> None:
        self._location = location
        path = location.path
        if location.transport == OCI:
            if not os.path.isdir(path):
                raise NotFoundError(f"there is no image layout {path!r}")
            self._files: DirectoryArchive | TarFile = DirectoryArchive(path)
        else:
            self._files = TarFile(path)

    def top(self) -> Manifest:
        if self._files.has(LAYOUT):
            version = parse_object(self._files.document(LAYOUT, LAYOUT), LAYOUT).get("imageLayoutVersion")
            if not isinstance(version, str) or version.partition(".")[0] != "1":
                raise NotSupportedError(f"the image layout has the version {version!r}, only 1.0.0 is known")
        listed = descriptors_of(parse_object(self._files.document(INDEX, INDEX), INDEX), INDEX)
        return self.document(self._choose(listed))

    def _choose(self, listed: Sequence[Descriptor]) -> Descriptor:
        wanted, path = self._location.tag, self._location.path
        fitting = [each for each in listed if wanted in _names(each)] if wanted else list(listed)
        names = ", ".join(dict.fromkeys(name for each in listed for name in _names(each)))
        if not fitting:
            if not wanted:
                raise NotFoundError(f"{path!r} has no images")
            raise NotFoundError(f"{path!r} has no image {wanted!r}, it has {names or 'none with a name'}")
        if len({each.digest for each in fitting}) > 1:
            raise AmbiguousError(
                f"{path!r} has {len(fitting)} images: {names or 'none with a name'}",
                hint=f"say which: {self._location.transport}:{path}:NAME",
            )
        return fitting[0]

    def document(self, pointer: Descriptor) -> Manifest:
        what = f"{'index' if pointer.is_index else 'manifest'} {pointer.digest}"
        return manifest_of(self._files.document(pointer.path, what), pointer.media_type, pointer)

    def open(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        return self._files.open(blob.path, f"blob {blob.digest}")

    def accept(self, digests: Sequence[str]) -> None:
        accept_file(self._location.transport, self._location.path)

    def close(self) -> None:
        if isinstance(self._files, TarFile):
            self._files.close()


class DirSource:
    """The directory that `skopeo copy … dir:…` makes: manifest.json, and blobs named by their hex digits."""

    place: Repository | None = None

    def __init__(self, location: Location) -> None:
        self._location = location
        if not os.path.isdir(location.path):
            raise NotFoundError(f"there is no directory {location.path!r}")
        self._files = DirectoryArchive(location.path)

    def top(self) -> Manifest:
        if self._files.has("version"):
            version = self._files.document("version", "version")
            if not version.startswith(DIR_VERSION.encode()):
                raise NotSupportedError(f"{self._location.path!r} has a version that is not known: {version[:60]!r}")
        body = self._files.document("manifest.json", "manifest.json")
        if len(body) > MANIFEST_LIMIT:
            raise InvalidImageError(f"manifest.json has {len(body)} bytes; the limit is {MANIFEST_LIMIT}")
        return manifest_of(body, media_type_of(body, "manifest.json"))

    def document(self, pointer: Descriptor) -> Manifest:
        name = f"{_hex(pointer)}.manifest.json"
        return manifest_of(self._files.document(name, f"manifest {pointer.digest}"), pointer.media_type, pointer)

    def open(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        return self._files.open(_hex(blob), f"blob {blob.digest}")

    def accept(self, digests: Sequence[str]) -> None:
        accept_file(self._location.transport, self._location.path)

    def close(self) -> None:
        pass


def _names(descriptor: Descriptor) -> list[str]:
    annotations = dict(descriptor.annotations)
    return [annotations[key] for key in (IMAGE_NAME, REF_NAME) if annotations.get(key)]


def _hex(descriptor: Descriptor) -> str:
    return descriptor.digest.partition(":")[2]
