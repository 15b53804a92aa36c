"""`cp`: files into a container and out of it, with Docker's rules for what a path means.

A source that is a directory becomes the destination, or goes into it if that is a directory already; with `/.` at its
end only what is in it goes. Nothing is followed out of the container's root, whatever it does to its files meanwhile.
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import contextmanager

from tiffin.containers import events
from tiffin.containers.root import locked, opened
from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError
from tiffin.model import idmap
from tiffin.storage.contents import FileItems, open_leaf, tar_items
from tiffin.storage.inroot import open_in_root
from tiffin.storage.place import Placer, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.storage.contents import Item

_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)


class _Wanted:
    """A path as the user wrote it. `contents`: it ends with "/.". `directory`: it says that it is a directory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.contents = path == "." or path.endswith("/.")
        self.directory = self.contents or path.endswith("/")
        self.clean = posixpath.normpath(path)
        self.name = os.fsencode(posixpath.basename(self.clean))
        if self.name in (b"", b".", b".."):
            self.contents, self.name = True, b""


def copy_out(
    parts: Parts,
    container: Container,
    path: str,
    destination: str | IO[bytes],
    *,
    follow: bool,
    archive: bool,
    progress: Callable[[int], None] | None,
) -> None:
    """From a container to a path of the host, or as a tar stream to a file. Raises as `Engine.copy_out` says."""
    wanted = _Wanted(posixpath.join("/", path))
    ids = idmap.of(container)
    with (
        locked(parts, container),
        opened(parts, container, mounts=True) as root,
        _source(root, wanted, follow, container) as fd,
    ):
        mode = os.fstat(fd).st_mode
        _check_source(mode, wanted, f"{container.name}:{path}", tar=not isinstance(destination, str))
        events.tell(parts, container, "archive-path")
        if not isinstance(destination, str):
            from tiffin.storage.tarwrite import tar_stream

            name = b"" if wanted.contents else wanted.name
            for chunk in tar_stream(FileItems(parts.warn, ids).tree(fd, name)):
                destination.write(chunk)
            return
        base, name = _host_place(destination, wanted, stat.S_ISDIR(mode))
        with _told(f"cannot copy to {destination}"):
            base_fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                owner = "kept" if archive else None
                with Placer(
                    base_fd, follow=False, owner=owner, special=False, warn=parts.warn, progress=progress
                ) as placer:
                    _place(placer, FileItems(parts.warn, ids).tree(fd, name))
            finally:
                os.close(base_fd)


def copy_in(
    parts: Parts,
    container: Container,
    source: str | IO[bytes],
    path: str,
    *,
    follow: bool,
    archive: bool,
    progress: Callable[[int], None] | None,
) -> None:
    """From a path of the host, or a tar stream, into a container. Raises as `Engine.copy_in` says."""
    with locked(parts, container), opened(parts, container, mounts=True) as root:
        owner = _owner(root, container) if archive else "kept"
        place = _Wanted(posixpath.join("/", path))
        if not isinstance(source, str):
            base, status = _inside(root, place, container)
            if status is None or not stat.S_ISDIR(status.st_mode):
                raise UsageError(f'destination "{container.name}:{path}" must be a directory')
            _unpack(parts, container, root, base, source, owner, progress)
            events.tell(parts, container, "extract-to-dir")
            return
        wanted = _Wanted(source)
        fd = _host_source(wanted, follow)
        try:
            mode = os.fstat(fd).st_mode
            _check_source(mode, wanted, source, tar=False)
            _refuse_proc(fd, source)
            base, name = _container_place(root, place, wanted, stat.S_ISDIR(mode), container)
            with (
                _told(f"cannot copy to {container.name}:{path}"),
                Placer(
                    root,
                    base,
                    follow=True,
                    owner=owner,
                    special=True,
                    warn=parts.warn,
                    progress=progress,
                    ids=idmap.of(container),
                ) as placer,  # fmt: skip
            ):
                _place(placer, FileItems(parts.warn).tree(fd, name))
        finally:
            os.close(fd)
        events.tell(parts, container, "extract-to-dir")


def _place(placer: Placer, items: Iterator[Item]) -> None:
    for entry, content in items:
        placer.place(entry, content)


def _unpack(
    parts: Parts,
    container: Container,
    root: int,
    base: bytes,
    source: IO[bytes],
    owner: tuple[int, int] | str,
    progress: Callable[[int], None] | None,
) -> None:
    from tiffin.images.codecs import Decompressed
    from tiffin.storage.tarstream import TarReader

    with Decompressed(source, "the archive") as stream, _told(f"cannot copy to container {container.name!r}"):
        reader = TarReader(stream.binary, _ignore, _ignore)
        with Placer(
            root, base, follow=True, owner=owner, special=True, warn=parts.warn, progress=progress,
            ids=idmap.of(container),
        ) as placer:  # fmt: skip
            _place(placer, tar_items(reader))


