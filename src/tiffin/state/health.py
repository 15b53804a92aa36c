"""A container's health as its monitor has written it down.

The file: "health STATUS STREAK COUNT\\n", then COUNT times "START_NS END_NS CODE HOW ERRNO SIZE\\n", SIZE bytes of
output, "\\n". STATUS is starting, healthy or unhealthy; HOW is ran, cut (there was more output than is kept), timeout,
or failed (then the output is what the launcher said). `<run>/health` is written after every check; at the end of a run
the monitor writes `<container>/health` once, which is what there is after a reboot.
"""

from __future__ import annotations

import os

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths

STATUSES = ("starting", "healthy", "unhealthy")


class HealthResult(Record):
    """One check: nanoseconds since the epoch, the program's exit code or -1, and what it wrote."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(Record):
    """`status` is one of STATUSES; `failing_streak` counts failures in a row; `log` has the last five, oldest first."""

    status: str
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


def read_health(paths: Paths, container_id: str, timeout_ns: int = 0) -> Health | None:
    """None when nothing was ever checked. `timeout_ns` is how long one may take, for the texts of those that did."""
    for directory in (paths.container_run(container_id), paths.container(container_id)):
        try:
            with open(f"{directory}/health", "rb") as file:
                return parse(file.read(), timeout_ns)
        except OSError:
            continue
    return None


def read_status(paths: Paths, container_id: str) -> str:
    """The status alone; empty when nothing was ever checked."""
    for directory in (paths.container_run(container_id), paths.container(container_id)):
        try:
            fd = os.open(f"{directory}/health", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            words = os.read(fd, 64).split()
        finally:
            os.close(fd)
        return words[1].decode() if len(words) > 1 else ""
    return ""


def of_run(health: str, status: str) -> str:
    """What is shown of a container in `status`: as in Docker, none that has ended is healthy any more."""
    return "unhealthy" if health and status not in ("running", "restarting", "paused") else health


def parse(data: bytes, timeout_ns: int) -> Health | None:
    """The file's contents; None when they are none."""
    head, _, rest = data.partition(b"\n")
    words = head.split()
    if len(words) != 4 or words[0] != b"health":
        return None
    log = []
    for _ in range(int(words[3])):
        line, _, rest = rest.partition(b"\n")
        fields = line.split()
        if len(fields) != 6:
            break
        size = int(fields[5])
        text = rest[:size].decode("utf-8", "replace")
        rest = rest[size + 1 :]
        log.append(
            HealthResult(
                start_ns=int(fields[0]),
                end_ns=int(fields[1]),
                exit_code=int(fields[2]),
                output=_output(fields[3].decode(), int(fields[4]), text, timeout_ns),
            )
        )
    return Health(status=words[1].decode(), failing_streak=int(words[2]), log=tuple(log))


def _output(how: str, number: int, text: str, timeout_ns: int) -> str:
    """As Docker words it."""
    if how == "timeout":
        said = f"Health check exceeded timeout ({go_duration(timeout_ns)})"
        return f"{said}: {text}" if text else said
    if how == "failed":
        if text.startswith("exec ") and number == 2:
            return f'exec: "{text[5:]}": executable file not found in $PATH'
        return f"{text}: {os.strerror(number)}"
    return text + "..." if how == "cut" else text


def go_duration(nanoseconds: int) -> str:
    """As Go prints one: "30s", "1m30s", "1.5s", "200ms"."""
    if nanoseconds < 1_000_000_000:
        for unit, scale in (("ms", 1_000_000), ("µs", 1000), ("ns", 1)):
            if nanoseconds >= scale:
                return f"{nanoseconds / scale:.9g}{unit}"
        return "0s"
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else str(seconds)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{text}s"
