"""Counting the page cache, by both system calls."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tiffin.storage.pagecache import PageCache, mapped_frames, resident_and_proportional, root_device

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(params=[False, True], ids=["cachestat", "mincore"])
def cache(request: pytest.FixtureRequest) -> PageCache:
    return PageCache(mincore=request.param)


def resident(cache: PageCache, path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return cache.resident(fd)
    finally:
        os.close(fd)


def test_what_was_written_is_cached(cache: PageCache, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * (5 * PAGE + 1))
    assert resident(cache, file) == 6 * PAGE
    file.write_bytes(b"")
    assert resident(cache, file) == 0


def test_what_was_dropped_is_not(cache: PageCache) -> None:
    path = Path("/var/tmp") / f"tiffin-cache-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        path.write_bytes(os.urandom(64 * PAGE))
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert cache.resident(fd) == 0
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
            os.pread(fd, 1, 10 * PAGE)
            assert cache.resident(fd) == PAGE
        finally:
            os.close(fd)
    finally:
        path.unlink()


def test_both_count_the_same(tmp_path: Path) -> None:
    fd = os.open("/bin/sh", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert PageCache().resident(fd) == PageCache(mincore=True).resident(fd) > 0
    finally:
        os.close(fd)


def test_holes_are_not_cached_until_they_are_read(cache: PageCache, tmp_path: Path) -> None:
    file = tmp_path / "sparse"
    with file.open("wb") as out:
        out.truncate(3 << 30)  # more than one window of mincore
        out.seek(2 << 30)
        out.write(b"end")
    assert resident(cache, file) == PAGE


def test_what_is_no_file(cache: PageCache) -> None:
    read, write = os.pipe()
    try:
        if not cache._mincore:
            assert cache.resident(read) == 0
        fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                PageCache().resident(fd)
            assert caught.value.errno == errno.EBADF
        finally:
            os.close(fd)
    finally:
        os.close(read)
        os.close(write)


def test_an_older_kernel_is_asked_by_mincore(tmp_path: Path) -> None:
    """Kernels before 6.5 do not know the first call; the answer is the same."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * PAGE)
    cache = PageCache()
    libc = cache._libc

    class Older:
        def __getattr__(self, name: str) -> object:
            return getattr(libc, name)

        def syscall(self, *_: object) -> int:
            cache._ctypes.set_errno(errno.ENOSYS)
            return -1

    cache._libc = Older()
    assert resident(cache, file) == PAGE
    assert cache._mincore


def test_processes_that_are_gone() -> None:
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    assert mapped_frames(gone, frozenset()) == set()
    assert root_device(gone) is None
    assert resident_and_proportional(gone) == (0, 0)


def test_ones_own_memory() -> None:
    rss, pss = resident_and_proportional(os.getpid())
    assert 0 < pss <= rss
    assert root_device(os.getpid()) is not None
    if os.geteuid() == 0:
        device = os.stat("/bin/sh").st_dev
        own = mapped_frames(os.getpid(), frozenset(((os.major(device), os.minor(device)),)))
        assert 0 < len(own) * PAGE <= rss
        assert mapped_frames(os.getpid(), frozenset()) == set()
