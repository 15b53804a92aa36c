"""What decides whether an ended container is started again: three files in its directory.

`restart`   the policy, "NAME MAXIMUM_RETRIES"; none for "no". Written by the engine at a start and by `update`, under
            the container's lock; read by the monitor at the end, so that a change holds at once.
`stopped`   there when it was stopped on purpose: "user" or "shutdown". Written by whoever stops it.
`restarts`  "COUNT DELAY_MS", how often it was started again in a row, and after which pause the last time. Written by
            the monitor when it decides, or by the launcher's role `wait`; removed by the engine at a start by the user.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import RestartPolicy
    from tiffin.paths import Paths


def begin(paths: Paths, container_id: str, policy: RestartPolicy, *, again: bool) -> None:
    """The container is about to be started, by the user or (`again`) by its policy. Its lock is held."""
    directory = paths.container(container_id)
    if again:
        return
    for name in ("stopped", "restarts"):
        _remove(f"{directory}/{name}")
    write_policy(paths, container_id, policy)


def write_policy(paths: Paths, container_id: str, policy: RestartPolicy) -> None:
    """From now on, also for the run that is under way. The container's lock is held."""
    path = f"{paths.container(container_id)}/restart"
    if policy.name == "no":
        _remove(path)
    else:
        _write(path, f"{policy.name} {policy.maximum_retries}\n")


def mark_stopped(paths: Paths, container_id: str, *, shutdown: bool = False) -> None:
    """It was stopped on purpose, so its policy does not apply; what the host's shutdown stops comes back at boot."""
    path = f"{paths.container(container_id)}/stopped"
    if not shutdown or not os.path.exists(path):
        _write(path, "shutdown\n" if shutdown else "user\n")


def stopped_by_user(paths: Paths, container_id: str) -> bool:
    return _read(f"{paths.container(container_id)}/stopped") == "user"


def count(paths: Paths, container_id: str) -> int:
    """How often it was started again since the user started it."""
    words = _read(f"{paths.container(container_id)}/restarts").split()
    return int(words[0]) if words else 0


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except FileNotFoundError:
        return  # the container is gone, and nothing of it is to be started
    except OSError as error:
        from tiffin.errors import os_error

        raise os_error(error, "cannot write the container's restart state") from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
