"""What images are copied to: registries, OCI image layouts (directories and tar files), skopeo's directories."""

from __future__ import annotations

import contextlib
import json
import os

from tiffin.errors import ConflictError, NotSupportedError, RegistryError, UsageError, os_error
from tiffin.images.archive_oci import INDEX, LAYOUT, REF_NAME
from tiffin.images.archive_tar import ArchiveWriter
from tiffin.images.codecs import CHUNK
from tiffin.images.config import parse_object
from tiffin.images.transfer.documents import OCI_INDEX
from tiffin.images.transfer.sources import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Self

    from tiffin.images.codecs import Readable, Writable
    from tiffin.images.transfer.documents import Descriptor
    from tiffin.images.transfer.transports import Location, Open
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Manifest

AT_ONCE = 3
_LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
_DIR_VERSION = b"Directory Transport Version: 1.1\n"


class RegistryDestination:
    """A repository; the whole goes under `tag`, or under its own digest, which `digest` promises then."""

    at_once = AT_ONCE

    def __init__(self, registries: Registries, place: Repository, tag: str = "", digest: str = "") -> None:
        self._registries = registries
        self.place: Repository | None = place
        self._repository = place
        self._tag = tag
        self._digest = digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has(self, blob: Descriptor) -> bool:
        return self._registries.blob_size(self._repository, blob.digest) is not None

    def put(self, blob: Descriptor, make: Open) -> None:
        self._registries.upload_blob(
            self._repository, make, digest=blob.digest, size=blob.size, chunk_bytes=CHUNK_BYTES
        )

    def put_manifest(self, document: Manifest) -> None:
        self._put(document.digest, document)

    def finish(self, document: Manifest) -> None:
        if self._digest and self._digest != document.digest:
            raise UsageError(
                f"what would be stored as {self._repository}@{self._digest} has the digest {document.digest}",
                hint="name a tag",
            )
        self._put(self._tag or document.digest, document)

    def _put(self, reference: str, document: Manifest) -> None:
        found = self._registries.put_manifest(self._repository, reference, document.media_type, document.body)
        # Under a tag the registry names it by SHA-256, whatever it was named by before.
        if found != document.digest and document.digest.startswith("sha256:"):
            raise RegistryError(f"{self._repository.host} has stored the manifest {document.digest} as {found}")


class LayoutDestination:
    """An image layout in a directory, a new or an existing one: index.json names the image once all is there."""

    place: Repository | None = None
    at_once = AT_ONCE

    def __init__(self, location: Location) -> None:
        self._path = location.path.rstrip("/") or location.path
        self._tag = location.tag

    def __enter__(self) -> Self:
        path = self._path
        try:
            os.makedirs(path, exist_ok=True)
            if not os.path.isfile(f"{path}/{LAYOUT}"):
                if os.listdir(path):
                    raise ConflictError(f"{path!r} exists and is no image layout", hint="name a new directory")
                _write(f"{path}/{LAYOUT}", _LAYOUT_FILE)
            else:
                with open(f"{path}/{LAYOUT}", "rb") as file:
                    version = parse_object(file.read(CHUNK), LAYOUT).get("imageLayoutVersion")
                if not isinstance(version, str) or version.partition(".")[0] != "1":
                    raise NotSupportedError(f"the image layout has the version {version!r}, only 1.0.0 is known")
        except OSError as error:
            raise os_error(error, f"cannot write the image layout {path!r}") from error
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has(self, blob: Descriptor) -> bool:
        try:
            return os.path.getsize(f"{self._path}/{blob.path}") == blob.size
        except OSError:
            return False

    def put(self, blob: Descriptor, make: Open) -> None:
        path = f"{self._path}/{blob.path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _replacing(path) as file, make() as stream:
            _pour(stream, file)

    def put_manifest(self, document: Manifest) -> None:
        path = f"{self._path}/blobs/{document.digest.replace(':', '/')}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, document.body)

    def finish(self, document: Manifest) -> None:
        import fcntl

        self.put_manifest(document)
        path = f"{self._path}/{INDEX}"
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # another copy may add to the same layout
            index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
            if os.path.exists(path):
                with open(path, "rb") as file:
                    index = parse_object(file.read(), INDEX)
            listed = index.get("manifests")
            index["manifests"] = _listed(listed if isinstance(listed, list) else [], document, self._tag)
            _write(path, _json(index))
        finally:
            os.close(directory)


