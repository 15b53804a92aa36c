"""--security-opt, masked paths, sysctls, devices and labels: decisions that need no kernel."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tiffin.cgroups import devices
from tiffin.errors import HostError, UsageError
from tiffin.model.container import Device
from tiffin.runtime.security import lsm, masks
from tiffin.runtime.security.options import SecurityOptions, parse_security_opts


def test_options() -> None:
    assert parse_security_opts([]) == SecurityOptions()
    parsed = parse_security_opts(
        [
            "no-new-privileges",
            "seccomp=/etc/a=b.json",
            "apparmor:mine",
            "label=user:u",
            "label=role:r",
            "label:type:t",
            "label=level:s0:c1,c2",
            "label=filetype:f",
            "systempaths=unconfined",
            "mask=/a:/b",
            "mask=/c",
            "unmask=/proc/*",
        ]
    )
    assert parsed == SecurityOptions(
        no_new_privileges=True,
        seccomp="/etc/a=b.json",
        apparmor="mine",
        label_user="u",
        label_role="r",
        label_type="t",
        label_level="s0:c1,c2",
        label_file_type="f",
        system_paths_unconfined=True,
        mask=("/a", "/b", "/c"),
        unmask=("/proc/*",),
    )
    assert parse_security_opts(["label=disable"]).label_disabled
    assert parse_security_opts(["no-new-privileges=false"]) == SecurityOptions()
    assert parse_security_opts(["no-new-privileges:true"]).no_new_privileges
    assert parse_security_opts(["seccomp=unconfined"]).seccomp == "unconfined"
    assert parse_security_opts(["unmask=ALL"]).unmask == ("ALL",)


KNOWN = "known are no-new-privileges, seccomp, apparmor, label, systempaths, mask and unmask"
LABEL = "label=disable, or label=PART:VALUE with a part of user, role, type, level, filetype"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("frobnicate=1", f"unknown --security-opt 'frobnicate=1' ({KNOWN})"),
        ("", f"unknown --security-opt '' ({KNOWN})"),
        ("seccomp", "--security-opt 'seccomp' has no value"),
        ("apparmor=", "--security-opt 'apparmor=' has no value"),
        ("no-new-privileges=maybe", "--security-opt 'no-new-privileges=maybe' is neither true nor false"),
        ("label=enable", f"--security-opt 'label=enable' makes no sense ({LABEL})"),
        ("label=type:", f"--security-opt 'label=type:' makes no sense ({LABEL})"),
        ("systempaths=x", "--security-opt 'systempaths=x' makes no sense: only systempaths=unconfined exists"),
        ("mask=proc", "--security-opt 'mask=proc' needs absolute paths, and 'proc' is none"),
        ("mask=ALL", "--security-opt 'mask=ALL' needs absolute paths, and 'ALL' is none"),
        ("unmask=", "--security-opt 'unmask=' has no value"),
    ],
)
def test_bad_options(option: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_security_opts([option])
    assert str(caught.value) == message


def test_masks(tmp_path: Path) -> None:
    none = str(tmp_path)
    assert masks.masked_paths(SecurityOptions(), False, none) == masks.MASKED
    assert masks.readonly_paths(SecurityOptions(), False) == masks.READONLY
    for name in ("cpu0", "cpu2", "cpu10", "cpufreq"):
        (tmp_path / name / "thermal_throttle").mkdir(parents=True)
    assert masks.masked_paths(SecurityOptions(), False, none)[len(masks.MASKED) :] == (
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
        "/sys/devices/system/cpu/cpu2/thermal_throttle",
        "/sys/devices/system/cpu/cpu10/thermal_throttle",
    )
    some = SecurityOptions(unmask=("/proc/s*", "/sys/firmware/", "/proc/irq", "/sys/devices/system/*"), mask=("/x",))
    kept = masks.masked_paths(some, False, none)
    assert kept[-1] == "/x"
    assert set(masks.MASKED) - set(kept) == {"/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
    assert masks.readonly_paths(some, False) == ("/proc/bus", "/proc/fs")
    everything = SecurityOptions(unmask=("all",))
    assert masks.masked_paths(everything, False, none) == masks.readonly_paths(everything, False) == ()
    assert masks.masked_paths(SecurityOptions(), True, none) == masks.readonly_paths(SecurityOptions(), True) == ()
    unconfined = SecurityOptions(system_paths_unconfined=True, mask=("/y",))
    assert masks.masked_paths(unconfined, False, none) == ("/y",)
    assert masks.readonly_paths(unconfined, False) == ()


def test_sysctls() -> None:
    masks.check_sysctls(
        [("net.ipv4.ip_forward", "1"), ("kernel.shmmax", "1"), ("fs/mqueue/msg_max", "1"), ("kernel/sem", "1 2 3 4")],
        network="none",
        ipc="private",
    )
    for key, network, ipc, message in (
        ("net.core.somaxconn", "host", "private",
         "the sysctl 'net.core.somaxconn' cannot be set, because the container shares the network namespace (host)"),
        ("net/core/x", "container:x", "private",
         "the sysctl 'net/core/x' cannot be set, because the container shares the network namespace (container:x)"),
        ("kernel.msgmax", "none", "host",
         "the sysctl 'kernel.msgmax' cannot be set, because the container shares the IPC namespace (host)"),
        ("kernel.panic", "none", "private",
         ("the sysctl 'kernel.panic' belongs to the whole host, so a container cannot have its own"
         " (net.*, fs.mqueue.* and kernel.{msg*,sem,shm*} can be set)")),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            masks.check_sysctls([(key, "1")], network=network, ipc=ipc)
        assert str(caught.value) == message


def test_device_nodes(tmp_path: Path) -> None:
    (null,) = devices.device_nodes(Device(host_path="/dev/null", container_path="/dev/nil", permissions="r"))
    assert (null.path, null.type, null.rdev, null.mode, null.access) == ("/dev/nil", "c", os.makedev(1, 3), 0o666, "r")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    gathering = "error gathering device information while adding custom device"
    for name, message in (
        ("none", f'{gathering} "{tmp_path}/none": no such file or directory'),
        ("file", f'{gathering} "{tmp_path}/file": not a device node'),
        ("empty", f'{gathering} "{tmp_path}/empty": no devices below it'),
    ):
        with pytest.raises(UsageError) as caught:
            devices.device_nodes(Device(host_path=f"{tmp_path}/{name}", container_path="/dev/x"))
        assert str(caught.value) == message
    everything = devices.device_nodes(Device(host_path="/dev/", container_path="/devices"))
    assert "/devices/null" in [node.path for node in everything]


def test_rules_of_the_users_own() -> None:
    rule = devices.DeviceRule
    assert devices.parse_rule("c 42:* rmw") == (rule(type="c", major=42),)
    assert devices.parse_rule("b *:7 mm") == (rule(type="b", minor=7, access="m"),)
    assert devices.parse_rule("a *:* rwm") == devices.EVERYTHING
    assert devices.parse_rule("a 1:3 r") == (
        rule(type="b", major=1, minor=3, access="r"), rule(type="c", major=1, minor=3, access="r"),
    )  # fmt: skip
    assert "c 42:* rwm" in devices.v1_lines(devices.device_rules(extra=("c 42:* rmw",)))
    assert devices.v1_lines(devices.device_rules(extra=("a *:* rwm",))) == ("a *:* rwm",)
    assert devices.v2_program(devices.device_rules(extra=("a *:* rwm",))) == b""


def test_device_rules() -> None:
    rules = devices.device_rules(
        devices.device_nodes(Device(host_path="/dev/null", container_path="/x", permissions="w"))
    )
    assert rules[-1] == devices.DeviceRule(type="c", major=1, minor=3, access="w")
    lines = devices.v1_lines(rules)
    assert lines[:3] == ("c *:* m", "b *:* m", "c 1:3 rwm")
    assert {"c 136:* rwm", "c 10:200 rwm"} < set(lines)
    assert devices.device_rules((), privileged=True) == devices.EVERYTHING
    assert devices.v1_lines(devices.EVERYTHING) == ("a *:* rwm",)
    assert devices.v2_program(devices.EVERYTHING) == b""


def allows(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """What the eBPF program answers, by running its few instructions here."""
    context = [sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access) << 16 | {"b": 1, "c": 2}[kind], major, minor]
    registers = [0] * 10
    code = list(struct.iter_unpack("<BBhi", program))
    at = 0
    while True:
        operation, pair, offset, constant = code[at]
        destination, source = pair & 15, pair >> 4
        at += 1
        if operation == 0x61:
            registers[destination] = context[offset // 4]
        elif operation == 0xBC:
            registers[destination] = registers[source]
        elif operation == 0xB4:
            registers[destination] = constant
        elif operation == 0x54:
            registers[destination] &= constant
        elif operation == 0x74:
            registers[destination] >>= constant
        elif operation == 0x56:
            at += offset if registers[destination] != constant else 0
        elif operation == 0x5E:
            at += offset if registers[destination] != registers[source] else 0
        else:
            assert operation == 0x95
            return bool(registers[0])


def test_the_v2_program_means_what_the_rules_mean() -> None:
    rules = (
        *devices.DEFAULT,
        devices.DeviceRule(type="b", major=8, access="r"),
        devices.DeviceRule(type="a", major=99, minor=1, access="rw"),
    )
    program = devices.v2_program(rules)
    for kind in "bc":
        for major, minor in ((1, 3), (1, 11), (5, 2), (8, 1), (99, 1), (99, 2), (136, 77), (10, 200), (10, 229)):
            for access in ("r", "w", "m", "rw", "rm", "rwm"):
                expected = any(
                    rule.type in (kind, "a")
                    and rule.major in (major, None)
                    and rule.minor in (minor, None)
                    and set(access) <= set(rule.access)
                    for rule in rules
                )
                assert allows(program, kind, major, minor, access) is expected, (kind, major, minor, access)


def fake_root(tmp_path: Path, *, apparmor: bool = False, selinux: bool = False, profiles: str = "") -> str:
    if apparmor:
        parameters = tmp_path / "sys/module/apparmor/parameters"
        parameters.mkdir(parents=True)
        (parameters / "enabled").write_text("Y\n")
        loaded = tmp_path / "sys/kernel/security/apparmor"
        loaded.mkdir(parents=True)
        (loaded / "profiles").write_text(profiles)
    if selinux:
        (tmp_path / "sys/fs/selinux").mkdir(parents=True)
        (tmp_path / "sys/fs/selinux/enforce").write_text("1")
    return str(tmp_path)


ID = "0123456789ab" + "0" * 52


def test_no_labels_where_the_host_has_none(tmp_path: Path) -> None:
    root = fake_root(tmp_path)
    assert lsm.labels(SecurityOptions(), ID, root=root) == lsm.Labels()
    assert lsm.labels(SecurityOptions(apparmor="unconfined", label_disabled=True), ID, root=root) == lsm.Labels()
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(apparmor="mine"), ID, root=root)
    assert str(caught.value) == "AppArmor does not run on this host, so the profile 'mine' cannot be used"
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(label_type="t"), ID, root=root)
    assert str(caught.value) == "SELinux does not run on this host, so a container cannot have a label"


def test_apparmor(tmp_path: Path) -> None:
    root = fake_root(tmp_path, apparmor=True, profiles="tiffin-default (enforce)\nmy profile (complain)\n")
    assert lsm.apparmor_profiles(root) == {"tiffin-default", "my profile"}
    assert lsm.labels(SecurityOptions(), ID, root=root) == lsm.Labels(
        exec_attribute="exec", exec_label="exec tiffin-default"
    )
    (tmp_path / "proc/self/attr/apparmor").mkdir(parents=True)
    own = lsm.labels(SecurityOptions(apparmor="my profile"), ID, root=root)
    assert own == lsm.Labels(exec_attribute="apparmor/exec", exec_label="exec my profile")
    assert lsm.labels(SecurityOptions(), ID, privileged=True, root=root) == lsm.Labels()
    assert lsm.labels(SecurityOptions(apparmor="unconfined"), ID, root=root) == lsm.Labels()
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(apparmor="other"), ID, root=root)
    assert str(caught.value) == "the AppArmor profile 'other' is not loaded (load it with `apparmor_parser -r FILE`)"


def test_apparmor_denies_kernel_crypto_where_seccomp_cannot_look() -> None:
    # 32-bit programs can ask for any socket through socketcall(2), whose arguments lie in memory.
    assert "\n  deny network alg,\n" in lsm.default_profile_text()


def test_the_hosts_console_is_no_devices_rule() -> None:
    assert "c 5:1 rwm" not in devices.v1_lines(devices.DEFAULT)
    assert {"c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"} < set(devices.v1_lines(devices.DEFAULT))


def test_apparmor_loads_the_default_profile(tmp_path: Path) -> None:
    root = fake_root(tmp_path, apparmor=True)
    assert lsm.labels(SecurityOptions(), ID, root=root) == lsm.Labels()
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(apparmor="tiffin-default"), ID, root=root)
    assert str(caught.value) == "the AppArmor profile 'tiffin-default' cannot be loaded: there is no apparmor_parser"
    parser = tmp_path / "sbin/apparmor_parser"
    parser.parent.mkdir()
    parser.write_text(f"#!/bin/sh\ncat >{tmp_path}/loaded\n")
    parser.chmod(0o755)
    assert lsm.labels(SecurityOptions(), ID, root=root).exec_label == "exec tiffin-default"
    assert (tmp_path / "loaded").read_text() == lsm.default_profile_text()
    parser.write_text("#!/bin/sh\ncat >/dev/null; echo 'Warning: x' >&2; echo 'syntax error' >&2; exit 1\n")
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(), ID, root=root)
    assert str(caught.value) == "apparmor_parser refuses the profile 'tiffin-default': syntax error"
    said = f"{parser}: Sorry. You need root privileges to run this program."
    parser.write_text(f"#!/bin/sh\necho '{said}' >&2; exit 1\n")
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(), ID, root=root)
    assert str(caught.value) == f"apparmor_parser refuses the profile 'tiffin-default': {said} (run it with sudo)"


def test_selinux(tmp_path: Path) -> None:
    root = fake_root(tmp_path, selinux=True)
    first = lsm.labels(SecurityOptions(), ID, root=root)
    assert first.exec_attribute == "exec"
    prefix = "system_u:system_r:container_t:"
    assert first.exec_label.startswith(prefix + "s0:c")
    level = first.exec_label.removeprefix(prefix)
    low, high = (int(part.removeprefix("c")) for part in level.removeprefix("s0:").split(","))
    assert 0 <= low < high < 1024
    assert first.mount_label == f"system_u:object_r:container_file_t:{level}"
    assert lsm.labels(SecurityOptions(), ID, root=root) == first
    assert lsm.labels(SecurityOptions(), ID, root=root, levels_in_use={level}) != first
    asked = SecurityOptions(
        label_user="u",
        label_role="r",
        label_type="t",
        label_level="s0:c1,c2",
        label_file_type="f",
        apparmor="unconfined",
    )
    assert lsm.labels(asked, ID, root=root) == lsm.Labels(
        exec_attribute="exec", exec_label="u:r:t:s0:c1,c2", mount_label="u:object_r:f:s0:c1,c2"
    )
    assert lsm.labels(SecurityOptions(label_disabled=True), ID, root=root) == lsm.Labels()
    assert lsm.labels(SecurityOptions(), ID, privileged=True, root=root) == lsm.Labels()
    with pytest.raises(HostError) as caught:
        lsm.labels(SecurityOptions(apparmor="x"), ID, root=root)
    assert str(caught.value) == "AppArmor does not run on this host, so the profile 'x' cannot be used"


def test_selinux_levels_differ_and_can_run_out(tmp_path: Path) -> None:
    root = fake_root(tmp_path, selinux=True)
    levels = {lsm.labels(SecurityOptions(), f"{n:012x}" + "0" * 52, root=root).exec_label for n in range(1500)}
    assert len(levels) == 1500

    class Everything:
        def __contains__(self, _: object) -> bool:
            return True

    with pytest.raises(HostError) as caught:
        lsm._own_level(ID, Everything())
    assert str(caught.value) == "all 523776 pairs of SELinux categories are in use"
