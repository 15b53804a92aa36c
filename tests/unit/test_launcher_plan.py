"""The launcher's plan reader accepts what Python writes, and nothing else; the fuzz harness runs it under ASan."""

from __future__ import annotations

import importlib.util
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher_fixtures import PROJECT, SOURCES, compile_launcher
from tiffin.runtime.ops import MAX_PLAN_BYTES, OPS, Plan

Check = Callable[..., list[str]]
READER = [PROJECT / "tests/fuzz/fuzz_plan.c", SOURCES / "plan.c", SOURCES / "rules.c", SOURCES / "base.c"]
NEWNS, NEWUTS, NEWCGROUP, NEWUSER = 0x20000, 0x4000000, 0x2000000, 0x10000000
INSTRUCTION = bytes(8)


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """What the reader says about each of some byte strings."""
    harness = compile_launcher(
        "sanitized", tmp_path_factory.mktemp("reader") / "fuzz_plan", sources=READER, extra=["-DFUZZ_MAIN"]
    )

    def run(*plans: bytes | Plan, role: str = "launch") -> list[str]:
        records = b"".join(struct.pack("<I", len(data)) + data for data in map(bytes, plans))
        done = subprocess.run([harness, role], input=records, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "replace").splitlines()

    return run


def launch_plan(*extra: tuple[object, ...]) -> Plan:
    """A plan with one of everything that a launch may have; `extra` goes before EXEC."""
    plan = Plan()
    plan.add("RUN_DIR", "/run/x")
    plan.add("EXIT_FILE", "/var/x")
    plan.add("LOG", "/var/log", 1 << 20, 3)
    plan.add("LOG_JSON", "{}")
    plan.add("LOG_SINK", 2, 2, b"\x01\0/dev/log\0", 1, 0, b"head", b"tail")
    plan.add("LOG_SYSLOG", 3, -3600)
    plan.add("STDIO", 3)
    plan.add("TTY_SIZE", 24, 80)
    plan.add("EVENTS", "/events", '"ID":"x","Attributes":{"name":"y"')
    plan.add("EVENT_LAST", '{"Type":"volume","Attributes":{"a":"b"')
    plan.add("CLONE", NEWNS | NEWUTS)
    plan.add("JOIN_NS", 0x40000000, "/proc/1/ns/net")
    plan.add("DONOR", 1, 2)
    plan.add("TREE_FROM", 0, "/proc/1/ns/mnt", "/dev/shm", 0x01021994)
    plan.add("CGROUP_INTO", "/sys/fs/cgroup/x")
    plan.add("CGROUP_TASKS", "/sys/fs/cgroup/pids/x/tasks")
    plan.add("CGROUP_REMOVE", "/sys/fs/cgroup/x")
    plan.add("OOM_FILE", "/sys/fs/cgroup/x/memory.events")
    plan.add("ON_EXIT", ["/usr/bin/tiffin", "cleanup", "x"])
    plan.add("HEALTH", "/run/x/health.plan", 24, 10**9, 10**9, 0, 10**9, 3)
    plan.add("FREEZER", "/sys/fs/cgroup/x/cgroup.freeze", "1")
    plan.add("RESTART", "/var/x", ["/usr/bin/tiffin", "cleanup", "x"])
    plan.add("DEVICE_BPF", "/sys/fs/cgroup/x", INSTRUCTION)
    plan.add("UNSHARE", NEWCGROUP)
    plan.add("TREE", 1, "/srv", "a/b", 1, 0)
    plan.add("PROPAGATION", 0x4000 | 1 << 18)
    plan.add("MOUNT", "overlay", "/m", "overlay", 0, "lowerdir=/a:/b")
    plan.add("ROOT", "/m")
    plan.add("MOUNT_IN", "proc", "/proc", "proc", 0, "")
    plan.add("BIND_IN", "/etc/hosts", "/etc/hosts", 1, 1, 0x4000 | 1 << 18)
    plan.add("ATTACH", 0, "/dev/shm", 1, 2, 1, 2, 0x4000 | 1 << 20)
    plan.add("COPY_UP_IN", "/var", 0, "size=1m")
    plan.add("PROPAGATION_IN", "/var", 1 << 19)
    plan.add("MKDIR_IN", "/d", 0o755)
    plan.add("MKNOD_IN", "/dev/null", 0o20666, 259, 0, 0)
    plan.add("SYMLINK_IN", "/proc/self/fd", "/dev/fd")
    plan.add("MASK_IN", "/proc/kcore")
    plan.add("READONLY_IN", "/proc/sys")
    plan.add("SYSCTL", "net.ipv4.ip_forward", "1")
    plan.add("CONSOLE")
    plan.add("ROOT_READONLY")
    plan.add("PIVOT")
    plan.add("LOOPBACK")
    plan.add("HOSTNAME", "x")
    plan.add("DOMAINNAME", "y")
    plan.add("RLIMIT", 7, 10, 20, 1)
    plan.add("OOM_SCORE_ADJ", 1500)
    plan.add("MEMORY_MERGE")
    plan.add("UMASK", 0o22)
    plan.add("CHDIR", "/", 1)
    plan.add("LSM_EXEC", "apparmor/exec", "exec x")
    plan.add("NO_NEW_PRIVS")
    plan.add("SECCOMP", INSTRUCTION, 0)
    plan.add("CREDS", 1, 2, struct.pack("<I", 3))
    plan.add("CAPS", 1, 1, 1, 1, 1)
    plan.add("INIT")
    for name, *fields in extra:
        plan.add(str(name), *fields)
    plan.add("PASS_FDS", 2, 1)
    plan.add("EXEC", "sh", ["sh", "-c", ""], ["A=1"])
    return plan


