"""exec: one more process in a running container."""

from __future__ import annotations

from tiffin.errors import ConflictError, NotSupportedError, UsageError
from tiffin.oci import bundle as bundles
from tiffin.oci import launch, process, schema
from tiffin.oci.lifecycle import listen_fds
from tiffin.oci.state import CREATED, RUNNING, Stored
from tiffin.runtime.compile import CLONE_FLAGS, Confinement, add_process
from tiffin.runtime.ops import Plan
from tiffin.runtime.security.capabilities import host_bounding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.cgroups.driver import CgroupPlan


def load_process(path: str) -> dict[str, Any]:
    """The process object of a file, as `--process` names it."""
    what = "the process file"
    wanted = schema.load(path, schema.PROCESS, what)
    bundles.complete_process(wanted, what, "")
    return wanted


def execute(
    stored: Stored,
    wanted: dict[str, Any],
    *,
    cache_dir: str,
    warn: Callable[[str], None],
    detach: bool,
    console_socket: str,
    pid_file: str,
    preserve_fds: int,
    relay: Callable[[int], None] | None,
) -> int:
    """Run it; its exit code, or 0 when it was detached. `relay` serves a terminal that nobody else takes."""
    status = stored.status()
    if status not in (RUNNING, CREATED):
        raise ConflictError(f"cannot exec in a {status} container")
    if "mount" not in stored.facts["namespaces"]:
        raise NotSupportedError("cannot exec in a container without a mount namespace of its own")
    if not wanted["args"]:
        raise UsageError("process args cannot be empty")
    if wanted["terminal"] and detach and not console_socket:
        raise UsageError("cannot allocate a terminal: the process is detached and there is no --console-socket")
    config = stored.config()
    process.known_capabilities(wanted, host_bounding(), warn)
    confined = process.confinement(config, wanted, cache_dir)
    passed = preserve_fds + listen_fds(wanted)
    plan = compile_enter(config, wanted, stored, stored.cgroups().joining(stored.pid), confined, passed)
    launched = launch.Launched(plan, ["exec", "-d"] if detach else ["exec"], passed, pipes=False)
    try:
        words = launched.channel.line()
        if not words or words[0] != "S":
            raise launch.failure(words, plan)
        if launched.channel.master >= 0 and console_socket:
            launch.hand_over(launched.channel.master, console_socket)
        if pid_file:
            launch.write_pid(pid_file, int(words[1]))
        if detach:
            return 0
        if launched.channel.master >= 0 and not console_socket and relay:
            relay(launched.channel.master)
        words = launched.channel.line()
        return int(words[1]) if words and words[0] == "X" else 255
    finally:
        launched.close()
        launched.reap()


def compile_enter(
    config: dict[str, Any],
    wanted: dict[str, Any],
    stored: Stored,
    cgroup: CgroupPlan,
    confined: Confinement,
    passed_fds: int,
) -> Plan:
    """The plan for role exec."""
    plan = Plan()
    kinds = stored.facts["namespaces"]
    flags = 0
    for kind in kinds:
        flags |= CLONE_FLAGS[kind]
    if wanted.get("consoleSize"):
        plan.add("TTY_SIZE", wanted["consoleSize"]["height"], wanted["consoleSize"]["width"])
    affinity = wanted.get("execCPUAffinity", {})
    if affinity.get("initial"):
        mask = process.processors(affinity["initial"])
        plan.add("CPU_AFFINITY", mask, doing=f"run on the processors {affinity['initial']}")
    if cgroup.into:
        plan.add("CGROUP_INTO", cgroup.into, doing=f"join the cgroup {cgroup.into}")
    plan.add("ENTER", stored.pid, stored.start_ticks, flags, doing="enter the container")
    for path in cgroup.tasks:
        plan.add("CGROUP_TASKS", path, doing=f"join the cgroup {path}")
    if "user" in kinds:
        plan.add("ID_MAPS", "", "", "", doing="become root of the user namespace")
        wanted = {name: value for name, value in wanted.items() if name != "oomScoreAdj"}
    if wanted["terminal"]:
        plan.add("CONSOLE", doing="allocate a terminal")
    process.check_limits(wanted)
    process.add_attributes(plan, config, wanted, executed=True)
    add_process(plan, wanted, confined.replace(passed=passed_fds), make_workdir=True)
    return plan


def process_of_options(stored: Stored, args: list[str], given: Callable[[str], list[str]]) -> dict[str, Any]:
    """The container's own process with what the options change, as runc's exec has it."""
    wanted: dict[str, Any] = stored.config().get("process") or {"cwd": "/"}
    bundles.complete_process(wanted, "config.json", "process.")
    for name in ("consoleSize", "scheduler", "ioPriority", "execCPUAffinity"):
        wanted.pop(name, None)
    wanted["args"] = args
    wanted["terminal"] = given("tty") == ["true"]
    if given("cwd"):
        wanted["cwd"] = given("cwd")[-1]
    wanted["env"] = wanted["env"] + given("env")
    if given("user"):
        wanted["user"] = {**wanted["user"], **_user(given("user")[-1])}
    wanted["user"]["additionalGids"] = wanted["user"]["additionalGids"] + [
        _number("--additional-gids", text) for text in given("additional-gids")
    ]
    if given("no-new-privs"):
        wanted["noNewPrivileges"] = given("no-new-privs")[-1] == "true"
    if given("apparmor"):
        wanted["apparmorProfile"] = given("apparmor")[-1]
    if given("process-label"):
        wanted["selinuxLabel"] = given("process-label")[-1]
    for name in given("cap"):
        for kind in ("bounding", "effective", "permitted"):
            if name not in wanted["capabilities"][kind]:
                wanted["capabilities"][kind] = [*wanted["capabilities"][kind], name]
    if not wanted["cwd"].startswith("/"):
        raise UsageError(f"--cwd {wanted['cwd']!r} is not an absolute path")
    return wanted


def _user(text: str) -> dict[str, int]:
    uid, colon, gid = text.partition(":")
    found = {"uid": _number("--user", uid)}
    if colon:
        found["gid"] = _number("--user", gid)
    return found


def _number(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= (1 << 32) - 1:
        raise UsageError(f"{option} takes numbers, and {text!r} is none")
    return int(text)
