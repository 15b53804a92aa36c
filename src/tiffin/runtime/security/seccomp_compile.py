"""Compiles a seccomp profile to the kernel's bytes.

The program checks the architecture, then finds the call's number by binary search over ranges of numbers that are
treated alike, and tests arguments only for the few calls that need it. A call that allows nothing but its number is
thereby constant, which lets kernels from 5.11 on skip the filter for it altogether.
"""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.runtime.security.bpf import JEQ, JGE, JGT, MAX_INSTRUCTIONS, Assembler
from tiffin.runtime.security.seccomp_profile import (
    ENOSYS,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_LOG,
    RET_TRACE,
    Argument,
    Profile,
    Rule,
)
from tiffin.runtime.security.syscalls import X86_DOORS, table

# struct seccomp_data
_OFFSET_NUMBER = 0
_OFFSET_ARCH = 4
_OFFSET_ARGUMENTS = 16

_AUDIT_ARCH = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_X32_BIT = 0x40000000
_X32_LEGACY = (512, 547)
_ARM_PRIVATE = 0x0F0000
_UNREACHED = 1 << 32

_WORD = 0xFFFFFFFF


class Compiled(Record):
    """A program of 8-byte instructions, the flags for seccomp(2), and the names that no table here knows."""

    program: bytes
    flags: int
    unknown: tuple[str, ...]


def compile_profile(profile: Profile) -> Compiled:
    """The filter for a resolved profile. UsageError when it is longer than the kernel's 4096 instructions."""
    asm = Assembler()
    bad_architecture = asm.ret(RET_KILL_PROCESS)
    bodies: dict[str, int] = {}
    unknown = set(profile.known_names)
    for architecture in reversed(profile.architectures):
        numbers = table(architecture)
        unknown.difference_update(numbers)
        bodies[architecture] = _search(asm, profile, architecture, numbers)
    label = bad_architecture
    for architecture in reversed(profile.architectures):
        if architecture == "x32":
            continue
        body = bodies[architecture]
        if architecture == "x86_64":
            body = asm.jump(JGE, _X32_BIT, bodies.get("x32", bad_architecture), body)
        label = asm.jump(JEQ, _AUDIT_ARCH[architecture], asm.load(_OFFSET_NUMBER, body), label)
    asm.load(_OFFSET_ARCH, label)
    if len(asm) > MAX_INSTRUCTIONS:
        raise UsageError(
            f"the seccomp profile needs {len(asm)} instructions, and the kernel takes no more than {MAX_INSTRUCTIONS}"
        )
    return Compiled(program=bytes(asm), flags=profile.flags, unknown=tuple(sorted(unknown)))


def _search(asm: Assembler, profile: Profile, architecture: str, numbers: dict[str, int]) -> int:
    """Code that decides on the number in the accumulator; returns its label."""
    decisions = _decisions(profile, architecture, numbers)
    base = _X32_BIT if architecture == "x32" else 0
    narrow = architecture in ("x86", "x32", "arm")
    leaves: dict[tuple[Rule, ...], int] = {}
    starts: list[tuple[int, int]] = []
    for start, chain in _ranges(decisions, _gaps(profile, architecture, numbers)):
        leaf = leaves.get(chain)
        if leaf is None:
            leaf = leaves[chain] = _leaf(asm, chain, profile.default_action, narrow)
        if not starts or starts[-1][1] != leaf:
            starts.append((base + start, leaf))

    def tree(low: int, high: int) -> int:
        if high - low == 1:
            return starts[low][1]
        middle = (low + high) // 2
        upper = tree(middle, high)
        return asm.jump(JGE, starts[middle][0], upper, tree(low, middle))

    return tree(0, len(starts))


def _decisions(profile: Profile, architecture: str, numbers: dict[str, int]) -> dict[int, tuple[Rule, ...]]:
    """The rules of each number, in order; an unconditional one stands alone, and the first of those wins."""
    chains: dict[int, list[Rule]] = {}

    def add(number: int, rule: Rule) -> None:
        chain = chains.setdefault(number, [])
        if chain and not chain[-1].arguments:
            return
        if not rule.arguments:
            chain.clear()
        if rule not in chain:
            chain.append(rule)

    for rule in profile.rules:
        bare = Rule(names=(), action=rule.action, arguments=rule.arguments)
        for name in rule.names:
            if name in numbers:
                add(numbers[name], bare)
            if architecture == "x86" and name in X86_DOORS:
                door = _through_door(bare, name)
                if door is not None:
                    add(numbers[X86_DOORS[name][0]], door)
    return {number: tuple(chain) for number, chain in chains.items()}


