"""User namespaces: --userns, --uidmap and --gidmap, on every storage driver."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiffin as package
from launcher_fixtures import PROJECT, already_built
from tiffin import Engine
from tiffin.errors import NotFoundError, UsageError
from tiffin.model.container import ContainerConfig, HealthCheck, Mount

Tiffin = Callable[..., Any]
FIRST = 1 << 19


@pytest.fixture(params=["composefs", "overlay"])
def on(request: pytest.FixtureRequest, engine_root: str, busybox_archive: bytes) -> Iterator[Engine]:
    """An engine on each driver, with the image `busybox`."""
    with package.Engine(engine_root, storage=request.param) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
        yield engine


def start(engine: Engine, name: str, *command: str, **options: Any) -> str:
    config = ContainerConfig(
        image=options.pop("image", "busybox"), name=name, command=command or ("sleep", "1000"), stop_timeout_s=0
    )
    container = engine.create(config.replace(**{"userns": "auto", **options}))
    engine.start(container.id)
    return container.id


def sh(engine: Engine, script: str, **options: Any) -> str:
    done = engine.run("busybox", ["sh", "-c", script], **{"userns": "auto", **options})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def owners(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_uid, status.st_gid


def upper(engine: Engine, container: str) -> str:
    return str(engine.inspect_container(container)["GraphDriver"]["Data"]["UpperDir"])


def test_root_inside_is_nobody_outside(on: Engine) -> None:
    script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g / /bin /bin/busybox /dev/null /home/alice"
    lines = sh(on, script).splitlines()
    assert lines[0] == "0"
    assert [line.split() for line in lines[1:3]] == [["0", str(FIRST), "65536"]] * 2
    assert lines[3:] == ["0:0", "0:0", "0:0", "0:0", "1000:1000"]


def test_what_it_writes_has_the_hosts_ids(on: Engine) -> None:
    name = start(on, "writer")
    on.exec_run(name, ["sh", "-c", "echo x > /etc/mine; echo x > /etc/hers; chown alice:alice /etc/hers; mkdir /made"])
    assert owners(f"{upper(on, name)}/etc/mine") == (FIRST, FIRST)
    assert owners(f"{upper(on, name)}/etc/hers") == (FIRST + 1000, FIRST + 1000)
    assert owners(f"{upper(on, name)}") == owners(f"{upper(on, name)}/made") == (FIRST, FIRST)
    assert on.exec_run(name, ["stat", "-c", "%U %G", "/etc/hers"]).stdout == "alice alice\n"


def test_the_store_keeps_its_owners(on: Engine) -> None:
    sh(on, "chown -R 7:7 /bin /home; chmod 0600 /etc/passwd; rm -r /var")
    assert sh(on, "stat -c %u /bin/busybox; ls -d /var", userns="host") == "0\n/var\n"


def test_the_hosts_files_are_out_of_reach(on: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    tmp_path.chmod(0o755)
    mounts = (Mount(type="bind", source=str(tmp_path), target="/host"),)
    script = "cat /host/secret; echo y > /host/secret; touch /host/new; chown 0 /host; stat -c %u:%g /host/secret"
    done = on.run("busybox", ["sh", "-c", script], userns="auto", mounts=mounts)
    assert done.stdout == "65534:65534\n"
    assert done.stderr.count("Permission denied") == 3 and done.stderr.count("Operation not permitted") == 1
    assert (tmp_path / "secret").read_text() == "x" and os.listdir(tmp_path) == ["secret"]


def test_a_bind_whose_ids_are_mapped(on: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.chown(tmp_path / "file", 1000, 1000)
    mounts = (Mount(type="bind", source=str(tmp_path), target="/host", idmap=True),)
    assert sh(on, "stat -c %u /host/file; echo y > /host/made; stat -c %u /host/made", mounts=mounts) == "1000\n0\n"
    assert owners(f"{tmp_path}/made") == (0, 0)


def test_capabilities_are_dockers_and_count_inside_only(on: Engine) -> None:
    script = "grep CapEff /proc/self/status"
    assert sh(on, script) == sh(on, script, userns="host")
    assert "0\n" in sh(on, "hostname other && hostname; echo 0", cap_add=("SYS_ADMIN",))
    done = on.run("busybox", ["mknod", "/dev/sda", "b", "8", "0"], userns="auto")
    assert done.exit_code == 1 and "Operation not permitted" in done.stderr


@pytest.fixture(scope="module")
def setuid_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that says who it is; busybox gives a setuid bit away."""
    program = tmp_path_factory.mktemp("setuid") / "who"
    before = already_built("who")
    if before is not None:
        shutil.copy(before, program)
    else:
        source = PROJECT / "tests/data/who.c"
        subprocess.run(["cc", "-static", "-o", str(program), str(source)], check=True, timeout=60)
    program.chmod(0o4755)
    return str(program)


