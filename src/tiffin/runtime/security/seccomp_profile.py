"""Reads a seccomp profile: Docker's JSON format, of which the OCI runtime spec's `linux.seccomp` is a part.

What Docker adds (`archMap`, `includes`, `excludes`) is resolved here against the container's capabilities, the
machine and the kernel, so that the compiler sees nothing but rules.
"""

from __future__ import annotations

from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# include/uapi/linux/seccomp.h
RET_KILL_PROCESS = 0x80000000
RET_KILL_THREAD = 0x00000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000

EPERM = 1
ENOSYS = 38
_MAX_ERRNO = 4095

ACTIONS = {
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_LOG": RET_LOG,
}
OPERATORS = frozenset(
    "SCMP_CMP_" + name for name in ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
)  # seccomp_rule_add(3)

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_DEFAULT_FLAGS = 4  # as runc: only kernels before 5.16 would otherwise slow every process down for Spectre v4

# uname -m -> (our name, Docker's name in includes.arches)
MACHINES = {
    "x86_64": ("x86_64", "amd64"),
    "i686": ("x86", "x86"),
    "aarch64": ("aarch64", "arm64"),
    "armv7l": ("arm", "arm"),
}
# What the kernel of a machine can run besides its own architecture.
COMPANIONS = {"x86_64": ("x86", "x32"), "aarch64": ("arm",), "x86": (), "arm": ()}


class Argument(Record):
    """One condition on a system call's argument: `index` 0 to 5, `operator` of `OPERATORS`.

    For MASKED_EQ `value` is the mask and `value_two` what must remain.
    """

    index: int
    operator: str
    value: int
    value_two: int = 0


class Rule(Record):
    """Calls that get `action` (a SECCOMP_RET_* word) when all `arguments` hold."""

    names: tuple[str, ...]
    action: int
    arguments: tuple[Argument, ...] = ()


class Profile(Record):
    """A profile resolved for one container; `architectures` starts with the machine's own.

    `known_names` are all calls that the profile speaks of, whether or not their rule applies here.
    """

    default_action: int
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    known_names: frozenset[str]
    flags: int = _DEFAULT_FLAGS


def parse_profile(raw: Any, caps: int, machine: str, release: str) -> Profile | None:
    """Resolve a profile for a capability mask, `uname -m` and `uname -r`; None when it asks for no filter at all.

    UsageError for a malformed profile, NotSupportedError for what cannot be done, HostError for a machine without
    tables.
    """
    if not isinstance(raw, dict):
        raise UsageError("the seccomp profile is not a JSON object")
    syscalls = raw.get("syscalls") or []
    if not raw.get("defaultAction"):
        if syscalls:
            raise UsageError("the seccomp profile has rules but no defaultAction")
        return None
    if machine not in MACHINES:
        raise HostError(
            f"no seccomp tables for the machine type {machine!r}",
            hint="run without a filter: --security-opt seccomp=unconfined",
        )
    own, docker_name = MACHINES[machine]
    default = _action(raw["defaultAction"], raw.get("defaultErrnoRet"), raw.get("defaultErrno"), "defaultAction")
    rules: list[Rule] = []
    known: set[str] = set()
    for position, entry in enumerate(syscalls):
        where = f"syscalls[{position}]"
        if not isinstance(entry, dict):
            raise UsageError(f"the seccomp profile's {where} is not a JSON object")
        names = _names(entry, where)
        known.update(names)
        action = _action(entry.get("action"), entry.get("errnoRet"), entry.get("errno"), where)
        groups = _arguments(entry.get("args") or [], where)
        if not _applies(entry, caps, docker_name, release, where) or action == default:
            continue
        rules.extend(Rule(names=names, action=action, arguments=group) for group in groups)
    return Profile(
        default_action=default,
        architectures=_architectures(raw, own),
        rules=tuple(rules),
        known_names=frozenset(known),
        flags=_flags(raw.get("flags")),
    )


def _action(name: Any, errno_value: Any, errno_name: Any, where: str) -> int:
    if name == "SCMP_ACT_NOTIFY":
        raise NotSupportedError(
            f"the seccomp profile's {where} wants SCMP_ACT_NOTIFY, which needs an agent to answer it"
        )
    if name not in ACTIONS:
        raise UsageError(f"the seccomp profile's {where} has the unknown action {name!r}")
    word = ACTIONS[name]
    if word not in (RET_ERRNO, RET_TRACE):
        return word
    if errno_value is None and errno_name:
        import errno

        errno_value = getattr(errno, str(errno_name), None)
        if errno_value is None:
            raise UsageError(f"the seccomp profile's {where} has the unknown errno {errno_name!r}")
    value = EPERM if errno_value is None else errno_value
    limit = _MAX_ERRNO if word == RET_ERRNO else 0xFFFF
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise UsageError(f"the seccomp profile's {where} has errnoRet {value!r}, which is not within 0 and {limit}")
    return word | value


