"""update: other limits for a container that runs."""

from __future__ import annotations

from tiffin.errors import ConflictError, UsageError
from tiffin.oci import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.options import Parsed
    from tiffin.oci.state import Stored

NUMBERS = {
    "memory": ("memory", "limit"),
    "memory-swap": ("memory", "swap"),
    "memory-reservation": ("memory", "reservation"),
    "cpu-shares": ("cpu", "shares"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-period": ("cpu", "period"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "pids-limit": ("pids", "limit"),
    "blkio-weight": ("blockIO", "weight"),
}
TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}


def update(stored: Stored, asked: Parsed) -> None:
    """Write what was asked for: all of it, or nothing when one value is refused."""
    if len(asked.arguments) != 1:
        raise UsageError("update takes one argument, the container's ID")
    if not stored.alive():
        raise ConflictError("container not running")
    changes = wanted(asked)
    if not changes:
        raise UsageError("update was given nothing to change")
    stored.cgroups().apply(changes)


def wanted(asked: Parsed) -> dict[str, Any]:
    """The `linux.resources` object of a file, or of the options."""
    file = asked.text("resources")
    if file is not None:
        what = "the resources file"
        if file == "-":
            import sys

            found = schema.parse(sys.stdin.buffer.read(schema.MAX_CONFIG_BYTES + 1), schema.RESOURCES, what)
        else:
            found = schema.load(file, schema.RESOURCES, what)
        return without_unset(found)
    found = {}
    for option, (section, key) in {**NUMBERS, **TEXTS}.items():
        text = asked.text(option)
        if text is None:
            continue
        value: Any = text
        if option in NUMBERS:
            sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
            if not digits.isascii() or not digits.isdigit():
                raise UsageError(f"--{option} takes a whole number, and {text!r} is none")
            value = sign * int(digits)
        found.setdefault(section, {})[key] = value
    return schema.checked(found, schema.RESOURCES, "update")


def without_unset(resources: dict[str, Any]) -> dict[str, Any]:
    """The zeros and empty texts with which engines fill in what they do not mean are no limits."""
    found: dict[str, Any] = {}
    for section, entry in resources.items():
        if isinstance(entry, dict):
            entry = {key: value for key, value in entry.items() if value}
        if entry:
            found[section] = entry
    return found