def mapped_plan(before: tuple[tuple[object, ...], ...] = (), after: tuple[tuple[object, ...], ...] = ()) -> Plan:
    """A plan with a user namespace; `before` goes before its CLONE, `after` behind."""
    plan = Plan()
    plan.add("RUN_DIR", "/r")
    plan.add("EXIT_FILE", "/e")
    plan.add("USERNS", "", "0 100000 65536\n", "0 100000 65536\n", 100000, 100000)
    plan.add("IDMAP", "/objects", "/objects")
    plan.add("MOUNT", "overlay", "/m", "overlay", 0, "lowerdir=/a:/b")
    plan.add("ROOT", "/m")
    plan.add("TREE", 2, "/etc/hosts", "", 1, 1)
    plan.add("TREE_INSIDE", 1, "/dev")
    plan.add("RLIMIT", 7, 10, 20, 2)
    for name, *fields in before:
        plan.add(str(name), *fields)
    plan.add("CLONE", NEWNS | NEWUTS)
    for name, *fields in after:
        plan.add(str(name), *fields)
    plan.add("ATTACH", 1, "/dev", 0, 0, 0, 0, 0)
    plan.add("PIVOT")
    plan.add("EXEC", "sh", ["sh"], [])
    return plan


def exec_plan(*extra: tuple[object, ...]) -> Plan:
    plan = Plan()
    plan.add("ENTER", 1, 2, NEWNS)
    for name, *fields in extra:
        plan.add(str(name), *fields)
    plan.add("EXEC", "sh", ["sh"], [])
    return plan


def wait_plan(*extra: tuple[object, ...]) -> Plan:
    plan = Plan()
    plan.add("RUN_DIR", "/r")
    plan.add("RESTART", "/c", ["/usr/bin/tiffin", "cleanup", "x"])
    for name, *fields in extra:
        plan.add(str(name), *fields)
    return plan


def minimal(*extra: tuple[object, ...]) -> Plan:
    plan = Plan()
    plan.add("RUN_DIR", "/r")
    plan.add("EXIT_FILE", "/e")
    for name, *fields in extra:
        plan.add(str(name), *fields)
    plan.add("EXEC", "sh", ["sh"], [])
    return plan


# What only role create knows.
CREATE_ONLY = {
    "WAIT_START", "HOOKS", "HOOK", "FIND_EXEC", "TIME_OFFSETS", "ID_MAPS", "PERSONALITY", "SCHEDULER",
    "IO_PRIORITY", "CPU_AFFINITY", "TREE_MAPPED", "ROOT_AS_IS", "CHROOT",
}  # fmt: skip


