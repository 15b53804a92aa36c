"""Files that describe devices (Container Device Interface), field by field: JSON, and YAML where Python can read it."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.runtime.cdi import Description, Edits, HookEdit, Library, MountEdit, NodeEdit, is_device_name, is_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_BYTES = 4 << 20
VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_MAX_ID, _MAX_MAJOR, _MAX_MINOR = (1 << 32) - 2, (1 << 12) - 1, (1 << 20) - 1


def read_all(dirs: Iterable[str]) -> Library:
    """What all directories describe; of the same device the last directory counts."""
    devices: dict[str, tuple[Description, Edits]] = {}
    clashes: dict[str, tuple[str, str]] = {}
    problems: list[str] = []
    for directory in dirs:
        here: dict[str, str] = {}
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"cannot read {directory}: {error.strerror}")
            continue
        for name in names:
            path = f"{directory}/{name}"
            if not name.endswith((".json", ".yaml")):
                continue
            try:
                description = read(path)
            except _Invalid as error:
                problems.append(f"{path}: {error}")
                continue
            for device, edits in description.devices:
                qualified = f"{description.kind}={device}"
                if qualified in here:
                    clashes[qualified] = here[qualified], path
                    devices.pop(qualified, None)
                    continue
                here[qualified] = path
                clashes.pop(qualified, None)
                devices[qualified] = description, edits
    return Library(devices=devices, clashes=clashes, problems=tuple(problems))


class _Invalid(ValueError):
    """Why a file is no description."""


def read(path: str) -> Description:
    """Read one file. ValueError, whose text says what is wrong with it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO is not waited for
        with open(fd, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Invalid(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise _Invalid(f"is larger than {MAX_BYTES} bytes")
    return parse(_yaml(data) if path.endswith(".yaml") else _json(data), path)


def _json(data: bytes) -> object:
    import json

    try:
        found: object = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _Invalid(f"is no JSON: {error}") from None
    return found


def _yaml(data: bytes) -> object:
    from importlib import import_module

    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise _Invalid(
            "is YAML, which needs the Python package PyYAML; install that, or have the description written as JSON"
        ) from None
    try:
        found: object = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _Invalid(f"is no YAML: {' '.join(str(error).split())}") from None
    return found


def parse(value: object, path: str) -> Description:
    """A description from what its file says. ValueError, whose text says what is wrong with it."""
    top = _Fields(value, "the description", "cdiVersion kind annotations devices containerEdits")
    version = top.text("cdiVersion", needed=True).removeprefix("v")
    if version not in VERSIONS:
        raise _Invalid(f"cdiVersion {version!r} is unknown; known are {VERSIONS[0]} to {VERSIONS[-1]}")
    kind = top.text("kind", needed=True)
    if not is_kind(kind):
        raise _Invalid(f"kind {kind!r} is not VENDOR/CLASS")
    needs = {"0.3.0"}
    if "." in kind.partition("/")[2]:
        needs.add("0.6.0")
    top.annotations(needs)
    devices: dict[str, Edits] = {}
    for number, item in enumerate(top.items("devices")):
        fields = _Fields(item, f"device {number}", "name annotations containerEdits")
        name = fields.text("name", needed=True)
        if not is_device_name(name):
            raise _Invalid(f"the device name {name!r} is invalid")
        if name in devices:
            raise _Invalid(f"the device {name!r} is there twice")
        if name[0].isdigit():
            needs.add("0.5.0")
        fields.annotations(needs)
        devices[name] = _edits(fields.get("containerEdits"), f"device {name!r}", needs)
        if devices[name] == Edits():
            raise _Invalid(f"the device {name!r} has no containerEdits")
    if not devices:
        raise _Invalid("it has no devices")
    edits = _edits(top.get("containerEdits"), "the description", needs)
    least = max(needs, key=VERSIONS.index)
    if VERSIONS.index(version) < VERSIONS.index(least):
        raise _Invalid(f"cdiVersion {version} has not all that it uses: that needs at least {least}")
    return Description(path=path, kind=kind, devices=tuple(devices.items()), edits=edits)


_EDITS = "env deviceNodes mounts hooks additionalGids intelRdt netDevices"


def _edits(value: object, where: str, needs: set[str]) -> Edits:
    fields = _Fields({} if value is None else value, f"containerEdits of {where}", _EDITS)
    groups = fields.items("additionalGids")
    for group in groups:
        if not _is_number(group, _MAX_ID):
            raise _Invalid(f"{fields.what}: {group!r} in additionalGids is no group")
    rdt = fields.get("intelRdt")
    if groups or rdt is not None:
        needs.add("0.7.0")
    if rdt is not None:
        names = "closID l3CacheSchema memBwSchema schemata enableMonitoring enableCMT enableMBM"
        if {"schemata", "enableMonitoring"} & _Fields(rdt, f"intelRdt of {where}", names).keys():
            needs.add("1.1.0")
    interfaces = fields.items("netDevices")
    if interfaces:
        needs.add("1.1.0")
    return Edits(
        env=fields.variables("env"),
        nodes=tuple(_node(item, where, needs) for item in fields.items("deviceNodes")),
        mounts=tuple(_mount(item, where, needs) for item in fields.items("mounts")),
        hooks=tuple(_hook(item, where) for item in fields.items("hooks")),
        groups=tuple(group for group in groups if group),  # "Values of 0 are ignored"
        net_devices=bool(interfaces),
        intel_rdt=rdt is not None,
    )


def _node(value: object, where: str, needs: set[str]) -> NodeEdit:
    names = "path hostPath type major minor fileMode permissions uid gid"
    fields = _Fields(value, f"a device node of {where}", names)
    path = fields.path("path")
    kind = fields.text("type")
    if kind not in ("", "b", "c", "u", "p"):
        raise _Invalid(f"{fields.what}: type {kind!r} is none of b, c, u and p")
    access = fields.text("permissions") or "rwm"
    if access != "none" and access.strip("rwm"):
        raise _Invalid(f"{fields.what}: permissions {access!r} are not of r, w and m")
    host = ""
    if fields.get("hostPath") is not None:
        needs.add("0.5.0")
        host = fields.path("hostPath")
    return NodeEdit(
        path=path,
        host_path=host or path,
        type="c" if kind == "u" else kind,
        major=fields.number("major", _MAX_MAJOR) or 0,
        minor=fields.number("minor", _MAX_MINOR) or 0,
        mode=fields.number("fileMode", 0o7777),
        access="" if access == "none" else "".join(letter for letter in "rwm" if letter in access),
        uid=fields.number("uid", _MAX_ID),
        gid=fields.number("gid", _MAX_ID),
    )


def _mount(value: object, where: str, needs: set[str]) -> MountEdit:
    from tiffin.runtime.mount_options import Options

    fields = _Fields(value, f"a mount of {where}", "hostPath containerPath type options")
    source, target = fields.text("hostPath", needed=True), fields.path("containerPath")
    kind = fields.text("type")
    if kind:
        needs.add("0.4.0")
    options = list(fields.texts("options"))
    if not {"bind", "rbind"} & set(options) and kind in ("", "none", "bind"):
        options.insert(0, "rbind")
    try:
        parsed = Options(options, target)
    except UsageError as error:
        raise _Invalid(f"{fields.what}: {error.message}") from None
    if parsed.bind:
        kind, source = "bind", fields.path("hostPath")
    if target == "/":
        raise _Invalid(f"{fields.what}: nothing can be mounted on /")
    return MountEdit(source=source, target=target, type=kind, options=tuple(options))


def _hook(value: object, where: str) -> HookEdit:
    fields = _Fields(value, f"a hook of {where}", "hookName path args env timeout")
    point = fields.text("hookName", needed=True)
    if point not in HOOKS:
        raise _Invalid(f"{fields.what}: hookName {point!r} is none of {', '.join(HOOKS)}")
    timeout = fields.number("timeout", (1 << 31) - 1)
    if timeout == 0:
        raise _Invalid(f"{fields.what}: timeout 0 is no time")
    return HookEdit(
        point=point,
        path=fields.path("path"),
        args=fields.texts("args"),
        env=fields.variables("env"),
        timeout_s=timeout,
    )


def _is_number(value: object, maximum: int) -> bool:
    return type(value) is int and 0 <= value <= maximum


class _Fields:
    """An object of a description. As in the reference implementation null is nothing, and unknown fields are errors."""

    def __init__(self, value: object, what: str, known: str) -> None:
        if not isinstance(value, dict):
            raise _Invalid(f"{what} is no object")
        unknown = [str(name) for name in value if name not in known.split()]
        if unknown:
            raise _Invalid(f"{what} has the unknown field {unknown[0]!r}")
        self.what = what
        self._values = {name: item for name, item in value.items() if item is not None}

    def keys(self) -> set[str]:
        return set(self._values)

    def get(self, name: str) -> object:
        return self._values.get(name)

    def text(self, name: str, *, needed: bool = False) -> str:
        value = self._values.get(name, "")
        if not isinstance(value, str) or not _is_clean(value):
            raise _Invalid(f"{self.what}: {name} is no text")
        if needed and not value:
            raise _Invalid(f"{self.what}: {name} is missing")
        return value

    def path(self, name: str) -> str:
        """An absolute path, without "..", doubled and last slashes."""
        value = self.text(name, needed=True)
        if not value.startswith("/"):
            raise _Invalid(f"{self.what}: {name} {value!r} is not an absolute path")
        return "/" + os.path.normpath(value).lstrip("/")

    def number(self, name: str, maximum: int) -> int | None:
        value = self._values.get(name)
        if value is not None and not _is_number(value, maximum):
            raise _Invalid(f"{self.what}: {name} is no whole number from 0 to {maximum}")
        return value

    def items(self, name: str) -> list[Any]:
        value = self._values.get(name, [])
        if not isinstance(value, list):
            raise _Invalid(f"{self.what}: {name} is no list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        items = self.items(name)
        if not all(isinstance(item, str) and _is_clean(item) for item in items):
            raise _Invalid(f"{self.what}: {name} is no list of texts")
        return tuple(items)

    def variables(self, name: str) -> tuple[str, ...]:
        for item in self.texts(name):
            if item.find("=") <= 0:
                raise _Invalid(f"{self.what}: {item!r} in {name} is not NAME=VALUE")
        return self.texts(name)

    def annotations(self, needs: set[str]) -> None:
        """They say nothing to Tiffin."""
        value = self._values.get("annotations", {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
            raise _Invalid(f"{self.what}: annotations are no texts by name")
        if value:
            needs.add("0.6.0")


def _is_clean(text: str) -> bool:
    """Whether it can be handed to the kernel: JSON can say NUL bytes and halves of characters."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False
