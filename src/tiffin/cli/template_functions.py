"""The functions of templates: those of Go's text/template, and those that Docker adds."""

from __future__ import annotations

import json
from html import escape

from tiffin.cli.go_format import NO_VALUE, Fields, NilMap, NilSlice, show, sprint, sprintf, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class CallError(ValueError):
    """A function that cannot take its arguments; the message is Go's."""


def to_json(value: Any) -> str:
    """One line of JSON; the keys of maps are sorted, the fields of structs in their order."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, NilSlice | NilMap):
        return None
    if isinstance(value, Fields):
        return {key: _plain(item) for key, item in value.for_json().items() if not callable(item)}
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return None if value is NO_VALUE else value


def truth(value: Any) -> bool:
    """Whether {{if}} takes it: not false, 0, nil or empty; a struct always."""
    return True if isinstance(value, Fields) else bool(value)


def _text(value: Any) -> str:
    return show(value) if not isinstance(value, str) else value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or value is NO_VALUE:
            raise CallError("index of untyped nil")
        if isinstance(value, list | tuple | str):
            if not isinstance(key, int) or isinstance(key, bool):
                raise CallError(f"cannot index slice/array with type {type_name(key)}")
            items = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise CallError(f"index out of range: {key}")
            value = items[key]
        elif isinstance(value, dict) and not isinstance(value, Fields):
            if not isinstance(key, str):
                raise CallError(f"value has type {type_name(key)}; should be string")
            # A map of texts gives Go's empty text, as with labels; any other map gives no value.
            missing = "" if all(isinstance(item, str) for item in value.values()) else NO_VALUE
            value = value.get(key, missing)
        else:
            raise CallError(f"can't index item of type {type_name(value)}")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, str | list | tuple):
        raise CallError(f"can't slice item of type {type_name(value)}")
    items = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if len(bounds) > (2 if isinstance(value, str) else 3):
        raise CallError(f"too many slice indexes: {len(bounds)}")
    edges = [*bounds[:2], *(0, len(items))[len(bounds[:2]) :]]
    for edge in edges:
        if not isinstance(edge, int) or not 0 <= edge <= len(items):
            raise CallError(f"index out of range: {show(edge)}")
    if edges[0] > edges[1]:
        raise CallError(f"invalid slice index: {edges[0]} > {edges[1]}")
    part = items[edges[0] : edges[1]]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _length(value: Any) -> int:
    if isinstance(value, Fields) or not isinstance(value, str | list | tuple | dict):
        raise CallError("len of nil pointer" if value in (None, NO_VALUE) else f"len of type {type_name(value)}")
    return len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else len(value)


def _kind(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        raise CallError(f"non-comparable type {show(value)}: {type_name(value)}")
    return type_name(None if value is NO_VALUE else value)


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    kind = _kind(first)
    for other in others:
        if _kind(other) != kind:
            if "<nil>" in (kind, _kind(other)):
                continue
            raise CallError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    if _kind(first) != _kind(second):
        raise CallError("incompatible types for comparison")
    if isinstance(first, bool) or first is None:
        raise CallError("invalid type for comparison")
    return bool(first < second)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _title(text: str) -> str:
    letters = list(text)
    for index, letter in enumerate(letters):
        if index == 0 or not (letters[index - 1].isalnum() or letters[index - 1] == "_"):
            letters[index] = letter.upper()
    return "".join(letters)


def _join(items: Any, separator: str) -> str:
    return separator.join(_text(item) for item in items or ())


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, limit: int) -> str:
    return text[:limit] if limit >= 0 else text


def _url(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(sprint(list(values)))


def _html(*values: Any) -> str:
    return escape(sprint(list(values)), quote=False).replace('"', "&#34;").replace("'", "&#39;")


# name -> (function, kinds of its arguments, whether the last kind repeats); "" takes anything
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...], bool]] = {
    "eq": (_equal, ("", ""), True),
    "ne": (lambda first, second: not _equal(first, second), ("", ""), False),
    "lt": (_less, ("", ""), False),
    "le": (lambda first, second: _less(first, second) or _equal(first, second), ("", ""), False),
    "gt": (lambda first, second: not _less(first, second) and not _equal(first, second), ("", ""), False),
    "ge": (lambda first, second: not _less(first, second), ("", ""), False),
    "html": (_html, ("",), True),
    "index": (_index, ("", ""), True),
    "len": (_length, ("",), False),
    "not": (lambda value: not truth(value), ("",), False),
    "print": (lambda *values: sprint(list(values)), ("",), True),
    "printf": (lambda text, *values: sprintf(text, list(values)), ("string", ""), True),
    "println": (lambda *values: " ".join(show(value) for value in values) + "\n", ("",), True),
    "slice": (_slice, ("", ""), True),
    "urlquery": (_url, ("",), True),
    "join": (_join, ("[]string", "string"), False),
    "json": (to_json, ("",), False),
    "lower": (str.lower, ("string",), False),
    "pad": (_pad, ("string", "int", "int"), False),
    "split": (_split, ("string", "string"), False),
    "title": (_title, ("string",), False),
    "truncate": (_truncate, ("string", "int"), False),
    "upper": (str.upper, ("string",), False),
}

SHORT_CIRCUIT = ("and", "or")
