"""Health checks: what the image says and the user said, made into a plan that the monitor runs when it is due."""

from __future__ import annotations

import os
import select
import struct
import time

from tiffin.containers.result import Result
from tiffin.errors import UsageError, os_error
from tiffin.model.container import HealthCheck
from tiffin.runtime import signals
from tiffin.runtime import spec as oci
from tiffin.runtime.compile import compile_exec
from tiffin.runtime.ops import OPS
from tiffin.state.health import go_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.cgroups.driver import CgroupPlan
    from tiffin.containers.execute import ExecSession
    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.runtime.compile import Confinement

# Docker's.
DEFAULTS = HealthCheck(
    interval_ns=30_000_000_000, timeout_ns=30_000_000_000, start_period_ns=0, start_interval_ns=5_000_000_000, retries=3
)
SHORTEST_NS = 1_000_000
_TIMES = ("interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns")
_TITLES = ("Interval", "Timeout", "StartPeriod", "StartInterval")


def merged(asked: HealthCheck | None, of_image: HealthCheck | None) -> HealthCheck | None:
    """What holds for a container: what the user left open is the image's. UsageError for times that make no sense."""
    if asked is None:
        return of_image
    if of_image is not None:
        left_open = {name: getattr(of_image, name) for name in HealthCheck._fields if not getattr(asked, name)}
        asked = asked.replace(**left_open)
    for name, title in zip(_TIMES, _TITLES, strict=True):
        if getattr(asked, name) and getattr(asked, name) < SHORTEST_NS:
            raise UsageError(f"{title} in Healthcheck cannot be less than 1ms")
    if asked.retries < 0:
        raise UsageError("Retries in Healthcheck cannot be negative")
    return asked if asked != HealthCheck() else None


def command(check: HealthCheck | None) -> tuple[str, ...]:
    """The program and its arguments; empty when nothing is to be checked."""
    kind, *words = check.test if check and check.test else ("NONE",)
    if kind == "CMD" and words:
        return tuple(words)
    if kind == "CMD-SHELL" and words:
        return ("/bin/sh", "-c", words[0])
    return ()


def checked(check: HealthCheck | None) -> bool:
    return bool(command(check))


def with_defaults(check: HealthCheck) -> HealthCheck:
    """What the launcher is told. An image may say less than Docker, and we, would take from a user."""
    times = {name: max(getattr(check, name), SHORTEST_NS) if getattr(check, name) else getattr(DEFAULTS, name)
             for name in _TIMES}  # fmt: skip
    return check.replace(**times, retries=check.retries or DEFAULTS.retries)


def prepare(
    parts: Parts, container: Container, spec: dict[str, Any], cgroup: CgroupPlan, confined: Confinement
) -> tuple[str, int, int, int, int, int, int] | None:
    """Write the plan of one check to the run directory; the fields of the plan's HEALTH. None without checks.

    The check is what `tiffin exec` would run: as the same user, in the same cgroup, under the same filter. Whose
    namespaces it enters is known only when the container runs: the monitor fills that in.
    """
    check = container.config.health
    argv = command(check)
    if not argv:
        return None
    assert check is not None
    process = {**spec["process"], "terminal": False, "args": list(argv)}
    kinds = [entry["type"] for entry in oci.namespaces(container)]
    plan = compile_exec(
        process,
        pid=1,
        start_ticks=0,
        kinds=kinds,
        cgroup=parts.cgroups.joining(container.id),
        confinement=confined.replace(init=False),
    )
    data = bytes(plan)
    path = f"{parts.paths.container_run(container.id)}/health.plan"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise os_error(error, f"cannot prepare the health check of {container.name!r}") from error
    full = with_defaults(check)
    times = (full.interval_ns, full.timeout_ns, full.start_period_ns, full.start_interval_ns)
    return (path, enter_offset(data), *times, full.retries)


def enter_offset(plan: bytes) -> int:
    """Where the operation ENTER names its process in the bytes of a plan."""
    at = 16
    while True:
        code, _, size = struct.unpack_from("<HHI", plan, at)
        at += 8
        if code == OPS["ENTER"][0]:
            return at
        at += size


def run_now(parts: Parts, container: Container, execute: Callable[..., ExecSession]) -> Result:
    """One check now, by `execute`; its result is the caller's, and does not count for the container's health.

    Exit code -1 when it took longer than it may. ConflictError when the container does not run, UsageError when it
    has no check.
    """
    argv = command(container.config.health)
    if not argv or container.config.health is None:
        raise UsageError(f"container {container.name!r} has no defined healthcheck")
    timeout_ns = with_defaults(container.config.health).timeout_ns
    deadline_ns = time.monotonic_ns() + timeout_ns
    read, write = os.pipe()
    try:
        try:
            session = execute(container.id, argv, stdout=write, stderr=write)
        finally:
            os.close(write)
        with session:
            output, ended = _listen(read, session, deadline_ns)
            if ended:
                return Result(exit_code=session.wait(), stdout_bytes=output, stderr_bytes=b"")
            try:
                os.killpg(session.pid, signals.SIGKILL)
            except ProcessLookupError:
                pass
            session.wait()
            said = f"Health check exceeded timeout ({go_duration(timeout_ns)})\n"
            return Result(exit_code=-1, stdout_bytes=output, stderr_bytes=said.encode())
    finally:
        os.close(read)


def _listen(read: int, session: ExecSession, deadline_ns: int) -> tuple[bytes, bool]:
    """What the check writes until it has ended, and whether it has before the deadline."""
    output = b""
    poll = select.poll()
    poll.register(read, select.POLLIN)
    poll.register(session.fileno(), select.POLLIN)
    while True:
        left_ms = max(0, (deadline_ns - time.monotonic_ns() + 999_999) // 1_000_000)
        ready = dict(poll.poll(left_ms))
        if read in ready:
            data = os.read(read, 1 << 16)
            output += data
            if not data:
                poll.unregister(read)
        elif ready:
            return output, True
        elif left_ms == 0:
            return output, False
