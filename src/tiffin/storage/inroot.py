"""Open a path beneath a directory that somebody else may be changing, without ever leaving it.

`openat2(RESOLVE_IN_ROOT)` would do this in one call, but Python cannot call it without ctypes; walking component by
component with O_NOFOLLOW gives the same promise: every name is looked up in a directory that is already open.
"""

from __future__ import annotations

import errno
import os
import stat

MAX_SYMLINKS = 40  # as the kernel, path_resolution(7)
MAX_COMPONENTS = 4096


def open_in_root(root_fd: int, path: str | bytes, flags: int = os.O_RDONLY) -> int:
    """Open `path` as a process with its root at `root_fd` would; returns a file descriptor.

    Symlinks, absolute ones too, are resolved inside the root; `..` stops there. Only regular files and directories
    are opened with `flags` (which must not create), since opening a device or a fifo has effects of its own; with
    O_PATH in `flags` anything can be had. Raises `OSError`: ENOENT, ENOTDIR, ELOOP, EACCES for a special file.
    """
    pending = [name for name in reversed(os.fsencode(path).split(b"/")) if name not in (b"", b".")]
    stack = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)]
    leaf = -1
    links = 0
    steps = 0
    try:
        while pending:
            steps += 1
            if steps > MAX_COMPONENTS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            name = pending.pop()
            if name == b"..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
            kind = stat.S_IFMT(os.fstat(found).st_mode)
            if kind == stat.S_IFDIR:
                stack.append(found)
            elif kind == stat.S_IFLNK:
                try:
                    target = os.readlink(b"", dir_fd=found)
                finally:
                    os.close(found)
                links += 1
                if links > MAX_SYMLINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith(b"/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                pending += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
            elif pending:
                os.close(found)
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            else:
                leaf = found
                if not flags & os.O_PATH and kind != stat.S_IFREG:
                    raise OSError(errno.EACCES, "not a regular file or directory", path)
        if leaf < 0:
            leaf = stack.pop()
        if flags & os.O_PATH:
            chosen, leaf = leaf, -1
            return chosen
        # The magic link leads to the very inode that was found above, whatever its name is now.
        return os.open(f"/proc/self/fd/{leaf}", flags | os.O_CLOEXEC)
    finally:
        if leaf >= 0:
            os.close(leaf)
        for held in stack:
            os.close(held)


def read_in_root(root_fd: int, path: str | bytes, max_bytes: int = 1 << 20) -> bytes | None:
    """The content of a regular file beneath `root_fd`; None when there is no such file or it is larger.

    No more is read than the file's size: files of procfs, to which a container may lead us, have none, and to read
    some of them waits for ever (/proc/kmsg).
    """
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
            return None
        chunks = []
        left = found.st_size
        while left and (chunk := os.read(fd, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    except OSError:
        return None
    finally:
        os.close(fd)
