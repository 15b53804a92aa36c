"""`--change`: the Dockerfile instructions that only touch an image's config (Dockerfile reference, commit --change)."""

from __future__ import annotations

import json

from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_NANOSECONDS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PROTOCOLS = ("tcp", "udp", "sctp")
_NOT_IN_ONBUILD = ("ONBUILD", "FROM", "MAINTAINER")


def apply_changes(config: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """`config` (an image config's `config` object) with the instructions carried out, in order. Raises UsageError."""
    changed = json.loads(json.dumps(config))
    command_said = False
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        name = instruction.upper()
        if name not in _INSTRUCTIONS:
            known = ", ".join(sorted(_INSTRUCTIONS))
            raise UsageError(f"--change knows no instruction {instruction!r}", hint=f"it knows {known}")
        if not rest:
            raise UsageError(f"--change {name} needs an argument")
        _INSTRUCTIONS[name](changed, rest)
        command_said = command_said or name == "CMD"
        if name == "ENTRYPOINT" and not command_said:
            changed.pop("Cmd", None)  # as Docker: a command of the base is no argument for a new entry point
    return changed  # type: ignore[no-any-return]


def _command(name: str, rest: str) -> list[str]:
    """JSON form as it is; anything else is a line for the shell."""
    words = _json_words(rest)
    if words is None:
        return ["/bin/sh", "-c", rest]
    return words


def _json_words(rest: str) -> list[str] | None:
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except ValueError:
        return None  # Docker takes what only begins like JSON as a shell line, too
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    return None


def _cmd(config: dict[str, Any], rest: str) -> None:
    config["Cmd"] = _command("CMD", rest)


def _entrypoint(config: dict[str, Any], rest: str) -> None:
    config["Entrypoint"] = _command("ENTRYPOINT", rest)


def _env(config: dict[str, Any], rest: str) -> None:
    env = {item.partition("=")[0]: item for item in config.get("Env") or ()}
    for key, value in _pairs("ENV", rest):
        env[key] = f"{key}={value}"
    config["Env"] = list(env.values())


def _label(config: dict[str, Any], rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs("LABEL", rest))}


def _expose(config: dict[str, Any], rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words("EXPOSE", rest):
        numbers, _, protocol = word.partition("/")
        first, dash, last = numbers.partition("-")
        protocol = (protocol or "tcp").lower()
        if protocol not in _PROTOCOLS:
            raise UsageError(f"--change EXPOSE: {word!r} has the unknown protocol {protocol!r}")
        low, high = _port(word, first), _port(word, last if dash else first)
        if high < low:
            raise UsageError(f"--change EXPOSE: the range {word!r} runs backwards")
        ports.update({f"{port}/{protocol}": {} for port in range(low, high + 1)})
    config["ExposedPorts"] = ports


def _port(word: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise UsageError(f"--change EXPOSE: {word!r} is not a port or range of ports from 1 to 65535")
    return int(text)


def _user(config: dict[str, Any], rest: str) -> None:
    config["User"] = _one_word("USER", rest)


def _workdir(config: dict[str, Any], rest: str) -> None:
    import posixpath

    path = _one_word("WORKDIR", rest)
    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", path))


def _volume(config: dict[str, Any], rest: str) -> None:
    words = _json_words(rest)
    if words is None:
        words = _words("VOLUME", rest)
    if not all(words):
        raise UsageError("--change VOLUME: a volume's path cannot be empty")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{word: {} for word in words}}


def _stopsignal(config: dict[str, Any], rest: str) -> None:
    import signal

    word = _one_word("STOPSIGNAL", rest)
    name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
    real_time = name.startswith(("SIGRTMIN", "SIGRTMAX"))
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 4 else 0
    if not real_time and name not in signal.Signals.__members__ and not 0 < number < 65:
        raise UsageError(f"--change STOPSIGNAL: invalid signal: {word}")
    config["StopSignal"] = word


def _onbuild(config: dict[str, Any], rest: str) -> None:
    name = rest.split()[0].upper()
    if name in _NOT_IN_ONBUILD:
        raise UsageError(f"--change ONBUILD: {name} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), rest]


def _healthcheck(config: dict[str, Any], rest: str) -> None:
    check: dict[str, Any] = {}
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.strip()
        key, equals, value = option[2:].partition("=")
        if not equals:
            raise UsageError(f"--change HEALTHCHECK: the option --{key} needs a value: --{key}=…")
        if key in ("interval", "timeout", "start-period", "start-interval"):
            field = "".join(part.capitalize() for part in key.split("-"))
            check[field] = _duration(key, value)
        elif key == "retries":
            if not (value.isascii() and value.isdigit() and int(value[:9]) > 0):
                raise UsageError(f"--change HEALTHCHECK: --retries must be a number of at least 1, not {value!r}")
            check["Retries"] = int(value)
        else:
            raise UsageError(f"--change HEALTHCHECK: unknown option --{key}")
    kind, _, command = rest.partition(" ")
    command = command.strip()
    if kind.upper() == "NONE":
        if command or check:
            raise UsageError("--change HEALTHCHECK: NONE takes no arguments")
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD":
        raise UsageError(f"--change HEALTHCHECK: unknown type {kind!r}", hint="write CMD and a command, or NONE")
    if not command:
        raise UsageError("--change HEALTHCHECK: missing command after CMD")
    words = _json_words(command)
    config["Healthcheck"] = {"Test": ["CMD-SHELL", command] if words is None else ["CMD", *words], **check}


def _duration(key: str, text: str) -> int:
    """Go's duration ("1m30s", "1.5h") in nanoseconds; at least 1 ms as Docker wants it."""
    rest, total = text, 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit_length = len(rest) - len(rest.lstrip("nuµmsh"))
        unit, rest = rest[:unit_length], rest[unit_length:]
        if unit not in _NANOSECONDS or number.count(".") > 1 or not number.strip("."):
            raise UsageError(f"--change HEALTHCHECK: --{key} must be a duration like 30s or 1m30s, not {text!r}")
        total += float(number) * _NANOSECONDS[unit]
    if total < 1_000_000:
        raise UsageError(f"--change HEALTHCHECK: --{key} must be a duration of at least 1ms, not {text!r}")
    return round(total)


def _pairs(name: str, rest: str) -> list[tuple[str, str]]:
    """`key=value …` with quotes, or the old form `key value to the end`."""
    key, _, value = rest.partition(" ")
    if "=" not in key:
        if not value.strip():
            raise UsageError(f"--change {name}: {rest!r} must be of the form key=value")
        return [(key, value.strip())]
    pairs = []
    for word in _words(name, rest):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--change {name}: {word!r} must be of the form key=value")
        pairs.append((key, value))
    return pairs


def _words(name: str, rest: str) -> list[str]:
    """Words as the Dockerfile's own lexer splits them: quotes group, a backslash takes the next character as it is."""
    words: list[str] = []
    word, quote, started, escaped = "", "", False, False
    for character in rest:
        if escaped:
            word += character if character in "\"'\\ \t$" or not quote else "\\" + character
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = started = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "\"'":
            quote, started = character, True
        elif character in " \t":
            if started:
                words.append(word)
            word, started = "", False
        else:
            word += character
            started = True
    if quote or escaped:
        raise UsageError(f"--change {name}: unexpected end of {rest!r}: a quote is not closed")
    return [*words, word] if started else words


def _one_word(name: str, rest: str) -> str:
    words = _words(name, rest)
    if len(words) != 1 or not words[0]:
        raise UsageError(f"--change {name} takes exactly one argument, not {rest!r}")
    return words[0]


_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