class LayoutArchive:
    """An image layout in a tar file, which appears when it is complete."""

    place: Repository | None = None
    at_once = 1

    def __init__(self, location: Location) -> None:
        self._location = location
        self._written: set[str] = set()
        self._file = NewFile(location.path)

    def __enter__(self) -> Self:
        self._writer = ArchiveWriter(self._file.__enter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def has(self, blob: Descriptor) -> bool:
        return blob.path in self._written

    def put(self, blob: Descriptor, make: Open) -> None:
        with make() as stream, self._writer.member(blob.path, blob.size) as member:
            _pour(stream, member)
        self._written.add(blob.path)

    def put_manifest(self, document: Manifest) -> None:
        path = f"blobs/{document.digest.replace(':', '/')}"
        if path not in self._written:
            self._written.add(path)
            self._writer.add(path, document.body)

    def finish(self, document: Manifest) -> None:
        self.put_manifest(document)
        listed = _listed([], document, self._location.tag)
        self._writer.add(INDEX, _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}))
        self._writer.add(LAYOUT, _LAYOUT_FILE)
        self._writer.finish()
        self._file.keep()


class DirDestination:
    """A directory as skopeo's, which appears when it is complete."""

    place: Repository | None = None
    at_once = AT_ONCE

    def __init__(self, location: Location) -> None:
        self._path = location.path.rstrip("/") or location.path
        self._unfinished = f"{self._path}.{os.getpid()}.unfinished"

    def __enter__(self) -> Self:
        path = self._path
        try:
            if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
                raise ConflictError(f"{path!r} exists and is not an empty directory", hint="name a new one")
            os.makedirs(self._unfinished)
        except OSError as error:
            raise os_error(error, f"cannot write the directory {path!r}") from error
        return self

    def __exit__(self, *_: object) -> None:
        from tiffin.storage.removal import remove_tree

        if os.path.isdir(self._unfinished):
            remove_tree(self._unfinished)

    def has(self, blob: Descriptor) -> bool:
        return os.path.exists(self._name(blob.digest))

    def put(self, blob: Descriptor, make: Open) -> None:
        with open(self._name(blob.digest), "xb", buffering=0) as file, make() as stream:
            _pour(stream, file)

    def put_manifest(self, document: Manifest) -> None:
        _write(f"{self._name(document.digest)}.manifest.json", document.body)

    def finish(self, document: Manifest) -> None:
        _write(f"{self._unfinished}/manifest.json", document.body)
        _write(f"{self._unfinished}/version", _DIR_VERSION)
        os.rename(self._unfinished, self._path)

    def _name(self, digest: str) -> str:
        return f"{self._unfinished}/{digest.partition(':')[2]}"


class NewFile:
    """A file that appears under its name with `keep`, and not at all without; there must be none so far."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._target = os.path.realpath(path)
        self._unfinished = f"{self._target}.{os.getpid()}.unfinished"

    def __enter__(self) -> IO[bytes]:
        path = self._path
        if os.path.exists(path) and not os.path.isfile(path):
            raise NotSupportedError(f"{path!r} exists and is not a regular file", hint="name a new file")
        if os.path.exists(path) and os.path.getsize(path):
            raise ConflictError(f"{path!r} exists", hint="name a new file, or remove this one")
        try:
            self._file = open(self._unfinished, "xb", buffering=0)
        except OSError as error:
            raise os_error(_unnamed(error), f"cannot write the archive {path!r}") from error
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._unfinished)

    def keep(self) -> None:
        """All is written."""
        os.rename(self._unfinished, self._target)


def _unnamed(error: OSError) -> OSError:
    error.filename = None  # the name of the unfinished file tells the user nothing
    return error


def _listed(listed: list[Any], document: Manifest, tag: str) -> list[Any]:
    """The manifests of index.json with one more; what had the name so far has it no longer."""
    added: dict[str, Any] = {
        "mediaType": document.media_type,
        "digest": document.digest,
        "size": len(document.body),
    }
    if tag:
        added["annotations"] = {REF_NAME: tag}

    def replaced(other: Any) -> bool:
        if not isinstance(other, dict):
            return False
        annotations = other.get("annotations")
        name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
        return name == tag if tag and name else not name and other.get("digest") == document.digest

    return [*(other for other in listed if not replaced(other)), added]


def _pour(stream: Readable, out: Writable) -> None:
    while data := stream.read(CHUNK):
        _write_all(out, data)


def _write_all(out: Writable, data: bytes) -> None:
    """A disk that is nearly full takes a part first, and complains of the rest."""
    taken = out.write(data)
    while isinstance(taken, int) and taken < len(data):
        data = data[taken:]
        taken = out.write(data)


@contextlib.contextmanager
def _replacing(path: str) -> Any:
    """A file that takes the name once it is written whole."""
    unfinished = f"{path}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "wb", buffering=0) as file:
            yield file
        os.rename(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)


def _write(path: str, data: bytes) -> None:
    with _replacing(path) as file:
        _write_all(file, data)


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
