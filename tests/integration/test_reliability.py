"""Load and kill, small enough for every run; `make reliability` does the same at full size."""

from __future__ import annotations

import pytest

import tiffin
from harness.killer import kill
from harness.load import GREEDY, many, neighbour, parallel


@pytest.mark.parametrize("seed", [11, 12])
def test_kills_at_random_moments(engine_root: str, busybox_archive: bytes, seed: int) -> None:
    tallies, problems = kill(engine_root, busybox_archive, 60, seed)
    assert problems == []
    assert tallies.total() == 60


def test_a_hundred_at_once(engine: tiffin.Engine, busybox: str) -> None:
    found = many(engine, busybox, 100, measure_memory=False)  # others use memory, too
    assert engine.containers(all=True) == []
    assert found.ps_s < 0.5 and found.remove_s < 10


def test_sixty_four_commands_at_once(engine: tiffin.Engine, busybox: str) -> None:
    found = parallel(engine.root, busybox, 64, 6)
    assert found.failures == []
    assert found.done >= 64
    assert engine.containers(all=True) == [] and engine.check() == []


@pytest.mark.parametrize("name", ["10,000 processes", "a full tmpfs"])
def test_neighbours_do_not_notice(engine: tiffin.Engine, busybox: str, name: str) -> None:
    found = neighbour(engine, busybox, name)
    assert found.exit_code == GREEDY[name][2]
    # It shares two processors with them, so it may wait its turn, but no more than that.
    assert found.beside_s < 20 * found.alone_s + 0.2
