"""Descriptions of devices: what they say, what is wrong with them, which one counts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tiffin.cgroups.devices import DeviceNode, DeviceRule, device_rules
from tiffin.containers import device_requests
from tiffin.errors import NotSupportedError, UsageError
from tiffin.runtime import cdi
from tiffin.runtime.cdi import Edits, HookEdit, MountEdit, NodeEdit
from tiffin.runtime.cdi_files import MAX_BYTES, parse, read, read_all
from tiffin.runtime.users import Identity

ONE = [{"name": "one", "containerEdits": {"env": ["A=1"]}}]


def text(**fields: Any) -> dict[str, Any]:
    return {"cdiVersion": "0.8.0", "kind": "vendor.com/class", "devices": ONE, **fields}


def with_edits(**edits: Any) -> dict[str, Any]:
    return text(cdiVersion="1.1.0", devices=[{"name": "one", "containerEdits": edits}])


def write(directory: Path, name: str, value: object) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(value))


def test_everything_a_description_can_say() -> None:
    found = parse(
        text(
            cdiVersion="v1.1.0",
            annotations={"a": "b"},
            containerEdits={"env": ["ALL=a=b"], "mounts": None},
            devices=[
                {
                    "name": "0:one",
                    "annotations": {},
                    "containerEdits": {
                        "deviceNodes": [
                            {"path": "/dev/x/../y"},
                            {"path": "/dev/z", "hostPath": "/dev/null", "type": "u", "major": 1, "minor": 3,
                             "fileMode": 0o600, "permissions": "wr", "uid": 1, "gid": 0},
                            {"path": "/dev/n", "permissions": "none"},
                        ],
                        "mounts": [
                            {"hostPath": "/lib//v", "containerPath": "//lib/v/", "options": ["ro", "bind"]},
                            {"hostPath": "/lib", "containerPath": "/m", "type": "none"},
                            {"hostPath": "proc", "containerPath": "/p", "type": "proc"},
                        ],
                        "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h", ""], "env": ["A="],
                                   "timeout": 3}],
                        "additionalGids": [0, 5],
                        "intelRdt": {"closID": "c"},
                        "netDevices": [{"hostInterfaceName": "a", "name": "b"}],
                    },
                }
            ],
        ),
        "/etc/cdi/x.json",
    )  # fmt: skip
    assert found == cdi.Description(
        path="/etc/cdi/x.json",
        kind="vendor.com/class",
        edits=Edits(env=("ALL=a=b",)),
        devices=(
            (
                "0:one",
                Edits(
                    nodes=(
                        NodeEdit(path="/dev/y", host_path="/dev/y"),
                        NodeEdit(path="/dev/z", host_path="/dev/null", type="c", major=1, minor=3, mode=0o600,
                                 access="rw", uid=1, gid=0),
                        NodeEdit(path="/dev/n", host_path="/dev/n", access=""),
                    ),
                    mounts=(
                        MountEdit(source="/lib/v", target="/lib/v", type="bind", options=("ro", "bind")),
                        MountEdit(source="/lib", target="/m", type="bind", options=("rbind",)),
                        MountEdit(source="proc", target="/p", type="proc", options=()),
                    ),
                    hooks=(HookEdit(point="createContainer", path="/h", args=("h", ""), env=("A=",), timeout_s=3),),
                    groups=(5,),
                    net_devices=True,
                    intel_rdt=True,
                ),
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "the description is no object"),
        ({}, "the description: cdiVersion is missing"),
        (text(cdiVersion=1), "the description: cdiVersion is no text"),
        (text(cdiVersion="9.0.0"), "cdiVersion '9.0.0' is unknown; known are 0.3.0 to 1.1.0"),
        (text(more=1), "the description has the unknown field 'more'"),
        (text(kind=None), "the description: kind is missing"),
        (text(kind="vendor.com"), "kind 'vendor.com' is not VENDOR/CLASS"),
        (text(kind="vendor.com/a/b"), "kind 'vendor.com/a/b' is not VENDOR/CLASS"),
        (text(kind="-v/c"), "kind '-v/c' is not VENDOR/CLASS"),
        (text(kind="v/c\u0660"), "kind 'v/c\u0660' is not VENDOR/CLASS"),
        (text(devices=None), "it has no devices"),
        (text(devices={}), "the description: devices is no list"),
        (text(devices=["x"]), "device 0 is no object"),
        (text(devices=[{"name": "a_"}]), "the device name 'a_' is invalid"),
        (text(devices=ONE * 2), "the device 'one' is there twice"),
        (text(devices=[{"name": "a", "containerEdits": {}}]), "the device 'a' has no containerEdits"),
        (text(annotations={"a": 1}), "the description: annotations are no texts by name"),
        (text(cdiVersion="0.5.0", kind="v/a.b"),
         "cdiVersion 0.5.0 has not all that it uses: that needs at least 0.6.0"),
        (text(cdiVersion="0.6.0", containerEdits={"additionalGids": [1]}),
         "cdiVersion 0.6.0 has not all that it uses: that needs at least 0.7.0"),
        (with_edits(env=["=x"]), "containerEdits of device 'one': '=x' in env is not NAME=VALUE"),
        (with_edits(env=["A=\0"]), "containerEdits of device 'one': env is no list of texts"),
        (with_edits(env=["A=\ud800"]), "containerEdits of device 'one': env is no list of texts"),
        (with_edits(env="A=1"), "containerEdits of device 'one': env is no list"),
        (with_edits(deviceNodes=[{}]), "a device node of device 'one': path is missing"),
        (with_edits(deviceNodes=[{"path": "dev"}]),
         "a device node of device 'one': path 'dev' is not an absolute path"),
        (with_edits(deviceNodes=[{"path": "/d", "type": "s"}]),
         "a device node of device 'one': type 's' is none of b, c, u and p"),
        (with_edits(deviceNodes=[{"path": "/d", "permissions": "x"}]),
         "a device node of device 'one': permissions 'x' are not of r, w and m"),
        (with_edits(deviceNodes=[{"path": "/d", "major": -1}]),
         "a device node of device 'one': major is no whole number from 0 to 4095"),
        (with_edits(deviceNodes=[{"path": "/d", "minor": 1 << 20}]),
         "a device node of device 'one': minor is no whole number from 0 to 1048575"),
        (with_edits(deviceNodes=[{"path": "/d", "uid": True}]),
         "a device node of device 'one': uid is no whole number from 0 to 4294967294"),
        (with_edits(deviceNodes=[{"path": "/d", "fileMode": 0o20666}]),
         "a device node of device 'one': fileMode is no whole number from 0 to 4095"),
        (with_edits(mounts=[{"containerPath": "/x"}]), "a mount of device 'one': hostPath is missing"),
        (with_edits(mounts=[{"hostPath": "x", "containerPath": "/x", "options": ["bind"]}]),
         "a mount of device 'one': hostPath 'x' is not an absolute path"),
        (with_edits(mounts=[{"hostPath": "/x", "containerPath": "/a/.."}]),
         "a mount of device 'one': nothing can be mounted on /"),
        (with_edits(mounts=[{"hostPath": "/x", "containerPath": "/x", "options": ["bind", "foo"]}]),
         "a mount of device 'one': unknown bind mount option 'foo' for /x"),
        (with_edits(mounts=[{"hostPath": "/x", "containerPath": "/x", "options": ["remount"]}]),
         "a mount of device 'one': the mount option 'remount' for /x is for mounts that are there already"),
        (with_edits(hooks=[{"hookName": "x", "path": "/h"}]),
         "a hook of device 'one': hookName 'x' is none of prestart, createRuntime, createContainer, startContainer, "
         "poststart, poststop"),
        (with_edits(hooks=[{"hookName": "poststop", "path": "h"}]),
         "a hook of device 'one': path 'h' is not an absolute path"),
        (with_edits(hooks=[{"hookName": "poststop", "path": "/h", "timeout": 0}]),
         "a hook of device 'one': timeout 0 is no time"),
        (with_edits(additionalGids=["5"]), "containerEdits of device 'one': '5' in additionalGids is no group"),
        (with_edits(intelRdt=[]), "intelRdt of device 'one' is no object"),
        (with_edits(surprise=1), "containerEdits of device 'one' has the unknown field 'surprise'"),
    ],
)  # fmt: skip
def test_what_is_no_description(value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(value, "x.json")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff", "is no JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[" * 200_000, "is no JSON: "),
        (b" " * (MAX_BYTES + 1), f"is larger than {MAX_BYTES} bytes"),
        (b"1" * 5000, "is no JSON: "),
    ],
)
def test_hostile_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        read(str(path))
    assert str(caught.value).startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "dir.json").mkdir()
    (tmp_path / "gone.json").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("{")
    found = read_all([str(tmp_path), str(tmp_path / "missing"), str(tmp_path / "notes.txt")])
    assert (found.devices, found.clashes) == ({}, {})
    assert found.problems == (
        f"{tmp_path}/dir.json: cannot be read: Is a directory",
        f"{tmp_path}/fifo.json: is no JSON: Expecting value: line 1 column 1 (char 0)",
        f"{tmp_path}/gone.json: cannot be read: No such file or directory",
        f"cannot read {tmp_path}/notes.txt: Not a directory",
    )


def test_yaml_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text("cdiVersion: 0.8.0\nkind: v.com/c\ndevices: []\n")
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if it were not installed
    with pytest.raises(UsageError) as caught:
        cdi.resolve(["v.com/c=one"], [], [str(tmp_path)])
    assert caught.value.message == "CDI device injection failed: unresolvable CDI devices v.com/c=one"
    assert caught.value.hint == (
        f"{tmp_path}/x.yaml: is YAML, which needs the Python package PyYAML; install that, or have the description "
        "written as JSON"
    )


def test_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "x.yaml"
    path.write_text(
        'cdiVersion: "0.5.0"\nkind: v.com/c\ndevices:\n- name: "0"\n  containerEdits:\n    deviceNodes:\n'
        "    - {path: /dev/x, fileMode: 0666}\n"
    )
    edits = Edits(nodes=(NodeEdit(path="/dev/x", host_path="/dev/x", mode=0o666),))
    assert read(str(path)).devices == (("0", edits),)
    for bad in ("{", "a: *b", "[" * 5000, "? {a: b}\n: c", "x: 2001-99-99"):
        path.write_text(bad)
        with pytest.raises(ValueError, match=r"^is no YAML: |has the unknown field"):
            read(str(path))


def test_the_later_directory_counts_and_the_same_one_clashes(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    write(low, "a.json", text())
    write(low, "b.json", text())
    found = read_all([str(low)])
    assert (found.devices, found.clashes) == ({}, {"vendor.com/class=one": (f"{low}/a.json", f"{low}/b.json")})
    write(high, "c.json", text(devices=[{"name": "one", "containerEdits": {"env": ["A=2"]}}]))
    assert cdi.resolve(["vendor.com/class=one"], [], [str(low), str(high)]) == Edits(env=("A=2",))
    found = read_all([str(high), str(low)])
    assert list(found.clashes) == ["vendor.com/class=one"] and not found.devices


def test_edits_are_merged_each_description_once(tmp_path: Path) -> None:
    devices = [{"name": name, "containerEdits": {"env": [f"{name}=1"]}} for name in ("a", "b")]
    write(tmp_path, "x.json", text(devices=devices, containerEdits={"env": ["ALL=1"], "additionalGids": [7]}))
    names = [f"vendor.com/class={name}" for name in ("b", "a", "b")]
    assert cdi.resolve(names, [], [str(tmp_path)]) == Edits(env=("ALL=1", "b=1", "a=1"), groups=(7,))


@pytest.mark.parametrize("name", ["", "a", "a/b", "a/b=", "/b=c", "a/=c", "a/b=c/d", "a b/c=d", "a/b=c\n", "a/b=-"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        cdi.resolve([name], [], [])
    assert caught.value.message == f"invalid CDI device name {name!r}"


def test_several_unknown_devices_and_no_gpu() -> None:
    with pytest.raises(UsageError) as caught:
        cdi.resolve(["a/b=c", "a/b=d"], [], ["/no/such"])
    assert caught.value.message == "CDI device injection failed: unresolvable CDI devices a/b=c, a/b=d"
    with pytest.raises(UsageError) as caught:
        cdi.resolve([], ["all"], ["/no/such"])
    assert caught.value.message == 'could not select device driver "" with capabilities: [[gpu]]'


def test_what_tiffin_does_not_do(tmp_path: Path) -> None:
    write(tmp_path, "x.json", with_edits(intelRdt={"closID": "x"}))
    with pytest.raises(NotSupportedError):
        cdi.resolve(["vendor.com/class=one"], [], [str(tmp_path)])


def nodes(*edits: NodeEdit) -> tuple[DeviceNode, ...]:
    return device_requests.with_nodes((), Edits(nodes=edits), Identity(uid=1, gid=2))


def test_what_is_missing_comes_from_the_host() -> None:
    null = os.stat("/dev/null")
    (found,) = nodes(NodeEdit(path="/dev/x", host_path="/dev/null", access="r"))
    assert found == DeviceNode(
        path="/dev/x", type="c", rdev=null.st_rdev, mode=null.st_mode & 0o7777, uid=1, gid=2, access="r"
    )
    (found,) = nodes(NodeEdit(path="/dev/x", host_path="/no/such", type="b", major=7, minor=1, uid=0, gid=0))
    assert found == DeviceNode(path="/dev/x", type="b", rdev=os.makedev(7, 1), mode=0o666, uid=0, gid=0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (NodeEdit(path="/dev/x", host_path="/no/such"),
         'failed to stat CDI host device "/no/such": no such file or directory'),
        (NodeEdit(path="/dev/x", host_path="/etc"), 'failed to stat CDI host device "/etc": not a device node'),
        (NodeEdit(path="/dev/x", host_path="/dev/null", type="b"),
         'CDI device ("/dev/x", "/dev/null"), host type mismatch (b, c)'),
    ],
)  # fmt: skip
def test_nodes_that_cannot_be(edit: NodeEdit, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        nodes(edit)
    assert caught.value.message == f"CDI device injection failed: failed to inject devices: {message}"


def test_no_rule_for_a_fifo_and_for_no_access() -> None:
    made = nodes(
        NodeEdit(path="/dev/p", host_path="/no/such", type="p"),
        NodeEdit(path="/dev/n", host_path="/no/such", type="c", major=10, minor=1, access=""),
        NodeEdit(path="/dev/c", host_path="/no/such", type="c", major=10, minor=2, access="rw"),
    )
    assert set(device_rules(made)) - set(device_rules()) == {DeviceRule(type="c", major=10, minor=2, access="rw")}
