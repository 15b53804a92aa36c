"""What an engine is made of: paths, state, drivers. Made once per engine, handed to every use case."""

from __future__ import annotations

import os
import time
from _thread import RLock

from tiffin.errors import UsageError
from tiffin.paths import DEFAULT_CGROUP_PARENT, paths_for
from tiffin.state.db import Database, check_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.cgroups.driver import CgroupDriver
    from tiffin.images.store import ImageStore
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore
    from tiffin.storage.rootfs import RootfsDriver

HOST_DRIVER = "host"


class Parts:
    """The parts of one engine. Everything is made when first asked for, under one lock."""

    def __init__(
        self,
        root: str | None,
        run_root: str | None,
        storage: str | None,
        cgroup_parent: str,
        debug: Callable[[str], None] | None,
        warn: Callable[[str], None],
        userns: str | None = None,
        runtime: str | None = None,
        cdi_dirs: Sequence[str] | None = None,
    ) -> None:
        self.userns = os.environ.get("TIFFIN_USERNS", "") if userns is None else userns
        self.paths = paths_for(root, run_root)
        self.database = Database(self.paths.database)
        self.cgroup_parent = cgroup_parent
        self.debug = debug
        self.warn = warn
        self.runtime = runtime or os.environ.get("TIFFIN_RUNTIME", "")
        self.given_cdi_dirs = _cdi_dirs(cdi_dirs)
        self._storage = storage
        self._lock = RLock()  # guards what follows
        self._drivers: dict[str, RootfsDriver] = {}
        self._chosen: tuple[str, str] | None = None
        self._objects: ObjectStore | None = None
        self._layers: LayerStore | None = None
        self._images: ImageStore | None = None
        self._cgroups: CgroupDriver | None = None
        self._bounding: int | None = None
        self._closed_to_others = False

    def _close_to_others(self) -> None:
        """Have directories that no other user can pass, before drivers make them for themselves.

        What images and containers hold must be out of reach: programs with setuid bits as much as secrets. Only the
        root itself and `tmp` are passed through, by apt's unprivileged downloader. What cannot be made here is told
        by whoever needs it.
        """
        if self._closed_to_others:
            return
        paths = self.paths
        try:
            os.makedirs(paths.root, mode=0o711, exist_ok=True)
            check_owner(paths.root)
            self._closed_to_others = True
            for directory in (paths.objects, paths.layers, paths.images, paths.volumes, f"{paths.root}/containers"):
                if not os.path.isdir(directory):
                    os.makedirs(directory, mode=0o700, exist_ok=True)
        except OSError:
            return

    @property
    def objects(self) -> ObjectStore:
        with self._lock:
            if self._objects is None:
                from tiffin.storage.objects import ObjectStore

                self._close_to_others()
                self._objects = ObjectStore(self.paths.objects)
            return self._objects

    @property
    def layers(self) -> LayerStore:
        with self._lock:
            if self._layers is None:
                from tiffin.storage.layers import LayerStore

                self._close_to_others()
                self._layers = LayerStore(self.paths.layers, self.objects)
            return self._layers

    @property
    def images(self) -> ImageStore:
        with self._lock:
            if self._images is None:
                from tiffin.images.store import ImageStore

                self._images = ImageStore(self.paths, self.database, lambda: self.layers, lambda: self.driver(None))
            return self._images

    @property
    def cgroups(self) -> CgroupDriver:
        with self._lock:
            if self._cgroups is None:
                from tiffin.cgroups.driver import choose_driver

                self._cgroups = choose_driver(self.cgroup_parent)
            return self._cgroups

    def remove_cgroup_parent(self) -> None:
        """Remove the cgroup above those of all containers if it is empty and ours.

        One that the user has named is his: he may have given it limits.
        """
        if self.cgroup_parent == DEFAULT_CGROUP_PARENT:
            self.cgroups.remove_parent()

    @property
    def cdi_dirs(self) -> tuple[str, ...]:
        """Where devices are described; what a later directory says counts."""
        from tiffin.runtime.cdi import DEFAULT_DIRS

        return self.given_cdi_dirs or DEFAULT_DIRS

    @property
    def bounding(self) -> int:
        """The capabilities that any process of this host can have (capabilities(7))."""
        with self._lock:
            if self._bounding is None:
                from tiffin.runtime.security.capabilities import host_bounding

                self._bounding = host_bounding()
            return self._bounding

    def storage_choice(self) -> tuple[str, str]:
        """Name of the driver for new containers, and why it was chosen."""
        self.driver(None)
        assert self._chosen is not None
        return self._chosen

    def driver(self, name: str | None) -> RootfsDriver:
        """The rootfs driver of that name; None for the one that new containers get."""
        with self._lock:
            if name is None:
                name = self._chosen[0] if self._chosen else ""
            if name not in self._drivers:
                driver = self._make_driver(name)
                self._drivers[driver.name] = driver
                name = driver.name
            return self._drivers[name]

    def _make_driver(self, name: str) -> RootfsDriver:
        from tiffin.storage.rootfs import choose_driver, driver_named

        if name:
            return driver_named(name, self.paths, self.objects, self.layers)
        driver, reason = choose_driver(self.paths, self.objects, self.layers, self._storage)
        self._chosen = (driver.name, reason)
        return driver

    def is_host(self, image_id: str) -> bool:
        """Whether that is the pseudo image `host`."""
        from tiffin.images.host import is_host_id

        return is_host_id(image_id)

    def driver_name_for(self, image_id: str) -> str:
        return HOST_DRIVER if self.is_host(image_id) else self.storage_choice()[0]

    def timed(self, what: str) -> Timed:
        """`with parts.timed("launch"): …` says with --debug how long it took."""
        return Timed(self.debug, what)

    def close(self) -> None:
        self.database.close()


def _cdi_dirs(given: Sequence[str] | None) -> tuple[str, ...]:
    """The directories that were named, by $TIFFIN_CDI_DIRS at least; empty for the usual ones. UsageError."""
    named = os.environ.get("TIFFIN_CDI_DIRS", "").split(":") if given is None else given
    found = tuple(directory for directory in named if directory)
    for directory in found:
        # They are handed on to whoever starts the container again, in another working directory.
        if not directory.startswith("/"):
            raise UsageError(f"the directory {directory!r} for descriptions of devices is not an absolute path")
    return found


class Timed:
    def __init__(self, debug: Callable[[str], None] | None, what: str) -> None:
        self._debug = debug
        self._what = what
        self._began = 0.0

    def __enter__(self) -> None:
        if self._debug:
            self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._debug:
            self._debug(f"{self._what}: {(time.perf_counter() - self._began) * 1e3:.2f} ms")
