"""What somebody hostile inside, or the author of an image, or another user of the host tries, and must not reach."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiffin
from harness.tars import TarMaker
from tiffin.containers import end
from tiffin.errors import HostError, LaunchError, StoreError
from tiffin.model.container import ContainerConfig, Mount

NOBODY = 65534
BUSYBOX = Mount(type="bind", source="/bin/busybox", target="/busybox", readonly=True)


def compiled(tmp_path: Path, source: str) -> Mount:
    """A static program, shown inside as /attack."""
    (tmp_path / "attack.c").write_text(source)
    subprocess.run(["gcc", "-static", "-O1", "-o", tmp_path / "attack", tmp_path / "attack.c"], check=True)
    return Mount(type="bind", source=f"{tmp_path}/attack", target="/attack", readonly=True)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- a container that outlives its monitor

STUBBORN = """
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void) { prctl(PR_SET_PDEATHSIG, 0); puts("up"); fflush(stdout); for (;;) pause(); }
"""


@pytest.mark.parametrize("end", ["ps", "stop", "kill", "remove", "start"])
def test_no_command_leaves_an_orphaned_container(engine: tiffin.Engine, busybox: str, tmp_path: Path, end: str) -> None:
    config = ContainerConfig(image=busybox, name="web", command=("/attack",), mounts=(compiled(tmp_path, STUBBORN),))
    engine.create(config)
    engine.start("web")
    deadline = time.monotonic() + 5
    while not list(engine.logs("web")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    state = engine.container("web").state
    os.kill(state.monitor_pid, signal.SIGKILL)
    wait_until_gone(state.monitor_pid)
    assert running(state.pid), "the kernel has ended it, so there is nothing to test"
    if end == "ps":
        engine.containers()
    elif end == "kill":
        with pytest.raises(tiffin.errors.ConflictError):
            engine.kill("web")
    else:
        {"stop": engine.stop, "remove": engine.remove, "start": engine.start}[end]("web")
    wait_until_gone(state.pid)
    if end != "remove":
        engine.remove("web", force=True)


# --- the operator's choices against the image's


def test_an_image_cannot_make_root_of_a_number(engine: tiffin.Engine) -> None:
    layer = TarMaker().file("etc/passwd", b"1000:x:0:0::/:/bin/sh\n").file("etc/group", b"1000:x:0:\n").done()
    engine.import_image(io.BytesIO(layer), "hostile")
    result = engine.run("hostile", ["/busybox", "id"], user="1000:1000", mounts=(BUSYBOX,))
    assert result.stdout == "uid=1000 gid=1000 groups=1000\n"


# --- an image's files


def test_overlay_attributes_of_an_image_mean_nothing(engine: tiffin.Engine) -> None:
    lie = {"trusted.overlay.redirect": "/../../../../etc/shadow", "trusted.overlay.metacopy": ""}
    layer = (
        TarMaker()
        .directory("./", xattrs={"trusted.overlay.redirect": "/etc", "trusted.overlay.opaque": "y"})
        .file("shadow", b"own", xattrs=lie)
        .directory("etc2", xattrs={"trusted.overlay.redirect": "/etc"})
        .done()
    )
    engine.import_image(io.BytesIO(layer), "hostile")
    script = "/busybox cat /shadow; /busybox ls /etc2"
    result = engine.run("hostile", ["/busybox", "sh", "-c", script], mounts=(BUSYBOX,))
    assert (result.stdout, result.stderr) == ("own", "")


def test_device_nodes_of_an_image_do_not_open(engine: tiffin.Engine) -> None:
    layer = TarMaker().device("disk", "b", 7, 0, mode=0o666).device("mem", "c", 1, 1, mode=0o666).done()
    engine.import_image(io.BytesIO(layer), "hostile")
    for node in ("disk", "mem"):
        result = engine.run("hostile", ["/busybox", "head", "-c", "1", f"/{node}"], mounts=(BUSYBOX,))
        assert (result.exit_code, result.stderr) == (1, f"head: /{node}: Operation not permitted\n")


# --- the host's devices


@pytest.mark.parametrize("node", ["c 5 1", "b 7 0", "c 1 1", "c 1 11", "c 4 1", "c 10 229", "c 10 237"])
def test_a_node_made_inside_does_not_open(engine: tiffin.Engine, busybox: str, node: str) -> None:
    script = f"mknod /tmp/node {node} && exec 3<>/tmp/node"
    result = engine.run(busybox, ["sh", "-c", script])
    assert result.stderr == "sh: can't open /tmp/node: Operation not permitted\n" or (
        result.stderr == "sh: can't create /tmp/node: Operation not permitted\n"
    )


def test_a_read_only_container_writes_nothing_to_the_host(engine: tiffin.Engine, busybox: str) -> None:
    for name in ("hosts", "hostname", "resolv.conf"):
        result = engine.run(busybox, ["sh", "-c", f"echo x >/etc/{name}"], read_only=True)
        assert result.stderr == f"sh: can't create /etc/{name}: Read-only file system\n"


# --- the launcher


def test_descriptors_of_the_caller_are_nobodys_connection(engine: tiffin.Engine, busybox: str) -> None:
    read, write = os.pipe()
    script = (
        f"import os, tiffin; os.dup2({read}, 5); os.dup2({write}, 6)\n"
        f"with tiffin.Engine({engine.root!r}) as engine: engine.start('web')"
    )
    engine.create(ContainerConfig(image=busybox, name="web", command=("echo", "secret")))
    subprocess.run([sys.executable, "-c", script], pass_fds=(read, write), check=True)
    assert engine.wait("web", timeout_s=10) == 0
    os.close(write)
    assert os.read(read, 100) == b""
    os.close(read)
    engine.remove("web")


# --- other users of the host


def test_a_store_that_belongs_to_another_user(engine_root: str) -> None:
    os.chown(engine_root, NOBODY, NOBODY)
    with tiffin.Engine(engine_root) as engine, pytest.raises(StoreError) as caught:
        engine.containers()
    assert caught.value.message == (
        f"the store {engine_root!r} belongs to user {NOBODY}, who could have put anything into it"
    )
    os.chown(engine_root, 0, 0)
    os.chmod(engine_root, 0o777)
    with tiffin.Engine(engine_root) as engine, pytest.raises(StoreError) as caught:
        engine.import_image(io.BytesIO(b""), "x")
    assert caught.value.message == f"the store {engine_root!r} can be written to by other users (mode 777)"


def test_other_users_reach_nothing_in_the_store(engine: tiffin.Engine, busybox: str) -> None:
    config = ContainerConfig(image=busybox, name="web", env=("PASSWORD=x",), command=("sleep", "60"))
    container = engine.create(config)
    engine.start("web")
    base = f"{engine.root}/containers/{container.id}"
    places = [f"{base}/upper/etc", f"{engine.root}/state.db", f"{engine.root}/state.db-wal", f"{base}/output.log"]
    places.append(f"{engine.root}/run/containers/{container.id}/attach.sock")
    assert all(os.path.exists(place) for place in places)
    script = f"import os; os.setuid({NOBODY}); print([p for p in {places!r} if os.access(p, os.R_OK)])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"[]\n"
    engine.remove("web", force=True)


# --- where the kernel's file systems are mounted

ROOTS = [("proc", "/"), ("proc", "/.."), ("proc", "/other"), ("sys", "/"), ("sys", "/other")]


@pytest.mark.parametrize(("name", "target"), ROOTS)
def test_no_symlink_of_an_image_moves_proc_or_sys(engine: tiffin.Engine, name: str, target: str) -> None:
    # Over the root itself they would be reachable through "/..", beyond all masks.
    engine.import_image(io.BytesIO(TarMaker().directory("other").symlink(name, target).done()), "hostile")
    with pytest.raises(LaunchError) as caught:
        engine.run("hostile", ["/busybox", "true"], mounts=(BUSYBOX,))
    assert caught.value.message.startswith(f"cannot mount {'proc' if name == 'proc' else 'sysfs'} on /{name}: ")


def test_nothing_is_mounted_over_the_root(engine: tiffin.Engine) -> None:
    engine.import_image(io.BytesIO(TarMaker().symlink("data", "/").done()), "hostile")
    bind = Mount(type="bind", source="/var", target="/data", readonly=True)
    for mount in (bind, Mount(type="tmpfs", target="/data")):
        with pytest.raises(LaunchError) as caught:
            engine.run("hostile", ["/busybox", "true"], mounts=(BUSYBOX, mount))
        assert caught.value.message.endswith(" on /data: Too many levels of symbolic links")


def test_a_working_directory_is_not_reached_through_another_process(engine: tiffin.Engine, tmp_path: Path) -> None:
    engine.import_image(io.BytesIO(TarMaker().directory("x").done()), "hostile")
    workdir = f"/proc/{os.getpid()}/root{tmp_path}/made"
    with pytest.raises(LaunchError):
        engine.run("hostile", ["/busybox", "true"], mounts=(BUSYBOX,), pid="host", workdir=workdir)
    assert not (tmp_path / "made").exists()


SWAP = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static void exchange(const char *one, const char *other)
{
    syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
}
int main(void)
{
    static const char *const links[][2] = {{"/", "l0"}, {"../../../../../../../..", "l1"}, {"/proc/self/root", "l2"}};
    if (chdir("/v") < 0 || mkdir("a", 0755) < 0 || mkdir("a/b", 0755) < 0 || mkdir("other", 0755) < 0)
        return 1;
    close(open("a/b/mark", O_CREAT | O_WRONLY, 0644));
    symlink("/", "other/b");
    for (int i = 0; i < 3; i++)
        symlink(links[i][0], links[i][1]);
    puts("up");
    fflush(stdout);
    for (unsigned n = 0;; n++) {
        const char *link = links[n % 3][1];
        exchange("a/b", link);
        usleep(n % 3 ? 0 : 200);
        exchange("a/b", link);
        exchange("a", "other");
        usleep(n % 7 ? 0 : 100);
        exchange("a", "other");
        usleep(n % 5 ? 0 : 300);
    }
}
"""


