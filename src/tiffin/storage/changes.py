"""What a container changed, from the upper directory of its overlay and what its image has.

Kernel Documentation/filesystems/overlayfs.rst: whiteouts are character devices 0:0; `trusted.overlay.opaque` "y" hides
what is below a directory; `trusted.overlay.redirect` names where a renamed directory was.
"""

from __future__ import annotations

import os
import stat

from tiffin.storage.entry import DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from tiffin.model.idmap import IdMap
    from tiffin.storage.tree import Node

    class Lower(Protocol):
        """A file or directory of the image."""

        is_directory: bool
        attributes: tuple[int, int, int]
        mtime_ns: int
        key: object  # the same for the same file
        prepared: bool  # the upper directory had it from the beginning

        def child(self, name: bytes) -> Lower | None: ...

        def names(self) -> list[bytes]: ...


ADDED, CHANGED, DELETED = "A", "C", "D"

# What a start makes so that something can be mounted there; Docker keeps it in a layer that it does not show.
_MOUNT_POINTS = frozenset((b"dev", b"proc", b"sys", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"etc"))


class Change:
    """`kind` is ADDED, CHANGED or DELETED, `path` relative to the root.

    `opaque`: nothing that the image has in this directory shows, but for what follows. `hidden`: deleted by that.
    """

    __slots__ = ("hidden", "kind", "opaque", "path")

    def __init__(self, kind: str, path: bytes, *, opaque: bool = False, hidden: bool = False) -> None:
        self.kind = kind
        self.path = path
        self.opaque = opaque
        self.hidden = hidden

    def __repr__(self) -> str:
        return f"{self.kind} {self.path!r}{' opaque' if self.opaque else ''}{' hidden' if self.hidden else ''}"


class ImageLower:
    """A node of an image's tree."""

    prepared = False

    def __init__(self, node: Node) -> None:
        entry = node.entry
        self._node = node
        self.key: object = id(node)
        self.is_directory = entry.kind == DIRECTORY
        self.attributes = (entry.mode, entry.uid, entry.gid)
        self.mtime_ns = entry.mtime_s * 1_000_000_000 + entry.mtime_ns

    def child(self, name: bytes) -> Lower | None:
        node = (self._node.children or {}).get(name)
        return ImageLower(node) if node is not None else None

    def names(self) -> list[bytes]:
        return sorted(self._node.children or ())


class HostLower:
    """A file of the host's root file system, for containers of the image `host`; `empty` paths show as empty."""

    def __init__(self, path: bytes, device: int, empty: frozenset[bytes]) -> None:
        status = os.lstat(path)
        self._path = path
        self.key: object = path
        self._device = device
        self._empty = empty
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.attributes = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        self.mtime_ns = status.st_mtime_ns
        self._bare = path in empty or status.st_dev != device
        self.prepared = any(place == path or place.startswith(path + b"/") for place in empty)

    def child(self, name: bytes) -> Lower | None:
        if self._bare or not self.is_directory:
            return None
        try:
            return HostLower(self._path.rstrip(b"/") + b"/" + name, self._device, self._empty)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self) -> list[bytes]:
        return [] if self._bare or not self.is_directory else sorted(os.listdir(self._path))


def changes(upper: str, image: Lower, ids: IdMap | None = None) -> Iterator[Change]:
    """What is different from the image, parents before children, by name; the root itself is not told of.

    `ids` are those of the container's user namespace, which the upper directory's files have.
    """
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _Walk(image, ids).inside(b"", fd, image, image)
    finally:
        os.close(fd)


