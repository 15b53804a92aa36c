"""A foreign `process` object, made into what `runtime/compile.py` takes."""

from __future__ import annotations

from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.runtime.compile import RLIMITS, Confinement
from tiffin.runtime.security import capabilities, lsm
from tiffin.runtime.security.lsm import Labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.runtime.ops import Plan
    from tiffin.runtime.security.seccomp import SeccompFilter

# sched(7), include/uapi/linux/sched.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
POLICY_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# ioprio_set(2)
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
MAX_PROCESSORS = 8192


def known_capabilities(process: dict[str, Any], bounding: int, warn: Callable[[str], None]) -> None:
    """Drop what this kernel does not know or this host cannot give, with a warning (config.md, "capabilities")."""
    sets = process["capabilities"]
    missing: dict[str, None] = {}
    for kind, names in sets.items():
        kept = []
        for name in names:
            bit = capabilities.BITS.get(name.removeprefix("CAP_")) if name.startswith("CAP_") else None
            if bit is not None and bounding >> bit & 1:
                kept.append(name)
            else:
                missing[name] = None
        sets[kind] = kept
    if missing:
        warn(f"this host cannot give the capabilities {', '.join(missing)}")
    inside = {kind: capabilities.mask_of(names) for kind, names in sets.items()}
    # The kernel's own rule: what can be raised must be held, and an ambient one must be inheritable too.
    for kind, of in (("effective", "permitted"), ("ambient", "permitted"), ("ambient", "inheritable")):
        outside = capabilities.names_of(inside[kind] & ~inside[of])
        if outside and kind == "effective":
            raise UsageError(f"process.capabilities.effective has {outside[0]}, which is not among the permitted ones")
        if outside:
            warn(f"the ambient capabilities {', '.join(outside)} are not {of}, so they are left out")
            inside["ambient"] &= inside[of]
            sets["ambient"] = list(capabilities.names_of(inside["ambient"]))


def check_limits(process: dict[str, Any]) -> None:
    for index, limit in enumerate(process["rlimits"]):
        name = limit["type"].removeprefix("RLIMIT_").lower()
        if not limit["type"].startswith("RLIMIT_") or name not in RLIMITS:
            raise UsageError(f"process.rlimits[{index}].type is {limit['type']!r}, which this kernel does not know")


def labels_of(process: dict[str, Any]) -> Labels:
    """The label that the process gets; HostError where the host has no such thing."""
    profile, label = process.get("apparmorProfile", ""), process.get("selinuxLabel", "")
    if profile and profile != "unconfined":
        if not lsm.apparmor_enabled():
            raise HostError(f"AppArmor does not run on this host, so process.apparmorProfile {profile!r} cannot be set")
        import os

        if profile not in lsm.apparmor_profiles():
            raise HostError(f"the AppArmor profile {profile!r} is not loaded")
        own = os.path.isdir("/proc/self/attr/apparmor")
        return Labels(exec_attribute="apparmor/exec" if own else "exec", exec_label=f"exec {profile}")
    if label:
        if not lsm.selinux_enabled():
            raise HostError(f"SELinux does not run on this host, so process.selinuxLabel {label!r} cannot be set")
        return Labels(exec_attribute="exec", exec_label=label)
    return Labels()


def confinement(config: dict[str, Any], process: dict[str, Any], cache_dir: str | None) -> Confinement:
    return Confinement(seccomp=seccomp_filter(config, process, cache_dir), labels=labels_of(process))


def seccomp_filter(config: dict[str, Any], process: dict[str, Any], cache_dir: str | None) -> SeccompFilter | None:
    """The compiled `linux.seccomp`, None without one."""
    policy = config["linux"].get("seccomp")
    if policy is None:
        return None
    for name in ("listenerPath", "listenerMetadata"):
        if policy.get(name):
            raise NotSupportedError(f"linux.seccomp.{name} is not supported: nobody here hands a listener on")
    import json

    from tiffin.runtime.security import seccomp

    content = json.dumps(policy, sort_keys=True).encode()
    mask = capabilities.mask_of(process["capabilities"]["bounding"])
    return seccomp.filter_of(content, mask, cache_dir)


def add_attributes(plan: Plan, config: dict[str, Any], process: dict[str, Any], *, executed: bool = False) -> None:
    """Personality, scheduler, priority of input and output, processors: what our own specs do not have."""
    personality = config["linux"].get("personality")
    if personality:
        if personality.get("flags"):
            raise NotSupportedError("linux.personality.flags are not supported: the spec names none")
        if personality["domain"] not in DOMAINS:
            raise UsageError(f"linux.personality.domain is {personality['domain']!r}, not LINUX or LINUX32")
        plan.add("PERSONALITY", DOMAINS[personality["domain"]], doing="set the personality")
    affinity = process.get("execCPUAffinity", {})
    if executed and affinity.get("final"):
        plan.add("CPU_AFFINITY", processors(affinity["final"]), doing=f"run on the processors {affinity['final']}")
    scheduler = process.get("scheduler")
    if scheduler:
        plan.add("SCHEDULER", *_scheduler(scheduler), doing=f"set the scheduler {scheduler['policy']}")
    priority = process.get("ioPriority")
    if priority:
        if priority["class"] not in IO_CLASSES:
            raise UsageError(f"process.ioPriority.class is {priority['class']!r}, not one of {', '.join(IO_CLASSES)}")
        level = priority.get("priority", 0)
        if not 0 <= level <= 7:
            raise UsageError(f"process.ioPriority.priority is {level}, which is not within 0 and 7")
        plan.add("IO_PRIORITY", IO_CLASSES[priority["class"]] << 13 | level, doing="set the priority of input/output")


def _scheduler(scheduler: dict[str, Any]) -> tuple[int, ...]:
    policy = scheduler["policy"]
    if policy not in POLICIES:
        raise UsageError(f"process.scheduler.policy is {policy!r}, not one of {', '.join(POLICIES)}")
    flags = 0
    for name in scheduler.get("flags", ()):
        if name not in POLICY_FLAGS:
            raise UsageError(f"process.scheduler.flags has {name!r}, not one of {', '.join(POLICY_FLAGS)}")
        flags |= POLICY_FLAGS[name]
    numbers = (scheduler.get(name, 0) for name in ("nice", "priority", "runtime", "deadline", "period"))
    return (POLICIES[policy], flags, *numbers)


def processors(text: str) -> bytes:
    """The mask of a list such as "0-3,7", in whole words."""
    mask = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"process.execCPUAffinity {text!r} is not a list of processors such as 0-3,7")
        low, high = int(first), int(last or first)
        if high < low or high >= MAX_PROCESSORS:
            raise UsageError(f"process.execCPUAffinity {text!r} is not a list of processors such as 0-3,7")
        mask |= ((1 << (high - low + 1)) - 1) << low
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
