"""What a plan's operations do to the inside, and that nothing of the outside is within reach."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_fixtures import (
    ALL_NAMESPACES,
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWPID,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    STDIN,
    Box,
    LaunchFailed,
    MakeBox,
    process_exists,
    wait_until,
)
from tiffin.runtime.ops import Plan

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PRIVATE = MS_REC | MS_PRIVATE
CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE = 0, 5, 10


def adding(*ops: tuple[object, ...]) -> Callable[[Plan], None]:
    def add(plan: Plan) -> None:
        for name, *fields in ops:
            plan.add(str(name), *fields)

    return add


def mask(*capabilities: int) -> int:
    return sum(1 << capability for capability in capabilities)


def status(out: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in out.decode().splitlines())
    return {key: value.strip() for key, _, value in pairs}


# --- nothing leaks in


def test_only_standard_streams_are_open(box: Box) -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)
    extra = os.dup2(secret, 55, inheritable=True)
    try:
        out = box.run("ls", "/proc/self/fd")[1]
    finally:
        os.close(extra)
        os.close(secret)
    # 3 is the directory that ls itself reads.
    assert out.split() == [b"0", b"1", b"2", b"3"]


def test_init_keeps_only_standard_streams(box: Box) -> None:
    assert box.run("ls", "/proc/1/fd", inside=adding(("INIT",)))[1].split() == [b"0", b"1", b"2"]


def test_session_and_signals_are_fresh(box: Box) -> None:
    out = status(box.run("cat", "/proc/self/status")[1])
    assert (int(out["SigBlk"], 16), int(out["SigIgn"], 16), int(out["SigCgt"], 16)) == (0, 0, 0)
    assert out["Umask"] == "0022"
    stat = box.make_like().run("cat", "/proc/self/stat")[1].split()
    assert stat[5] == b"1", "the program leads its own session"


def test_null_device_is_not_the_hosts(box: Box) -> None:
    before = os.stat("/dev/null")
    script = "chmod 600 /proc/self/fd/0 /dev/null && chown 7 /proc/self/fd/0; stat -c %a-%u /dev/null"
    assert box.run("sh", "-c", script)[1] == b"600-7\n"
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


def test_without_a_null_device_stdin_is_still_empty(box: Box) -> None:
    plan = box.plan("sh", "-c", "cat; echo $?")
    plan.ops = [op for op in plan.ops if op[0] != "MKNOD_IN"]
    box.start(plan, owner=True)
    assert box.owner is not None
    assert box.owner.rest()[0] == b"0\n"


def test_host_mounts_are_unchanged(box: Box) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert box.run("mount")[0] == 0
    after = Path("/proc/self/mountinfo").read_text()
    assert str(box.root) not in after and len(before.splitlines()) >= len(
        [line for line in after.splitlines() if line in before]
    )


def test_old_root_is_gone(box: Box) -> None:
    out = box.run("cat", "/proc/self/mountinfo")[1].decode()
    points = [line.split()[4] for line in out.splitlines()]
    assert points == ["/", "/proc", "/dev", "/tmp", "/dev/pts"]


# --- the launcher's own file


GUARD_SCRIPT = """
for file in /proc/1/exe /proc/self/exe; do
    (exec 3>>$file) 2>/dev/null && echo "$file is writable"
