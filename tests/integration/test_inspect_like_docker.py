"""What scripts written for Docker read: the fields of `inspect`, `info` and the lists, and their types, are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.docker_peer import DockerPeer
    from integration.conftest import Runner

# Objects with keys of the user's or the driver's, of which only the types are compared.
MAPS = ("Data", "Labels", "Config/LogConfig", "Networks", "Options", "Volumes", "Tmpfs", "ExposedPorts")
OPTIONS = (
    "--network", "none", "-v", "data:/data", "--tmpfs", "/t2:size=1m", "-e", "A=b", "-l", "x=y", "-w", "/tmp", "-u",
    "1000", "--hostname", "hh", "--domainname", "dd", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD",
    "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:200", "--device", "/dev/null:/dev/nn",
    "--shm-size", "32m", "--init", "--stop-signal", "INT", "--stop-timeout", "3", "--memory", "64m", "--cpus", "0.5",
    "--pids-limit", "50", "--group-add", "audio", "--read-only", "-it", "--entrypoint", "sh",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _clean(docker: DockerPeer) -> Iterator[None]:
    yield
    for container in docker.ok("ps", "-aq").split():
        docker.ok("rm", "-fv", container)


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Fields of theirs that we lack, and those of another type. Null stands for any empty thing, as in Go."""
    if theirs is None or ours is None:
        return [] if not theirs and not ours else [f"{path}: {theirs!r} is {ours!r} here"]
    if type(theirs) is not type(ours):
        return [f"{path}: {type(theirs).__name__} is {type(ours).__name__} here"]
    if isinstance(theirs, dict):
        name = "/".join(reversed(path.split("/")[-2:]))
        if path.rpartition("/")[2] in MAPS or name in MAPS:
            pairs = list(zip(theirs.values(), ours.values(), strict=False))
            return [line for one, other in pairs for line in differences(one, other, f"{path}/*")]
        found = [f"{path}/{key}: missing" for key in theirs if key not in ours]
        return found + [
            line for key in theirs if key in ours for line in differences(theirs[key], ours[key], f"{path}/{key}")
        ]
    if isinstance(theirs, list) and theirs:
        if not ours:
            return [f"{path}: empty here"]
        return differences(theirs[0], ours[0], f"{path}[0]")
    return []


