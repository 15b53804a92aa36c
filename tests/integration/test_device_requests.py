"""Devices by the name that a vendor gives them: what a description says is there inside, and usable."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tiffin as library
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import ContainerConfig, Device

if TYPE_CHECKING:
    from integration.conftest import Runner

V1 = os.path.isdir("/sys/fs/cgroup/devices")


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A directory with a description: /dev/fuse (10:229, which no default rule allows) and others, by other names."""
    directory = tmp_path / "cdi"
    directory.mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libvendor.so").write_text("the library\n")
    (tmp_path / "lib" / "libvendor.so").chmod(0o644)
    (tmp_path / "lib").chmod(0o755)
    write(
        directory / "vendor.json",
        {
            "containerEdits": {
                "env": ["VENDOR_ALL=yes"],
                "mounts": [
                    {
                        "hostPath": str(tmp_path / "lib"),
                        "containerPath": "/opt/vendor/lib",
                        "options": ["ro", "nosuid", "nodev", "bind"],
                    },
                    {"hostPath": "tmpfs", "containerPath": "/opt/vendor", "type": "tmpfs", "options": ["size=64k"]},
                ],
            },
            "devices": [
                {
                    "name": "log",
                    "containerEdits": {
                        "env": ["VENDOR_LOG=1", "PATH=/bin"],
                        "deviceNodes": [{"path": "/dev/vendor/log", "hostPath": "/dev/fuse", "permissions": "rw"}],
                        "additionalGids": [0, 4242],
                    },
                },
                {
                    "name": "full",
                    "containerEdits": {
                        "deviceNodes": [
                            {"path": "/dev/vendor/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640,
                             "uid": 5, "gid": 7},
                            {"path": "/dev/vendor/fifo", "type": "p", "fileMode": 0o600},
                            {"path": "/dev/vendor/forbidden", "hostPath": "/dev/fuse", "permissions": "none"},
                        ]
                    },
                },
            ],
        },
    )  # fmt: skip
    return directory


def write(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps({"cdiVersion": "0.8.0", "kind": "vendor.example/box", **fields}))


def run(tiffin: Runner, described: Path, *words: str) -> tuple[int, str, str]:
    result = tiffin("--cdi-spec-dir", str(described), "run", "--rm", *words)
    return result.code, result.out, result.err


SHOWN = (
    "stat -c '%n %t:%T %a %u:%g' /dev/vendor/log; : < /dev/vendor/log && echo readable; "
    "echo $VENDOR_ALL $VENDOR_LOG $PATH; cat /opt/vendor/lib/*; touch /opt/vendor/lib/x; id -G"
)


def test_a_described_device_is_usable(tiffin: Runner, busybox: str, described: Path) -> None:
    code, out, err = run(tiffin, described, "--device", "vendor.example/box=log", "-u", "1000:1000", busybox,
                         "sh", "-c", SHOWN)  # fmt: skip
    mode = f"{os.stat('/dev/fuse').st_mode & 0o7777:o}"
    assert (code, out.splitlines()) == (
        0,
        [f"/dev/vendor/log a:e5 {mode} 1000:1000", "readable", "yes 1 /bin", "the library", "1000 4242"],
    )
    assert err == "touch: /opt/vendor/lib/x: Read-only file system\n"


def test_nodes_as_they_are_described(tiffin: Runner, busybox: str, described: Path) -> None:
    script = "cd /dev/vendor; stat -c '%n %F %t:%T %a %u:%g' *; cat forbidden; echo x > full; test -p fifo; echo $?"
    code, out, err = run(tiffin, described, "--device=vendor.example/box=full", busybox, "sh", "-c", script)
    mode = f"{os.stat('/dev/fuse').st_mode & 0o7777:o}"
    assert (code, out.splitlines()) == (
        0,
        [
            "fifo fifo 0:0 600 0:0",
            f"forbidden character special file a:e5 {mode} 0:0",
            "full character special file 1:7 640 5:7",
            "0",
        ],
    )
    assert err.splitlines() == [
        "cat: can't open 'forbidden': Operation not permitted",
        "sh: write error: No space left on device",
    ]


@pytest.mark.skipif(not V1, reason="the devices of cgroup v2 are a program, which has no text")
def test_the_rule_of_the_cgroup(tiffin: Runner, busybox: str, described: Path) -> None:
    script = "cat /sys/fs/cgroup/devices/devices.list"
    _, plain, _ = run(tiffin, described, busybox, "sh", "-c", script)
    _, given, _ = run(tiffin, described, "--device=vendor.example/box=log", busybox, "sh", "-c", script)
    assert set(given.splitlines()) - set(plain.splitlines()) == {"c 10:229 rw"}


