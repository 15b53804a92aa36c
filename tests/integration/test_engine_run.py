"""The library: run, start, attach, exec, logs, stop, wait, remove with real containers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tiffin
from tiffin.errors import (
    CommandNotExecutable,
    CommandNotFound,
    ConflictError,
    LaunchError,
    NotFoundError,
    UsageError,
)
from tiffin.model.container import ContainerConfig, Device, Mount, Ulimit
from tiffin.model.resources import Resources
from tiffin.runtime.security import capabilities


def sh(engine: tiffin.Engine, image: str, script: str, **options: object) -> str:
    result = engine.run(image, ["sh", "-c", script], **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_output_exit_code_and_nothing_left(engine: tiffin.Engine, busybox: str) -> None:
    result = engine.run(busybox, ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert engine.containers(all=True) == []


def test_module_level_run(engine: tiffin.Engine, busybox: str) -> None:
    assert tiffin.run(busybox, ["echo", "hi"], root=engine.root).stdout == "hi\n"


def test_input_larger_than_every_buffer(engine: tiffin.Engine, busybox: str) -> None:
    data = os.urandom(3 << 20)
    assert engine.run(busybox, ["cat"], input=data).stdout_bytes == data


def test_killed_by_signal(engine: tiffin.Engine, busybox: str) -> None:
    # The first process ignores what it has no handler for, so a child does the dying.
    assert engine.run(busybox, ["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]).exit_code == 143


def test_timeout_kills(engine: tiffin.Engine, busybox: str) -> None:
    with pytest.raises(ConflictError, match="still ran after the time allowed, and was killed"):
        engine.run(busybox, ["sleep", "60"], timeout_s=0.5)
    assert engine.containers(all=True) == []


@pytest.mark.parametrize(
    ("command", "kind", "message", "code"),
    [
        (["nosuch"], CommandNotFound, 'exec: "nosuch": executable file not found in $PATH', 127),
        (["/no/such"], CommandNotFound, 'exec: "/no/such": no such file or directory', 127),
        (["/etc/passwd"], CommandNotExecutable, 'exec: "/etc/passwd": permission denied', 126),
        (["/etc"], CommandNotExecutable, 'exec: "/etc": permission denied', 126),
    ],
)
def test_commands_that_cannot_run(
    engine: tiffin.Engine, busybox: str, command: list[str], kind: type[LaunchError], message: str, code: int
) -> None:
    with pytest.raises(kind) as caught:
        engine.run(busybox, command)
    assert caught.value.message == message and caught.value.exit_code == code
    assert engine.containers(all=True) == []


def test_a_failing_step_is_named(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    container = engine.create(
        ContainerConfig(
            image=busybox, command=("true",), mounts=(Mount(type="bind", source=str(tmp_path / "gone"), target="/x"),)
        )
    )
    (tmp_path / "gone").rmdir()
    with pytest.raises(LaunchError) as caught:
        engine.start(container.id)
    assert caught.value.message.startswith(f"cannot bind {tmp_path}/gone on /x: No such file or directory")
    state = engine.container(container.id).state
    assert (state.status, state.exit_code) == ("created", 125) and "cannot bind" in state.error


def test_environment_workdir_user_hostname(engine: tiffin.Engine, busybox: str) -> None:
    out = sh(
        engine,
        busybox,
        "echo $A $HOSTNAME; pwd; id -u; id -g; hostname; cat /etc/hostname",
        env=("A=1",),
        workdir="/new/dir",
        user="alice",
        hostname="box",
    )
    assert out == "1 box\n/new/dir\n1000\n1000\nbox\nbox\n"


def test_namespaces_are_its_own(engine: tiffin.Engine, busybox: str) -> None:
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
        own = sh(engine, busybox, f"readlink /proc/self/ns/{kind}").strip()
        assert own != os.readlink(f"/proc/self/ns/{kind}"), kind
    assert sh(engine, busybox, "echo $$") == "1\n"
    assert sh(engine, busybox, "readlink /proc/self/ns/net", network="host").strip() == os.readlink("/proc/self/ns/net")
    assert sh(engine, busybox, "ip -o link | wc -l; ping -c1 -W1 127.0.0.1 >/dev/null && echo up").split() == [
        "1",
        "up",
    ]


def test_confinement(engine: tiffin.Engine, busybox: str) -> None:
    status = sh(engine, busybox, "grep -E 'Cap(Eff|Bnd|Amb)|Seccomp:|NoNewPrivs' /proc/self/status")
    values = dict(line.split(":\t") for line in status.splitlines())
    assert values["CapEff"] == values["CapBnd"] == "00000000a80425fb" and values["CapAmb"] == "0" * 16
    assert values["Seccomp"] == "2" and values["NoNewPrivs"] == "0"
    careful = sh(engine, busybox, "grep NoNewPrivs /proc/self/status", security_opts=("no-new-privileges",))
    assert careful.split() == ["NoNewPrivs:", "1"]
    assert sh(
        engine, busybox, "cat /proc/kcore | wc -c; (echo x >/proc/sys/kernel/hostname) 2>&1 | grep -c 'Read-only'"
    ) == ("0\n1\n")
    assert engine.run(busybox, ["mount", "-t", "tmpfs", "x", "/mnt"]).exit_code != 0
    assert engine.run(busybox, ["sh", "-c", "echo 1 > /sys/kernel/mm/ksm/run"]).exit_code != 0


def test_a_container_cannot_use_the_hosts_disk(engine: tiffin.Engine, busybox: str) -> None:
    disk = os.stat("/").st_dev
    script = f"mknod /disk b {os.major(disk)} {os.minor(disk)} && head -c1 /disk"
    result = engine.run(busybox, ["sh", "-c", script])
    assert result.exit_code != 0 and "Operation not permitted" in result.stderr


def said_to_be_missing() -> contextlib.AbstractContextManager[object]:
    """Expects the warning about capabilities that this host cannot give, or none where it has all."""
    missing = capabilities.names_of(capabilities.ALL & ~capabilities.host_bounding())
    if not missing:
        return contextlib.nullcontext()
    return pytest.warns(RuntimeWarning, match=f"this host cannot give the capabilities {', '.join(missing)}$")


def test_privileged(engine: tiffin.Engine, busybox: str) -> None:
    script = "mkdir -p /m; mount -t tmpfs x /m && echo mounted; ls /dev/loop0; grep CapEff /proc/self/status"
    with said_to_be_missing():
        out = sh(engine, busybox, script, privileged=True)
    given = capabilities.ALL & capabilities.host_bounding()
    assert out == f"mounted\n/dev/loop0\nCapEff:\t{given:016x}\n"


def test_its_own_cgroups_are_the_roots_of_what_it_sees(engine: tiffin.Engine, busybox: str) -> None:
    script = "cd /sys/fs/cgroup; [ -e cgroup.procs ] || cd pids; head -n1 cgroup.procs; mkdir x && rmdir x && echo made"
    result = engine.run(busybox, ["sh", "-c", script])
    assert (result.stdout, result.stderr) == ("1\n", "mkdir: can't create directory 'x': Read-only file system\n")
    with said_to_be_missing():
        assert sh(engine, busybox, script, privileged=True) == "1\nmade\n"
    container = engine.create(ContainerConfig(image=busybox, command=("cat", "/proc/self/cgroup"), cgroupns="host"))
    engine.start(container.id)
    engine.wait(container.id)
    assert any(line.data.endswith(f"/{container.id}\n".encode()) for line in engine.logs(container.id))


def test_a_container_that_divides_its_cgroup(engine: tiffin.Engine, busybox: str) -> None:
    """As an init system does it: on v2 no process may stay in a cgroup that distributes, so exec must not go there."""
    script = """
        cd /sys/fs/cgroup; [ -e cgroup.procs ] || cd pids
        mkdir mine other; echo 1 > mine/cgroup.procs
        [ ! -e cgroup.controllers ] || echo +pids > cgroup.subtree_control
        echo ready; exec sleep 60
    """
    with said_to_be_missing():
        engine.create(
            ContainerConfig(
                image=busybox, name="web", command=("sh", "-c", script), privileged=True, cgroupns="private"
            )
        )
        engine.start("web")
    wait_for(lambda: [line.data for line in engine.logs("web")] == [b"ready\n"])
    cgroups = engine.exec_run("web", ["cat", "/proc/self/cgroup"]).stdout.split()
    expected = "0::/mine" if engine.info()["CgroupVersion"] == "2" else ":pids:/"
    assert any(line.endswith(expected) for line in cgroups)
    engine.remove("web", force=True)  # with the cgroups that it has made, or the leak check at the end fails


def test_descriptors_do_not_leak(engine: tiffin.Engine, busybox: str) -> None:
    assert sh(engine, busybox, "ls /proc/self/fd | wc -l; ls /proc/1/fd; true").split() == ["4", "0", "1", "2"]


def test_mounts(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    mounts = (
        Mount(type="bind", source=str(tmp_path), target="/rw"),
        Mount(type="bind", source=str(tmp_path), target="/ro", readonly=True),
        Mount(type="bind", source=str(tmp_path / "file"), target="/deep/new/file"),
        Mount(type="bind", source=str(tmp_path / "made"), target="/made", create_source=True),
        Mount(type="tmpfs", target="/t", tmpfs_options=("size=1m",)),
    )
    script = "cat /deep/new/file; echo x > /rw/written; echo y > /ro/no 2>/dev/null || echo refused; df -k /t | tail -1"
    out = sh(engine, busybox, script, mounts=mounts).splitlines()
    assert out[:2] == ["from outside", "refused"] and out[2].split()[1] == "1024"
    assert (tmp_path / "written").read_text() == "x\n" and (tmp_path / "made").is_dir()
    assert not (tmp_path / "no").exists()


def test_symlinked_targets_stay_inside(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    container = engine.create(ContainerConfig(image=busybox, command=("sh", "-c", "ln -s /../../../../tmp /escape")))
    engine.start(container.id)
    engine.wait(container.id)
    with engine_restart_with_mount(engine, container.id, tmp_path) as out:
        assert out == "inside\n"


class engine_restart_with_mount:
    """A second container whose image has a link that points out of it, with a mount below that link."""

    def __init__(self, engine: tiffin.Engine, container_id: str, tmp_path: Path) -> None:
        self.engine = engine
        self.tmp_path = tmp_path
        (tmp_path / "marker").write_text("inside\n")

    def __enter__(self) -> str:
        import io
        import tarfile

        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar, open("/bin/busybox", "rb") as busybox:
            entry = tar.gettarinfo("/bin/busybox", arcname="bin/busybox")
            tar.addfile(entry, busybox)
            link = tarfile.TarInfo("escape")
            link.type, link.linkname = tarfile.SYMTYPE, "/../../../../var/tmp"
            tar.addfile(link)
        archive.seek(0)
        self.engine.import_image(archive, "linked")
        mounts = (Mount(type="bind", source=str(self.tmp_path), target="/escape/made/by/mount"),)
        before = set(os.listdir("/var/tmp"))
        result = self.engine.run("linked", ["/bin/busybox", "cat", "/var/tmp/made/by/mount/marker"], mounts=mounts)
        assert set(os.listdir("/var/tmp")) - before == set(), "a mount point was made on the host"
        return result.stdout

    def __exit__(self, *_: object) -> None:
        self.engine.remove_image("linked")


def test_read_only_root(engine: tiffin.Engine, busybox: str) -> None:
    script = "echo x > /file 2>/dev/null || echo refused; echo y > /dev/shm/ok && echo written"
    assert sh(engine, busybox, script, read_only=True) == "refused\nwritten\n"


def test_limits_reach_the_kernel(engine: tiffin.Engine, busybox: str) -> None:
    resources = Resources(memory_bytes=64 << 20, cpus=0.5, pids_limit=20)
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
        for i in $(seq 40); do sleep 1 & done"
    result = engine.run(busybox, ["sh", "-c", script], resources=resources)
    assert str(64 << 20) in result.stdout.split() and "can't fork" in result.stderr


def test_out_of_memory_is_told(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(
        ContainerConfig(
            image=busybox,
            command=("sh", "-c", "head -c 200m /dev/zero | tail"),
            resources=Resources(memory_bytes=16 << 20, memory_swap_bytes=16 << 20),
        )
    )
    engine.start(container.id)
    assert engine.wait(container.id, timeout_s=30) != 0
    assert engine.container(container.id).state.oom_killed


def test_ulimits(engine: tiffin.Engine, busybox: str) -> None:
    assert sh(engine, busybox, "ulimit -n", ulimits=(Ulimit(name="nofile", soft=77, hard=99),)) == "77\n"
    large = (Ulimit(name="memlock", soft=1 << 40, hard=1 << 40),)
    if capabilities.host_bounding() >> capabilities.BITS["SYS_RESOURCE"] & 1:
        assert sh(engine, busybox, "ulimit -l", ulimits=large) == f"{1 << 30}\n"
        return
    with pytest.raises(LaunchError) as caught:
        engine.run(busybox, ["true"], ulimits=large)
    assert str(caught.value) == (
        "cannot set ulimit memlock to 1099511627776:1099511627776: Operation not permitted"
        " (raising a hard limit needs CAP_SYS_RESOURCE)"
    )


def test_devices_and_sysctls(engine: tiffin.Engine, busybox: str) -> None:
    device = Device(host_path="/dev/loop-control", container_path="/dev/lc", permissions="rw")
    assert sh(engine, busybox, "stat -c %F /dev/lc; : < /dev/lc && echo open", devices=(device,)) == (
        "character special file\nopen\n"
    )
    out = sh(engine, busybox, "cat /proc/sys/net/ipv4/ip_forward", sysctls=(("net.ipv4.ip_forward", "1"),))
    assert out == "1\n"
    with pytest.raises(UsageError, match=r"sysctl 'kernel\.panic'"):
        engine.run(busybox, ["true"], sysctls=(("kernel.panic", "1"),))


def test_init_reaps(engine: tiffin.Engine, busybox: str) -> None:
    script = "(sleep 0.1 &) ; sleep 0.5; ps -o pid,stat,comm | grep -c Z; cat /proc/1/comm"
    assert sh(engine, busybox, script + "; true", init=True) == "0\ntiffin-init\n"


def test_start_stop_start_again_keeps_files_and_logs(engine: tiffin.Engine, busybox: str) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo run >> /count; cat /count; while :; do sleep 0.1; done"
    container = engine.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", script)))
    assert engine.container("web").state.status == "created"
    for lines in (1, 4):
        engine.start("web")
        assert engine.container("web").state.status == "running"
        wait_for(lambda lines=lines: len(list(engine.logs("web"))) == lines)  # type: ignore[misc]
        engine.stop("web")
        state = engine.container("web").state
        assert (state.status, state.exit_code) == ("exited", 3)
        assert state.finished_ns > state.started_ns > container.created_ns
    text = b"".join(line.data for line in engine.logs("web"))
    assert text == b"run\nbye\nrun\nrun\nbye\n"
    assert [line.data for line in engine.logs("web", tail=2)] == [b"run\n", b"bye\n"]
    engine.remove("web")
    with pytest.raises(NotFoundError) as caught:
        engine.container("web")
    assert str(caught.value) == "no such container: web (`tiffin ps -a` lists what is here)"


def wait_for(condition: object, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_container_that_ignores_sigterm(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(
        ContainerConfig(image=busybox, command=("sh", "-c", "trap '' TERM; while :; do sleep 1; done"))
    )
    engine.start(container.id)
    time.sleep(0.2)
    began = time.monotonic()
    engine.stop(container.id, timeout_s=0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert engine.container(container.id).state.exit_code == 137


def test_names_and_prefixes(engine: tiffin.Engine, busybox: str) -> None:
    first = engine.create(ContainerConfig(image=busybox, name="one"))
    with pytest.raises(ConflictError) as caught:
        engine.create(ContainerConfig(image=busybox, name="one"))
    assert caught.value.message == f"the container name 'one' is already in use by container {first.id[:12]}"
    assert engine.container(first.id[:8]).container == first == engine.container("/one").container
    with pytest.raises(UsageError, match="Invalid container name"):
        engine.create(ContainerConfig(image=busybox, name="-bad"))


def test_running_containers_stay(engine: tiffin.Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    with pytest.raises(ConflictError) as caught:
        engine.remove("web")
    assert caught.value.message == "cannot remove container 'web': container is running"
    with pytest.raises(ConflictError):
        engine.remove_image(busybox)
    engine.kill("web", signal="KILL")
    assert engine.wait("web", timeout_s=10) == 137
    with pytest.raises(ConflictError) as caught:
        engine.kill("web")
    assert caught.value.message == f"cannot kill container web: container {container.id[:12]} is not running"


def test_exec(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60"), env=("A=1",)))
    with pytest.raises(ConflictError, match="container 'web' is not running"):
        engine.exec_run("web", ["true"])
    engine.start("web")
    result = engine.exec_run(
        "web",
        ["sh", "-c", "cat; echo $A $B; id -un; pwd; exit 4"],
        input=b"in\n",
        env=("B=2",),
        user="alice",
        workdir="/tmp",
    )
    assert (result.exit_code, result.stdout) == (4, "in\n1 2\nalice\n/tmp\n")
    status = engine.exec_run("web", ["cat", "/proc/self/status"]).stdout
    assert "CapEff:\t00000000a80425fb" in status and "Seccomp:\t2" in status
    cgroups = engine.exec_run("web", ["cat", "/proc/self/cgroup"]).stdout.split()
    # Pure cgroup v2 has but one line, which names no controller.
    limiting = [line for line in cgroups if ":memory:" in line or ":pids:" in line] or cgroups
    assert limiting and all(line.endswith(":/") for line in limiting)
    with pytest.raises(CommandNotFound):
        engine.exec_run("web", ["nosuch"])
    with engine.exec("web", ["sleep", "60"]) as session:
        session.signal("TERM")
        assert session.wait() == 143
    assert engine.exec_run("web", ["sh", "-c", "ls /proc/self/fd | wc -l"]).stdout == "4\n"


def test_exec_detached(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    engine.exec("web", ["sh", "-c", "sleep 0.2; touch /done"], detach=True).close()
    wait_for(lambda: engine.exec_run("web", ["test", "-e", "/done"]).exit_code == 0)


def test_exec_with_a_terminal(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    with engine.exec("web", ["sh", "-c", "stty size; tty"], tty=True, tty_size=(33, 99)) as session:
        output = b""
        try:
            while data := os.read(session.master, 1000):
                output += data
        except OSError:
            pass  # EIO: the other side has closed it
        assert session.wait() == 0
        assert output == b"33 99\r\n/dev/pts/0\r\n"


def test_attach_twice(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(
        ContainerConfig(image=busybox, name="web", command=("sh", "-c", "read a; echo got $a"), interactive=True)
    )
    engine.start("web")
    with engine.attach("web") as first, engine.attach("web") as second:
        first.send_stdin(b"hello\n")
        for attachment in (first, second):
            frames = list(attachment.frames())
            assert frames[0] == (1, b"got hello\n") and frames[-1] == (3, b"0")


def test_follow_ends_with_the_container(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(
        ContainerConfig(image=busybox, name="web", command=("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"))
    )
    engine.start("web")
    assert [line.data for line in engine.logs("web", follow=True)] == [b"1\n", b"2\n", b"3\n"]


def test_two_engines_never_meet(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    with tiffin.Engine(str(tmp_path / "other")) as other:
        assert other.images() == []
        with pytest.raises(NotFoundError, match="no such image: busybox"):
            other.run("busybox", ["true"])


def test_threads(engine: tiffin.Engine, busybox: str) -> None:
    outputs: list[str] = []

    def work(number: int) -> None:
        outputs.append(engine.run(busybox, ["echo", str(number)]).stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outputs) == sorted(f"{number}\n" for number in range(12))


def test_log_is_capped(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(
        ContainerConfig(
            image=busybox, name="web", command=("sh", "-c", "head -c 60m /dev/zero | tr '\\0' 'x' | fold -w 100")
        )
    )
    engine.start("web")
    engine.wait("web", timeout_s=60)
    log_path = engine.inspect_container("web")["LogPath"]
    directory = os.path.dirname(log_path)
    sizes = [os.path.getsize(f"{directory}/{name}") for name in os.listdir(directory) if name.startswith("output.log")]
    assert len(sizes) == 3 and max(sizes) <= 10_000_000 + 200


def test_host_image(engine: tiffin.Engine) -> None:
    with open("/etc/os-release") as file:
        assert engine.run("host", ["cat", "/etc/os-release"]).stdout == file.read()
    marker = f"/etc/tiffin-test-{os.getpid()}"
    assert engine.run("host", ["sh", "-c", f"echo x > {marker} && cat {marker}"]).stdout == "x\n"
    assert not os.path.exists(marker)
    assert engine.run("host", ["ls", engine.root]).stdout == ""


def test_asyncio(engine: tiffin.Engine, busybox: str) -> None:
    import asyncio

    from tiffin.aio import AsyncEngine

    async def work() -> None:
        async with AsyncEngine(engine.root) as aio:
            results = await asyncio.gather(*(aio.run(busybox, ["cat"], input=str(n).encode()) for n in range(5)))
            assert [result.stdout for result in results] == ["0", "1", "2", "3", "4"]
            task = asyncio.create_task(aio.run(busybox, ["sleep", "60"]))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await aio.containers(all=True) == []

    asyncio.run(work())


def test_without_root_it_says_so(tmp_path: Path) -> None:
    script = f"import tiffin; tiffin.Engine({str(tmp_path / 'root')!r}).run('host', ['true'])"
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("(run it with sudo)"), done.stderr


def test_a_missing_interpreter_is_told(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotFound) as caught:
        engine.run(busybox, ["/script"], mounts=(Mount(type="bind", source=str(script), target="/script"),))
    assert str(caught.value) == (
        'exec: "/script": no such file or directory (the file is there, but the interpreter it names is not)'
    )


def test_a_closed_engine_is_of_no_use(engine: tiffin.Engine) -> None:
    engine.close()
    with pytest.raises(UsageError, match="this engine is closed"):
        engine.images()
