"""Every exception that Tiffin raises on purpose.

    TiffinError                    exit 1    HTTP 500
    ├── UsageError                 exit 1    HTTP 400   the request makes no sense as written
    │   ├── OptionError            exit 125  HTTP 400   nor does an option: unknown, or with a value it cannot have
    │   └── NotSupportedError      exit 125  HTTP 501   it makes sense, but is not built yet
    ├── NotFoundError              exit 1    HTTP 404   no such image, container, …
    │   └── AmbiguousError         exit 1    HTTP 400   an ID prefix that fits several
    ├── ConflictError              exit 1    HTTP 409   name in use, image in use, wrong state
    ├── InvalidImageError          exit 1    HTTP 400   a layer or archive that cannot be trusted
    ├── StoreError                 exit 1    HTTP 500   damage, full disk, read-only store
    ├── HostError                  exit 1    HTTP 501   the kernel or host lacks something, or refuses
    └── LaunchError                exit 125  HTTP 500   a step of the launch failed
        ├── CommandNotExecutable   exit 126  HTTP 400
        └── CommandNotFound        exit 127  HTTP 400

A message is one sentence: what failed, why, and (as `hint`) what to do about it.
Exit codes are Docker's: `run` turns every code below 125 into 125, so that it cannot be mistaken for the code of the
command inside, and verbs that wait for no command have 1 for a launch that failed.
"""

from __future__ import annotations

import os

AS_ROOT = "run it with sudo"


class TiffinError(Exception):
    """Base of all of Tiffin's errors.

    `message` says what failed and why; `hint`, when there is one, what to do.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(TiffinError):
    http_status = 400


class OptionError(UsageError):
    exit_code = 125


class NotSupportedError(UsageError):
    exit_code = 125
    http_status = 501


class NotFoundError(TiffinError):
    http_status = 404


class AmbiguousError(NotFoundError):
    http_status = 400


class ConflictError(TiffinError):
    http_status = 409


class InvalidImageError(TiffinError):
    http_status = 400


class RegistryError(TiffinError):
    """A registry refused, failed or answered nonsense; `http_status` is for whoever passes it on."""

    http_status = 502


class RegistryDenied(RegistryError):
    http_status = 401


class StoreError(TiffinError):
    pass


class HostError(TiffinError):
    http_status = 501


class LaunchError(TiffinError):
    exit_code = 125


class CommandNotExecutable(LaunchError):
    exit_code = 126
    http_status = 400


class CommandNotFound(LaunchError):
    exit_code = 127
    http_status = 400


def os_error(error: OSError, doing: str, *, hint: str | None = None) -> TiffinError:
    """The `TiffinError` for a failed system call: full disk and read-only stores get their own sentence."""
    import errno

    reason = error.strerror or str(error)
    where = f" {error.filename!r}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{doing}: the disk is full{where}", hint=hint or "free space, or run `tiffin system prune`")
    if error.errno == errno.EROFS:
        return StoreError(f"{doing}: the store is read-only{where}", hint=hint or "choose another one with --root")
    return StoreError(f"{doing}: {reason}{where}", hint=hint or as_root(error))


def as_root(error: OSError) -> str | None:
    """The hint for what only root may do, when somebody else has tried."""
    return AS_ROOT if isinstance(error, PermissionError) and os.geteuid() != 0 else None
