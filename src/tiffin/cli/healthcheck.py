"""`healthcheck run`."""

from __future__ import annotations

import sys

from tiffin.cli.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed


def _run(context: Context, parsed: Parsed) -> int:
    result = context.engine.healthcheck(parsed.arguments[0])
    if result.exit_code == 0:
        return 0
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    print("unhealthy")
    return 1


RUN = Verb(
    name="healthcheck run",
    summary="Run the health check of a container now",
    run=_run,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    failed=125,
    description="Exit code 0 when all is well, 1 when not, 125 when there is no check. It does not count for the "
    "container's health, which `tiffin inspect` shows.",
    examples=(("tiffin healthcheck run web && echo fine", "ask in a script"),),
)