def _names(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    names = entry.get("names") or []
    if entry.get("name"):
        if names:
            raise UsageError(f"the seccomp profile's {where} has both 'name' and 'names'")
        names = [entry["name"]]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UsageError(f"the seccomp profile's {where} names no system call")
    return tuple(names)


def _arguments(raw: Any, where: str) -> list[tuple[Argument, ...]]:
    """The conditions as groups, one rule each: all of a group must hold."""
    if not isinstance(raw, list):
        raise UsageError(f"the seccomp profile's {where} has args that are not a list")
    arguments = []
    for item in raw:
        fields = item if isinstance(item, dict) else {}
        index, operator = fields.get("index"), fields.get("op")
        value, value_two = fields.get("value", 0), fields.get("valueTwo") or 0
        if not isinstance(index, int) or index not in range(6):
            raise UsageError(
                f"the seccomp profile's {where} has an argument index that is not within 0 and 5: {index!r}"
            )
        if operator not in OPERATORS:
            raise UsageError(f"the seccomp profile's {where} has the unknown operator {operator!r}")
        for number in (value, value_two):
            if not isinstance(number, int) or not 0 <= number < 1 << 64:
                raise UsageError(
                    f"the seccomp profile's {where} compares with {number!r}, which is not a 64-bit number"
                )
        arguments.append(Argument(index=index, operator=operator, value=value, value_two=value_two))
    if len({argument.index for argument in arguments}) < len(arguments):
        # One argument tested twice means "either", as every OCI runtime reads it.
        return [(argument,) for argument in arguments]
    return [tuple(arguments)]


def _applies(entry: dict[str, Any], caps: int, docker_name: str, release: str, where: str) -> bool:
    includes, excludes = entry.get("includes") or {}, entry.get("excludes") or {}
    if docker_name in (excludes.get("arches") or ()):
        return False
    if any(caps & _capability(name, where) for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel_at_least(release, excludes["minKernel"]):
        return False
    if includes.get("arches") and docker_name not in includes["arches"]:
        return False
    if not all(caps & _capability(name, where) for name in includes.get("caps") or ()):
        return False
    return not includes.get("minKernel") or kernel_at_least(release, includes["minKernel"])


def _capability(name: Any, where: str) -> int:
    from tiffin.runtime.security.capabilities import BITS

    bit = BITS.get(str(name).removeprefix("CAP_"))
    if bit is None:
        raise UsageError(f"the seccomp profile's {where} has the unknown capability {name!r}")
    return 1 << bit


def kernel_version(release: str) -> tuple[int, int]:
    """The first two numbers of `uname -r`; what is not a number counts as 0."""
    numbers = []
    for part in (*release.split(".")[:2], "", "")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(int(digits or "0"))
    return numbers[0], numbers[1]


def kernel_at_least(release: str, minimum: str) -> bool:
    """Whether `uname -r` is at least `minimum` ("4.8")."""
    return kernel_version(release) >= kernel_version(minimum)


def _architectures(raw: dict[str, Any], own: str) -> tuple[str, ...]:
    listed = raw.get("architectures") or []
    arch_map = raw.get("archMap") or []
    if listed and arch_map:
        raise UsageError("the seccomp profile has both 'architectures' and 'archMap'")
    for entry in arch_map:
        if entry.get("architecture") == "SCMP_ARCH_" + own.upper():
            listed = entry.get("subArchitectures") or []
    for name in listed:
        if not str(name).startswith("SCMP_ARCH_"):
            raise UsageError(f"the seccomp profile has the unknown architecture {name!r}")
    # A filter never meets an architecture that this kernel cannot run, so others need no code.
    companions = (name for name in COMPANIONS[own] if "SCMP_ARCH_" + name.upper() in listed)
    return (own, *companions)


def _flags(names: Any) -> int:
    if names is None:
        return _DEFAULT_FLAGS
    flags = 0
    for name in names:
        if name not in FLAGS:
            raise NotSupportedError(f"the seccomp profile has the flag {name!r}, which is not supported")
        flags |= FLAGS[name]
    return flags
