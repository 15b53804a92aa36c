"""The options of `run` and `create`, made into a `ContainerConfig`."""

from __future__ import annotations

import os

from tiffin.cli import env_files, mount_options, policies
from tiffin.cli.resource_flags import LIMIT_NAMES
from tiffin.cli.units import parse_bytes
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import ContainerConfig, Device, LogConfig, Mount, Ulimit
from tiffin.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from tiffin.cli.options import Parsed

    T = TypeVar("T")

_ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
            "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.domainname", "kernel.hostname")  # fmt: skip
_STREAMS = ("stdin", "stdout", "stderr")


def config_from(parsed: Parsed) -> ContainerConfig:
    """What `run` or `create` was asked for. UsageError, NotSupportedError."""
    image, *command = parsed.arguments
    _check_pull(parsed)
    _check_isolation(parsed)
    return ContainerConfig(
        image=image,
        command=tuple(command),
        entrypoint=_entrypoint(parsed),
        name=parsed.text("name"),
        env=environment(parsed),
        workdir=workdir(parsed),
        user=parsed.text("user"),
        groups=tuple(parsed.items("group-add")),
        hostname=parsed.text("hostname"),
        domainname=parsed.text("domainname"),
        tty=parsed.flag("tty"),
        interactive=parsed.flag("interactive"),
        auto_remove=parsed.flag("rm"),
        network=_network(parsed),
        pid=_namespace(parsed, "pid"),
        ipc=_namespace(parsed, "ipc", "shareable", "none"),
        uts=_namespace(parsed, "uts"),
        cgroupns=_namespace(parsed, "cgroupns"),
        userns=parsed.text("userns") or "",
        uid_maps=_id_maps(parsed, "uidmap", "subuidname", "/etc/subuid"),
        gid_maps=_id_maps(parsed, "gidmap", "subgidname", "/etc/subgid"),
        mounts=_mounts(parsed),
        volumes_from=tuple(parsed.items("volumes-from")),
        read_only=parsed.flag("read-only"),
        cap_add=tuple(parsed.items("cap-add")),
        cap_drop=tuple(parsed.items("cap-drop")),
        privileged=parsed.flag("privileged"),
        security_opts=tuple(parsed.items("security-opt")),
        devices=tuple(_device_paths(parsed)),
        device_requests=tuple(text for text in parsed.items("device") if _is_described(text)),
        gpus=_gpus(parsed),
        sysctls=_each(parsed, "sysctl", _sysctl),
        device_cgroup_rules=_each(parsed, "device-cgroup-rule", _device_rule),
        oom_score_adj=_oom_score(parsed),
        annotations=tuple(dict(_each(parsed, "annotation", _annotation)).items()),
        platform=parsed.text("platform") or "",
        ulimits=_each(parsed, "ulimit", _ulimit),
        shm_size_bytes=_shm_size(parsed),
        init=parsed.flag("init"),
        labels=_labels(parsed),
        stop_signal=parsed.text("stop-signal"),
        stop_timeout_s=_stop_timeout(parsed),
        resources=resources(parsed),
        log=_log(parsed),
        restart=policies.restart_policy(parsed),
        health=policies.health_check(parsed),
        systemd=_systemd(parsed),
        pod=parsed.text("pod") or "",
        runtime=parsed.text("runtime") or "",
    )


def environment(parsed: Parsed) -> tuple[str, ...]:
    """--env-file and then --env, so that the command line wins."""
    entries: list[str] = []
    for path in parsed.items("env-file"):
        entries += env_files.read_env_file(path, os.environ)
    return (*entries, *_each(parsed, "env", env_files.variable))


def workdir(parsed: Parsed) -> str | None:
    path = parsed.text("workdir")
    if path and not path.startswith("/"):
        raise parsed.invalid("workdir", path, "the working directory must be an absolute path")
    return path or None


