"""How much memory running containers share because their images have contents in common."""

from __future__ import annotations

import os

from tiffin.errors import HostError
from tiffin.images import sharing as images
from tiffin.model.record import Record
from tiffin.state import containers as records
from tiffin.state import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tiffin.images.sharing import Sharing
    from tiffin.model.container import Container
    from tiffin.model.image import Image
    from tiffin.parts import Parts

    File = tuple[int, int]  # device and inode: what the kernel has one page cache for


class ContainerMemory(Record):
    """Memory of one container, in bytes; "shared" is with others of the containers that were looked at.

    `cached_bytes` is the page cache of its image's files, whoever read them; `cached_shared_bytes` that of files which
    another one's image has, too. `mapped_bytes` are pages of its root's files that its processes have mapped,
    `mapped_shared_bytes` those that another one's have mapped as well. `rss_bytes` and `pss_bytes` are its processes'.
    """

    id: str
    name: str
    image_id: str
    image_name: str
    driver: str
    cached_bytes: int
    cached_shared_bytes: int
    mapped_bytes: int
    mapped_shared_bytes: int
    rss_bytes: int
    pss_bytes: int


class Memory(Record):
    """`cached_bytes` counts the page cache of all these containers' images once, `separate_bytes` once an image."""

    containers: tuple[ContainerMemory, ...] = ()
    cached_bytes: int = 0
    separate_bytes: int = 0


def sharing(parts: Parts, references: Sequence[str]) -> tuple[Sharing, Memory]:
    """What images have in common, and the memory that their running containers share; all images without references.

    NotFoundError, AmbiguousError, UsageError, StoreError.
    """
    chosen = images.chosen(parts.images, references)
    return images.compare(parts.images, chosen), memory(parts, chosen)


def memory(parts: Parts, of: Sequence[Image]) -> Memory:
    """The memory of those images' containers that run."""
    by_id = {image.id: image for image in of}
    running = []
    for container, _ in records.all_containers(parts.database):
        if container.image_id in by_id and status.read_state(parts.paths, container.id).status == "running":
            running.append(container)
    if not running:
        return Memory()
    cached = _Cached(parts)
    views = {_view(container): cached.of_image(by_id[container.image_id], container.driver) for container in running}
    frames = {container.id: _frames(parts, container) for container in running}
    mapped_by: dict[int, int] = {}
    for mine in frames.values():
        for frame in mine:
            mapped_by[frame] = mapped_by.get(frame, 0) + 1
    seen_by: dict[File, int] = {}
    for container in running:
        for file in views[_view(container)]:
            seen_by[file] = seen_by.get(file, 0) + 1
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    found = []
    for container in running:
        view = views[_view(container)]
        rss, pss = _processes_memory(parts, container)
        found.append(
            ContainerMemory(
                id=container.id, name=container.name, image_id=container.image_id, image_name=container.image_name,
                driver=container.driver, cached_bytes=sum(view.values()),
                cached_shared_bytes=sum(size for file, size in view.items() if seen_by[file] > 1),
                mapped_bytes=len(frames[container.id]) * page_bytes,
                mapped_shared_bytes=sum(1 for frame in frames[container.id] if mapped_by[frame] > 1) * page_bytes,
                rss_bytes=rss, pss_bytes=pss,
            )
        )  # fmt: skip
    once: dict[File, int] = {}
    for view in views.values():
        once.update(view)
    return Memory(
        containers=tuple(found),
        cached_bytes=sum(once.values()),
        separate_bytes=sum(sum(view.values()) for view in views.values()),
    )


def _view(container: Container) -> tuple[str, str]:
    return container.image_id, container.driver


class _Cached:
    """The page cache of images' files; each file is looked at once."""

    def __init__(self, parts: Parts) -> None:
        from tiffin.storage.pagecache import PageCache

        self._parts = parts
        self._cache = PageCache()
        self._known: dict[str | bytes, tuple[File, int] | None] = {}

    def of_image(self, image: Image, driver: str) -> dict[File, int]:
        """Bytes in memory by file, for those that have any; the files are the driver's."""
        found = {}
        for path in self._files(image, driver):
            if path not in self._known:
                self._known[path] = self._resident(path)
            known = self._known[path]
            if known is not None and known[1]:
                found[known[0]] = known[1]
        return found

    def _files(self, image: Image, driver: str) -> Iterator[str | bytes]:
        if driver == "composefs":
            objects = self._parts.objects
            yield from map(objects.path, images.contents(self._parts.images, image))
            return
        from tiffin.storage.entry import REGULAR
        from tiffin.storage.tree import flatten

        root = os.fsencode(f"{self._parts.paths.images}/{image.id.removeprefix('sha256:')}/{driver}/rootfs")
        tree = flatten(self._parts.layers.entries(diff_id) for diff_id in image.layers)
        for path, node in tree.walk():
            if node.entry.kind == REGULAR and node.entry.size:
                yield root + b"/" + path

    def _resident(self, path: str | bytes) -> tuple[File, int] | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # `system check` tells of what is missing
        try:
            found = os.fstat(fd)
            return (found.st_dev, found.st_ino), self._cache.resident(fd)
        except OSError as error:
            raise HostError(f"the kernel does not tell what it has cached: {error.strerror}") from error
        finally:
            os.close(fd)


def _frames(parts: Parts, container: Container) -> set[int]:
    from tiffin.storage.pagecache import mapped_frames, root_device

    # Before Linux 6.8 maps shows the file below the overlay, on the store's device.
    store = os.stat(parts.paths.root).st_dev
    frames: set[int] = set()
    for pid in parts.cgroups.processes(container.id):
        root = root_device(pid)
        if root is None:
            continue
        try:
            frames |= mapped_frames(pid, frozenset((root, (os.major(store), os.minor(store)))))
        except PermissionError as error:
            raise HostError(
                "the kernel does not tell which memory processes share: that takes CAP_SYS_ADMIN"
            ) from error
    return frames


def _processes_memory(parts: Parts, container: Container) -> tuple[int, int]:
    from tiffin.storage.pagecache import resident_and_proportional

    found = [resident_and_proportional(pid) for pid in parts.cgroups.processes(container.id)]
    return sum(rss for rss, _ in found), sum(pss for _, pss in found)
