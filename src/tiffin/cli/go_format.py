"""How Go's fmt shows values: Println, Print, Printf, and the names of types in its complaints."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Never

_VERB = r"(?s)%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.)?"


class Fields(dict[str, "Any"]):
    """A struct: its fields are fixed, so asking for another is a mistake; callables are its methods.

    A plain dict is a map, in which a missing key is no mistake.
    """

    type_name = "object"
    missing = "can't evaluate field {name} in type {type}"
    optional: frozenset[str] = frozenset()  # fields that may be missing all the same, and are nothing then

    def for_json(self) -> dict[str, Any]:
        """The fields under the names that they have in JSON."""
        return self


class NilSlice(list["Never"]):
    """A slice that is nil: empty everywhere but in JSON, where it is null."""


class NilMap(dict[str, "Never"]):
    """A map that is nil, likewise."""


class NoValue:
    """What a missing key of a map gives."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE = NoValue()


def type_name(value: Any) -> str:
    """The Go type that a value would have."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Fields):
        return value.type_name
    for kind, name in ((int, "int"), (float, "float64"), (str, "string"), (dict, "map[string]interface {}")):
        if isinstance(value, kind):
            return name
    return "[]interface {}" if isinstance(value, list | tuple) else "<nil>"


def show(value: Any, *, names: bool = False) -> str:
    """A value as %v shows it; `names` as %+v."""
    if value is None:
        return "<nil>"
    if value is NO_VALUE:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Fields):
        inside = [(key, item) for key, item in value.items() if not callable(item)]
        return "{" + " ".join(f"{key}:{show(item, names=names)}" if names else show(item) for key, item in inside) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(value[key], names=names)}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item, names=names) for item in value) + "]"
    return str(value)


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    digits = next(digits for digits in range(17) if float(f"{value:.{digits}e}") == value)
    shortest = f"{value:.{digits}e}"
    exponent = int(shortest.partition("e")[2])
    if -4 <= exponent < 6:
        return f"{value:.{max(0, digits - exponent)}f}"
    return shortest


def sprint(values: list[Any]) -> str:
    """Go's Sprint: a space between two values when neither is a string."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += show(value)
    return text


def sprintf(template: str, values: list[Any]) -> str:
    """Go's Sprintf, with its marks for what does not fit ("%!d(string=a)")."""
    import re

    out = []
    position = 0
    left = list(values)
    for match in re.finditer(_VERB, template):
        out.append(template[position : match.start()])
        position = match.end()
        flags, width, precision, verb = match.groups()
        if verb is None:
            out.append("%!(NOVERB)")
        elif verb == "%":
            out.append("%")
        else:
            out.append(_one(flags, width, precision, verb, left))
    out.append(template[position:])
    if left:
        extra = ", ".join(f"{type_name(value)}={show(value)}" for value in left)
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _one(flags: str, width: str | None, precision: str | None, verb: str, left: list[Any]) -> str:
    """One verb, which takes what it needs from `left`."""
    bad = ""
    columns = _number(width, left)
    if columns is None:
        bad, columns = "%!(BADWIDTH)", 0
    if columns < 0:
        flags, columns = flags + "-", -columns
    digits = _number(precision, left) if precision is not None else None
    if precision is not None and (digits is None or digits < 0):
        bad, digits = bad + "%!(BADPREC)", None
    if not left:
        return f"{bad}%!{verb}(MISSING)"
    value = left.pop(0)
    return bad + _padded(_verb(verb, flags, digits, value), flags, columns, value)


def _number(text: str | None, left: list[Any]) -> int | None:
    """A width or precision, which "*" takes from the values; None when it is none, or beyond Go's bound."""
    found: Any = int(text or 0) if text != "*" else left.pop(0) if left else None
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= 1_000_000 else None


def _padded(text: str, flags: str, width: int, value: Any) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and isinstance(value, int | float) and not isinstance(value, bool):
        sign = text[0] if text[:1] in ("+", "-") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _verb(verb: str, flags: str, precision: int | None, value: Any) -> str:
    if verb == "T":
        return type_name(value)
    if verb == "v":
        return go_syntax(value) if "#" in flags else show(value, names="+" in flags)
    if isinstance(value, list | tuple):
        return "[" + " ".join(_verb(verb, flags, precision, item) for item in value) + "]"
    if isinstance(value, Fields):
        inside = [_verb(verb, flags, precision, item) for item in value.values() if not callable(item)]
        return "{" + " ".join(inside) + "}"
    if isinstance(value, dict):
        inside = [f"{key}:{_verb(verb, flags, precision, item)}" for key, item in sorted(value.items())]
        return "map[" + " ".join(inside) + "]"
    shown: str | None = None
    if isinstance(value, bool):
        shown = show(value) if verb == "t" else None
    elif isinstance(value, int):
        shown = _integer(verb, flags, precision, value)
    elif isinstance(value, float):
        shown = _real(verb, precision, value)
        shown = f"+{shown}" if shown is not None and "+" in flags and value >= 0 else shown
    elif isinstance(value, str):
        shown = _string(verb, precision, value)
    if shown is None:
        return f"%!{verb}({type_name(value)}={show(value)})" if value is not None else f"%!{verb}(<nil>)"
    return shown


def _integer(verb: str, flags: str, precision: int | None, value: int) -> str | None:
    if verb in ("d", "b", "o", "x", "X"):
        digits = f"{abs(value):{verb}}"
        if precision:
            digits = digits.rjust(precision, "0")
        prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
        sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
        return sign + prefix + digits
    if verb == "c":
        return _character(value)
    if verb == "q":
        return f"'{_character(value)}'"
    if verb == "U":
        return f"U+{value:04X}"
    return None


def _character(code: int) -> str:
    return chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def _real(verb: str, precision: int | None, value: float) -> str | None:
    if verb in ("f", "F", "e", "E"):
        return f"{value:.{precision if precision is not None else 6}{verb}}"
    if verb in ("g", "G"):
        if precision is None:
            return _float(value).upper() if verb == "G" else _float(value)
        return f"{value:.{max(precision, 1)}{verb}}"
    return None


def _string(verb: str, precision: int | None, value: str) -> str | None:
    if precision is not None:
        value = value[:precision]
    if verb == "s":
        return value
    if verb == "q":
        return quoted(value)
    if verb in ("x", "X"):
        digits = value.encode("utf-8", "surrogateescape").hex()
        return digits.upper() if verb == "X" else digits
    return None


def quoted(text: str) -> str:
    """A string literal."""
    from tiffin.plain_json import pretty

    return pretty(text).replace("\x7f", "\\x7f")


def go_syntax(value: Any) -> str:
    """A value as %#v shows it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{quoted(key)}:{go_syntax(item)}" for key, item in sorted(value.items()))
        return f"{type_name(value)}{{{inside}}}"
    if isinstance(value, list | tuple):
        return "[]interface {}{" + ", ".join(go_syntax(item) for item in value) + "}"
    return show(value)
