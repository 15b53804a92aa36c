"""Devices of the host that a container may use: `--device`, and the rules of the devices cgroup.

One list of rules serves both cgroup versions: as lines for v1's `devices.allow`, as an eBPF program for v2. Both deny
what no rule allows.
"""

from __future__ import annotations

import os
import stat

from tiffin.errors import HostError, UsageError
from tiffin.model.container import Device
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class DeviceRule(Record):
    """Allows access to devices. `type` is "c", "b" or "a" (both); None is any number; `access` is of "rwm"."""

    type: str
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class DeviceNode(Record):
    """A node to make inside: `type` is "c", "b" or "p" (a FIFO), `mode` has no type bits, `rdev` is as of os.makedev.

    `access` may be empty: the node is there and no rule allows its use.
    """

    path: str
    type: str
    rdev: int
    mode: int
    uid: int
    gid: int
    access: str = "rwm"


EVERYTHING = (DeviceRule(type="a"),)

DEFAULT: tuple[DeviceRule, ...] = (
    DeviceRule(type="c", access="m"),
    DeviceRule(type="b", access="m"),
    DeviceRule(type="c", major=1, minor=3),  # null
    DeviceRule(type="c", major=1, minor=5),  # zero
    DeviceRule(type="c", major=1, minor=7),  # full
    DeviceRule(type="c", major=1, minor=8),  # random
    DeviceRule(type="c", major=1, minor=9),  # urandom
    DeviceRule(type="c", major=5, minor=0),  # tty
    DeviceRule(type="c", major=5, minor=2),  # ptmx
    DeviceRule(type="c", major=136),  # pts/*
    DeviceRule(type="c", major=10, minor=200),  # net/tun
)


_GATHERING = "error gathering device information while adding custom device"


def device_nodes(device: Device) -> tuple[DeviceNode, ...]:
    """The nodes that a device means: itself, or all nodes below when the host's path is a directory.

    UsageError when there is nothing there or it is no device, HostError when it cannot be examined.
    """
    found = _status(device.host_path)
    if _letter(found):
        return (_node(device.container_path, found, device.permissions),)
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f'{_GATHERING} "{device.host_path}": not a device node')
    host, container = device.host_path.rstrip("/"), device.container_path.rstrip("/")
    below = _below(host)
    if not below:
        raise UsageError(f'{_GATHERING} "{device.host_path}": no devices below it')
    return tuple(_node(container + path[len(host) :], status, device.permissions) for path, status in below)


def parse_rule(text: str) -> tuple[DeviceRule, ...]:
    """Read `--device-cgroup-rule TYPE MAJOR:MINOR ACCESS`, such as "c 42:* rmw". UsageError with Docker's words."""
    words = text.split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    if (
        len(numbers) != 2
        or words[0] not in ("a", "b", "c")
        or not all(number == "*" or (number.isascii() and number.isdigit()) for number in numbers)
        or not 1 <= len(words[2]) <= 3
        or words[2].strip("rwm")
    ):
        raise UsageError(f"invalid device cgroup format '{text}'")
    major, minor = (None if number == "*" else int(number) for number in numbers)
    access = "".join(letter for letter in "rwm" if letter in words[2])
    if words[0] == "a" and (major, minor, access) == (None, None, "rwm"):
        return EVERYTHING
    # To the kernel of cgroup v1 a line that begins with "a" means everything, whatever follows.
    kinds = ("b", "c") if words[0] == "a" else (words[0],)
    return tuple(DeviceRule(type=kind, major=major, minor=minor, access=access) for kind in kinds)


def device_rules(
    nodes: Iterable[DeviceNode] = (), privileged: bool = False, extra: Iterable[str] = ()
) -> tuple[DeviceRule, ...]:
    """The rules for a container with these nodes, and `extra` as `parse_rule` reads them.

    A privileged container may use everything, and so may one that a rule says it of.
    """
    if privileged:
        return EVERYTHING
    asked = tuple(rule for text in extra for rule in parse_rule(text))
    if EVERYTHING[0] in asked:
        return EVERYTHING
    own = (
        DeviceRule(type=node.type, major=os.major(node.rdev), minor=os.minor(node.rdev), access=node.access)
        for node in nodes
        if node.type != "p" and node.access
    )
    return (*DEFAULT, *own, *asked)


