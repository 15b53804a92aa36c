"""Repositories and the hosts they are at: "localhost:5000/team/app" is "team/app" at "localhost:5000"."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, UsageError
from tiffin.model.record import Record

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_HOST = _LETTERS | _DIGITS | frozenset("-._")
_REFERENCE = _LETTERS | _DIGITS | frozenset("-._+")
_HEX = frozenset("0123456789abcdef")
_MAX_REFERENCE = 256


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


def check_host(host: str) -> str:
    """The host itself. UsageError for what is no host with an optional port."""
    name, port = split_port(host)
    known = _HEX | _HOST | {":"} if host.startswith("[") else _HOST
    spelled = f"[{name}]" if host.startswith("[") else name
    if not name or not known.issuperset(name) or host not in (spelled, f"{spelled}:{port}"):
        raise UsageError(f"{host!r} is no host with an optional port")
    return host


def check_reference(text: str) -> str:
    """The tag or digest itself, which is to be a part of an address. InvalidImageError for what can be neither."""
    return check_digest(text) if ":" in text else _checked(text, text, _REFERENCE)


def check_digest(text: str) -> str:
    """The digest itself. InvalidImageError for what is none."""
    algorithm, _, digits = text.partition(":")
    _checked(text, algorithm, _REFERENCE)
    return _checked(text, digits, _HEX)


def _checked(text: str, part: str, known: frozenset[str]) -> str:
    if not part or len(text) > _MAX_REFERENCE or not known.issuperset(part) or text[0] == ".":
        raise InvalidImageError(f"{text[:_MAX_REFERENCE]!r} is neither a tag nor a digest")
    return text