def create_plan(*extra: tuple[object, ...], root: bool = True) -> Plan:
    """A plan for role create; `extra` goes between PIVOT and WAIT_START."""
    plan = Plan()
    plan.add("TIME_OFFSETS", "monotonic 1 0\n")
    plan.add("CLONE", NEWNS | NEWUSER)
    if root:
        plan.add("PROPAGATION", 0x4000 | 1 << 18)
        plan.add("TREE_MAPPED", 0, "/srv", 1, 1, "0 1 1\n", "0 1 1\n")
        plan.add("ROOT", "/m")
        plan.add("ID_MAPS", "0 1 1\n", "0 1 1\n", "")
        plan.add("PROPAGATION_IN", "/run", 1 << 20)
        plan.add("HOOKS")
        plan.add("HOOK", "/bin/true", ["true"], [], 1000, 0)
        plan.add("PIVOT")
    plan.add("PERSONALITY", 0)
    plan.add("SCHEDULER", 0, 0, 0, 0, 0, 0, 0)
    plan.add("IO_PRIORITY", 1 << 14)
    plan.add("CPU_AFFINITY", bytes(8))
    for name, *fields in extra:
        plan.add(str(name), *fields)
    plan.add("FIND_EXEC", "sh", [])
    plan.add("WAIT_START", "/s", "/r")
    plan.add("PASS_FDS", 2, 0)
    plan.add("EXEC", "sh", ["sh"], [])
    return plan


RUNTIME = ("RUNTIME", ["/crun", "create"], ["/crun", "start"], ["/crun", "delete"], "/pid", "", ["/tasks"])


def without(plan: Plan, name: str) -> Plan:
    plan.ops = [op for op in plan.ops if op[0] != name]
    return plan


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (mapped_plan(before=(("PIVOT",),)), "plan: operation 9 PIVOT: between USERNS and CLONE"),
        (mapped_plan(before=(("CREDS", 0, 0, b""),)), "plan: operation 9 CREDS: between USERNS and CLONE"),
        (mapped_plan(before=(("EXEC", "sh", ["sh"], []),)), "plan: operation 9 EXEC: between USERNS and CLONE"),
        (mapped_plan(after=(("IDMAP", "/a", "/b"),)), "plan: operation 10 IDMAP: not between USERNS and CLONE"),
        (
            mapped_plan(after=(("TREE_INSIDE", 1, "/b"),)),
            "plan: operation 10 TREE_INSIDE: not between USERNS and CLONE",
        ),
        (mapped_plan(after=(("TREE", 1, "/", "", 0, 1),)), "plan: operation 10 TREE: not between USERNS and CLONE"),
        (mapped_plan(after=(("TREE", 1, "/", "", 0, 0),)), "plan: operation 10 TREE: after CLONE"),
        (mapped_plan(before=(("COPY_UP_IN", "/a", 0, ""),)), "plan: operation 9 COPY_UP_IN: between USERNS and CLONE"),
        (minimal(("IDMAP", "/a", "/b")), "plan: operation 2 IDMAP: not between USERNS and CLONE"),
        (minimal(("CLONE", NEWNS), ("USERNS", "", "0 0 1", "0 0 1", 0, 0)), "plan: operation 3 USERNS: after CLONE"),
        (minimal(("USERNS", "", "", "0 0 1", 0, 0)), "plan: operation 2 USERNS: bad map"),
        (minimal(("USERNS", "", "0 0 1", "0 0 1", 2**32 - 1, 0)), "plan: operation 2 USERNS: bad ids"),
        (
            minimal(("USERNS", "", "0 0 1", "0 0 1", 0, 0), ("CLONE", NEWNS)),
            "plan: operation 3 CLONE: a user namespace needs ROOT before it, and a new mount namespace",
        ),
        (without(mapped_plan(), "CLONE"), "plan: operation 9 ATTACH: between USERNS and CLONE"),
        (launch_plan(("ATTACH", 256, "/x", 0, 0, 0, 0, 0)), " ATTACH: after PIVOT"),
        (minimal(("CLONE", NEWNS), ("TREE", 256, "/", "", 0, 0)), "plan: operation 3 TREE: no such tree"),
        (minimal(("CLONE", NEWNS), ("TREE", 1, "/", "", 2, 0)), "plan: operation 3 TREE: bad flag"),
        (minimal(("CLONE", NEWNS), ("TREE", 1, "/", "", 0, 1)), "plan: operation 3 TREE: not between USERNS and CLONE"),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/m"), ("MOUNT_IN", "", "/t", "tmpfs", 1 << 18, "")),
            "plan: operation 4 MOUNT_IN: not a new mount",
        ),
        (minimal(("TREE_FROM", 256, "/", "", 0)), "plan: operation 2 TREE_FROM: no such tree"),
        (minimal(*[("TREE_FROM", 0, "/", "", 0)] * 33), "plan: operation 34 TREE_FROM: too many"),
        (minimal(("DONOR", 0, 1)), "plan: operation 2 DONOR: bad pid"),
    ],
)
def test_refuses_what_a_user_namespace_cannot_have(check: Check, plan: Plan, message: str) -> None:
    assert message in check(plan)[0]


