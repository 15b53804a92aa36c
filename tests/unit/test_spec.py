"""From a record to the OCI spec: a pure function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiffin.errors import NotSupportedError
from tiffin.model.container import Container, ContainerConfig, Mount, Ulimit
from tiffin.runtime import spec
from tiffin.runtime.security.capabilities import ALL
from tiffin.runtime.security.options import parse_security_opts
from tiffin.runtime.users import Identity

FILES = spec.Files(hostname="/c/hostname", hosts="/c/hosts", resolv_conf="/c/resolv.conf")


def container(**options: Any) -> Container:
    config = ContainerConfig(image="img", **options)
    return Container(
        id="ab" * 32,
        name="web",
        image_id="sha256:x",
        image_name="img",
        driver="composefs",
        created_ns=1,
        config=config,
        argv=("sh", "-c", "true"),
        env=("A=1",),
        workdir="/w",
        user="",
        hostname="box",
        stop_signal=15,
        stop_timeout_s=10,
    )


def build(*, uid: int = 0, host: spec.HostFacts | None = None, **options: Any) -> dict[str, Any]:
    made = container(**options)
    return spec.build_spec(
        made,
        identity=Identity(uid=uid, gid=0, home="/root"),
        security=parse_security_opts(made.config.security_opts),
        host=host or spec.HostFacts(bounding=ALL),
        files=FILES,
        rootfs="/c/rootfs",
    )


def by_target(built: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in built["mounts"]}


def test_it_is_json() -> None:
    assert json.loads(json.dumps(build())) == build()


def test_the_process() -> None:
    process = build(tty=True, ulimits=(Ulimit(name="nofile", soft=10, hard=20),))["process"]
    assert process["args"] == ["sh", "-c", "true"] and process["cwd"] == "/w" and process["terminal"] is True
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=box",
        "TERM=xterm",
        "HOME=/root",
        "A=1",
    ]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}]


def test_what_the_user_says_of_the_environment_wins() -> None:
    assert spec.process_env(("PATH=/x", "HOME=/h", "UNSET"), False, "/root", "box") == [
        "HOSTNAME=box",
        "PATH=/x",
        "HOME=/h",
    ]


def test_docker_s_fourteen_capabilities() -> None:
    capabilities = build()["process"]["capabilities"]
    assert len(capabilities["bounding"]) == 14 and capabilities["effective"] == capabilities["bounding"]
    assert capabilities["ambient"] == capabilities["inheritable"] == []


def test_only_root_starts_with_capabilities_in_hand() -> None:
    capabilities = build(uid=1000)["process"]["capabilities"]
    assert len(capabilities["bounding"]) == 14 and capabilities["effective"] == capabilities["permitted"] == []


def test_namespaces() -> None:
    kinds = [entry["type"] for entry in build()["linux"]["namespaces"]]
    assert kinds == ["mount", "pid", "ipc", "uts", "cgroup", "network"]
    shared = build(pid="host", ipc="host", uts="host", cgroupns="host", network="host")
    assert [entry["type"] for entry in shared["linux"]["namespaces"]] == ["mount"]
    assert by_target(shared)["/dev/shm"]["type"] == "bind"


def test_namespaces_of_others() -> None:
    joined = spec.Joined(
        paths=(("pid", "/proc/7/ns/pid"), ("ipc", "/proc/7/ns/ipc")), donors=((7, 1),), shm="/proc/7/ns/mnt"
    )
    built = build(pid="container:x", ipc="container:x", host=spec.HostFacts(bounding=ALL, joined=joined))
    assert built["linux"]["namespaces"] == [
        {"type": "mount"},
        {"type": "pid", "path": "/proc/7/ns/pid"},
        {"type": "ipc", "path": "/proc/7/ns/ipc"},
        {"type": "uts"},
        {"type": "cgroup"},
        {"type": "network"},
    ]
    assert by_target(built)["/dev/shm"]["source"] == "/proc/7/ns/mnt"
    assert "/dev/shm" not in by_target(build(ipc="none"))
    assert by_target(build(ipc="shareable"))["/dev/shm"]["type"] == "tmpfs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "bridge"}, "network 'bridge' is not supported yet: Tiffin has the networks none and host so far"),
    ],
)
def test_what_is_not_built_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        build(**options)
    assert caught.value.message == message


def test_default_mounts_are_confined() -> None:
    found = by_target(build())
    assert found["/sys"]["options"] == ["nosuid", "noexec", "nodev", "ro"]
    assert found["/proc"]["options"] == ["nosuid", "noexec", "nodev"]
    assert "size=67108864" in found["/dev/shm"]["options"]
    assert found["/etc/hosts"]["source"] == "/c/hosts"


def test_masks_and_privilege() -> None:
    confined = build()["linux"]
    assert "/proc/kcore" in confined["maskedPaths"] and "/proc/sys" in confined["readonlyPaths"]
    free = build(privileged=True)
    assert free["linux"]["maskedPaths"] == [] and free["linux"]["readonlyPaths"] == []
    assert "rw" in by_target(free)["/sys"]["options"]
    assert len(free["process"]["capabilities"]["effective"]) == 41


def test_user_mounts_come_last_and_by_depth() -> None:
    built = build(
        mounts=(
            Mount(type="bind", source="/b", target="/data/deep/er"),
            Mount(type="tmpfs", target="/data", tmpfs_options=("size=1m", "exec")),
            Mount(type="bind", source="/h", target="/etc/hosts", readonly=True),
        )
    )
    assert [mount["destination"] for mount in built["mounts"][-3:]] == ["/data", "/etc/hosts", "/data/deep/er"]
    found = by_target(built)
    assert found["/data"]["options"] == ["nosuid", "nodev", "size=1m", "exec"]
    assert found["/etc/hosts"]["source"] == "/h" and "ro" in found["/etc/hosts"]["options"]
    assert sum(mount["destination"] == "/etc/hosts" for mount in built["mounts"]) == 1


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        (Mount(type="bind", source="/a", target="/x", propagation="rshared"), ["rbind", "rshared", "rw"]),
        (Mount(type="bind", source="/a", target="/x", readonly=True), ["rbind", "rprivate", "ro", "rro"]),
        (Mount(type="bind", source="/a", target="/x", readonly=True, readonly_recursive="disabled"),
         ["rbind", "rprivate", "ro"]),
        (Mount(type="bind", source="/a", target="/x", readonly=True, recursive=False), ["bind", "rprivate", "ro"]),
        (Mount(type="volume", source="v", target="/x", readonly=True), ["rbind", "rprivate", "ro", "rro"]),
        (Mount(type="image", source="sha256:1", target="/x", readonly=True), ["rbind", "rprivate", "ro", "rro"]),
    ],
)  # fmt: skip
def test_options_of_the_users_mounts(mount: Mount, options: list[str]) -> None:
    assert spec.user_mount(mount, "/volumes")["options"] == options


def test_read_only_covers_the_generated_files() -> None:
    generated = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    assert all("ro" in by_target(build(read_only=True))[target]["options"] for target in generated)
    assert not any("ro" in by_target(build())[target]["options"] for target in generated)


def test_the_callers_protection_from_oom_is_not_handed_on() -> None:
    assert "oomScoreAdj" not in build()["process"]
    made = container()
    built = spec.build_spec(
        made,
        identity=Identity(uid=0, gid=0),
        security=parse_security_opts(()),
        host=spec.HostFacts(bounding=ALL, spared=True),
        files=FILES,
        rootfs="/c/rootfs",
    )
    assert built["process"]["oomScoreAdj"] == 0
