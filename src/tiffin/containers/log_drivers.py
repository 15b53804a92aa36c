"""Log drivers: which options each takes, which file it keeps, and what the monitor is told of it.

The names and their messages are Docker's (docs.docker.com/config/containers/logging). A journal and a syslog server
cannot be read back, so, as Docker's dual logging, a file in the CRI format is kept beside them.
"""

from __future__ import annotations

from tiffin.errors import LaunchError, NotSupportedError, UsageError
from tiffin.model.container import UNLIMITED_LOG_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.container import Container, LogConfig
    from tiffin.paths import Paths

    Operation = tuple[str, tuple[object, ...], str]

FILES = ("cri", "json-file", "local", "k8s-file")
SINKS = ("journald", "syslog")
DRIVERS = (*FILES, *SINKS, "passthrough", "none")

_ABOUT_IT = ("labels", "labels-regex", "env", "env-regex", "tag")
_DELIVERY = ("mode", "max-buffer-size")
_CACHE = ("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
_SYSLOG = ("syslog-address", "syslog-facility", "syslog-format")
_OPTIONS = {
    **dict.fromkeys(FILES, (*_ABOUT_IT, *_DELIVERY, "max-size", "max-file", "compress")),
    "journald": (*_ABOUT_IT, *_DELIVERY, *_CACHE, "journald-address"),
    "syslog": (*_ABOUT_IT, *_DELIVERY, *_CACHE, *_SYSLOG),
}
MAX_ATTRIBUTES_BYTES = 16 << 10  # MAX_ATTRIBUTES in launcher/log_format.h


def check(container: Container) -> None:
    """Refuse what could not work at a start. UsageError, NotSupportedError."""
    log = container.config.log
    given = dict(log.options)
    if log.driver not in DRIVERS:
        raise UsageError(
            f'error looking up logging plugin {log.driver}: plugin "{log.driver}" not found',
            hint=f"there are {', '.join(DRIVERS)}",
        )
    if given and log.driver in ("none", "passthrough"):
        raise UsageError(f"invalid logging opts for driver {log.driver}")
    for name in given:
        if name.startswith("syslog-tls-") and log.driver == "syslog":
            raise NotSupportedError(f"--log-opt {name} is not supported yet: Tiffin sends no encrypted syslog so far")
        if name not in _OPTIONS[log.driver]:
            raise UsageError(f"unknown log opt '{name}' for {log.driver} log driver")
    _check_delivery(log.driver, given)
    for name in ("compress", "cache-compress"):
        if given.get(name, "false") != "false":
            raise NotSupportedError(f"--log-opt {name} is not supported yet: rotated logs are kept as they are")
    if log.driver == "passthrough" and container.config.tty:
        raise UsageError("conflicting options: --log-driver passthrough and --tty")
    if log.driver == "syslog":
        from tiffin.containers import log_syslog

        log_syslog.check(given)
    if log.driver == "journald":
        _journal_path(given)
    if len(attributes_json(attributes(container))) > MAX_ATTRIBUTES_BYTES:
        raise UsageError(f"labels and variables for the log are longer than {MAX_ATTRIBUTES_BYTES} bytes")
    tag(container, "{{.ID}}")


def _check_delivery(driver: str, given: dict[str, str]) -> None:
    mode = given.get("mode", "blocking")
    if mode not in ("blocking", "non-blocking"):
        raise UsageError(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in given and mode != "non-blocking":
        raise UsageError("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if mode == "non-blocking" and driver in FILES:
        raise NotSupportedError(
            "--log-opt mode=non-blocking is not supported yet with logs in files: they have no buffer that could drop",
            hint="leave it out: what the disk does not take is dropped anyway, and the container goes on",
        )


def file_path(paths: Paths, container: Container) -> str:
    """The file with the output, or its copy beside a journal or syslog server; "" when there is none."""
    log = container.config.log
    directory = paths.container(container.id)
    if log.driver == "json-file":
        return f"{directory}/{container.id}-json.log"
    if log.driver in FILES or (log.driver in SINKS and dict(log.options).get("cache-disabled", "false") == "false"):
        return f"{directory}/output.log"
    return ""


def shown_path(paths: Paths, container: Container) -> str:
    """As Docker's `LogPath`: the copy beside a journal or syslog server is nobody's business."""
    return file_path(paths, container) if container.config.log.driver in FILES else ""


def shown_options(log: LogConfig) -> dict[str, str]:
    """As Docker's `LogConfig.Config`, with the limits that it would leave out."""
    limits = {"max-size": _size(log.max_size_bytes), "max-file": str(log.max_files)} if log.driver in FILES else {}
    return {**limits, **dict(log.options)}


def _size(count: int) -> str:
    """Bytes as somebody would have asked for them: 1m, not 1048576; -1 for no limit."""
    if count >= UNLIMITED_LOG_BYTES:
        return "-1"
    for shift, unit in ((30, "g"), (20, "m"), (10, "k")):
        if count % (1 << shift) == 0:
            return f"{count >> shift}{unit}"
    return str(count)


def operations(paths: Paths, container: Container) -> tuple[str, tuple[Operation, ...]]:
    """The log's file, "" for none, and the plan's operations beside it. LaunchError where nobody takes the log."""
    log = container.config.log
    path = file_path(paths, container)
    if log.driver == "json-file":
        found = attributes(container)
        return path, (("LOG_JSON", (attributes_json(found) if found else "",), ""),)
    if log.driver == "journald":
        return path, _journal(container, dict(log.options))
    if log.driver == "syslog":
        from tiffin.containers import log_syslog

        return path, log_syslog.operations(container, dict(log.options))
    return path, ()


def delivery(given: dict[str, str]) -> tuple[int, int]:
    """Whether a slow reader is waited for, and the bytes of the buffer before it; 0 is the kernel's default."""
    if given.get("mode", "blocking") == "blocking":
        return 1, 0
    return 0, int(given.get("max-buffer-size", 1 << 20))


# What is told of the container


def attributes(container: Container) -> dict[str, str]:
    """The labels and variables that `labels`, `env` and their regex forms choose, and a tag that was asked for."""
    given = dict(container.config.log.options)
    if not given:
        return {}
    env = dict(entry.split("=", 1) for entry in container.env if "=" in entry)
    found = {**_chosen(given, "labels", dict(container.labels)), **_chosen(given, "env", env)}
    if "tag" in given and container.config.log.driver not in SINKS:
        found["tag"] = tag(container, "")
    return found


def _chosen(given: dict[str, str], kind: str, values: dict[str, str]) -> dict[str, str]:
    names = given.get(kind, "").split(",")
    found = {name: values[name] for name in names if name in values}
    if pattern := given.get(f"{kind}-regex"):
        import re

        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"the regular expression {pattern!r} of {kind}-regex is none: {error}") from None
        found.update((name, value) for name, value in values.items() if wanted.search(name))
    return found


def attributes_json(found: dict[str, str]) -> str:
    """As Go writes a map: sorted, no spaces, and what HTML would take for more escaped."""
    import json

    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def tag(container: Container, default: str) -> str:
    """The `tag` option with its fields filled in. UsageError for a field that Docker does not have."""
    template = dict(container.config.log.options).get("tag") or default
    image_id = container.image_id.removeprefix("sha256:")
    fields: dict[str, Any] = {
        "ID": container.id[:12],
        "FullID": container.id,
        "Name": container.name,
        "ImageID": image_id[:12],
        "ImageFullID": container.image_id,
        "ImageName": container.image_name,
        "Command": " ".join(container.argv),
        "DaemonName": "tiffin",
        "ContainerID": container.id,
        "ContainerName": f"/{container.name}",
        "ContainerImageID": container.image_id,
        "ContainerImageName": container.image_name,
    }
    out = ""
    at = 0
    while (start := template.find("{{", at)) >= 0:
        end = template.find("}}", start)
        if end < 0:
            raise UsageError("template: log-tag:1: unclosed action", hint=f"the tag is {template!r}")
        name = template[start + 2 : end].strip()
        if not name.startswith(".") or name[1:] not in fields:
            raise UsageError(
                f'template: log-tag:1:{start + 2}: executing "log-tag" at <{name}>: '
                f"can't evaluate field {name.removeprefix('.')} in type *logger.Info",
                hint="there are " + ", ".join(f"{{{{.{field}}}}}" for field in fields),
            )
        out += template[at:start] + fields[name[1:]]
        at = end + 2
    return out + template[at:]


# The journal


# What a label, which an image may bring, does not say: the message itself, and what the journal takes from root alone
# as words about another unit or process (systemd.journal-fields(7)).
_JOURNAL_OWN = frozenset("MESSAGE MESSAGE_ID PRIORITY CONTAINER_PARTIAL_MESSAGE UNIT USER_UNIT".split())
_JOURNAL_ABOUT_OTHERS = ("OBJECT_", "COREDUMP_")


def _journal_path(given: dict[str, str]) -> str:
    address = given.get("journald-address", "unix:///run/systemd/journal/socket")
    path = address.removeprefix("unix://")
    if not address.startswith("unix:///") or len(path.encode()) > 107:
        raise UsageError(f"journald-address should be in form unix:///path, got {address}")
    return path


def _journal(container: Container, given: dict[str, str]) -> tuple[Operation, ...]:
    """One datagram a line, each with all fields (systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7))."""
    import os

    from tiffin.runtime.ops import SINK_JOURNAL

    path = _journal_path(given)
    if not os.path.exists(path):
        raise LaunchError("failed to initialize logging driver: journald is not enabled on this host")
    name = tag(container, "{{.ID}}")
    fields = {
        "CONTAINER_ID": container.id[:12],
        "CONTAINER_ID_FULL": container.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": name,
        "IMAGE_NAME": container.image_name,
        "SYSLOG_IDENTIFIER": name,
    }
    for key, value in attributes(container).items():
        cleaned = _journal_key(key)
        if cleaned and cleaned not in _JOURNAL_OWN and not cleaned.startswith(_JOURNAL_ABOUT_OTHERS):
            fields.setdefault(cleaned, value)
    head = b"".join(_journal_field(key, value) for key, value in fields.items())
    return (
        (
            "LOG_SINK",
            (SINK_JOURNAL, DATAGRAM, unix_address(path), *delivery(given), head, b""),
            f"dial unixgram {path}",
        ),
    )


STREAM, DATAGRAM = 1, 2  # socket(2)


def unix_address(path: str) -> bytes:
    """A struct sockaddr_un (unix(7))."""
    return (1).to_bytes(2, "little") + path.encode("utf-8", "surrogateescape") + b"\0"


def _journal_key(name: str) -> str:
    """As Docker: capital letters, digits and underscores, which it does not begin with."""
    return "".join(c if c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" else "_" for c in _upper(name)).lstrip("_")


def _upper(name: str) -> str:
    return "".join(c.upper() if "a" <= c <= "z" else c for c in name)


def _journal_field(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" in data:
        return key.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return key.encode() + b"=" + data + b"\n"