@pytest.mark.parametrize("userns", ["", "auto"])
def test_a_subpath_stays_in_its_volume(engine: tiffin.Engine, busybox: str, tmp_path: Path, userns: str) -> None:
    """CVE-2021-30465 by way of volume-subpath: whoever has the volume exchanges directories and links all the time."""
    volume = Mount(type="volume", source="data", target="/v")
    mounts = (compiled(tmp_path, SWAP), volume)
    config = ContainerConfig(image=busybox, name="swap", command=("/attack",), mounts=mounts)
    engine.create(config)
    engine.start("swap")
    wait_for_line(engine, "swap")
    inner = volume.replace(target="/x", subpath="a/b")
    for _ in range(20):
        try:
            found = engine.run(busybox, ["ls", "/x"], mounts=(inner,), userns=userns).stdout
        except tiffin.errors.TiffinError:
            continue
        assert found == "mark\n"
    engine.remove("swap", force=True)


# --- processes of ours in a namespace that is shared

PEEK = """
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
static void look(int pid)
{
    char path[320], link[256];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t size = readlink(path, link, sizeof link - 1);
    if (size > 0 && (link[size] = 0, strstr(link, "busybox") == NULL))
        printf("program %s\\n", link);
    snprintf(path, sizeof path, "/proc/%d/root/var/lib/dpkg", pid);
    if (access(path, F_OK) == 0)
        puts("the host's root");
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    for (struct dirent *entry; fds && (entry = readdir(fds));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
        size = readlink(path, link, sizeof link - 1);
        if (size > 0 && (link[size] = 0, !strstr(link, "pipe:") && !strstr(link, "null") && strcmp(link, "/")))
            printf("descriptor %s\\n", link);
    }
    if (fds)
        closedir(fds);
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        size = readlink(path, link, sizeof link - 1);
        if (size > 0 && (link[size] = 0, strstr(link, "busybox") == NULL))
            printf("traced %s\\n", link);
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, NULL, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}
int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("up");
    for (;;) {
        DIR *all = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(all));)
            if (atoi(entry->d_name) > 1)
                look(atoi(entry->d_name));
        closedir(all);
    }
}
"""


