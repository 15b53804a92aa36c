"""Runs cgroup and container tests on pure cgroup v2 and an older kernel, in a small virtual machine.

    python tests/v2/run.py [pytest's arguments…]

The guest boots Debian's cloud kernel (6.1: EROFS cannot be mounted from files there) and has this Python, pytest, the
project's sources and its tests on a disk of its own, see guest.py. Needs qemu-system-x86_64, mke2fs and busybox; the
kernel and apparmor_parser are taken from Debian's package archive with apt-get and kept in build/v2. The exit code is
pytest's.

Environment: KERNEL and MODULES, a kernel's file and the directory of its modules, for another kernel; ACCEL=kvm where
that works, else every instruction is emulated.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from guest import PROJECT, make_disk, make_initramfs

CACHE = PROJECT / "build" / "v2"
# The rest of what is left out takes minutes there, and nothing in it depends on the kernel.
TESTS = (
    "tests/integration/test_cgroup_contract.py",
    "tests/integration/test_seccomp_kernel.py",
    "tests/integration/test_engine_run.py",
    "tests/integration/test_crash.py",
    "tests/integration/test_hot_path.py",
    "tests/integration/test_leaks.py",
    "tests/integration/test_storage_host.py",
    "tests/integration/test_pause.py",
    "tests/integration/test_update.py",
    "tests/integration/test_resources_update.py",
    "tests/integration/test_resources_limits.py",
    "tests/integration/older_kernel.py",
    "--deselect=tests/integration/test_crash.py::test_output_at_full_speed_with_nobody_reading",
    "--deselect=tests/integration/test_crash.py::test_many_at_once",
    "--deselect=tests/integration/test_engine_run.py::test_log_is_capped",
    "--deselect=tests/integration/test_pause.py::test_what_it_is_called",
    "--deselect=tests/integration/test_pause.py::test_what_is_refused",
    "--deselect=tests/integration/test_update.py::test_several_on_the_command_line",
    "-n2",
    "-otimeout=300",
)
DEADLINE_S = 600
RESULT = re.compile(rb"tiffin-v2-result=(\d+)")


def main(arguments: list[str]) -> int:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        sys.exit("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = os.open(CACHE, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the end: one guest at a time has the disk
    kernel, modules = find_kernel()
    initramfs, disk = CACHE / "initramfs.gz", CACHE / "disk"
    make_initramfs(initramfs, modules)
    make_disk(disk, CACHE / "stage", arguments or TESTS, {"/sbin/apparmor_parser": find_apparmor_parser()})
    command = [
        qemu, "-M", f"q35,accel={os.environ.get('ACCEL', 'tcg')}", "-cpu", "max", "-smp", "2", "-m", "1024",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(kernel),
        "-initrd", str(initramfs), "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
        "-append", "console=ttyS0 loglevel=3 panic=-1 random.trust_cpu=on mitigations=off",
    ]  # fmt: skip
    print(" ".join(command), flush=True)
    return boot(command)


def boot(command: list[str]) -> int:
    """Show the guest's console until it ends; pytest's exit code, 1 when it never told."""
    result = None
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as guest:
        assert guest.stdout is not None
        timer = threading.Timer(DEADLINE_S, guest.kill)
        timer.start()
        try:
            for line in guest.stdout:
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
                found = RESULT.search(line)
                if found:
                    result = int(found[1])
        finally:
            timer.cancel()
            guest.kill()
    if result is None:
        print(f"the guest ended, or was ended after {DEADLINE_S} s, without a result")
        return 1
    return result


def find_apparmor_parser() -> Path:
    """Debian's kernel has AppArmor, which is nothing without the program that compiles profiles."""
    package = CACHE / "apparmor"
    if not package.is_dir():
        fetch_package("apparmor", package)
    return package / "sbin" / "apparmor_parser"


def find_kernel() -> tuple[Path, Path]:
    """A kernel and its modules: those that the environment names, or Debian's in the cache, fetched if not there."""
    if "KERNEL" in os.environ:
        return Path(os.environ["KERNEL"]), Path(os.environ.get("MODULES", os.devnull))
    if not (CACHE / "kernel").is_dir():
        package = kernel_package()
        if package is None:
            subprocess.run(["apt-get", "update", "-qq"], check=True)  # the package lists are missing or stale
            package = kernel_package()
        if package is None:
            sys.exit("Debian's archive has no linux-image-cloud-amd64: name a kernel in KERNEL")
        fetch_package(package, CACHE / "kernel")
    (kernel,) = (CACHE / "kernel").glob("boot/vmlinuz-*")
    return kernel, CACHE / "kernel" / "lib"


def kernel_package() -> str | None:
    command = ["apt-cache", "depends", "linux-image-cloud-amd64"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    return found[1] if found else None


def fetch_package(name: str, directory: Path) -> None:
    """Unpack a Debian package into `directory`, without installing it."""
    unpacked = directory.with_suffix(".new")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    subprocess.run(["apt-get", "download", name], cwd=unpacked, check=True)
    (archive,) = unpacked.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
    archive.unlink()
    unpacked.rename(directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
