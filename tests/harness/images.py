"""The images of the tests, made from what the host has."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"
CACHE = Path(os.environ.get("TIFFIN_TEST_CACHE") or "/var/tmp/tiffin-test-cache")

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
www-data:x:33:
audio:x:29:alice
users:x:100:alice
alice:x:1000:
nogroup:x:65534:
"""


def busybox_tar() -> bytes:
    """A root file system of 2 MB: busybox with a link per applet, and the user alice (1000)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directories = "bin dev etc home home/alice proc root run sys tmp usr usr/bin usr/sbin sbin var var/www".split()
        for name in directories:
            mode = 0o1777 if name == "tmp" else 0o700 if name == "root" else 0o755
            _add(tar, name, type=tarfile.DIRTYPE, mode=mode, owner=1000 if name == "home/alice" else 0)
        _add(tar, "bin/busybox", Path(BUSYBOX).read_bytes(), mode=0o755)
        applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            if applet != "busybox":
                _add(tar, f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox")
        _add(tar, "etc/passwd", PASSWD.encode())
        _add(tar, "etc/group", GROUP.encode())
    return out.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    *,
    type: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    owner: int = 0,
    linkname: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = type, mode, len(data), linkname
    entry.uid = entry.gid = owner
    entry.mtime = 1_700_000_000
    tar.addfile(entry, io.BytesIO(data))


def debian_tar() -> Path:
    """Debian bookworm's minimal system as a tar, made by mmdebstrap once and kept in `CACHE`."""
    return cached_debian_tar("debian-bookworm-minbase.tar")


def systemd_tar() -> Path:
    """The same with systemd, D-Bus and sudo; without what only people read."""
    unread = ("doc", "locale", "man", "zoneinfo")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in unread]
    return cached_debian_tar("debian-bookworm-systemd.tar", "--include=systemd,systemd-sysv,dbus,sudo", *options)


def cached_debian_tar(name: str, *options: str) -> Path:
    """The tar that mmdebstrap makes of minbase with further `options`, kept as `CACHE/name`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / name
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers may ask at the same time
        if not path.exists():
            unfinished = path.with_suffix(".new.tar")
            command = ["mmdebstrap", "--quiet", "--variant=minbase", *options, "bookworm", str(unfinished)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                raise RuntimeError(f"mmdebstrap failed with {done.returncode}:\n{done.stderr}")
            unfinished.rename(path)
    return path
