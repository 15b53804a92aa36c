"""Hooks that run in the runtime's namespaces (runtime-spec config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

import os

from tiffin.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

SAID_MAX = 160


def run(kind: str, hooks: Sequence[dict[str, Any]], state: bytes, bundle: str) -> None:
    """Run hooks in order, each with the state on its standard input. HostError for the first that fails."""
    for index, hook in enumerate(hooks):
        problem = _run(hook, state, bundle)
        if problem:
            raise HostError(f"{kind} hook {index}, {hook['path']}, {problem}")


def run_all(kind: str, hooks: Sequence[dict[str, Any]], state: bytes, bundle: str, warn: Callable[[str], None]) -> None:
    """The same where a failure is no more than a warning, and the next one runs all the same."""
    for index, hook in enumerate(hooks):
        problem = _run(hook, state, bundle)
        if problem:
            warn(f"{kind} hook {index}, {hook['path']}, {problem}")


def _run(hook: dict[str, Any], state: bytes, bundle: str) -> str:
    """What went wrong, or nothing."""
    import subprocess

    environment = dict(item.partition("=")[::2] for item in hook.get("env", ()))
    try:
        process = subprocess.Popen(
            hook.get("args") or [hook["path"]],
            executable=hook["path"],
            env=environment,
            cwd=bundle,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        return f"cannot be executed: {os.strerror(error.errno or 0)}"
    try:
        said, _ = process.communicate(state, timeout=hook.get("timeout"))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"timed out after {hook['timeout']} s"
    except BrokenPipeError:
        process.wait()
        said = b""
    if process.returncode == 0:
        return ""
    code = process.returncode
    how = f"exited with code {code}" if code > 0 else f"was killed by signal {-code}"
    first = said.decode("utf-8", "replace").strip()[:SAID_MAX]
    return f"{how}: {first}" if first else how
