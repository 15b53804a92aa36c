"""What is known of a container between two commands: a directory each, below the runtime's root.

ROOT/ID/state.json   static facts and the first process, written whole and renamed
ROOT/ID/config.json  the checked config, which later changes of the bundle do not touch
ROOT/ID/start        FIFO: a byte here starts the program; gone once that has happened
ROOT/ID/result       FIFO: what failed after that
"""

from __future__ import annotations

import os

from tiffin.errors import ConflictError, HostError, NotFoundError, UsageError
from tiffin.oci.cgroups import Cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

DEFAULT_ROOT = "/run/tiffin-runtime"
MAX_ID = 1024
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


def check_id(text: str) -> None:
    """Refuse an ID that is no plain file name."""
    if not text:
        raise UsageError("container id cannot be empty")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-."
    if text.strip(letters) or any(letter not in letters for letter in text) or text[0] == "." or len(text) > MAX_ID:
        raise UsageError(f"invalid container id {text!r}: letters, digits, _ + - and . make one, and no . begins it")


class Lock:
    """flock(2) on a directory, which ends with its holder."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        import fcntl

        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Stored:
    """One container's directory."""

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.id = container_id
        self.directory = f"{root}/{container_id}"
        self.facts: dict[str, Any] = {}
        self.master = -1  # the terminal of a container that was just made, when nobody else took it

    @classmethod
    def load(cls, root: str, container_id: str) -> Self:
        """An existing container. NotFoundError."""
        import json

        stored = cls(root, container_id)
        try:
            with open(f"{stored.directory}/state.json", "rb") as file:
                stored.facts = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f'container "{container_id}" does not exist') from None
        except OSError as error:
            raise HostError(f"cannot read {stored.directory}/state.json: {error.strerror}") from error
        except ValueError as error:
            raise HostError(f"{stored.directory}/state.json is damaged: {error}") from None
        return stored

    def make(self) -> None:
        """A new container's directory. ConflictError when there is one of that ID."""
        try:
            os.makedirs(os.path.dirname(self.directory), 0o711, exist_ok=True)
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            raise ConflictError(f'container with given ID already exists: "{self.id}"') from None
        except OSError as error:
            raise HostError(f"cannot make {self.directory}: {error.strerror}") from error

    def make_fifos(self) -> None:
        for path in (self.start_fifo, self.result_fifo):
            os.mkfifo(path, 0o600)

    def locked(self) -> Lock:
        """Alone with the container while something happens that must happen once."""
        return Lock(self.directory)

    @property
    def start_fifo(self) -> str:
        return f"{self.directory}/start"

    @property
    def result_fifo(self) -> str:
        return f"{self.directory}/result"

    def save(self) -> None:
        self._write("state.json", self.facts)

    def save_config(self, config: dict[str, Any]) -> None:
        self._write("config.json", config)

    def _write(self, name: str, document: dict[str, Any]) -> None:
        import json

        path = f"{self.directory}/{name}"
        try:
            with open(f"{path}.tmp", "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.rename(f"{path}.tmp", path)
        except OSError as error:
            raise HostError(f"cannot write {path}: {error.strerror}") from error

    def config(self) -> dict[str, Any]:
        """The config as it was at `create`."""
        import json

        try:
            with open(f"{self.directory}/config.json", "rb") as file:
                config: dict[str, Any] = json.load(file)
        except (OSError, ValueError) as error:
            raise HostError(f"cannot read {self.directory}/config.json: {error}") from error
        return config

    def remove(self) -> None:
        """Forget the container. state.json goes last: as long as it is there, the removal can be done again."""
        names = sorted(os.listdir(self.directory), key=lambda name: name == "state.json")
        for name in names:
            os.unlink(f"{self.directory}/{name}")
        os.rmdir(self.directory)

    # How it stands

    @property
    def pid(self) -> int:
        return int(self.facts.get("pid") or 0)

    @property
    def start_ticks(self) -> int:
        return int(self.facts.get("pid_start") or 0)

    def cgroups(self) -> Cgroups:
        return Cgroups(self.facts["cgroup"])

    def alive(self) -> bool:
        """Whether the first process is there, and no zombie."""
        return self.pid > 0 and process_start(self.pid) == self.start_ticks

    def status(self) -> str:
        """One of the spec's words, or "paused"."""
        if not self.pid:
            creator = self.facts.get("creator") or [0, 0]
            return CREATING if process_start(creator[0]) == creator[1] else STOPPED
        if not self.alive():
            return STOPPED
        if os.path.exists(self.start_fifo):
            return CREATED
        driver, name = self.cgroups().driver()
        return PAUSED if driver.frozen(name) else RUNNING

    def shown(self, status: str | None = None) -> dict[str, Any]:
        """The state as runtime-spec runtime.md has it, and what runc adds."""
        status = status or self.status()
        return {
            "ociVersion": self.facts["ociVersion"],
            "id": self.id,
            "pid": 0 if status == STOPPED else self.pid,
            "status": status,
            "bundle": self.facts["bundle"],
            "rootfs": self.facts["rootfs"],
            "created": self.facts["created"],
            **({"annotations": self.facts["annotations"]} if self.facts["annotations"] else {}),
            "owner": "",
        }


def process_start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it has ended (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if len(fields) < 20 or fields[0] in (b"Z", b"X") else int(fields[19])


def listed(root: str) -> list[Stored]:
    """All containers, by ID. One that is being made or removed at this moment is left out."""
    try:
        names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(Stored.load(root, name))
        except (NotFoundError, UsageError):
            continue
    return found