@pytest.mark.parametrize(("userns", "added"), [("", ()), ("auto", ()), ("auto", ("SYS_PTRACE",))])
def test_nobody_looks_at_the_launcher_in_a_shared_namespace(
    engine: tiffin.Engine, busybox: str, tmp_path: Path, userns: str, added: tuple[str, ...]
) -> None:
    config = ContainerConfig(
        image=busybox, name="donor", command=("/attack",), mounts=(compiled(tmp_path, PEEK),), userns=userns,
        cap_add=added,
    )  # fmt: skip
    engine.create(config)
    engine.start("donor")
    wait_for_line(engine, "donor")
    joined = {"userns": "container:donor"} if userns else {}
    for _ in range(5):
        engine.exec_run("donor", ["busybox", "true"])
        engine.run(busybox, ["busybox", "true"], pid="container:donor", **joined)
    lines = {line.data for line in engine.logs("donor")}
    engine.remove("donor", force=True)
    assert lines == {b"up\n"}


HOLD = """
#include <stdio.h>
#include <stdlib.h>
#include <dirent.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("up");
    for (;;) {
        DIR *all = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(all));)
            if (atoi(entry->d_name) > 1 && ptrace(PTRACE_SEIZE, atoi(entry->d_name), 0, 0) == 0)
                puts("held");
        closedir(all);
        usleep(1000);
    }
}
"""


