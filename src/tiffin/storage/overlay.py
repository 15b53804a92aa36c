"""The overlay driver: each image flattened to a directory of its own, below one overlay. For hosts without EROFS.

Where the file system can share blocks between files (XFS, btrfs) the copies cost no disk; elsewhere they do.
"""

from __future__ import annotations

import errno
import os

from tiffin.errors import StoreError, os_error
from tiffin.storage.mountdata import overlay_data
from tiffin.storage.prepared import PreparedImages, is_cached
from tiffin.storage.rootfs import IDMAP, MS_BIND, MountStep
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

_OPTIONS = ("redirect_dir=on",)


class OverlayDriver:
    """See `RootfsDriver`."""

    name = "overlay"

    def __init__(self, paths: Paths, objects: ObjectStore, layers: LayerStore) -> None:
        self._paths = paths
        self._objects = objects
        self._layers = layers
        self._images = PreparedImages(paths, self.name)

    def _root(self, image_id: str) -> str:
        return f"{self._images.directory(image_id)}/rootfs"

    def prepare_image(self, image_id: str, layers: Sequence[str]) -> int:
        from tiffin.storage.lock import store_lock

        with store_lock(self._paths, exclusive=False):
            if self._images.ready(image_id):
                try:
                    return self._images.info(image_id).size_bytes
                except StoreError:
                    self._images.remove(image_id)
            return self._images.publish(image_id, lambda directory: self._build(directory, layers))

    def _build(self, directory: str, layers: Sequence[str]) -> PreparedInfo:
        from tiffin.storage.inroot import read_in_root
        from tiffin.storage.objects import sync_file_system
        from tiffin.storage.prepared import CACHED_FILES, info_of, write_file
        from tiffin.storage.tree import flatten
        from tiffin.storage.unpack import unpack

        tree = flatten(self._layers.entries(diff_id) for diff_id in layers)
        rootfs = f"{directory}/rootfs"
        unpack(tree, self._objects, rootfs)
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, name in CACHED_FILES.items():
                data = read_in_root(root, path)
                if data is not None:
                    write_file(f"{directory}/{name}", data, 0o644)
        finally:
            os.close(root)
        # Nothing could tell later whether a power cut left these files whole, so they are on disk before they count.
        sync_file_system(directory)
        return info_of(tree.file_bytes(), "-", tree.root.entry)

    def image_ready(self, image_id: str) -> bool:
        return self._images.ready(image_id)

    def remove_image(self, image_id: str) -> None:
        self._images.remove(image_id)

    def image_file(self, image_id: str, path: str, max_bytes: int = 1 << 20) -> bytes | None:
        if is_cached(path):
            data = self._images.cached_file(image_id, path)
            return data if data is None or len(data) <= max_bytes else None
        from tiffin.storage.inroot import read_in_root

        try:
            root = os.open(self._root(image_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._images.info(image_id)  # says that the image was not prepared
            hint = "remove the image and load it again"
            raise StoreError(f"image {image_id} has lost its files", hint=hint) from None
        try:
            return read_in_root(root, path, max_bytes)
        finally:
            os.close(root)

    def create(self, container_id: str, image_id: str, ids: IdMap | None = None) -> None:
        info = self._images.info(image_id)
        create_writable(
            self._paths, container_id, mode=info.mode, uid=info.uid, gid=info.gid, mtime_ns=info.mtime_ns,
            xattrs=info.xattrs, ids=ids,
        )  # fmt: skip

    def steps(
        self, container_id: str, image_id: str, target: str, *, volatile: bool = False, mapped: bool = False
    ) -> tuple[MountStep, ...]:
        if not self._images.ready(image_id):
            self._images.info(image_id)  # raises
        base = self._paths.container(container_id)
        options = (*_OPTIONS, *sync_options(base, volatile))
        data = overlay_data((self._root(image_id),), f"{base}/upper", f"{base}/work", options=options)
        root = self._root(image_id)
        shifted = (MountStep(source=root, target=root, fstype=IDMAP),) if mapped else ()
        return (*shifted, MountStep(source="tiffin", target=target, fstype="overlay", data=data))

    def view(self, image_id: str, lower: str, target: str, *, mapped: bool = False) -> tuple[MountStep, ...]:
        if not self._images.ready(image_id):
            self._images.info(image_id)  # raises
        root = self._root(image_id)
        shifted = (MountStep(source=root, target=root, fstype=IDMAP),) if mapped else ()
        return (*shifted, MountStep(source=root, target=target, fstype="", flags=MS_BIND))

    def upper(self, container_id: str) -> str | None:
        upper = f"{self._paths.container(container_id)}/upper"
        return upper if os.path.isdir(upper) else None

    def remove(self, container_id: str) -> None:
        remove_writable(self._paths, container_id)

    def usage(self, container_id: str) -> tuple[int, int]:
        return writable_usage(self._paths, container_id)

    def check(self) -> list[str]:
        problems = []
        for image_id in self._images:
            try:
                self._images.info(image_id)
                if not os.path.isdir(self._root(image_id)):
                    problems.append(f"image {image_id} has lost its files")
            except StoreError as error:
                problems.append(f"image {image_id} cannot be read: {error}")
        return problems

    def probe(self) -> str | None:
        from tiffin.storage.probe import try_mounts

        try:
            failure = try_mounts(self._paths.temporary, self._try)
        except OSError as error:
            raise os_error(error, "cannot try the storage driver overlay") from error
        if failure is None:
            return None
        if failure.errno == errno.ENODEV:
            return "this kernel has no overlay file system"
        return f"{failure.filename}: {failure.strerror}"

    @staticmethod
    def _try(calls: MountCalls, directory: str) -> None:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{directory}/{name}")
        data = overlay_data((f"{directory}/lower",), f"{directory}/upper", f"{directory}/work", options=_OPTIONS)
        calls.mount("tiffin", f"{directory}/root", "overlay", 0, data, "overlay")
        os.mkdir(f"{directory}/root/written")
        calls.umount(f"{directory}/root")
        if not os.path.isdir(f"{directory}/upper/written"):
            raise OSError(errno.EIO, "it did not write to its upper directory", "overlay")
