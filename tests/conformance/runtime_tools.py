"""Run the validation programs of opencontainers/runtime-tools on two runtimes, and write the ledger.

    python tests/conformance/runtime_tools.py CHECKOUT --ours tiffin-runtime [--other runc] [--write docs/PARITY.md]

CHECKOUT is a clone of the project in which `runtimetest` and `validation/*/*.t` are compiled (see its Makefile). Needs
root. Exits with 1 when a program is clean with the other runtime and not with ours, or has more that is not ok.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 180

# The ledger's place in the document.
BEGIN = "<!-- Written by tests/conformance/runtime_tools.py. -->\n"
END = "<!-- Written by hand again. -->\n"

# Why a program is not clean with ours. "Test" is a mistake of the program's, "kernel" and "host" what the reference
# host lacks, "spec" a sentence that later versions of runtime-spec changed.
WHY = {
    "delete_resources": "test: compares the addresses of two numbers, not the numbers (the pids limit is right)",
    "hooks_stdin": "spec: wants the state `created` for prestart hooks, which run during `creating` since 1.0.2",
    "linux_cgroups_blkio": "kernel: `blkio.leaf_weight` is gone since 5.0, so the config is refused with that reason",
    "linux_cgroups_hugetlb": "host: has no hugetlb controller, so the config is refused with that reason",
    "linux_cgroups_memory": "kernel: `memory.kmem.limit_in_bytes` takes no value any more since 6.1",
    "linux_cgroups_network": "host: has no net_cls controller, so the config is refused with that reason",
    "linux_cgroups_pids": "test: compares the addresses of two numbers (the pids limit is right)",
    "linux_cgroups_relative_blkio": "kernel: as linux_cgroups_blkio",
    "linux_cgroups_relative_hugetlb": "host: as linux_cgroups_hugetlb",
    "linux_cgroups_relative_memory": "kernel: as linux_cgroups_memory",
    "linux_cgroups_relative_network": "host: as linux_cgroups_network",
    "linux_cgroups_relative_pids": "test: as linux_cgroups_pids",
    "linux_mount_label": "host: SELinux does not run, so the config is refused with that reason",
    "linux_process_apparmor_profile": "host: AppArmor does not run, so the config is refused with that reason",
    "misc_props": "test: names a program that its bundle does not have, and wants `create` to succeed",
    "pidfile": "test: kills a program that has ended (`true`), and wants that to succeed",
    "process_capabilities": "host: cannot give CAP_SYS_RESOURCE; a warning, as the spec says since 1.1, not an error",
    "process_capabilities_fail": "spec: wants an error for an unknown capability, since 1.1 that is a warning",
    "process_rlimits": "test: its Go runtime raises its own soft limit of open files before it looks",
    "start": "test: wants `start` to succeed where its own sentence says that it must fail",
}


class Outcome(NamedTuple):
    """What one program said."""

    code: int
    ok: int
    not_ok: int

    @property
    def clean(self) -> bool:
        return self.code == 0 and self.not_ok == 0

    @property
    def shown(self) -> str:
        if self.clean:
            return "clean"
        return f"{self.not_ok} not ok" if self.not_ok else "refused"


def outcome(program: Path, checkout: Path, runtime: str) -> Outcome:
    with tempfile.TemporaryFile("w+") as output:
        try:
            code = subprocess.run(
                [program],
                cwd=checkout,
                env={**os.environ, "RUNTIME": runtime},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        output.seek(0)
        lines = output.read().splitlines()
    return Outcome(
        code, sum(line.startswith("ok ") for line in lines), sum(line.startswith("not ok ") for line in lines)
    )


def table(results: dict[str, dict[str, Outcome]], ours: str, other: str) -> str:
    """The ledger as Markdown."""
    lines = [
        "# The OCI runtime specification",
        "",
        "How `tiffin-runtime` keeps to it, said by the validation programs of opencontainers/runtime-tools, run one",
        "after the other on the same host (kernel 6.18, cgroup v1, no AppArmor, no SELinux, no CAP_SYS_RESOURCE) by",
        "`tests/conformance/runtime_tools.py`, which writes this part. *Clean*: the program succeeds, and no",
        "assertion of it is `not ok`. *Refused*: `create` failed, and the program with it. `hooks` and `prestart`",
        "assert nothing, and complain about both runtimes: one compares with a text that its own hooks do not write,",
        "the other wants prestart hooks to run at `start`, as they did before version 1.0.2 of the spec.",
        "",
        f"| | {other} | tiffin-runtime |",
        "| --- | --- | --- |",
    ]
    for title, count in (
        ("programs clean", lambda outcomes: f"{sum(item.clean for item in outcomes)} of {len(outcomes)}"),
        ("assertions ok", lambda outcomes: f"{sum(item.ok for item in outcomes):,}"),
        ("assertions not ok", lambda outcomes: f"{sum(item.not_ok for item in outcomes):,}"),
    ):
        columns = [count([outcomes[runtime] for outcomes in results.values()]) for runtime in (other, ours)]
        lines.append(f"| {title} | {' | '.join(columns)} |")
    lines += ["", f"| program | {other} | tiffin-runtime | why not clean |", "| --- | --- | --- | --- |"]
    for name, outcomes in results.items():
        why = "" if outcomes[ours].clean else WHY.get(name, "**unexplained**")
        lines.append(f"| {name} | {outcomes[other].shown} | {outcomes[ours].shown} | {why} |")
    return "\n".join(lines) + "\n"


def worse(results: dict[str, dict[str, Outcome]], ours: str, other: str) -> list[str]:
    """Programs in which ours does less well."""
    found = []
    for name, outcomes in results.items():
        mine, theirs = outcomes[ours], outcomes[other]
        if (theirs.clean and not mine.clean) or (theirs.code == 0 and mine.not_ok > theirs.not_ok):
            found.append(f"{name}: {other} {theirs.shown}, ours {mine.shown}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--ours", required=True, help="tiffin-runtime, or its path")
    parser.add_argument("--other", default="runc")
    parser.add_argument("--write", type=Path, help="document that has the ledger between its marks")
    asked = parser.parse_args()
    checkout = asked.checkout.resolve()
    programs = sorted(checkout.glob("validation/*/*.t"))
    if not programs or not (checkout / "runtimetest").exists():
        parser.error(f"nothing is compiled in {checkout}: run `make runtimetest validation-executables` there")
    results: dict[str, dict[str, Outcome]] = {}
    for program in programs:
        results[program.stem] = {runtime: outcome(program, checkout, runtime) for runtime in (asked.other, asked.ours)}
        shown = ", ".join(item.shown for item in results[program.stem].values())
        print(f"{program.stem}: {shown}", flush=True)
    text = table(results, asked.ours, asked.other)
    if asked.write:
        before, _, rest = asked.write.read_text().partition(BEGIN)
        asked.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    found = worse(results, asked.ours, asked.other)
    print(
        "\n".join(
            [
                "",
                *[line for line in text.splitlines() if line.startswith(("| programs", "| assertions"))],
                "",
                *(f"WORSE {line}" for line in found),
            ]
        )
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
