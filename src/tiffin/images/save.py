"""`tiffin save`: images into an archive or directory that Docker, Podman, skopeo and `tiffin load` read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os

from tiffin.errors import ConflictError, NotSupportedError, UsageError, os_error
from tiffin.images.archive_oci import IMAGE_NAME, INDEX, LAYOUT, REF_NAME
from tiffin.images.archive_tar import ArchiveWriter
from tiffin.images.codecs import CHUNK, Compressor
from tiffin.images.host import is_host_id
from tiffin.images.reference import is_id, parse_reference
from tiffin.images.transfer.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from tiffin.model.record import Record
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any, Protocol

    from tiffin.images.codecs import Writable
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image

    class Destination(Protocol):
        """Where blobs go; `put` a small one, `layer` stores a layer and tells its digest and size in bytes."""

        def put(self, name: str, data: bytes) -> None: ...
        def layer(self, diff_id: str, compression: str) -> StoredLayer: ...
        def finish(self) -> None: ...


FORMATS = ("docker-archive", "oci-archive", "oci-dir")
COMPRESSIONS = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}


class StoredLayer(Record):
    """A layer as it was written."""

    digest: str
    size: int


def save(
    store: ImageStore,
    references: Sequence[str],
    destination: IO[bytes] | str,
    *,
    format: str = "docker-archive",
    compression: str = "none",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write images to a path or binary stream; layers are `compression` (none, gzip, zstd).

    `format` is docker-archive, oci-archive or oci-dir (a path: a directory that is empty or not there yet). Layers
    that several images share are written once. The same images give the same bytes. A repository without a tag means
    all of its tags, as with Docker. A path appears only when the archive is complete.
    `progress` gets the number of bytes written so far to a file or stream.
    Raises NotFoundError, UsageError, NotSupportedError, ConflictError, StoreError.
    """
    if format not in FORMATS:
        raise NotSupportedError(f"there is no archive format {format!r}", hint=f"use one of {', '.join(FORMATS)}")
    if compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise NotSupportedError(f"layer compression {compression!r} is not known", hint=f"use one of {known}")
    if not references:
        raise UsageError("no image to save was named")
    with store.adding():  # so that no prune takes a layer away while it is being read
        chosen = _choose(store, references)
        if format == "oci-dir":
            if not isinstance(destination, str):
                raise UsageError("an oci-dir needs a directory to be written to, not a stream")
            _save_directory(store, chosen, destination, compression)
        elif isinstance(destination, str):
            _save_file(store, chosen, destination, format, compression, progress)
        else:
            _write(store, chosen, _Tar(store, _Told(destination, progress)), format, compression)
    for image, names in chosen.values():
        store.tell("save", image, names[0] if names else "")


def _choose(store: ImageStore, references: Sequence[str]) -> dict[str, tuple[Image, list[str]]]:
    """Image ID to image and the names it was asked for by, in order of first mention."""
    chosen: dict[str, tuple[Image, list[str]]] = {}
    for reference in references:
        for name in _names_of(store, reference) or [""]:
            image = store.get(name or reference)
            if is_host_id(image.id):
                raise NotSupportedError(
                    "the image 'host' cannot be saved: it has no layers, it is the host itself",
                    hint="`tar -C / --one-file-system -c . | tiffin import - NAME` makes an image of the host",
                )
            names = chosen.setdefault(image.id, (image, []))[1]
            if name and name not in names:
                names.append(name)
    return chosen


def _names_of(store: ImageStore, reference: str) -> list[str]:
    """The tags that a reference stands for; none for an ID or a digest."""
    if is_id(reference):
        return []
    try:
        parsed = parse_reference(reference)
    except UsageError:
        return []
    if parsed.digest:
        return []
    if parsed.tag:
        return [parsed.key] if records.id_of_name(store.database, parsed.key) else []
    return records.names_of_repository(store.database, parsed.name)


def _write(
    store: ImageStore,
    chosen: dict[str, tuple[Image, list[str]]],
    destination: Destination,
    format: str,
    compression: str,
) -> None:
    stored: dict[str, StoredLayer] = {}
    written: set[str] = set()
    index: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []

    def put_blob(data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if digest not in written:
            written.add(digest)
            destination.put(_blob(digest), data)
        return digest

    for image, names in chosen.values():
        for diff_id in image.layers:
            if diff_id not in stored:
                stored[diff_id] = destination.layer(diff_id, compression)
        layers = [stored[diff_id] for diff_id in image.layers]
        config_digest = put_blob(image.raw_config)
        manifest = _manifest(image, config_digest, layers, compression, _annotations(store, image))
        manifest_digest = put_blob(manifest)
        index.extend(_descriptors(image, names, manifest_digest, len(manifest)))
        docker.append(
            {
                "Config": _blob(config_digest),
                "RepoTags": names or None,
                "Layers": [_blob(layer.digest) for layer in layers],
            }
        )
    destination.put(INDEX, _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}))
    if format == "docker-archive":
        destination.put("manifest.json", _json(docker))
    destination.put(LAYOUT, _json({"imageLayoutVersion": "1.0.0"}))
    destination.finish()


def _manifest(
    image: Image, config_digest: str, layers: list[StoredLayer], compression: str, annotations: dict[str, str]
) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config_digest, "size": len(image.raw_config)},
            "layers": [
                {
                    "mediaType": OCI_LAYER + COMPRESSIONS[compression],
                    "digest": layer.digest,
                    "size": layer.size,
                }
                for layer in layers
            ],
            **({"annotations": annotations} if annotations else {}),
        }
    )


