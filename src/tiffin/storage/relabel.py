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

    What has the label already is not touched, so that a second start costs little.
    """
    value = (shared_label(label) if shared else label).encode()
    try:
        top = os.lstat(path)
        _label(path, value, xattr)
        if not os.path.isdir(path) or os.path.islink(path):
            return
        pending = [path]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.stat(follow_symlinks=False).st_dev != top.st_dev:
                        continue
                    _label(entry.path, value, xattr)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return  # as Docker: a file system without labels has none to change
        raise HostError(f"cannot relabel {error.filename or path} for SELinux: {error.strerror}") from error


def _label(path: str, value: bytes, xattr: str) -> None:
    try:
        if os.getxattr(path, xattr, follow_symlinks=False).rstrip(b"\0") == value:
            return
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    try:
        os.setxattr(path, xattr, value, follow_symlinks=False)
    except FileNotFoundError:
        return  # it went meanwhile
