"""When a container gets what systemd needs, and what that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiffin.cgroups.layout import Hierarchy, Layout
from tiffin.cgroups.v1 import V1Driver
from tiffin.errors import HostError, UsageError
from tiffin.model.container import Container, ContainerConfig, Mount
from tiffin.model.resources import Resources
from tiffin.runtime import spec, systemd
from tiffin.runtime.security.options import parse_security_opts
from tiffin.runtime.users import Identity


@pytest.mark.parametrize(
    ("mode", "command", "decided"),
    [
        ("true", "/sbin/init", "always"),
        ("true", "/usr/sbin/init", "always"),
        ("true", "/usr/local/sbin/init", "always"),
        ("true", "/lib/systemd/systemd", "always"),
        ("true", "systemd", "always"),
        ("true", "/bin/init", "true"),
        ("true", "init", "true"),
        ("true", "systemd-run", "true"),
        ("false", "/sbin/init", "false"),
        ("always", "sh", "always"),
    ],
)
def test_which_commands(mode: str, command: str, decided: str) -> None:
    config = ContainerConfig(image="x", systemd=mode)
    assert systemd.decided(config, (command, "--an-option")) == decided


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"init": True}, "with --init the command is not the first process"),
        ({"pid": "host"}, "with --pid host the command is not the first process"),
        ({"cgroupns": "host"}, "with --cgroupns host the cgroups are not the container's own"),
    ],
)
def test_where_it_cannot_be(options: dict[str, Any], problem: str) -> None:
    assert systemd.decided(ContainerConfig(image="x", **options), ("/sbin/init",)) == "true"
    with pytest.raises(UsageError) as caught:
        systemd.decided(ContainerConfig(image="x", systemd="always", **options), ("/sbin/init",))
    assert caught.value.message == f"conflicting options: --systemd always, but {problem}"


def test_no_such_mode() -> None:
    with pytest.raises(UsageError) as caught:
        systemd.decided(ContainerConfig(image="x", systemd="yes"), ("sh",))
    assert str(caught.value) == "invalid systemd mode 'yes' (it is true, false or always)"


def test_environment() -> None:
    wanted = ["A=1", "container=tiffin", "container_uuid=01234567-89ab-cdef-0123-456789abcdef"]
    assert systemd.environment(["A=1"], "0123456789abcdef" * 4) == wanted
    assert systemd.environment(["container=mine"], "0" * 64)[0] == "container=mine"
    assert len(systemd.environment(["container=mine"], "0" * 64)) == 2


def build(**options: Any) -> dict[str, Any]:
    config = ContainerConfig(image="x", **options)
    container = Container(
        id="ab" * 32, name="web", image_id="sha256:x", image_name="x", driver="composefs", created_ns=1, config=config,
        argv=("/sbin/init",), env=(), workdir="/", user="", hostname="box", stop_signal=37, stop_timeout_s=10,
    )  # fmt: skip
    return spec.build_spec(
        container,
        identity=Identity(uid=0, gid=0, home="/root"),
        security=parse_security_opts(()),
        host=spec.HostFacts(
            bounding=(1 << 41) - 1, cgroup_mounts=(("cgroup2", "cgroup2", "/sys/fs/cgroup", ("nosuid", "rw")),)
        ),
        files=spec.Files(hostname="/c/hostname", hosts="/c/hosts", resolv_conf="/c/resolv.conf"),
        rootfs="/c/rootfs",
    )


def test_its_mounts_give_way_to_the_users() -> None:
    built = build(systemd="always", mounts=(Mount(type="bind", source="/srv", target="/tmp"),))
    mounts = {mount["destination"]: mount for mount in built["mounts"]}
    assert mounts["/run"]["type"] == mounts["/run/lock"]["type"] == mounts["/var/log/journal"]["type"] == "tmpfs"
    assert mounts["/tmp"]["source"] == "/srv"
    assert mounts["/sys/fs/cgroup"]["options"] == ["nosuid", "rw"]
    assert "/sys/fs/cgroup" not in built["linux"]["readonlyPaths"]


def test_others_get_nothing_of_it() -> None:
    built = build()
    mounts = {mount["destination"]: mount for mount in built["mounts"]}
    assert not {"/run", "/run/lock", "/tmp", "/var/log/journal"} & mounts.keys()
    assert mounts["/sys/fs/cgroup"]["options"] == ["nosuid", "rw", "ro"]
    assert "/sys/fs/cgroup" in built["linux"]["readonlyPaths"]
    assert not any(item.startswith("container") for item in built["process"]["env"])


def test_a_hybrid_host_lends_its_v2_tree(tmp_path: Path) -> None:
    for name in ("freezer", "unified"):
        (tmp_path / name).mkdir()
    hierarchies = (Hierarchy(controllers=("freezer",), mount=f"{tmp_path}/freezer"),)
    driver = V1Driver(Layout(version=1, hierarchies=hierarchies, unified=f"{tmp_path}/unified"), "t")
    plan = driver.create("ab", Resources(), (), delegated=(0, 0))
    assert plan.into == f"{tmp_path}/unified/t/ab"
    assert plan.remove == (f"{tmp_path}/freezer/t/ab", f"{tmp_path}/unified/t/ab")
    assert driver.joining("ab").into == plan.into, "exec follows"
    assert driver.create("cd", Resources(), ()).into == driver.joining("cd").into == ""
    driver.remove("ab")
    assert driver.list_containers() == ["cd"]


def test_a_host_without_a_v2_tree(tmp_path: Path) -> None:
    hierarchies = (Hierarchy(controllers=("freezer",), mount=str(tmp_path)),)
    with pytest.raises(HostError) as caught:
        V1Driver(Layout(version=1, hierarchies=hierarchies), "t").create("ab", Resources(), (), delegated=(0, 0))
    assert str(caught.value) == (
        "this host has no cgroup v2 tree mounted, so the container gets no cgroups to manage itself"
        " (mount -t cgroup2 none /sys/fs/cgroup/unified)"
    )
