"""`generate systemd`."""

from __future__ import annotations

import os
import sys

from tiffin.cli.options import Option, Verb
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _systemd(context: Context, parsed: Parsed) -> int:
    boot = parsed.flag("boot")
    if boot == bool(parsed.arguments):
        raise UsageError("name one container, or give --boot", hint=parsed.verb.see_help)
    if boot:
        name, text = context.engine.generate_systemd_boot()
    else:
        name, text = context.engine.generate_systemd(
            parsed.arguments[0],
            restart=parsed.text("restart-policy") or "on-failure",
            stop_timeout_s=parsed.number("time"),
            new=parsed.flag("new"),
        )
    if not parsed.flag("files"):
        sys.stdout.write(f"# {name}\n{text}")
        return 0
    path = os.path.abspath(name)
    with open(path, "w") as file:
        file.write(text)
    print(path)
    return 0


SYSTEMD = Verb(
    name="generate systemd",
    summary="Print a systemd unit for a container, or for all that start at boot",
    run=_systemd,
    arguments="[CONTAINER]",
    maximum=1,
    options=(
        Option(name="boot", kind="bool", help="The unit that starts containers by their restart policies at boot"),
        Option(name="files", short="f", kind="bool", help="Write a file into this directory, and print its path"),
        Option(name="new", kind="bool", help="Refused so far: a unit that makes the container anew"),
        Option(name="restart-policy", word="policy", help="When systemd starts it again", default="on-failure"),
        Option(
            name="time", alias="stop-timeout", short="t", kind="int", word="seconds",
            help="Seconds to wait before killing it", default="the container's, or 10",
        ),
    ),
    description="The unit's main process is the container's monitor, which ends with the container's exit code.",
    examples=(
        ("tiffin generate systemd --boot > /etc/systemd/system/tiffin-boot.service", "then enable it"),
        ("tiffin generate systemd --files web", "writes container-web.service"),
    ),
)  # fmt: skip
