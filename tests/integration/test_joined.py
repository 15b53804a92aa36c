"""Namespaces shared between containers: --pid, --ipc, --uts, --cgroupns, --network with container:NAME or ns:PATH."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tiffin import Engine
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.model.container import ContainerConfig

Tiffin = Callable[..., Any]


def _start(engine: Engine, name: str, *command: str, **options: Any) -> str:
    config = ContainerConfig(image="busybox", name=name, command=command or ("sleep", "1000"), stop_timeout_s=0)
    return _started(engine, config.replace(**options))


def _started(engine: Engine, config: ContainerConfig) -> str:
    container = engine.create(config)
    engine.start(container.id)
    return container.id


@pytest.mark.parametrize(
    ("field", "kind"), [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("cgroupns", "cgroup"), ("network", "net")]
)
def test_one_namespace_is_shared_and_the_others_are_not(engine: Engine, busybox: str, field: str, kind: str) -> None:
    _start(engine, "donor", ipc="shareable")
    kinds = "pid ipc uts cgroup net mnt".split()
    script = "for k in pid ipc uts cgroup net mnt; do readlink /proc/self/ns/$k; done"
    donor = engine.exec_run("donor", ["sh", "-c", script]).stdout.split()
    joiner = engine.run(busybox, ["sh", "-c", script], **{field: "container:donor"}).stdout.split()
    assert [kind for kind, ours, theirs in zip(kinds, joiner, donor, strict=True) if ours == theirs] == [kind]


def test_processes_of_a_shared_pid_namespace_see_each_other(engine: Engine, busybox: str) -> None:
    _start(engine, "donor", "sleep", "4321")
    assert "sleep 4321" in engine.run(busybox, ["ps"], pid="container:donor").stdout
    joiner = _start(engine, "joiner", "sleep", "1234", pid="container:donor")
    assert "sleep 1234" in engine.exec_run("donor", ["ps"]).stdout
    assert "sleep 4321" in engine.exec_run(joiner, ["ps"]).stdout


def test_the_end_of_a_joiner_leaves_the_donor_alone(engine: Engine, busybox: str) -> None:
    _start(engine, "donor")
    engine.run(busybox, ["sh", "-c", "sleep 1000 & true"], pid="container:donor")
    assert engine.container("donor").state.status == "running"
    assert engine.exec_run("donor", ["ps"]).stdout.count("sleep 1000") == 1


def test_the_end_of_the_donor_is_the_joiners_too(engine: Engine, busybox: str) -> None:
    _start(engine, "donor")
    joiner = _start(engine, "joiner", "sh", "-c", "trap '' TERM; sleep 1000", pid="container:donor")
    engine.kill("donor")
    assert engine.wait(joiner, timeout_s=10) == 137
    state = engine.container(joiner).state
    assert (state.status, state.exit_code, state.oom_killed, state.error) == ("exited", 137, False, "")


def test_shared_memory_is_one(engine: Engine, busybox: str) -> None:
    _start(
        engine, "donor", "sh", "-c", "echo theirs > /dev/shm/file; sleep 1000", ipc="shareable", shm_size_bytes=1 << 20
    )
    deadline = time.monotonic() + 10
    while engine.exec_run("donor", ["cat", "/dev/shm/file"]).exit_code and time.monotonic() < deadline:
        time.sleep(0.01)
    done = engine.run(
        busybox, ["sh", "-c", "cat /dev/shm/file; echo ours > /dev/shm/file; df -k /dev/shm"], ipc="container:donor"
    )
    assert done.stdout.startswith("theirs\n") and " 1024 " in done.stdout
    assert engine.exec_run("donor", ["cat", "/dev/shm/file"]).stdout == "ours\n"
    assert engine.run(busybox, ["ls", "/dev/shm"]).stdout == ""


def test_the_donors_dev_shm_is_not_looked_up_through_its_links(engine: Engine, busybox: str) -> None:
    """A donor that mounts a link's target there leads nowhere but into its own files."""
    _start(engine, "donor", ipc="shareable", cap_add=("SYS_ADMIN",))
    engine.exec_run("donor", ["sh", "-c", "umount /dev/shm; rmdir /dev/shm; ln -s /proc/1/root/etc /dev/shm"])
    container = engine.create(ContainerConfig(image=busybox, command=("true",), ipc="container:donor"))
    with pytest.raises(
        Exception, match="cannot share the other container's /dev/shm: Too many levels of symbolic links"
    ):
        engine.start(container.id)


def test_without_ipc_there_is_no_shared_memory(engine: Engine, busybox: str) -> None:
    done = engine.run(busybox, ["sh", "-c", "ls -d /dev/shm; readlink /proc/self/ns/ipc"], ipc="none")
    assert done.stderr == "ls: /dev/shm: No such file or directory\n"
    assert done.stdout.strip() != os.readlink("/proc/self/ns/ipc")


def test_names_go_with_the_network(engine: Engine, busybox: str) -> None:
    _start(engine, "donor", hostname="giver")
    done = engine.run(
        busybox, ["sh", "-c", "hostname; grep giver /etc/hosts; cat /etc/hostname"], network="container:donor"
    )
    assert done.stdout == "giver\n127.0.1.1\tgiver\ngiver\n"
    engine.exec_run("donor", ["sh", "-c", "echo 192.0.2.1 other >> /etc/hosts"])
    assert "192.0.2.1 other" in engine.run(busybox, ["cat", "/etc/hosts"], network="container:donor").stdout


