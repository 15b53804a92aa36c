"""Configs of foreign bundles: what is missing is filled in, what makes no sense is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiffin.cgroups.driver import CgroupPlan
from tiffin.cgroups.layout import Layout
from tiffin.errors import NotSupportedError, TiffinError, UsageError
from tiffin.oci import cgroups, devices, process, schema
from tiffin.oci.bundle import complete, complete_process, load_bundle
from tiffin.oci.compile import Bundle, compile_create
from tiffin.oci.main import main
from tiffin.oci.resources import v1_settings, v2_settings
from tiffin.oci.state import check_id
from tiffin.oci.template import config as template
from tiffin.runtime.compile import Confinement


def minimal(**changes: Any) -> dict[str, Any]:
    return {"ociVersion": "1.2.0", "root": {"path": "rootfs"}, **changes}


def load(tmp_path: Path, document: object) -> dict[str, Any]:
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_bundle(str(tmp_path))


def test_what_is_absent_is_filled_in(tmp_path: Path) -> None:
    config = load(tmp_path, minimal(process={"cwd": "/", "args": ["sh"], "user": None}))
    assert config["mounts"] == [] and config["hooks"] == {} and config["linux"]["namespaces"] == []
    process = config["process"]
    assert process["user"] == {"uid": 0, "gid": 0, "additionalGids": [], "umask": 0o022}
    assert process["capabilities"]["ambient"] == [] and process["noNewPrivileges"] is False


def test_what_nobody_knows_is_ignored(tmp_path: Path) -> None:
    config = load(tmp_path, minimal(newProperty={"a": 1}, linux={"newer": [1], "sysctl": {"net.x": "1"}}))
    assert "newProperty" not in config and config["linux"]["sysctl"] == {"net.x": "1"}


def test_the_template_passes_its_own_checks() -> None:
    for rootless in (False, True):
        assert (
            complete(schema.checked(template(rootless=rootless), schema.CONFIG, "config.json"))["process"]["cwd"] == "/"
        )


HOSTILE: list[tuple[object, str]] = [
    ("", "config.json is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("[]", "config.json is a list, not an object"),
    ("null", "config.json is null, not an object"),
    ('{"ociVersion": NaN}', "config.json is not JSON: NaN is no number of JSON's"),
    ("[" * 100_000, "config.json is nested too deeply"),
    (b"\xff", "config.json is not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ({}, "config.json: ociVersion is missing"),
    ({"ociVersion": 1}, "config.json: ociVersion is the number 1, not a string"),
    ({"ociVersion": "1.2.0"}, "config.json: root is missing"),
    (
        {"ociVersion": "latest", "root": {"path": "r"}},
        "config.json: ociVersion 'latest' is not a version such as 1.2.0",
    ),
    ({"ociVersion": "1.2", "root": {"path": "r"}}, "config.json: ociVersion '1.2' is not a version such as 1.2.0"),
    (minimal(root={}), "config.json: root.path is missing"),
    (minimal(root={"path": ""}), "config.json: root.path is empty"),
    (minimal(root={"path": "a\0b"}), "config.json: root.path has a NUL character in it"),
    (minimal(root={"path": "\udc80"}), "config.json: root.path has half a surrogate pair in it"),
    (
        minimal(root={"path": "r", "readonly": "yes"}),
        "config.json: root.readonly is the string 'yes', not true or false",
    ),
    (minimal(mounts={}), "config.json: mounts is an object, not a list"),
    (minimal(mounts=[{"type": "proc"}]), "config.json: mounts[0].destination is missing"),
    (
        minimal(mounts=[{"destination": "/p", "options": "ro"}]),
        "config.json: mounts[0].options is the string 'ro', not a list",
    ),
    (minimal(process={}), "config.json: process.cwd is missing"),
    (minimal(process={"cwd": "tmp"}), "config.json: process.cwd is not an absolute path: 'tmp'"),
    (minimal(process={"cwd": "/", "args": [1]}), "config.json: process.args[0] is the number 1, not a string"),
    (
        minimal(process={"cwd": "/", "user": {"uid": -1}}),
        "config.json: process.user.uid is -1, which is not within 0 and 4294967295",
    ),
    (
        minimal(process={"cwd": "/", "user": {"gid": 2**32 - 1}}),
        "config.json: process.user.gid is 4294967295, which means no user at all",
    ),
    (minimal(process={"cwd": "/", "user": {"uid": True}}), "config.json: process.user.uid is true, not a whole number"),
    (
        minimal(process={"cwd": "/", "oomScoreAdj": 1001}),
        "config.json: process.oomScoreAdj is 1001, which is not within -1000 and 1000",
    ),
    (
        minimal(process={"cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}),
        "config.json: process.rlimits[0] has a soft limit above its hard limit",
    ),
    (
        minimal(process={"cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2}),
        "config.json: process.rlimits[1] is a second RLIMIT_CPU",
    ),
    (minimal(hostname="x"), "config.json: hostname needs a uts namespace"),
    (minimal(annotations={"a": 1}), "config.json: annotations.a is the number 1, not a string"),
    (minimal(linux={"namespaces": [{"type": "disk"}]}), "config.json: linux.namespaces[0] has the unknown type 'disk'"),
    (
        minimal(linux={"namespaces": [{"type": "pid"}] * 2}),
        "config.json: linux.namespaces[1] is a second pid namespace",
    ),
    (
        minimal(linux={"namespaces": [{"type": "pid", "path": "ns"}]}),
        "config.json: linux.namespaces[0].path is not absolute: 'ns'",
    ),
    (
        minimal(linux={"namespaces": [{"type": "user"}]}),
        "config.json: a new user namespace needs linux.uidMappings and linux.gidMappings",
    ),
    (
        minimal(linux={"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}),
        "config.json: linux.uidMappings and linux.gidMappings need a user namespace",
    ),
    (
        minimal(linux={"timeOffsets": {"monotonic": {"secs": 1}}}),
        "config.json: linux.timeOffsets need a new time namespace",
    ),
    (
        minimal(linux={"namespaces": [{"type": "time"}], "timeOffsets": {"wall": {}}}),
        "config.json: linux.timeOffsets has the unknown clock 'wall'",
    ),
    (
        minimal(linux={"rootfsPropagation": "public"}),
        "config.json: linux.rootfsPropagation is 'public', which is no propagation",
    ),
    (minimal(linux={"maskedPaths": ["proc"]}), "config.json: linux.maskedPaths[0] is not an absolute path: 'proc'"),
    (minimal(hooks={"prestart": [{}]}), "config.json: hooks.prestart[0].path is missing"),
    (minimal(hooks={"poststop": [{"path": "true"}]}), "config.json: hooks.poststop[0].path is not absolute: 'true'"),
    (
        minimal(hooks={"poststop": [{"path": "/t", "timeout": 0}]}),
        "config.json: hooks.poststop[0].timeout is not greater than zero",
    ),
]


@pytest.mark.parametrize(("document", "message"), HOSTILE)
def test_hostile_config(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, document)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            minimal(ociVersion="2.0.0"),
            "config.json: ociVersion '2.0.0' is not supported: this runtime knows version 1",
        ),
        (
            minimal(windows={}),
            "config.json: windows is for another platform, and this is a runtime for Linux",
        ),
        (
            minimal(linux={"intelRdt": {"closID": "a"}}),
            "config.json: linux.intelRdt is not supported: cache allocation classes are not managed",
        ),
    ],
)
def test_what_is_not_supported(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(NotSupportedError) as caught:
        load(tmp_path, document)
    assert str(caught.value) == message


def test_a_huge_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config.json is larger than 16 MB"):
        load(tmp_path, b" " * ((16 << 20) + 1))
    with pytest.raises(UsageError, match=r"config.json: process.args\[0\] is longer than 1 MB"):
        load(tmp_path, minimal(process={"cwd": "/", "args": ["x" * ((1 << 20) + 1)]}))


def test_a_process_by_itself() -> None:
    process = schema.parse(b'{"cwd": "/", "args": ["id"]}', schema.PROCESS, "the process file")
    complete_process(process, "the process file", "")
    assert process["terminal"] is False
    with pytest.raises(UsageError, match="the process file: cwd is missing"):
        schema.parse(b"{}", schema.PROCESS, "the process file")


@pytest.mark.parametrize("text", ["", "a/b", "..", ".hidden", "a b", "x" * 1025, "\n"])
def test_ids_that_are_no_file_names(text: str) -> None:
    with pytest.raises(UsageError):
        check_id(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "unknown command 'nosuch' (see tiffin-runtime --help)"),
        (["create"], "create takes one argument, the container's ID"),
        (
            ["create", "--bundle", "/nonexistent", "x"],
            "cannot read config.json '/nonexistent/config.json': No such file or directory",
        ),
        (["create", "--no-pivot", "x"], "--no-pivot is not supported: there is always a pivot_root"),
        (["create", "--wat", "x"], "unknown flag: --wat (see tiffin-runtime create --help)"),
        (["--systemd-cgroup", "list"], "--systemd-cgroup is not supported: cgroups are made by cgroupfs alone"),
        (["--log-format", "xml", "list"], "unknown log-format 'xml': it is text or json"),
        (["state", "x"], 'container "x" does not exist'),
        (["state", "../x"], "invalid container id '../x': letters, digits, _ + - and . make one, and no . begins it"),
        (["start"], "start takes one argument, the container's ID"),
        (["kill", "x", "NOSIG"], "invalid signal: NOSIG"),
        (["delete", "x"], 'container "x" does not exist'),
        (["events", "x"], "events without --stats is not supported: ask again for each figure"),
        (["checkpoint", "x"], "checkpoint is not supported: processes cannot be saved and restored"),
        (["list", "--format", "yaml"], "invalid format 'yaml': it is table or json"),
    ],
)
def test_errors_go_to_both_places(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.json"
    assert main(["--root", str(tmp_path / "state"), "--log", str(log), "--log-format", "json", *words]) == 1 or (
        words[0] == "--log-format"
    )
    assert capsys.readouterr().err == f"tiffin-runtime: {message}\n"
    if words[0] != "--log-format":
        record = json.loads(log.read_text())
        assert (record["level"], record["msg"]) == ("error", message)


def test_forced_delete_of_nothing_is_fine(tmp_path: Path) -> None:
    assert main(["--root", str(tmp_path), "delete", "--force", "x"]) == 0


def test_version_and_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("tiffin-runtime version ") and second == "spec: 1.2.0"
    assert main(["features"]) == 0
    features = json.loads(capsys.readouterr().out)
    assert features["ociVersionMax"] == "1.2.0" and "createContainer" in features["hooks"]
    assert "SCMP_ARCH_X86_64" in features["linux"]["seccomp"]["archs"] or features["linux"]["seccomp"]["archs"]
    assert {"rbind", "rro", "tmpcopyup"} <= set(features["mountOptions"])


FULL: dict[str, Any] = {
    **template(rootless=True),
    "hooks": {"createContainer": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}]},
    "annotations": {"a": "b"},
}
FULL["process"] = {
    **FULL["process"],
    "consoleSize": {"height": 1, "width": 2},
    "oomScoreAdj": 1,
    "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"], "runtime": 1},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
    "execCPUAffinity": {"initial": "0", "final": "0"},
}
FULL["linux"] = {
    **FULL["linux"],
    "cgroupsPath": "/a/b",
    "devices": [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}],
    "resources": {
        "devices": [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}],
        "memory": {"limit": 1 << 30, "swap": 1 << 31, "swappiness": 1},
        "cpu": {"shares": 2, "quota": 1000, "period": 1000, "cpus": "0"},
        "pids": {"limit": 5},
        "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 1, "minor": 1, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"x": {"hcaHandles": 1}},
        "unified": {"memory.high": "1"},
    },
    "sysctl": {"net.x": "1"},
    "rootfsPropagation": "slave",
    "personality": {"domain": "LINUX"},
    "seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": [],
        "syscalls": [
            {
                "names": ["reboot"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 1,
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
            }
        ],
    },
}
ODD: tuple[object, ...] = (-1, 1 << 70, 1.5, True, "", "x", "../..", "a\nb", [], [1], ["x"], {}, {"a": 1}, [[]], None)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("path", places(FULL), ids=lambda path: ".".join(map(str, path)))
def test_any_value_in_any_place_is_taken_or_refused_in_words(path: tuple[Any, ...]) -> None:
    for new in ODD:
        try:
            config = complete(schema.checked(replaced(FULL, path, new), schema.CONFIG, "config.json"))
            cgroups.place(config["linux"].get("cgroupsPath", ""), "id")
            resources = config["linux"]["resources"]
            devices.rules(resources)
            for settings in (v1_settings, v2_settings):
                try:
                    settings(resources, lambda *_: True)
                except NotSupportedError:
                    continue
            wanted = config.get("process")
            if wanted:
                process.known_capabilities(wanted, (1 << 41) - 1, lambda _: None)
            plan = compile_create(
                config,
                Bundle(path="/b", root="/b/r", root_parent_mount="/", start_fifo="/s", result_fifo="/r"),
                cgroup=CgroupPlan(),
                cgroups=cgroups.Cgroups("x", Layout(version=2, unified="/cg")),
                confinement=Confinement(seccomp=process.seccomp_filter(config, wanted, None) if wanted else None),
                warn=lambda _: None,
            )
            bytes(plan)
        except TiffinError:
            continue  # anything else is a failure
