"""-v, --mount and --tmpfs: from texts to `Mount` records. Errors are ValueError (the reason) and NotSupportedError."""

from __future__ import annotations

import os

from tiffin.cli.units import parse_bytes
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import Mount

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_TMPFS_FLAGS = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime "
    "diratime nodiratime relatime norelatime strictatime nostrictatime".split()
)
_TMPFS_SETTINGS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")


def volume(text: str) -> Mount:
    """`INSIDE`, `NAME:INSIDE[:OPTION,…]` or `HOST:INSIDE[:OPTION,…]`; a host directory is made, as Docker does."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise ValueError("not of the form [source:]inside[:options]")
    if len(parts) == 1:
        _check_target(text)
        return Mount(type="volume", target=text, anonymous=True)
    source, target = parts[0], parts[1]
    if source.startswith("~"):
        raise ValueError(f"'{source}' starts with ~, which only a shell expands")
    _check_target(target)
    options = parts[2] if len(parts) == 3 else ""
    if not source.startswith(("/", ".")):
        return _named(source, target, options)
    readonly, propagation = _volume_options(options)
    return Mount(
        type="bind", source=_absolute(source), target=target, readonly=readonly, propagation=propagation,
        create_source=True,
    )  # fmt: skip


def _named(name: str, target: str, options: str) -> Mount:
    _check_volume_name(name)
    words = [word for word in options.split(",") if word]
    nocopy = "nocopy" in words
    readonly, propagation = _volume_options(",".join(word for word in words if word != "nocopy"))
    if propagation != "rprivate":
        raise ValueError(f"the propagation '{propagation}' is for host directories")
    return Mount(type="volume", source=name, target=target, readonly=readonly, nocopy=nocopy)


def _check_volume_name(name: str) -> None:
    from tiffin.volumes.manage import check_name

    try:
        check_name(name)
    except UsageError as error:
        raise ValueError(str(error).removeprefix(f"create {name}: ")) from None


def _volume_options(text: str) -> tuple[bool, str]:
    access = propagation = ""
    for word in text.split(",") if text else ():
        if word in ("ro", "rw"):
            if access:
                raise ValueError(f"'{access}' and '{word}' at once")
            access = word
        elif word in _PROPAGATIONS:
            if propagation:
                raise ValueError(f"'{propagation}' and '{word}' at once")
            propagation = word
        elif word in ("z", "Z"):
            if os.path.exists("/sys/fs/selinux/enforce"):
                raise NotSupportedError(
                    f"the volume option '{word}' is not supported yet: Tiffin relabels no files for SELinux so far",
                    hint="label the directory with `chcon -Rt container_file_t DIR`",
                )
        elif word == "nocopy":
            raise ValueError("'nocopy' is for named volumes")
        elif word not in ("consistent", "cached", "delegated"):  # they tune Docker on macOS
            raise ValueError(f"unknown option '{word}'")
    return access == "ro", propagation or "rprivate"


def mount(text: str) -> Mount:
    """`type=volume,source=…,target=…`, `type=bind,source=…,target=…[,readonly]` or `type=tmpfs,target=…`."""
    fields = _csv(text)
    kind = fields.pop("type", "volume").lower()
    if kind in ("image", "npipe", "cluster"):
        why = {"image": "Tiffin does not mount images so far"}.get(kind, "Linux has none")
        raise NotSupportedError(f"--mount type={kind} is not supported yet: {why}", hint="use type=bind or type=tmpfs")
    if kind not in ("bind", "tmpfs", "volume"):
        raise ValueError(f"unknown type '{kind}'; it is bind, tmpfs or volume")
    target = fields.pop("target", "")
    if not target:
        raise ValueError("target is required")
    _check_target(target)
    readonly = _flag(fields, "readonly", False)
    fields.pop("consistency", None)
    make = {"bind": _bind, "tmpfs": _tmpfs_mount, "volume": _volume_mount}[kind]
    made = make(fields, target, readonly)
    if fields:
        name = next(iter(fields))
        if name.startswith(("bind-", "tmpfs-", "volume-", "image-")):
            raise ValueError(f"'{name}' does not go with type={kind}")
        raise ValueError(f"unexpected key '{name}'")
    return made


def _bind(fields: dict[str, str], target: str, readonly: bool) -> Mount:
    source = fields.pop("source", "")
    if not source:
        raise ValueError("source is required for type=bind")
    if not source.startswith(("/", ".")):
        raise ValueError(f"source '{source}' is not an absolute path, nor does it start with '.'")
    propagation = fields.pop("bind-propagation", "rprivate")
    if propagation not in _PROPAGATIONS:
        raise ValueError(f"unknown bind-propagation '{propagation}'; it is one of {', '.join(_PROPAGATIONS)}")
    recursive = not _flag(fields, "bind-nonrecursive", False)
    mode = fields.pop("bind-recursive", "")
    if mode == "disabled":
        recursive = False
    elif mode in ("writable", "readonly"):
        raise NotSupportedError(
            f"bind-recursive={mode} is not supported yet: read-only covers the mounts below where the kernel can",
            hint="use bind-recursive=enabled or bind-recursive=disabled",
        )
    elif mode not in ("", "enabled"):
        raise ValueError(f"unknown bind-recursive '{mode}'")
    return Mount(
        type="bind", source=_absolute(source), target=target, readonly=readonly, propagation=propagation,
        recursive=recursive,
    )  # fmt: skip


def _volume_mount(fields: dict[str, str], target: str, readonly: bool) -> Mount:
    source = fields.pop("source", "")
    if source:
        _check_volume_name(source)
    driver = fields.pop("volume-driver", "local")
    if driver != "local":
        raise NotSupportedError(f"volume-driver={driver} is not supported yet: Tiffin has only the driver local")
    for name in ("volume-opt", "volume-subpath"):
        if name in fields:
            why = "mount it on the host and use type=bind" if name == "volume-opt" else "mount the whole volume"
            raise NotSupportedError(
                f"{name}={fields[name]} is not supported yet: Tiffin mounts whole volumes of its own", hint=why
            )
    nocopy = _flag(fields, "volume-nocopy", False)
    labels = []
    for text in fields.pop("volume-label", "").split("\0"):
        key, _, value = text.partition("=")
        if key:
            labels.append((key, value))
    return Mount(
        type="volume", source=source, target=target, readonly=readonly, nocopy=nocopy, volume_labels=tuple(labels)
    )


def _tmpfs_mount(fields: dict[str, str], target: str, readonly: bool) -> Mount:
    if "source" in fields:
        raise ValueError("source does not go with type=tmpfs")
    options = []
    if size := fields.pop("tmpfs-size", ""):
        options.append(f"size={parse_bytes(size)}")
    if mode := fields.pop("tmpfs-mode", ""):
        try:
            options.append(f"mode={int(mode, 8):o}")
        except ValueError:
            raise ValueError(f"tmpfs-mode '{mode}' is not an octal number") from None
    if extra := fields.pop("tmpfs-options", ""):
        options += extra.split(";")
    return Mount(type="tmpfs", target=target, readonly=readonly, tmpfs_options=tuple(options))


def tmpfs(text: str) -> Mount:
    """`DIR[:OPTION,…]`, options as mount(8) takes them for tmpfs."""
    target, _, words = text.partition(":")
    _check_target(target)
    options = tuple(word for word in words.split(",") if word)
    for word in options:
        name, equals, _value = word.partition("=")
        if name not in _TMPFS_SETTINGS if equals else name not in _TMPFS_FLAGS:
            raise ValueError(f"unknown tmpfs option '{word}'")
    return Mount(
        type="tmpfs", target=target, readonly="ro" in options,
        tmpfs_options=tuple(word for word in options if word not in ("ro", "rw")),
    )  # fmt: skip


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise ValueError(f"'{path}' is below the current directory, which was removed") from None


def _check_target(target: str) -> None:
    if not target.startswith("/"):
        raise ValueError(f"the path inside, '{target}', is not absolute")
    if os.path.normpath(target) in ("/", "//"):
        raise ValueError("the path inside cannot be '/'")


_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BARE = ("readonly", "bind-nonrecursive", "volume-nocopy")


def _csv(text: str) -> dict[str, str]:
    if '"' in text:
        import csv

        try:
            words = next(csv.reader([text], strict=True))
        except (csv.Error, StopIteration):
            raise ValueError("a quote that does not close") from None
    else:
        words = text.split(",")
    fields: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.lower()
        name = _NAMES.get(key, key)
        if not equals:
            if name not in _BARE:
                raise ValueError(f"field '{word}' is not a key=value pair")
            value = "true"
        # The one field that may be given several times.
        fields[name] = f"{fields[name]}\0{value}" if name == "volume-label" and name in fields else value
    return fields


def _flag(fields: dict[str, str], name: str, default: bool) -> bool:
    text = fields.pop(name, "true" if default else "false")
    if text.lower() not in ("true", "1", "false", "0"):
        raise ValueError(f"{name}={text} is neither true nor false")
    return text.lower() in ("true", "1")