def test_a_setuid_program(on: Engine, setuid_program: str) -> None:
    name = start(on, "setuid")
    on.copy_in(name, setuid_program, "/bin/tell-who")
    assert owners(f"{upper(on, name)}/bin/tell-who") == (FIRST, FIRST)
    assert on.exec_run(name, ["/bin/tell-who"], user="alice").stdout == "1000 0\n"


def test_a_setuid_program_of_the_image(on: Engine, setuid_program: str) -> None:
    name = start(on, "base", userns="host")
    on.copy_in(name, setuid_program, "/bin/tell-who")
    on.commit(name, "setuid")
    assert on.run("setuid", ["/bin/tell-who"], user="alice", userns="auto").stdout == "1000 0\n"


def test_exec_as_somebody(on: Engine) -> None:
    name = start(on, "target")
    assert on.exec_run(name, ["id"]).stdout.startswith("uid=0(root) gid=0(root)")
    assert on.exec_run(name, ["id", "-u"], user="1000").stdout == "1000\n"
    assert on.exec_run(name, ["cat", "/proc/self/uid_map"]).stdout.split()[1] == str(FIRST)
    before = on.exec_run(name, ["readlink", "/proc/1/ns/user"]).stdout
    assert on.exec_run(name, ["readlink", "/proc/self/ns/user"]).stdout == before
    links = "for k in pid net ipc uts mnt cgroup; do readlink /proc/{}/ns/$k; done"
    one, self = (on.exec_run(name, ["sh", "-c", links.format(who)]).stdout for who in (1, "self"))
    assert one == self
    with pytest.raises(UsageError) as caught:
        on.exec_run(name, ["id"], user="65536")
    assert caught.value.message == "the user 65536 is not mapped in the container's user namespace"
    table = on.top(name)
    assert {row[table.titles.index("UID")] for row in table.rows} == {str(FIRST)}


def test_its_streams_can_be_opened_again(on: Engine) -> None:
    assert sh(on, "echo root > /dev/stdout; su -s /bin/sh alice -c 'echo her' 2>&1") == "root\nher\n"
    done = on.run("busybox", ["sh", "-c", "echo her > /dev/stderr"], userns="auto", user="alice")
    assert (done.exit_code, done.stderr) == (0, "her\n")


def test_two_containers_have_no_id_in_common_and_give_them_back(on: Engine) -> None:
    one, two = start(on, "one"), start(on, "two")
    maps = [on.container(name).container.uid_maps for name in (one, two)]
    assert maps == [((0, FIRST, 65536),), ((0, FIRST + 65536, 65536),)]
    on.remove(one, force=True)
    three = on.create(ContainerConfig(image="busybox", userns="auto:size=70000"))
    assert three.uid_maps == ((0, FIRST + 2 * 65536, 70000),)
    four = on.create(ContainerConfig(image="busybox", userns="auto:size=65536"))
    assert four.uid_maps == ((0, FIRST, 65536),)


def test_a_volume_is_the_same_for_all(on: Engine) -> None:
    volume = (Mount(type="volume", source="shared", target="/data"),)
    sh(on, "echo x > /data/one; chown alice /data/one", mounts=volume)
    start(on, "other", mounts=volume)
    start(on, "another", mounts=volume)
    assert on.exec_run("another", ["sh", "-c", "stat -c %u /data/one; echo y > /data/two"]).stdout == "1000\n"
    assert on.exec_run("other", ["stat", "-c", "%u", "/data/two"]).stdout == "0\n"
    assert sh(on, "stat -c %u /data/one /data/two", mounts=volume, userns="host") == "1000\n0\n"


