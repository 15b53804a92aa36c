"""The syslog log driver: addresses, facilities and formats as Docker's, which are those of Go's log/syslog."""

from __future__ import annotations

import os

from tiffin.containers.log_drivers import DATAGRAM, STREAM, delivery, tag, unix_address
from tiffin.errors import LaunchError, NotSupportedError, UsageError
from tiffin.runtime.ops import SINK_SYSLOG_5424, SINK_SYSLOG_5424_MICRO, SINK_SYSLOG_STAMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.containers.log_drivers import Operation
    from tiffin.model.container import Container

# syslog(3)
FACILITIES = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
DEFAULT_PORT = 514
_FAILED = "failed to initialize logging driver"


def check(given: dict[str, str]) -> None:
    """UsageError for what no start could use."""
    facility(given.get("syslog-facility", "daemon"))
    if given.get("syslog-format", "") not in FORMATS:
        raise UsageError("Invalid syslog format")
    parse_address(given.get("syslog-address", ""))


def facility(text: str) -> int:
    """A facility's number, by name or number."""
    if text in FACILITIES:
        return FACILITIES.index(text)
    if text.startswith("local") and text[5:].isdigit() and int(text[5:]) < 8 and len(text) == 6:
        return 16 + int(text[5:])
    if text.isdigit() and int(text) < 24:
        return int(text)
    raise UsageError("invalid syslog facility")


def parse_address(address: str) -> tuple[str, str, int]:
    """(scheme, path or host, port); the scheme is "" for the host's own syslog."""
    if not address:
        return "", "", 0
    scheme, separator, rest = address.partition("://")
    if scheme == "tcp+tls":
        raise NotSupportedError(
            f"syslog-address {address} is not supported yet: Tiffin sends no encrypted syslog so far"
        )
    if not separator or scheme not in ("unix", "unixgram", "tcp", "udp"):
        raise UsageError(f"syslog-address should be in form proto://address, got {address}")
    if scheme.startswith("unix"):
        if not os.path.exists(rest):
            raise UsageError(f"stat {rest}: no such file or directory")
        if len(rest.encode()) > 107:
            raise UsageError(f"the path {rest} is longer than the address of a socket may be")
        return scheme, rest, 0
    rest = rest.partition("/")[0]
    host, colon, port = rest.rpartition(":")
    if rest.endswith("]") or not colon:
        host, port = rest, str(DEFAULT_PORT)
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"syslog-address should be in form proto://address, got {address}")
    return scheme, host.strip("[]"), int(port)


def operations(container: Container, given: dict[str, str]) -> tuple[Operation, ...]:
    """What the monitor is told. LaunchError when nobody is there."""
    import time

    kind, address, doing = _resolve(given.get("syslog-address", ""))
    # A line end in it, as the image's command may have, would begin a message of the image's own.
    name = "".join(letter if letter.isprintable() else "_" for letter in tag(container, "{{.ID}}"))
    host = os.uname().nodename
    form = given.get("syslog-format", "")
    if form == "":
        sink, before, after = SINK_SYSLOG_STAMP, f"{name}[", "]: "
    elif form == "rfc3164":
        sink, before, after = SINK_SYSLOG_STAMP, f"{host} {name}[", "]: "
    else:
        sink = SINK_SYSLOG_5424 if form == "rfc5424" else SINK_SYSLOG_5424_MICRO
        before, after = f"{host} {name} ", f" {name} - "
    pieces = (text.encode("utf-8", "surrogateescape") for text in (before, after))
    offset = time.localtime().tm_gmtoff
    return (
        ("LOG_SINK", (sink, kind, address, *delivery(given), *pieces), doing),
        ("LOG_SYSLOG", (facility(given.get("syslog-facility", "daemon")), offset), ""),
    )


def _resolve(text: str) -> tuple[int, bytes, str]:
    """Socket type, address, and what is being done in words."""
    scheme, where, port = parse_address(text)
    if not scheme:
        for path in LOCAL:
            kind = _unix_kind(path, (DATAGRAM, STREAM))
            if kind:
                return kind, unix_address(path), f"dial unix {path}: connect"
        raise LaunchError(f"{_FAILED}: Unix syslog delivery error", hint="no syslog listens on this host")
    if scheme.startswith("unix"):
        kind = _unix_kind(where, (DATAGRAM,) if scheme == "unixgram" else (STREAM, DATAGRAM))
        return kind or DATAGRAM, unix_address(where), f"dial {scheme} {where}: connect"
    import socket

    kind = STREAM if scheme == "tcp" else DATAGRAM
    try:
        family, _, _, _, found = socket.getaddrinfo(where or "localhost", port, type=socket.SocketKind(kind))[0]
    except OSError as error:
        raise LaunchError(f"{_FAILED}: dial {scheme}: lookup {where}: {error.strerror}") from error
    host = str(found[0])
    packed = socket.inet_pton(family, host.partition("%")[0])
    head = int(family).to_bytes(2, "little") + port.to_bytes(2, "big")
    if family == socket.AF_INET6:
        scope = int(found[3]) if len(found) == 4 else 0
        return kind, head + bytes(4) + packed + scope.to_bytes(4, "little"), f"dial {scheme} [{host}]:{port}: connect"
    return kind, head + packed + bytes(8), f"dial {scheme} {host}:{port}: connect"


def _unix_kind(path: str, kinds: tuple[int, ...]) -> int:
    """The first of the socket types that somebody listens with at `path`; 0 when nobody does."""
    import socket

    for kind in kinds:
        with socket.socket(socket.AF_UNIX, kind) as probe:
            try:
                probe.connect(path)
            except OSError:
                continue
            return kind
    return 0
