"""What images that differ by one package cost beside each other: on disk, in the page cache, in processes' memory.

Run as root: `make sharing`. Each image is made of a tar of its own, Debian's minimal system and a package that no other
has, as builds on different machines would make them: the layers are different, most of their files are not.
"""

from __future__ import annotations

import argparse
import compileall
import io
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import arena
import tiffin
from archives import debian_tar
from measure import pss_bytes
from peers import IMAGE, CommandPeer, Docker, Tiffin
from report import Row, processor, write_between_markers
from tiffin.storage.pagecache import PageCache

BEGIN = "<!-- figures: written by `make sharing WRITE=1` -->"
END = "<!-- end of figures -->"
COUNTS = (1, 5, 20)
PACKAGE_BYTES = 1_000_000
SETTLE_S = 1.0
# Dynamically linked, in every Debian, and with libraries of its own beside the C library.
PROGRAM = ("perl", "-MPOSIX", "-MSocket", "-MFcntl", "-e", "sleep 100000")


class Cost(NamedTuple):
    """Of some images and a running container of each, in bytes; `pss_bytes` is the median container's program's."""

    disk_bytes: int
    cached_bytes: int
    pss_bytes: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="how many images (default 1,5,20)")
    parser.add_argument("--write", metavar="PAGE", help="also put the table between the markers of this page")
    options = parser.parse_args()
    compileall.compile_dir(os.path.dirname(tiffin.__file__), quiet=1)
    tar, work = debian_tar(), tempfile.mkdtemp(prefix="tiffin-bench-", dir="/var/tmp")
    os.chmod(work, 0o711)
    arena.enter(work)
    cgroups = arena.peer_cgroups()
    engines: list[CommandPeer] = [Tiffin(work, os.path.join(os.path.dirname(sys.executable), "tiffin"))]
    try:
        if shutil.which("dockerd") and shutil.which("docker"):
            engines.append(Docker(work))
        costs = {engine.name: _costs(engine, tar, _counts(options.counts)) for engine in engines}
        versions = [engine.version().partition(", build")[0] for engine in engines]
    finally:
        for engine in engines:
            engine.close()
        arena.remove_cgroups(cgroups)
        arena.remove_tree(work)
    text = f"Linux {platform.release()}, {processor()}, ext4; {', '.join(versions)}.\n\n{_table(costs)}"
    print(text)
    if options.write:
        write_between_markers(options.write, text, BEGIN, END)
    return 0


def _counts(text: str) -> list[int]:
    return sorted({int(word) for word in text.split(",")})


def measure(engines: Sequence[CommandPeer], tar: str) -> list[Row]:
    """The same as rows of the big table, for Tiffin and Docker among the engines; done last, for it empties stores.

    The image of the other parts would share with those that are measured here.
    """
    for engine in engines:
        engine.remove_image(IMAGE)
    costs = {
        engine.name: _costs(engine, tar, COUNTS) for engine in engines if engine.name in (Tiffin.name, Docker.name)
    }
    rows = []
    for count in COUNTS:
        for what, field in (("bytes on disk", 0), ("page cache", 1), ("PSS of a container's program", 2)):
            figures = {name: _megabytes(found[count][field]) for name, found in costs.items()}
            verdict = ""
            if Docker.name in costs:
                verdict = f"{costs[Tiffin.name][count][field] / costs[Docker.name][count][field]:.2f} × Docker"
            rows.append(
                Row(f"{what}: {_images(count)}, each with a package of its own", figures, verdict, missed=False)
            )
    return rows


def _costs(engine: CommandPeer, tar: str, counts: Sequence[int]) -> dict[int, Cost]:
    """The store grows from count to count; what was in it before is not counted."""
    assert isinstance(engine, (Docker, Tiffin))
    store = f"{engine.work}/data" if isinstance(engine, Docker) else engine.root
    os.makedirs(store, exist_ok=True)
    before = _disk_bytes(store)
    found = {}
    here = 0
    try:
        for count in counts:
            for number in range(here, count):
                print(f"{engine.name}: image {number + 1} …", file=sys.stderr, flush=True)
                _import(engine, tar, number)
            here = count
            disk = _disk_bytes(store) - before
            names = [f"sharing{number}" for number in range(count)]
            _forget(store)
            left = _cached_bytes(store)
            pids = [_start(engine, name, f"shared:{number}") for number, name in enumerate(names)]
            time.sleep(SETTLE_S)
            found[count] = Cost(disk, _cached_bytes(store) - left, int(statistics.median(map(pss_bytes, pids))))
            engine.remove(*names)
    finally:
        for number in range(here):
            engine.ask("rmi", "-f", f"shared:{number}")
    return found