def attached_streams(parsed: Parsed) -> frozenset[str]:
    """Which of "stdin", "stdout", "stderr" the user wants here: all but stdin unless -a or -i say otherwise."""
    asked = parsed.items("attach")
    for stream in asked:
        if stream.lower() not in _STREAMS:
            raise parsed.invalid("attach", stream, "valid streams are stdin, stdout and stderr")
    if not asked:
        return frozenset(_STREAMS if parsed.flag("interactive") else _STREAMS[1:])
    return frozenset(stream.lower() for stream in asked)


def _each(parsed: Parsed, name: str, convert: Callable[[str], T]) -> tuple[T, ...]:
    values = []
    for text in parsed.items(name):
        try:
            values.append(convert(text))
        except ValueError as error:
            raise parsed.malformed(name, text, str(error)) from None
    return tuple(values)


def _shm_size(parsed: Parsed) -> int:
    text = parsed.text("shm-size") or "0"
    try:
        return parse_bytes(text) or 64 << 20
    except ValueError as error:
        raise parsed.malformed("shm-size", text, str(error)) from None


def _entrypoint(parsed: Parsed) -> tuple[str, ...] | None:
    text = parsed.text("entrypoint")
    if text is None:
        return None
    return (text,) if text else ()


def _network(parsed: Parsed) -> str:
    networks = parsed.items("network")
    if len(networks) > 1:
        raise NotSupportedError("several --network options are not supported yet: Tiffin has only none and host so far")
    network = networks[0] if networks else "none"
    if network == "container:":
        raise UsageError("invalid network mode: invalid container format container:<name|id>")
    if network not in ("none", "host") and not (_is_another(network) or network.startswith("ns:/")):
        raise NotSupportedError(
            f"--network {network} is not supported yet: Tiffin has no bridge networks so far",
            hint="use --network host or --network none",
        )
    return network


def _namespace(parsed: Parsed, name: str, *further: str) -> str:
    mode = parsed.text(name) or "private"
    if mode in ("host", "private", *further) or _is_another(mode) or mode.startswith("ns:/"):
        return mode
    known = ("host", "private", *further, "container:NAME")
    raise parsed.invalid(name, mode, f"it is {', '.join(known)} or ns:PATH")


def _id_maps(parsed: Parsed, option: str, holder: str, path: str) -> tuple[tuple[int, int, int], ...]:
    texts, name = parsed.items(option), parsed.text(holder)
    if not texts and not name:
        return ()
    from tiffin.containers import userns

    if texts and name:
        raise UsageError(f"conflicting options: --{option} and --{holder}")
    return userns.subordinate_map(path, name) if name else tuple(map(userns.parse_map, texts))


def _is_another(mode: str) -> bool:
    return mode.startswith("container:") and mode != "container:"


def _mounts(parsed: Parsed) -> tuple[Mount, ...]:
    driver = parsed.text("volume-driver") or ""
    mounts = (
        *_each(parsed, "volume", mount_options.volume),
        *_each(parsed, "mount", mount_options.mount),
        *_each(parsed, "tmpfs", mount_options.tmpfs),
    )
    if driver:
        mounts = tuple(
            mount if mount.type != "volume" or mount.volume_driver else mount.replace(volume_driver=driver)
            for mount in mounts
        )
    # As Docker: a volume of `-v /path` gives way to whatever else is mounted there.
    places = {os.path.normpath(mount.target) for mount in mounts if not _gives_way(mount)}
    kept = [mount for mount in mounts if not (_gives_way(mount) and os.path.normpath(mount.target) in places)]
    mounts = tuple({(mount if _gives_way(mount) else id(mount)): mount for mount in kept}.values())
    seen = set()
    for mount in mounts:
        target = os.path.normpath(mount.target)
        if target in seen:
            raise UsageError(f"Duplicate mount point: {target}", hint="mount one thing at a place")
        seen.add(target)
    return mounts


def _gives_way(mount: Mount) -> bool:
    return mount.type == "volume" and mount.anonymous


def _is_described(text: str) -> bool:
    """Whether it names a device as its vendor does, VENDOR/CLASS=NAME, and not by its path."""
    return not text.startswith("/") and "/" in text.partition("=")[0] and "=" in text