def test_a_tracer_in_a_shared_namespace_is_named(
    engine: tiffin.Engine, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the kernel from telling the monitor of the end; nobody waits for ever, and who does it is said."""
    monkeypatch.setattr(end, "KILL_WAIT_S", 1.0)
    engine.create(
        ContainerConfig(image=busybox, name="donor", command=("/attack",), mounts=(compiled(tmp_path, HOLD),))
    )
    engine.start("donor")
    wait_for_line(engine, "donor")
    engine.create(ContainerConfig(image=busybox, name="joined", command=("sleep", "60"), pid="container:donor"))
    engine.start("joined")
    deadline = time.monotonic() + 10
    while len(list(engine.logs("donor"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for end_it in (lambda: engine.stop("joined", timeout_s=0), lambda: engine.remove("joined", force=True)):
        with pytest.raises(HostError) as caught:
            end_it()
        assert caught.value.message == "container 'joined' did not end 1 s after SIGKILL"
        tracer = engine.container("donor").state.pid
        assert caught.value.hint == f"process {tracer} traces it, from a PID namespace that they share: end that one"
    engine.remove("donor", force=True)
    engine.remove("joined", force=True)


def wait_for_line(engine: tiffin.Engine, name: str) -> None:
    deadline = time.monotonic() + 10
    while not list(engine.logs(name)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- what exec reads of a running container


def test_accounts_that_lead_to_the_kernels_log(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    engine.exec_run("web", ["sh", "-c", "ln -sf /proc/kmsg /etc/passwd; ln -sf /proc/kmsg /etc/group"])
    command = [sys.executable, "-m", "tiffin", "--root", engine.root, "exec", "web", "echo", "here"]
    assert subprocess.run(command, capture_output=True, timeout=10, check=True).stdout == b"here\n"
    engine.remove("web", force=True)


def test_the_root_directory_of_an_image_has_no_overlay_attributes(
    engine: tiffin.Engine, busybox_archive: bytes
) -> None:
    lies = {"trusted.overlay.redirect": "/etc", "trusted.overlay.opaque": "y", "trusted.own": "kept"}
    engine.import_image(io.BytesIO(TarMaker().directory("./", xattrs=lies).done()), "hostile")
    container = engine.create(ContainerConfig(image="hostile", command=("/busybox", "sleep", "60"), mounts=(BUSYBOX,)))
    engine.start(container.id)
    upper = f"{engine.root}/containers/{container.id}/upper"
    attributes = {name: os.getxattr(upper, name) for name in os.listxattr(upper)}
    engine.remove(container.id, force=True)
    assert "trusted.overlay.redirect" not in attributes and "trusted.overlay.opaque" not in attributes
    assert attributes["trusted.own"] == b"kept"
    assert attributes["trusted.overlay.overlay.redirect"] == b"/etc"


# --- keys

KEYRING = """
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words)
{
    if (count > 1) {
        syscall(SYS_keyctl, 1, 0); /* KEYCTL_JOIN_SESSION_KEYRING */
        if (syscall(SYS_add_key, "user", "attack", "secret", 6, -3) < 0)
            return 77;
        execvp(words[1], words + 1);
    }
    long key = syscall(SYS_keyctl, 10, -3, "user", "attack", 0); /* KEYCTL_SEARCH in the session keyring */
    puts(key < 0 ? "none" : "found");
    return 0;
}
"""


def test_the_callers_keys_are_not_the_containers(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    mount = compiled(tmp_path, KEYRING)
    command = ["run", "--rm", "--security-opt", "seccomp=unconfined", "-v", f"{mount.source}:/attack:ro", busybox]
    words = [mount.source, sys.executable, "-m", "tiffin", "--root", engine.root, *command, "/attack"]
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no keyrings")
    assert done.stdout == b"none\n", done.stderr