def test_accepts_every_operation(check: Check) -> None:
    plan = launch_plan()
    mapped = mapped_plan()
    every = set(OPS) - {"ENTER", "FAILED", "RUNTIME"} - CREATE_ONLY
    assert {name for plan in (plan, mapped) for name, _, _ in plan} == every
    assert check(without(minimal(("CLONE", 0x20000), ("MOUNT", "a", "/b", "c", 0, ""), RUNTIME), "EXEC")) == ["ok"]
    assert check(plan, minimal(), mapped) == ["ok", "ok", "ok"]
    assert check(exec_plan(("RLIMIT", 7, 1, 1, 0)), role="exec") == ["ok"]
    assert check(wait_plan(), wait_plan(("FAILED", 125)), role="wait") == ["ok", "ok"]


def test_role_create_accepts_what_is_its_own(check: Check) -> None:
    plan, chroot = create_plan(), create_plan(("ROOT_AS_IS", "/m"), ("CHROOT",), root=False)
    assert {name for name, _, _ in [*plan, *chroot]} >= CREATE_ONLY
    assert check(plan, chroot, role="create") == ["ok", "ok"]
    assert check(plan) == ["plan: operation 0 TIME_OFFSETS: not in this role"]


@pytest.mark.parametrize(
    ("plan", "refusal"),
    [
        (without(create_plan(), "WAIT_START"), "plan: no WAIT_START"),
        (without(create_plan(), "PIVOT"), "plan: ROOT without PIVOT"),
        (create_plan(("ROOT_AS_IS", "/m"), root=False), "plan: ROOT without PIVOT"),
        (create_plan(("RUN_DIR", "/r")), "plan: operation 14 RUN_DIR: not in this role"),
        (create_plan(("CHROOT",)), "plan: operation 14 CHROOT: not for this kind of root"),
        (
            create_plan(("ROOT_AS_IS", "/m"), ("PIVOT",), root=False),
            "plan: operation 7 PIVOT: not for this kind of root",
        ),
        (create_plan(("PROPAGATION_IN", "/", 1)), "plan: operation 14 PROPAGATION_IN: unknown flags"),
        (create_plan(("PROPAGATION_IN", "/", 0), root=False), "plan: operation 6 PROPAGATION_IN: before ROOT"),
        (create_plan(("HOOK", "true", ["true"], [], 0, 0)), "plan: operation 14 HOOK: bad hook"),
        (create_plan(("HOOK", "/true", [], [], 0, 0)), "plan: operation 14 HOOK: bad hook"),
        (create_plan(("HOOK", "/true", ["true"], [], 0, 2)), "plan: operation 14 HOOK: bad hook"),
        (create_plan(("CPU_AFFINITY", bytes(7))), "plan: operation 14 CPU_AFFINITY: bad mask"),
        (
            create_plan(("ROOT_AS_IS", "/m"), ("TREE_MAPPED", 0, "/", 2, 0, "0 0 1", "0 0 1"), root=False),
            "plan: operation 7 TREE_MAPPED: bad flag",
        ),
        (
            create_plan(("ROOT_AS_IS", "/m"), ("TREE_MAPPED", 0, "/", 0, 0, "0 0 1", ""), root=False),
            "plan: operation 7 TREE_MAPPED: bad map",
        ),
        (
            create_plan(("TREE_MAPPED", 256, "/", 0, 0, "0 0 1", "0 0 1"), root=False),
            "plan: operation 6 TREE_MAPPED: no such tree",
        ),
        (create_plan(("TREE_MAPPED", 0, "/", 0, 0, "0 0 1", "0 0 1")), "plan: operation 14 TREE_MAPPED: after PIVOT"),
        (without(create_plan(), "CLONE"), "plan: operation 1 PROPAGATION: without a new mount namespace"),
        (
            without(create_plan(("ROOT_AS_IS", "/m"), ("BIND_IN", "/a", "/b", 0, 0, 0), root=False), "CLONE"),
            "plan: operation 6 BIND_IN: without a new mount namespace",
        ),
    ],
)
def test_role_create_refuses(check: Check, plan: Plan, refusal: str) -> None:
    assert check(plan, role="create") == [refusal]