done
ls -l /proc/1/exe >/dev/null 2>&1 || true
echo done
"""


def test_launcher_is_out_of_reach_of_root_inside(box: Box) -> None:
    digest = box.launcher.read_bytes()
    code, out, _ = box.run("sh", "-c", GUARD_SCRIPT, inside=adding(("INIT",)))
    assert (code, out.splitlines()[-1]) == (0, b"done")
    assert b"/proc/1/exe is writable" not in out
    assert box.launcher.read_bytes() == digest


def test_script_whose_interpreter_is_the_launcher_itself(box: Box, tmp_path: Path) -> None:
    """CVE-2019-5736: the program is `#!/proc/self/exe`; a second one then writes through /proc/PID/exe."""
    before = box.launcher.stat()
    script = box.root / "etc/evil"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    if box.launcher.name.endswith("sanitized"):
        with pytest.raises(LaunchFailed) as caught:
            box.run("/etc/evil")
        assert caught.value.errno == errno.ENOENT, "this build needs a dynamic linker, which is not inside"
        return
    code, _, err = box.run("/etc/evil")
    # It is the launcher, that sees arguments which make no sense to it.
    assert (code, err.startswith(b"usage: tiffin-launch")) == (2, True)
    # The same from the exec role, with the file held open and written once the launcher is gone.
    holder = box.make_like()
    started = holder.start(holder.plan("sleep", "100"))
    write = "exec 3</proc/self/exe; (exec 4>>/proc/self/fd/3) 2>&1; echo $?"
    process, sock = holder.execute(holder.exec_plan(started, "sh", "-c", write + "; exec /etc/evil"))
    assert sock.recv(100).startswith(b"S ")
    while sock.recv(100):
        pass
    sock.close()
    os.waitpid(process, 0)
    after = box.launcher.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def test_own_file_is_on_a_read_only_mount_or_sealed(box: Box) -> None:
    box.start(box.plan("sleep", "100"))
    with pytest.raises(OSError) as caught:
        os.close(os.open(f"/proc/{box.monitor}/exe", os.O_WRONLY))
    # A detached read-only mount; for old kernels a sealed copy, whose execution already denies writing.
    assert caught.value.errno in (errno.EROFS, errno.ETXTBSY, errno.EPERM)
    link = os.readlink(f"/proc/{box.monitor}/exe")
    assert str(box.launcher) != link


def test_monitors_share_their_pages(make_box: MakeBox) -> None:
    first, second = make_box(), make_box()
    first.start(first.plan("sleep", "100"))
    second.start(second.plan("sleep", "100"))
    inodes = [os.stat(f"/proc/{box.monitor}/exe").st_ino for box in (first, second)]
    if "enosys" not in first.launcher.name:
        assert inodes[0] == inodes[1] == first.launcher.stat().st_ino


# --- paths inside never lead outside


@pytest.mark.parametrize("path", ["/mnt/link", "/mnt/link/deeper", "/mnt/../mnt/link/../x", "/mnt/relative/y"])
def test_symlinks_are_resolved_in_the_root(box: Box, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    mnt = box.root / "mnt"
    shutil.rmtree(mnt)
    mnt.mkdir()
    (mnt / "link").symlink_to(outside)
    (mnt / "relative").symlink_to("../" * 20 + str(outside).lstrip("/"))
    add = adding(("MOUNT_IN", "tmpfs", path, "tmpfs", 0, ""), ("MKDIR_IN", path + "/made", 0o700))
    code, out, err = box.run("stat", "-c", "%a", path + "/made", in_root=add)
    assert (code, out) == (0, b"700\n"), err
    assert list(outside.iterdir()) == []


def test_symlink_loop_is_an_error(box: Box) -> None:
    loop = box.root / "mnt/loop"
    loop.unlink(missing_ok=True)
    loop.symlink_to("loop")
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", in_root=adding(("MKDIR_IN", "/mnt/loop/x", 0o755))))
    assert (caught.value.errno, caught.value.text) == (errno.ELOOP, "mkdir /mnt/loop/x\n")


def test_long_names_and_files_in_the_way(box: Box) -> None:
    (box.root / "etc/file").write_text("")
    for path, number in (("/mnt/" + "x" * 300, errno.ENAMETOOLONG), ("/etc/file/x", errno.ENOTDIR)):
        with pytest.raises(LaunchFailed) as caught:
            box.start(box.plan("true", in_root=adding(("MOUNT_IN", "tmpfs", path, "tmpfs", 0, ""))))
        assert caught.value.errno == number


def test_magic_links_do_not_lead_out(box: Box, tmp_path: Path) -> None:
    """/proc/PID/root of a host process would be a way out of the root."""
    path = f"/mnt/hostproc/{os.getpid()}/root{tmp_path}/escaped"
    plan = box.plan("true", in_root=adding(("BIND_IN", "/proc", "/mnt/hostproc", 0, 0, 0), ("MKDIR_IN", path, 0o755)))
    if box.launcher.name.endswith("enosys"):
        # Without openat2 the link is taken by its text, beneath the root.
        box.start(plan)
    else:
        with pytest.raises(LaunchFailed) as caught:
            box.start(plan)
        assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "escaped").exists()


# --- mounts


def test_bind_of_directory_and_file(box: Box, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("inside\n")
    add = adding(
        ("BIND_IN", str(tmp_path / "d"), "/tmp/a/b", 1, 0, PRIVATE),
        ("BIND_IN", str(tmp_path / "d/f"), "/tmp/c/file", 1, ATTR_RDONLY, PRIVATE),
    )
    code, out, err = box.run(
        "sh", "-c", "cat /tmp/a/b/f /tmp/c/file; echo x > /tmp/a/b/new; echo y > /tmp/c/file", in_root=add
    )
    assert (code, out) == (1, b"inside\ninside\n")
    assert b"Read-only file system" in err
    assert (tmp_path / "d/new").read_text() == "x\n" and (tmp_path / "d/f").read_text() == "inside\n"


def test_bind_of_nothing(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", in_root=adding(("BIND_IN", "/nowhere/x", "/mnt", 1, 0, 0))))
    assert (caught.value.errno, caught.value.text) == (errno.ENOENT, "open /nowhere/x\n")


def test_read_only_bind_covers_what_is_mounted_below(box: Box) -> None:
    """The source has a mount of its own below, made in the container's namespace by an earlier operation."""
    add = adding(
        ("MOUNT_IN", "tmpfs", "/tmp/source", "tmpfs", 0, ""),
        ("MOUNT_IN", "tmpfs", "/tmp/source/a b\\", "tmpfs", 0, ""),
        ("BIND_IN", str(box.root / "tmp/source"), "/tmp/target", 1, ATTR_RDONLY | ATTR_NODEV, PRIVATE),
    )
    # The host path of the source only exists when the root is a mount that the plan's child sees there.
    script = """
    touch /tmp/target/x
    touch '/tmp/target/a b\\/x'
    touch '/tmp/source/a b\\/x' && echo ok
    grep target /proc/mounts
    """
    code, out, err = box.run("sh", "-c", script, in_root=add)
    assert code == 0 and out.splitlines()[0] == b"ok"
    assert err.count(b"Read-only file system") == 2
    assert all(b" ro,nodev" in line for line in out.splitlines()[1:]) and len(out.splitlines()) == 3


