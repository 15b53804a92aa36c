"""Files of NAME=VALUE lines, by the grammar of Docker's --env-file and --label-file."""

from __future__ import annotations

import os

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def read_env_file(path: str, environ: Mapping[str, str]) -> list[str]:
    """Entries "NAME=VALUE" of a file; a NAME alone takes its value from `environ`, or is left out. UsageError."""
    entries = []
    for name, value in _lines(path, "env"):
        if value is not None:
            entries.append(f"{name}={value}")
        elif name in environ:
            entries.append(f"{name}={environ[name]}")
    return entries


def read_label_file(path: str) -> list[tuple[str, str]]:
    """Pairs of a file of labels; a KEY alone has an empty value. UsageError."""
    return [(name, value or "") for name, value in _lines(path, "label")]


def variable(text: str) -> str:
    """One -e value: "NAME=VALUE" as it is, NAME alone with the host's value if it has one. ValueError."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if equals or name not in os.environ:
        return text
    return f"{name}={os.environ[name]}"


def _lines(path: str, what: str) -> list[tuple[str, str | None]]:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    pairs: list[tuple[str, str | None]] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip()
        except UnicodeDecodeError:
            shown = " ".join(map(str, raw.removesuffix(b"\r")))
            raise UsageError(f"invalid {what} file ({path}): invalid utf8 bytes at line {number}: [{shown}]") from None
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name:
            raise UsageError(f"invalid {what} file ({path}): no variable name on line '{line}'")
        if any(letter.isspace() for letter in name):
            raise UsageError(f"invalid {what} file ({path}): variable '{name}' contains whitespaces")
        pairs.append((name, value if equals else None))
    return pairs
