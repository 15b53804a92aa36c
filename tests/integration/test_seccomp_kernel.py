"""Seccomp filters in the running kernel: what the default policy does to real calls."""

from __future__ import annotations

import json
import os
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tiffin.runtime.security.capabilities import ALL, DEFAULT_MASK
from tiffin.runtime.security.seccomp import load_filter

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")

# Installs the filter, then makes each call (number and up to six arguments) and prints the errno.
CALLER = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
program = bytes.fromhex(sys.argv[1])
flags = int(sys.argv[2])
buffer = ctypes.create_string_buffer(program, len(program))
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
prog = Program(len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.syscall(317, 1, flags, ctypes.byref(prog)) != 0:
    sys.exit(f"seccomp: errno {ctypes.get_errno()}")
for number, *arguments in json.loads(sys.argv[3]):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(argument) for argument in arguments))
    print(ctypes.get_errno(), flush=True)
"""

GETPID, PERSONALITY, UNSHARE, CLONE3, SOCKET, IO_URING, KEYCTL, CLONE = 39, 135, 272, 435, 41, 425, 250, 56
REBOOT, BPF, ADD_KEY, CHROOT, PTRACE = 169, 321, 248, 161, 101
NEWNS = 0x20000
BAD_ADDRESS = 1


def outcomes(calls: list[list[int]], *, caps: int = DEFAULT_MASK, profile: str | None = None) -> list[int]:
    loaded = load_filter(profile, caps, None)
    assert loaded is not None
    done = subprocess.run(
        [sys.executable, "-S", "-c", CALLER, loaded.program.hex(), str(loaded.flags), json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_the_default_policy_in_the_kernel() -> None:
    calls = {
        "an ordinary call": ([GETPID], 0),
        "a new namespace": ([UNSHARE, NEWNS], 1),
        "the same by clone": ([CLONE, NEWNS | signal.SIGCHLD], 1),
        "the same by clone3": ([CLONE3, 0, 0], 38),
        "a keyring": ([KEYCTL, 0, 0], 1),
        "adding a key": ([ADD_KEY, 0, 0, 0, 0], 1),
        "io_uring": ([IO_URING, 1, 0], 1),
        "bpf": ([BPF, 0, 0, 0], 1),
        "reboot": ([REBOOT, 0, 0, 0], 1),
        "chroot to nothing": ([CHROOT, BAD_ADDRESS], 14),
        "tracing nobody": ([PTRACE, 16, 0, 0, 0], 3),
        "a vsock socket": ([SOCKET, 40, 1, 0], 1),
        "a kernel crypto socket": ([SOCKET, 38, 5, 0], 1),
        "an unknown family": ([SOCKET, 200, 1, 0], 97),
        "asking for the personality": ([PERSONALITY, 0xFFFFFFFF], 0),
        "another personality": ([PERSONALITY, 0x40000], 1),
        "a call of the future": ([900], 38),
        "a call without a number": ([0xFFFFFFFF], 38),
    }
    answers = outcomes([call for call, _ in calls.values()])
    assert dict(zip(calls, answers, strict=True)) == {name: errno for name, (_, errno) in calls.items()}


def test_with_sys_admin_namespaces_are_allowed() -> None:
    assert outcomes([[UNSHARE, 0], [CLONE3, 0, 0], [BPF, 99, 0, 0]], caps=ALL) == [0, 22, 22]


def test_a_foreign_architecture_is_killed(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    loaded = load_filter(str(profile), 0, None)
    assert loaded is not None
    # x32's getpid: without its architecture in the profile the process ends, as nothing is known of its numbers.
    done = subprocess.run(
        [sys.executable, "-S", "-c", CALLER, loaded.program.hex(), "0", json.dumps([[0x40000000 | GETPID]])],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == -signal.SIGSYS


def test_every_action_in_the_kernel(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rules = [
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 123},
        {"names": ["getuid"], "action": "SCMP_ACT_LOG"},
        {
            "names": ["kill"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 99,
            "args": [
                {"index": 0, "op": "SCMP_CMP_GT", "value": 1 << 32},
                {"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 0xF0, "valueTwo": 0x50},
            ],
        },
    ]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    above = (1 << 32) + 1
    calls = [[110], [102], [62, above, 0x5F], [62, above - 1, 0x5F], [62, above, 0x6F]]
    assert outcomes(calls, profile=str(profile)) == [123, 0, 99, 22, 22]


def test_a_large_program_is_accepted_by_the_kernel(tmp_path: Path) -> None:
    from tiffin.runtime.security.syscalls import table

    names = sorted(table("x86_64"), key=table("x86_64").__getitem__)
    # Without those that the interpreter makes at its end, with whatever is left in the registers, and those that the
    # kernel lets past every filter, only to kill a caller who is not its own trampoline.
    special = ("exit_group", "futex", "uprobe", "uretprobe")
    harmless = [name for name in names if table("x86_64")[name] >= 150 and name not in special][:200]
    rules = [
        {
            "names": [name],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 77,
            "args": [{"index": 5, "op": "SCMP_CMP_EQ", "value": 0xABCDEF0000 + table("x86_64")[name]}],
        }
        for name in harmless
    ]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    loaded = load_filter(str(profile), 0, None)
    assert loaded is not None
    assert len(loaded.program) // struct.calcsize("HBBI") > 800
    numbers = [table("x86_64")[name] for name in harmless]
    calls = [[number, 0, 0, 0, 0, 0, 0xABCDEF0000 + number] for number in numbers]
    assert outcomes(calls, profile=str(profile)) == [77] * 200


@pytest.mark.skipif(os.geteuid() != 0, reason="a filter without no_new_privs needs CAP_SYS_ADMIN")
def test_the_filter_survives_exec() -> None:
    loaded = load_filter(None, DEFAULT_MASK, None)
    assert loaded is not None
    calls = json.dumps([[GETPID]])
    chained = CALLER + "\nimport os\nos.execv('/bin/sh', ['sh', '-c', 'unshare -m true; echo $?'])\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", chained, loaded.program.hex(), str(loaded.flags), calls],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.split() == ["0", "1"]
    assert done.stderr == "unshare: unshare failed: Operation not permitted\n"
