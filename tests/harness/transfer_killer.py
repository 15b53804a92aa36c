"""Pulls and pushes that are killed at random moments, by a process that has everything loaded and forks.

    python -m harness.transfer_killer ROOT NAME TARGET ROUNDS SEED

Prints what was killed, and then each problem that `system check` found, a line each.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter

import tiffin
from tiffin.errors import NotFoundError

CHECK_EVERY = 10
LONGEST_S = 0.45


def once(root: str, name: str, target: str) -> None:
    """What is killed: the image goes, comes back, and goes to another repository."""
    with tiffin.Engine(root, warn=lambda _: None) as engine:
        try:
            engine.remove_image(engine.image(name).id, force=True)
        except NotFoundError:
            pass
        engine.pull(name, keep_blobs=True)
        engine.tag(name, target)
        engine.push(target)


def main(root: str, name: str, target: str, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    begun = time.monotonic()
    once(root, name, target)
    whole_s = min(LONGEST_S, time.monotonic() - begun)
    tally: Counter[str] = Counter()
    problems = []
    for number in range(1, rounds + 1):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                once(root, name, f"{target}{number}")
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0.0, whole_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        tally["killed" if os.WIFSIGNALED(status) else "was done"] += 1
        if number % CHECK_EVERY == 0 or number == rounds:
            with tiffin.Engine(root) as engine:
                problems += [f"after {number}: {problem}" for problem in engine.check(contents=number == rounds)]
    once(root, name, target)
    print(dict(tally))
    print(*problems, sep="\n", end="")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
