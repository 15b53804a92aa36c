"""What of files is in memory: the page cache of a file, and which of its pages processes have mapped.

cachestat(2) counts without touching anything (Linux 6.5); before that mincore(2) tells the same of a mapping. Which
pages two processes share is told by the frames that proc_pid_pagemap(5) shows to root.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CACHESTAT = 451  # the same on every architecture
_PROT_READ, _MAP_SHARED = 1, 1
_WINDOW_BYTES = 1 << 30  # mincore(2) wants a byte for each page
_MAP_FAILED = 2 ** (8 * struct.calcsize("P")) - 1
# pagemap's entries (Documentation/admin-guide/mm/pagemap.rst): present, of a file or shared memory, frame number
_PRESENT, _OF_FILE, _FRAME = 1 << 63, 1 << 61, (1 << 55) - 1
_ENTRY_BYTES = 8
_BATCH_PAGES = 1 << 16


class PageCache:
    """Counts what is cached of files. With `mincore` as kernels before 6.5 need it."""

    def __init__(self, *, mincore: bool = False) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._whole_file = ctypes.create_string_buffer(struct.pack("=QQ", 0, 0), 16)
        self._found = ctypes.create_string_buffer(5 * 8)
        self._mincore = mincore

    def resident(self, fd: int) -> int:
        """Bytes of memory that the page cache has of an open regular file: whole pages. Raises `OSError`."""
        if not self._mincore:
            if self._libc.syscall(_CACHESTAT, fd, self._whole_file, self._found, 0) == 0:
                return int(struct.unpack_from("=Q", self._found)[0]) * self._page_bytes
            number = self._ctypes.get_errno()
            if number not in (errno.ENOSYS, errno.EPERM):  # a sandbox that does not know the call says EPERM
                raise OSError(number, os.strerror(number))
            self._mincore = True
        return self._by_mincore(fd)

    def _by_mincore(self, fd: int) -> int:
        size = os.fstat(fd).st_size
        pages = 0
        for offset in range(0, size, _WINDOW_BYTES):
            pages += self._window(fd, offset, min(_WINDOW_BYTES, size - offset))
        return pages * self._page_bytes

    def _window(self, fd: int, offset: int, length: int) -> int:
        ctypes, libc = self._ctypes, self._libc
        address = libc.mmap(None, ctypes.c_size_t(length), _PROT_READ, _MAP_SHARED, fd, ctypes.c_long(offset))
        if address is None or address == _MAP_FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            vector = ctypes.create_string_buffer(-(-length // self._page_bytes))
            if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), vector) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return sum(byte & 1 for byte in vector.raw)
        finally:
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))


def mapped_frames(pid: int, devices: frozenset[tuple[int, int]]) -> set[int]:
    """Frames of memory with pages of files that a process has mapped and touched.

    Only of files on `devices` (major, minor) as proc_pid_maps(5) shows them. What the process wrote to a private
    mapping is its own and not among them. Empty when the process has ended; `PermissionError` without CAP_SYS_ADMIN,
    for which the kernel shows no frames.
    """
    frames: set[int] = set()
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    try:
        fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return frames
    try:
        for start, end in _file_mappings(pid, devices):
            for first in range(start // page_bytes, end // page_bytes, _BATCH_PAGES):
                count = min(_BATCH_PAGES, end // page_bytes - first)
                data = os.pread(fd, count * _ENTRY_BYTES, first * _ENTRY_BYTES)
                for (entry,) in struct.iter_unpack("=Q", data[: len(data) // _ENTRY_BYTES * _ENTRY_BYTES]):
                    if entry & _PRESENT and entry & _OF_FILE:
                        if not entry & _FRAME:
                            raise PermissionError(errno.EPERM, "the kernel shows no frames of memory")
                        frames.add(entry & _FRAME)
    except ProcessLookupError:
        return frames
    finally:
        os.close(fd)
    return frames


def _file_mappings(pid: int, devices: frozenset[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Address ranges that map files on these devices."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            lines = file.readlines()
    except (FileNotFoundError, ProcessLookupError):
        return
    for line in lines:
        fields = line.split(None, 5)
        major, _, minor = fields[3].partition(b":")
        if fields[4] != b"0" and (int(major, 16), int(minor, 16)) in devices:
            start, _, end = fields[0].partition(b"-")
            yield int(start, 16), int(end, 16)


def root_device(pid: int) -> tuple[int, int] | None:
    """The device (major, minor) of the file system at a process's root; None when it has ended."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            found = [line.split(b" ", 5)[2] for line in file if line.split(b" ", 5)[4] == b"/"]
    except (FileNotFoundError, ProcessLookupError, OSError):
        return None
    if not found:
        return None
    major, _, minor = found[-1].partition(b":")
    return int(major), int(minor)


def resident_and_proportional(pid: int) -> tuple[int, int]:
    """A process's (RSS, PSS) in bytes by proc_pid_smaps_rollup(5): of shared pages PSS counts its part only."""
    found = {b"Rss:": 0, b"Pss:": 0}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                fields = line.split()
                if fields[0] in found:
                    found[fields[0]] = int(fields[1]) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return found[b"Rss:"], found[b"Pss:"]
