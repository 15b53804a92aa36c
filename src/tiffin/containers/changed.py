"""`diff` and `export`: what a container changed, and all that it has."""

from __future__ import annotations

import os

from tiffin.containers import events
from tiffin.containers.root import locked, opened
from tiffin.errors import HostError
from tiffin.model import idmap
from tiffin.model.record import Record
from tiffin.storage.changes import changes as walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.storage.changes import Change, Lower


class FileChange(Record):
    """`kind` is "A" (added), "C" (changed) or "D" (deleted), `path` absolute inside the container."""

    kind: str
    path: str


def diff(parts: Parts, container: Container) -> list[FileChange]:
    """What differs from the image, parents before children."""
    with locked(parts, container):
        return [FileChange(kind=change.kind, path="/" + os.fsdecode(change.path)) for change in raw(parts, container)]


def raw(parts: Parts, container: Container) -> list[Change]:
    """As the storage tells it. Call inside `locked`."""
    upper = parts.driver(container.driver).upper(container.id)
    if upper is None:
        return []
    try:
        return list(walk(upper, _lower(parts, container), idmap.of(container)))
    except OSError as error:
        raise HostError(f"cannot read what container {container.name!r} changed: {error.strerror}") from error


def _lower(parts: Parts, container: Container) -> Lower:
    from tiffin.storage.changes import HostLower, ImageLower

    if parts.is_host(container.image_id):
        from tiffin.storage.host import HostDriver

        hidden = HostDriver(parts.paths).empty_places()
        return HostLower(b"/", os.stat("/").st_dev, frozenset(os.fsencode(path) for path in hidden))
    from tiffin.storage.tree import flatten

    layers = parts.images.get(container.image_id).layers
    return ImageLower(flatten(parts.layers.entries(diff_id) for diff_id in layers).root)


def export(parts: Parts, container: Container, out: IO[bytes]) -> None:
    """All files as a tar stream, without what is mounted below the root."""
    for chunk in stream(parts, container):
        out.write(chunk)


def stream(parts: Parts, container: Container) -> Iterator[bytes]:
    """The chunks of `export`. Files that change meanwhile come as long as they were when their turn came."""
    from tiffin.storage.contents import FileItems
    from tiffin.storage.tarwrite import tar_stream

    with locked(parts, container), opened(parts, container, mounts=False) as root:
        items = (item for item in FileItems(parts.warn, idmap.of(container)).tree(root, b"") if item[0].path)
        yield from tar_stream(items)
    events.tell(parts, container, "export")


def export_file(parts: Parts, container: Container, path: str, progress: Callable[[int], None] | None = None) -> None:
    """`export` to a file, which appears complete or not at all; a device or FIFO is written to."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb", buffering=0) as file:
                _write_all(file, stream(parts, container), progress)
            return
        target = os.path.realpath(path)
        unfinished = f"{target}.{os.getpid()}.unfinished"
        try:
            with open(unfinished, "xb", buffering=0) as file:
                _write_all(file, stream(parts, container), progress)
            os.rename(unfinished, target)
        finally:
            try:
                os.unlink(unfinished)
            except FileNotFoundError:
                pass
    except OSError as error:
        raise HostError(f"cannot write the archive {path!r}: {error.strerror}") from error


def _write_all(file: IO[bytes], chunks: Iterator[bytes], progress: Callable[[int], None] | None) -> None:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if progress:
            progress(count)
        view = memoryview(chunk)
        while view:
            view = view[file.write(view) :]
