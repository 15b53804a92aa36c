"""A loop that starts commands and kills them at random moments, and then asks the next one whether all is well."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import tiffin
from tiffin.errors import TiffinError

# What is killed. Each line works on what it finds: an earlier one may have been killed in the middle.
COMMANDS = {
    "run": "run --rm busybox sh -c 'echo x; sleep 0.02'",
    "run detached": "run -d --rm busybox sleep 0.05",
    "exec": "exec web true",
    "stop": "stop -t 0 web",
    "start": "start web",
    "restart": "restart -t 0 web",
    "create": "create -v data:/etc busybox true",
    "rm": "rm -fv other",
    "commit": "commit web kept",
    "load": "load -q -i {root}/archive.tar",
    "rmi": "rmi -f loaded",
    "cp": "cp {root}/archive.tar web:/tmp/",
    "pause": "pause web",
    "prune": "system prune -f",
}


class Killer:
    """Kills commands, and every tenth time a monitor instead. `tallies` counts rounds by what was killed."""

    def __init__(self, root: str, seed: int) -> None:
        self.root = root
        self.dice = random.Random(seed)
        self.tallies: Counter[str] = Counter()
        self.engine = tiffin.Engine(root)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tiffin", "--root", self.root, *words]

    def round(self) -> None:
        """One kill, and proof that the next command works."""
        self._have("web", "other")
        if self.dice.random() < 0.1:
            self._kill_monitor()
        else:
            self._kill_command()
        assert self.engine.run("busybox", ["echo", "well"]).stdout == "well\n"

    def _have(self, *names: str) -> None:
        """The containers that commands work on, as a user would have them again."""
        there = {info.container.name: info.state for info in self.engine.containers(all=True)}
        for name in names:
            if name not in there:
                self._ok("run", "-d", "-v", "/data", "--name", name, "busybox", "sleep", "600")
            elif there[name].paused:
                self._ok("unpause", name)
            elif there[name].status != "running":
                self._ok("start", name)

    def _ok(self, *words: str) -> None:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def _kill_command(self) -> None:
        import shlex

        name = self.dice.choice(list(COMMANDS))
        words = shlex.split(COMMANDS[name].format(root=self.root))
        process = subprocess.Popen(self.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.dice.uniform(0.02, 0.1))
        killed = process.poll() is None
        process.kill()
        process.wait()
        self.tallies[name if killed else f"{name} (was done)"] += 1

    def _kill_monitor(self) -> None:
        state = self.engine.container(self.dice.choice(("web", "other"))).state
        os.kill(state.monitor_pid, signal.SIGKILL)
        self.tallies["monitor"] += 1

    def finish(self) -> list[str]:
        """Remove everything as a user would; what is left or wrong, a line each."""
        for info in self.engine.containers(all=True):
            try:
                self.engine.remove(info.container.id, force=True, volumes=True)
            except TiffinError as error:
                return [f"cannot remove {info.container.name}: {error}"]
        for volume in self.engine.volumes():
            self.engine.remove_volume(volume.volume.name)
        for image in self.engine.images():
            self.engine.remove_image(image.id, force=True)
        problems = self.engine.check()
        self.engine.close()
        kinds = ("containers", "volumes", "tmp", "layers", "images", "run/containers")
        problems += [str(path) for kind in kinds for path in Path(self.root, kind).glob("*")]
        return problems + [str(path) for path in Path(self.root, "objects").glob("*/*")]


def kill(root: str, archive: bytes, rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """`rounds` kills in the store `root`, which gets images from the archive of a root; tallies, and what is wrong."""
    Path(root, "root.tar").write_bytes(archive)
    killer = Killer(root, seed)
    with open(f"{root}/root.tar", "rb") as file:
        killer.engine.import_image(file, "busybox")
    with open(f"{root}/root.tar", "rb") as file:
        killer.engine.import_image(file, "loaded", changes=["LABEL a=b"])
    killer.engine.save(["loaded"], f"{root}/archive.tar")
    for _ in range(rounds):
        killer.round()
    return killer.tallies, killer.finish()
