"""The first record of a CSV text by the rules, and with the errors, of the encoding/csv that Docker's options use."""

from __future__ import annotations

_BARE = 'bare " in non-quoted-field'
_QUOTE = 'extraneous or missing " in quoted-field'


def fields(text: str) -> list[str]:
    """The fields of the first line that is not empty. ValueError."""
    start = len(text) - len(text.lstrip("\n"))
    if start == len(text):
        raise ValueError("EOF")
    text = text[start:]
    found: list[str] = []
    at = 0
    while True:
        value, at = _quoted(text, at) if text[at : at + 1] == '"' else _plain(text, at)
        found.append(value)
        if text[at : at + 1] != ",":
            return found
        at += 1


def _plain(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] not in ",\n":
        end += 1
    value = text[at:end]
    if '"' in value:
        raise _error(text, at + value.index('"'), _BARE)
    return value, end


def _quoted(text: str, at: int) -> tuple[str, int]:
    value = ""
    at += 1
    while True:
        end = text.find('"', at)
        if end < 0:
            raise _error(text, len(text), _QUOTE)
        value += text[at:end]
        follows = text[end + 1 : end + 2]
        if follows != '"':
            if follows not in ("", ",", "\n"):
                raise _error(text, end, _QUOTE)
            return value, end + 1
        value += '"'
        at = end + 2


def _error(text: str, at: int, reason: str) -> ValueError:
    """Lines and columns count from one, columns in bytes."""
    line = text.count("\n", 0, at) + 1
    column = len(text[text.rfind("\n", 0, at) + 1 : at].encode("utf-8", "surrogateescape")) + 1
    start = "record on line 1; " if line > 1 else ""
    return ValueError(f"{start}parse error on line {line}, column {column}: {reason}")