def _gpus(parsed: Parsed) -> tuple[str, ...]:
    if not parsed.items("gpus"):
        return ()
    from tiffin.cli import gpu_options

    return tuple(filter(None, _each(parsed, "gpus", gpu_options.gpus)))


def _device_paths(parsed: Parsed) -> list[Device]:
    return [device for device in _each(parsed, "device", _device) if device is not None]


def _device(text: str) -> Device | None:
    if _is_described(text):
        return None
    parts = text.split(":")
    if not text or len(parts) > 3:
        raise ValueError(f"bad format for path: {text}")
    host, inside, permissions = parts[0], parts[0], "rwm"
    if len(parts) == 2 and _is_access(parts[1]):
        permissions = parts[1]
    elif len(parts) > 1:
        inside = parts[1]
        permissions = parts[2] if len(parts) == 3 else permissions
    if not _is_access(permissions):
        raise ValueError(f"bad mode specified: {permissions}")
    for path in (host, inside):
        if not path.startswith("/"):
            raise ValueError(f"{path} is not an absolute path")
    return Device(host_path=host, container_path=inside, permissions=permissions)


def _is_access(text: str) -> bool:
    return bool(text) and not text.strip("rwm") and len(set(text)) == len(text)


def _device_rule(text: str) -> str:
    from tiffin.cgroups.devices import parse_rule

    try:
        parse_rule(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


def _annotation(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise ValueError(f"invalid annotation '{text}': empty name")
    return key, value


def _sysctl(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or (key not in _SYSCTLS and not key.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return key, value


def _ulimit(text: str) -> Ulimit:
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    words = limits.split(":")
    if len(words) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    soft, hard = _limit(words[0]), _limit(words[-1])
    if hard != -1 and soft == -1:
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
        )
    if hard != -1 and soft > hard:
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name=name, soft=soft, hard=hard)


def _limit(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{word}": invalid syntax') from None
    if number < -1:
        raise ValueError("a limit is not negative, except -1 for unlimited")
    return number


def _labels(parsed: Parsed) -> tuple[tuple[str, str], ...]:
    labels: dict[str, str] = {}
    for path in parsed.items("label-file"):
        labels.update(env_files.read_label_file(path))
    labels.update(_each(parsed, "label", _label))
    return tuple(labels.items())


def _label(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    return key, value


def _stop_timeout(parsed: Parsed) -> int | None:
    seconds = parsed.number("stop-timeout")
    if seconds is not None and seconds < -1:
        raise parsed.invalid("stop-timeout", str(seconds), "seconds are not negative, except -1 for no limit")
    return seconds


def resources(parsed: Parsed) -> Resources:
    """The limits that are given."""
    if LIMIT_NAMES.isdisjoint(parsed.values):
        return Resources()
    from tiffin.cli import resource_options

    return resource_options.resources(parsed)


def _log(parsed: Parsed) -> LogConfig:
    if not parsed.given("log-driver") and not parsed.given("log-opt"):
        return LogConfig()
    from tiffin.cli.log_options import log_config

    return log_config(parsed)


def _systemd(parsed: Parsed) -> str:
    text = parsed.text("systemd") or "true"
    value = {"1": "true", "t": "true", "0": "false", "f": "false"}.get(text.lower(), text.lower())
    if value not in ("true", "false", "always"):
        raise parsed.invalid("systemd", text, "it is true, false or always")
    return value


def _check_pull(parsed: Parsed) -> None:
    policy = parsed.text("pull")
    if policy not in (None, "always", "missing", "never"):
        raise UsageError(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"',
            hint=parsed.verb.see_help,
        )


def _check_isolation(parsed: Parsed) -> None:
    isolation = parsed.text("isolation")
    if isolation not in (None, "", "default"):
        raise UsageError(f"Invalid isolation: \"{isolation}\" - linux only supports 'default'")


def _oom_score(parsed: Parsed) -> int | None:
    score = parsed.number("oom-score-adj")
    return score or None
