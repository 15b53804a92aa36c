"""-v, --mount and --tmpfs: from texts to `Mount` records. Errors are ValueError (the reason) and NotSupportedError."""

from __future__ import annotations

import os

from tiffin.cli import csv_record
from tiffin.cli.units import parse_bytes
from tiffin.errors import NotSupportedError, UsageError
from tiffin.model.container import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_TMPFS_FLAGS = frozenset(
    "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime "
    "diratime nodiratime relatime norelatime strictatime nostrictatime tmpcopyup".split()
)
_TMPFS_SETTINGS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")


def volume(text: str) -> Mount:
    """`INSIDE`, `NAME:INSIDE[:OPTION,…]` or `HOST:INSIDE[:OPTION,…]`; a host directory is made, as Docker does."""
    if not text:
        raise UsageError("invalid empty volume spec")
    parts = text.split(":")
    if not all(parts):
        raise UsageError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise UsageError(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        _check_target(text, text, "volume")
        return Mount(type="volume", target=text, anonymous=True)
    source, target = parts[0], parts[1]
    kind = "bind" if source.startswith(("/", ".")) else "volume"
    if source.startswith("~"):
        raise UsageError(f"'{source}' starts with ~, which only a shell expands")
    words = _mode(parts[2]) if len(parts) == 3 else {}
    _check_target(target, text, kind)
    relabel = {"z": "shared", "Z": "private"}.get(words.get("label", ""), "")
    readonly = words.get("access") == "ro"
    if kind == "volume":
        if "propagation" in words:
            raise UsageError(_bad_volume(text, kind, "field BindOptions must not be specified"))
        from tiffin.volumes.manage import check_name

        check_name(source)
        return Mount(
            type="volume", source=source, target=target, readonly=readonly, nocopy="copy" in words, relabel=relabel,
            idmap="idmap" in words,
        )  # fmt: skip
    if "copy" in words:
        raise UsageError(_bad_volume(text, kind, "field VolumeOptions must not be specified"))
    return Mount(
        type="bind", source=_absolute(source), target=target, readonly=readonly, relabel=relabel,
        propagation=words.get("propagation", "rprivate"), create_source=True, idmap="idmap" in words,
    )  # fmt: skip


def _bad_volume(text: str, kind: str, reason: str) -> str:
    return f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {reason}"


_MODES = {
    **dict.fromkeys(("ro", "rw"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(_PROPAGATIONS, "propagation"),
    **dict.fromkeys(("consistent", "cached", "delegated", "default"), "consistency"),  # they tune Docker on macOS
    "nocopy": "copy",
    "idmap": "idmap",
}


def _mode(text: str) -> dict[str, str]:
    """The words of `-v`'s third part by what they are about, each of which may be said once."""
    words: dict[str, str] = {}
    for word in text.split(","):
        about = _MODES.get(word)
        if about is None or about in words:
            if word in _PODMANS:
                raise NotSupportedError(f"the volume option '{word}' is not supported yet: {_PODMANS[word]}")
            raise UsageError(f"invalid mode: {text}")
        words[about] = word
    return words


_PODMANS = {
    "U": "Tiffin changes no owners on the host; do it once, with `chown -R`",
    "O": "Tiffin lays no overlay over a volume; use a copy",
    **dict.fromkeys(
        ("exec", "noexec", "suid", "nosuid", "dev", "nodev"),
        "Docker has no such option; mount the source with it on the host",
    ),
}


def mount(text: str) -> Mount:
    """`type=volume,source=…,target=…`, and as much for bind, tmpfs and image, as Docker has it."""
    fields = csv_record.fields(text)
    found: dict[str, str] = {}
    pairs: dict[str, dict[str, str]] = {"volume-label": {}, "volume-opt": {}}
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.lower()
        name = _NAMES.get(key, key)
        if name == "idmap" and equals:
            raise NotSupportedError(f"--mount {field} is not supported: {_OWN_MAPS}")
        if not equals and name not in _BARE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if name not in _KEYS:
            if key in _PODMANS_KEYS:
                raise NotSupportedError(f"--mount {field} is not supported yet: {_PODMANS_KEYS[key]}")
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        if name in _BARE:
            value = _truth(key, value if equals else "true")
        elif name in pairs:
            label, _, content = value.partition("=")
            pairs[name][label] = content
        found[name] = _KEYS[name](key, value)
    kind = found.get("type", "volume")
    if not kind:
        raise ValueError("type is required")
    if not found.get("target"):
        raise ValueError("target is required")
    for prefix in ("volume", "image", "bind", "tmpfs"):
        if kind != prefix and any(name.startswith(f"{prefix}-") for name in found):
            raise ValueError(f"cannot mix '{prefix}-*' options with mount type '{kind}'")
    readonly = found.get("readonly") == "true"
    recursion = found.get("bind-recursive", "")
    if recursion in ("writable", "readonly") and not readonly:
        raise ValueError(f"option 'bind-recursive={recursion}' requires 'readonly' to be specified in conjunction")
    if recursion == "readonly" and found.get("bind-propagation") != "rprivate":
        raise ValueError(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
        )
    made = Mount(
        type=kind,
        source=found.get("source", ""),
        target=found["target"],
        readonly=readonly or kind == "image",
        propagation=found.get("bind-propagation") or "rprivate",
        recursive=recursion != "disabled" and found.get("bind-nonrecursive") != "true",
        readonly_recursive={"writable": "disabled", "readonly": "forced"}.get(recursion, "enabled"),
        tmpfs_options=_tmpfs_options(found),
        nocopy=found.get("volume-nocopy") == "true",
        volume_labels=tuple(pairs["volume-label"].items()),
        volume_driver=found.get("volume-driver", ""),
        volume_options=tuple(sorted(pairs["volume-opt"].items())),
        subpath=found.get("volume-subpath", "") or found.get("image-subpath", ""),
        relabel=found.get("relabel", ""),
        idmap="idmap" in found,
    )
    if made.idmap and kind not in ("bind", "volume"):
        raise ValueError(f"cannot mix 'idmap' with mount type '{kind}'")
    from tiffin.volumes.checks import check_mount

    check_mount(made)
    return made


def _tmpfs_options(found: dict[str, str]) -> tuple[str, ...]:
    options = []
    if size := found.get("tmpfs-size"):
        options.append(f"size={size}")
    if mode := found.get("tmpfs-mode"):
        options.append(f"mode={mode}")
    if extra := found.get("tmpfs-options"):
        options += extra.split(";")
    return tuple(options)


def _truth(key: str, value: str) -> str:
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return "true"
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return "false"
    raise ValueError(f"invalid value for {key}: {value}")


def _text(key: str, value: str) -> str:
    return value


def _lower(key: str, value: str) -> str:
    return value.lower()


def _source(key: str, value: str) -> str:
    return _absolute(value) if value == "." or value.startswith("./") else value


def _size(key: str, value: str) -> str:
    try:
        return str(parse_bytes(value))
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _octal(key: str, value: str) -> str:
    if not value or value.strip("01234567") or int(value, 8) >= 1 << 32:
        raise ValueError(f"invalid value for {key}: {value}")
    return f"{int(value, 8):o}"


def _recursive(key: str, value: str) -> str:
    if value not in ("enabled", "disabled", "writable", "readonly"):
        raise ValueError(f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")')
    return value


def _relabel(key: str, value: str) -> str:
    if value not in ("shared", "private"):
        raise ValueError(f'invalid value for {key}: {value} (must be "shared" or "private")')
    return value


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


def _check_target(target: str, spec: str = "", kind: str = "") -> None:
    """As Docker words it for a part of `-v`, or for --tmpfs."""
    reason = ""
    if not target.startswith("/"):
        reason = f"invalid mount path: '{target}' mount path must be absolute"
    elif os.path.normpath(target) in ("/", "//"):
        reason = "invalid specification: destination can't be '/'"
    if reason:
        raise UsageError(_bad_volume(spec, kind, reason) if kind else reason)


_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BARE = ("readonly", "bind-nonrecursive", "volume-nocopy", "idmap")
_OWN_MAPS = "a mount's ids are mapped as the container's user namespace maps them; say idmap without maps"
_KEYS: dict[str, Callable[[str, str], str]] = {
    "type": _lower,
    "source": _source,
    "target": _text,
    "readonly": _text,
    "consistency": _lower,
    "bind-propagation": _lower,
    "bind-nonrecursive": _text,
    "bind-recursive": _recursive,
    "volume-subpath": _text,
    "volume-nocopy": _text,
    "volume-label": _text,
    "volume-driver": _text,
    "volume-opt": _text,
    "image-subpath": _text,
    "tmpfs-size": _size,
    "tmpfs-mode": _octal,
    "tmpfs-options": _text,
    "relabel": _relabel,
    "idmap": _text,
}
_PODMANS_KEYS = {
    "u": "Tiffin changes no owners on the host; do it once, with `chown -R`",
    "chown": "Tiffin changes no owners on the host; do it once, with `chown -R`",
}
