"""`linux.resources.devices`: rules in an order in which the last one that fits decides, unlike a plain list of what
is allowed. v1 takes them as they are, one after another; v2 gets a program that tries them from the last to the first.
"""

from __future__ import annotations

from tiffin.cgroups.devices import DEFAULT, EVERYTHING, DeviceRule, v1_lines
from tiffin.errors import UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Rule(Record):
    """One rule: devices, and whether they may be used."""

    allow: bool
    devices: DeviceRule

    @property
    def everything(self) -> bool:
        return self.devices in EVERYTHING


def rules(resources: dict[str, Any]) -> list[Rule]:
    """All rules of a container, in order: nothing is allowed, then what the config says, then what every container
    needs (config-linux.md, "Default Devices")."""
    found = [Rule(allow=False, devices=EVERYTHING[0])]
    for index, entry in enumerate(resources.get("devices", ())):
        where = f"linux.resources.devices[{index}]"
        kind, access = entry.get("type") or "a", entry.get("access") or "rwm"
        if kind not in ("a", "b", "c"):
            raise UsageError(f"config.json: {where}.type is {kind!r}, not a, b or c")
        if set(access) - set("rwm"):
            raise UsageError(f"config.json: {where}.access is {access!r}, which is not of r, w and m")
        major, minor = _number(entry, "major", where), _number(entry, "minor", where)
        # The kernel takes "a" for everything, whatever follows it.
        whole = kind == "a" and major is None and minor is None and set(access) == set("rwm")
        for one in ("a",) if whole else ("b", "c") if kind == "a" else (kind,):
            letters = "".join(letter for letter in "rwm" if letter in access)
            found.append(
                Rule(allow=entry["allow"], devices=DeviceRule(type=one, major=major, minor=minor, access=letters))
            )
    last_whole = max(index for index, rule in enumerate(found) if rule.everything)
    found = found[last_whole:]
    if found[0].allow:
        return found
    return found + [Rule(allow=True, devices=devices) for devices in DEFAULT]


def _number(entry: dict[str, Any], name: str, where: str) -> int | None:
    value = entry.get(name)
    if value is None or value == -1:
        return None
    if not 0 <= value < 1 << 32:
        raise UsageError(f"config.json: {where}.{name} is {value}, which is no device number")
    return int(value)


def v1_writes(ordered: list[Rule]) -> list[tuple[str, str]]:
    """Files and lines for them."""
    return [
        (f"devices.{'allow' if rule.allow else 'deny'}", "a" if rule.everything else v1_lines([rule.devices])[0])
        for rule in ordered
    ]


def v2_program(ordered: list[Rule]) -> bytes:
    """A BPF_PROG_TYPE_CGROUP_DEVICE program; empty when no rule denies anything."""
    from tiffin.cgroups.devices import answer_code, load_code, match_code

    if all(rule.allow for rule in ordered):
        return b""
    code = load_code()
    for rule in reversed(ordered[1:]):
        code += match_code(rule.devices, allow=rule.allow)
    return b"".join([*code, *answer_code(ordered[0].allow)])
