"""The shape of `config.json` (runtime-spec config.md, config-linux.md), and checking a document against it.

A shape is a type's name, a list with the shape of its items, or a dict: key to shape; the key "*" is any key. A name
with "!" must be there. Properties that the spec does not know are nobody's business, as it says itself.
"""

from __future__ import annotations

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Names of numbers, with what they may be.
RANGES = {
    "u16": (0, (1 << 16) - 1),
    "u32": (0, (1 << 32) - 1),
    "u64": (0, (1 << 64) - 1),
    "i32": (-(1 << 31), (1 << 31) - 1),
    "i64": (-(1 << 63), (1 << 63) - 1),
}
MAX_STRING_BYTES = 1 << 20
MAX_CONFIG_BYTES = 16 << 20

_HOOK = {"path!": "string", "args": ["string"], "env": ["string"], "timeout": "i64"}
_MAPPING = {"containerID!": "u32", "hostID!": "u32", "size!": "u32"}
_RATE = {"major!": "i64", "minor!": "i64", "rate!": "u64"}
_CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

PROCESS: dict[str, Any] = {
    "terminal": "bool",
    "consoleSize": {"height!": "u16", "width!": "u16"},
    "user": {"uid": "u32", "gid": "u32", "umask": "u32", "additionalGids": ["u32"], "username": "string"},
    "args": ["string"],
    "env": ["string"],
    "cwd!": "string",
    "capabilities": {name: ["string"] for name in _CAPABILITY_SETS},
    "rlimits": [{"type!": "string", "soft!": "u64", "hard!": "u64"}],
    "noNewPrivileges": "bool",
    "apparmorProfile": "string",
    "selinuxLabel": "string",
    "oomScoreAdj": "i64",
    "scheduler": {
        "policy!": "string",
        "nice": "i32",
        "priority": "i32",
        "flags": ["string"],
        "runtime": "u64",
        "deadline": "u64",
        "period": "u64",
    },
    "ioPriority": {"class!": "string", "priority": "i64"},
    "execCPUAffinity": {"initial": "string", "final": "string"},
}

RESOURCES: dict[str, Any] = {
    "devices": [{"allow!": "bool", "type": "string", "major": "i64", "minor": "i64", "access": "string"}],
    "memory": {
        "limit": "i64",
        "reservation": "i64",
        "swap": "i64",
        "kernel": "i64",
        "kernelTCP": "i64",
        "swappiness": "u64",
        "disableOOMKiller": "bool",
        "useHierarchy": "bool",
        "checkBeforeUpdate": "bool",
    },
    "cpu": {
        "shares": "u64",
        "quota": "i64",
        "burst": "u64",
        "period": "u64",
        "realtimeRuntime": "i64",
        "realtimePeriod": "u64",
        "cpus": "string",
        "mems": "string",
        "idle": "i64",
    },
    "pids": {"limit": "i64"},
    "blockIO": {
        "weight": "u16",
        "leafWeight": "u16",
        "weightDevice": [{"major!": "i64", "minor!": "i64", "weight": "u16", "leafWeight": "u16"}],
        "throttleReadBpsDevice": [_RATE],
        "throttleWriteBpsDevice": [_RATE],
        "throttleReadIOPSDevice": [_RATE],
        "throttleWriteIOPSDevice": [_RATE],
    },
    "hugepageLimits": [{"pageSize!": "string", "limit!": "u64"}],
    "network": {"classID": "u32", "priorities": [{"name!": "string", "priority!": "u32"}]},
    "rdma": {"*": {"hcaHandles": "u32", "hcaObjects": "u32"}},
    "unified": {"*": "string"},
}

SECCOMP: dict[str, Any] = {
    "defaultAction!": "string",
    "defaultErrnoRet": "u32",
    "architectures": ["string"],
    "flags": ["string"],
    "listenerPath": "string",
    "listenerMetadata": "string",
    "syscalls": [
        {
            "names!": ["string"],
            "action!": "string",
            "errnoRet": "u32",
            "args": [{"index!": "u32", "value!": "u64", "valueTwo": "u64", "op!": "string"}],
        }
    ],
}

