"""Reading and writing cgroup files, and removing cgroup directories."""

from __future__ import annotations

import errno
import os

from tiffin.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

_REMOVE_DEADLINE_S = 5.0
_KILL_DEADLINE_S = 5.0
_MAKE_TRIES = 100


def write(path: str, value: str) -> None:
    """Write one value in one write(2). HostError names file and value."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refused(error, path, value) from error


class Change:
    """Several values written as one: `with Change() as write:` puts everything back when one is refused.

    What is put back is what the files said before, as text, so that "no limit" is restored too; `undone` makes of it
    what is to be written. `put` writes it, by default `write`.
    """

    def __init__(self, put: Callable[[str, str], None] | None = None) -> None:
        self._put = put
        self._before: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __call__(self, path: str, value: str, undone: Callable[[str], str] | None = None) -> None:
        before = read(path)
        (self._put or write)(path, value)
        if before is not None:
            self._before.append((path, undone(before) if undone else before))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        for path, value in reversed(self._before):
            try:
                write(path, value or "\n")  # an empty write(2) never reaches the kernel's parser
            except HostError:
                continue  # the cgroup is gone, and the limits with it


def refused(error: OSError, path: str, value: str) -> HostError:
    """The error for a value that the kernel did not take."""
    return HostError(f"cannot write {value!r} to {path}: {error.strerror}")


def read(path: str) -> str | None:
    """A file's text without the last line end; None when there is no such file (or the cgroup is just gone)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
            return None
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise HostError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape").rstrip("\n")


def read_number(path: str) -> int | None:
    """A file with one number; None when it is absent or holds a word such as "max"."""
    text = read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def keyed(text: str | None, key: str) -> int | None:
    """The number after `key` in "key number" lines."""
    for line in (text or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return None


def make_directory(path: str) -> None:
    """mkdir(2) with HostError."""
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        raise cannot_make(error, path) from error


def make_below(base: str, name: str) -> bool:
    """Make the cgroup `name` in `base`, and that where it is missing; False when it is there already. HostError.

    Others take an empty parent away at any moment (`CgroupDriver.remove_parent`); with a child in it, it stays.
    """
    path = f"{base}/{name}"
    for _ in range(_MAKE_TRIES):
        try:
            os.mkdir(path, 0o755)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            gone = error
        except OSError as error:
            raise cannot_make(error, path) from error
        try:
            os.makedirs(base, 0o755, exist_ok=True)
        except (FileNotFoundError, FileExistsError):
            continue  # what was there a moment ago is not any more
        except OSError as error:
            raise cannot_make(error, base) from error
    raise cannot_make(gone, path) from gone


def remove_empty(directories: Iterable[str]) -> None:
    """Remove cgroups that nobody uses; from the first that somebody does, the others stay as well."""
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            return


def hand_over(path: str, uid: int, gid: int) -> None:
    """Give a v2 cgroup to a user to manage: itself and the files for that (cgroup-v2.rst, "Model of Delegation")."""
    if (uid, gid) == (0, 0):
        return
    for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
        try:
            os.chown(path + name, uid, gid)
        except OSError as error:
            raise HostError(f"cannot give the cgroup {path} to user {uid}: {error.strerror}") from error


def cannot_make(error: OSError, path: str) -> HostError:
    """The error for a cgroup that could not be made."""
    hint = "run it as root, where cgroups can be changed" if error.errno in (errno.EACCES, errno.EROFS) else None
    return HostError(f"cannot make the cgroup {path}: {error.strerror}", hint=hint)


def tree(directory: str) -> Iterator[str]:
    """`directory` and all cgroups below, the deepest first; nothing when it does not exist."""
    for top, _, _ in os.walk(directory, topdown=False):
        yield top


def processes(directory: str) -> list[int]:
    """The processes of a cgroup and of those below."""
    found: set[int] = set()
    for place in tree(directory):
        found.update(int(word) for word in (read(f"{place}/cgroup.procs") or "").split())
    found.discard(0)  # one in another PID namespace, which cannot be named from here
    return sorted(found)


def list_names(directory: str) -> list[str]:
    """Names of the cgroups right below one."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def kill_until_gone(directory: str, describe: str) -> None:
    """SIGKILL everything in a cgroup again and again, until nothing is left. HostError after five seconds."""
    import signal
    import time

    deadline = time.monotonic() + _KILL_DEADLINE_S
    pause_s = 0.0005
    while pids := processes(directory):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise HostError(f"cannot kill the processes {', '.join(map(str, pids))} of {describe}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def remove_directories(directories: Iterable[str]) -> None:
    """Remove cgroups and all below them. A kernel that is not yet done with a dead process gets five seconds."""
    import time

    deadline: float | None = None
    for directory in directories:
        pause_s = 0.0005
        while True:
            busy = _remove_tree(directory)
            if busy is None:
                break
            now = time.monotonic()
            deadline = deadline or now + _REMOVE_DEADLINE_S
            if busy.errno != errno.EBUSY or now > deadline:
                raise HostError(f"cannot remove the cgroup {directory}: {busy.strerror}") from busy
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.05)


def _remove_tree(directory: str) -> OSError | None:
    """One attempt; the error that stopped it."""
    try:
        os.rmdir(directory)
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            return error
    for place in tree(directory):
        try:
            os.rmdir(place)
        except FileNotFoundError:
            continue
        except OSError as error:
            return error
    return None
