"""A store of its own for a test, and looking at mounted roots without the host seeing the mounts."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tiffin.paths import paths_for
from tiffin.storage.layers import LayerStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.probe import in_private_mounts
from tiffin.storage.rootfs import MountStep, driver_named


class Store:
    """Objects, layers and one driver below `root`."""

    def __init__(self, root: str, driver: str = "composefs") -> None:
        self.paths = paths_for(root, None)
        self.objects = ObjectStore(self.paths.objects)
        self.layers = LayerStore(self.paths.layers, self.objects)
        self.driver = driver_named(driver, self.paths, self.objects, self.layers)

    def image(self, *tars: bytes) -> str:
        """Ingest layers and prepare an image of them; returns an image ID."""
        diff_ids = [self.layers.ingest(io.BytesIO(tar)).diff_id for tar in tars]
        image_id = "sha256:" + hashlib.sha256(" ".join(diff_ids).encode()).hexdigest()
        self.driver.prepare_image(image_id, diff_ids)
        return image_id

    def mounted(self, image_id: str, work: Callable[[str], Any], container: str = "c0ffee") -> Any:
        """`work(root)` in a mount namespace that has a new container of the image mounted at `root`."""
        if self.driver.upper(container) is None:
            self.driver.create(container, image_id)
        root = f"{self.paths.root}/root"
        os.makedirs(root, exist_ok=True)
        return in_mounts(self.driver.steps(container, image_id, root), lambda: work(root))


def in_mounts(steps: Sequence[MountStep], work: Callable[[], Any]) -> Any:
    """What `work()` returns when the steps' mounts are there, which only it sees."""
    result: list[Any] = []

    def run(calls: Any) -> None:
        try:
            for step in steps:
                calls.mount(step.source, step.target, step.fstype, step.flags, step.data, f"{step.fstype} mount")
            result.append(work())
        finally:
            for step in reversed(steps):
                try:
                    calls.umount(step.target)
                except OSError:  # it was not mounted
                    break

    failure = in_private_mounts(run)
    if failure is not None:
        raise failure
    return result[0]


class Seen(NamedTuple):
    """What stat, readlink, read and listxattr show of one path. `inode` groups hard links: equal ones are the same."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: str
    device: tuple[int, int]
    links: int
    xattrs: tuple[tuple[str, bytes], ...]


def seen(root: str) -> dict[bytes, Seen]:
    """Every path below `root`, as bytes, with what a program sees there."""
    found = {}
    base = os.fsencode(root)
    for directory, directories, files in os.walk(base):
        for name in [*directories, *files] + ([b""] if directory == base else []):
            path = os.path.join(directory, name).rstrip(b"/")
            found[path[len(base) + 1 :]] = look(path)
    return found


def look(path: str | bytes) -> Seen:
    """One path, symlinks not followed."""
    status = os.lstat(path)
    content = ""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = f"{status.st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsencode(os.readlink(path)).hex()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    xattrs = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    device = (0, 0)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Seen(
        status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, device,
        0 if stat.S_ISDIR(status.st_mode) else status.st_nlink, xattrs,
    )  # fmt: skip