def _annotations(store: ImageStore, image: Image) -> dict[str, str]:
    from tiffin.images.lineage.bases import annotations_of_base
    from tiffin.state.blobs import base_of

    return annotations_of_base(base_of(store.database, image.id))


def _descriptors(image: Image, names: list[str], digest: str, size: int) -> list[dict[str, Any]]:
    """One descriptor per name, as the layout has no other place for names; one without when there is none."""
    platform = {"architecture": image.architecture, "os": image.os}
    if image.variant:
        platform["variant"] = image.variant
    base = {"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": platform}
    return [{**base, "annotations": {IMAGE_NAME: name, REF_NAME: name}} for name in names] or [base]


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


class _Told:
    """A stream that tells `progress` how many bytes went into it."""

    def __init__(self, out: Writable, progress: Callable[[int], None] | None) -> None:
        self._out, self._progress, self._count = out, progress, 0

    def write(self, data: bytes) -> object:
        written = self._out.write(data)
        if self._progress:
            self._count += len(data)
            self._progress(self._count)
        return written


class _Tar:
    """A destination that is a tar stream."""

    def __init__(self, store: ImageStore, out: Writable) -> None:
        self._store = store
        self._writer = ArchiveWriter(out)
        self._written: set[str] = set()

    def put(self, name: str, data: bytes) -> None:
        self._writer.add(name, data)

    def layer(self, diff_id: str, compression: str) -> StoredLayer:
        layers = self._store.layers
        if compression == "none":  # digest and size are known beforehand
            size = layers.info(diff_id).size_bytes
            if diff_id not in self._written:
                with self._writer.member(_blob(diff_id), size) as member:
                    layers.write_tar(diff_id, member)  # type: ignore[arg-type]
            return StoredLayer(digest=diff_id, size=size)
        # A tar header states the size, so a compressed layer is finished in a file without a name before.
        with _unnamed_file(self._store.paths.temporary) as file:
            layer = _compress(self._store, diff_id, compression, file)
            if layer.digest not in self._written:
                file.seek(0)
                with self._writer.member(_blob(layer.digest), layer.size) as member:
                    while data := file.read(CHUNK):
                        member.write(data)
        self._written.add(layer.digest)
        return layer

    def finish(self) -> None:
        self._writer.finish()


class _Directory:
    """A destination that is a directory."""

    def __init__(self, store: ImageStore, path: str) -> None:
        self._store = store
        self._path = path

    def put(self, name: str, data: bytes) -> None:
        with self._new(name) as file:
            file.write(data)

    def layer(self, diff_id: str, compression: str) -> StoredLayer:
        unfinished = f"blobs/sha256/{diff_id.removeprefix('sha256:')}.unfinished"
        with self._new(unfinished) as file:
            layer = _compress(self._store, diff_id, compression, file)
        os.rename(f"{self._path}/{unfinished}", f"{self._path}/{_blob(layer.digest)}")
        return layer

    def finish(self) -> None:
        pass

    def _new(self, name: str) -> IO[bytes]:
        path = f"{self._path}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "wb")


class _Hashed:
    """Passes on, counting and hashing."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _compress(store: ImageStore, diff_id: str, compression: str, out: Writable) -> StoredLayer:
    hashed = _Hashed(out)
    compressor = Compressor(compression, hashed)
    store.layers.write_tar(diff_id, compressor)  # type: ignore[arg-type]
    compressor.finish()
    return StoredLayer(digest=hashed.digest, size=hashed.size)


def _unnamed_file(directory: str) -> IO[bytes]:
    from tempfile import TemporaryFile

    os.makedirs(directory, mode=0o711, exist_ok=True)
    return TemporaryFile(dir=directory)  # O_TMPFILE: gone with its last user, even a killed one


def _save_file(
    store: ImageStore,
    chosen: dict[str, tuple[Image, list[str]]],
    path: str,
    format: str,
    compression: str,
    progress: Callable[[int], None] | None,
) -> None:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            # A device, a FIFO, or /dev/stdout: written to, since a rename would put a file in its place.
            with open(path, "wb") as file:
                _write(store, chosen, _Tar(store, _Told(file, progress)), format, compression)
            return
        target = os.path.realpath(path)  # what a symbolic link leads to is replaced, not the link
        unfinished = f"{target}.{os.getpid()}.unfinished"
        try:
            with open(unfinished, "xb", buffering=0) as file:
                _write(store, chosen, _Tar(store, _Told(file, progress)), format, compression)
            os.rename(unfinished, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished)
    except OSError as error:
        error.filename = None  # the name of the unfinished file tells the user nothing
        raise os_error(error, f"cannot write the archive {path!r}") from error


def _save_directory(store: ImageStore, chosen: dict[str, tuple[Image, list[str]]], path: str, compression: str) -> None:
    from tiffin.storage.removal import remove_tree

    path = path.rstrip("/") or path
    unfinished = f"{path}.{os.getpid()}.unfinished"
    try:
        if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
            raise ConflictError(f"{path!r} exists and is not an empty directory", hint="name a new one")
        os.mkdir(unfinished)
        try:
            _write(store, chosen, _Directory(store, unfinished), "oci-dir", compression)
            os.rename(unfinished, path)
        finally:
            remove_tree(unfinished)
    except OSError as error:
        raise os_error(error, f"cannot write the image layout {path!r}") from error
