"""The compiler against libseccomp, call by call: same profile, same answers."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.seccomp_simulator import AUDIT, ENOSYS, Program, decode, run
from tiffin.runtime.security.capabilities import ALL, DEFAULT_MASK, mask_of
from tiffin.runtime.security.default_profile import default_profile
from tiffin.runtime.security.seccomp_compile import compile_profile
from tiffin.runtime.security.seccomp_profile import (
    RET_ALLOW,
    RET_KILL_PROCESS,
    RET_LOG,
    RET_TRACE,
    Profile,
    parse_profile,
)
from tiffin.runtime.security.syscalls import table

# seccomp.h
TOKENS = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0x4000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
ATTRIBUTE_BAD_ARCHITECTURE = 2
ATTRIBUTE_OPTIMIZE = 8
MACHINES = {"x86_64": ("x86_64", "x86", "x32"), "aarch64": ("aarch64", "arm")}


class Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)
    ]  # fmt: skip


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_arch_native.restype = ctypes.c_uint32
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)
    ]  # fmt: skip
    for name in ("seccomp_arch_add", "seccomp_arch_remove"):
        getattr(lib, name).argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.seccomp_release.argtypes = [ctypes.c_void_p]
    return lib


def known(name: str) -> bool:
    # Kernels up to 6.8 had it for x86-64 alone, and so have older libraries.
    return name != "map_shadow_stack" and library().seccomp_syscall_resolve_name(name.encode()) != -1


def exported(profile: Profile, architecture: str) -> Program:
    """What libseccomp makes of the rules, for one architecture."""
    lib = library()
    context = lib.seccomp_init(profile.default_action)
    try:
        native = lib.seccomp_arch_native()
        if TOKENS[architecture] != native:
            assert lib.seccomp_arch_add(context, TOKENS[architecture]) == 0
            assert lib.seccomp_arch_remove(context, native) == 0
        lib.seccomp_attr_set(context, ATTRIBUTE_BAD_ARCHITECTURE, RET_KILL_PROCESS)
        assert lib.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, 2) == 0
        for rule in profile.rules:
            compared = (Comparison * 6)()
            for place, argument in enumerate(rule.arguments):
                operator = OPERATORS[argument.operator.removeprefix("SCMP_CMP_")]
                compared[place] = Comparison(argument.index, operator, argument.value, argument.value_two)
            for name in rule.names:
                number = lib.seccomp_syscall_resolve_name(name.encode())
                lib.seccomp_rule_add_array(context, rule.action, number, len(rule.arguments), compared)
        read_end, write_end = os.pipe()
        with open(read_end, "rb") as reader:
            collected: list[bytes] = []
            thread = threading.Thread(target=lambda: collected.append(reader.read()))
            thread.start()
            assert lib.seccomp_export_bpf(context, write_end) == 0
            os.close(write_end)
            thread.join()
        return decode(collected[0])
    finally:
        lib.seccomp_release(context)


def without_unknown(raw: dict[str, Any]) -> dict[str, Any]:
    rules = []
    for rule in raw["syscalls"]:
        names = [name for name in rule["names"] if known(name)]
        if names:
            rules.append({**rule, "names": names})
    return {**raw, "syscalls": rules}


def numbers(architecture: str) -> list[int]:
    bit = 0x40000000 if architecture == "x32" else 0
    candidates = [*range(600), 1023, 4095]
    if architecture == "arm":
        candidates += range(0x0F0000, 0x0F0010)
    return [bit | number for number in candidates]


VALUES = (0, 1, 2, 8, 37, 38, 39, 40, 41, 0x20000, 0x20008, 0x7E020000, 0x10000000, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1)


def assert_alike(raw: dict[str, Any], caps: int, machine: str) -> int:
    raw = without_unknown(raw)
    profile = parse_profile(raw, caps, machine, "6.18.0")
    assert profile is not None
    ours = decode(compile_profile(profile).program)
    lets_by = profile.default_action in (RET_ALLOW, RET_LOG) or profile.default_action & 0x7FFF0000 == RET_TRACE
    checked = 0
    for architecture in MACHINES[machine]:
        theirs = exported(profile, architecture)
        named = table(architecture)
        conditional = {named[n] for rule in profile.rules if rule.arguments for n in rule.names if n in named}
        mentioned = {named[name] for name in profile.known_names if name in named}
        newest = max(number for number in mentioned if number < (512 if architecture == "x32" else 0x0F0000))
        for number in numbers(architecture):
            plain = number & ~0x40000000
            word_mask = 0xFFFFFFFF if architecture in ("x86", "x32", "arm") else (1 << 64) - 1
            vectors = [(v & word_mask, w) for v in VALUES for w in (0, 9)] if plain in conditional else [(0, 0)]
            for first, third in vectors:
                wanted = run(theirs, number, AUDIT[architecture], [first, 0, third])
                beyond = newest < plain < 0x0F0000 and plain not in mentioned
                if architecture == "x32" and 512 <= plain < 548:
                    beyond = False
                if beyond and not lets_by:
                    wanted = ENOSYS
                got = run(ours, number, AUDIT[architecture], [first, 0, third])
                assert got == wanted, (architecture, number, hex(first), third)
                checked += 1
    return checked


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("caps", [0, DEFAULT_MASK, DEFAULT_MASK | mask_of(["SYS_ADMIN"]), mask_of(["SYS_PTRACE"]), ALL])
def test_the_default_policy(caps: int, machine: str) -> None:
    assert assert_alike(default_profile(), caps, machine) > 1200


DENY = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32", "SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["mount", "umount2", "ptrace"], "action": "SCMP_ACT_KILL"},
        {"names": ["keyctl"], "action": "SCMP_ACT_TRAP"},
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_GE"}, {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}],
        },
        {"names": ["unshare"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LE"}]},
        {
            "names": ["chroot"],
            "action": "SCMP_ACT_KILL_PROCESS",
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}],
        },
    ],
}


def test_a_deny_list() -> None:
    assert assert_alike(DENY, 0, "x86_64") > 1200


def test_podmans_shipped_profile() -> None:
    raw = json.loads(Path("/usr/share/containers/seccomp.json").read_text())
    assert assert_alike(raw, DEFAULT_MASK, "x86_64") > 1200


def allowed(raw: dict[str, Any], caps: int) -> set[tuple[str, int, int, int]]:
    profile = parse_profile(raw, caps, "x86_64", "6.18.0")
    assert profile is not None
    program = decode(compile_profile(profile).program)
    found = set()
    for architecture in MACHINES["x86_64"]:
        for number in numbers(architecture):
            for first in VALUES:
                for third in (0, 9):
                    if run(program, number, AUDIT[architecture], [first, 0, third]) == RET_ALLOW:
                        found.add((architecture, number & ~0x40000000, first, third))
    return found


# Allowed here and by Docker's policy of 2026, newer than or unlike the profile that Debian's Podman ships.
NEWER_THAN_PODMANS = {
    "cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "getxattrat", "io_pgetevents",
    "io_pgetevents_time64", "listmount",
    "listxattrat", "map_shadow_stack", "mseal", "removexattrat", "setxattrat", "statmount", "futex_waitv",
    "uretprobe", "vmsplice",
}  # fmt: skip


def test_the_default_policy_allows_nothing_that_podmans_denies_but_the_newest_calls() -> None:
    podmans = allowed(json.loads(Path("/usr/share/containers/seccomp.json").read_text()), DEFAULT_MASK)
    extra = allowed(default_profile(), DEFAULT_MASK) - podmans
    names = {
        next(name for name, value in table(architecture).items() if value == number)
        for architecture, number, _, _ in extra
    }
    assert names == NEWER_THAN_PODMANS
