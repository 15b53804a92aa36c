"""The seccomp compiler, checked by running its programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.seccomp_simulator import ALLOW, AUDIT, ENOSYS, EPERM, KILL_PROCESS, decode, run
from tiffin.errors import NotSupportedError, UsageError
from tiffin.runtime.security.bpf import JEQ, Assembler
from tiffin.runtime.security.seccomp_compile import Compiled, compile_profile
from tiffin.runtime.security.seccomp_profile import kernel_at_least, kernel_version, parse_profile
from tiffin.runtime.security.syscalls import table

X86_64 = AUDIT["x86_64"]
X32_BIT = 0x40000000


def built(raw: dict[str, Any], *, caps: int = 0, machine: str = "x86_64", release: str = "6.18.1") -> Compiled:
    profile = parse_profile(raw, caps, machine, release)
    assert profile is not None
    return compile_profile(profile)


def one_rule(*args: dict[str, Any], name: str = "read", **fields: Any) -> dict[str, Any]:
    rule = {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(args), **fields}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}


def when(index: int, op: str, value: int, two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": "SCMP_CMP_" + op, "value": value, "valueTwo": two}


@pytest.mark.parametrize("value", [0, 1, 5, 0xFFFFFFFF, 0x1_0000_0000, 0x5_0000_0005, (1 << 64) - 1])
@pytest.mark.parametrize("op", ["EQ", "NE", "LT", "LE", "GT", "GE"])
def test_comparisons_are_unsigned_and_64_bits_wide(op: str, value: int) -> None:
    meaning = {
        "EQ": lambda a: a == value, "NE": lambda a: a != value, "LT": lambda a: a < value,
        "LE": lambda a: a <= value, "GT": lambda a: a > value, "GE": lambda a: a >= value,
    }[op]  # fmt: skip
    program = decode(built(one_rule(when(3, op, value))).program)
    edges = {0, 1, 4, 5, 6, 0xFFFFFFFF, 0x1_0000_0000, 0x1_0000_0001, 0x5_0000_0004, 0x5_0000_0005, (1 << 64) - 1}
    for argument in edges | {value, max(value - 1, 0), min(value + 1, (1 << 64) - 1)}:
        expected = ALLOW if meaning(argument) else EPERM
        assert run(program, 0, X86_64, [9, 9, 9, argument]) == expected, (op, value, argument)


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [(0x7E020000, 0), (0xFF, 0x12), (0xFF00000000, 0x3400000000), (0xFFFFFFFFFFFFFFFF, 0x1_0000_0002), (0x0F, 0xF3)],
)
def test_masked_comparison(mask: int, wanted: int) -> None:
    program = decode(built(one_rule(when(0, "MASKED_EQ", mask, wanted))).program)
    for argument in (0, 0x12, 0x112, 3, 0x3400000000, 0x3400000099, 0x7E020000, 0x20000, 0x1_0000_0002, 0x11):
        expected = ALLOW if argument & mask == wanted & mask else EPERM
        assert run(program, 0, X86_64, [argument]) == expected, hex(argument)


def test_all_conditions_of_a_rule_must_hold() -> None:
    program = decode(built(one_rule(when(0, "EQ", 1), when(2, "GT", 5))).program)
    assert run(program, 0, X86_64, [1, 0, 6]) == ALLOW
    assert run(program, 0, X86_64, [1, 0, 5]) == EPERM
    assert run(program, 0, X86_64, [2, 0, 6]) == EPERM


def test_one_argument_tested_twice_means_either() -> None:
    program = decode(built(one_rule(when(0, "EQ", 1), when(0, "EQ", 2))).program)
    assert [run(program, 0, X86_64, [value]) for value in (0, 1, 2, 3)] == [EPERM, ALLOW, ALLOW, EPERM]


def test_the_first_matching_rule_wins_and_an_unconditional_one_replaces_conditions() -> None:
    raw = one_rule(when(0, "EQ", 1))
    raw["syscalls"].append({"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [when(0, "LT", 3)]})
    program = decode(built(raw).program)
    assert [run(program, 0, X86_64, [value]) for value in (1, 2, 3)] == [ALLOW, 0x30000, EPERM]
    raw["syscalls"].append({"names": ["read"], "action": "SCMP_ACT_LOG"})
    raw["syscalls"].append({"names": ["read"], "action": "SCMP_ACT_KILL"})
    program = decode(built(raw).program)
    assert {run(program, 0, X86_64, [value]) for value in (1, 2, 3)} == {0x7FFC0000}


@pytest.mark.parametrize(
    ("action", "extra", "word"),
    [
        ("SCMP_ACT_KILL", {}, 0),
        ("SCMP_ACT_KILL_THREAD", {}, 0),
        ("SCMP_ACT_KILL_PROCESS", {}, 0x80000000),
        ("SCMP_ACT_TRAP", {}, 0x00030000),
        ("SCMP_ACT_ERRNO", {"errnoRet": 22}, 0x00050016),
        ("SCMP_ACT_ERRNO", {"errno": "EINVAL"}, 0x00050016),
        ("SCMP_ACT_ERRNO", {}, 0x00050001),
        ("SCMP_ACT_TRACE", {"errnoRet": 7}, 0x7FF00007),
        ("SCMP_ACT_LOG", {}, 0x7FFC0000),
    ],
)
def test_every_action(action: str, extra: dict[str, Any], word: int) -> None:
    raw = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": action, **extra}]}
    program = decode(built(raw).program)
    assert run(program, table("x86_64")["mount"], X86_64) == word
    assert run(program, table("x86_64")["read"], X86_64) == ALLOW
    assert run(program, 4000, X86_64) == ALLOW


def test_foreign_architectures_are_killed_and_listed_ones_have_their_own_numbers() -> None:
    raw = one_rule(name="umount2")
    alone = decode(built(raw).program)
    assert run(alone, 166, X86_64) == ALLOW
    assert run(alone, 52, AUDIT["x86"]) == KILL_PROCESS
    assert run(alone, 166 | X32_BIT, X86_64) == KILL_PROCESS
    raw["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"]
    program = decode(built(raw).program)
    assert run(program, 166, X86_64) == ALLOW
    assert run(program, 52, AUDIT["x86"]) == ALLOW
    assert run(program, 52, X86_64) == EPERM
    assert run(program, 166 | X32_BIT, X86_64) == ALLOW
    assert run(program, 166, AUDIT["aarch64"]) == KILL_PROCESS
    arm = decode(built(one_rule(name="cacheflush") | {"architectures": ["SCMP_ARCH_ARM"]}, machine="aarch64").program)
    assert run(arm, 0x0F0002, AUDIT["arm"]) == ALLOW
    assert run(arm, 0x0F0001, AUDIT["arm"]) == EPERM


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    raw = one_rule(name="openat2") | {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    program = decode(built(raw).program)
    for bit, arch in ((0, "x86_64"), (0, "x86"), (X32_BIT, "x32")):
        answers = [run(program, bit | number, AUDIT[arch]) for number in (436, 437, 438, 500, 3000)]
        assert answers == [EPERM, ALLOW, ENOSYS, ENOSYS, ENOSYS], arch
    assert run(program, X32_BIT | 520, X86_64) == EPERM
    assert run(program, 0xFFFFFFFF, X86_64) == ENOSYS


def test_32_bit_doors_obey_the_rules_for_what_lies_behind_them() -> None:
    deny = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["connect", "shmat"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [when(0, "EQ", 38)]},
        ],
    }
    program = decode(built(deny).program)
    socketcall, ipc = table("x86")["socketcall"], table("x86")["ipc"]
    assert [run(program, socketcall, AUDIT["x86"], [call]) for call in (1, 2, 3)] == [EPERM, ALLOW, EPERM]
    assert [run(program, ipc, AUDIT["x86"], [call]) for call in (21, 0x10015, 22)] == [EPERM, EPERM, ALLOW]
    allow = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["connect"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [when(0, "EQ", 1)]},
        ],
    }
    program = decode(built(allow).program)
    assert [run(program, socketcall, AUDIT["x86"], [call]) for call in (1, 2, 3)] == [EPERM, EPERM, ALLOW]


def test_far_jumps_and_the_size_limit() -> None:
    names = sorted(table("x86_64"), key=table("x86_64").__getitem__)
    rules = [
        {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [when(number % 6, "EQ", number + 1)]}
        for number, name in enumerate(names[:300])
    ]
    compiled = built({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})
    program = decode(compiled.program)
    assert 1500 < len(program) <= 4096
    for position, name in enumerate(names[:300]):
        args = [0] * 6
        assert run(program, table("x86_64")[name], X86_64, args) == EPERM
        args[position % 6] = position + 1
        assert run(program, table("x86_64")[name], X86_64, args) == ALLOW, name
    for rule in rules:
        rule["args"] = [when(index, "GE", 1 << 33) for index in range(6)]
    with pytest.raises(UsageError) as caught:
        built({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [dict(rule) for rule in rules] + [
            {**rule, "args": [when(index, "LE", position << 33) for index in range(6)]}
            for position, rule in enumerate(rules)
        ]})  # fmt: skip
    assert re.fullmatch(
        r"the seccomp profile needs \d{4,} instructions, and the kernel takes no more than 4096", str(caught.value)
    )


def test_assembler_reaches_targets_at_every_distance() -> None:
    for distance in range(240, 270):
        asm = Assembler()
        wrong, right = asm.ret(1), asm.ret(2)
        label = asm.here
        for _ in range(distance):
            label = asm.load(4, label)
        asm.load(0, asm.jump(JEQ, 7, right, wrong))
        program = decode(bytes(asm))
        assert run(program, 7, 0) == 2
        assert run(program, 8, 0) == 1


def test_includes_and_excludes() -> None:
    def allowed(**fields: Any) -> bool:
        caps = fields.pop("with_caps", 0)
        machine = fields.pop("machine", "x86_64")
        compiled = built(one_rule(**fields), caps=caps, machine=machine, release="5.4.0-9-generic")
        return run(decode(compiled.program), table(machine)["read"], AUDIT[machine]) == ALLOW

    admin_and_chown = 1 << 21 | 1
    assert not allowed(includes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}, with_caps=1)
    assert allowed(includes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}, with_caps=admin_and_chown)
    assert not allowed(excludes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}, with_caps=1)
    assert allowed(excludes={"caps": ["CAP_SYS_ADMIN"]}, with_caps=1)
    assert allowed(includes={"minKernel": "5.4"})
    assert not allowed(includes={"minKernel": "5.10"})
    assert not allowed(excludes={"minKernel": "4.18"})
    assert allowed(includes={"arches": ["amd64", "x32"]})
    assert not allowed(includes={"arches": ["amd64"]}, machine="aarch64")
    assert not allowed(excludes={"arches": ["arm64"]}, machine="aarch64")


def test_kernel_versions() -> None:
    assert kernel_version("6.18.44-fc-v669") == (6, 18)
    assert kernel_version("5.10-rc1") == (5, 10)
    assert kernel_version("6") == (6, 0)
    assert kernel_at_least("4.10.0", "4.8")
    assert not kernel_at_least("4.7.9", "4.8")


def test_unknown_names_are_told_and_have_no_effect() -> None:
    raw = one_rule(name="read")
    raw["syscalls"][0]["names"] += ["frobnicate", "recv"]
    compiled = built(raw)
    assert compiled.unknown == ("frobnicate", "recv")
    assert compiled.program == built(one_rule(name="read")).program


BAD: list[tuple[Any, type[Exception], str]] = [
    ([], UsageError, "the seccomp profile is not a JSON object"),
    ({"syscalls": [{}]}, UsageError, "the seccomp profile has rules but no defaultAction"),
    ({"defaultAction": "ALLOW"}, UsageError, "the seccomp profile's defaultAction has the unknown action 'ALLOW'"),
    (
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        NotSupportedError,
        "the seccomp profile's defaultAction wants SCMP_ACT_NOTIFY, which needs an agent to answer it",
    ),
    (
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000},
        UsageError,
        "the seccomp profile's defaultAction has errnoRet 5000, which is not within 0 and 4095",
    ),
    (
        one_rule(errno="EWHAT", action="SCMP_ACT_ERRNO"),
        UsageError,
        "the seccomp profile's syscalls[0] has the unknown errno 'EWHAT'",
    ),
    (one_rule(names=[]), UsageError, "the seccomp profile's syscalls[0] names no system call"),
    (one_rule() | {"syscalls": ["read"]}, UsageError, "the seccomp profile's syscalls[0] is not a JSON object"),
    (
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]},
        UsageError,
        "the seccomp profile's syscalls[0] has both 'name' and 'names'",
    ),
    (
        one_rule(when(6, "EQ", 1)),
        UsageError,
        "the seccomp profile's syscalls[0] has an argument index that is not within 0 and 5: 6",
    ),
    (
        one_rule(when(0, "ODD", 1)),
        UsageError,
        "the seccomp profile's syscalls[0] has the unknown operator 'SCMP_CMP_ODD'",
    ),
    (
        one_rule(when(0, "EQ", 1 << 64)),
        UsageError,
        "the seccomp profile's syscalls[0] compares with 18446744073709551616, which is not a 64-bit number",
    ),
    (
        one_rule(includes={"caps": ["CAP_FLY"]}),
        UsageError,
        "the seccomp profile's syscalls[0] has the unknown capability 'CAP_FLY'",
    ),
    (
        one_rule() | {"architectures": ["SCMP_ARCH_X86"], "archMap": [{}]},
        UsageError,
        "the seccomp profile has both 'architectures' and 'archMap'",
    ),
    (one_rule() | {"architectures": ["x86"]}, UsageError, "the seccomp profile has the unknown architecture 'x86'"),
    (
        one_rule() | {"flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]},
        NotSupportedError,
        "the seccomp profile has the flag 'SECCOMP_FILTER_FLAG_NEW_LISTENER', which is not supported",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_profiles(raw: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        built(raw)
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_flags() -> None:
    assert built(one_rule()).flags == 4
    assert built(one_rule() | {"flags": []}).flags == 0
    assert built(one_rule() | {"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}).flags == 3


HEADERS = {"x86_64": "unistd_64.h", "x86": "unistd_32.h", "x32": "unistd_x32.h"}


@pytest.mark.parametrize("architecture", HEADERS)
def test_numbers_agree_with_the_installed_kernel_headers(architecture: str) -> None:
    text = Path("/usr/include/x86_64-linux-gnu/asm", HEADERS[architecture]).read_text()
    found = re.findall(r"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?", text)
    assert len(found) > 300
    assert {name: int(number) for name, number in found}.items() <= table(architecture).items()


def test_numbers_are_unique_and_new_calls_are_alike_everywhere() -> None:
    new = {name: number for name, number in table("x86_64").items() if number >= 424}
    assert new["listns"] == 470
    for architecture in ("x86_64", "x32", "x86", "aarch64", "arm"):
        numbers = table(architecture)
        assert len(set(numbers.values())) == len(numbers)
        assert new.items() <= {**numbers, "memfd_secret": 447}.items(), architecture
