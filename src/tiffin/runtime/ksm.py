"""Equal memory merged by the kernel (KSM): what that needs, switching it on, and what has come of it.

A process is marked by prctl(2) PR_SET_MEMORY_MERGE, which the launcher calls; the kernel's thread then compares its
anonymous pages with those of all marked processes (the kernel's admin-guide/mm/ksm.rst, proc_pid_ksm_stat).
"""

from __future__ import annotations

import os

from tiffin.errors import HostError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SETTINGS = "/sys/kernel/mm/ksm"
# The mark came with Linux 6.4, but a program that was executed lost it until 6.7.
LEAST = (6, 7)
NEEDED = "it takes Linux 6.7 or later, built with CONFIG_KSM"
ON, OFF, UNMERGED = "1", "0", "2"
# What the kernel begins with: only who finds these has nobody else's settings to respect.
UNTOUCHED = {"pages_to_scan": "100", "sleep_millisecs": "20"}
# 1000 pages every 20 ms is at most 200 MB a second for some 4 % of one processor; the kernel's 100 take minutes to find
# what is equal in a gigabyte. Its advisor (scan-time, Linux 6.8) never takes less than 10 % while there is anything to
# look at, and begins with a few pages a second where the thread has run before.
PAGES_TO_SCAN = "1000"


class Merged(Record):
    """What merging has come to for some processes.

    `pages` are those of their pages that share their memory with equal ones, each counted where it is mapped;
    `profit_bytes` is what that saves, the kernel's own records subtracted: below 0 if these take more.
    """

    pages: int = 0
    profit_bytes: int = 0


def check(settings: str = SETTINGS, release: str | None = None) -> None:
    """Refuse with HostError what this kernel cannot do. Where /sys is not to be seen, the launcher finds out."""
    running = release or os.uname().release
    if _version(running) < LEAST:
        raise HostError(f"memory cannot be merged on this host: it runs Linux {running}", hint=NEEDED)
    if not os.path.isdir(settings) and os.path.isdir(os.path.dirname(settings)):
        raise HostError(f"memory cannot be merged on this host: its kernel has no {settings}", hint=NEEDED)


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0]
    digits = minor[: len(minor) - len(minor.lstrip("0123456789"))]
    return (int(major), int(digits or 0)) if major.isdecimal() else (0, 0)


def switch_on(warn: Callable[[str], None], settings: str = SETTINGS) -> None:
    """Have the kernel's thread run, at a speed of ours where nobody has set one; say so when it cannot be.

    What runs already is left alone, and so is what somebody has stopped by taking all merged pages apart (2).
    """
    run = _read(settings, "run")
    if run == ON:
        return
    if run == UNMERGED:
        warn(
            f"no memory is merged: merging was stopped on this host ({settings}/run is 2); "
            f"to have it run again: echo 1 > {settings}/run"
        )
        return
    try:
        if _untouched(settings):
            _write(settings, "pages_to_scan", PAGES_TO_SCAN)
        _write(settings, "run", ON)
    except OSError as error:
        warn(
            f"no memory is merged: merging cannot be switched on here ({error.strerror}: {error.filename}); "
            f"as root of the host: echo 1 > {settings}/run"
        )


def _untouched(settings: str) -> bool:
    advisor = _read(settings, "advisor_mode")
    own = advisor is None or "[none]" in advisor
    return own and all(_read(settings, name) == value for name, value in UNTOUCHED.items())


def merged(pids: Iterable[int], proc: str = "/proc") -> Merged:
    """Of these processes together; one that has ended counts for nothing."""
    pages = profit = 0
    for pid in pids:
        figures = _figures(f"{proc}/{pid}/ksm_stat")
        pages += figures.get("ksm_merging_pages", 0) + figures.get("ksm_zero_pages", 0)
        profit += figures.get("ksm_process_profit", 0)
    return Merged(pages=pages, profit_bytes=profit)


def _figures(path: str) -> dict[str, int]:
    found = {}
    try:
        with open(path) as file:
            for line in file:
                name, _, value = line.partition(" ")
                if value.strip().lstrip("-").isdecimal():
                    found[name] = int(value)
    except OSError:
        return {}
    return found


def state(settings: str = SETTINGS) -> dict[str, str | int] | None:
    """How merging stands on this host, by the kernel's names; None where the kernel has none of it."""
    run = _read(settings, "run")
    if run is None:
        return None
    found: dict[str, str | int] = {"run": int(run)}
    advisor = _read(settings, "advisor_mode")
    if advisor is not None:
        found["advisor_mode"] = advisor.partition("[")[2].partition("]")[0]
    for name in ("pages_to_scan", "sleep_millisecs", "pages_shared", "pages_sharing", "general_profit"):
        value = _read(settings, name)
        if value is not None:
            found[name] = int(value)
    return found


def _read(settings: str, name: str) -> str | None:
    try:
        with open(f"{settings}/{name}") as file:
            return file.read().strip()
    except OSError:
        return None


def _write(settings: str, name: str, value: str) -> None:
    fd = os.open(f"{settings}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = f"{settings}/{name}"
        raise
    finally:
        os.close(fd)
