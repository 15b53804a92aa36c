"""`top` and `port`."""

from __future__ import annotations

from tiffin.cli.options import Verb
from tiffin.cli.table import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.containers.processes import ProcessTable

_WIDTH = 20  # of a column at least, as Docker's


def _top(context: Context, parsed: Parsed) -> int:
    return show_processes(context.engine.top, parsed)


def show_processes(look: Callable[[str, Sequence[str]], ProcessTable], parsed: Parsed) -> int:
    """The table that `look` gives of whom the first argument names; the others are options of ps(1)."""
    from tiffin.containers.ps_options import columns

    reference, *words = parsed.arguments
    found = look(reference, columns(words))
    for line in aligned([list(found.titles), *(list(row) for row in found.rows)], minimum=_WIDTH):
        print(line)
    return 0


def _port(context: Context, parsed: Parsed) -> int:
    reference, *asked = parsed.arguments
    ports: dict[str, Any] = context.engine.inspect_container(reference)["NetworkSettings"]["Ports"]
    if asked:
        key = _port_key(asked[0])
        if not ports.get(key):
            from tiffin.errors import NotFoundError

            raise NotFoundError(f"No public port '{key}' published for {reference}")
        ports = {key: ports[key]}
    for key, bindings in sorted(ports.items()):
        for binding in bindings or ():
            address = _address(binding["HostIp"], binding["HostPort"])
            print(address if asked else f"{key} -> {address}")
    return 0


def _address(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port_key(text: str) -> str:
    from tiffin.errors import UsageError

    number, _, protocol = text.partition("/")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise UsageError(f"invalid port {text!r}", hint="it is a number, such as 80, or 53/udp")
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f"invalid port {text!r}", hint="the protocols are tcp, udp and sctp")
    return f"{int(number)}/{protocol.lower() or 'tcp'}"


TOP = Verb(
    name="top",
    summary="List the processes of a running container",
    run=_top,
    arguments="CONTAINER [ps OPTIONS]",
    minimum=1,
    maximum=None,
    interspersed=False,
    description="Process IDs and users are the host's. Options of ps: -o COLUMN[=TITLE],…, -ef (the default), aux.",
    examples=(
        ("tiffin top web", "who, since when, which command"),
        ("tiffin top web -o pid,rss,args", "columns of one's own"),
    ),
)

PORT = Verb(
    name="port",
    summary="List the published ports of a container",
    run=_port,
    arguments="CONTAINER [PRIVATE_PORT[/PROTO]]",
    minimum=1,
    maximum=2,
    examples=(("tiffin port web", "nothing so far: Tiffin publishes no ports"),),
)