def test_mount_flags_and_data(box: Box) -> None:
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    add = adding(("MOUNT_IN", "tmpfs", "/tmp/t", "tmpfs", flags, "size=64k,mode=1777"))
    out = box.run("sh", "-c", "grep /tmp/t /proc/mounts; stat -c %a /tmp/t", in_root=add)[1]
    assert out == b"tmpfs /tmp/t tmpfs rw,nosuid,nodev,noexec,relatime,size=64k 0 0\n1777\n"


def test_nodes_and_links(box: Box) -> None:
    add = adding(
        ("MKNOD_IN", "/dev/sub/zero", 0o20640, os.makedev(1, 5), 3, 4),
        ("MKNOD_IN", "/dev/pipe", 0o10600, 0, 0, 0),
        ("MKNOD_IN", "/dev/null", 0o20666, os.makedev(1, 3), 0, 0),
        ("SYMLINK_IN", "/proc/self/fd", "/dev/fd"),
        ("SYMLINK_IN", "elsewhere", "/dev/fd"),
        ("MKDIR_IN", "/dev/sticky", 0o1777),
        ("MKDIR_IN", "/dev/sticky", 0o700),
    )
    script = "stat -c '%n %a %u %g %t,%T %F' /dev/sub/zero /dev/pipe /dev/sticky; readlink /dev/fd"
    assert box.run("sh", "-c", script, in_root=add)[1].decode().splitlines() == [
        "/dev/sub/zero 640 3 4 1,5 character special file",
        "/dev/pipe 600 0 0 0,0 fifo",
        "/dev/sticky 1777 0 0 0,0 directory",
        "/proc/self/fd",
    ]


