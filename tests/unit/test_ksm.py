"""Merging of equal memory: when it is refused, when the kernel's thread is switched on, and what is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.errors import HostError
from tiffin.runtime import ksm

FRESH = {"run": "0", "pages_to_scan": "100", "sleep_millisecs": "20", "advisor_mode": "[none] scan-time"}


def settings(tmp_path: Path, **changes: str | None) -> Path:
    directory = tmp_path / "mm/ksm"
    directory.mkdir(parents=True)
    for name, value in {**FRESH, **changes}.items():
        if value is not None:
            (directory / name).write_text(value + "\n")
    return directory


def after(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip()[:4] for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize("release", ["6.6.99-arch1", "5.15.0-91-generic", "6.1-rc3", "2.6.32", "6.4.0", "strange"])
def test_an_older_kernel_is_refused(tmp_path: Path, release: str) -> None:
    with pytest.raises(HostError) as raised:
        ksm.check(str(settings(tmp_path)), release)
    assert raised.value.message == f"memory cannot be merged on this host: it runs Linux {release}"
    assert raised.value.hint == "it takes Linux 6.7 or later, built with CONFIG_KSM"


@pytest.mark.parametrize("release", ["6.7.0", "6.7-rc1", "6.18.44-fc", "7.0+"])
def test_later_kernels_are_not(tmp_path: Path, release: str) -> None:
    ksm.check(str(settings(tmp_path)), release)
    ksm.check(str(tmp_path / "no sysfs/mm/ksm"), release)  # the launcher finds out


def test_a_kernel_without_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    with pytest.raises(HostError) as raised:
        ksm.check(f"{tmp_path}/mm/ksm", "6.18.0")
    assert raised.value.message == f"memory cannot be merged on this host: its kernel has no {tmp_path}/mm/ksm"
    assert raised.value.hint == "it takes Linux 6.7 or later, built with CONFIG_KSM"


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        ({}, {"run": "1", "pages_to_scan": "1000"}),
        ({"advisor_mode": None}, {"run": "1", "pages_to_scan": "1000"}),
        ({"pages_to_scan": "64"}, {"run": "1"}),
        ({"sleep_millisecs": "200"}, {"run": "1"}),
        ({"advisor_mode": "none [scan-time]"}, {"run": "1"}),
        ({"run": "1"}, {}),
    ],
)
def test_it_is_switched_on_and_what_others_have_set_is_left(
    tmp_path: Path, found: dict[str, str | None], changed: dict[str, str]
) -> None:
    directory = settings(tmp_path, **found)
    before = after(directory)
    said: list[str] = []
    ksm.switch_on(said.append, str(directory))
    assert after(directory) == {**before, **changed} and said == []


def test_what_was_stopped_on_purpose_stays_so(tmp_path: Path) -> None:
    directory = settings(tmp_path, run="2")
    before = after(directory)
    said: list[str] = []
    ksm.switch_on(said.append, str(directory))
    assert after(directory) == before
    assert said == [
        f"no memory is merged: merging was stopped on this host ({directory}/run is 2); "
        f"to have it run again: echo 1 > {directory}/run"
    ]


def test_what_cannot_be_switched_on_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    ksm.switch_on(said.append, str(tmp_path))
    assert said == [
        f"no memory is merged: merging cannot be switched on here (No such file or directory: {tmp_path}/run); "
        f"as root of the host: echo 1 > {tmp_path}/run"
    ]


def test_figures_of_processes_are_added(tmp_path: Path) -> None:
    for pid, text in (
        (
            7,
            "ksm_rmap_items 12\nksm_zero_pages 2\nksm_merging_pages 10\nksm_process_profit 40000\nksm_merge_any: yes\n",
        ),
        (8, "ksm_rmap_items 99\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit -6336\n"),
        (9, ""),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/ksm_stat").write_text(text)
    assert ksm.merged([7, 8, 9, 10], str(tmp_path)) == ksm.Merged(pages=12, profit_bytes=33664)
    assert ksm.merged([], str(tmp_path)) == ksm.Merged()


def test_how_it_stands(tmp_path: Path) -> None:
    directory = settings(tmp_path, run="1", pages_sharing="12", pages_shared="3", general_profit="-5")
    assert ksm.state(str(directory)) == {
        "run": 1, "advisor_mode": "none", "pages_to_scan": 100, "sleep_millisecs": 20,
        "pages_shared": 3, "pages_sharing": 12, "general_profit": -5,
    }  # fmt: skip
    assert ksm.state(f"{tmp_path}/nothing") is None