def test_commit_diff_and_export_have_the_containers_ids(on: Engine) -> None:
    name = start(on, "made")
    on.exec_run(name, ["sh", "-c", "echo x > /etc/mine; chown 5:6 /etc/mine; chmod 700 /var/www; cp /bin/busybox /b"])
    for _ in range(2):
        assert [(change.kind, change.path) for change in on.diff(name)] == [
            ("A", "/b"), ("C", "/etc"), ("A", "/etc/mine"), ("C", "/var"), ("C", "/var/www"),
        ]  # fmt: skip
        out = io.BytesIO()
        on.export(name, out)
        with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
            assert [tar.getmember(path).uid for path in ("b", "etc", "etc/mine", "var/www", "bin")] == [0, 0, 5, 0, 0]
            assert tar.getmember("home/alice").uid == 1000
        on.commit(name, f"copy{_}")
        script = "stat -c %u:%g /b /etc /etc/mine /var/www"
        assert on.run(f"copy{_}", ["sh", "-c", script]).stdout.split() == ["0:0", "0:0", "5:6", "0:0"]
        on.stop(name)


@pytest.mark.parametrize("running", [True, False])
def test_cp_both_ways(on: Engine, tmp_path: Path, running: bool) -> None:
    name = start(on, "target", mounts=(Mount(type="volume", source="shared", target="/data"),))
    on.exec_run(name, ["sh", "-c", "echo x > /etc/mine; chown alice /etc/mine"])
    if not running:
        on.stop(name)
    (tmp_path / "file").write_text("new")
    os.chown(tmp_path / "file", 1000, 1000)
    for place in ("/usr/new", "/data/new"):
        on.copy_in(name, str(tmp_path / "file"), place)
    out = io.BytesIO()
    on.copy_out(name, "/etc/mine", out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        assert tar.getmembers()[0].uid == 1000
    on.copy_out(name, "/etc/mine", str(tmp_path / "out"), archive=True)
    assert owners(f"{tmp_path}/out") == (1000, 0)
    on.start(name)
    assert (
        on.exec_run(name, ["stat", "-c", "%u:%g", "/usr", "/usr/new", "/data/new"]).stdout
        == "0:0\n1000:1000\n1000:1000\n"
    )


def test_a_terminal(on: Engine) -> None:
    done = on.run("busybox", ["sh", "-c", "tty; stat -c %u:%g $(tty); test -c /dev/console"], userns="auto", tty=True)
    assert done.stdout == "/dev/pts/0\r\n0:5\r\n" and done.exit_code == 0


def test_sysctls_devices_limits_and_a_tmpfs(on: Engine) -> None:
    mounts = (Mount(type="tmpfs", target="/t", tmpfs_options=("uid=1000", "mode=700")),)
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; stat -c %u /t; ls /dev/zero"
    sysctls = (("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "9000"))
    assert sh(on, script, mounts=mounts, sysctls=sysctls, init=True).split() == ["1", "9000", "1000", "/dev/zero"]


def test_the_hosts_uts_ipc_and_cgroup_namespaces(on: Engine) -> None:
    out = sh(on, "hostname; test -d /dev/shm && ls -d /sys/fs/cgroup", uts="host", ipc="host", cgroupns="host")
    assert out.splitlines() == [os.uname().nodename, "/sys/fs/cgroup"]


def test_the_host_image(engine: Engine) -> None:
    script = "cat /proc/self/uid_map; stat -c %u /etc /tmp; touch /etc/made && stat -c %u /etc/made"
    done = engine.run("host", ["sh", "-c", script], userns="auto")
    assert done.stdout.split() == ["0", str(FIRST), "65536", "0", "0", "0"], done.stderr
    assert not os.path.exists("/etc/made")


def test_maps_by_hand(engine: Engine, busybox: str) -> None:
    container = engine.create(
        ContainerConfig(image=busybox, uid_maps=((0, 700000, 10), (10, 0, 1)), gid_maps=((0, 800000, 65536),))
    )
    assert (container.config.userns, container.uid_maps) == ("private", ((0, 700000, 10), (10, 0, 1)))
    done = engine.run(busybox, ["cat", "/proc/self/gid_map"], uid_maps=((0, 900000, 5),))
    assert done.stdout.split() == ["0", "900000", "5"]
    # Those of `auto` keep out of them.
    engine.create(ContainerConfig(image=busybox, uid_maps=((0, FIRST + 10, 5),)))
    assert engine.create(ContainerConfig(image=busybox, userns="auto")).uid_maps == ((0, FIRST + 15, 65536),)
    shown = engine.inspect_container(container.id)["HostConfig"]
    assert shown["IDMappings"] == {"UidMap": ["0:700000:10", "10:0:1"], "GidMap": ["0:800000:65536"]}
    assert shown["UsernsMode"] == "private"


def test_auto_with_maps_of_its_own(engine: Engine, busybox: str) -> None:
    container = engine.create(ContainerConfig(image=busybox, userns="auto:size=100,uidmapping=10:0:1,gidmapping=5:5:2"))
    assert container.uid_maps == ((0, FIRST, 10), (10, 0, 1), (11, FIRST + 11, 89))
    assert container.gid_maps == ((0, FIRST, 5), (5, 5, 2), (7, FIRST + 7, 93))


def test_another_containers_user_namespace(engine: Engine, busybox: str) -> None:
    start(engine, "donor", ipc="shareable")
    script = "readlink /proc/self/ns/user; cat /proc/self/uid_map"
    theirs = engine.exec_run("donor", ["sh", "-c", script]).stdout
    assert sh(engine, script, userns="container:donor") == theirs
    pid = engine.container("donor").state.pid
    assert sh(engine, script, userns=f"ns:/proc/{pid}/ns/user") == theirs
    modes = dict.fromkeys(("pid", "ipc", "uts", "network", "cgroupns", "userns"), "container:donor")
    assert "sleep 1000" in sh(engine, "ps; echo x > /dev/shm/x; ls /sys/class/net", **modes)
    assert engine.exec_run("donor", ["stat", "-c", "%u", "/dev/shm/x"]).stdout == "0\n"


def test_the_user_namespace_comes_with_the_others(engine: Engine, busybox: str) -> None:
    start(engine, "donor", ipc="shareable")
    joiner = engine.create(ContainerConfig(image=busybox, network="container:donor"))
    assert joiner.config.userns == f"container:{engine.container('donor').container.id}"
    assert sh(engine, "id -u; cat /proc/self/uid_map", userns="", pid="container:donor").split()[2] == str(FIRST)
    # A third one, and one that is told not to.
    start(engine, "second", userns="", ipc="container:donor")
    assert sh(engine, "cat /proc/self/uid_map", userns="", uts="container:second").split()[1] == str(FIRST)
    assert sh(engine, "cat /proc/self/uid_map", userns="host", network="container:donor").split()[1] == "0"
    with pytest.raises(UsageError, match="privileged mode is incompatible with user namespaces"):
        engine.create(ContainerConfig(image=busybox, network="container:donor", privileged=True))


def test_an_engine_with_a_default(engine_root: str, busybox: str, tiffin: Tiffin) -> None:
    with package.Engine(engine_root, userns="auto") as engine:
        assert engine.run(busybox, ["cat", "/proc/self/uid_map"]).stdout.split()[1] == str(FIRST)
        assert engine.run(busybox, ["cat", "/proc/self/uid_map"], userns="host").stdout.split()[1] == "0"
        start(engine, "donor", userns="", ipc="shareable")
        # What comes with another container's namespaces wins over the default: it owns them.
        assert sh(engine, "cat /proc/self/uid_map", userns="", network="container:donor").split()[1] == str(FIRST)
    assert tiffin.ok("--userns", "auto", "run", "--rm", "busybox", "cat", "/proc/self/uid_map").split()[1] != "0"
    by_environment = tiffin("run", "--rm", "busybox", "cat", "/proc/self/uid_map", env={"TIFFIN_USERNS": "auto"})
    assert by_environment.out.split()[1] != "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"privileged": True},
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace "
            "when running privileged mode",
        ),
        ({"network": "host"}, "cannot share the host's network namespace when user namespaces are enabled"),
        ({"pid": "host"}, "cannot share the host PID namespace when user namespaces are enabled"),
        ({"user": "70000"}, "the user 70000 is not mapped in the container's user namespace"),
        ({"user": "0:70000"}, "the group 70000 is not mapped in the container's user namespace"),
        ({"userns": "auto:size=0"}, "invalid size '0' of a user namespace: it is not from 1 to 4294443007"),
        ({"userns": "auto:sise=1"}, "unknown option 'sise=1' of --userns auto"),
        ({"userns": "auto:uidmapping=1:2:3:4"}, "invalid map of ids '1:2:3:4': it is not of the form CONTAINER:HOST:SIZE"),  # noqa: E501
        ({"userns": "auto", "uid_maps": ((0, 1, 1),)}, "conflicting options: --userns auto and maps of ids"),
        ({"userns": "host", "uid_maps": ((0, 1, 1),)}, "conflicting options: --userns host and maps of ids"),
        ({"userns": "keep-id"}, "--userns keep-id is not supported: it is for users without root's rights, who cannot run Tiffin"),  # noqa: E501
        ({"userns": "shared"}, "invalid user namespace mode 'shared'"),
        ({"userns": "ns:/run/x"}, "the maps of the user namespace /run/x are not known"),
        ({"userns": "ns:x"}, "the user namespace 'x' is no absolute path"),
        ({"userns": "container:"}, "'container:' names no container to share the user namespace of"),
        ({"userns": "", "uid_maps": ((0, 1, 0),)}, "invalid uid map 0:1:0: its size is 0"),
        ({"userns": "", "gid_maps": ((0, 4294967290, 10),)}, "invalid uid map 0:4294967290:10: it goes beyond the last id, 4294967294"),  # noqa: E501
        ({"userns": "", "uid_maps": ((0, 1000, 10), (5, 2000, 10))}, "the uid maps 0:1000:10 and 5:2000:10 overlap inside"),  # noqa: E501
        ({"userns": "", "uid_maps": ((0, 1000, 10), (10, 1009, 1))}, "the uid maps 0:1000:10 and 10:1009:1 overlap on the host"),  # noqa: E501
        ({"userns": "", "uid_maps": ((1, 1000, 10),)}, "the uid maps do not cover 0, the container's root"),
        (
            {"network": "container:plain"},
            "conflicting options: a user namespace of its own and the network namespace of another container",
        ),
        (
            {"userns": "host", "mounts": (Mount(type="bind", source="/tmp", target="/x", idmap=True),)},
            "a mount can map ids (idmap) only in a container with a user namespace",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be(engine: Engine, busybox: str, options: dict[str, Any], message: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="plain"))
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, **{"userns": "auto", **options}))
    assert caught.value.message == message
    assert len(engine.containers(all=True)) == 1


