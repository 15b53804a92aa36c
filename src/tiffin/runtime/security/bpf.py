"""A small assembler for classic BPF, as seccomp(2) runs it.

Programs are written from their end to their beginning: when an instruction is added, everything it can jump to
exists already, so a label is simply a distance from the end. Conditional jumps reach 255 instructions; farther
targets get a stepping stone (a copy of the return, or one `ja`) that later jumps share.
"""

from __future__ import annotations

import struct

# include/uapi/linux/bpf_common.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JA = 0x05
JEQ = 0x15
JGT = 0x25
JGE = 0x35
RET = 0x06

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_REACH = 255  # the offsets of a conditional jump are one byte each


class Assembler:
    """Instructions in reverse order. A label is the number of instructions from it to the program's end."""

    def __init__(self) -> None:
        self._reversed: list[tuple[int, int, int, int]] = []
        self._stones: dict[int, int] = {}
        self._returns: dict[int, int] = {}

    @property
    def here(self) -> int:
        """The label of the instruction that was added last."""
        return len(self._reversed)

    def ret(self, value: int) -> int:
        """A label that returns `value` to the kernel."""
        label = self._returns.get(value)
        if label is None:
            label = self._returns[value] = self._emit(RET, 0, 0, value)
        return label

    def jump(self, operation: int, operand: int, if_true: int, if_false: int) -> int:
        """Compare the accumulator with `operand` (JEQ, JGT, JGE) and go to one of two labels."""
        if if_true == if_false:
            return if_true
        true_near, false_near = self._near(if_true), self._near(if_false)
        return self._emit(operation, self.here - true_near, self.here - false_near, operand)

    def load(self, offset: int, then: int) -> int:
        """Load the 32-bit word at `offset` of struct seccomp_data, then go on at label `then`."""
        return self._straight(LOAD, offset, then)

    def mask(self, bits: int, then: int) -> int:
        """Accumulator &= bits, then go on at label `then`."""
        return self._straight(AND, bits, then)

    def __bytes__(self) -> bytes:
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in reversed(self._reversed))

    def __len__(self) -> int:
        return len(self._reversed)

    def _straight(self, code: int, operand: int, then: int) -> int:
        if then != self.here:
            self._emit(JA, 0, 0, self.here - then)
        return self._emit(code, 0, 0, operand)

    def _near(self, label: int) -> int:
        """`label` itself, or a stepping stone to it that is still near when one more stone has been laid."""
        reach = _REACH - 1
        if self.here - label <= reach:
            return label
        stone = self._stones.get(label)
        if stone is not None and self.here - stone <= reach:
            return stone
        code, _, _, operand = self._reversed[label - 1]
        if code == RET:
            stone = self._emit(RET, 0, 0, operand)
        else:
            stone = self._emit(JA, 0, 0, self.here - label)
        self._stones[label] = stone
        return stone

    def _emit(self, code: int, if_true: int, if_false: int, operand: int) -> int:
        self._reversed.append((code, if_true, if_false, operand & 0xFFFFFFFF))
        return self.here
