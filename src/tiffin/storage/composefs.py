"""The composefs driver: one EROFS image of metadata per image, whose files are objects, below one overlay.

Needs file-backed EROFS mounts (Linux 6.12) and overlay's data-only lower layers (6.5). Loop devices, which would do
for 6.5 to 6.11, are not used.
"""

from __future__ import annotations

import os

from tiffin.errors import NotFoundError, StoreError, os_error
from tiffin.storage.mountdata import overlay_data
from tiffin.storage.prepared import PreparedImages, is_cached
from tiffin.storage.rootfs import IDMAP, MS_NODEV, MS_NOSUID, MS_RDONLY, MountStep
from tiffin.storage.writable import create_writable, remove_writable, sync_options, writable_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.model.idmap import IdMap
    from tiffin.paths import Paths
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.prepared import PreparedInfo
    from tiffin.storage.probe import MountCalls

_OPTIONS = ("redirect_dir=on", "metacopy=on")


class ComposefsDriver:
    """See `RootfsDriver`."""

    name = "composefs"

    def __init__(self, paths: Paths, objects: ObjectStore, layers: LayerStore) -> None:
        self._paths = paths
        self._objects = objects
        self._layers = layers
        self._images = PreparedImages(paths, self.name)

    def _metadata(self, image_id: str) -> str:
        return f"{self._images.directory(image_id)}/meta.erofs"

    def prepare_image(self, image_id: str, layers: Sequence[str]) -> int:
        from tiffin.storage.lock import store_lock

        with store_lock(self._paths, exclusive=False):
            if self._images.ready(image_id):
                if self._problem(image_id) is None:
                    return self._images.info(image_id).size_bytes
                self._images.remove(image_id)  # what a power cut left before it was recorded
            return self._images.publish(image_id, lambda directory: self._build(directory, layers))

    def _build(self, directory: str, layers: Sequence[str]) -> PreparedInfo:
        from hashlib import sha256

        from tiffin.storage.entry import REGULAR
        from tiffin.storage.erofs import write_erofs
        from tiffin.storage.objects import make_directory
        from tiffin.storage.prepared import CACHED_FILES, info_of, write_file
        from tiffin.storage.tree import flatten

        make_directory(self._paths.objects)  # overlay wants it, even if every file of the image is empty
        tree = flatten(self._layers.entries(diff_id) for diff_id in layers)
        image = write_erofs(tree)
        write_file(f"{directory}/meta.erofs", image, 0o644)
        for path, name in CACHED_FILES.items():
            node = tree.lookup(path)
            if node is not None and node.entry.kind == REGULAR:
                write_file(f"{directory}/{name}", self._content(node.entry.object, 1 << 20) or b"", 0o644)
        return info_of(tree.file_bytes(), sha256(image).hexdigest(), tree.root.entry)

    def _content(self, digest: str | None, max_bytes: int) -> bytes | None:
        """An object's content; None when it is larger."""
        if digest is None:
            return b""
        fd = self._objects.open(digest)
        try:
            if os.fstat(fd).st_size > max_bytes:
                return None
            return os.read(fd, max_bytes)
        except OSError as error:
            raise os_error(error, f"cannot read object {digest}") from error
        finally:
            os.close(fd)

    def image_ready(self, image_id: str) -> bool:
        return self._images.ready(image_id)

    def remove_image(self, image_id: str) -> None:
        self._images.remove(image_id)

    def image_file(self, image_id: str, path: str, max_bytes: int = 1 << 20) -> bytes | None:
        if is_cached(path):
            data = self._images.cached_file(image_id, path)
            return data if data is None or len(data) <= max_bytes else None
        from tiffin.storage.erofs_read import ErofsReader

        try:
            with ErofsReader(self._metadata(image_id)) as reader:
                inode = reader.lookup(path)
        except FileNotFoundError:
            self._images.info(image_id)  # says that the image was not prepared
            hint = "remove the image and load it again"
            raise StoreError(f"image {image_id} has lost its metadata", hint=hint) from None
        except OSError as error:
            raise os_error(error, f"cannot read image {image_id}") from error
        if inode is None or inode.mode & 0o170000 != 0o100000 or inode.size > max_bytes:
            return None
        return self._content(inode.object, max_bytes)

    def create(self, container_id: str, image_id: str, ids: IdMap | None = None) -> None:
        info = self._images.info(image_id)
        create_writable(
            self._paths, container_id, mode=info.mode, uid=info.uid, gid=info.gid, mtime_ns=info.mtime_ns,
            xattrs=info.xattrs, directories=("lower",), ids=ids,
        )  # fmt: skip

    def steps(
        self, container_id: str, image_id: str, target: str, *, volatile: bool = False, mapped: bool = False
    ) -> tuple[MountStep, ...]:
        metadata = self._metadata(image_id)
        _warm(metadata, image_id)
        base = self._paths.container(container_id)
        lower = f"{base}/lower"
        data = overlay_data(
            (lower,),
            f"{base}/upper",
            f"{base}/work",
            data_only=(self._paths.objects,),
            options=(*_OPTIONS, *sync_options(base, volatile)),
        )
        return (
            # Overlay opens what it needs by itself: no flag here reaches the files that the container sees.
            MountStep(source=metadata, target=lower, fstype="erofs", flags=MS_RDONLY | MS_NOSUID | MS_NODEV),
            *(MountStep(source=path, target=path, fstype=IDMAP) for path in (lower, self._paths.objects) if mapped),
            MountStep(source="tiffin", target=target, fstype="overlay", data=data),
        )

    def view(self, image_id: str, lower: str, target: str, *, mapped: bool = False) -> tuple[MountStep, ...]:
        metadata = self._metadata(image_id)
        _warm(metadata, image_id)
        # Options that write to an upper directory's attributes go without saying when there is none.
        data = overlay_data((lower,), None, None, data_only=(self._paths.objects,), options=("metacopy=on",))
        return (
            MountStep(source=metadata, target=lower, fstype="erofs", flags=MS_RDONLY | MS_NOSUID | MS_NODEV),
            *(MountStep(source=path, target=path, fstype=IDMAP) for path in (lower, self._paths.objects) if mapped),
            MountStep(source="tiffin", target=target, fstype="overlay", flags=MS_RDONLY, data=data),
        )

    def upper(self, container_id: str) -> str | None:
        upper = f"{self._paths.container(container_id)}/upper"
        return upper if os.path.isdir(upper) else None

    def remove(self, container_id: str) -> None:
        remove_writable(self._paths, container_id)

    def usage(self, container_id: str) -> tuple[int, int]:
        return writable_usage(self._paths, container_id)

    def _problem(self, image_id: str) -> str | None:
        from hashlib import sha256

        try:
            info = self._images.info(image_id)
            with open(self._metadata(image_id), "rb") as file:
                digest = sha256(file.read()).hexdigest()
        except (StoreError, NotFoundError, OSError) as error:
            return f"image {image_id} cannot be read: {error}"
        if digest != info.checksum:
            return f"image {image_id} is damaged: its metadata do not match their checksum"
        return None

    def check(self) -> list[str]:
        return [problem for image_id in self._images if (problem := self._problem(image_id)) is not None]

    def probe(self) -> str | None:
        import errno

        from tiffin.storage.probe import try_mounts

        try:
            failure = try_mounts(self._paths.temporary, self._try)
        except OSError as error:
            raise os_error(error, "cannot try the storage driver composefs") from error
        if failure is None:
            return None
        if failure.errno == errno.ENOTBLK:
            return "this kernel cannot mount EROFS from a file, Linux 6.12 and later can"
        if failure.errno == errno.ENODEV:
            return f"{failure.filename}: this kernel does not have it"
        return f"{failure.filename}: {failure.strerror}"

    @staticmethod
    def _try(calls: MountCalls, directory: str) -> None:
        """Mount a file system of one file, in every respect as a container's, and read the file."""
        import errno

        from tiffin.storage.entry import REGULAR, Entry
        from tiffin.storage.erofs import write_erofs
        from tiffin.storage.objects import ObjectStore
        from tiffin.storage.prepared import write_file
        from tiffin.storage.tree import flatten

        content = b"composefs"
        digest = ObjectStore(f"{directory}/objects").add_bytes(content)
        entry = Entry(b"file", REGULAR, 0o644, 0, 0, 0, 0, len(content), digest)
        write_file(f"{directory}/meta.erofs", write_erofs(flatten([[entry]])), 0o644)
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{directory}/{name}")
        metadata, lower = f"{directory}/meta.erofs", f"{directory}/lower"
        calls.mount(metadata, lower, "erofs", MS_RDONLY, "", "EROFS mounted from a file")
        data = overlay_data(
            (f"{directory}/lower",), f"{directory}/upper", f"{directory}/work",
            data_only=(f"{directory}/objects",), options=_OPTIONS,
        )  # fmt: skip
        calls.mount("tiffin", f"{directory}/root", "overlay", 0, data, "overlay with data-only lower layers")
        with open(f"{directory}/root/file", "rb") as file:
            if file.read() != content:
                raise OSError(errno.EIO, "wrong content", "reading through overlay")
        calls.umount(f"{directory}/root")
        calls.umount(f"{directory}/lower")


def _warm(path: str, image_id: str) -> None:
    """Read the metadata once, so that the mount finds it in the page cache: cold, each lookup would wait for the disk.

    (ext4 of Linux 6.18 also warns in the kernel log when EROFS makes it read.) sendfile to /dev/null copies nothing.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(fd).st_size
                at = 0
                while at < size and (sent := os.sendfile(null, fd, at, size - at)):
                    at += sent
            finally:
                os.close(null)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise NotFoundError(
            f"image {image_id} has not been prepared for the storage driver composefs", hint="load it again"
        ) from None
    except OSError as error:
        raise os_error(error, f"cannot read image {image_id}") from error
