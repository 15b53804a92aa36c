"""What a container's root is made of: the interface of the storage drivers, and which one this host gets."""

from __future__ import annotations

import os

from tiffin.errors import HostError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from tiffin.model.idmap import IdMap
    from tiffin.paths import Paths
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.objects import ObjectStore

    class RootfsDriver(Protocol):
        """Turns images into roots for containers. Methods are safe from threads and processes.

        Image and container IDs are as in the records. Methods raise `StoreError`, `InvalidImageError`, `HostError`.
        """

        name: str

        def prepare_image(self, image_id: str, layers: Sequence[str]) -> int:
            """Build what containers of the image mount; returns the sum of its file sizes in bytes. Idempotent."""

        def image_ready(self, image_id: str) -> bool: ...

        def remove_image(self, image_id: str) -> None: ...

        def image_file(self, image_id: str, path: str, max_bytes: int = 1 << 20) -> bytes | None:
            """A regular file of the image, symlinks resolved inside it; None when missing, larger or no file."""

        def create(self, container_id: str, image_id: str, ids: IdMap | None = None) -> None:
            """Make the container's writable layer; with `ids` for a container in a user namespace."""

        def steps(
            self, container_id: str, image_id: str, target: str, *, volatile: bool = False, mapped: bool = False
        ) -> tuple[MountStep, ...]:
            """Mounts to do in order in a private mount namespace; after the last one `target` is the root.

            `volatile` is for a container that is removed at its end: nothing it writes is synced to disk. With
            `mapped` the image's files appear with the ids of the container's user namespace: some steps are `IDMAP`.
            """

        def view(self, image_id: str, lower: str, target: str, *, mapped: bool = False) -> tuple[MountStep, ...]:
            """Mounts that show the image itself, read-only, at `target`; `lower` is an empty directory to use.

            `mapped` is as for `steps`; what steps of several have in common is to be done once.
            """

        def upper(self, container_id: str) -> str | None:
            """The directory with what the container changed, None when there is none."""

        def remove(self, container_id: str) -> None: ...

        def usage(self, container_id: str) -> tuple[int, int]:
            """(bytes of disk, inodes) of the writable layer."""

        def check(self) -> list[str]:
            """Problems found with prepared images, a sentence each."""

        def probe(self) -> str | None:
            """Why this driver cannot work here; None when it can. Mounts something to find out."""


MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND = 0x1000
MAX_MOUNT_DATA = 4095  # one page with its NUL, mount(2)
DRIVERS = ("composefs", "overlay")
IDMAP = "idmap"  # the fstype of a step that mounts `source` at `target` with the ids of its files mapped


class MountStep(Record):
    """One mount(2): `flags` are MS_* bits, `data` the file system's options, `doing` completes "cannot …"."""

    source: str
    target: str
    fstype: str
    flags: int = 0
    data: str = ""
    doing: str = ""


def driver_named(name: str, paths: Paths, objects: ObjectStore, layers: LayerStore) -> RootfsDriver:
    """The driver called `name`, unprobed. Raises `UsageError` when there is none."""
    if name == "composefs":
        from tiffin.storage.composefs import ComposefsDriver

        return ComposefsDriver(paths, objects, layers)
    if name == "overlay":
        from tiffin.storage.overlay import OverlayDriver

        return OverlayDriver(paths, objects, layers)
    if name == "host":
        from tiffin.storage.host import HostDriver

        return HostDriver(paths)
    raise UsageError(f"there is no storage driver {name!r}", hint=f"choose one of {', '.join(DRIVERS)}")


def choose_driver(
    paths: Paths, objects: ObjectStore, layers: LayerStore, wanted: str | None
) -> tuple[RootfsDriver, str]:
    """The driver for this host and why it was chosen; `wanted` names one instead.

    The answer is remembered in the cache until the kernel changes or the host boots. Raises `HostError` when a wanted
    driver, or every driver, cannot work here.
    """
    if wanted is not None:
        driver = driver_named(wanted, paths, objects, layers)
        if (remembered := recall(paths, wanted)) is not None:
            return driver, remembered[1]
        problem = driver.probe()
        if problem is not None:
            raise HostError(f"the storage driver {wanted} cannot work here: {problem}", hint="leave --storage away")
        remember(paths, wanted, wanted, "it was asked for")
        return driver, "it was asked for"
    if (remembered := recall(paths, "")) is not None:
        return driver_named(remembered[0], paths, objects, layers), remembered[1]
    problems: list[str] = []
    for name in DRIVERS:
        driver = driver_named(name, paths, objects, layers)
        problem = driver.probe()
        if problem is None:
            reason = "; ".join(problems) or "this kernel mounts EROFS from files and has overlay with data-only layers"
            remember(paths, "", name, reason)
            return driver, reason
        problems.append(f"{name} cannot work here: {problem}")
    hint = "run as root" if any("Operation not permitted" in problem for problem in problems) else None
    raise HostError("no storage driver works on this host: " + "; ".join(problems), hint=hint)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{os.uname().release} {file.read().strip()}"


def _memory(paths: Paths, wanted: str) -> str:
    return f"{paths.cache}/storage-driver{'-' if wanted else ''}{wanted}"


def recall(paths: Paths, wanted: str) -> tuple[str, str] | None:
    """(driver, reason) as `remember` left it since the last boot of this kernel; None when it did not."""
    try:
        fd = os.open(_memory(paths, wanted), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, 4096).decode("utf-8", "replace")
    finally:
        os.close(fd)
    boot, _, rest = text.partition("\n")
    name, _, reason = rest.rstrip("\n").partition(" ")
    return (name, reason) if name in (*DRIVERS, "host") and text.endswith("\n") and boot == _boot() else None


def remember(paths: Paths, wanted: str, name: str, reason: str) -> None:
    """A cache: that it cannot be written is no failure."""
    path = _memory(paths, wanted)
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    try:
        os.makedirs(paths.cache, mode=0o711, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(f"{_boot()}\n{name} {reason.replace(chr(10), ' ')}\n")
        os.rename(temporary, path)
    except OSError:
        pass