def test_generated_header_carries_the_table(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("gen_ops", SOURCES / "gen_ops.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.header(str(PROJECT / "src/tiffin/runtime/ops.py"))
    for name, (code, signature) in OPS.items():
        assert f'X({name}, {code}, "{signature}")' in text
        assert f"OP_{name} = {code}," in text
    assert f"#define MAX_PLAN_BYTES {MAX_PLAN_BYTES}u" in text


def test_framing(check: Check) -> None:
    good = bytes(launch_plan())
    count = struct.unpack_from("<I", good, 12)[0]

    def changed(offset: int, data: bytes) -> bytes:
        return good[:offset] + data + good[offset + len(data) :]

    assert check(
        b"",
        good[:15],
        changed(0, b"X"),
        good[:-1],
        good + b"\0",
        changed(8, struct.pack("<I", len(good) + 1)),
        changed(12, struct.pack("<I", count - 1)),
        changed(12, struct.pack("<I", count + 1)),
        changed(12, struct.pack("<I", 0xFFFFFFFF)),
        changed(16, struct.pack("<H", 0)),
        changed(16, struct.pack("<H", 15)),
        changed(16, struct.pack("<H", 60000)),
        changed(18, struct.pack("<H", 1)),
        changed(20, struct.pack("<I", 0xFFFFFFFF)),
        changed(20, struct.pack("<I", 10)),
        changed(24, struct.pack("<I", 0xFFFFFFFF)),
        changed(24, struct.pack("<I", 5)),
        changed(28, b"\0"),
        changed(34, b"x"),
    ) == [
        "plan: bad magic",
        "plan: bad magic",
        "plan: bad magic",
        "plan: bad length",
        "plan: bad length",
        "plan: bad length",
        "plan: trailing bytes",
        f"plan: operation {count}: operation header cut short",
        f"plan: operation {count}: operation header cut short",
        "plan: operation 0: unknown operation",
        "plan: operation 0: unknown operation",
        "plan: operation 0: unknown operation",
        "plan: operation 0: nonzero padding",
        "plan: operation 0: payload cut short",
        "plan: operation 0 RUN_DIR: malformed field",
        "plan: operation 0 RUN_DIR: malformed field",
        "plan: operation 0 RUN_DIR: malformed field",
        "plan: operation 0 RUN_DIR: malformed field",
        "plan: operation 0 RUN_DIR: malformed field",
    ]


def test_every_truncation_and_every_flipped_byte_is_survived(check: Check) -> None:
    good = bytes(launch_plan())
    cut = [good[:8] + struct.pack("<I", size) + good[12:size] for size in range(16, len(good))]
    assert "ok" not in check(*cut)
    flipped = [good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :] for i in range(len(good))]
    assert len(check(*flipped)) == len(flipped)


MANY = [("CGROUP_TASKS", "/t")] * 33
SECOND = 10**9
RESTART = ("RESTART", "/c", ["x"])


@pytest.mark.parametrize(
    ("plan", "role", "refusal"),
    [
        (without(wait_plan(), "RESTART"), "wait", "plan: no RESTART"),
        (without(wait_plan(), "RUN_DIR"), "wait", "plan: no RUN_DIR"),
        (wait_plan(("EXEC", "a", ["a"], [])), "wait", "plan: operation 2 EXEC: not in this role"),
        (wait_plan(("FAILED", 256)), "wait", "plan: operation 2 FAILED: bad code"),
        (minimal(("FAILED", 1)), "launch", "plan: operation 2 FAILED: not in this role"),
        (minimal(("RESTART", "/c", [])), "launch", "plan: operation 2 RESTART: bad argument list"),
        (minimal(("HEALTH", "/p", 0, SECOND, SECOND, 0, SECOND, 3)), "launch", "plan: HEALTH without RESTART"),
        (minimal(RESTART, ("HEALTH", "/p", 0, 0, SECOND, 0, SECOND, 3)), "launch",
         "plan: operation 3 HEALTH: bad time"),
        (minimal(RESTART, ("HEALTH", "/p", 0, SECOND, 9, 0, SECOND, 3)), "launch",
         "plan: operation 3 HEALTH: bad time"),
        (minimal(RESTART, ("HEALTH", "/p", 0, SECOND, SECOND, 1 << 63, SECOND, 3)), "launch",
         "plan: operation 3 HEALTH: bad time"),
        (minimal(RESTART, ("HEALTH", "/p", 0, SECOND, SECOND, 0, SECOND, 0)), "launch",
         "plan: operation 3 HEALTH: bad number"),
        (minimal(RESTART, ("HEALTH", "/p", 5 << 20, SECOND, SECOND, 0, SECOND, 1)), "launch",
         "plan: operation 3 HEALTH: bad number"),
    ],
)  # fmt: skip
def test_refuses_of_checks_and_restarts(check: Check, plan: Plan, role: str, refusal: str) -> None:
    assert check(plan, role=role) == [refusal]


@pytest.mark.parametrize(
    ("plan", "refusal"),
    [
        (Plan(), "plan: no EXEC"),
        (without(minimal(), "EXEC"), "plan: no EXEC"),
        (without(minimal(), "RUN_DIR"), "plan: no RUN_DIR"),
        (without(minimal(), "EXIT_FILE"), "plan: no EXIT_FILE"),
        (minimal(("EXEC", "a", ["a"], [])), "plan: operation 3 EXEC: given twice"),
        (minimal(("RUN_DIR", "/r")), "plan: operation 2 RUN_DIR: given twice"),
        (minimal(("ENTER", 1, 1, 0)), "plan: operation 2 ENTER: not in this role"),
        (minimal(("STDIO", 8)), "plan: operation 2 STDIO: unknown flags"),
        (minimal(("STDIO", 1)), "plan: a terminal needs both STDIO_TTY and CONSOLE"),
        (minimal(("TTY_SIZE", 65536, 1)), "plan: operation 2 TTY_SIZE: too large"),
        (minimal(("LOG", "/l", 4095, 3)), "plan: operation 2 LOG: bad log limits"),
        (minimal(("LOG", "/l", 4096, 0)), "plan: operation 2 LOG: bad log limits"),
        (minimal(("LOG_JSON", "")), "plan: LOG_JSON without LOG"),
        (minimal(("LOG_JSON", "x" * 16385)), "plan: operation 2 LOG_JSON: too long"),
        (minimal(("LOG_SINK", 5, 2, b"\1\0", 1, 0, b"", b"")), "plan: operation 2 LOG_SINK: unknown kind"),
        (minimal(("LOG_SINK", 1, 3, b"\1\0", 1, 0, b"", b"")), "plan: operation 2 LOG_SINK: unknown socket type"),
        (minimal(("LOG_SINK", 1, 2, b"\1", 1, 0, b"", b"")), "plan: operation 2 LOG_SINK: bad address"),
        (minimal(("LOG_SINK", 1, 2, bytes(129), 1, 0, b"", b"")), "plan: operation 2 LOG_SINK: bad address"),
        (minimal(("LOG_SYSLOG", 24, 0)), "plan: operation 2 LOG_SYSLOG: bad facility"),
        (minimal(RUNTIME), "plan: operation 2 RUNTIME: without a new mount namespace"),
        (minimal(("CLONE", 0x20000), RUNTIME), "plan: operation 4 EXEC: after RUNTIME"),
        (minimal(("CLONE", 0x20000), (*RUNTIME[:2], [], *RUNTIME[3:])), "plan: operation 3 RUNTIME: bad argument list"),
        (minimal(("PASS_FDS", 1001, 0)), "plan: operation 2 PASS_FDS: bad value"),
        (minimal(("PASS_FDS", 1, 0), ("UMASK", 0)), "plan: operation 3 UMASK: after PASS_FDS"),
        (minimal(("CLONE", 0x100)), "plan: operation 2 CLONE: unknown flags"),
        (minimal(("CLONE", NEWUSER)), "plan: operation 2 CLONE: unknown flags"),
        (
            minimal(("CLONE", NEWCGROUP)),
            "plan: operation 2 CLONE: a cgroup namespace is made by UNSHARE, after its cgroups were joined",
        ),
        (minimal(("JOIN_NS", NEWNS | NEWUTS, "/n")), "plan: operation 2 JOIN_NS: not one namespace"),
        (minimal(("JOIN_NS", 0, "/n")), "plan: operation 2 JOIN_NS: not one namespace"),
        (minimal(*MANY), "plan: operation 34 CGROUP_TASKS: too many"),
        (minimal(("PROPAGATION", 0)), "plan: operation 2 PROPAGATION: without a new mount namespace"),
        (minimal(("MOUNT", "a", "/b", "c", 0, "")), "plan: operation 2 MOUNT: without a new mount namespace"),
        (minimal(("ROOT", "/b")), "plan: operation 2 ROOT: without a new mount namespace"),
        (minimal(("HOSTNAME", "b")), "plan: operation 2 HOSTNAME: without a new UTS namespace"),
        (minimal(("CLONE", NEWNS), ("ROOT", "/b")), "plan: ROOT without PIVOT"),
        (minimal(("MKDIR_IN", "/b", 0)), "plan: operation 2 MKDIR_IN: before ROOT"),
        (minimal(("PIVOT",)), "plan: operation 2 PIVOT: before ROOT"),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("PIVOT",), ("MASK_IN", "/c")),
            "plan: operation 5 MASK_IN: after PIVOT",
        ),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("PIVOT",), ("MOUNT", "a", "/b", "c", 0, "")),
            "plan: operation 5 MOUNT: after PIVOT",
        ),
        (minimal(("CONSOLE",)), "plan: operation 2 CONSOLE: not between ROOT and PIVOT"),
        (
            minimal(("CLONE", NEWNS), ("MOUNT", "a", "/b", "c", 0, "x" * 4096)),
            "plan: operation 3 MOUNT: mount data over 4095 bytes",
        ),
        (minimal(("RLIMIT", 16, 0, 0, 0)), "plan: operation 2 RLIMIT: bad limit"),
        (minimal(("RLIMIT", 7, 2, 1, 0)), "plan: operation 2 RLIMIT: bad limit"),
        (minimal(("OOM_SCORE_ADJ", 2001)), "plan: operation 2 OOM_SCORE_ADJ: out of range"),
        (minimal(("MEMORY_MERGE",), ("MEMORY_MERGE",)), "plan: operation 3 MEMORY_MERGE: given twice"),
        (minimal(("UMASK", 0o1000)), "plan: operation 2 UMASK: out of range"),
        (minimal(("CHDIR", "x", 0)), "plan: operation 2 CHDIR: not an absolute path"),
        (minimal(("LSM_EXEC", "../x", "l")), "plan: operation 2 LSM_EXEC: bad attribute name"),
        (minimal(("LSM_EXEC", "/x", "l")), "plan: operation 2 LSM_EXEC: bad attribute name"),
        (minimal(("SECCOMP", b"1234567", 0)), "plan: operation 2 SECCOMP: bad program size"),
        (minimal(("SECCOMP", INSTRUCTION * 4097, 0)), "plan: operation 2 SECCOMP: bad program size"),
        (minimal(("CREDS", 0xFFFFFFFF, 0, b"")), "plan: operation 2 CREDS: bad ids"),
        (minimal(("CREDS", 1 << 32, 0, b"")), "plan: operation 2 CREDS: bad ids"),
        (minimal(("CREDS", 0, 0, b"123")), "plan: operation 2 CREDS: bad group list"),
        (minimal(("CAPS", 0, 0, 0, 0, 0)), "plan: operation 2 CAPS: before CREDS"),
        (minimal(("ON_EXIT", [])), "plan: operation 2 ON_EXIT: bad argument list"),
        (minimal(("TREE", 0, "/a", "", 0, 0)), "plan: operation 2 TREE: without a new mount namespace"),
        (minimal(("ATTACH", 0, "/a", 0, 0, 0, 0, 0)), "plan: operation 2 ATTACH: before ROOT"),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("ATTACH", 256, "/a", 0, 0, 0, 0, 0), ("PIVOT",)),
            "plan: operation 4 ATTACH: no such tree",
        ),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("ATTACH", 0, "/a", 0, 0, 0, 0, 1), ("PIVOT",)),
            "plan: operation 4 ATTACH: unknown propagation",
        ),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("PIVOT",), ("TREE", 0, "/a", "", 0, 0)),
            "plan: operation 5 TREE: after PIVOT",
        ),
        (
            minimal(("CLONE", NEWNS), ("ROOT", "/b"), ("COPY_UP_IN", "/a", 0, "x" * 4096), ("PIVOT",)),
            "plan: operation 4 COPY_UP_IN: mount data over 4095 bytes",
        ),
    ],
)
def test_refuses(check: Check, plan: Plan, refusal: str) -> None:
    assert check(plan) == [refusal]


