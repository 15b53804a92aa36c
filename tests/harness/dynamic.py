"""Images of one dynamically linked program, the host's sleep(1), and its libraries; and what of them is in memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

PROGRAM = "/bin/sleep"
# Entries of proc_pid_pagemap(5): in memory, and not a page of the process's own, as relocated ones are.
OF_FILE, FRAME = 1 << 63 | 1 << 61, (1 << 55) - 1


def libraries() -> list[str]:
    """What the program loads, as its loader tells: absolute paths, links resolved by nobody."""
    said = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    return [word for line in said.splitlines() for word in line.split() if word.startswith("/")]


def sleep_tar(*, backwards: bool = False, mtime: int = 1_700_000_000, extra: bytes = b"") -> bytes:
    """A root file system of that program; variants have the same contents in layers that have nothing in common."""
    out = io.BytesIO()
    files = {path: Path(path).read_bytes() for path in [PROGRAM, *libraries()]}
    if extra:
        files["/opt/extra"] = extra
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files, reverse=backwards):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.mode, entry.mtime, entry.size = 0o755, mtime, len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    return out.getvalue()


class Mapped(NamedTuple):
    """One file's mappings in a process, in bytes as smaps counts; `frames` are memory frames by the file's page."""

    rss: int
    pss: int
    shared_clean: int
    private_clean: int
    frames: dict[int, int]


def mapped(pid: int, name: str) -> Mapped:
    """What a process has mapped, read-only, of files whose names contain `name` (proc_pid_smaps(5))."""
    sums = {"Rss:": 0, "Pss:": 0, "Shared_Clean:": 0, "Private_Clean:": 0}
    frames: dict[int, int] = {}
    inside = False
    page = os.sysconf("SC_PAGE_SIZE")
    with open(f"/proc/{pid}/smaps") as file, open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in file:
            fields = line.split()
            if "-" in fields[0] and not fields[0].endswith(":"):
                inside = len(fields) > 5 and name in fields[5] and "w" not in fields[1]
                if inside:
                    start, end = (int(part, 16) for part in fields[0].split("-"))
                    pagemap.seek(start // page * 8)
                    entries = struct.unpack(f"={(end - start) // page}Q", pagemap.read((end - start) // page * 8))
                    first = int(fields[2], 16) // page
                    found = enumerate(entries, first)
                    frames |= {place: entry & FRAME for place, entry in found if entry & OF_FILE == OF_FILE}
            elif inside and fields[0] in sums:
                sums[fields[0]] += int(fields[1]) * 1024
    return Mapped(sums["Rss:"], sums["Pss:"], sums["Shared_Clean:"], sums["Private_Clean:"], frames)


def wait_asleep(pid: int, timeout_s: float = 10.0) -> None:
    """Until the process has loaded its libraries and sleeps."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/maps") as file:
            loaded = "libc" in file.read()
        with open(f"/proc/{pid}/stat") as file:
            if loaded and file.read().rpartition(")")[2].split()[0] == "S":
                return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} does not sleep")
