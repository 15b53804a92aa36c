"""Options on health checks and restarts, and what is made of them."""

from __future__ import annotations

from tiffin.cli.options import Option
from tiffin.errors import UsageError
from tiffin.model.container import HealthCheck, RestartPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.options import Parsed

RESTART = Option(
    name="restart",
    word="policy",
    help="Start it again when it ends: no, always, unless-stopped, on-failure[:most-retries]",
    default="no",
)
HEALTH = (
    Option(name="health-cmd", word="command", help="Shell command that tells by its exit code whether all is well"),
    Option(name="health-interval", word="time", help="Time between checks, such as 1m30s", default="30s"),
    Option(name="health-retries", kind="int", help="Failures in a row that make it unhealthy", default="3"),
    Option(name="health-start-interval", word="time", help="Time between checks in the start period", default="5s"),
    Option(name="health-start-period", word="time", help="Time in which failures do not count", default="0s"),
    Option(name="health-timeout", word="time", help="Time that a check may take", default="30s"),
    Option(name="no-healthcheck", kind="bool", help="Run no checks, whatever the image says"),
)
_TIMES = ("interval", "timeout", "start-period", "start-interval")


def restart_policy(parsed: Parsed) -> RestartPolicy:
    """--restart. UsageError in Docker's words."""
    text = parsed.text("restart")
    if text is None:
        return RestartPolicy()
    from tiffin.containers import policy

    found = policy.parse(text)
    policy.check(found, auto_remove="rm" in parsed.values and parsed.flag("rm"))
    return found


def health_check(parsed: Parsed) -> HealthCheck | None:
    """--health-… and --no-healthcheck; None when nothing was said. UsageError in Docker's words."""
    names = [option.name for option in HEALTH if option.kind != "bool"]
    if not any(name in parsed.values for name in (*names, "no-healthcheck")):
        return None
    said = [name for name in names if parsed.text(name) not in (None, "", "0", "0s")]
    if parsed.flag("no-healthcheck"):
        if said:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return HealthCheck(test=("NONE",))
    command = parsed.text("health-cmd")
    retries = parsed.number("health-retries") or 0
    if retries < 0:
        raise UsageError("--health-retries cannot be negative")
    times = {f"{name.replace('-', '_')}_ns": _nanoseconds(parsed, f"health-{name}") for name in _TIMES}
    check = HealthCheck(test=("CMD-SHELL", command) if command else (), retries=retries, **times)
    return check if check != HealthCheck() else None


def _nanoseconds(parsed: Parsed, name: str) -> int:
    text = parsed.text(name)
    if text is None:
        return 0
    from tiffin.cli.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise parsed.invalid(name, text, str(error)) from None
    if seconds < 0:
        raise UsageError(f"--{name} cannot be negative")
    if seconds >= 2**63 / 1e9:
        raise parsed.invalid(name, text, "it is longer than 292 years")
    return round(seconds * 1e9)