def test_exec_must_be_last(check: Check) -> None:
    plan = minimal()
    plan.add("UMASK", 0)
    assert check(plan) == ["plan: operation 3 UMASK: after EXEC"]
    plan = minimal()
    plan.ops[-1] = ("EXEC", ("a", [], []), "")
    assert check(plan) == ["plan: operation 2 EXEC: no arguments"]


@pytest.mark.parametrize(
    ("plan", "refusal"),
    [
        (Plan(), "plan: no EXEC"),
        (without(exec_plan(), "ENTER"), "plan: no ENTER"),
        (exec_plan(("INIT",)), "plan: operation 1 INIT: not in this role"),
        (exec_plan(("MOUNT", "a", "/b", "c", 0, "")), "plan: operation 1 MOUNT: not in this role"),
        (exec_plan(("ENTER", 1, 1, 0)), "plan: operation 1 ENTER: given twice"),
    ],
)
def test_refuses_in_role_exec(check: Check, plan: Plan, refusal: str) -> None:
    assert check(plan, role="exec") == [refusal]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, numbers made extreme, pieces cut out or doubled; usually with a length that fits again."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if len(out) < 24:
            break
        at = rng.randrange(len(out) - 4)
        match rng.randrange(5):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(out), len(out) - at))
                struct.pack_into("<I", out, at, number)
            case 2:
                del out[at : at + rng.randint(1, 40)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 40)]
            case 4:
                out[at:at] = rng.randbytes(rng.randint(1, 16))
    if rng.random() < 0.9 and len(out) >= 12:
        struct.pack_into("<I", out, 8, len(out))
    return bytes(out)