def test_a_namespace_by_its_path(engine: Engine, busybox: str) -> None:
    donor = _start(engine, "donor", hostname="giver")
    pid = engine.container(donor).state.pid
    assert engine.run(busybox, ["hostname"], uts=f"ns:/proc/{pid}/ns/uts").stdout == "giver\n"
    with pytest.raises(Exception, match=f"cannot join the uts namespace /proc/{pid}/ns/net: Invalid argument"):
        engine.run(busybox, ["hostname"], uts=f"ns:/proc/{pid}/ns/net")
    with pytest.raises(Exception, match="cannot join the uts namespace /nowhere: No such file or directory"):
        engine.run(busybox, ["hostname"], uts="ns:/nowhere")
    with pytest.raises(UsageError, match="the UTS namespace 'here' is no absolute path"):
        engine.run(busybox, ["hostname"], uts="ns:here")


def test_a_name_becomes_an_id_that_outlives_a_rename(engine: Engine, busybox: str) -> None:
    donor = _start(engine, "donor", ipc="shareable")
    modes = dict.fromkeys(("pid", "ipc", "uts", "network", "cgroupns"), "container:donor")
    container = engine.create(ContainerConfig(image=busybox, command=("true",), **modes))
    shown = engine.inspect_container(container.id)
    names = ("PidMode", "IpcMode", "UTSMode", "NetworkMode", "CgroupnsMode")
    assert [shown["HostConfig"][name] for name in names] == [f"container:{donor}"] * 5
    assert shown["NetworkSettings"]["Networks"] == {}
    engine.rename("donor", "other")
    engine.start(container.id)
    assert engine.wait(container.id, timeout_s=10) == 0


def test_a_donor_that_does_not_run(engine: Engine, busybox: str) -> None:
    donor = engine.create(ContainerConfig(image=busybox, name="donor", command=("true",)))
    for field, what in (("pid", "PID"), ("uts", "UTS"), ("network", "network"), ("cgroupns", "cgroup")):
        container = engine.create(ContainerConfig(image=busybox, command=("true",), **{field: "container:donor"}))
        with pytest.raises(ConflictError) as caught:
            engine.start(container.id)
        assert caught.value.message == (
            f"cannot join {what} namespace of a non running container: container donor is created"
        )
    engine.remove(donor.id)
    with pytest.raises(NotFoundError) as gone:
        engine.start(container.id)
    assert gone.value.message == f"cannot join cgroup namespace of a container that was removed: {donor.id[:12]}"


@pytest.mark.parametrize("ipc", ["private", "none"])
def test_a_donor_whose_ipc_is_its_own(engine: Engine, busybox: str, ipc: str) -> None:
    _start(engine, "donor", ipc=ipc)
    with pytest.raises(ConflictError) as caught:
        engine.create(ContainerConfig(image=busybox, ipc="container:donor"))
    assert caught.value.message == (
        "can't join IPC of container donor: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uts": "container:donor", "hostname": "x"}, "conflicting options: hostname and the UTS mode"),
        ({"uts": "container:donor", "domainname": "x"}, "conflicting options: domainname and the UTS mode"),
        ({"network": "container:donor", "hostname": "x"}, "conflicting options: hostname and the network mode"),
        ({"pid": "container:"}, "'container:' names no container to share the PID namespace of"),
        (
            {"network": "container:donor", "sysctls": (("net.ipv4.ip_forward", "1"),)},
            "the sysctl 'net.ipv4.ip_forward' cannot be set, because the container shares the network namespace",
        ),
        (
            {"ipc": "ns:/x", "sysctls": (("kernel.msgmax", "1"),)},
            "the sysctl 'kernel.msgmax' cannot be set, because the container shares the IPC namespace (ns:/x)",
        ),
        ({"pid": "shareable"}, "invalid pid namespace mode 'shareable'"),
    ],
)
def test_what_does_not_go_together(engine: Engine, busybox: str, options: dict[str, Any], message: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="donor", command=("true",)))
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, **options))
    assert caught.value.message.startswith(message)


def test_a_container_cannot_join_itself_or_nobody(engine: Engine, busybox: str) -> None:
    with pytest.raises(NotFoundError, match="no such container: self"):
        engine.create(ContainerConfig(image=busybox, name="self", pid="container:self"))


def test_a_later_process_with_the_donors_number_is_not_joined(engine: Engine, busybox: str, monkeypatch: Any) -> None:
    """As if the donor had ended, and its number been given away, between the look at its state and the launch."""
    from tiffin.containers import joined

    _start(engine, "donor")
    found = joined.find

    def stale(*arguments: Any) -> Any:
        done = found(*arguments)
        return done.replace(donors=tuple((pid, ticks + 1) for pid, ticks in done.donors))

    monkeypatch.setattr(joined, "find", stale)
    container = engine.create(ContainerConfig(image=busybox, command=("true",), pid="container:donor"))
    with pytest.raises(Exception, match="cannot join the namespaces of another container: No such process"):
        engine.start(container.id)


def test_the_command_line(tiffin: Tiffin, busybox: str) -> None:
    tiffin.ok("run", "-d", "--name", "donor", "--ipc", "shareable", "--hostname", "giver", "busybox", "sleep", "1000")
    out = tiffin.ok("run", "--rm", "--uts", "container:donor", "--network=container:donor", "busybox", "hostname")
    assert out == "giver"
    bad = tiffin("run", "--rm", "--pid", "shared", "busybox", "true")
    assert bad.code == 125
    assert bad.err == (
        'tiffin: invalid argument "shared" for "--pid": it is host, private, container:NAME or ns:PATH\n'
        "See 'tiffin run --help'.\n"
    )