def test_in_a_user_namespace(tiffin: Runner, busybox: str, described: Path) -> None:
    words = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--device=vendor.example/box=log", busybox)
    script = "stat -c '%u:%g' /dev/vendor/log; : < /dev/vendor/log && echo readable; cat /opt/*/*/*"
    code, out, err = run(tiffin, described, *words, "sh", "-c", script)
    assert (code, out, err) == (0, "0:0\nreadable\nthe library\n", "")


def test_privileged_has_it_too(tiffin: Runner, busybox: str, described: Path) -> None:
    script = ": < /dev/vendor/log && cat /opt/vendor/lib/*"
    code, out, err = run(tiffin, described, "--privileged", "--device=vendor.example/box=log", busybox, "sh", "-c",
                         script)  # fmt: skip
    assert (code, out) == (0, "the library\n"), err


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_with_another_runtime(tiffin: Runner, busybox: str, described: Path, runtime: str) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    words = ("--device", "vendor.example/box=log", "-u", "1000:1000", busybox, "sh", "-c", SHOWN)
    assert run(tiffin, described, "--runtime", runtime, *words) == run(tiffin, described, *words)


def test_hooks_are_for_other_runtimes(tiffin: Runner, busybox: str, described: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hook = {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", f"echo $A > {mark}"], "env": ["A=b"]}
    write(described / "hooked.json", {"devices": [{"name": "hooked", "containerEdits": {"hooks": [hook]}}]})
    words = ("--device=vendor.example/box=hooked", busybox, "true")
    assert run(tiffin, described, *words) == (
        125,
        "",
        "tiffin: the devices vendor.example/box=hooked are not supported yet: their description has hooks, such as "
        "/bin/sh\n--runtime crun or runc runs them\n",
    )
    if shutil.which("runc"):
        assert run(tiffin, described, "--runtime=runc", *words) == (0, "", "")
        assert mark.read_text() == "b\n"


def test_unknown_and_ambiguous(engine_root: str, busybox: str, described: Path, tmp_path: Path) -> None:
    del busybox
    devices = [{"name": "twin", "containerEdits": {"env": ["A=1"]}}]
    for name in ("a.json", "b.json"):
        write(described / name, {"devices": devices})
    with library.Engine(engine_root, cdi_dirs=[str(described)]) as engine:
        for name, hint in (
            ("none", "described are vendor.example/box=full, vendor.example/box=log"),
            ("twin", f"{described}/a.json and {described}/b.json both describe vendor.example/box=twin"),
        ):
            asked = ContainerConfig(image="busybox", device_requests=(f"vendor.example/box={name}",))
            with pytest.raises(UsageError) as caught:
                engine.create(asked)
            assert caught.value.message == (
                f"CDI device injection failed: unresolvable CDI devices vendor.example/box={name}"
            )
            assert caught.value.hint == hint
        assert engine.containers(all=True) == []
    later = tmp_path / "later"
    later.mkdir()
    write(later / "c.json", {"devices": devices})
    with library.Engine(engine_root, cdi_dirs=[str(described), str(later)]) as engine:
        assert engine.run("busybox", ["sh", "-c", "echo $A"], device_requests=("vendor.example/box=twin",)).stdout == (
            "1\n"
        )


def test_a_device_that_is_gone_at_the_start(tiffin: Runner, busybox: str, described: Path) -> None:
    dirs = ("--cdi-spec-dir", str(described))
    tiffin.ok(*dirs, "create", "--name", "box", "--device", "vendor.example/box=log", busybox, "true")
    (described / "vendor.json").unlink()
    result = tiffin(*dirs, "start", "box")
    assert (result.code, result.err) == (
        1,
        "tiffin: CDI device injection failed: unresolvable CDI devices vendor.example/box=log\n"
        f"nothing in {described} describes such devices\n",
    )
    write(described / "again.json", {"devices": [{"name": "log", "containerEdits": {"env": ["A=1"]}}]})
    assert tiffin.ok(*dirs, "start", "-a", "box") == ""


def test_a_restart_finds_the_same_directories(tiffin: Runner, busybox: str, described: Path) -> None:
    script = "cat /opt/vendor/lib/*; exit 3"
    words = (
        "--restart",
        "on-failure:1",
        "--name",
        "box",
        "--device=vendor.example/box=log",
        busybox,
        "sh",
        "-c",
        script,
    )
    tiffin.ok("--cdi-spec-dir", str(described), "run", "-d", *words)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and tiffin.ok("logs", "box").count("the library") < 2:
        time.sleep(0.1)
    assert tiffin.ok("logs", "box") == "the library\nthe library"


def test_gpus(tiffin: Runner, busybox: str, described: Path) -> None:
    code, out, err = run(tiffin, described, "--gpus", "all", busybox, "true")
    assert (code, out) == (125, "")
    assert err == (
        'tiffin: could not select device driver "" with capabilities: [[gpu]]\n'
        f"nothing in {described} describes such devices\n"
    )
    fields = {"kind": "nvidia.com/gpu", "cdiVersion": "0.5.0"}
    devices = [{"name": name, "containerEdits": {"env": [f"GPU_{name}=1"]}} for name in ("0", "1", "all")]
    write(described / "nvidia.json", {**fields, "devices": devices})
    for words, expected in (("all", "GPU_all=1"), ("1", "GPU_0=1"), ("2", "GPU_0=1 GPU_1=1"), ("device=1", "GPU_1=1"),
                            ('"device=0,1"', "GPU_0=1 GPU_1=1"), ("0", "")):  # fmt: skip
        found = run(tiffin, described, "--gpus", words, busybox, "sh", "-c", "echo $(env | grep GPU | sort)")
        assert found == (0, f"{expected}\n", "")
    assert run(tiffin, described, "--gpus", "3", busybox, "true")[2] == (
        "tiffin: CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=2\n"
        "described are nvidia.com/gpu=0, nvidia.com/gpu=1, nvidia.com/gpu=all\n"
    )


def test_inspect_and_info(engine_root: str, busybox: str, described: Path) -> None:
    del busybox
    write(described / "nvidia.json", {
        "kind": "nvidia.com/gpu", "devices": [{"name": "all", "containerEdits": {"env": ["A=1"]}}]})  # fmt: skip
    with library.Engine(engine_root, cdi_dirs=[str(described)]) as engine:
        assert engine.info()["CDISpecDirs"] == [str(described)]
        names = ("vendor.example/box=log", "vendor.example/box=full")
        made = engine.create(ContainerConfig(image="busybox", device_requests=names, gpus=("all",)))
        assert engine.inspect_container(made.id)["HostConfig"]["DeviceRequests"] == [
            {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}},
            {"Driver": "cdi", "Count": 0, "DeviceIDs": list(names), "Capabilities": None, "Options": None},
        ]
    with library.Engine(engine_root) as engine:
        assert engine.info()["CDISpecDirs"] == ["/etc/cdi", "/var/run/cdi"]


def test_the_description_counts_where_both_name_a_place(engine_root: str, described: Path, busybox: str) -> None:
    del busybox
    with library.Engine(engine_root, cdi_dirs=[str(described)]) as engine:
        done = engine.run(
            "busybox",
            ["sh", "-c", "stat -c %t:%T /dev/vendor/log; echo $VENDOR_LOG"],
            device_requests=("vendor.example/box=log",),
            devices=(Device(host_path="/dev/null", container_path="/dev/vendor/log"),),
            env=("VENDOR_LOG=mine",),
        )
    assert done.stdout == "a:e5\n1\n"


def test_what_is_not_done(engine_root: str, busybox: str, described: Path) -> None:
    del busybox
    write(described / "net.json", {"cdiVersion": "1.1.0", "devices": [
        {"name": "nic", "containerEdits": {"netDevices": [{"hostInterfaceName": "e0", "name": "e1"}]}},
        {"name": "rdt", "containerEdits": {"intelRdt": {"closID": "x"}}},
    ]})  # fmt: skip
    with library.Engine(engine_root, cdi_dirs=[str(described)]) as engine:
        for name, what in (("nic", "moves a network interface inside"),
                           ("rdt", "sets shares of caches and memory bandwidth (intelRdt)")):  # fmt: skip
            with pytest.raises(NotSupportedError) as caught:
                engine.create(ContainerConfig(image="busybox", device_requests=(f"vendor.example/box={name}",)))
            assert caught.value.message == (
                f"the device vendor.example/box={name} is not supported yet: its description "
                f"{described}/net.json {what}"
            )