def test_survives_mutations(check: Check) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    seeds = [bytes(launch_plan()), bytes(minimal()), bytes(exec_plan(("CONSOLE",), ("CREDS", 0, 0, b"")))]
    deadline = time.monotonic() + 4
    accepted = refused = 0
    while time.monotonic() < deadline:
        batch = [mutate(rng.choice(seeds), rng) for _ in range(1000)]
        for role in ("launch", "exec"):
            answers = check(*batch, role=role)
            assert len(answers) == len(batch), f"seed {seed}"
            assert all(answer == "ok" or answer.startswith("plan: ") for answer in answers), f"seed {seed}"
            accepted += answers.count("ok")
            refused += len(answers) - answers.count("ok")
    # Mutations inside strings leave a plan valid; both outcomes show that the mutator reaches deep enough.
    assert accepted > 0 and refused > 0, f"seed {seed}: {accepted} accepted, {refused} refused"


def test_launcher_says_what_is_wrong_with_a_plan(tmp_path: Path) -> None:
    assert sys.platform == "linux"
    launcher = compile_launcher("plain", tmp_path / "tiffin-launch")
    done = subprocess.run([launcher, "--version"], capture_output=True, check=True)
    assert done.stdout == b"tiffin-launch unknown\n"
    assert subprocess.run([launcher], capture_output=True, check=False).returncode == 2
    assert subprocess.run([launcher, "exec", "-x"], capture_output=True, check=False).returncode == 2
