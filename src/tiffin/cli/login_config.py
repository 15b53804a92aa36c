"""What /etc/tiffin/login.toml says of a user's login container."""

from __future__ import annotations

import os
import stat

from tiffin.errors import UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/etc/tiffin/login.toml"
_NETWORKS = ("host", "none")
_STOPS = ("never", "last")


class LoginConfig(Record):
    """How a user is received; the defaults are those without a file.

    `mounts` are as of `tiffin run -v`; `stop` is "never" or "last": whether the container ends with its last session.
    """

    image: str = "host"
    command: tuple[str, ...] = ("sleep", "infinity")
    shell: str = "/bin/bash"
    mounts: tuple[str, ...] = ()
    network: str = "host"
    stop: str = "never"
    root: str = ""
    storage: str = ""


def read(user: str, path: str = PATH) -> LoginConfig:
    """The settings for a user: those of the file, and over them those of its `[users.NAME]`.

    UsageError for a file that somebody else than root could have written, and for what is wrong in it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return LoginConfig()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(status.st_mode):
            raise UsageError(
                f"{path} is not a file that only root can write", hint=f"chown root {path}; chmod 644 {path}"
            )
        data = file.read()
    return parse(data, user, path)


def parse(data: bytes, user: str, path: str = PATH) -> LoginConfig:
    """The same from the file's bytes."""
    import tomllib

    try:
        values = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    users = values.pop("users", {})
    if not isinstance(users, dict) or not all(isinstance(entry, dict) for entry in users.values()):
        raise UsageError(f"{path}: 'users' is not a table of tables", hint="write [users.NAME]")
    for name, entry in users.items():
        _checked(entry, path, f"users.{name}.")
    return LoginConfig(**_checked(values, path, "")).replace(**_checked(users.get(user, {}), path, ""))


def _checked(values: dict[str, Any], path: str, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        shown = f"{path}: {prefix}{key}"
        if key not in LoginConfig._fields:
            raise UsageError(f"{shown} is not a setting", hint=f"the settings are {', '.join(LoginConfig._fields)}")
        if key in ("mounts", "command"):
            if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
                raise UsageError(f"{shown} is not a list of texts")
            value = tuple(value)
            if key == "command" and not value:
                raise UsageError(f"{shown} is empty")
        elif not isinstance(value, str) or not value:
            raise UsageError(f"{shown} is not a text")
        if key in ("shell", "root") and not value.startswith("/"):
            raise UsageError(f"{shown} is not an absolute path")
        for name, choice in (("network", _NETWORKS), ("stop", _STOPS)):
            if key == name and value not in choice:
                raise UsageError(f"{shown} is {value!r}", hint=f"it is {' or '.join(choice)}")
        found[key] = value
    return found