def _through_door(rule: Rule, name: str) -> Rule | None:
    """The same rule for socketcall(2) or ipc(2), whose own arguments a filter cannot see.

    So a condition is dropped from a rule that forbids, and a rule that permits on a condition permits nothing.
    """
    if rule.arguments and rule.action in (RET_ALLOW, RET_LOG):
        return None
    door, call = X86_DOORS[name]
    # The upper half of ipc's argument is a version, which the kernel accepts whatever it is.
    only = Argument(index=0, operator="SCMP_CMP_MASKED_EQ", value=0xFFFF if door == "ipc" else _WORD, value_two=call)
    return Rule(names=(), action=rule.action, arguments=(only,))


def _gaps(profile: Profile, architecture: str, numbers: dict[str, int]) -> list[tuple[int, tuple[Rule, ...]]]:
    """What numbers without a rule get, as (first number, rules).

    A call that is newer than all that the profile speaks of does not exist as far as the container is concerned:
    ENOSYS lets the C library fall back, where EPERM would make it fail. Filters that let by default do not need it.
    """
    default: tuple[Rule, ...] = ()
    if profile.default_action in (RET_ALLOW, RET_LOG) or profile.default_action & 0x7FFF0000 == RET_TRACE:
        return [(0, default)]
    absent = (Rule(names=(), action=RET_ERRNO | ENOSYS),)
    known = {numbers[name] for name in profile.known_names if name in numbers}
    if architecture == "x32":
        newest = max((number for number in known if number < _X32_LEGACY[0]), default=-1)
        return [(0, default), (newest + 1, absent), (_X32_LEGACY[0], default), (_X32_LEGACY[1] + 1, absent)]
    newest = max((number for number in known if number < _ARM_PRIVATE), default=-1)
    gaps = [(0, default), (newest + 1, absent)]
    if architecture == "arm":
        gaps.append((_ARM_PRIVATE, default))
    return gaps


def _ranges(
    decisions: dict[int, tuple[Rule, ...]], gaps: list[tuple[int, tuple[Rule, ...]]]
) -> list[tuple[int, tuple[Rule, ...]]]:
    """Every number's rules as (first number of a range, rules), neighbours that are alike joined."""
    ranges: list[tuple[int, tuple[Rule, ...]]] = []

    def put(start: int, chain: tuple[Rule, ...]) -> None:
        if ranges and ranges[-1][0] == start:
            ranges.pop()
        if not ranges or ranges[-1][1] != chain:
            ranges.append((start, chain))

    for (start, chain), (end, _) in zip(gaps, [*gaps[1:], (_UNREACHED, ())], strict=True):
        put(start, chain)
        for number in sorted(number for number in decisions if start <= number < end):
            put(number, decisions[number])
            if number + 1 < end:
                put(number + 1, chain)
    return ranges


def _leaf(asm: Assembler, chain: tuple[Rule, ...], default_action: int, narrow: bool) -> int:
    label = asm.ret(default_action)
    for rule in reversed(chain):
        matched = asm.ret(rule.action)
        failed = label
        label = matched
        for argument in reversed(rule.arguments):
            label = _condition(asm, argument, narrow, label, failed)
    return label


def _condition(asm: Assembler, argument: Argument, narrow: bool, yes: int, no: int) -> int:
    """Code for one comparison, unsigned, the high half first; of 32-bit architectures (x32 too) the low half counts."""
    low_offset = _OFFSET_ARGUMENTS + 8 * argument.index
    high_offset = low_offset + 4
    low, high = argument.value & _WORD, argument.value >> 32
    operator = argument.operator.removeprefix("SCMP_CMP_")
    if operator == "MASKED_EQ":
        wanted = argument.value & argument.value_two
        label = yes
        for offset, mask, value in ((low_offset, low, wanted & _WORD), (high_offset, high, wanted >> 32)):
            if mask == 0 or (narrow and offset == high_offset):
                continue
            test = asm.jump(JEQ, value, label, no)
            label = asm.load(offset, test if mask == _WORD else asm.mask(mask, test))
        return label
    if operator in ("NE", "LT", "LE"):
        operator = {"NE": "EQ", "LT": "GE", "LE": "GT"}[operator]
        yes, no = no, yes
    if operator == "EQ":
        label = asm.load(low_offset, asm.jump(JEQ, low, yes, no))
        return label if narrow else asm.load(high_offset, asm.jump(JEQ, high, label, no))
    label = asm.load(low_offset, asm.jump(JGT if operator == "GT" else JGE, low, yes, no))
    if narrow:
        return label
    equal = asm.jump(JEQ, high, label, no)
    return asm.load(high_offset, asm.jump(JGT, high, yes, equal))