def test_node_where_something_else_is(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", in_root=adding(("MKNOD_IN", "/dev/null", 0o20666, os.makedev(1, 5), 0, 0))))
    assert (caught.value.errno, caught.value.text) == (errno.EEXIST, "mknod /dev/null\n")


def test_masked_paths(box: Box) -> None:
    (box.root / "etc/secret").write_text("secret")
    (box.root / "etc/secrets").mkdir(exist_ok=True)
    (box.root / "etc/secrets/x").write_text("secret")
    add = adding(
        *(("MASK_IN", path) for path in ("/etc/secret", "/etc/secrets", "/proc/kcore", "/nowhere", "/etc/secret/x"))
    )
    script = "cat /etc/secret; ls -A /etc/secrets; touch /etc/secrets/y; cat /proc/kcore; chmod 7 /etc/secret; echo end"
    code, out, err = box.run("sh", "-c", script, in_root=add)
    assert (code, out) == (0, b"end\n")
    assert err.count(b"Read-only file system") == 2


def test_read_only_paths(box: Box) -> None:
    add = adding(("READONLY_IN", "/proc/sys"), ("READONLY_IN", "/etc"), ("READONLY_IN", "/nowhere"))
    script = "echo x > /proc/sys/kernel/hostname; touch /etc/x; touch /tmp/x && echo ok; grep /proc/sys /proc/mounts"
    _, out, err = box.run("sh", "-c", script, in_root=add)
    assert out == b"ok\nproc /proc/sys proc ro,nosuid,nodev,noexec,relatime 0 0\n"
    assert err.count(b"Read-only file system") == 2


def test_read_only_root(box: Box) -> None:
    _, out, err = box.run("sh", "-c", "touch /x; touch /tmp/x && echo ok", in_root=adding(("ROOT_READONLY",)))
    assert out == b"ok\n" and b"Read-only file system" in err


# --- kernel settings


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "net/ipv4/ip_forward"])
def test_sysctl(box: Box, key: str) -> None:
    host = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    inside = "0" if host.strip() == "1" else "1"
    out = box.run("cat", "/proc/sys/net/ipv4/ip_forward", in_root=adding(("SYSCTL", key, inside)))[1]
    assert out.decode().strip() == inside
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == host


def test_sysctl_separators(box: Box) -> None:
    add = adding(("SYSCTL", "net/ipv4/conf/lo/forwarding", "1"), ("SYSCTL", "net.ipv4.conf.default.forwarding", "1"))
    assert box.run("cat", "/proc/sys/net/ipv4/conf/lo/forwarding", in_root=add)[1] == b"1\n"


def test_sysctl_failures(box: Box) -> None:
    for key, number in (("net.ipv4.nosuch", errno.ENOENT), ("kernel/../net", errno.EINVAL)):
        with pytest.raises(LaunchFailed) as caught:
            box.start(box.plan("true", in_root=adding(("SYSCTL", key, "1"))))
        assert caught.value.errno == number
    plan = box.plan("true", in_root=adding(("SYSCTL", "net.ipv4.ip_forward", "1")))
    plan.ops = [op for op in plan.ops if op[1][1:2] != ("/proc",)]
    (box.root / "proc/sys").mkdir(exist_ok=True)
    with pytest.raises(LaunchFailed) as caught:
        box.start(plan)
    (box.root / "proc/sys").rmdir()
    assert caught.value.text == "sysctl: /proc/sys is no procfs for net.ipv4.ip_forward\n"


def test_names_and_loopback(box: Box) -> None:
    inside = adding(("LOOPBACK",), ("HOSTNAME", "h-1"), ("DOMAINNAME", "d.x"))
    script = "hostname; cat /proc/sys/kernel/domainname; ping -c1 -w2 127.0.0.1 >/dev/null && echo up"
    assert box.run("sh", "-c", script, inside=inside)[1] == b"h-1\nd.x\nup\n"
    assert os.uname().nodename != "h-1"


def test_rlimits(box: Box) -> None:
    out = box.run("sh", "-c", "ulimit -Sn; ulimit -Hn", inside=adding(("RLIMIT", 7, 100, 200, 0)))[1]
    assert out == b"100\n200\n"


def test_rlimit_beyond_what_is_allowed(box: Box) -> None:
    """Without CAP_SYS_RESOURCE a hard limit cannot grow; first lower it, then ask for more."""
    hard = 1 << 20
    lower = ("RLIMIT", 7, 50, 60, 0)
    creds = (("CREDS", 1000, 1000, b""), ("CAPS", 0, 0, 0, 0, 0))
    out = box.run("sh", "-c", "ulimit -Sn; ulimit -Hn", inside=adding(*creds, lower, ("RLIMIT", 7, hard, hard, 1)))[1]
    assert out == b"60\n60\n"
    plan = box.make_like()
    with pytest.raises(LaunchFailed) as caught:
        plan.start(plan.plan("true", inside=adding(*creds, lower, ("RLIMIT", 7, hard, hard, 0))))
    assert (caught.value.errno, caught.value.text) == (errno.EPERM, "prlimit\n")


