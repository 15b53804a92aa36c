"""`tiffin-runtime` by itself: bundles made by hand, through create, start, exec and delete."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tiffin.oci.template import config as template

SCRIPT = "import sys; from tiffin.oci.main import main; sys.exit(main())"


ANSWERING = ("state", "ps", "list", "exec", "run", "events")


class Answer(NamedTuple):
    code: int
    out: str
    err: str


class Box:
    """A bundle, and the runtime on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = str(directory / "state")
        self.config = template(rootless=False)
        self.config["process"]["terminal"] = False
        self.config["root"]["readonly"] = False
        self.config["linux"]["cgroupsPath"] = f"/tiffin-oci-test-{os.getpid()}/{directory.name}"
        self.output = directory / "output"

    @property
    def process(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["process"]
        return found

    def save(self, *command: str) -> None:
        if command:
            self.process["args"] = list(command)
        (self.directory / "config.json").write_text(json.dumps(self.config))

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-c", SCRIPT, "--root", self.root, *words]

    def __call__(self, *words: str, pass_fds: tuple[int, ...] = (), env: dict[str, str] | None = None) -> Answer:
        errors = self.directory / "errors"
        with self.output.open("ab") as out, errors.open("wb") as err:
            done = subprocess.run(
                self.argv(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if words[0] in ANSWERING and "--detach" not in words else out,
                stderr=err,
                pass_fds=pass_fds,
                env={**os.environ, **(env or {})},
                timeout=30,
                check=False,
            )
        return Answer(done.returncode, (done.stdout or b"").decode(), errors.read_text())

    def ok(self, *words: str) -> str:
        answer = self(*words)
        assert answer.code == 0, answer.err
        return answer.out

    def create(self, *command: str) -> None:
        self.save(*command)
        self.ok("create", "--bundle", str(self.directory), "box")

    def run(self, *command: str) -> str:
        """Create and start; what the program wrote until its end."""
        self.create(*command)
        self.ok("start", "box")
        self.wait()
        text = self.output.read_text()
        self.ok("delete", "box")
        return text

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", "box"))
        return found

    def wait(self, status: str = "stopped") -> None:
        deadline = time.monotonic() + 10
        while self.state()["status"] != status:
            assert time.monotonic() < deadline, f"never {status}"
            time.sleep(0.02)

    def left(self) -> list[str]:
        cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{self.config['linux']['cgroupsPath']}")]
        names = os.listdir(self.root) if os.path.isdir(self.root) else []
        return cgroups + [name for name in names if not name.startswith(".")]


@pytest.fixture(scope="module")
def rootfs_tar(busybox_archive: bytes) -> bytes:
    return busybox_archive


@pytest.fixture
def box(tmp_path: Path, rootfs_tar: bytes) -> Iterator[Box]:
    """A bundle with busybox; whatever happens, nothing of it stays."""
    with tarfile.open(fileobj=io.BytesIO(rootfs_tar)) as tar:
        tar.extractall(tmp_path / "rootfs", filter="fully_trusted")
    box = Box(tmp_path)
    yield box
    box("delete", "--force", "box")
    assert box.left() == []
    for parent in Path("/sys/fs/cgroup").glob(f"*/tiffin-oci-test-{os.getpid()}"):
        with contextlib.suppress(OSError):
            parent.rmdir()


def test_the_life_of_a_container(box: Box) -> None:
    box.create("sh", "-c", "echo started; trap 'exit 3' TERM; while :; do sleep 0.05; done")
    state = box.state()
    assert (state["status"], state["id"], state["bundle"]) == ("created", "box", str(box.directory))
    assert box.output.read_text() == "" and os.path.exists(f"/proc/{state['pid']}")
    again = box("create", "--bundle", str(box.directory), "box")
    assert again.err == 'tiffin-runtime: container with given ID already exists: "box"\n'
    early = box("delete", "box")
    assert early.err == "tiffin-runtime: cannot delete container box that is not stopped: created\n"
    box.ok("start", "box")
    box.wait("running")
    assert box("start", "box").err == "tiffin-runtime: cannot start a container in the running state\n"
    assert json.loads(box.ok("ps", "--format", "json", "box"))[0] == state["pid"]
    assert "trap" in box.ok("ps", "box") and box.ok("list", "--quiet") == "box\n"
    box.ok("pause", "box")
    assert box.state()["status"] == "paused"
    assert box("exec", "box", "true").err == "tiffin-runtime: cannot exec in a paused container\n"
    box.ok("resume", "box")
    box.ok("update", "--pids-limit", "50", "box")
    data = json.loads(box.ok("events", "--stats", "box"))["data"]
    assert data["pids"]["limit"] == 50 and data["memory"]["usage"]["usage"] > 0
    time.sleep(0.2)
    box.ok("kill", "box", "TERM")
    box.wait()
    assert box("kill", "box").err == "tiffin-runtime: container not running\n"
    assert box("start", "box").err == "tiffin-runtime: cannot start a container that has stopped\n"
    box.ok("delete", "box")
    assert box("state", "box").err == 'tiffin-runtime: container "box" does not exist\n'
    assert box.output.read_text() == "started\n"


def test_exit_code_of_a_run(box: Box) -> None:
    box.save("sh", "-c", "echo hello; exit 7")
    assert box("run", "--bundle", str(box.directory), "box") == (7, "hello\n", "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": permission denied'),
    ],
)
def test_a_program_that_cannot_run_fails_at_create(box: Box, command: str, message: str) -> None:
    box.save(command)
    answer = box("create", "--bundle", str(box.directory), "box")
    assert (answer.code, answer.err) == (1, f"tiffin-runtime: {message}\n")
    assert box.left() == []


def test_a_program_of_no_known_format_fails_at_start(box: Box) -> None:
    path = box.directory / "rootfs/bin/odd"
    path.write_bytes(b"\x01\x02 not a program")
    path.chmod(0o755)
    box.create("/bin/odd")
    assert box("start", "box").err == 'tiffin-runtime: exec: "/bin/odd": exec format error\n'
    box.wait()


def test_no_process_cannot_be_started(box: Box) -> None:
    del box.config["process"]
    box.create()
    assert box.state()["status"] == "created"
    assert box("start", "box").err == "tiffin-runtime: cannot start a container whose config has no process\n"


def test_what_a_process_is_given(box: Box) -> None:
    box.process.update(
        user={"uid": 1000, "gid": 1000, "additionalGids": [29], "umask": 0o77},
        cwd="/tmp/made",
        env=["PATH=/bin", "A=b"],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
        oomScoreAdj=321,
        scheduler={"policy": "SCHED_BATCH"},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
    )
    script = "id; pwd; umask; echo $A; ulimit -n; cat /proc/self/oom_score_adj; ionice; cat /proc/self/status"
    lines = box.run("sh", "-c", script).splitlines()
    assert lines[0] == "uid=1000(alice) gid=1000(alice) groups=29(audio)"
    assert lines[1:6] == ["/tmp/made", "0077", "b", "100", "321"]
    assert lines[6].startswith("best-effort: prio 6")
    assert "NoNewPrivs:\t1" in lines and "CapEff:\t0000000000000000" in lines


def test_hostname_sysctl_masks_and_time(box: Box) -> None:
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    linux["personality"] = {"domain": "LINUX32"}
    box.config.update(hostname="boxed", domainname="example")
    script = (
        "hostname; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname; wc -c </proc/timer_list; "
        "cut -d. -f1 /proc/uptime; (echo x >/proc/sys/kernel/domainname) 2>&1"
    )
    lines = box.run("sh", "-c", script).splitlines()
    assert lines[:4] == ["boxed", "1", "example", "0"]
    assert int(lines[4]) > 1_000_000 and "Read-only file system" in lines[5]


def test_limits_reach_the_cgroup(box: Box) -> None:
    box.config["linux"]["resources"].update(
        memory={"limit": 64 << 20}, pids={"limit": 40}, cpu={"quota": 50_000, "period": 100_000}
    )
    box.create("sh", "-c", "while :; do sleep 0.05; done")
    box.ok("start", "box")
    path = box.config["linux"]["cgroupsPath"]
    if os.path.isdir("/sys/fs/cgroup/memory"):
        memory, pids = f"memory{path}/memory.limit_in_bytes", f"pids{path}/pids.max"
    else:
        memory, pids = f"{path}/memory.max", f"{path}/pids.max"
    assert Path(f"/sys/fs/cgroup/{memory}").read_text() == f"{64 << 20}\n"
    assert Path(f"/sys/fs/cgroup/{pids}").read_text() == "40\n"
    box.ok("update", "--memory", str(80 << 20), "box")
    assert Path(f"/sys/fs/cgroup/{memory}").read_text() == f"{80 << 20}\n"


def test_a_user_namespace_in_a_closed_directory(box: Box) -> None:
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 200_000, "size": 65_536}]
    linux["namespaces"].append({"type": "time"})
    linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    for path in [box.directory / "rootfs", *(box.directory / "rootfs").rglob("*")]:
        os.lchown(path, 100_000, 200_000)
    data = box.directory / "data"
    data.mkdir()
    (data / "file").write_text("seen\n")
    box.config["mounts"].append(
        {"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind", "ro"]}
    )
    box.directory.chmod(0o700)
    box.process["oomScoreAdj"] = 77
    box.create(
        "sh",
        "-c",
        "id; cat /data/file; touch /made; ls -l /made; echo >/dev/null && echo null; while :; do sleep 0.05; done",
    )
    box.ok("start", "box")
    box.wait("running")
    pid = box.state()["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "77\n"
    assert box.ok("exec", "--user", "1000:1000", "box", "id").startswith("uid=1000(alice)")
    assert int(box.ok("exec", "box", "cut", "-d.", "-f1", "/proc/uptime")) > 1_000_000
    assert (box.directory / "rootfs/made").stat().st_uid == 100_000
    lines = box.output.read_text().splitlines()
    assert lines[0].startswith("uid=0(root)") and lines[1] == "seen" and lines[3] == "null"
    second = Box(box.directory)
    second.config = json.loads(json.dumps(box.config))
    for entry in second.config["linux"]["namespaces"]:
        if entry["type"] in ("user", "time"):
            entry["path"] = f"/proc/{pid}/ns/{entry['type']}"
    del second.config["linux"]["timeOffsets"], second.config["linux"]["uidMappings"]
    second.config["linux"]["cgroupsPath"] += "-2"
    second.save("sh", "-c", "id; cat /proc/self/uid_map; cut -d. -f1 /proc/uptime")
    joined = second("run", "--bundle", str(box.directory), "second")
    assert joined.code == 0, joined.err
    assert joined.out.split()[0] == "uid=0(root)" and "100000" in joined.out
    assert int(joined.out.split()[-1]) > 1_000_000


def test_a_link_of_the_image_does_not_lead_a_bind_into_proc(box: Box) -> None:
    """CVE-2019-16884, for mounts that were taken before the user namespace was entered."""
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    (box.directory / "rootfs/link").symlink_to("/proc/version")
    for path in [box.directory / "rootfs", *(box.directory / "rootfs").rglob("*")]:
        os.lchown(path, 100_000, 100_000)
    made_up = box.directory / "made-up"
    made_up.write_text("covered\n")
    box.config["mounts"].append({"destination": "/link", "type": "bind", "source": str(made_up), "options": ["bind"]})
    box.save("cat", "/proc/version")
    refused = box("create", "--bundle", str(box.directory), "box")
    assert (refused.code, refused.err) == (
        1, f"tiffin-runtime: cannot bind {made_up} on /link: Operation not permitted\n"
    )  # fmt: skip


def test_hooks_in_their_order_and_places(box: Box) -> None:
    log = box.directory / "log"

    def hook(name: str, script: str = "") -> dict[str, Any]:
        text = f"read -r state; echo {name} $state >> {log}; {script}"
        return {"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"], "timeout": 5}

    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /startContainer; ps | head -3"], "env": ["PATH=/bin"]}
    box.config["hooks"] = {
        "prestart": [hook("prestart")],
        "createRuntime": [hook("createRuntime")],
        "createContainer": [hook("createContainer", f"mount --bind /etc {box.directory}/rootfs/home")],
        "startContainer": [inside],
        "poststart": [hook("poststart")],
        "poststop": [hook("poststop")],
    }
    box.config["annotations"] = {"a.b": "c"}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    box.run("sh", "-c", "grep -c . /home/passwd > /count")
    seen = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [name for name, _ in seen] == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    states = [json.loads(state) for _, state in seen]
    assert [state["status"] for state in states[:3]] == ["creating"] * 3
    assert [state["status"] for state in states[3:]] == ["running", "stopped"]
    assert all(state["annotations"] == {"a.b": "c"} and state["bundle"] == str(box.directory) for state in states)
    started = json.loads((box.directory / "rootfs/startContainer").read_text())
    assert started["status"] == "created" and started["pid"] == states[0]["pid"]
    assert int((box.directory / "rootfs/count").read_text()) > 0
    assert not os.path.exists(f"{box.directory}/rootfs/home/passwd")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("prestart", "prestart hook 0, /bin/sh, exited with code 4: no way"),
        ("createRuntime", "createRuntime hook 0, /bin/sh, exited with code 4: no way"),
        ("createContainer", "cannot run createContainer hook 0, /bin/sh: it exited with code 4: no way"),
    ],
)
def test_a_hook_that_fails_ends_the_container(box: Box, kind: str, message: str) -> None:
    log = box.directory / "log"
    stop = {"path": "/bin/sh", "args": ["sh", "-c", f"echo over > {log}"]}
    fails = {"path": "/bin/sh", "args": ["sh", "-c", "echo no way; exit 4"]}
    box.config["hooks"] = {kind: [fails], "poststop": [stop]}
    box.save("true")
    answer = box("create", "--bundle", str(box.directory), "box")
    assert (answer.code, answer.err) == (1, f"tiffin-runtime: {message}\n")
    assert box.left() == [] and log.read_text() == "over\n"


