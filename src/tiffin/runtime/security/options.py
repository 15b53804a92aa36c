"""Parses `--security-opt`."""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class SecurityOptions(Record):
    """All `--security-opt` of one container. None and empty mean the default.

    `seccomp` is "unconfined", "builtin" or the path of a profile; `apparmor` a profile's name or "unconfined";
    `label_*` replace parts of the SELinux labels; `mask` and `unmask` are paths, `unmask` with wildcards or "ALL".
    """

    no_new_privileges: bool = False
    seccomp: str | None = None
    apparmor: str | None = None
    label_disabled: bool = False
    label_user: str = ""
    label_role: str = ""
    label_type: str = ""
    label_level: str = ""
    label_file_type: str = ""
    system_paths_unconfined: bool = False
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()


_LABEL_PARTS = {
    "user": "label_user",
    "role": "label_role",
    "type": "label_type",
    "level": "label_level",
    "filetype": "label_file_type",
}


def parse_security_opts(options: Iterable[str]) -> SecurityOptions:
    """Read options as Docker and Podman write them (KEY=VALUE, or KEY:VALUE of old). UsageError for any other."""
    values: dict[str, Any] = {}
    for option in options:
        key, value = _split(option)
        if key == "no-new-privileges":
            values["no_new_privileges"] = _boolean(option, value)
        elif key in ("seccomp", "apparmor"):
            if not value:
                raise UsageError(f"--security-opt {option!r} has no value")
            values[key] = value
        elif key == "label":
            _label(values, option, value or "")
        elif key == "systempaths":
            if value != "unconfined":
                raise UsageError(f"--security-opt {option!r} makes no sense: only systempaths=unconfined exists")
            values["system_paths_unconfined"] = True
        elif key in ("mask", "unmask"):
            paths = tuple(path for path in (value or "").split(":") if path)
            for path in paths:
                if not path.startswith("/") and not (key == "unmask" and path.upper() == "ALL"):
                    raise UsageError(f"--security-opt {option!r} needs absolute paths, and {path!r} is none")
            if not paths:
                raise UsageError(f"--security-opt {option!r} has no value")
            values[key] = (*values.get(key, ()), *paths)
        else:
            raise UsageError(
                f"unknown --security-opt {option!r}",
                hint="known are no-new-privileges, seccomp, apparmor, label, systempaths, mask and unmask",
            )
    return SecurityOptions(**values)


def _split(option: str) -> tuple[str, str | None]:
    for separator in "=:":
        key, found, value = option.partition(separator)
        if found and key.isidentifier() | (key == "no-new-privileges"):
            return key, value
    return option, None


def _boolean(option: str, value: str | None) -> bool:
    if value in (None, "true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise UsageError(f"--security-opt {option!r} is neither true nor false")


def _label(values: dict[str, Any], option: str, value: str) -> None:
    if value == "disable":
        values["label_disabled"] = True
        return
    part, found, text = value.partition(":")
    if part not in _LABEL_PARTS or not found or not text:
        raise UsageError(
            f"--security-opt {option!r} makes no sense",
            hint="label=disable, or label=PART:VALUE with a part of user, role, type, level, filetype",
        )
    values[_LABEL_PARTS[part]] = text