def test_oom_score_and_umask(box: Box) -> None:
    inside = adding(("OOM_SCORE_ADJ", 1500), ("UMASK", 0o077))
    out = box.run("sh", "-c", "cat /proc/self/oom_score_adj; umask", inside=inside)[1]
    assert out == b"500\n0077\n"


def test_working_directory(box: Box) -> None:
    assert box.run("pwd", inside=adding(("CHDIR", "/tmp/a/b", 1)))[1] == b"/tmp/a/b\n"
    other = box.make_like()
    with pytest.raises(LaunchFailed) as caught:
        other.start(other.plan("true", inside=adding(("CHDIR", "/nowhere", 0))))
    assert (caught.value.errno, caught.value.text) == (errno.ENOENT, "chdir /nowhere\n")


# --- credentials


def test_user_groups_and_no_capabilities(box: Box) -> None:
    inside = adding(("CREDS", 1000, 2000, struct.pack("<II", 5, 6)))
    out = status(box.run("cat", "/proc/self/status", inside=inside)[1])
    assert out["Uid"] == "1000\t1000\t1000\t1000" and out["Gid"] == "2000\t2000\t2000\t2000"
    assert out["Groups"] == "5 6"
    assert int(out["CapEff"], 16) == int(out["CapPrm"], 16) == 0


def test_capabilities_of_root(box: Box) -> None:
    some = mask(CAP_CHOWN, CAP_KILL)
    inside = adding(("CREDS", 0, 0, b""), ("CAPS", some, some, some, 0, 0))
    out = status(box.run("cat", "/proc/self/status", inside=inside)[1])
    assert {key: int(out[key], 16) for key in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} == {
        "CapBnd": some,
        "CapEff": some,
        "CapPrm": some,
        "CapInh": 0,
        "CapAmb": 0,
    }
    assert out["Groups"] == ""


def test_ambient_capabilities_of_a_user(box: Box) -> None:
    one, two = mask(CAP_NET_BIND_SERVICE), mask(CAP_NET_BIND_SERVICE, CAP_CHOWN)
    inside = adding(("CREDS", 1000, 1000, b""), ("CAPS", two, two, two, one, one))
    out = status(box.run("cat", "/proc/self/status", inside=inside)[1])
    assert [int(out[key], 16) for key in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")] == [
        two,
        one,
        one,
        one,
        one,
    ]


def test_effective_capability_that_is_not_permitted(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", inside=adding(("CREDS", 0, 0, b""), ("CAPS", 0, mask(CAP_CHOWN), 0, 0, 0))))
    assert caught.value.text == "capset\n"


def test_streams_belong_to_the_user(box: Box) -> None:
    inside = adding(("CREDS", 1000, 1000, b""))
    assert box.run("sh", "-c", "echo x > /proc/self/fd/1; echo y > /proc/self/fd/2", inside=inside) == (
        0,
        b"x\n",
        b"y\n",
    )


def test_no_new_privileges_and_seccomp(box: Box) -> None:
    # Deny getcwd(2) with EPERM, and allow the rest: load the number; jump; return.
    getcwd = {"x86_64": 79, "aarch64": 17}[os.uname().machine]
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in ((0x20, 0, 0, 0), (0x15, 0, 1, getcwd), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000))
    )
    inside = adding(("NO_NEW_PRIVS",), ("CREDS", 1000, 1000, b""), ("SECCOMP", program, 0))
    code, out, err = box.run("sh", "-c", "env -i /bin/busybox pwd; cat /proc/self/status", inside=inside)
    assert code == 0 and b"Operation not permitted" in err
    words = status(out)
    assert (words["NoNewPrivs"], words["Seccomp"]) == ("1", "2")


def test_seccomp_program_that_the_kernel_refuses(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", inside=adding(("SECCOMP", b"\xff" * 8, 0))))
    assert (caught.value.errno, caught.value.text) == (errno.EINVAL, "seccomp\n")


def test_label_that_the_kernel_does_not_know(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", inside=adding(("LSM_EXEC", "nosuch/exec", "x"))))
    assert caught.value.text == "open /proc/self attr/nosuch/exec\n"


# --- namespaces and cgroups


def test_namespaces_are_new(box: Box) -> None:
    out = box.run("sh", "-c", "cd /proc/self/ns; readlink net ipc uts pid mnt")[1].decode().split()
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "uts", "pid", "mnt")]
    assert not set(out) & set(host)


