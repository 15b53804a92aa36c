"""Frozen, slotted records: the shape of every fact in Tiffin.

They are what `dataclass(frozen=True, slots=True, kw_only=True)` would give, without its import cost
(14 ms of a command that should take 40); type checkers see them as dataclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


class _Missing:
    def __repr__(self) -> str:
        return "<required>"


_REQUIRED: Any = _Missing()


class _RecordMeta(type):
    """Turns class annotations into slots and remembers the defaults, which must be immutable."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        fields: dict[str, Any] = {}
        for base in bases:
            fields.update(getattr(base, "_fields", {}))
        own = [
            field
            for field, annotation in namespace.get("__annotations__", {}).items()
            if not field.startswith("_") and "ClassVar" not in str(annotation)
        ]
        for field in own:
            fields[field] = namespace.pop(field, _REQUIRED)
        namespace["__slots__"] = tuple(own)
        namespace["_fields"] = fields
        return super().__new__(mcls, name, bases, namespace)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record(metaclass=_RecordMeta):
    """Base of all records: keyword-only construction, equality by value, no assignment afterwards."""

    if TYPE_CHECKING:
        _fields: ClassVar[dict[str, Any]]
    else:

        def __init__(self, **values):
            fields = self._fields
            put = object.__setattr__
            for field, default in fields.items():
                value = values.pop(field, default)
                if value is _REQUIRED:
                    raise TypeError(f"{type(self).__name__} needs {field!r}")
                put(self, field, value)
            if values:
                raise TypeError(f"{type(self).__name__} has no field {next(iter(values))!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; use replace({name}=…)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self._fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, field) for field in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{field}={getattr(self, field)!r}" for field in self._fields)
        return f"{type(self).__name__}({inside})"

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._values())

    def _values(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self._fields}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self._values(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for `json.dumps`; fields that hold their default are left out."""
        return {
            field: _plain(value)
            for field, default in self._fields.items()
            if (value := getattr(self, field)) is not default and value != default
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _rebuild(cls: type[Record], values: dict[str, Any]) -> Record:
    return cls(**values)
