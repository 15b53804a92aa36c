"""JSON of Tiffin's own records, without what `import json` costs: 5 ms of every command, nearly all of it for `re`.

The parser is the standard library's own, called directly; where an interpreter has none in C, `json` itself is used.
`json` remains what reads what others wrote, since it says where a mistake is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    make_scanner: Any
    encode_basestring: Any
    encode_basestring_ascii: Any
else:
    try:
        from _json import encode_basestring, encode_basestring_ascii, make_scanner
    except ImportError:
        make_scanner = None


class _Options:
    """What `json.JSONDecoder` tells its scanner by default."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = None


_scan: Any = make_scanner(_Options) if make_scanner else None


def loads(text: str) -> Any:
    """The value that `dumps` was given, or any other JSON. ValueError for what is none."""
    if _scan is None:
        import json

        return json.loads(text)
    try:
        text = text.strip(" \t\n\r")
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError(f"not JSON: {text[:60]!r}") from None
    if end != len(text):
        raise ValueError(f"more than JSON: {text[end : end + 60]!r}")
    return value


def dumps(value: Any) -> str:
    """Dicts with string keys, lists, tuples, strings, numbers, booleans and None; nothing else. TypeError."""
    if _scan is None:
        import json

        return json.dumps(value, separators=(",", ":"))
    return _text(value)


def pretty(value: Any) -> str:
    """The same for people: a line for each value, indented by four, letters of any script as they are."""
    if _scan is None:
        import json

        return json.dumps(value, indent=4, ensure_ascii=False)
    return _lines(value, "\n")


def _lines(value: Any, margin: str) -> str:
    inner = margin + "    "
    if isinstance(value, dict) and value:
        items = [f"{encode_basestring(str(key))}: {_lines(item, inner)}" for key, item in value.items()]
        return "{" + inner + f",{inner}".join(items) + margin + "}"
    if isinstance(value, list | tuple) and value:
        return "[" + inner + f",{inner}".join([_lines(item, inner) for item in value]) + margin + "]"
    if isinstance(value, str):
        quoted: str = encode_basestring(value)
        return quoted
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        quoted: str = encode_basestring_ascii(value)
        return quoted
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value - value != 0:
            raise TypeError(f"{value} is no number that JSON has")
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_text(str(key))}:{_text(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([_text(item) for item in value]) + "]"
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
