"""What the guest of run.py boots: a disk with this Python, the project and its tests; an initramfs that mounts it."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DISK_BYTES = 2 << 30
BUSYBOX = Path("/bin/busybox")
# overlay and loop are what containers need; erofs proves that having it does not suffice for the composefs driver.
MODULES = ("virtio_pci", "virtio_blk", "overlay", "loop", "erofs")
# The host's own rather than busybox's; su and sudo with what PAM loads, since libraries() cannot see it.
TOOLS = ("/bin/bash", "/bin/sh", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/true", "/usr/bin/unshare")
LOGIN = ("/etc/login.defs", "/etc/nsswitch.conf", "/etc/pam.d", "/etc/security", "/etc/sudo.conf", "/usr/libexec/sudo",
         f"/lib/{sysconfig.get_config_var('MULTIARCH')}/security")  # fmt: skip
NAME = "guest"
FILES = {
    "/etc/hosts": f"127.0.0.1 localhost {NAME}\n",
    "/etc/hostname": f"{NAME}\n",
    "/etc/shadow": "root:*:19000::::::\n",
    "/etc/sudoers": "Defaults env_reset, use_pty\nDefaults secure_path=/usr/bin:/bin\n@includedir /etc/sudoers.d\n",
}
BUILT = "/built"  # programs that tests would compile
IMAGES = "/images"  # and images that they would make
PACKAGES = (
    "_pytest", "pytest", "pluggy", "pluggy-*.dist-info", "iniconfig", "packaging", "pygments", "py.py", "isal",
    "zstandard", "pytest_timeout.py", "pytest_timeout-*.dist-info", "xdist", "pytest_xdist-*.dist-info", "execnet",
)  # fmt: skip
OF_PROJECT = ("src/tiffin", "tests/conftest.py", "tests/launcher_fixtures.py", "tests/harness", "tests/integration")
LEFT_OUT = ("site-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "pydoc_data",
            "config-*", "*.opt-?.pyc", "*.a", "_cffi.*")  # fmt: skip

# The initramfs: modules, then the disk. pivot_root(2) does not work on an initramfs, so the guest moves out of it.
FIRST_INIT = """\
#!/busybox sh
for module in {modules}; do /busybox insmod /$module.ko; done
/busybox mount -t devtmpfs devtmpfs /dev
/busybox mount -t ext4 /dev/vda /root
/busybox mount --move /dev /root/dev
exec /busybox switch_root /root /init
"""

# Pure cgroup v2, with every process in the root as a boot leaves it. The shell stays as PID 1 and reaps.
INIT = """\
#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/root CI=true TIFFIN_TEST_BUILT={built} TIFFIN_TEST_CACHE={images}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for directory in /run /dev/shm; do mount -t tmpfs tmpfs $directory; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
ifconfig lo up
hostname -F /etc/hostname
cd /project
{python} -m pytest -p no:cacheprovider {arguments}
echo "tiffin-v2-result=$?"
poweroff -f
"""


def make_disk(disk: Path, stage: Path, arguments: Iterable[str], more: dict[str, Path]) -> None:
    """An ext4 file system whose /init runs pytest with `arguments`.

    `stage` is a directory to gather it in, `more` further programs by their path in the guest.
    """
    shutil.rmtree(stage, ignore_errors=True)
    python = os.path.realpath(sys.executable)
    standard = sysconfig.get_paths()["stdlib"]
    site = Path(sysconfig.get_paths()["purelib"])
    for directory in ("dev", "etc", "packages", "proc", "root", "run", "sys", "tmp", "var/lib", "var/tmp"):
        (stage / directory).mkdir(parents=True)
    copy(standard, stage)
    for tool in (python, str(BUSYBOX), *TOOLS, *LOGIN, "/etc/passwd", "/etc/group", "/etc/os-release"):
        copy(tool, stage)
    for path, text in FILES.items():
        (stage / path.lstrip("/")).write_text(text)
    # As an editable install does it: also for processes that are started with an empty environment.
    installed = stage / standard.lstrip("/") / "site-packages" / "guest.pth"
    installed.parent.mkdir()
    installed.write_text("/packages\n/project/src\n")
    # The command that users start: it takes half as long as `python -m tiffin`.
    script = stage / os.path.dirname(python).lstrip("/") / "tiffin"
    script.write_text((PROJECT / "scripts/tiffin").read_text().replace("#!python", f"#!{python}", 1))
    script.chmod(0o755)
    for path, source in more.items():
        copy(str(source), stage, path)
    for pattern in PACKAGES:
        for found in site.glob(pattern):
            copy(str(found), stage, f"/packages/{found.name}")
    for name in (*OF_PROJECT, "pyproject.toml"):
        copy(str(PROJECT / name), stage, f"/project/{name}")
    modules = [
        path for directory in (Path(standard, "lib-dynload"), *map(Path, LOGIN)) for path in directory.glob("*.so")
    ]
    for library in libraries([python, *TOOLS, *map(str, modules)]):
        copy(library, stage)
    for applet in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if not (stage / "bin" / applet).exists():
            (stage / "bin" / applet).symlink_to("busybox")
    init = stage / "init"
    init.write_text(
        INIT.format(python=shlex.quote(python), arguments=shlex.join(arguments), built=BUILT, images=IMAGES)
    )
    init.chmod(0o755)
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    # The journal and the checksums are for disks that outlive the guest.
    command = ["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-O", "^has_journal", "-d", str(stage), str(disk)]
    subprocess.run(command, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}, check=True)
    shutil.rmtree(stage)


def copy(source: str, stage: Path, target: str | None = None) -> None:
    """A file or a directory into the stage, symlinks resolved; times are kept, so that compiled modules stay valid."""
    place = stage / (target or source).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, place, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    else:
        shutil.copy2(source, place)


def libraries(programs: Iterable[str]) -> set[str]:
    """The shared libraries of programs, as ldd(1) finds them."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+) \(0x", listed))


def make_initramfs(path: Path, modules: Path) -> None:
    """An initramfs in the kernel's "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    files = {file.stem.replace("-", "_"): file for file in modules.rglob("*.ko")}
    ordered: list[str] = []
    for name in MODULES:
        add_module(name, files, ordered)
    with gzip.open(path, "wb", compresslevel=1) as out:
        for directory in ("dev", "root"):
            out.write(entry(directory, stat.S_IFDIR | 0o755))
        out.write(entry("busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()))
        for name in ordered:
            out.write(entry(f"{name}.ko", stat.S_IFREG | 0o644, files[name].read_bytes()))
        out.write(entry("init", stat.S_IFREG | 0o755, FIRST_INIT.format(modules=" ".join(ordered)).encode()))
        out.write(entry("TRAILER!!!", 0))


def add_module(name: str, files: dict[str, Path], ordered: list[str]) -> None:
    """Append a module to `ordered`, after those that it names as needed. One that is built in has no file."""
    if name in ordered or name not in files:
        return
    for needed in needs(files[name]):
        add_module(needed, files, ordered)
    ordered.append(name)


def needs(module: Path) -> Iterator[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    for name in found[1].decode().split(",") if found else ():
        yield name.replace("-", "_")


def entry(name: str, mode: int, data: bytes = b"") -> bytes:
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return header + encoded + b"\0" * (-(len(header) + len(encoded)) % 4) + data + b"\0" * (-len(data) % 4)
