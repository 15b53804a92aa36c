"""Where the plan fuzzer begins: accepted plans with every operation, as the tests of the plan reader have them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from unit.test_launcher_plan import create_plan, exec_plan, launch_plan, mapped_plan, wait_plan


def write(directory: Path) -> None:
    for make in (launch_plan, mapped_plan, exec_plan, wait_plan, create_plan):
        (directory / make.__name__).write_bytes(bytes(make()))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
