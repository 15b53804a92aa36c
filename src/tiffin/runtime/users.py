"""Who a container's process is: names from inside the image, resolved against its own passwd(5) and group(5)."""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record

MAX_ID = (1 << 32) - 2


class Identity(Record):
    """Numbers and home directory of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(user: str, extra_groups: tuple[str, ...], passwd: bytes | None, group: bytes | None) -> Identity:
    """Resolve "name", "uid", "name:group", "uid:gid" (empty: root) as Docker does.

    A number without an entry is taken as it is, with group 0 and home "/". UsageError for an unknown name.
    """
    wanted, _, wanted_group = user.partition(":")
    wanted = wanted or "0"
    users = _fields(passwd, 7)
    groups = _fields(group, 4)
    number = _number(wanted, "user")
    entry = _find(users, wanted, number)
    if entry is None and number is None:
        raise UsageError(f"unable to find user {wanted}: no matching entries in the image's /etc/passwd")
    name = entry[0] if entry else ""
    uid = int(entry[2]) if entry else number or 0
    gid = int(entry[3]) if entry else 0
    supplementary: list[int] = []
    if wanted_group:
        gid = _group(wanted_group, groups)
    elif name:
        supplementary = [int(line[2]) for line in groups if name in line[3].split(",") and line[2].isdigit()]
    for extra in extra_groups:
        number = _group(extra, groups)
        if number not in supplementary:
            supplementary.append(number)
    return Identity(uid=uid, gid=gid, groups=tuple(supplementary), home=(entry[5] if entry else "") or "/")


def _fields(text: bytes | None, count: int) -> list[list[str]]:
    lines = (text or b"").decode("utf-8", "surrogateescape").split("\n")
    entries = [line.strip().split(":") for line in lines if line and not line.startswith("#")]
    return [entry for entry in entries if len(entry) >= count - 1]


def _find(entries: list[list[str]], wanted: str, number: int | None) -> list[str] | None:
    by_name = next((entry for entry in entries if entry[0] == wanted and _usable(entry)), None)
    if by_name is not None or number is None:
        return by_name
    return next((entry for entry in entries if entry[2] == wanted and _usable(entry)), None)


def _usable(entry: list[str]) -> bool:
    return entry[2].isdigit() and (len(entry) < 4 or entry[3].isdigit() or len(entry) == 4)


def _number(text: str, what: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    if int(text) > MAX_ID:
        raise UsageError(f"{what} ID {text} is out of range (0 to {MAX_ID})")
    return int(text)


def _group(wanted: str, groups: list[list[str]]) -> int:
    number = _number(wanted, "group")
    entry = _find(groups, wanted, number)
    if entry is not None:
        return int(entry[2])
    if number is None:
        raise UsageError(f"unable to find group {wanted}: no matching entries in the image's /etc/group")
    return number
