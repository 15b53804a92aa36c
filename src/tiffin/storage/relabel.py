"""SELinux labels of what containers mount: -v's options `z` and `Z`."""

from __future__ import annotations

import errno
import os

from tiffin.errors import HostError

XATTR = "security.selinux"


def shared_label(label: str) -> str:
    """The label without its categories, so that every container may use what has it."""
    return ":".join(label.split(":")[:3]) + ":s0"


def relabel(path: str, label: str, *, shared: bool, xattr: str = XATTR) -> None:
    """Label a file or a whole tree, without following symlinks or leaving its file system. Raises `HostError`.

    What has the label already is not touched, so that a second start costs little. A container may be changing the
    tree meanwhile: every name is looked up in a directory that is open already, so no link leads out of it.
    """
    value = (shared_label(label) if shared else label).encode()
    try:
        _label(path, value, xattr)
        if not os.path.isdir(path) or os.path.islink(path):
            return
        top = os.open(path, _DIRECTORY)
        try:
            pending: list[tuple[str, ...]] = [()]
            while pending:
                names = pending.pop()
                pending += [(*names, name) for name in _label_below(top, path, names, value, xattr)]
        finally:
            os.close(top)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return  # as Docker: a file system without labels has none to change
        raise HostError(f"cannot relabel {error.filename or path} for SELinux: {error.strerror}") from error


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _label_below(top: int, path: str, names: tuple[str, ...], value: bytes, xattr: str) -> list[str]:
    """Label what is in a directory; the names of directories in it. Nothing for one that is not there any more."""
    device = os.fstat(top).st_dev
    try:
        fd = _open_below(top, names)
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise
    try:
        found = []
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_dev != device:
                    continue
                try:
                    _label(f"/proc/self/fd/{fd}/{entry.name}", value, xattr)
                except OSError as error:
                    error.filename = "/".join((path, *names, entry.name))
                    raise
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
        return found
    finally:
        os.close(fd)


def _open_below(top: int, names: tuple[str, ...]) -> int:
    """A directory below another, reached step by step."""
    fd = os.dup(top)
    for name in names:
        try:
            step = os.open(name, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = step
    return fd


def _label(path: str, value: bytes, xattr: str) -> None:
    try:
        if os.getxattr(path, xattr, follow_symlinks=False).rstrip(b"\0") == value:
            return
    except FileNotFoundError:
        return  # it went meanwhile
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    try:
        os.setxattr(path, xattr, value, follow_symlinks=False)
    except FileNotFoundError:
        return
