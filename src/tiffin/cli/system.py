"""`info`, `version`, `system df`, `system check`, and `cleanup`, which monitors call."""

from __future__ import annotations

import sys

from tiffin.cli.options import Option, Verb
from tiffin.cli.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

_FORMAT = Option(name="format", short="f", word="template", help="'json', or a Go template such as '{{.Driver}}'")
_INFO_LINES = (
    ("Version", "ServerVersion"),
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Runtimes", "Runtimes"),
    ("Default Runtime", "DefaultRuntime"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("Security Options", "SecurityOptions"),
)


def _info(context: Context, parsed: Parsed) -> int:
    facts = context.engine.info()
    format = parsed.text("format")
    if format:
        from tiffin.cli.inspect import structured
        from tiffin.cli.listing import render_one

        sys.stdout.write(render_one(format, structured(facts)))
        return 0
    for title, key in _INFO_LINES:
        if key not in facts:
            continue
        value = facts[key]
        shown = binary_size(value) if key == "MemTotal" else value
        if isinstance(shown, dict):
            shown = list(shown)
        if isinstance(shown, list):
            print(f"{title}:", *(f"  {item}" for item in shown), sep="\n")
        else:
            print(f"{title}: {shown}")
        if key == "Driver":
            for name, detail in facts.get("DriverStatus", []):
                print(f"  {name}: {detail}")
    for name, value in facts.get("Tiffin", {}).items():
        if name == "MemoryMerging":
            value = _merging(value)
        print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _merging(state: dict[str, Any]) -> str:
    if not state:
        return "not in this kernel"
    shown = "on" if state["run"] == 1 else "off"
    if state.get("pages_sharing"):
        shown += f", {state['pages_sharing']} pages saved, {state['pages_shared']} kept for them"
    return shown


def _version(context: Context, parsed: Parsed) -> int:
    import os
    import platform

    from tiffin._version import __version__
    from tiffin.cli.go_format import Fields
    from tiffin.images.platform import host_platform

    system = os.uname()
    facts = Fields(
        Version=__version__,
        PythonVersion=platform.python_version(),
        Os="linux",
        Arch=host_platform().architecture,
        KernelVersion=system.release,
    )
    format = parsed.text("format")
    if format:
        from tiffin.cli.listing import render_one

        # Scripts written for Docker ask for the client's or the server's version; here they are one program.
        sys.stdout.write(render_one(format, Fields({"Client": facts, "Server": facts, **facts})))
        return 0
    for title, key in (("Version", "Version"), ("Python", "PythonVersion"), ("Kernel", "KernelVersion")):
        print(f"{title}: {facts[key]}")
    print(f"Platform: {facts['Os']}/{facts['Arch']}")
    return 0


def _check(context: Context, parsed: Parsed) -> int:
    findings = context.engine.check(contents=parsed.flag("contents"))
    for finding in findings:
        print(finding)
    if not findings:
        print("No problems found.")
    return 1 if findings else 0


def _df(context: Context, parsed: Parsed) -> int:
    from tiffin.cli import disk_usage

    disk_usage.show(context, context.engine.disk_usage(), parsed)
    return 0


def _cleanup(context: Context, parsed: Parsed) -> int:
    context.engine.cleanup(parsed.arguments[0])
    return 0


INFO = Verb(
    name="info",
    summary="Show what Tiffin found on this host, and what it holds",
    run=_info,
    options=(_FORMAT,),
    examples=(("tiffin info -f '{{.Driver}}'", "how root file systems are made"),),
)
VERSION = Verb(
    name="version",
    summary="Show the version",
    run=_version,
    options=(_FORMAT,),
    examples=(("tiffin version -f '{{.Version}}'", "the number alone"),),
)
CHECK = Verb(
    name="system check",
    summary="Look for damage and litter in the store",
    run=_check,
    options=(Option(name="contents", kind="bool", help="Read every file's contents again, too"),),
    description="Prints a sentence per finding; the exit code is 1 when there is one.",
    examples=(("tiffin system check --contents", "after trouble with a disk"),),
)
DF = Verb(
    name="system df",
    summary="Show what takes how much of the disk",
    run=_df,
    options=(
        Option(name="format", word="template", help="'table', 'json', or a Go template such as '{{.Type}}'"),
        Option(name="verbose", short="v", kind="bool", help="Every image, container and volume"),
    ),
    examples=(("tiffin system df -v", "each image, container and volume"),),
)
CLEANUP = Verb(
    name="cleanup",
    summary="Finish what the end of a container asks for; its monitor calls this",
    run=_cleanup,
    arguments="CONTAINER",
    minimum=1,
    maximum=1,
    hidden=True,
)