def _xattr(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", f"trusted.overlay.{name}")
    except OSError:
        return b""


class _Walk:
    """`merged` is what overlay shows together with the upper directory, `base` what the image has at this path; they
    are the same but below directories that were made anew or renamed.
    """

    def __init__(self, root: Lower, ids: IdMap | None) -> None:
        self._root = root
        self._ids = ids

    def inside(self, path: bytes, upper: int | None, merged: Lower | None, base: Lower | None) -> Iterator[Change]:
        names = {os.fsencode(name) for name in os.listdir(upper)} if upper is not None else set()
        apart = merged is not base
        if apart and merged is not None:
            names.update(merged.names())
        if apart and base is not None:
            names.update(base.names())
        prefix = path + b"/" if path else b""
        for name in sorted(names):
            below = base.child(name) if base is not None else None
            fd = None
            try:
                if upper is not None:
                    try:
                        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=upper)
                    except FileNotFoundError:
                        pass
                yield from self._one(prefix + name, name, fd, merged, below, apart)
            finally:
                if fd is not None:
                    os.close(fd)

    def _one(
        self, path: bytes, name: bytes, fd: int | None, merged: Lower | None, base: Lower | None, apart: bool
    ) -> Iterator[Change]:
        kind = CHANGED if base is not None else ADDED
        if fd is None:
            shows = merged.child(name) if apart and merged is not None else None
            if shows is not None and base is not None and shows.key == base.key:
                return
            if shows is None:
                if apart and base is not None:
                    yield Change(DELETED, path, hidden=True)
                return
            covers = shows.is_directory and base is not None and base.is_directory
            yield Change(kind, path, opaque=covers)
            if shows.is_directory:
                yield from self.inside(path, None, shows, base if covers else None)
            return
        status = os.fstat(fd)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            if base is not None:
                yield Change(DELETED, path, hidden=apart)
            return
        if not stat.S_ISDIR(status.st_mode):
            if base is None and path in _MOUNT_POINTS and stat.S_ISREG(status.st_mode) and not status.st_size:
                return
            yield Change(kind, path)
            return
        yield from self._directory(path, name, fd, status, merged, base)

    def _directory(
        self, path: bytes, name: bytes, fd: int, status: os.stat_result, merged: Lower | None, base: Lower | None
    ) -> Iterator[Change]:
        base_inside = base if base is not None and base.is_directory else None
        redirect = _xattr(fd, "redirect")
        below = None
        if redirect.startswith(b"/"):
            below = self._at(redirect)
        elif merged is not None and _xattr(fd, "opaque") != b"y":
            below = merged.child(redirect or name)
        if below is not None and not below.is_directory:
            below = None
        if below is not None and base_inside is not None and below.key == base_inside.key:
            below = base_inside
        opaque = base_inside is not None and below is not base_inside and bool(base_inside.names())
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            inside = list(self.inside(path, here, below, base_inside))
            if base is None:
                if path not in _MOUNT_POINTS or inside or not self._made_for_mounts(here, path):
                    yield Change(ADDED, path)
            elif inside or opaque or self._differs(here, path, status, base):
                yield Change(CHANGED, path, opaque=opaque)
            yield from inside
        finally:
            os.close(here)

    def _made_for_mounts(self, fd: int, path: bytes) -> bool:
        """Whether a directory holds mount points at most. An empty /dev is one itself."""
        names = os.listdir(fd)
        return all(path + b"/" + os.fsencode(name) in _MOUNT_POINTS for name in names)

    def _differs(self, fd: int, path: bytes, status: os.stat_result, base: Lower) -> bool:
        if base.prepared:
            return False
        if not base.is_directory:
            return True
        owner = (status.st_uid, status.st_gid)
        if self._ids is not None:
            owner = self._ids.inside(*owner)
        if (stat.S_IMODE(status.st_mode), *owner) != base.attributes:
            return True
        if status.st_mtime_ns == base.mtime_ns:
            return False
        prefix = path + b"/" if path else b""
        return not any(prefix + os.fsencode(name) in _MOUNT_POINTS for name in os.listdir(fd))

    def _at(self, path: bytes) -> Lower | None:
        found: Lower | None = self._root
        for name in path.split(b"/"):
            if name and found is not None:
                found = found.child(name)
        return found
