"""Pods: what their containers share, for how long, and what is done to all of them at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.aio import AsyncEngine
from tiffin.errors import ConflictError, NotFoundError, NotSupportedError, UsageError
from tiffin.model.container import ContainerConfig

if TYPE_CHECKING:
    from integration.conftest import Runner

KINDS = ("net", "ipc", "uts", "pid", "mnt")
LISTEN = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"


def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def namespaces(engine: tiffin.Engine, name: str) -> dict[str, str]:
    pid = engine.container(name).state.pid
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def member(engine: tiffin.Engine, name: str, *command: str, pod: str = "web", start: bool = True) -> None:
    engine.create(ContainerConfig(image="busybox", command=command or ("sleep", "60"), name=name, pod=pod))
    if start:
        engine.start(name)


def ready(engine: tiffin.Engine, *names: str) -> None:
    """They listen to signals."""
    until(lambda: all([line.data for line in engine.logs(name)] == [b"ready\n"] for name in names))


@pytest.fixture
def web(engine: tiffin.Engine, busybox: str) -> str:
    """A pod with two running containers."""
    engine.create_pod("web")
    member(engine, "one", "sh", "-c", LISTEN)
    member(engine, "two", "sh", "-c", LISTEN)
    ready(engine, "one", "two")
    return "web"


def test_what_is_shared(engine: tiffin.Engine, web: str) -> None:
    one, two = namespaces(engine, "one"), namespaces(engine, "two")
    assert {kind for kind in KINDS if one[kind] == two[kind]} == {"net", "ipc", "uts"}
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    assert all(one[kind] != ours[kind] for kind in KINDS)
    engine.exec_run("one", ["sh", "-c", "echo hello > /dev/shm/note"])
    assert engine.exec_run("two", ["cat", "/dev/shm/note"]).stdout == "hello\n"
    for name in ("one", "two"):
        assert engine.exec_run(name, ["sh", "-c", "hostname; cat /etc/hostname"]).stdout == "web\nweb\n"
    engine.exec("one", ["sh", "-c", "echo over loopback | nc -l -p 7777"], detach=True).close()
    until(lambda: engine.exec_run("two", ["nc", "127.0.0.1", "7777"]).stdout == "over loopback\n")


def test_nothing_outlives_the_last_one(engine: tiffin.Engine, web: str) -> None:
    first = namespaces(engine, "one")["net"]
    engine.stop("one", timeout_s=1)
    assert namespaces(engine, "two")["net"] == first, "its maker may go"
    engine.start("one")
    assert namespaces(engine, "one")["net"] == first, "and come back"
    engine.stop("two", timeout_s=1)
    engine.start("two")
    assert namespaces(engine, "two")["net"] == first
    # A file of the second one's /etc is its own, whosever network it has joined.
    assert "web" in engine.exec_run("two", ["cat", "/etc/hosts"]).stdout
    engine.stop_pod(web, timeout_s=1)
    held = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _link(f"/proc/{pid}/ns/net") == first]
    assert held == []
    engine.start_pod(web)
    assert namespaces(engine, "one")["net"] == namespaces(engine, "two")["net"]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_a_shared_pid_namespace_ends_with_its_first(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web", share=("pid",))
    member(engine, "one")
    member(engine, "two")
    assert namespaces(engine, "one")["pid"] == namespaces(engine, "two")["pid"]
    assert namespaces(engine, "one")["net"] != namespaces(engine, "two")["net"]
    assert "sleep 60" in engine.exec_run("two", ["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).stdout
    engine.stop("two", timeout_s=0)
    assert engine.container("one").state.status == "running"
    engine.start("two")
    engine.kill("one")
    assert engine.wait("two", timeout_s=5) == 137


def test_starting_all_at_once(engine: tiffin.Engine, busybox: str) -> None:
    """Whoever is first: they end up together."""
    engine.create_pod("web")
    names = [f"m{number}" for number in range(6)]
    for name in names:
        member(engine, name, start=False)
    failures = []

    def start(name: str) -> None:
        try:
            engine.start(name)
        except Exception as error:
            failures.append(error)

    for _ in range(3):
        threads = [threading.Thread(target=start, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len({namespaces(engine, name)["net"] for name in names}) == 1
        engine.kill_pod("web")
        until(lambda: engine.pod("web").status == "Exited")


def test_the_holder_ends_while_others_start(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    member(engine, "one", start=False)
    member(engine, "two", start=False)
    for _ in range(10):
        engine.start("one")
        killer = threading.Thread(target=engine.kill, args=("one",))
        killer.start()
        engine.start("two")
        killer.join()
        engine.kill("two")
        engine.wait("one", timeout_s=5)
        engine.wait("two", timeout_s=5)


def test_its_states(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    assert engine.pod("web").status == "Created"
    member(engine, "one", "sh", "-c", LISTEN, start=False)
    member(engine, "two", "sh", "-c", LISTEN, start=False)
    assert engine.pod("web").status == "Created"
    engine.start("one")
    assert engine.pod("web").status == "Degraded"
    engine.start_pod("web")
    assert engine.pod("web").status == "Running"
    ready(engine, "one", "two")
    engine.pause("one")
    assert engine.pod("web").status == "Degraded"
    engine.pause_pod("web")
    assert engine.pod("web").status == "Paused"
    engine.unpause_pod("web")
    assert engine.pod("web").status == "Running"
    engine.stop_pod("web")
    assert engine.pod("web").status == "Exited"
    assert [info.state.exit_code for info in engine.pod("web").containers] == [3, 3]
    member(engine, "three", start=False)
    assert engine.pod("web").status == "Stopped"
    engine.restart_pod("web")
    assert engine.pod("web").status == "Running"
    engine.kill_pod("web")
    until(lambda: engine.pod("web").status == "Exited")


def test_all_are_stopped_at_the_same_time(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    for number in range(4):
        member(engine, f"m{number}")
    began = time.monotonic()
    engine.stop_pod("web", timeout_s=1)
    assert time.monotonic() - began < 3
    assert {info.state.exit_code for info in engine.pod("web").containers} == {137}


def test_removal(engine: tiffin.Engine, web: str) -> None:
    with pytest.raises(ConflictError) as caught:
        engine.remove_pod(web)
    assert str(caught.value) == (
        "cannot remove pod 'web': its container 'one' is running"
        " (stop the pod before removing it, or force the removal)"
    )
    engine.remove_pod(web, force=True)
    assert engine.pods() == engine.containers(all=True) == []
    assert os.listdir(f"{engine.root}/pods") == []


def test_a_killed_removal_is_finished(engine: tiffin.Engine, web: str) -> None:
    pod = engine.pod(web).pod
    os.close(os.open(f"{engine.root}/pods/{pod.id}:web/removing", os.O_CREAT | os.O_WRONLY))
    engine.stop("one", timeout_s=0)
    for act in (lambda: engine.start("one"), lambda: member(engine, "three"), lambda: engine.pod(web)):
        with pytest.raises(NotFoundError):
            act()
    assert engine.pods() == engine.containers(all=True) == []


def test_what_a_killed_creation_leaves(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    os.mkdir(f"{engine.root}/pods/.{'ab' * 32}")
    assert [info.pod.name for info in engine.pods()] == ["web"]
    engine.create_pod("other")
    assert sorted(name.partition(":")[2] for name in os.listdir(f"{engine.root}/pods")) == ["other", "web"]


def test_names_are_of_pods_and_containers_together(engine: tiffin.Engine, web: str) -> None:
    pod, one = engine.pod(web).pod, engine.container("one").container
    with pytest.raises(ConflictError) as caught:
        engine.create_pod("web")
    assert str(caught.value) == (
        f"the name 'web' is already in use by pod {pod.id[:12]} (remove that pod, or choose another name)"
    )
    with pytest.raises(ConflictError) as caught:
        engine.create_pod("one")
    assert str(caught.value) == (
        f"the name 'one' is already in use by container {one.id[:12]}"
        " (remove or rename that container, or choose another name)"
    )
    taken = f"the name 'web' is already in use by pod {pod.id[:12]}"
    for act in (
        lambda: engine.create(ContainerConfig(image="busybox", name="web")),
        lambda: engine.create(ContainerConfig(image="busybox", name="web", pod="web")),
        lambda: engine.rename("one", "web"),
    ):
        with pytest.raises(ConflictError) as caught:
            act()
        assert caught.value.message == taken


SHARE_IT = "in the pod 'web', whose containers share their"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ipc": "host"}, f"--ipc host {SHARE_IT} ipc namespace"),
        ({"network": "host"}, f"--network host {SHARE_IT} net namespace"),
        ({"uts": "host"}, f"--uts host {SHARE_IT} uts namespace"),
        ({"hostname": "x"}, f"hostname {SHARE_IT}s"),
        ({"pid": "container:x", "systemd": "always"}, f"--pid container:x {SHARE_IT} pid namespace"),
        ({"systemd": "always"}, f"--systemd always {SHARE_IT} pid namespace"),
    ],
)
def test_what_the_pod_decides(engine: tiffin.Engine, busybox: str, options: dict[str, str], message: str) -> None:
    engine.create_pod("web", share=("ipc", "net", "pid", "uts"))
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, pod="web", **options))
    assert caught.value.message == f"conflicting options: {message}"
    assert engine.containers(all=True) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "Invalid pod name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        ({"share": ("mnt",)}, "a pod cannot share 'mnt'"),
        ({"network": "bridge"}, "invalid network 'bridge' for a pod"),
        (
            {"network": "host", "share": ()},
            "conflicting options: network host of a pod that does not share its network",
        ),
        (
            {"hostname": "x", "share": ()},
            "conflicting options: hostname of a pod that does not share its UTS namespace",
        ),
        ({"hostname": "x" * 65}, f"the hostname {'x' * 65!r} is not of 1 to 64 characters"),
    ],
)
def test_pods_that_cannot_be(engine: tiffin.Engine, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.create_pod(**options)  # type: ignore[arg-type]
    assert caught.value.message == message
    assert engine.pods() == []


def test_the_hosts_network(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web", network="host", hostname="box")
    member(engine, "one")
    member(engine, "two")
    assert namespaces(engine, "two")["net"] == os.readlink("/proc/self/ns/net")
    assert engine.exec_run("two", ["hostname"]).stdout == "box\n"


def test_a_new_pod_goes_with_a_container_that_cannot_be(engine: tiffin.Engine, busybox: str) -> None:
    with pytest.raises(UsageError):
        engine.create(ContainerConfig(image=busybox, pod="new:web", workdir="relative"))
    assert engine.pods() == []
    engine.create(ContainerConfig(image=busybox, pod="new:"))
    assert len(engine.pods()[0].containers) == 1


def test_user_namespaces_are_not_shared(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    with pytest.raises(NotSupportedError) as caught:
        engine.create(ContainerConfig(image=busybox, pod="web", userns="auto"))
    assert str(caught.value) == (
        "user namespaces in pods are not supported yet: what the containers share belongs to one of them"
        " (use --userns host, or make the pod with --share none)"
    )
    engine.create_pod("apart", share=())
    member(engine, "one", pod="apart", start=False)
    engine.create(ContainerConfig(image=busybox, pod="apart", userns="auto", name="two", command=("sleep", "60")))
    engine.start_pod("apart")
    assert engine.pod("apart").status == "Running"


def test_logs_of_all(engine: tiffin.Engine, busybox: str) -> None:
    engine.create_pod("web")
    member(engine, "one", "sh", "-c", "echo a; sleep 0.4; echo c")
    member(engine, "two", "sh", "-c", "sleep 0.2; echo b; sleep 0.4; echo d")
    followed = [(container.name, line.data) for container, line in engine.pod_logs("web", follow=True)]
    assert followed == [("one", b"a\n"), ("two", b"b\n"), ("one", b"c\n"), ("two", b"d\n")]
    assert [(container.name, line.data) for container, line in engine.pod_logs("web")] == followed
    assert [line.data for _, line in engine.pod_logs("web", only=["two"], tail=1)] == [b"d\n"]
    with pytest.raises(NotFoundError, match=r"^container three is not in the pod 'web'$"):
        engine.pod_logs("web", only=["three"])


async def _through_aio(root: str) -> list[str]:
    async with AsyncEngine(root) as engine:
        await engine.create_pod("web")
        await engine.create(ContainerConfig(image="busybox", command=("sleep", "9"), pod="web"))
        await engine.start_pod("web")
        statuses = [info.status for info in await engine.pods()]
        await engine.stop_pod("web", timeout_s=0)
        statuses.append((await engine.pod("web")).status)
        await engine.remove_pod("web", force=True)
        return [*statuses, *(info.status for info in await engine.pods())]


def test_for_coroutines(engine: tiffin.Engine, busybox: str) -> None:
    import asyncio

    assert asyncio.run(_through_aio(engine.root)) == ["Running", "Exited"]


# The command line


def test_the_life_of_a_pod(tiffin: Runner, busybox: str) -> None:
    pod = tiffin.ok("pod", "create", "--label", "team=a", "web")
    assert len(pod) == 64
    one = tiffin.ok("run", "-d", "--pod", "web", "--name", "one", busybox, "sh", "-c", LISTEN)
    tiffin.ok("create", "--pod", pod[:5], "--name", "two", busybox, "sleep", "60")
    shown = tiffin.ok("pod", "ps", "--format", "{{.Id}} {{.Name}} {{.Status}} {{.NumberOfContainers}}[{{.InfraId}}]")
    assert shown == f"{pod[:12]} web Degraded 2[]"
    heading, row = tiffin.ok("pod", "ps").splitlines()
    assert heading.split() == ["POD", "ID", "NAME", "STATUS", "CREATED", "#", "OF", "CONTAINERS"]
    assert row.split()[:3] == [pod[:12], "web", "Degraded"] and row.split()[-1] == "2"
    names = tiffin.ok("pod", "ls", "--ctr-names", "--ctr-status", "-f", "status=degraded").splitlines()[1].split()
    assert names[-2:] == ["one,two", "running,created"]
    assert tiffin.ok("pod", "ps", "-q", "-f", "label=team=b") == ""
    assert tiffin.ok("ps", "-a", "--pod", "--format", "{{.Names}} {{.PodName}} {{.Pod}}").splitlines() == [
        f"two web {pod[:12]}", f"one web {pod[:12]}",
    ]  # fmt: skip
    assert tiffin.ok("ps", "-a", "--pod").splitlines()[0].split()[-3:] == ["POD", "ID", "PODNAME"]
    assert tiffin.ok("ps", "-q", "-f", "pod=web", "--no-trunc") == one
    assert tiffin.ok("inspect", "-f", "{{.Pod}}", "one") == pod
    assert tiffin.ok("pod", "inspect", "-f", "{{.State}} {{(index .Containers 0).Name}} {{.NumContainers}}", "web") == (
        "Degraded one 2"
    )
    for verb in ("start", "pause", "unpause", "restart", "stop"):
        words = ("-t", "0") if verb in ("restart", "stop") else ()
        assert tiffin.ok("pod", verb, *words, "web") == pod, verb
    assert tiffin.ok("pod", "ps", "--format", "{{.Status}}") == "Exited"
    assert tiffin.ok("pod", "start", "--all") == pod
    assert "sleep 60" in tiffin.ok("pod", "top", "web", "-o", "args")
    assert tiffin.ok("pod", "kill", "-s", "KILL", "web") == pod
    tiffin.ok("wait", "one", "two")
    assert "one ready" in tiffin.ok("pod", "logs", "-n", "web").splitlines()
    assert f"{one[:12]} ready" in tiffin.ok("pod", "logs", "-c", "one", "web").splitlines()
    assert tiffin.ok("pod", "prune", "-f") == pod
    assert tiffin("pod", "exists", "web").code == 1
    assert tiffin.ok("ps", "-aq") == tiffin.ok("pod", "prune", "--force") == ""


def test_options_of_create(tiffin: Runner, busybox: str, tmp_path: object) -> None:
    id_file = f"{tmp_path}/id"
    pod = tiffin.ok(
        "pod",
        "create",
        "--infra=false",
        "--name",
        "web",
        "--hostname",
        "box",
        "--share",
        "+pid",
        "--pod-id-file",
        id_file,
    )
    with open(id_file) as file:
        assert file.read() == pod
    assert tiffin.ok("pod", "inspect", "-f", "{{.Hostname}} {{.SharedNamespaces}}", "web") == "box [ipc net pid uts]"
    again = tiffin.ok("pod", "create", "--replace", "--share", "none", "web")
    assert again != pod and tiffin.ok("pod", "inspect", "-f", "{{.SharedNamespaces}}", "web") == "[]"
    assert tiffin.ok("run", "--rm", "--pod", "new:other", busybox, "hostname") == "other"
    assert sorted(tiffin.ok("pod", "ps", "--format", "{{.Name}}").split()) == ["other", "web"]
    assert len(tiffin.ok("pod", "rm", "-a").splitlines()) == 2


def test_what_is_refused(tiffin: Runner, busybox: str, tmp_path: object) -> None:
    nosuch = "tiffin: no pod with name or ID nosuch found: no such pod\n`tiffin pod ps` lists what is here\n"
    for verb in ("start", "stop", "restart", "kill", "pause", "unpause", "rm", "logs", "top"):
        assert tiffin("pod", verb, "nosuch") == (1, "", nosuch), verb
    assert tiffin("pod", "rm", "-i", "nosuch") == tiffin("pod", "stop", "-i", "nosuch") == (0, "", "")
    assert tiffin("run", "--pod", "nosuch", busybox).err == nosuch
    assert tiffin("ps", "--filter", "pod=nosuch").err == nosuch
    assert tiffin("pod", "inspect", "nosuch") == (1, "[]\n", nosuch)
    tiffin.ok("pod", "create", "web")
    nobody = "tiffin: the pod 'web' has no containers\n`tiffin run --pod web IMAGE` puts one in\n"
    assert tiffin("pod", "start", "web") == tiffin("pod", "restart", "web") == (1, "", nobody)
    assert tiffin("pod", "top", "web").err == (
        "tiffin: no container of the pod 'web' is running\n`tiffin pod start` starts them\n"
    )
    see = "See 'tiffin pod create --help'.\n"
    for words, message in (
        (("--share", "net,foo"),
         f'invalid argument "net,foo" for "--share": \'foo\' is none of ipc, net, pid, uts\n{see}'),
        (("--share", "user"), "--share user is not supported yet: pods share ipc, net, pid, uts\n"),
        (("--infra",), "--infra is not supported yet: Tiffin's pods have no container of their own, nor need one\n"
                       "leave it out\n"),
        (("--publish", "80"), "--publish is not supported yet: Tiffin's pods have the networks none and host so far\n"),
        (("--restart", "always"),
         "--restart is not supported yet: give it to the containers, with `tiffin run --pod`\n"),
        (("--network", "bridge"), "--network bridge is not supported yet: Tiffin's pods have none or host so far\n"),
        (("--replace",), "cannot replace a pod without --name being set\n"),
        (("--name", "a1", "b1"),
         "conflicting options: the pod's name is given both with --name and as an argument\n"),
    ):  # fmt: skip
        code = 125 if "not supported yet" in message else 1
        assert tiffin("pod", "create", *words) == (code, "", f"tiffin: {message}"), words
    assert tiffin("pod", "stop").err.startswith("tiffin: 'tiffin pod stop' requires at least 1 argument, or --all\n")
    assert tiffin("pod", "stop", "-a", "web").err == "tiffin: --all and names of pods cannot be used together\n"
    assert tiffin("pod", "rm", "-t", "3", "web").err == (
        "tiffin: --force option must be specified to use the --time option\n"
    )
    assert tiffin("pod", "kill", "-s", "NOPE", "web").err == "tiffin: invalid signal: NOPE\n"
    assert tiffin("pod", "ps", "--sort", "size").err == (
        'tiffin: invalid argument "size" for "--sort": it is one of created, id, name, number, status\n'
        "See 'tiffin pod ps --help'.\n"
    )
