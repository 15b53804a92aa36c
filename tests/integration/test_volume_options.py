"""Volumes that are mounts: the driver `local` with its options, mounted where containers are and nowhere else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from tiffin.errors import UsageError
from tiffin.model.container import Mount
from tiffin.volumes import options

if TYPE_CHECKING:
    from integration.conftest import Runner

TMPFS = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000,mode=750,noexec")


def host_mounts() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return file.read()


def test_a_tmpfs_is_shared_while_somebody_has_it(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("volume", "create", *TMPFS, "fast")
    (facts,) = json.loads(tiffin.ok("volume", "inspect", "fast"))
    assert facts["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=750,noexec"}
    tiffin.ok("run", "-d", "--name", "one", "-v", "fast:/one", busybox, "sh", "-c", "echo 1 > /one/file; sleep 60")
    for _ in range(50):
        if tiffin("exec", "one", "test", "-s", "/one/file").code == 0:
            break
        time.sleep(0.05)
    look = "cat /two/file; stat -c '%u %a' /two; grep ' /two ' /proc/mounts | cut -d' ' -f1,3,4; echo 2 > /two/other"
    assert tiffin.ok("run", "--rm", "-v", "fast:/two", busybox, "sh", "-c", look).splitlines() == [
        "1", "1000 750", "tmpfs tmpfs rw,noexec,relatime,size=1024k,mode=750,uid=1000",
    ]  # fmt: skip
    assert tiffin.ok("exec", "one", "cat", "/one/other") == "2"
    refused = tiffin("run", "--rm", "-v", "fast:/two:ro", busybox, "touch", "/two/x")
    assert refused.err == "touch: /two/x: Read-only file system\n"
    tiffin.ok("exec", "one", "touch", "/one/still-writable")
    assert "fast" not in host_mounts()
    # With the last container it is gone, as with any other tmpfs.
    tiffin.ok("rm", "-f", "one")
    assert tiffin.ok("run", "--rm", "-v", "fast:/two", busybox, "ls", "/two") == ""
    tiffin.ok("volume", "rm", "fast")


def test_two_that_start_at_once_share_it(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("volume", "create", *TMPFS, "fast")
    script = "echo $1 > /fast/$1; while [ ! -e /fast/a -o ! -e /fast/b ]; do sleep 0.05; done"
    started = [
        tiffin.start("run", "--rm", "-v", "fast:/fast", busybox, "timeout", "20", "sh", "-c", script, "sh", name)
        for name in "ab"
    ]
    assert [process.wait(60) for process in started] == [0, 0]


def test_what_covers_it_is_not_taken_for_it(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("volume", "create", *TMPFS, "fast")
    script = "umount /fast; mkdir /there; while :; do sleep 1; done"
    tiffin.ok(
        "run", "-d", "--name", "one", "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined",
        "-v", "fast:/fast", busybox, "sh", "-c", script,
    )  # fmt: skip
    for _ in range(50):
        if tiffin("exec", "one", "test", "-d", "/there").code == 0:
            break
        time.sleep(0.05)
    assert tiffin.ok("run", "--rm", "-v", "fast:/two", busybox, "ls", "/two") == "", "a new one of its own"


def test_another_name_of_a_directory(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("outside\n")
    tiffin.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}", "data")
    assert tiffin.ok("run", "--name", "web", "-v", "data:/d", busybox, "cat", "/d/file") == "outside"
    refused = tiffin("volume", "rm", "data")
    container_id = tiffin.ok("inspect", "-f", "{{.Id}}", "web")
    assert refused.err.splitlines()[0] == f"tiffin: remove data: volume is in use - [{container_id}]"
    tiffin.ok("rm", "web")
    tiffin.ok("volume", "rm", "data")
    assert (tmp_path / "file").read_text() == "outside\n", "it was never the volume's own"


def test_options_with_the_mount(tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    words = f"type=volume,src=data,dst=/d,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={tmp_path}"
    tiffin.ok("run", "--rm", "--mount", words, busybox, "touch", "/d/made")
    assert (tmp_path / "made").exists()
    (facts,) = json.loads(tiffin.ok("volume", "inspect", "data"))
    assert facts["Options"] == {"type": "none", "o": "bind", "device": str(tmp_path)}
    # As Docker: a volume that is there keeps its options, and nobody says a word.
    other = "type=volume,src=data,dst=/d,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    assert tiffin.ok("run", "--rm", "--mount", other, busybox, "ls", "/d") == "made"
    # An anonymous one has options, too, and goes with its container.
    anonymous = "type=volume,dst=/d,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=64k"
    shown = tiffin.ok("run", "--rm", "--mount", anonymous, busybox, "grep", " /d ", "/proc/mounts")
    assert shown == "tmpfs /d tmpfs rw,relatime,size=64k 0 0"
    assert tiffin.ok("volume", "ls", "-q") == "data"


@pytest.mark.parametrize(
    ("words", "what", "reason"),
    [
        ("type=none o=bind device=/no/such", "mount /no/such:{place}", "No such file or directory"),
        ("type=nfs o=addr=127.0.0.1,vers=4 device=:/x", "mount :/x:{place}, data: addr=127.0.0.1,vers=4", None),
        ("type=tmpfs o=size=foo device=tmpfs", "mount tmpfs:{place}, data: size=foo", "Invalid argument"),
        ("type=nosuch device=x", "mount x:{place}", "No such device"),
        ("type=ext4 device=/etc/hostname", "mount /etc/hostname:{place}", "Block device required"),
    ],
)
def test_mounts_that_fail(
    tiffin: Runner, busybox: str, engine_root: str, words: str, what: str, reason: str | None
) -> None:
    tiffin.ok("volume", "create", *(part for word in words.split() for part in ("-o", word)), "data")
    refused = tiffin("run", "--rm", "-v", "data:/d", busybox)
    place = f"{engine_root}/volumes/data/_data"
    expected = f"tiffin: cannot mount volume '{place}': failed to mount local volume: {what.format(place=place)}: "
    assert refused.code == 125 and refused.err.startswith(expected)
    assert reason is None or refused.err.splitlines()[0] == expected + reason


def test_what_a_list_of_options_means() -> None:
    assert options.parse("rbind,ro,noexec") == (0x1000 | 0x4000 | 1 | 8, "")
    assert options.parse("size=1m,rw,uid=5,,defaults") == (0, "size=1m,uid=5")
    assert options.parse("ro,rw") == (0, "")


def test_a_server_by_name(monkeypatch: pytest.MonkeyPatch, engine: package.Engine) -> None:
    volume = Mount(
        type="volume", source="share", target="/s",
        volume_options=(("device", ":/x"), ("o", "addr=localhost,ro"), ("type", "nfs")),
    )  # fmt: skip
    step = options.step(engine._parts.paths, volume)
    assert step is not None and step.flags == 1 and step.data in ("addr=127.0.0.1", "addr=::1")
    with pytest.raises(UsageError) as caught:
        options.step(
            engine._parts.paths,
            volume.replace(volume_options=(("device", ":/x"), ("o", "addr=no such host"), ("type", "nfs"))),
        )
    assert caught.value.message.startswith(
        "failed to mount local volume: error resolving passed in network volume address: no such host: "
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--volumes-from nope", 125, "no such container: nope"),
        ("--volumes-from=", 125, "volumes-from specification cannot be an empty string"),
        ("--volumes-from :ro", 125, 'invalid name or ID supplied: ""'),
        ("--volumes-from web:foo", 125, "invalid mode: foo"),
        ("--volumes-from a:b:c", 125, "invalid mode: b:c"),
        ("--name web2 --volumes-from web2", 125, "no such container: web2"),
        ("--volume-driver foo -v data:/d", 125,
         'create data: error looking up volume plugin foo: plugin "foo" not found'),
    ],
)  # fmt: skip
def test_volumes_that_cannot_be_had(tiffin: Runner, busybox: str, words: str, code: int, message: str) -> None:
    refused = tiffin("run", *words.split(), busybox, "true")
    assert (refused.code, refused.err.splitlines()[0]) == (code, f"tiffin: {message}")


def test_device_rules_oom_scores_annotations(tiffin: Runner, busybox: str) -> None:
    tiffin.ok(
        "run", "--name", "web", "--device-cgroup-rule", "c 10:229 rw", "--oom-score-adj", "300",
        "--annotation", "org.example=1", busybox, "cat", "/proc/self/oom_score_adj",
    )  # fmt: skip
    assert tiffin.ok("logs", "web") == "300"
    shown = tiffin.ok("inspect", "-f", "{{json .HostConfig}}", "web")
    facts = json.loads(shown)
    assert (facts["OomScoreAdj"], facts["DeviceCgroupRules"], facts["Annotations"]) == (
        300, ["c 10:229 rw"], {"org.example": "1"},
    )  # fmt: skip
    refused = tiffin("create", "--oom-score-adj", "1001", busybox)
    assert refused.err == "tiffin: Invalid value 1001, range for oom score adj is [-1000, 1000]\n"


def test_a_device_rule_opens_what_is_closed(tiffin: Runner, busybox: str) -> None:
    if not os.path.exists("/dev/fuse"):
        pytest.skip("a device that containers may not open by default, and that has no effect when opened")
    look = ("--cap-add", "MKNOD", busybox, "sh", "-c", "mknod /dev/node c 10 229; : < /dev/node && echo open")
    assert tiffin("run", "--rm", *look).err == "sh: can't open /dev/node: Operation not permitted\n"
    assert tiffin("run", "--rm", "--device-cgroup-rule", "c 10:229 r", *look).out == "open\n"
    assert tiffin("run", "--rm", "--device-cgroup-rule", "c 10:* rwm", *look).out == "open\n"
    assert tiffin("run", "--rm", "--device-cgroup-rule", "a *:* rwm", *look).out == "open\n"
    assert tiffin("run", "--rm", "--device-cgroup-rule", "c 10:229 w", *look).out == ""


def test_a_driver_that_is_not_there(tiffin: Runner) -> None:
    refused = tiffin("volume", "create", "-d", "nfs", "data")
    assert (refused.code, refused.err.splitlines()[0]) == (
        1, 'tiffin: create data: error looking up volume plugin nfs: plugin "nfs" not found'
    )  # fmt: skip


def test_a_score_that_the_host_does_not_give(tiffin: Runner, busybox: str) -> None:
    done = tiffin("run", "--rm", "--oom-score-adj", "-900", busybox, "cat", "/proc/self/oom_score_adj")
    may_lower = int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16) >> 24 & 1
    if may_lower:
        assert done.out == "-900\n"
    else:
        assert (done.code, done.err) == (
            125, "tiffin: cannot set the OOM score to -900: Permission denied\n"
            "this host does not let it be lowered: that needs CAP_SYS_RESOURCE\n",
        )  # fmt: skip


def test_platforms(tiffin: Runner, busybox: str) -> None:
    machine = os.uname().machine
    own = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    for platform in ("linux", own, f"linux/{own}", machine):
        tiffin.ok("run", "--rm", "--platform", platform, busybox, "true")
    refused = tiffin("run", "--rm", "--platform", "linux/s390x", busybox, "true")
    assert (refused.code, refused.err) == (
        125, f"tiffin: image with reference {busybox} was found but does not provide the specified platform "
        f"(linux/s390x)\nit is for linux/{own}\n",
    )  # fmt: skip
    refused = tiffin("run", "--rm", "--platform", "foo", busybox, "true")
    assert refused.err == 'tiffin: "foo": unknown operating system or architecture: invalid argument\n'
    archive = tiffin.binary("export", tiffin.ok("create", busybox)).stdout
    tiffin.ok("import", "--platform", "linux/s390x", "-", "foreign", input=archive)
    warned = tiffin("create", "foreign", "true")
    assert (
        warned.code == 0
        and (
            "The requested image's platform (linux/s390x) does not match the detected host platform "
            f"(linux/{own}{'/v8' if own == 'arm64' else ''}) and no specific platform was requested"
        )
        in warned.err
    )
    assert tiffin("create", "--platform", "linux/s390x", "foreign", "true").err == ""