def _start(engine: CommandPeer, name: str, image: str) -> int:
    engine.ask("run", "-d", "--name", name, "--network", "none", *engine.run_options, image, *PROGRAM)
    return int(engine.ask("inspect", "--format", "{{.State.Pid}}", name))


def _import(engine: CommandPeer, tar: str, number: int) -> None:
    with subprocess.Popen(
        [*engine.command, "import", "-", f"shared:{number}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        for chunk in _tar_with_package(tar, number):
            process.stdin.write(chunk)
        process.stdin.close()
        if process.wait() != 0:
            raise RuntimeError(f"{engine.name} cannot import")


def _tar_with_package(tar: str, number: int) -> Iterator[bytes]:
    """The base's entries but dpkg's database, then that with one more package, and the package."""
    status = b""
    kept = []  # (from, to) in the file
    at = 0
    with tarfile.open(tar) as base:
        for member in base:
            end = member.offset_data + (-(-member.size // 512) * 512 if member.isreg() else 0)
            if member.name.lstrip("./") == "var/lib/dpkg/status":
                file = base.extractfile(member)
                assert file is not None
                status = file.read()
                kept.append((0, member.offset))
                at = end
    kept.append((at, end))
    with open(tar, "rb") as whole:
        for begin, end in kept:
            whole.seek(begin)
            while begin < end:
                chunk = whole.read(min(1 << 20, end - begin))
                begin += len(chunk)
                yield chunk
    name = f"package{number}"
    about = f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: 1.{number}\n\n"
    more = io.BytesIO()
    with tarfile.open(fileobj=more, mode="w") as package:
        for path, data in (
            ("var/lib/dpkg/status", status + about.encode()),
            (f"var/lib/dpkg/info/{name}.list", f"/usr/share/{name}\n".encode()),
            (f"usr/share/{name}", os.urandom(PACKAGE_BYTES)),
        ):
            entry = tarfile.TarInfo(f"./{path}")
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    yield more.getvalue()


def _disk_bytes(store: str) -> int:
    """As du(1) counts: blocks, files with several names once, directories too."""
    device = os.stat(store).st_dev
    seen: set[int] = set()
    total = 0
    for top, directories, names in os.walk(store):
        directories[:] = [name for name in directories if os.lstat(f"{top}/{name}").st_dev == device]
        for name in (*directories, *names):
            status = os.lstat(f"{top}/{name}")
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total


def _opened(store: str) -> Iterator[int]:
    """Descriptors of the store's regular files, each inode once."""
    device = os.stat(store).st_dev
    seen: set[int] = set()
    for top, directories, names in os.walk(store):
        directories[:] = [name for name in directories if os.lstat(f"{top}/{name}").st_dev == device]
        for name in names:
            try:
                fd = os.open(f"{top}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue  # a link, a socket
            try:
                status = os.fstat(fd)
                if status.st_ino not in seen and (status.st_mode & 0o170000) == 0o100000:
                    seen.add(status.st_ino)
                    yield fd
            finally:
                os.close(fd)


def _cached_bytes(store: str) -> int:
    cache = PageCache()
    return sum(cache.resident(fd) for fd in _opened(store))


def _forget(store: str) -> None:
    """Have the kernel drop the cache of these files alone: what containers read from now on is what is counted."""
    os.sync()
    for fd in _opened(store):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.{2 if count < 10_000_000 else 0}f} MB"


def _table(costs: dict[str, dict[int, Cost]]) -> str:
    names = list(costs)
    headings = ["", *(f"{what}: {name}" for what in ("on disk", "page cache", "PSS of each") for name in names)]
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    for count in costs[names[0]]:
        cells = [_megabytes(costs[name][count][field]) for field in range(3) for name in names]
        lines.append(f"| {_images(count)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
