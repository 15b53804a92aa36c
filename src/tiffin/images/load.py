"""`tiffin load`: images out of an archive or a directory, in any of the formats that engines write."""

from __future__ import annotations

import os

from tiffin.errors import InvalidImageError, os_error
from tiffin.images.archive import DirectoryArchive, FileArchive, StreamArchive
from tiffin.images.archive_docker import MANIFEST, docker_images, refuse_repositories_only
from tiffin.images.archive_oci import INDEX, oci_images
from tiffin.images.codecs import HEAD_BYTES, Counted, Decompressed, detect
from tiffin.images.platform import parse_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from tiffin.images.archive import Archive
    from tiffin.images.candidate import Candidate
    from tiffin.images.platform import Platform
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.state.blobs import Base


def load(
    store: ImageStore,
    source: IO[bytes] | str,
    *,
    platform: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Image]:
    """Load a docker-archive, OCI archive (both plain, gzip or zstd) or OCI layout directory; the images, in order.

    `source` is a path or a binary stream; a regular file is read by index, anything else as it comes, in bounded
    memory. Of an image for several platforms the one for `platform` ("os/arch[/variant]", default the host's) is
    taken. `progress` gets the number of bytes read so far. Every digest, size and diff_id is verified, and no image
    appears unless all of them could be read, and the policy on images accepts it: InvalidImageError,
    NotSupportedError, UsageError, StoreError.
    """
    wanted = parse_platform(platform) if platform else None
    with store.adding():
        if isinstance(source, str) and os.path.isdir(source):
            archive: Archive = DirectoryArchive(source, progress)
            return _load(store, archive, wanted, source)
        if isinstance(source, str):
            with _open(source) as file:
                return _load_file(store, file, wanted, progress, source)
        return _load_file(store, source, wanted, progress, _path_of(source))


def _open(path: str) -> IO[bytes]:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise os_error(error, "cannot open the archive") from error


def _load_file(
    store: ImageStore, file: IO[bytes], wanted: Platform | None, progress: Callable[[int], None] | None, path: str
) -> list[Image]:
    if _seekable(file):
        start = file.tell()
        head = file.read(HEAD_BYTES)
        file.seek(start)
        if not detect(head):
            if not head:
                raise InvalidImageError("the archive is empty (0 bytes)")
            return _load(store, FileArchive(file, progress), wanted, path)
    with Decompressed(Counted(file, progress), "the archive") as stream:
        return _load(store, StreamArchive(store, stream), wanted, path)


def _load(store: ImageStore, archive: Archive, wanted: Platform | None, path: str) -> list[Image]:
    from tiffin.images.trust.sources import accept_file

    accept_file(_transport(archive), path)
    candidates = _candidates(archive, wanted)
    filed = [(candidate, [archive.layer(store, blob) for blob in candidate.layers]) for candidate in candidates]
    # Names that the store had for an image already are not what was loaded.
    images = [
        store.add(candidate.config, layers, candidate.names, base=_base(store, candidate)).replace(
            names=tuple(name for name in candidate.names if "@" not in name)
        )
        for candidate, layers in filed
    ]
    for image in images:
        store.tell("load", image, image.names[0] if image.names else "")
    return images


def _base(store: ImageStore, candidate: Candidate) -> Base | None:
    """What the archive says of the image's base; what is known here already is no worse."""
    from tiffin.images.lineage.bases import base_of_annotations
    from tiffin.state.blobs import base_of

    if not candidate.annotations or base_of(store.database, candidate.config.image_id) is not None:
        return None
    return base_of_annotations(dict(candidate.annotations), candidate.config.diff_ids, store.database)


def _path_of(file: IO[bytes]) -> str:
    """Where an open file is; empty for a stream."""
    name = getattr(file, "name", "")
    return name if isinstance(name, str) and os.path.isfile(name) else ""


def _transport(archive: Archive) -> str:
    """What policies call it."""
    if isinstance(archive, DirectoryArchive):
        return "oci"
    return "docker-archive" if archive.has(MANIFEST) else "oci-archive"


def _candidates(archive: Archive, wanted: Platform | None) -> list[Candidate]:
    has_index = archive.has(INDEX)
    # Docker writes both; its manifest.json has the names as users know them, its index all the platforms.
    if archive.has(MANIFEST) and not (wanted and has_index):
        return docker_images(archive, wanted)
    if has_index:
        return oci_images(archive, wanted)
    if archive.has("repositories"):
        raise refuse_repositories_only()
    raise InvalidImageError(
        "this is not an image archive: it has neither manifest.json nor index.json",
        hint="`tiffin import` takes the tar of a root file system",
    )


def _seekable(file: IO[bytes]) -> bool:
    try:
        return file.seekable()
    except AttributeError:
        return False
