"""Where simple signatures of registries' images are kept (containers-registries.d(5))."""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "TIFFIN_REGISTRIES_D"
SYSTEM_DIRECTORY = "/etc/containers/registries.d"
SYSTEM_STORE = "/var/lib/containers/sigstore"
_MAX_BYTES = 1 << 20


def lookaside_of(name: str) -> str:
    """The directory (a path or file:// address) or http(s) address with the signatures of the repository `name`.

    `name` begins with its registry. The closest section of the directory's files counts. Raises UsageError, and
    NotSupportedError when there are such files and nothing that reads YAML.
    """
    default, sections = _sections(_directory())
    part = name
    section: Any = None
    while part and section is None:
        section = sections.get(part)
        part = part.rpartition("/")[0]
    section = default if section is None else section
    for key in ("lookaside", "sigstore"):  # the second is the older name of the first
        if isinstance(section, dict) and isinstance(section.get(key), str):
            return str(section[key])
    return SYSTEM_STORE if os.geteuid() == 0 else os.path.expanduser("~/.local/share/containers/sigstore")


def _directory() -> str:
    if given := os.environ.get(VARIABLE):
        return given
    own = os.path.expanduser("~/.config/containers/registries.d")
    return own if os.path.isdir(own) else SYSTEM_DIRECTORY


def _sections(directory: str) -> tuple[Any, dict[str, Any]]:
    """The default section, and those of registries and repositories."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".yaml"))
    except FileNotFoundError:
        return None, {}
    default: Any = None
    sections: dict[str, Any] = {}
    for name in names:
        document = _read(f"{directory}/{name}")
        if "default-docker" in document:
            if default is not None:
                raise UsageError(f"{directory}/{name}: a second default-docker; there can be one")
            default = document["default-docker"]
        listed = document.get("docker") or {}
        if not isinstance(listed, dict):
            raise UsageError(f"{directory}/{name}: 'docker' is not a mapping")
        for key, section in listed.items():
            if key in sections:
                raise UsageError(f"{directory}/{name}: a second section for {key!r}; there can be one")
            sections[str(key)] = section
    return default, sections


def _read(path: str) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise NotSupportedError(
            f"cannot read {path!r}: the library PyYAML is not installed", hint="pip install 'tiffin[signatures]'"
        ) from None
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file.read(_MAX_BYTES)) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path!r}: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path!r} is not a mapping")
    return document
