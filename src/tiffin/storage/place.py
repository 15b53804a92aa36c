"""Put a stream of files below a directory that somebody else may be changing, without ever leaving its root."""

from __future__ import annotations

import errno
import os
import stat

from tiffin.errors import ConflictError, InvalidImageError, UsageError
from tiffin.storage.contents import CHUNK_BYTES, rooted_capability
from tiffin.storage.entry import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    OPAQUE,
    REGULAR,
    SYMLINK,
    WHITEOUT,
    Entry,
    shown,
)  # fmt: skip
from tiffin.storage.inroot import MAX_SYMLINKS, open_in_root
from tiffin.storage.writable import set_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tiffin.model.idmap import IdMap
    from tiffin.storage.contents import Content

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def resolve(root_fd: int, path: bytes, *, follow: bool = True) -> tuple[bytes, os.stat_result | None]:
    """Where `path` leads inside the root, without symlinks, and what is there; None when only that is missing.

    The last component is followed only if `follow`. Raises `OSError` when something before it is missing or no
    directory. What is found may be another thing a moment later, so it is to be opened with `open_in_root` again.
    """
    names: list[bytes] = []
    pending = [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]
    links = 0
    while pending:
        name = pending.pop()
        if name == b"..":
            del names[-1:]
            continue
        parent = open_in_root(root_fd, b"/".join(names), os.O_PATH)
        try:
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                if pending:
                    raise
                return b"/".join([*names, name]), None
            if stat.S_ISLNK(status.st_mode) and (pending or follow):
                links += 1
                if links > MAX_SYMLINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(name, dir_fd=parent)
                if target.startswith(b"/"):
                    names.clear()
                pending += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                continue
            if pending and not stat.S_ISDIR(status.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            names.append(name)
        finally:
            os.close(parent)
    joined = b"/".join(names)
    fd = open_in_root(root_fd, joined[: -len(names[-1])] if names else b"", os.O_PATH)
    try:
        return joined, os.stat(names[-1] if names else ".", dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)


class Placer:
    """Makes files below `base`, a path without symlinks in the root that `root_fd` has open.

    With `follow` symlinks in the way of an entry are resolved inside the root, as for a process in it; else they are
    refused. `owner` is numbers for everything, "kept" for the entries' own, or None for the caller's; where the owner
    changes, setuid and setgid bits go. `special`: make devices and extended attributes. With `ids` all of these are
    ids in that user namespace. Use as a context manager:
    at the end directories get their times. Raises `OSError`, `ConflictError`, `InvalidImageError`.
    """

    def __init__(
        self,
        root_fd: int,
        base: bytes = b"",
        *,
        follow: bool,
        owner: tuple[int, int] | str | None,
        special: bool,
        warn: Callable[[str], None],
        progress: Callable[[int], None] | None = None,
        ids: IdMap | None = None,
    ) -> None:
        self._ids = ids
        self._root = root_fd
        self._base = base
        self._follow = follow
        self._owner = ids.outside(*owner) if ids is not None and isinstance(owner, tuple) else owner
        self._special = special
        self._warn = warn
        self._progress = progress
        self._parent: tuple[bytes, int] | None = None
        self._times: list[Entry] = []
        self._acting: AbstractContextManager[None] | None = None
        self.written = 0

    def __enter__(self) -> Placer:
        if self._ids is not None:
            from tiffin.storage.acting import acting_as_root_of

            self._acting = acting_as_root_of(self._ids)
            self._acting.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                for entry in reversed(self._times):
                    parent = self._directory(entry.path)
                    set_times(".", _mtime(entry), dir_fd=parent)
        finally:
            self._forget()
            if self._acting is not None:
                self._acting.__exit__(None, None, None)

    def _forget(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def place(self, entry: Entry, content: Content | None) -> None:
        """Make one entry, in place of what is there."""
        kind = entry.kind
        if kind in (WHITEOUT, OPAQUE):
            raise InvalidImageError(f"the archive hides {shown(entry.path)} (.wh.), which only image layers can")
        if not entry.path:
            return  # the directory that everything is put into stays as it is
        if self._ids is not None:
            entry.uid, entry.gid = self._ids.outside(entry.uid, entry.gid)
            root = self._ids.root[0]
            entry.xattrs = tuple((name, rooted_capability(name, value, root)) for name, value in entry.xattrs)
        parent_path, _, name = entry.path.rpartition(b"/")
        parent = self._directory(parent_path)
        there = self._look(parent, name)
        if kind == DIRECTORY:
            self._make_directory(parent, name, entry, there)
            return
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise ConflictError(f"cannot overwrite directory {shown(entry.path)} with non-directory")
        if kind in (CHARACTER, BLOCK) and not self._special:
            self._warn(f"devices are not copied: {shown(entry.path)}")
            return
        if kind == HARDLINK:
            self._link(parent, name, entry, there)
            return
        if there is not None:
            try:
                os.unlink(name, dir_fd=parent)
            except OSError as error:
                # A mount point, like a container's /etc/hosts, can be written to but not replaced.
                if error.errno != errno.EBUSY or kind != REGULAR or not stat.S_ISREG(there.st_mode):
                    raise
                self._fill(os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, dir_fd=parent), entry, content)
                return
        if kind == REGULAR:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fill(os.open(name, flags, 0o600, dir_fd=parent), entry, content)
        elif kind == SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            self._own(entry, name, parent)
            set_times(name, _mtime(entry), dir_fd=parent)
        else:
            self._make_special(parent, name, entry)

    @staticmethod
    def _look(parent: int, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _directory(self, path: bytes) -> int:
        """The directory `path` below the base, open until another is asked for; missing ones are made."""
        if self._parent is not None and self._parent[0] == path:
            return self._parent[1]
        self._forget()
        fd = open_in_root(self._root, self._base, os.O_PATH)
        trail: list[bytes] = []
        try:
            for name in path.split(b"/") if path else ():
                trail.append(name)
                below = self._step(fd, name, trail)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        self._parent = (path, fd)
        return fd

    def _step(self, fd: int, name: bytes, trail: list[bytes]) -> int:
        for _ in range(2):
            try:
                return os.open(name, _DIRECTORY, dir_fd=fd)
            except FileNotFoundError:
                try:
                    os.mkdir(name, 0o755, dir_fd=fd)
                except FileExistsError:
                    pass
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                break
        path = b"/".join(trail)
        if not self._follow:
            raise ConflictError(f"cannot copy below {shown(path)}: it is no directory")
        below = open_in_root(self._root, self._base + b"/" + path, os.O_PATH)
        if not stat.S_ISDIR(os.fstat(below).st_mode):
            os.close(below)
            raise ConflictError(f"cannot copy below {shown(path)}: it is no directory")
        return below

    def _make_directory(self, parent: int, name: bytes, entry: Entry, there: os.stat_result | None) -> None:
        if there is not None and not stat.S_ISDIR(there.st_mode):
            raise ConflictError(f"cannot overwrite non-directory {shown(entry.path)} with directory")
        if there is None:
            os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._attributes(fd, entry)
        finally:
            os.close(fd)
        self._times.append(Entry(entry.path, DIRECTORY, 0, 0, 0, entry.mtime_s, entry.mtime_ns))

    def _link(self, parent: int, name: bytes, entry: Entry, there: os.stat_result | None) -> None:
        held = os.dup(parent)
        try:
            above, _, first = entry.link.rpartition(b"/")
            directory = self._directory(above)
            if there is not None:
                known = self._look(directory, first)
                if known is not None and (known.st_dev, known.st_ino) == (there.st_dev, there.st_ino):
                    return
                os.unlink(name, dir_fd=held)
            try:
                os.link(first, name, src_dir_fd=directory, dst_dir_fd=held, follow_symlinks=False)
            except FileNotFoundError:
                raise InvalidImageError(
                    f"the hard link {shown(entry.path)} leads to the missing file {shown(entry.link)}"
                ) from None
        finally:
            os.close(held)

    def _fill(self, fd: int, entry: Entry, content: Content | None) -> None:
        try:
            if content is not None:
                for offset, length in content.segments:
                    os.lseek(fd, offset, os.SEEK_SET)
                    while length and (data := content.read(min(length, CHUNK_BYTES))):
                        length -= len(data)
                        self.written += len(data)
                        view = memoryview(data)
                        while view:
                            view = view[os.write(fd, view) :]
                        if self._progress:
                            self._progress(self.written)
            os.ftruncate(fd, entry.size)
            self._attributes(fd, entry)
            os.utime(fd, ns=(_mtime(entry),) * 2)
        finally:
            os.close(fd)

    def _mode(self, entry: Entry) -> int:
        return entry.mode if self._owner == "kept" else entry.mode & 0o1777

    def _attributes(self, fd: int, entry: Entry) -> None:
        """Owner, mode and extended attributes, in the order in which they do not undo each other."""
        if isinstance(self._owner, tuple):
            os.fchown(fd, *self._owner)
        elif self._owner is not None:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, self._mode(entry))
        for name, value in entry.xattrs if self._special else ():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise

    def _own(self, entry: Entry, name: bytes, parent: int) -> None:
        if isinstance(self._owner, tuple):
            os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)
        elif self._owner is not None:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)

    def _make_special(self, parent: int, name: bytes, entry: Entry) -> None:
        kinds = {FIFO: stat.S_IFIFO, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}
        if entry.kind not in kinds:
            raise UsageError(f"{shown(entry.path)} is of a kind that cannot be copied")
        os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) == kinds[entry.kind]:  # and not what somebody put there since
                self._own_open(entry, fd)
                os.chmod(f"/proc/self/fd/{fd}", self._mode(entry))
        finally:
            os.close(fd)

    def _own_open(self, entry: Entry, fd: int) -> None:
        if self._owner is not None:
            uid, gid = self._owner if isinstance(self._owner, tuple) else (entry.uid, entry.gid)
            os.chown(f"/proc/self/fd/{fd}", uid, gid)


def _mtime(entry: Entry) -> int:
    return max(-(1 << 62), min(entry.mtime_s * 1_000_000_000 + entry.mtime_ns, 1 << 62))
