"""Repositories and the hosts they are at: "localhost:5000/team/app" is "team/app" at "localhost:5000"."""

from __future__ import annotations

from tiffin.model.record import Record


class Repository(Record):
    """A place for images in a registry; `host` has the port, if there is one, `path` neither tag nor digest."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


def split_name(name: str) -> Repository | None:
    """The repository that a name (without tag and digest) means, None when it names no host.

    The first part is a host when it has a dot, a colon or an upper-case letter, or is "localhost": the rule of the
    distribution project's reference grammar.
    """
    first, slash, rest = name.partition("/")
    if slash and rest and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return Repository(host=first, path=rest)
    return None


def split_port(host: str) -> tuple[str, int | None]:
    """Host (an IPv6 address without its brackets) and port, None when it names none."""
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address, int(rest[1:]) if rest.startswith(":") and rest[1:].isdigit() else None
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and ":" not in name:
        return name, int(port)
    return host, None


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine itself: "localhost", 127.0.0.0/8 or ::1."""
    name, _ = split_port(host)
    if name.lower() == "localhost":
        return True
    from ipaddress import ip_address

    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
