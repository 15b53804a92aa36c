"""Delete and measure directory trees that a container filled, so with any names, any depth, and symlinks anywhere."""

from __future__ import annotations

import os

MAX_DEPTH = 256
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Delete the directory `path` and all below; nothing there is fine, and so is what others delete meanwhile.

    Raises `OSError`.

    Subdirectories are moved up before they are emptied, so neither path length nor open files grow with the depth,
    and no name is ever looked up through another directory of the tree.
    """
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    prefix = f".gone-{os.urandom(6).hex()}-"
    moved = 0
    try:
        while True:
            directories = _unlink_files(top)
            if not directories:
                break
            for name in directories:
                try:
                    below = os.open(name, _DIRECTORY, dir_fd=top)
                except FileNotFoundError:
                    continue
                try:
                    for child in _unlink_files(below):
                        try:
                            os.rmdir(child, dir_fd=below)
                        except FileNotFoundError:
                            continue
                        except OSError:
                            moved += 1
                            os.rename(child, f"{prefix}{moved}", src_dir_fd=below, dst_dir_fd=top)
                finally:
                    os.close(below)
                _rmdir(name, top)
    finally:
        os.close(top)
    _rmdir(path)


def _rmdir(path: str, dir_fd: int | None = None) -> None:
    try:
        os.rmdir(path, dir_fd=dir_fd)
    except FileNotFoundError:
        pass


def _unlink_files(fd: int) -> list[str]:
    """Delete what is no directory; returns the names of the directories."""
    directories = []
    with os.scandir(fd) as found:
        for item in list(found):
            if item.is_dir(follow_symlinks=False):
                directories.append(item.name)
            else:
                try:
                    os.unlink(item.name, dir_fd=fd)
                except FileNotFoundError:
                    pass
    return directories


def tree_usage(path: str) -> tuple[int, int]:
    """(bytes of disk, inodes) below the directory `path`, which may be changing; itself is not counted.

    What lies more than 256 directories deep is not counted.
    """
    size = 0
    inodes: set[tuple[int, int]] = set()
    try:
        fds = [os.open(path, _DIRECTORY)]
    except OSError:
        return 0, 0
    names = [_list(fds[0])]
    try:
        while fds:
            if not names[-1]:
                names.pop()
                os.close(fds.pop())
                continue
            name = names[-1].pop()
            try:
                status = os.stat(name, dir_fd=fds[-1], follow_symlinks=False)
            except OSError:
                continue
            key = (status.st_dev, status.st_ino)
            if key in inodes:
                continue
            inodes.add(key)
            size += status.st_blocks * 512
            if status.st_mode & 0o170000 == 0o040000 and len(fds) < MAX_DEPTH:
                try:
                    fds.append(os.open(name, _DIRECTORY, dir_fd=fds[-1]))
                except OSError:
                    continue
                names.append(_list(fds[-1]))
    finally:
        for fd in fds:
            os.close(fd)
    return size, len(inodes)


def _list(fd: int) -> list[str]:
    try:
        return os.listdir(fd)
    except OSError:
        return []
