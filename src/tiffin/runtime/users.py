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

    A number is always an ID, never a name that looks like one, or an image could make root of it (CVE-2016-3697).
    Without an entry it is taken as it is, with group 0 and home "/". UsageError for an unknown name.
    """
    wanted, _, wanted_group = user.partition(":")
    wanted = wanted or "0"
    users = [entry for entry in _entries(passwd) if len(entry) >= 6 and _id(entry[2]) >= 0 and _id(entry[3]) >= 0]
    groups = [entry for entry in _entries(group) if len(entry) >= 3 and _id(entry[2]) >= 0]
    number = _number(wanted, "user")
    entry = _find(users, wanted, number)
    if entry is None and number is None:
        raise UsageError(f"unable to find user {wanted}: no matching entries in the image's /etc/passwd")
    name = entry[0] if entry else ""
    uid = _id(entry[2]) if entry else number or 0
    gid = _id(entry[3]) if entry else 0
    supplementary: list[int] = []
    if wanted_group:
        gid = _group(wanted_group, groups)
    elif name:
        supplementary = [_id(line[2]) for line in groups if len(line) > 3 and name in line[3].split(",")]
    # The main group too, or a program could drop it and pass where a file's mode shuts that group out
    # (CVE-2022-36109).
    if gid not in supplementary:
        supplementary.insert(0, gid)
    for extra in extra_groups:
        number = _group(extra, groups)
        if number not in supplementary:
            supplementary.append(number)
    return Identity(uid=uid, gid=gid, groups=tuple(supplementary), home=(entry[5] if entry else "") or "/")


def _entries(text: bytes | None) -> list[list[str]]:
    """The lines of a file that whoever is inside may have written, as fields."""
    lines = (text or b"").decode("utf-8", "surrogateescape").split("\n")
    return [line.strip().split(":") for line in lines if line and not line.startswith("#") and "\0" not in line]


def _find(entries: list[list[str]], wanted: str, number: int | None) -> list[str] | None:
    if number is None:
        return next((entry for entry in entries if entry[0] == wanted), None)
    return next((entry for entry in entries if _id(entry[2]) == number), None)


def _id(text: str) -> int:
    """A user or group ID in decimal; -1 when it is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return -1
    number = int(text)
    return number if number <= MAX_ID else -1


def _number(text: str, what: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    if (number := _id(text)) < 0:
        raise UsageError(f"{what} ID {text} is out of range (0 to {MAX_ID})")
    return number


def _group(wanted: str, groups: list[list[str]]) -> int:
    number = _number(wanted, "group")
    if number is not None:
        return number
    entry = _find(groups, wanted, None)
    if entry is None:
        raise UsageError(f"unable to find group {wanted}: no matching entries in the image's /etc/group")
    return _id(entry[2])