def test_a_hook_that_hangs(box: Box) -> None:
    box.config["hooks"] = {"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
    box.save("true")
    answer = box("create", "--bundle", str(box.directory), "box")
    assert answer.err == "tiffin-runtime: cannot run createContainer hook 0, /bin/sleep: it timed out\n"


def test_a_start_hook_that_fails_ends_the_container(box: Box) -> None:
    box.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    box.create("sh", "-c", "echo never")
    answer = box("start", "box")
    assert answer.err == "tiffin-runtime: cannot run startContainer hook 0, /bin/false: it exited with code 1\n"
    box.wait()
    assert box.output.read_text() == ""


def receive_terminal(path: Path, work: Callable[[], None]) -> int:
    """The terminal that arrives at a console socket while `work` is done."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        work()
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    return fds[0]


def read_terminal(master: int, until: str) -> str:
    text = ""
    while until not in text:
        assert select.select([master], [], [], 5)[0], f"only {text!r}"
        text += os.read(master, 1000).decode()
    return text


def test_a_terminal_goes_to_the_console_socket(box: Box, tmp_path: Path) -> None:
    box.process.update(terminal=True, consoleSize={"height": 33, "width": 99})
    box.save("sh", "-c", "tty; stty size; read x; echo got $x")
    without = box("create", "--bundle", str(box.directory), "box")
    assert without.err == (
        "tiffin-runtime: cannot allocate a terminal: the container is detached and there is no --console-socket\n"
    )
    path = tmp_path / "console"
    master = receive_terminal(
        path, lambda: box.ok("create", "--bundle", str(box.directory), "--console-socket", str(path), "box") and None
    )
    try:
        box.ok("start", "box")
        assert "33 99" in read_terminal(master, "99")
        os.write(master, b"word\n")
        assert "got word" in read_terminal(master, "got word")
    finally:
        os.close(master)


def test_descriptors_are_handed_on(box: Box, tmp_path: Path) -> None:
    box.save("sh", "-c", "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd")
    files = []
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"{name}\n")
        files.append(os.open(tmp_path / name, os.O_RDONLY))
    os.set_inheritable(files[0], True)
    # Let the runtime find them at 3 and 4, as after --preserve-fds 1 with one more from LISTEN_FDS.
    argv = box.argv("create", "--bundle", str(box.directory), "--preserve-fds", "1", "box")
    copy = os.dup(files[1])
    moves = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in ((copy, 60), (files[0], 3), (60, 4))]
    out = os.open(box.output, os.O_WRONLY | os.O_CREAT)
    moves.append((os.POSIX_SPAWN_DUP2, out, 1))
    pid = os.posix_spawn(argv[0], argv, {**os.environ, "LISTEN_FDS": "1"}, file_actions=moves)
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (*files, out, copy):
        os.close(fd)
    box.ok("start", "box")
    box.wait()
    lines = box.output.read_text().splitlines()
    assert lines[:3] == ["first", "second", "1 1"] and lines[3:] == ["0", "1", "2", "3", "4", "5"]


def test_exec(box: Box, tmp_path: Path) -> None:
    box.process["noNewPrivileges"] = False
    box.create("sh", "-c", "while :; do sleep 0.05; done")
    box.ok("start", "box")
    assert (
        box.ok("exec", "--cwd", "/tmp", "--env", "A=b", "box", "sh", "-c", "pwd; echo $A; hostname")
        == "/tmp\nb\ntiffin\n"
    )
    assert box("exec", "box", "sh", "-c", "exit 9").code == 9
    assert box("exec", "box", "nosuch").err == ('tiffin-runtime: exec: "nosuch": executable file not found in $PATH\n')
    process = {
        "cwd": "/",
        "args": ["sh", "-c", "id -u; kill -9 $$"],
        "env": ["PATH=/bin"],
        "user": {"uid": 33, "gid": 33},
    }
    (tmp_path / "process.json").write_text(json.dumps(process))
    answer = box("exec", "--process", str(tmp_path / "process.json"), "box")
    assert (answer.code, answer.out) == (137, "33\n")
    pid_file = tmp_path / "pid"
    box.ok("exec", "--detach", "--pid-file", str(pid_file), "box", "sleep", "30")
    assert int(pid_file.read_text()) in json.loads(box.ok("ps", "--format", "json", "box"))
    (tmp_path / "process.json").write_text('{"cwd": "/", "args": "id"}')
    assert box("exec", "--process", str(tmp_path / "process.json"), "box").err == (
        "tiffin-runtime: the process file: args is the string 'id', not a list\n"
    )


def test_namespaces_of_others_are_joined(box: Box) -> None:
    other = subprocess.Popen(["unshare", "--net", "--uts", "--ipc", "sleep", "60"])
    try:
        deadline = time.monotonic() + 5
        while os.readlink(f"/proc/{other.pid}/ns/ipc") == os.readlink("/proc/self/ns/ipc"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        kinds = {"network": "net", "uts": "uts", "ipc": "ipc"}
        for entry in box.config["linux"]["namespaces"]:
            if entry["type"] in kinds:
                entry["path"] = f"/proc/{other.pid}/ns/{kinds[entry['type']]}"
        del box.config["hostname"]
        box.create("true")
        pid = box.state()["pid"]
        for name in kinds.values():
            assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{other.pid}/ns/{name}")
        assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    finally:
        other.kill()
        other.wait()


def test_a_tmpfs_begins_with_what_is_there(box: Box) -> None:
    etc = box.directory / "rootfs/etc"
    (etc / "sub").mkdir()
    (etc / "sub/link").symlink_to("../passwd")
    os.chown(etc / "sub", 5, 6)
    box.config["mounts"].append(
        {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "tmpcopyup"]}
    )
    script = "stat -c '%u %g %N' /etc/sub; readlink /etc/sub/link; grep -c alice /etc/sub/link; rm /etc/passwd"
    assert box.run("sh", "-c", script).splitlines() == ["5 6 /etc/sub", "../passwd", "1"]
    assert (etc / "passwd").exists()


@pytest.mark.parametrize("user", [False, True])
def test_mounts_with_ids_of_their_own(box: Box, user: bool) -> None:
    data = box.directory / "data"
    data.mkdir()
    (data / "file").touch()
    linux = box.config["linux"]
    base = 0
    if user:
        base = 100_000
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": base, "size": 65_536}]
        for path in [box.directory / "rootfs", *(box.directory / "rootfs").rglob("*")]:
            os.lchown(path, base, base)
    own = {"uidMappings": [{"containerID": 0, "hostID": base + 5, "size": 10}]}
    own["gidMappings"] = [{"containerID": 0, "hostID": base + 6, "size": 10}]
    mount = {"type": "bind", "source": "data", "options": ["bind", "idmap"]}
    box.config["mounts"].append({**mount, "destination": "/own", **own})
    if user:
        box.config["mounts"].append({**mount, "destination": "/same"})
    script = "stat -c '%u %g' /own/file; stat -c '%u %g' /same/file 2>/dev/null; touch /own/no 2>/dev/null || echo no"
    lines = box.run("sh", "-c", script).splitlines()
    # Root of the container is nobody whom its own map names, so nothing can be made as root there.
    assert lines == (["5 6", "0 0", "no"] if user else ["5 6", "no"])
    assert (data / "file").stat().st_uid == 0 and not (data / "no").exists()


def test_read_only_for_one_mount_or_for_all(box: Box) -> None:
    data = box.directory / "data"
    (data / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", data / "below"], check=True)
    try:
        for target, option in (("/top", "ro"), ("/all", "rro")):
            mount = {"destination": target, "type": "bind", "source": str(data), "options": ["rbind", option]}
            box.config["mounts"].append(mount)
        script = "for d in top top/below all all/below; do touch /$d/f 2>/dev/null && echo $d; done; true"
        assert box.run("sh", "-c", script) == "top/below\n"
    finally:
        subprocess.run(["umount", data / "below"], check=True)


def test_a_killed_create_leaves_nothing_that_force_cannot_remove(box: Box) -> None:
    log = box.directory / "reached"
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f": > {log}; exec sleep 3"]}]}
    box.save("true")
    process = subprocess.Popen(box.argv("create", "--bundle", str(box.directory), "box"), start_new_session=True)
    deadline = time.monotonic() + 10
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert box.state()["status"] == "creating"
    process.kill()
    process.wait()
    assert box.state()["status"] == "stopped"
    box.ok("delete", "--force", "box")
    assert box.left() == []
