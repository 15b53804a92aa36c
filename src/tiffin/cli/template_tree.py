"""The nodes of a parsed template. `pos` is the place in the source, `text` what error messages show."""

from __future__ import annotations

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TemplateError(ValueError):
    """A template that cannot be parsed, or does not fit its data; the message says where.

    Go's words for what cannot be parsed name the line only: `column` is the byte of it, from 0, None where they do.
    """

    column: int | None = None

    @classmethod
    def unparsed(cls, source: str, pos: int, message: str) -> TemplateError:
        """What stands at `pos` is no template."""
        error = cls(f"template: :{source.count(chr(10), 0, pos) + 1}: {message}")
        error.column = len(source[source.rfind(chr(10), 0, pos) + 1 : pos].encode(errors="surrogateescape"))
        return error


class Node(Record):
    pos: int
    text: str


class Text(Node):
    pass


class Operand(Node):
    """Something with a value: may be an argument."""


class Dot(Operand):
    pass


class Nil(Operand):
    pass


class Literal(Operand):
    value: Any


class Field(Operand):
    """`.A.B`"""

    names: tuple[str, ...]


class Variable(Operand):
    """`$x.A`"""

    name: str
    fields: tuple[str, ...] = ()


class Identifier(Operand):
    """A function's name."""


class Chain(Operand):
    """`(…).A`"""

    node: Operand
    fields: tuple[str, ...]


class Command(Node):
    args: tuple[Operand, ...]


class Pipe(Operand):
    names: tuple[str, ...]
    assign: bool
    commands: tuple[Command, ...]


class Action(Node):
    pipe: Pipe


class Branch(Node):
    """`word` is if, with or range."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


class Jump(Node):
    """`word` is break or continue."""

    word: str


class Template(Node):
    name: str
    pipe: Pipe | None
