"""Rules for every test: nothing is left behind on the host, and in CI nothing is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.leaks import Snapshot, left_after

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
LEFT_BEHIND = pytest.StashKey[list[str]]()
BEFORE = pytest.StashKey[Snapshot]()

# What this host's administrator says of registries and policies is not to decide tests.
os.environ["TIFFIN_REGISTRIES"] = os.devnull
os.environ.pop("TIFFIN_POLICY", None)


def pytest_sessionstart(session: pytest.Session) -> None:
    if _is_controller(session.config):
        session.config.stash[BEFORE] = Snapshot.take()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _is_controller(session.config):
        return
    left = left_after(session.config.stash[BEFORE], alone=IN_CI)
    session.config.stash[LEFT_BEHIND] = left
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left = config.stash.get(LEFT_BEHIND, [])
    if left:
        terminalreporter.section("left behind on the host", red=True, bold=True)
        for line in left:
            terminalreporter.line(line, red=True)


def _is_controller(config: pytest.Config) -> bool:
    """Whether this process oversees the whole session: with xdist the workers come and go meanwhile."""
    return not hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report: pytest.TestReport = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"cannot run here, which is a failure in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report: pytest.CollectReport = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"cannot run here, which is a failure in CI: {report.longrepr}"
    return report
