"""Both engines, and what they say made comparable."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 60


class Said(NamedTuple):
    """What came of one command line, made comparable."""

    code: int
    out: str
    err: str


class Side:
    """One engine: the command `E` is its command line, $T a directory of its own."""

    def __init__(self, name: str, directory: Path, command: list[str]) -> None:
        self.name = name
        self.directory = directory
        self._bin = directory / "bin"
        self._bin.mkdir(parents=True)
        script = self._bin / "E"
        script.write_text("#!/bin/sh\nexec " + " ".join(command) + ' "$@"\n')
        script.chmod(0o755)
        self.files = directory / "files"
        self.files.mkdir()

    def run(self, line: str) -> Said:
        """One shell line."""
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "TIFFIN_"))},
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "T": str(self.files),
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            "FROM_HOST": "from the host",
        }
        done = subprocess.run(
            ["sh", "-c", line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.files,
            env=env,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Said(done.returncode, self._plain(done.stdout), message(self._plain(done.stderr)))

    def _plain(self, data: bytes) -> str:
        return plain(data.decode("utf-8", "replace").replace(str(self.directory), "<DIR>"))


_UNITS = r"(?:nanosecond|microsecond|millisecond|second|minute|hour|day|week|month|year)s?"
_PLAIN = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "<DIGEST>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<ID>"),
    (re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{12}\b"), "<SHORT>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "<TIME>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [+-]\d{4} \w+"), "<TIME>"),
    (re.compile(rf"(?:Less than a|About an?|\d+) {_UNITS}(?: ago)?"), "<AGO>"),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r" +$", re.MULTILINE), ""),
    # Signal 32 is libc's own; Docker passes on whether its caller ignored it.
    (re.compile(r"^(SigIgn:\t[0-9a-f]{8})8", re.MULTILINE), r"\g<1>0"),
)


def plain(text: str) -> str:
    """Without what differs from run to run: IDs, times, the width of columns that hold them."""
    for pattern, shown in _PLAIN:
        text = pattern.sub(shown, text)
    return text


_WRAPPED = (
    # What runc says, through all who pass it on.
    (re.compile(r"^failed to create (?:shim task|task for container): (?:.*unable to start container process: )?"), ""),
    (re.compile(r"^OCI runtime exec failed: exec failed: unable to start container process: "), ""),
    (re.compile(r": unknown$"), ""),
    (re.compile(r" flag: "), ": "),
    (re.compile(r"requires exactly "), "requires "),
)
_BEGINNINGS = ("tiffin: ", "docker: ", "error response from daemon: ", "error: ", "invalid argument: ", "cmd: ")


def message(text: str) -> str:
    """An error's first sentence, without who says it and without hints; what is inside stays as it is otherwise."""
    lines = [line for line in text.splitlines() if line.strip()]
    kept = []
    for line in lines:
        known = False
        while True:
            beginning = next((each for each in _BEGINNINGS if line.lower().startswith(each)), None)
            if beginning is None:
                break
            line, known = line[len(beginning) :], True
        for pattern, shown in _WRAPPED:
            line = pattern.sub(shown, line.rstrip("."))
        if kept and line.lower().startswith("failed to "):
            continue  # a summary of what was said
        # Docker ends with where to find help, Tiffin has a hint on a line of its own.
        if kept and not known:
            continue
        kept.append(line.replace("tiffin", "docker").rstrip(".").replace('"', "'").replace("`", "'"))
    return "\n".join(line[:1].lower() + line[1:] for line in kept)