def _ignore(data: bytes) -> None:
    pass


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """System errors as sentences."""
    import errno

    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ConflictError(f"{doing}: the file system is read-only") from error
        where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes) else ""
        raise HostError(f"{doing}: {error.strerror}{where}") from error


def _missing(path: str, container: Container) -> NotFoundError:
    return NotFoundError(f"could not find the file {path} in container {container.name}")


@contextmanager
def _source(root: int, wanted: _Wanted, follow: bool, container: Container) -> Iterator[int]:
    """What is to be copied out, opened with O_PATH."""
    try:
        found, _ = resolve(root, os.fsencode(wanted.clean), follow=follow or wanted.directory)
        above, _, name = found.rpartition(b"/")
        parent = open_in_root(root, above, os.O_PATH)
        try:
            fd = open_leaf(parent, name) if name else os.dup(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise _missing(wanted.path, container) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _host_source(wanted: _Wanted, follow: bool) -> int:
    path = wanted.clean if not (follow or wanted.directory) else os.path.realpath(wanted.clean)
    try:
        return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"lstat {wanted.path}: no such file or directory") from error
    except OSError as error:
        raise HostError(f"cannot read {wanted.path}: {error.strerror}") from error


def _check_source(mode: int, wanted: _Wanted, shown: str, *, tar: bool) -> None:
    if wanted.directory and not stat.S_ISDIR(mode):
        raise UsageError(f"{shown}: not a directory")
    if stat.S_IFMT(mode) in _SPECIAL and not (tar and not stat.S_ISSOCK(mode)):
        kind = "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise UsageError(f"cannot copy {shown}: it is {kind}", hint="copy what it gives with `tiffin exec`")


def _refuse_proc(fd: int, shown: str) -> None:
    """All files of proc say that they have 0 bytes: their copies would be empty, and nobody would be told."""
    status = os.fstat(fd)
    if not stat.S_ISLNK(status.st_mode) and status.st_dev == os.stat("/proc").st_dev:
        raise UsageError(
            f"cannot copy {shown}: files of proc have no size", hint="copy what it gives with `tiffin exec -i`"
        )


def _host_place(destination: str, source: _Wanted, is_directory: bool) -> tuple[str, bytes]:
    """(directory to copy into, name there) for a destination on the host; the name is b"" for contents only."""
    target = destination
    if os.path.islink(target.rstrip("/") or "/"):
        target = os.path.realpath(target) + ("/" if target.endswith("/") else "")
    plain = target.rstrip("/") or "/"
    if os.path.isdir(plain):
        return plain, b"" if source.contents and is_directory else source.name
    if os.path.lexists(plain):
        if is_directory:
            raise ConflictError(f"cannot copy directory to {destination}: it is a file")
        if target.endswith("/"):
            raise ConflictError(f"{destination}: not a directory")
    elif target.endswith(("/", "/.")) and not is_directory:
        raise NotFoundError(f"{destination}: no such directory")
    parent = os.path.dirname(plain) or "."
    if not os.path.isdir(parent):
        raise NotFoundError(f'invalid output path: directory "{parent}" does not exist')
    return parent, os.fsencode(os.path.basename(plain))


def _inside(root: int, place: _Wanted, container: Container) -> tuple[bytes, os.stat_result | None]:
    try:
        return resolve(root, os.fsencode(place.clean))
    except OSError as error:
        parent = posixpath.dirname(place.clean) if not place.directory else place.clean
        raise _missing(parent, container) from error


def _container_place(
    root: int, place: _Wanted, source: _Wanted, is_directory: bool, container: Container
) -> tuple[bytes, bytes]:
    """As `_host_place`, for a destination inside; the directory is a path without symlinks."""
    shown = f"{container.name}:{place.path}"
    found, status = _inside(root, place, container)
    if status is not None and stat.S_ISDIR(status.st_mode):
        return found, b"" if source.contents and is_directory else source.name
    if status is not None:
        if is_directory:
            raise ConflictError(f"cannot copy directory to {shown}: it is a file")
        if place.directory:
            raise ConflictError(f"{shown}: not a directory")
    elif place.directory and not is_directory:
        raise NotFoundError(f"{shown}: no such directory")
    parent, _, name = found.rpartition(b"/")
    return parent, name


def _owner(root: int, container: Container) -> tuple[int, int] | str:
    """With -a, as Docker: the user that the container was made for."""
    from tiffin.runtime import users
    from tiffin.storage.inroot import read_in_root

    if not container.user:
        return "kept"
    passwd, group = read_in_root(root, "/etc/passwd"), read_in_root(root, "/etc/group")
    identity = users.resolve(container.user, (), passwd, group)
    return identity.uid, identity.gid
