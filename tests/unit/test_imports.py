"""The start-up budget: what `tiffin run` may load. Every module costs each command of every user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tiffin

# The standard library's modules on the hot path, each with its reason; what these import themselves is in their lines.
ALLOWED = {
    "errno fcntl os stat select struct time": "system calls; most are loaded by Python itself",
    "functools collections reprlib keyword operator itertools types": "_sqlite3 imports functools, which needs them",
    "genericpath posixpath os.path": "their needs",
}
# Each verb, and the use cases that the engine loads for it.
USE_CASES = {
    "run": "create start end",
    "exec": "execute",
    "ps": "end",
    "logs": "logs",
    "cleanup": "end",
}
COMMANDS = tuple(USE_CASES)

# As an installed command does it, but without site-packages: these are Tiffin's own imports.
LOAD = """
import sys
sys.path.insert(0, {source!r})
before = set(sys.modules)
from tiffin.cli import commands, context, main
commands.load(commands.VERBS[{verb!r}])
from tiffin import Engine
for name in {use_cases!r}.split():
    __import__("tiffin.containers." + name)
print(*sorted(set(sys.modules) - before))
"""


def loaded(verb: str) -> set[str]:
    source = str(Path(tiffin.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOAD.format(source=source, verb=verb, use_cases=USE_CASES[verb])],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_loads_only_these(verb: str) -> None:
    allowed = {name for names in ALLOWED for name in names.split()}
    standard = {name for name in loaded(verb) if name.partition(".")[0] != "tiffin"}
    public = {name for name in standard if not name.startswith("_")}
    assert public - allowed == set()


def test_nothing_is_allowed_that_is_not_needed() -> None:
    always = set(sys.stdlib_module_names) & {"errno", "os", "posixpath", "genericpath", "stat", "time", "itertools"}
    allowed = {name for names in ALLOWED for name in names.split()} - always - {"os.path"}
    used = set().union(*(loaded(verb) for verb in COMMANDS))
    assert allowed - used == set()


def test_run_loads_none_of_the_rest_of_tiffin() -> None:
    names = loaded("run")
    elsewhere = {name for name in names if name.startswith(("tiffin.images.", "tiffin.api", "tiffin.build"))}
    assert elsewhere == set()
