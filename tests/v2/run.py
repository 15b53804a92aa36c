"""Runs the tests that depend on the kernel on pure cgroup v2 and an older kernel, in a small virtual machine.

    python tests/v2/run.py [pytest's arguments…]

The guest boots Debian's cloud kernel (6.1: EROFS cannot be mounted from files there) and has this Python, pytest, the
project's sources and its tests on a disk of its own, see guest.py. Needs qemu-system-x86_64, mke2fs, busybox, sudo, a C
compiler, and mmdebstrap for the image with systemd; the kernel and apparmor_parser are taken from Debian's archive of
packages with apt-get and kept in build/v2. The exit code is pytest's.

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
import tarfile
import threading
from pathlib import Path

from guest import BUILT, IMAGES, PROJECT, make_disk, make_initramfs

CACHE = PROJECT / "build" / "v2"
FILES = (
    "test_systemd", "test_login", "test_cgroup_contract", "test_seccomp_kernel", "test_engine_run", "test_crash",
    "test_hot_path", "test_leaks", "test_storage_host", "test_pause", "test_update", "test_resources_limits",
    "test_resources_update", "test_stats", "test_health",
    "test_restart_policy", "test_events", "test_pods", "test_joined", "test_userns", "test_userns_mounts",
    "test_mounts", "older_kernel", "resources_v2",
)  # fmt: skip
# Left out is what takes long here, where a command takes a second or two, and depends on no kernel: messages, tables,
# options; what holds a time that only a real machine keeps, or is a race with one; and what this kernel cannot do
# (composefs, tmpfs with mapped ids, files of cgroup v1) or the guest lacks (launchers built in other ways).
LEFT_OUT = (
    "test_cgroup_contract.py::test_creating_is_fast",
    "test_crash.py::test_many_at_once",
    "test_crash.py::test_output_at_full_speed_with_nobody_reading",
    "test_engine_run.py::test_log_is_capped",
    "test_events.py::test_foreground_failure_and_images",
    "test_events.py::test_json_and_errors",
    "test_events.py::test_the_monitor_writes_by_the_same_rules",
    "test_events.py::test_until_ends_it_and_a_closed_pipe_too",
    "test_health.py::test_a_check_that_hangs",
    "test_health.py::test_bad_checks_are_refused",
    "test_health.py::test_the_images_check",
    "test_health.py::test_what_inspect_and_ps_show",
    "test_joined.py::test_the_command_line",
    "test_joined.py::test_what_does_not_go_together",
    "test_login.py::test_input_output_and_exit_code",
    "test_login.py::test_it_is_the_same_container_the_next_time",
    "test_login.py::test_settings_of_a_user",
    "test_login.py::test_settings_that_others_could_write",
    "test_login.py::test_what_a_user_brings_along_harms_nobody",
    "test_login.py::test_what_is_refused",
    "test_mounts.py::test_a_mounted_image_stays",
    "test_mounts.py::test_a_relabel_without_selinux",
    "test_mounts.py::test_a_subpath_that_is_missing",
    "test_mounts.py::test_a_tmpfs_takes_the_mode_and_a_copy_of_what_it_covers",
    "test_mounts.py::test_an_image",
    "test_mounts.py::test_cp_sees_a_subpath_of_a_stopped_container",
    "test_mounts.py::test_places_that_cannot_be",
    "test_pause.py::test_what_is_refused",
    "test_pause.py::test_what_it_is_called",
    "test_pods.py::test_logs_of_all",
    "test_pods.py::test_options_of_create",
    "test_pods.py::test_pods_that_cannot_be",
    "test_pods.py::test_the_life_of_a_pod",
    "test_pods.py::test_what_is_refused",
    "test_pods.py::test_what_the_pod_decides",
    "test_resources_limits.py::test_nothing_is_killed_when_that_is_off",
    "test_resources_update.py::test_a_dry_run_writes_nothing",
    "test_resources_update.py::test_burst_and_quota_in_their_order",
    "test_resources_update.py::test_each_is_written_live",
    "test_resources_update.py::test_other_runtimes_keep_the_limits",
    "test_resources_update.py::test_what_the_kernel_refuses_late_changes_nothing",
    "test_restart_policy.py::test_a_loop_at_full_speed_is_held_back",
    "test_restart_policy.py::test_other_verbs_on_one_that_waits",
    "test_restart_policy.py::test_refused",
    "test_restart_policy.py::test_update",
    "test_restart_policy.py::test_verbs_on_one_that_waits",
    "test_stats.py::test_a_stream_outlives_its_containers",
    "test_stats.py::test_a_terminal_is_redrawn",
    "test_stats.py::test_the_table",
    "test_systemd.py::test_it_has_no_more_rights_than_others",
    "test_systemd.py::test_on_its_terminal",
    "test_systemd.py::test_pausing_and_killing_it",
    "test_systemd.py::test_what_is_refused",
    "test_systemd.py::test_without_it_the_command_is_any",
    "test_update.py::test_several_on_the_command_line",
    "test_userns.py::test_the_command_line",
    "test_userns.py::test_what_cannot_be",
    "test_userns_mounts.py::test_a_tmpfs_volume",
    "test_userns_mounts.py::test_nothing_is_shared_with_the_host",
    "test_userns_mounts.py::test_other_runtimes",
)
TESTS = (
    *(f"tests/integration/{name}.py" for name in FILES),
    *(f"--deselect=tests/integration/{name}" for name in LEFT_OUT),
    "-k=not (userns and (composefs or sanitized)) and not (mounts and old)",
    "-n2",
    "-otimeout=300",
)
DEADLINE_S = 1200
# Emulated, a `rep movsb` copies byte by byte and a fifth level of page tables is one more to walk.
CPU = "max,erms=off,fsrm=off,la57=off"
# More than half of the image with systemd, which the guest would import for a minute, and never look at.
UNUSED = re.compile(r"(\./)?(usr/(bin/perl|lib/[^/]+/(gconv|libperl|perl)|share/perl)|var/lib/dpkg)")
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
    make_disk(disk, CACHE / "stage", arguments or TESTS, more_files())
    command = [
        qemu, "-M", f"q35,accel={os.environ.get('ACCEL', 'tcg')}", "-cpu", CPU, "-smp", "2", "-m", "1024",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(kernel),
        "-initrd", str(initramfs), "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe",
        "-append", "console=ttyS0 loglevel=3 panic=-1 random.trust_cpu=on mitigations=off tsc=reliable",
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


def more_files() -> dict[str, Path]:
    """What the tests need and the guest cannot make: by its path there, where it is here."""
    sys.path.insert(0, str(PROJECT / "tests"))
    from harness.images import systemd_tar

    who = CACHE / "who"
    subprocess.run(["cc", "-static", "-o", who, PROJECT / "tests/data/who.c"], check=True)
    system = systemd_tar()
    less = CACHE / system.name
    with tarfile.open(system) as old, tarfile.open(less, "w", format=tarfile.PAX_FORMAT) as new:
        for entry in old:
            if not UNUSED.match(entry.name):
                new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
    return {
        "/sbin/apparmor_parser": find_apparmor_parser(),
        f"{BUILT}/who": who,
        f"{IMAGES}/{system.name}": less,
    }


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