def test_nobody_to_share_with(engine: Engine, busybox: str) -> None:
    with pytest.raises(NotFoundError, match="no such container: nobody"):
        engine.create(ContainerConfig(image=busybox, userns="container:nobody"))
    engine.create(ContainerConfig(image=busybox, name="one", userns="auto"))
    engine.create(ContainerConfig(image=busybox, name="two", userns="auto"))
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, userns="container:one", network="container:two"))
    assert caught.value.message == "the containers whose namespaces are to be shared are in different user namespaces"


def test_no_process_stays_between(engine: Engine, busybox: str) -> None:
    start(engine, "idle")
    state = engine.container("idle").state
    children = Path(f"/proc/{state.monitor_pid}/task/{state.monitor_pid}/children").read_text().split()
    assert children == [str(state.pid)]
    # Its monitor is the host's root still, which the container's cannot look at.
    assert (
        subprocess.run(["stat", "-c", "%u", f"/proc/{state.monitor_pid}"], capture_output=True, check=True).stdout
        == b"0\n"
    )


def test_the_command_line(tiffin: Tiffin, busybox: str) -> None:
    command = ("busybox", "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map")
    out = tiffin.ok("run", "--rm", "--uidmap", "0:600000:100", "--uidmap", "100:700000", "--gidmap", "0:1:2", *command)
    assert [line.split() for line in out.splitlines()] == [
        ["0", "600000", "100"],
        ["100", "700000", "1"],
        ["0", "1", "2"],
    ]
    bad = tiffin("run", "--rm", "--uidmap", "0:x", *command)
    assert (bad.code, bad.err) == (
        125, "tiffin: invalid map of ids '0:x': it is not of the form CONTAINER:HOST:SIZE\n"
    )  # fmt: skip
    bad = tiffin("run", "--rm", "--subuidname", "nobody-of-that-name", *command)
    assert (bad.code, bad.err) == (125, "tiffin: /etc/subuid gives 'nobody-of-that-name' no ids\n")
    tiffin.ok("run", "--userns", "auto", "--name", "kept", "busybox", "true")
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.UsernsMode}}", "kept") == "auto"
    assert tiffin.ok("system", "check").startswith("No problems")


def test_a_health_check_runs_as_its_root(engine: Engine, busybox: str) -> None:
    health = HealthCheck(test=("CMD-SHELL", "id -u; cat /proc/self/uid_map"), interval_ns=10**9)
    start(engine, "checked", health=health)
    deadline = time.monotonic() + 20
    while not (log := engine.inspect_container("checked")["State"]["Health"]["Log"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert log[0]["ExitCode"] == 0 and log[0]["Output"].split() == ["0", "0", str(FIRST), "65536"]
