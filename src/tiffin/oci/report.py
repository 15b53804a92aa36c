"""What ps, list and events print."""

from __future__ import annotations

import sys

from tiffin.cgroups import files
from tiffin.errors import HostError, UsageError
from tiffin.oci.state import Stored, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def _check(format: str) -> None:
    if format not in ("table", "json"):
        raise UsageError(f"invalid format {format!r}: it is table or json")


def ps(stored: Stored, format: str, options: Sequence[str]) -> int:
    """The processes of a container: their IDs as JSON, or the lines that ps(1) has for them."""
    import json

    _check(format)
    pids = stored.cgroups().processes()
    if format == "json":
        print(json.dumps(pids))
        return 0
    import subprocess

    try:
        done = subprocess.run(["ps", *(options or ("-ef",))], capture_output=True, text=True, check=False)
    except OSError as error:
        raise HostError(f"cannot run ps(1): {error.strerror}", hint="use --format json") from error
    if done.returncode:
        raise UsageError(f"ps: {done.stderr.strip() or done.stdout.strip()}")
    heading, *lines = done.stdout.splitlines()
    titles = heading.split()
    if "PID" not in titles:
        raise UsageError("ps was asked for lines without a PID column", hint="use options such as -ef")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    print("\n".join([heading, *(line for line in lines if line.split()[column : column + 1][0] in wanted)]))
    return 0


def containers(root: str, format: str, *, quiet: bool) -> int:
    """All containers."""
    import json

    _check(format)
    shown = [{**stored.shown(), "owner": "root"} for stored in listed(root)]
    if quiet:
        sys.stdout.write("".join(f"{entry['id']}\n" for entry in shown))
        return 0
    if format == "json":
        print(json.dumps(shown or None))
        return 0
    rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    rows += [tuple(str(entry[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")) for entry in shown]  # type: ignore[misc]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def stats(stored: Stored) -> int:
    """One line of JSON in the shape of runc's `events --stats`."""
    import json

    if not stored.alive():
        raise UsageError(f'container "{stored.id}" is not running')
    place = stored.cgroups()
    driver, name = place.driver()
    found = driver.stats(name)
    limits = driver.read(name)
    data: dict[str, Any] = {
        "cpu": {"usage": {"total": found.cpu_usage_ns or 0}},
        "memory": {"usage": {"usage": found.memory_bytes or 0, "limit": limits.memory_bytes or 0}},
        "pids": {"current": found.pids or 0, "limit": max(limits.pids_limit or 0, 0)},
        "blkio": {},
        "hugetlb": {},
    }
    if place.version == 2:
        text = files.read(f"{place.directories[0]}/memory.stat") or ""
    else:
        text = files.read(f"{place.paths().get('memory', '')}/memory.stat") or ""
    data["memory"]["raw"] = {key: int(value) for key, _, value in (line.partition(" ") for line in text.splitlines())}
    print(json.dumps({"type": "stats", "id": stored.id, "data": data}))
    return 0