def test_a_container(docker: DockerPeer, tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    for engine in (docker, tiffin):
        engine.ok("create", "--name", "rich", "-v", f"{tmp_path}:/b:ro", *OPTIONS, busybox, "-c", "sleep 100")
        engine.ok("start", "rich")
    (theirs,), (ours,) = docker.inspect("rich"), json.loads(tiffin.ok("inspect", "rich"))
    for facts in (theirs, ours):
        facts["HostConfig"]["Binds"].sort()
        # As it was given, or in full: that depends on the age of Docker's command.
        for key in ("CapAdd", "CapDrop"):
            facts["HostConfig"][key] = [f"CAP_{name.removeprefix('CAP_')}" for name in facts["HostConfig"][key]]
        facts["Mounts"] = {mount["Destination"]: mount for mount in facts["Mounts"]}
    assert differences(theirs, ours) == []
    same = (
        "Path", "Args", "Name", "Platform", "RestartCount", "HostConfig/Binds", "HostConfig/CapAdd",
        "HostConfig/CapDrop", "HostConfig/Memory", "HostConfig/MemorySwap", "HostConfig/NanoCpus",
        "HostConfig/PidsLimit", "HostConfig/Ulimits", "HostConfig/Devices", "HostConfig/GroupAdd", "HostConfig/ShmSize",
        "HostConfig/Init", "HostConfig/ReadonlyRootfs", "HostConfig/IpcMode", "HostConfig/NetworkMode",
        "HostConfig/RestartPolicy", "Config/Hostname", "Config/Domainname", "Config/User", "Config/Cmd",
        "Config/Entrypoint", "Config/Labels", "Config/WorkingDir", "Config/Tty", "Config/OpenStdin",
        "Config/StopTimeout", "Config/Image", "State/Status", "State/Running", "State/ExitCode", "State/FinishedAt",
    )  # fmt: skip
    for path in same:
        one, other = theirs, ours
        for key in path.split("/"):
            one, other = one[key], other[key]
        assert one == other, path


def test_a_plain_container(docker: DockerPeer, tiffin: Runner, busybox: str) -> None:
    for engine in (docker, tiffin):
        engine.ok("create", "--name", "plain", "--network", "none", busybox, "true")
    (theirs,), (ours,) = docker.inspect("plain"), json.loads(tiffin.ok("inspect", "plain"))
    assert differences(theirs, ours) == []
    row, their_row = (json.loads(e.ok("ps", "-a", "--no-trunc", "--format", "{{json .}}")) for e in (tiffin, docker))
    their_row.pop("Platform", None)  # null, unless the daemon is the newest
    assert differences(their_row, row) == []


def test_an_image_and_a_volume(docker: DockerPeer, tiffin: Runner, busybox: str) -> None:
    theirs, ours = docker.inspect(busybox), json.loads(tiffin.ok("inspect", busybox))
    assert differences(theirs, ours) == []
    for engine in (docker, tiffin):
        engine.ok("volume", "create", "--label", "a=b", "labelled")
    theirs = json.loads(docker.ok("volume", "inspect", "labelled"))
    assert differences(theirs, json.loads(tiffin.ok("volume", "inspect", "labelled"))) == []
    # Docker's command knows the short form since 23.
    for words in ("images", "volume ls", "system df"):
        theirs = json.loads(docker.ok(*words.split(), "--format", "{{json .}}").splitlines()[0])
        assert differences(theirs, json.loads(tiffin.ok(*words.split(), "--format", "json").splitlines()[0])) == [], (
            words
        )
    details = "system df -v --format".split()
    theirs = json.loads(docker.ok(*details, "{{json .}}"))
    assert differences(theirs, json.loads(tiffin.ok(*details, "json"))) == []
    for engine in (docker, tiffin):
        engine.ok("volume", "rm", "labelled")


def test_info(docker: DockerPeer, tiffin: Runner) -> None:
    theirs, ours = (json.loads(engine.ok("info", "--format", "{{json .}}")) for engine in (docker, tiffin))
    # What is about registries, swarms, the daemon's runtime library and the client program has no meaning here.
    absent = {
        "IndexServerAddress", "RegistryConfig", "ContainerdCommit", "RuncCommit", "InitCommit", "ClientInfo",
        "GenericResources", "BridgeNfIptables", "BridgeNfIp6tables", "Containerd", "FirewallBackend",
        "DiscoveredDevices",
    }  # fmt: skip
    assert set(theirs) - absent - set(ours) == set()
    shared = {key for key in set(theirs) & set(ours) if key not in ("Runtimes", "Plugins", "Swarm")}
    assert differences({key: theirs[key] for key in shared}, {key: ours[key] for key in shared}) == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        ("{{.Foo", "template: :1: unclosed action"),
        ("a\n  {{nofunc}}", 'template: :2: function "nofunc" not defined'),
        ("a\n  {{.RootFS.Nope}}", 'template: :2:11: executing "" at <.RootFS.Nope>: map has no entry for key "Nope"'),
    ],
)
def test_template_errors(docker: DockerPeer, tiffin: Runner, busybox: str, template: str, message: str) -> None:
    theirs = docker("inspect", "-f", template, busybox).stderr.decode()
    assert f"template parsing error: {message}" in theirs
    assert f"template parsing error: {message}" in tiffin("inspect", "-f", template, busybox).err


@pytest.mark.parametrize(
    "template",
    [
        "{{.HostConfig.Binds}} {{len .HostConfig.Binds}} {{json .HostConfig.Binds}}",
        "{{.Config.Entrypoint}} {{.Config.OnBuild}} {{.Config.Volumes}} {{.Config.Cmd}} {{.Config.Labels}}",
        "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.GroupAdd}}",
        "{{.HostConfig.Sysctls}} {{.HostConfig.Tmpfs}} {{json .HostConfig.Tmpfs}}",
        "{{len .HostConfig.VolumesFrom}} {{len .HostConfig.Tmpfs}} {{.ExecIDs}} {{.HostConfig.Ulimits}}",
        "{{if .HostConfig.Binds}}some{{else}}none{{end}} {{range .Config.Entrypoint}}x{{end}}",
        '{{join .Config.Entrypoint ","}} {{with .Config.OnBuild}}some{{end}}',
        '{{index .HostConfig.Tmpfs "/x"}} {{println .HostConfig.ExtraHosts}}',
    ],
)
def test_what_is_empty_in_a_template(docker: DockerPeer, tiffin: Runner, busybox: str, template: str) -> None:
    for engine in (docker, tiffin):
        engine.ok("create", "--name", "plain", busybox, "true")
    assert tiffin.ok("inspect", "-f", template, "plain") == docker.ok("inspect", "-f", template, "plain")
