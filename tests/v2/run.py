"""Runs the cgroup contract on pure cgroup v2, in a small virtual machine.

    python tests/v2/run.py [test files…]

The guest is a Linux kernel and an initramfs made here: this Python, pytest, the project's sources and its tests, all
in memory. Needs qemu-system-x86_64; the kernel is KERNEL (the environment), else Debian's cloud kernel, taken from
Debian's package archive with apt-get and kept in build/v2. The exit code is pytest's.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / "build" / "v2"
TESTS = ("tests/integration/test_cgroup_contract.py", "tests/integration/test_seccomp_kernel.py")
PACKAGES = ("_pytest", "pytest", "pluggy", "iniconfig", "packaging", "pygments")
LEFT_OUT = {"site-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "pydoc_data"}
DEADLINE_S = 300
RESULT = re.compile(rb"tiffin-v2-result=(\d+)")

# Runs as PID 1. Pure cgroup v2, with every process in the root as a boot leaves it.
INIT = """\
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(fstype, target):
    os.makedirs(target, exist_ok=True)
    if libc.mount(fstype.encode(), target.encode(), fstype.encode(), 0, None):
        sys.exit(f"mount {{fstype}}: {{os.strerror(ctypes.get_errno())}}")
for fstype, target in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"),
                       ("cgroup2", "/sys/fs/cgroup")):
    mount(fstype, target)
os.environ.update(PYTHONPATH="/project/src:/packages", PYTHONDONTWRITEBYTECODE="1", HOME="/tmp", PATH="/usr/bin:/bin")
os.chdir("/project")
done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--noconftest", *{tests!r}])
print(f"tiffin-v2-result={{done.returncode}}", flush=True)
os.sync()
libc.reboot(0x4321FEDC)
"""


def main(arguments: list[str]) -> int:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        sys.exit("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    CACHE.mkdir(parents=True, exist_ok=True)
    kernel = find_kernel()
    initramfs = CACHE / "initramfs.gz"
    with gzip.open(initramfs, "wb", compresslevel=1) as file:
        for part in archive(tuple(arguments) or TESTS):
            file.write(part)
    command = [
        qemu, "-M", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults", "-no-reboot",
        "-display", "none", "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initramfs),
        "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on rdinit=/init",
    ]  # fmt: skip
    print(" ".join(command), flush=True)
    return boot(command)


def boot(command: list[str]) -> int:
    """Show the guest's console until it ends; pytest's exit code, 1 when it never told."""
    deadline = time.monotonic() + DEADLINE_S
    result = 1
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as guest:
        assert guest.stdout is not None
        try:
            for line in guest.stdout:
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
                found = RESULT.search(line)
                if found:
                    result = int(found[1])
                if time.monotonic() > deadline:
                    print(f"the guest took longer than {DEADLINE_S} s")
                    break
        finally:
            guest.kill()
    return result


def find_kernel() -> Path:
    """KERNEL, or the newest kernel in the cache, fetched first if there is none."""
    if "KERNEL" in os.environ:
        return Path(os.environ["KERNEL"])
    found = sorted(CACHE.glob("boot/vmlinuz-*"))
    if not found:
        depends = subprocess.run(
            ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=True
        ).stdout
        package = re.search(r"Depends: (linux-image-\S+)", depends)
        if package is None:
            sys.exit("Debian's archive has no linux-image-cloud-amd64: name a kernel in KERNEL")
        subprocess.run(["apt-get", "download", package[1]], cwd=CACHE, check=True)
        (archive_file,) = CACHE.glob("linux-image-*.deb")
        subprocess.run(["dpkg-deb", "-x", archive_file, CACHE / "unpacked"], check=True)
        (CACHE / "unpacked" / "boot").rename(CACHE / "boot")
        shutil.rmtree(CACHE / "unpacked")
        archive_file.unlink()
        found = sorted(CACHE.glob("boot/vmlinuz-*"))
    return found[-1]


def archive(tests: tuple[str, ...]) -> Iterator[bytes]:
    """An initramfs in the kernel's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    made: set[str] = set()

    def entry(path: str, mode: int, data: bytes = b"") -> Iterator[bytes]:
        name = path.lstrip("/").encode() + b"\0"
        numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % number for number in numbers)
        yield header + name + b"\0" * (-(len(header) + len(name)) % 4)
        yield data + b"\0" * (-len(data) % 4)

    def parents(path: str) -> Iterator[bytes]:
        for directory in reversed(Path(path).parents):
            if str(directory) not in made and str(directory) != "/":
                made.add(str(directory))
                yield from entry(str(directory), stat.S_IFDIR | 0o755)

    def add(path: str, source: Path) -> Iterator[bytes]:
        if path not in made:
            made.add(path)
            yield from parents(path)
            yield from entry(path, stat.S_IFREG | (source.stat().st_mode & 0o777), source.read_bytes())

    python = os.path.realpath(sys.executable)
    standard = Path(sysconfig.get_paths()["stdlib"])
    for tool in (python, "/bin/sh", "/usr/bin/unshare", "/usr/bin/true"):
        yield from add(tool, Path(tool))
        for library in libraries(tool):
            yield from add(library, Path(library))
    for root in (standard, standard / "lib-dynload"):
        for source in walk(root):
            yield from add(str(source), source)
            if source.suffix == ".so" and source.name.startswith(("_ctypes", "zlib", "binascii")):
                for library in libraries(str(source)):
                    yield from add(library, Path(library))
    site = Path(sysconfig.get_paths()["purelib"])
    yield from add("/packages/py.py", site / "py.py")
    # The guest is slow (every instruction is emulated), so compiled modules go along; pluggy asks for its own version.
    directories = [*PACKAGES, *(path.name for path in site.glob("pluggy-*.dist-info"))]
    for package in directories:
        for source in walk(site / package):
            yield from add(f"/packages/{source.relative_to(site)}", source)
    for top in ("src/tiffin", "tests/harness", "tests/integration"):
        for source in walk(PROJECT / top):
            yield from add(f"/project/{source.relative_to(PROJECT)}", source)
    yield from add("/project/pyproject.toml", PROJECT / "pyproject.toml")
    yield from parents("/dev/console")
    yield from entry("/init.py", stat.S_IFREG | 0o644, INIT.format(tests=tests).encode())
    yield from entry("/init", stat.S_IFREG | 0o755, f"#!{python} -S\nexec(open('/init.py').read())\n".encode())
    yield from entry("/TRAILER!!!", 0)


def walk(root: Path) -> Iterator[Path]:
    for top, directories, names in os.walk(root):
        directories[:] = sorted(name for name in directories if name not in LEFT_OUT and not name.startswith("config-"))
        for name in sorted(names):
            path = Path(top, name)
            if path.is_file() and not name.endswith((".opt-1.pyc", ".opt-2.pyc", ".a", ".exe")):
                yield path


def libraries(program: str) -> list[str]:
    """The shared libraries of a program, as ldd(1) finds them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+) \(0x", listed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