def _below(directory: str) -> list[tuple[str, os.stat_result]]:
    found = []
    for name in sorted(os.listdir(directory)):
        path = f"{directory.rstrip('/')}/{name}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # unplugged meanwhile
        if _letter(status):
            found.append((path, status))
        elif stat.S_ISDIR(status.st_mode):
            found += _below(path)
    return found


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        raise UsageError(f'{_GATHERING} "{path}": no such file or directory') from None
    except OSError as error:
        raise HostError(f"cannot examine the device {path!r}: {error.strerror}") from error


def _letter(status: os.stat_result) -> str:
    """ "c" or "b", empty for what is no device."""
    if stat.S_ISCHR(status.st_mode):
        return "c"
    return "b" if stat.S_ISBLK(status.st_mode) else ""


def _node(path: str, status: os.stat_result, access: str) -> DeviceNode:
    return DeviceNode(
        path=path,
        type=_letter(status),
        rdev=status.st_rdev,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )


def v1_lines(rules: Iterable[DeviceRule]) -> tuple[str, ...]:
    """Lines for `devices.allow` (Documentation/admin-guide/cgroup-v1/devices.rst)."""
    return tuple(f"{rule.type} {_number(rule.major)}:{_number(rule.minor)} {rule.access}" for rule in rules)


def _number(value: int | None) -> str:
    return "*" if value is None else str(value)


# linux/bpf.h: struct bpf_cgroup_dev_ctx is three u32: access << 16 | type, major, minor.
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_R0, _R1, _R2, _R3, _R4, _R5 = range(6)
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_AND, _SHIFT_RIGHT, _MOVE, _MOVE_REGISTER = 0x54, 0x74, 0xB4, 0xBC  # BPF_ALU, 32 bits wide
_SKIP_UNLESS_EQUAL, _SKIP_UNLESS_EQUAL_REGISTER = 0x56, 0x5E  # BPF_JMP32 | BPF_JNE
_SKIP_IF_EQUAL = 0x16  # BPF_JMP32 | BPF_JEQ
_EXIT = 0x95


def v2_program(rules: Iterable[DeviceRule]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program (array of struct bpf_insn); empty when everything is allowed.

    It returns 1 for an access that one of the rules covers whole, else 0, which makes the kernel say EPERM.
    """
    rules = tuple(rules)
    if EVERYTHING[0] in rules:
        return b""
    code = load_code()
    for rule in rules:
        code += match_code(rule)
    return b"".join([*code, *answer_code(False)])


def load_code() -> list[bytes]:
    """The start of a program: type, access, major and minor into registers 2 to 5."""
    return [
        _instruction(_LOAD_WORD, _R2, _R1, 0),
        _instruction(_MOVE_REGISTER, _R3, _R2),
        _instruction(_AND, _R2, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT, _R3, constant=16),
        _instruction(_LOAD_WORD, _R4, _R1, 4),
        _instruction(_LOAD_WORD, _R5, _R1, 8),
    ]


def answer_code(allow: bool) -> list[bytes]:
    """End the program with an answer."""
    return [_instruction(_MOVE, _R0, constant=int(allow)), _instruction(_EXIT)]


def match_code(rule: DeviceRule, *, allow: bool = True) -> list[bytes]:
    """Answer if the rule fits, else go on. One that allows must cover all of the access, one that denies any of it."""
    answer = answer_code(allow)
    tests: list[tuple[int, int, int, int]] = []
    if rule.type != "a":
        tests.append((_SKIP_UNLESS_EQUAL, _R2, 0, _TYPES[rule.type]))
    prepare: list[bytes] = []
    mask = sum(_ACCESS[letter] for letter in set(rule.access))
    if mask != 7:
        prepare = [_instruction(_MOVE_REGISTER, _R1, _R3), _instruction(_AND, _R1, constant=mask)]
        tests.append((_SKIP_UNLESS_EQUAL_REGISTER, _R1, _R3, 0) if allow else (_SKIP_IF_EQUAL, _R1, 0, 0))
    for register, number in ((_R4, rule.major), (_R5, rule.minor)):
        if number is not None:
            tests.append((_SKIP_UNLESS_EQUAL, register, 0, number))
    code: list[bytes] = []
    for place, (operation, destination, source, constant) in enumerate(tests):
        after = len(tests) - place - 1 + len(answer)
        code.append(_instruction(operation, destination, source, after, constant))
    return prepare + code + answer


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return (
        bytes((code, source << 4 | destination))
        + offset.to_bytes(2, "little")
        + (constant & 0xFFFFFFFF).to_bytes(4, "little")
    )
