"""Bundles for other OCI runtimes: pure functions of the spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.cgroups.devices import DeviceRule
from tiffin.errors import CommandNotExecutable, CommandNotFound, LaunchError, NotSupportedError, UsageError
from tiffin.model.container import Container, ContainerConfig
from tiffin.model.resources import Resources
from tiffin.runtime import foreign
from tiffin.runtime.security import seccomp_json


def container(**options: Any) -> Container:
    return Container(
        id="ab" * 32, name="web", image_id="sha256:" + "fe" * 32, image_name="busybox", driver="overlay", created_ns=0,
        config=ContainerConfig(image="busybox", **options), argv=("sh",), env=(), workdir="/", user="", hostname="h",
        stop_signal=15, stop_timeout_s=10, labels=(("run.oci.hooks.stdout", "/evil"),),
    )  # fmt: skip


def mount(destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}


SPEC: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "hostname": "h",
    "annotations": {"run.oci.hooks.stdout": "/evil"},
    "mounts": [
        mount("/proc", "proc"),
        mount("/sys/fs/cgroup", "tmpfs", "mode=755"),
        mount("/sys/fs/cgroup/memory", "cgroup", "ro", "memory"),
    ],
    "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
}
RULES = (DeviceRule(type="c", access="m"), DeviceRule(type="c", major=1, minor=3))
LIMITS = Resources(memory_bytes=1 << 20, cpus=1.5, pids_limit=9)


def made(spec: dict[str, Any], *, joined: bool = False) -> dict[str, Any]:
    return foreign.bundle_spec(
        spec, container=container(annotations=(("a", "b"),)), cgroup_path="/t/x", joined=joined, resources=LIMITS,
        rules=RULES, seccomp=None,
    )  # fmt: skip


def test_the_spec_for_others() -> None:
    spec = made(SPEC)
    assert spec["ociVersion"] == "1.0.2" and spec["hostname"] == "h"
    # What an image says must not be orders to the runtime.
    assert spec["annotations"] == {"a": "b"}
    assert spec["mounts"] == [
        SPEC["mounts"][0],
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ]
    assert spec["linux"]["cgroupsPath"] == "/t/x"
    assert spec["linux"]["resources"] == {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "access": "m"},
            {"allow": True, "type": "c", "access": "rwm", "major": 1, "minor": 3},
        ],
        "memory": {"limit": 1 << 20, "swap": 2 << 20},
        "cpu": {"quota": 150000, "period": 100000},
        "pids": {"limit": 9},
    }
    assert "resources" not in SPEC["linux"] and "cgroupsPath" not in SPEC["linux"]


def test_who_joins_cgroups_makes_none() -> None:
    linux = made(SPEC, joined=True)["linux"]
    assert "resources" not in linux and "cgroupsPath" not in linux
    assert foreign.joins_cgroups("/usr/bin/crun") and not foreign.joins_cgroups("/usr/sbin/runc")


def test_a_shared_host_name_is_not_set() -> None:
    assert "hostname" not in made({**SPEC, "linux": {"namespaces": [{"type": "mount"}]}})


@pytest.mark.parametrize("name", ["nope", "./crun", "/", "/etc/passwd"])
def test_unknown_runtimes(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        foreign.program(name)
    assert raised.value.message == f"unknown or invalid runtime name: {name}"


def test_init_is_our_own(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("")
    program.chmod(0o755)
    with pytest.raises(
        NotSupportedError, match=r"^--init does not go with --runtime .*/crun so far: the init is a part"
    ):
        foreign.check(container(runtime=str(program), init=True))


def test_merging_is_asked_for_by_our_own(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("")
    program.chmod(0o755)
    with pytest.raises(NotSupportedError) as raised:
        foreign.check(container(runtime=str(program), resources=Resources(memory_merge=True)))
    assert raised.value.message == (
        f"--memory-merge does not go with --runtime {program} so far: it is Tiffin's own launcher that asks the kernel "
        "for it"
    )


@pytest.mark.parametrize(
    ("asked", "said", "kind", "message"),
    [
        ("x", "executable file `x` not found in $PATH", CommandNotFound,
         'exec: "x": executable file not found in $PATH'),
        ("/x", "executable file `/x` not found in $PATH", CommandNotFound, 'exec: "/x": no such file or directory'),
        ("/x", 'exec: "/x": stat /x: no such file or directory', CommandNotFound,
         'exec: "/x": no such file or directory'),
        ("/x", "open executable: Operation not permitted", CommandNotExecutable, 'exec: "/x": permission denied'),
        ("/x", 'exec: "/x": permission denied', CommandNotExecutable, 'exec: "/x": permission denied'),
        ("/x", 'exec /x: exec format error', CommandNotExecutable, 'exec: "/x": exec format error'),
        ("/x", "mount `a`: Permission denied", LaunchError, "crun: mount `a`: Permission denied"),
        ("/x", "", LaunchError, "the runtime crun failed: create failed: Input/output error"),
    ],
)  # fmt: skip
def test_what_a_runtime_says(tmp_path: Path, asked: str, said: str, kind: type[LaunchError], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"process": {"args": [asked]}}))
    entries = [{"level": "warning", "msg": "not this"}, *([{"level": "error", "msg": said}] if said else [])]
    (tmp_path / "log").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "garbage\n")
    create = ["/usr/bin/crun", "--log", str(tmp_path / "log"), "create", "--bundle", str(tmp_path)]
    error = foreign.failure("create failed", (create,), "Input/output error")
    assert type(error) is kind and error.message == message


def test_the_default_seccomp_policy_as_json() -> None:
    section = seccomp_json.seccomp_section(None, 0)
    assert section is not None and section["defaultAction"] == "SCMP_ACT_ERRNO" and "flags" not in section
    allowed = {name for rule in section["syscalls"] for name in rule["names"] if rule["action"] == "SCMP_ACT_ALLOW"}
    assert {"read", "write", "execve"} <= allowed and "mount" not in allowed
    more = seccomp_json.seccomp_section("builtin", 1 << 21)
    assert more is not None
    assert "mount" in {name for rule in more["syscalls"] for name in rule["names"]}
    assert seccomp_json.seccomp_section("unconfined", 0) is None


def test_a_profile_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    argument = {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}
    rules = [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [argument]},
        {"names": ["rmdir"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    section = seccomp_json.seccomp_section(str(path), 0)
    assert section is not None and section["defaultAction"] == "SCMP_ACT_ALLOW" and "defaultErrnoRet" not in section
    assert section["syscalls"] == [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [{**argument, "valueTwo": 0}]},
        {"names": ["rmdir"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]
    with pytest.raises(UsageError, match=r"^cannot read the seccomp profile '/nope': No such file or directory$"):
        seccomp_json.seccomp_section("/nope", 0)
