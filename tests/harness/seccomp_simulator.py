"""Runs classic BPF as the kernel's seccomp does, on a made-up struct seccomp_data."""

from __future__ import annotations

import struct
from collections.abc import Sequence

AUDIT = {"x86_64": 0xC000003E, "x32": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
ALLOW = 0x7FFF0000
EPERM = 0x00050001
ENOSYS = 0x00050026
KILL_PROCESS = 0x80000000

Program = list[tuple[int, int, int, int]]


def decode(program: bytes) -> Program:
    assert len(program) % 8 == 0
    return list(struct.iter_unpack("=HBBI", program))


def run(program: Program, number: int, arch: int, args: Sequence[int] = ()) -> int:
    """The SECCOMP_RET_* word. Fails on anything that the kernel's checker would refuse."""
    padded = [*args, *[0] * (6 - len(args))]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    accumulator = 0
    at = 0
    while True:
        code, jump_true, jump_false, operand = program[at]
        at += 1
        if code == 0x20:
            assert operand % 4 == 0 and operand < len(data)
            accumulator = int.from_bytes(data[operand : operand + 4], "little")
        elif code == 0x15:
            at += jump_true if accumulator == operand else jump_false
        elif code == 0x25:
            at += jump_true if accumulator > operand else jump_false
        elif code == 0x35:
            at += jump_true if accumulator >= operand else jump_false
        elif code == 0x45:
            at += jump_true if accumulator & operand else jump_false
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            at += operand
        elif code == 0x06:
            return operand
        else:
            raise AssertionError(f"unexpected instruction {code:#x}")
