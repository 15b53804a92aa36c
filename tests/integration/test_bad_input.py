"""What a user mistypes, and what a container may put in the way: each has its sentence, and nothing hangs."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from harness.tars import TarMaker
from tiffin.cli.main import main
from tiffin.containers import end
from tiffin.model.container import ContainerConfig, ContainerState, RestartPolicy
from tiffin.state import status

if TYPE_CHECKING:
    from integration.conftest import Runner

DAY_NS = 24 * 3600 * 1_000_000_000
ENDLESS = """
mkfifo /fifo; mknod /zero c 1 5; ln -s /zero /link; ln -s /proc/kmsg /kmsg
mkdir /d; mkfifo /d/fifo; ln -s / /d/up; touch /ready; sleep 100
"""


@pytest.fixture
def web(engine: library.Engine, busybox: str) -> str:
    """A container that has what never ends."""
    engine.create(ContainerConfig(image=busybox, name="web", command=("sh", "-c", ENDLESS)))
    engine.start("web")
    while engine.exec_run("web", ["test", "-e", "/ready"]).exit_code:
        time.sleep(0.01)
    return "web"


def test_volumes_from_has_no_cycles(tiffin: Runner, busybox: str) -> None:
    """Mounts are taken when a container is made, so one that comes later under an old name closes no circle."""
    itself = tiffin("run", "--name", "one", "--volumes-from", "one", busybox, "true")
    assert itself == (125, "", "tiffin: no such container: one\n`tiffin ps -a` lists what is here\n")
    tiffin.ok("run", "--name", "one", "-v", "/v", busybox, "touch", "/v/first")
    tiffin.ok("create", "--name", "two", "--volumes-from", "one", busybox, "ls", "/v")
    tiffin.ok("rm", "one")
    tiffin.ok("create", "--name", "one", "--volumes-from", "two", busybox, "ls", "/v")
    assert tiffin.ok("start", "-a", "one") == tiffin.ok("start", "-a", "two") == "first"
    in_use = tiffin("volume", "rm", volume := tiffin.ok("volume", "ls", "-q"))
    ids = tiffin.ok("ps", "-aq", "--no-trunc").split()
    assert in_use.code == 1
    assert sorted(in_use.err.split("[")[1].split("]")[0].split(", ")) == sorted(ids)
    assert in_use.err.startswith(f"tiffin: remove {volume}: volume is in use - [")
    tiffin.ok("rm", "-v", "one", "two")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--tmpfs /etc/passwd", "cannot mount tmpfs on /etc/passwd: Not a directory\n"
         "the image has a link or a file where a directory must be"),
        ("-v data:/etc/passwd", "cannot mount volume over existing file, file exists /etc/passwd\n"
         "a volume needs a directory, or nothing"),
        ("-v /etc/passwd/sub:/m", "error while creating mount source path '/etc/passwd/sub': mkdir /etc/passwd/sub: "
         "not a directory"),
        ("-v /etc:/proc/sys/net", '"/proc/sys/net" cannot be mounted because it is inside /proc'),
        ("--tmpfs /proc", '"/proc" cannot be mounted because it is not of type proc'),
        ("--mount type=bind,src=/nosuch,dst=/m",
         'invalid mount config for type "bind": bind source path does not exist: /nosuch'),
        ("--detach-keys ctrl-pp", "invalid detach keys (ctrl-pp) provided\n"
         "unknown key 'ctrl-pp'; a key is one character, or ctrl- and one of a-z @ [ \\ ] ^ _"),
        ("--detach-keys a,,b", "invalid detach keys (a,,b) provided\n"
         "unknown key ''; a key is one character, or ctrl- and one of a-z @ [ \\ ] ^ _"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(tiffin: Runner, busybox: str, words: str, message: str) -> None:
    assert tiffin("run", "--rm", *words.split(), busybox, "true") == (125, "", f"tiffin: {message}\n")
    assert tiffin.ok("ps", "-aq") == ""


def test_an_id_that_fits_several(tiffin: Runner, engine: library.Engine, busybox: str) -> None:
    """Sixteen digits, so the seventeenth container shares its first one at the latest."""
    first: dict[str, str] = {}
    for number in count():
        made = engine.create(ContainerConfig(image=busybox, name=f"web{number}", command=("true",))).id
        if made[0] in first:
            break
        first[made[0]] = made
    both = ", ".join(sorted(one[:12] for one in (made, first[made[0]])))
    message = f"tiffin: {made[0]!r} is the beginning of several container IDs ({both})\n"
    for words in ("stop", "rm -f", "logs", "inspect -f {{.Id}}", "exec", "rename", "cp"):
        verb, *options = words.split()
        rest = {"exec": ["true"], "rename": ["new"], "cp": ["/tmp"]}.get(verb, [])
        named = f"{made[0]}:/etc/passwd" if verb == "cp" else made[0]
        done = tiffin(verb, *options, named, *rest)
        assert (done.code, done.err) == (1, message), words
    assert len(engine.containers(all=True)) == len(first) + 1


@pytest.mark.parametrize(
    ("verb", "known"),
    [
        ("ps", "ancestor, before, exited, expose, health, id, is-task, isolation, label, name, network, pod, publish, "
         "since, status, volume"),
        ("images", "before, dangling, label, reference, since, until"),
        ("volume ls", "dangling, driver, label, name"),
        ("volume prune -f", "all, label, label!"),
        ("events --until 0s", "container, daemon, event, image, label, network, plugin, scope, type, volume"),
        ("pod ps", "ctr-ids, ctr-names, ctr-number, ctr-status, id, label, name, network, status"),
    ],
)  # fmt: skip
def test_filters_that_do_not_exist(tiffin: Runner, verb: str, known: str) -> None:
    refused = tiffin(*verb.split(), "--filter", "nosuch=1")
    assert refused == (1, "", f"tiffin: invalid filter 'nosuch'\nthe filters are {known}\n")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Id}} {{.Nope", ":1: unclosed action\nat column 8"),
        ("{{.Id}} {{nosuch .Id}}", ':1: function "nosuch" not defined\nat column 10'),
        ("{{.Id}}\n{{end}}", ":2: unexpected {{end}}\nat column 2"),
        ("{{.Id}}{{.Nope}}", ':1:9: executing "" at <.Nope>: map has no entry for key "Nope"'),
    ],
)
def test_a_template_error_tells_the_column(tiffin: Runner, busybox: str, template: str, message: str) -> None:
    failed = tiffin("inspect", "-f", template, busybox)
    assert failed == (1, "", f"tiffin: template parsing error: template: {message}\n")


def test_nothing_has_an_empty_name(tiffin: Runner) -> None:
    assert tiffin("inspect", "") == (1, "[]\n", "tiffin: no such object: \n")


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("/zero", 1, "cannot copy web:/zero: it is a device\ncopy what it gives with `tiffin exec`"),
        ("-L /link", 1, "cannot copy web:/link: it is a device\ncopy what it gives with `tiffin exec`"),
        ("/dev/zero", 1, "could not find the file /dev/zero in container web"),
        ("/proc/kmsg", 1, "could not find the file /proc/kmsg in container web"),
        ("-L /kmsg", 1, "could not find the file /kmsg in container web"),
    ],
)
def test_endless_files_out(tiffin: Runner, web: str, tmp_path: Path, source: str, code: int, message: str) -> None:
    *options, path = source.split()
    done = tiffin("cp", *options, f"web:{path}", f"{tmp_path}/out", timeout_s=10)
    assert done == (code, "", f"tiffin: {message}\n")
    assert os.listdir(tmp_path) == []


def test_a_fifo_is_copied_and_not_read(tiffin: Runner, web: str, tmp_path: Path) -> None:
    assert tiffin("cp", "web:/fifo", f"{tmp_path}/fifo", timeout_s=10) == (0, "", "")
    assert tiffin("cp", "web:/d", str(tmp_path), timeout_s=10) == (0, "", "")
    assert (tmp_path / "fifo").is_fifo() and (tmp_path / "d/fifo").is_fifo()
    assert os.readlink(tmp_path / "d/up") == "/"
    assert tiffin("cp", f"{tmp_path}/fifo", "web:/again", timeout_s=10) == (0, "", "")
    tiffin.ok("exec", "web", "test", "-p", "/again")


@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/status", "/proc/sys"])
def test_files_of_proc_are_not_copied_as_empty_ones(tiffin: Runner, web: str, path: str) -> None:
    refused = tiffin("cp", path, "web:/in", timeout_s=10)
    message = f"tiffin: cannot copy {path}: files of proc have no size\ncopy what it gives with `tiffin exec -i`\n"
    assert refused == (1, "", message)
    assert tiffin("exec", "web", "test", "-e", "/in").code == 1
    assert tiffin("cp", "/proc/self", "web:/in") == (0, "", ""), "a link is copied, not followed"


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (TarMaker().file("../../escaped"), "the archive names a path outside of itself: '../../escaped'"),
        (TarMaker().file("a/../../../escaped"), "the archive names a path outside of itself: 'a/../../../escaped'"),
        (TarMaker().hardlink("mine", "../../../../etc/shadow"),
         "the archive names a path outside of itself: '../../../../etc/shadow'"),
        (TarMaker().symlink("out", "/tmp").hardlink("mine", "out/tiffin-victim"),
         "the hard link 'mine' leads to the missing file 'out/tiffin-victim'"),
    ],
)  # fmt: skip
def test_an_archive_that_escapes(tiffin: Runner, web: str, archive: TarMaker, message: str) -> None:
    assert tiffin("cp", "-", "web:/root", input=archive.done()) == (1, "", f"tiffin: {message}\n")
    assert tiffin.ok("exec", "web", "find", "/", "-xdev", "-name", "escaped") == ""


def test_links_of_an_archive_end_inside(tiffin: Runner, web: str, tmp_path: Path) -> None:
    """Wherever they point: to the container's own place of that name, and never to the host's."""
    host = tmp_path / "host"
    host.mkdir()
    archive = TarMaker().symlink("l", f"../../../../../../..{host}").file("/abs", b"1").file("l/f", b"2")
    failed = tiffin("cp", "-", "web:/root", input=archive.done())
    assert os.listdir(host) == []
    if failed.code:
        assert failed.err.startswith("tiffin: ")
    else:
        assert tiffin.ok("exec", "web", "cat", f"{host}/f") == "2"
    assert tiffin.ok("exec", "web", "cat", "/root/abs") == "1"


def test_ten_thousand_files(tiffin: Runner, engine: library.Engine, web: str, tmp_path: Path) -> None:
    for directory in range(10):
        (tmp_path / f"in/{directory}").mkdir(parents=True)
        for number in range(1000):
            os.mknod(tmp_path / f"in/{directory}/{number}", 0o640)
    before = len(os.listdir("/proc/self/fd"))
    engine.copy_in("web", f"{tmp_path}/in", "/in")
    assert len(os.listdir("/proc/self/fd")) == before
    assert tiffin.ok("exec", "web", "sh", "-c", "find /in -type f | wc -l") == "10000"
    packed = tiffin.binary("cp", "web:/in", "-")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        files = {member.name: member.mode for member in tar if member.isreg()}
    assert files == {f"in/{directory}/{number}": 0o640 for directory in range(10) for number in range(1000)}


@pytest.mark.parametrize("jump_ns", [DAY_NS, -DAY_NS])
def test_a_clock_jump(
    engine: library.Engine, tiffin: Runner, busybox: str, monkeypatch: pytest.MonkeyPatch, jump_ns: int
) -> None:
    """This process lives in another day than the monitors: none of its commands waits, and none ends the others."""
    script = "echo before; sleep 0.1; exit 3"
    restart = RestartPolicy(name="always", maximum_retries=0)
    engine.create(ContainerConfig(image=busybox, name="loop", command=("sh", "-c", script), restart=restart))
    engine.create(ContainerConfig(image=busybox, name="calm", command=("sh", "-c", "echo calm; sleep 100")))
    engine.start("calm")
    engine.start("loop")
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump_ns)
    began = time.monotonic()

    assert _until(engine, "loop", lambda state: state.restart_count >= 2).restart_count >= 2
    assert time.monotonic() - began < 10, "the pause is one of a clock that never jumps"
    assert begun(engine) <= 6, "and it holds"
    engine.stop("loop", timeout_s=0)
    assert engine.container("loop").state.status == "exited"

    assert engine.exec_run("calm", ["echo", "still"]).stdout == "still\n"
    assert [line.data for line in engine.logs("calm", since_ns=real() - DAY_NS // 2)] == [b"calm\n"]
    assert list(engine.logs("calm", since_ns=real() + DAY_NS // 2)) == []
    assert engine.run(busybox, ["echo", "new"], name="new", auto_remove=True).stdout == "new\n"
    found = list(engine.events())
    times = [event.time_ns for event in found]
    assert times == sorted(set(times)), "in the order in which they were written"
    actions = [event.action for event in found if event.attribute("name") == "new"]
    assert actions == ["create", "attach", "start", "die", "destroy"]
    assert engine.container("calm").state.status == "running"
    assert tiffin.ok("ps", "--format", "{{.Names}}") == "calm"


def begun(engine: library.Engine) -> int:
    return sum(line.data == b"before\n" for line in engine.logs("loop"))


def _until(engine: library.Engine, name: str, fits: Callable[[ContainerState], bool]) -> ContainerState:
    deadline = time.monotonic() + 10
    while not fits(state := engine.container(name).state):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


@pytest.mark.parametrize(
    ("jump_ns", "reaped"),
    [(DAY_NS, True), (-DAY_NS, True), (0, False)],
)
def test_a_clock_jump_keeps_no_container(
    engine: library.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch, jump_ns: int, reaped: bool
) -> None:
    """One that ended a moment ago is left to its monitor; one of another day is removed, whichever way time went."""
    config = ContainerConfig(image=busybox, name="gone", command=("true",), auto_remove=True)
    container = engine.create(config)
    now = time.time_ns()
    ended = ContainerState(status="exited", exit_code=0, started_ns=now, finished_ns=now)
    status.write_exited(engine._parts.paths, container.id, ended)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump_ns)
    assert end.reap(engine._parts, container, ended) is reaped
    assert [info.container.name for info in engine.containers(all=True)] == ([] if reaped else ["gone"])


def test_a_log_whose_clock_went_back_is_read_to_its_end(engine: library.Engine, busybox: str, engine_root: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, name="web", command=("true",)))
    engine.start("web")
    engine.wait("web")
    lines = [(3, "one"), (9, "tomorrow"), (4, "two")]
    text = "".join(f"2024-01-0{day}T00:00:00.000000000Z stdout F {word}\n" for day, word in lines)
    Path(f"{engine_root}/containers/{container.id}/output.log").write_text(text)
    until_ns = 1_704_499_200 * 1_000_000_000  # 2024-01-06
    assert [line.data for line in engine.logs("web", until_ns=until_ns)] == [b"one\n", b"two\n"]
    assert [line.data for line in engine.logs("web", since_ns=until_ns)] == [b"tomorrow\n"]


def test_a_full_tmpfs_is_told_to_nobody_else(tiffin: Runner, busybox: str) -> None:
    mount = "type=tmpfs,dst=/t,tmpfs-size=1m"
    fill = "dd if=/dev/zero of=/t/f bs=64k 2>&1 | grep -o 'No space left on device'; sleep 100"
    tiffin.ok("run", "-d", "--name", "full", "--mount", mount, busybox, "sh", "-c", fill)
    tiffin.ok("run", "-d", "--name", "other", "--mount", mount, busybox, "sleep", "100")
    deadline = time.monotonic() + 10
    while tiffin.ok("logs", "full") != "No space left on device":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    tiffin.ok("exec", "other", "dd", "if=/dev/zero", "of=/t/f", "bs=64k", "count=15")
    tiffin.ok("exec", "full", "touch", "/elsewhere")
    tiffin.ok("rm", "-f", "full", "other")


def test_somebody_without_rights_is_told_so(engine_root: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Reading needs root as well, since the store holds the environments of all containers."""
    store = f"cannot open the state '{engine_root}/state.db': Permission denied"
    for words in ("ps", "inspect web", "images"):
        command = ["--root", engine_root, *words.split()]
        main(command)  # as root, so that all is imported that nobody may not be able to read
        capfd.readouterr()
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os._exit(main(command))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert tuple(capfd.readouterr()) == ("", f"tiffin: {store}\nrun it with sudo\n"), words
