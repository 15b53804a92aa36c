"""A bundle: a directory with `config.json` and, mostly, the root file system. What is loaded here is consistent."""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.oci import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WHAT = "config.json"
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
PROPAGATIONS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable", "")
SUPPORTED_MAJOR = 1


def load_bundle(bundle: str) -> dict[str, Any]:
    """The checked config of a bundle, with defaults filled in: `process` may be absent, everything else is there.

    UsageError for what makes no sense, NotSupportedError for what is refused.
    """
    config = schema.load(f"{bundle}/{WHAT}", schema.CONFIG, WHAT)
    return complete(config)


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the spec leaves out, and refuse contradictions."""
    check_version(config["ociVersion"])
    if "root" not in config:
        raise UsageError(f"{WHAT}: root is missing")
    if not config["root"]["path"]:
        raise UsageError(f"{WHAT}: root.path is empty")
    for section in ("solaris", "windows", "vm", "zos"):
        if section in config:
            raise NotSupportedError(f"{WHAT}: {section} is for another platform, and this is a runtime for Linux")
    config["root"].setdefault("readonly", False)
    for name in ("mounts",):
        config.setdefault(name, [])
    config.setdefault("hooks", {})
    config.setdefault("annotations", {})
    linux = config.setdefault("linux", {})
    for name in ("namespaces", "uidMappings", "gidMappings", "devices", "maskedPaths", "readonlyPaths"):
        linux.setdefault(name, [])
    for name in ("resources", "sysctl", "timeOffsets"):
        linux.setdefault(name, {})
    if "intelRdt" in linux:
        raise NotSupportedError(f"{WHAT}: linux.intelRdt is not supported: cache allocation classes are not managed")
    _check_namespaces(config, linux)
    if linux.setdefault("rootfsPropagation", "") not in PROPAGATIONS:
        raise UsageError(f"{WHAT}: linux.rootfsPropagation is {linux['rootfsPropagation']!r}, which is no propagation")
    for name in ("maskedPaths", "readonlyPaths"):
        for index, path in enumerate(linux[name]):
            if not path.startswith("/"):
                raise UsageError(f"{WHAT}: linux.{name}[{index}] is not an absolute path: {path!r}")
    _check_hooks(config["hooks"])
    if "process" in config:
        complete_process(config["process"], WHAT, "process.")
    return config


def check_version(text: str) -> None:
    """Refuse a version of the spec that is none, or that this runtime cannot know."""
    core = text.partition("+")[0].partition("-")[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() and str(int(part)) == part for part in core):
        raise UsageError(f"{WHAT}: ociVersion {text!r} is not a version such as 1.2.0")
    if int(core[0]) != SUPPORTED_MAJOR:
        raise NotSupportedError(f"{WHAT}: ociVersion {text!r} is not supported: this runtime knows version 1")


def complete_process(process: dict[str, Any], what: str, path: str) -> None:
    """The same for a `process` object."""
    for name in ("args", "env", "rlimits"):
        process.setdefault(name, [])
    process.setdefault("terminal", False)
    process.setdefault("noNewPrivileges", False)
    process.setdefault("capabilities", {})
    user = process.setdefault("user", {})
    user.setdefault("uid", 0)
    user.setdefault("gid", 0)
    user.setdefault("additionalGids", [])
    if user.setdefault("umask", 0o022) > 0o777:
        raise UsageError(f"{what}: {path}user.umask is {user['umask']}, which is more than 0777")
    for name in ("uid", "gid"):
        if user[name] == (1 << 32) - 1:
            raise UsageError(f"{what}: {path}user.{name} is {user[name]}, which means no user at all")
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        process["capabilities"].setdefault(name, [])
    if not process["cwd"].startswith("/"):
        raise UsageError(f"{what}: {path}cwd is not an absolute path: {process['cwd']!r}")
    seen = set()
    for index, limit in enumerate(process["rlimits"]):
        if limit["type"] in seen:
            raise UsageError(f"{what}: {path}rlimits[{index}] is a second {limit['type']}")
        seen.add(limit["type"])
        if limit["soft"] > limit["hard"]:
            raise UsageError(f"{what}: {path}rlimits[{index}] has a soft limit above its hard limit")
    if not -1000 <= process.get("oomScoreAdj", 0) <= 1000:
        raise UsageError(f"{what}: {path}oomScoreAdj is {process['oomScoreAdj']}, which is not within -1000 and 1000")


def _check_namespaces(config: dict[str, Any], linux: dict[str, Any]) -> None:
    seen = set()
    for index, entry in enumerate(linux["namespaces"]):
        kind = entry["type"]
        if kind not in NAMESPACES:
            raise UsageError(f"{WHAT}: linux.namespaces[{index}] has the unknown type {kind!r}")
        if kind in seen:
            raise UsageError(f"{WHAT}: linux.namespaces[{index}] is a second {kind} namespace")
        seen.add(kind)
        path = entry.setdefault("path", "")
        if path and not path.startswith("/"):
            raise UsageError(f"{WHAT}: linux.namespaces[{index}].path is not absolute: {path!r}")
    if "uts" not in seen:
        for name in ("hostname", "domainname"):
            if config.get(name):
                raise UsageError(f"{WHAT}: {name} needs a uts namespace")
    new_user = any(entry["type"] == "user" and not entry["path"] for entry in linux["namespaces"])
    mapped = linux["uidMappings"] or linux["gidMappings"]
    if new_user and not (linux["uidMappings"] and linux["gidMappings"]):
        raise UsageError(f"{WHAT}: a new user namespace needs linux.uidMappings and linux.gidMappings")
    if mapped and "user" not in seen:
        raise UsageError(f"{WHAT}: linux.uidMappings and linux.gidMappings need a user namespace")
    if linux["timeOffsets"]:
        new_time = any(entry["type"] == "time" and not entry["path"] for entry in linux["namespaces"])
        if not new_time:
            raise UsageError(f"{WHAT}: linux.timeOffsets need a new time namespace")
        for clock in linux["timeOffsets"]:
            if clock not in ("monotonic", "boottime"):
                raise UsageError(f"{WHAT}: linux.timeOffsets has the unknown clock {clock!r}")


def _check_hooks(hooks: dict[str, Any]) -> None:
    for kind, entries in hooks.items():
        for index, hook in enumerate(entries):
            if not hook["path"].startswith("/"):
                raise UsageError(f"{WHAT}: hooks.{kind}[{index}].path is not absolute: {hook['path']!r}")
            if "timeout" in hook and hook["timeout"] <= 0:
                raise UsageError(f"{WHAT}: hooks.{kind}[{index}].timeout is not greater than zero")


def root_path(config: dict[str, Any], bundle: str) -> str:
    """The absolute path of the root file system. UsageError when it is no directory."""
    path = os.path.realpath(os.path.join(bundle, config["root"]["path"]))
    if not os.path.isdir(path):
        raise UsageError(f"{WHAT}: root.path {path!r} is not a directory")
    return path
