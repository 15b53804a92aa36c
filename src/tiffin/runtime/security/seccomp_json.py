"""A resolved seccomp profile as the OCI spec's `linux.seccomp` (config-linux.md#seccomp), for other runtimes."""

from __future__ import annotations

import os

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.runtime.security.seccomp_profile import Profile

_ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "x86": "SCMP_ARCH_X86",
    "x32": "SCMP_ARCH_X32",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
}


def seccomp_section(profile: str | None, caps: int) -> dict[str, Any] | None:
    """The section for a container whose capability mask is `caps`; None for no filter. `profile` as `load_filter`."""
    import json

    from tiffin.runtime.security.default_profile import default_profile
    from tiffin.runtime.security.seccomp_profile import parse_profile

    if profile == "unconfined":
        return None
    raw: Any
    if profile is None or profile == "builtin":
        raw = default_profile()
    else:
        try:
            with open(profile, "rb") as file:
                raw = json.load(file)
        except OSError as error:
            raise UsageError(f"cannot read the seccomp profile {profile!r}: {error.strerror}") from error
        except ValueError as error:
            raise UsageError(f"the seccomp profile is not JSON: {error}") from error
    system = os.uname()
    parsed = parse_profile(raw, caps, system.machine, system.release)
    return None if parsed is None else section(parsed)


def section(profile: Profile) -> dict[str, Any]:
    """The profile's rules. Its flags are left to the runtime, of which some refuse to be given any."""
    action, errno_value = _action(profile.default_action)
    out: dict[str, Any] = {"defaultAction": action, "architectures": [_ARCHITECTURES[n] for n in profile.architectures]}
    if errno_value is not None:
        out["defaultErrnoRet"] = errno_value
    rules = []
    for rule in profile.rules:
        action, errno_value = _action(rule.action)
        entry: dict[str, Any] = {"names": list(rule.names), "action": action}
        if errno_value is not None:
            entry["errnoRet"] = errno_value
        if rule.arguments:
            entry["args"] = [
                {"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.operator} for a in rule.arguments
            ]
        rules.append(entry)
    out["syscalls"] = rules
    return out


def _action(word: int) -> tuple[str, int | None]:
    from tiffin.runtime.security import seccomp_profile as profile

    names = {
        profile.RET_ALLOW: "SCMP_ACT_ALLOW",
        profile.RET_KILL_PROCESS: "SCMP_ACT_KILL_PROCESS",
        profile.RET_KILL_THREAD: "SCMP_ACT_KILL_THREAD",
        profile.RET_LOG: "SCMP_ACT_LOG",
    }
    if word in names:
        return names[word], None
    with_value = {
        profile.RET_ERRNO: "SCMP_ACT_ERRNO",
        profile.RET_TRACE: "SCMP_ACT_TRACE",
        profile.RET_TRAP: "SCMP_ACT_TRAP",
    }
    return with_value[word & 0xFFFF0000], None if word & 0xFFFF0000 == profile.RET_TRAP else word & 0xFFFF