def test_joined_namespace(make_box: MakeBox) -> None:
    first, second = make_box(), make_box()
    started = first.start(first.plan("sleep", "100"))
    join = adding(("JOIN_NS", CLONE_NEWNET, f"/proc/{started.pid}/ns/net"))
    out = second.run("readlink", "/proc/self/ns/net", namespaces=ALL_NAMESPACES & ~CLONE_NEWNET, monitor=join)[1]
    assert out.decode().strip() == os.readlink(f"/proc/{started.pid}/ns/net")
    # The monitor itself stayed outside.
    third = make_box()
    third.start(third.plan("sleep", "100", namespaces=ALL_NAMESPACES & ~CLONE_NEWNET, monitor=join))
    assert os.readlink(f"/proc/{third.monitor}/ns/net") == os.readlink("/proc/self/ns/net")
    os.kill(third.monitor, 9)
    child = third.monitors[-1][1]
    wait_until(lambda: not process_exists(child), "the child's end, though its clone came from a third process")


def test_namespace_that_is_gone(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", monitor=adding(("JOIN_NS", CLONE_NEWNET, "/proc/self/nosuch"))))
    assert (caught.value.op, caught.value.errno) == (5, errno.ENOENT)
    assert caught.value.text == "open /proc/self/nosuch\n"


@pytest.fixture
def cgroups() -> Iterator[dict[str, Path]]:
    paths = {name: Path(f"/sys/fs/cgroup/{name}/tiffin-test-{os.getpid()}") for name in ("pids", "memory", "unified")}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    yield paths
    for path in paths.values():
        if path.exists():
            path.rmdir()


def test_cgroups(box: Box, cgroups: dict[str, Path]) -> None:
    (cgroups["pids"] / "pids.max").write_text("50")
    monitor = adding(
        ("CGROUP_TASKS", str(cgroups["pids"] / "tasks")),
        ("CGROUP_TASKS", str(cgroups["memory"] / "tasks")),
        ("CGROUP_INTO", str(cgroups["unified"])),
        *(("CGROUP_REMOVE", str(path)) for path in cgroups.values()),
        ("UNSHARE", CLONE_NEWCGROUP),
    )
    out = box.run("cat", "/proc/self/cgroup", monitor=monitor)[1].decode().split()
    paths = {line.split(":")[1]: line.split(":")[2] for line in out}
    # In a cgroup namespace that was made after joining, its own cgroups are the roots.
    assert (paths["pids"], paths["memory"], paths[""]) == ("/", "/", "/")
    assert not any(path.exists() for path in cgroups.values())


def test_cgroup_with_directories_made_inside(box: Box, cgroups: dict[str, Path]) -> None:
    monitor = adding(("CGROUP_REMOVE", str(cgroups["pids"])), ("CGROUP_TASKS", str(cgroups["pids"] / "tasks")))
    bind = adding(("BIND_IN", str(cgroups["pids"]), "/tmp/cg", 0, 0, PRIVATE))
    assert box.run("mkdir", "-p", "/tmp/cg/a/b", monitor=monitor, in_root=bind)[0] == 0
    assert not cgroups["pids"].exists()


def test_cgroups_of_a_failed_launch_are_removed(box: Box, cgroups: dict[str, Path]) -> None:
    monitor = adding(("CGROUP_REMOVE", str(cgroups["pids"])), ("CGROUP_TASKS", str(cgroups["pids"] / "tasks")))
    with pytest.raises(LaunchFailed):
        box.start(box.plan("/nowhere", monitor=monitor))
    assert not cgroups["pids"].exists()


def test_out_of_memory_is_told(box: Box, cgroups: dict[str, Path]) -> None:
    (cgroups["memory"] / "memory.limit_in_bytes").write_text("8388608")
    monitor = adding(
        ("CGROUP_TASKS", str(cgroups["memory"] / "tasks")),
        ("CGROUP_REMOVE", str(cgroups["memory"])),
        ("OOM_FILE", str(cgroups["memory"] / "memory.oom_control")),
    )
    code, _, _ = box.run("sh", "-c", "x=$(yes); echo", monitor=monitor)
    assert (code, box.ended().oom) == (137, 1)


def test_device_program(box: Box, cgroups: dict[str, Path]) -> None:
    def instruction(code: int, registers: int, offset: int, immediate: int) -> bytes:
        return struct.pack("<BBhi", code, registers, offset, immediate)

    # r2 = ctx->minor; r0 = (r2 != 5): everything but /dev/zero.
    program = b"".join(
        (
            instruction(0x61, 0x12, 8, 0),
            instruction(0xB7, 0x00, 0, 1),
            instruction(0x55, 0x02, 1, 5),
            instruction(0xB7, 0x00, 0, 0),
            instruction(0x95, 0x00, 0, 0),
        )
    )
    monitor = adding(
        ("DEVICE_BPF", str(cgroups["unified"]), program),
        ("CGROUP_INTO", str(cgroups["unified"])),
        ("CGROUP_REMOVE", str(cgroups["unified"])),
    )

    def nodes(plan: Plan) -> None:
        for name, minor in (("full", 7), ("urandom", 9)):
            plan.add("MKNOD_IN", f"/dev/{name}", 0o20666, os.makedev(1, minor), 0, 0)

    script = "mknod /dev/zero c 1 5; head -c1 /dev/urandom >/dev/null && echo ok"
    code, out, err = box.run("sh", "-c", script, monitor=monitor, in_root=nodes)
    assert (code, out) == (0, b"ok\n") and b"Operation not permitted" in err


def test_device_program_that_the_kernel_refuses(box: Box, cgroups: dict[str, Path]) -> None:
    monitor = adding(("DEVICE_BPF", str(cgroups["unified"]), b"\xff" * 8))
    with pytest.raises(LaunchFailed) as caught:
        box.start(box.plan("true", monitor=monitor))
    assert (caught.value.op, caught.value.errno) == (5, errno.EINVAL)


# --- the init process


def test_init_reaps_and_returns_the_code(box: Box) -> None:
    script = """
    for i in 1 2 3 4 5; do (sleep 0.02 &) ; done
    sleep 0.1
    cat /proc/1/comm
    grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null
    exit 8
    """
    assert box.run("sh", "-c", script, inside=adding(("INIT",))) == (8, b"tiffin-init\n", b"")


def test_init_forwards_signals(box: Box) -> None:
    script = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    started = box.start(box.plan("sh", "-c", script, inside=adding(("INIT",))), owner=True)
    assert box.owner is not None
    box.owner.until(b"ready\n")
    os.kill(started.pid, 15)
    assert box.owner.rest() == (b"term\n", b"", 3)


def test_init_tells_of_a_death_by_signal(box: Box) -> None:
    assert box.run("sh", "-c", "kill -9 $$", inside=adding(("INIT",)))[0] == 137
    assert box.ended().signal == 0


def test_init_whose_program_is_missing(box: Box) -> None:
    plan = box.plan("/nowhere", inside=adding(("INIT",)))
    with pytest.raises(LaunchFailed) as caught:
        box.start(plan)
    assert (caught.value.op, caught.value.errno) == (len(plan.ops) - 1, errno.ENOENT)
    assert not box.exit_file.exists() and os.listdir(box.run_dir) == []


def test_init_without_a_pid_namespace(box: Box) -> None:
    """It still reaps orphans, and the program still ends with the monitor."""
    script = """
    echo $$
    (sleep 0.05 & echo $! > /tmp/orphan)
    sleep 0.2
    test -d /proc/$(cat /tmp/orphan) && echo zombie
    exec sleep 100
    """
    shared = ALL_NAMESPACES & ~CLONE_NEWPID
    plan = box.plan("sh", "-c", script, namespaces=shared, inside=adding(("INIT",)))
    box.start(plan, owner=True)
    assert box.owner is not None
    program = int(box.owner.until(b"\n"))
    time.sleep(0.4)
    os.kill(box.monitor, 9)
    wait_until(lambda: not process_exists(program), "the program's end")
    assert box.owner.rest() == (b"", b"", None)


def test_init_and_ctrl_c(box: Box) -> None:
    """The terminal sends SIGINT to the foreground group; init must not send it a second time."""
    script = "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n = 0 ]; do sleep 0.01; done; sleep 0.1; exit $n"
    plan = box.plan("sh", "-c", script, tty=(24, 80), stdin=True, inside=adding(("INIT",)))
    box.start(plan, owner=True)
    assert box.owner is not None
    box.owner.until(b"ready\r\n")
    box.owner.send(STDIN, b"\x03")
    assert box.owner.rest()[2] == 1