CONFIG: dict[str, Any] = {
    "ociVersion!": "string",
    "root": {"path!": "string", "readonly": "bool"},
    "mounts": [
        {
            "destination!": "string",
            "type": "string",
            "source": "string",
            "options": ["string"],
            "uidMappings": [_MAPPING],
            "gidMappings": [_MAPPING],
        }
    ],
    "process": PROCESS,
    "hostname": "string",
    "domainname": "string",
    "hooks": {
        name: [_HOOK]
        for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "annotations": {"*": "string"},
    "linux": {
        "namespaces": [{"type!": "string", "path": "string"}],
        "uidMappings": [_MAPPING],
        "gidMappings": [_MAPPING],
        "timeOffsets": {"*": {"secs": "i64", "nanosecs": "u32"}},
        "devices": [
            {
                "type!": "string",
                "path!": "string",
                "major": "i64",
                "minor": "i64",
                "fileMode": "u32",
                "uid": "u32",
                "gid": "u32",
            }
        ],
        "cgroupsPath": "string",
        "resources": RESOURCES,
        "intelRdt": {"*": "any"},
        "rootfsPropagation": "string",
        "seccomp": SECCOMP,
        "sysctl": {"*": "string"},
        "maskedPaths": ["string"],
        "readonlyPaths": ["string"],
        "mountLabel": "string",
        "personality": {"domain!": "string", "flags": ["string"]},
    },
    "solaris": "any",
    "windows": "any",
    "vm": "any",
    "zos": "any",
}


def load(path: str, shape: Any, what: str) -> dict[str, Any]:
    """The JSON object in a file, checked. UsageError names the file or the property that is wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path!r}: {error.strerror}") from error
    return parse(data, shape, what)


def parse(data: bytes, shape: Any, what: str) -> dict[str, Any]:
    """The same from bytes."""
    import json

    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{what} is larger than {MAX_CONFIG_BYTES >> 20} MB")
    try:
        document = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise UsageError(f"{what} is nested too deeply") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{what} is not JSON: {error}") from None
    return checked(document, shape, what)


def checked(document: Any, shape: Any, what: str) -> dict[str, Any]:
    """The document without its nulls. UsageError for the first property that is not as it must be."""
    if not isinstance(document, dict):
        raise UsageError(f"{what} is {_kind(document)}, not an object")
    found = _check(document, shape, "", what)
    assert isinstance(found, dict)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _check(value: Any, shape: Any, path: str, what: str) -> Any:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _wrong(what, path, "an object", value)
        return _check_object(value, shape, path, what)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(what, path, "a list", value)
        return [_check(item, shape[0], f"{path}[{index}]", what) for index, item in enumerate(value)]
    if shape == "string":
        if not isinstance(value, str):
            raise _wrong(what, path, "a string", value)
        _check_string(value, path, what)
    elif shape == "bool":
        if not isinstance(value, bool):
            raise _wrong(what, path, "true or false", value)
    elif shape in RANGES:
        low, high = RANGES[shape]
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(what, path, "a whole number", value)
        if not low <= value <= high:
            raise UsageError(f"{what}: {path} is {value}, which is not within {low} and {high}")
    return value


def _check_object(value: dict[str, Any], shape: dict[str, Any], path: str, what: str) -> dict[str, Any]:
    start = f"{path}." if path else ""
    found = {}
    for key, inner in value.items():
        if inner is None:
            continue
        expected = shape.get(key) or shape.get(f"{key}!") or shape.get("*")
        if expected is None:
            continue
        if "*" in shape:
            _check_string(key, start + key[:40], what)
        found[key] = _check(inner, expected, start + key, what)
    for key in shape:
        if key.endswith("!") and key[:-1] not in found:
            raise UsageError(f"{what}: {start}{key[:-1]} is missing")
    return found


def _check_string(value: str, path: str, what: str) -> None:
    if "\0" in value:
        raise UsageError(f"{what}: {path} has a NUL character in it")
    if len(value) > MAX_STRING_BYTES:
        raise UsageError(f"{what}: {path} is longer than {MAX_STRING_BYTES >> 20} MB")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what}: {path} has half a surrogate pair in it") from None


def _wrong(what: str, path: str, wanted: str, value: Any) -> UsageError:
    return UsageError(f"{what}: {path} is {_kind(value)}, not {wanted}")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, int | float):
        return f"the number {str(value)[:40]}"
    return "a list" if isinstance(value, list) else "an object"
