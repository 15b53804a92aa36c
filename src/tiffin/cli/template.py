"""`--format`: Go's text/template, with the functions that Docker adds.

The language: https://pkg.go.dev/text/template; the added functions: https://docs.docker.com/engine/cli/formatting/.
"""

from __future__ import annotations

from tiffin.cli.go_format import NO_VALUE, Fields, show, type_name
from tiffin.cli.template_functions import FUNCTIONS, SHORT_CIRCUIT, CallError, truth
from tiffin.cli.template_parse import parse
from tiffin.cli.template_tree import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    Jump,
    Literal,
    Nil,
    Node,
    Operand,
    Pipe,
    Template,
    TemplateError,
    Text,
    Variable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

__all__ = ["Compiled", "Fields", "TemplateError", "compile_template"]

_MAX_DEPTH = 1000
_NOTHING: Any = object()  # "no piped value", which nil is not


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Compiled:
    """A parsed template; `render` fills it as often as needed."""

    def __init__(self, source: str, functions: dict[str, Any]) -> None:
        self._source = source
        self._functions = functions
        self._nodes, self._defined = parse(source, functions.keys() | set(SHORT_CIRCUIT))

    def render(self, data: Any) -> str:
        """The text for `data`. TemplateError when they do not fit."""
        return _Run(self._source, self._functions, self._defined).top(self._nodes, data)


def compile_template(source: str, *, header: bool = False) -> Compiled:
    """Parse a template. TemplateError. With `header` functions leave their first argument alone, as for a heading."""
    return Compiled(source, _HEADER_FUNCTIONS if header else FUNCTIONS)


def _first_argument(value: Any, *_: Any) -> Any:
    return value


_HEADER_FUNCTIONS = {
    **FUNCTIONS,
    **dict.fromkeys("json join lower split title truncate upper".split(), (_first_argument, ("",), True)),
}


class _Run:
    def __init__(self, source: str, functions: dict[str, Any], defined: dict[str, list[Node]]) -> None:
        self._source = source
        self._functions = functions
        self._defined = defined
        self._variables: list[tuple[str, Any]] = []
        self._out: list[str] = []
        self._name = ""
        self._depth = 0

    def top(self, nodes: list[Node], data: Any) -> str:
        self._variables = [("$", data)]
        self._walk_all(nodes, data)
        return "".join(self._out)

    def _fail(self, node: Node, message: str) -> NoReturn:
        line = self._source.count("\n", 0, node.pos) + 1
        start = self._source.rfind("\n", 0, node.pos) + 1
        column = len(self._source[start : node.pos].encode())
        raise TemplateError(f'template: :{line}:{column}: executing "{self._name}" at <{node.text}>: {message}')

    def _walk_all(self, nodes: tuple[Node, ...] | list[Node], dot: Any) -> None:
        for node in nodes:
            self._walk(node, dot)

    def _walk(self, node: Node, dot: Any) -> None:
        if isinstance(node, Text):
            self._out.append(node.text)
        elif isinstance(node, Action):
            value = self._pipe(node.pipe, dot)
            if not node.pipe.names:
                self._out.append("<no value>" if value is None else show(value))
        elif isinstance(node, Branch):
            visible = len(self._variables)
            try:
                self._branch(node, dot)
            finally:
                del self._variables[visible:]
        elif isinstance(node, Jump):
            raise _Break if node.word == "break" else _Continue
        elif isinstance(node, Template):
            self._template(node, dot)

    def _branch(self, node: Branch, dot: Any) -> None:
        value = self._pipe(node.pipe, dot, declare=node.word != "range")
        if node.word == "range":
            self._range(node, dot, value)
        elif truth(value):
            self._walk_all(node.body, value if node.word == "with" else dot)
        else:
            self._walk_all(node.otherwise, dot)

    def _range(self, node: Branch, dot: Any, value: Any) -> None:
        visible = len(self._variables)
        empty = True
        for key, item in self._items(node.pipe, value):
            empty = False
            names = node.pipe.names
            if node.pipe.assign:
                self._assign(names, key, item)
            elif len(names) == 1:
                self._variables.append((names[0], item))
            elif names:
                self._variables += [(names[0], key), (names[1], item)]
            try:
                self._walk_all(node.body, item)
            except _Break:
                break
            except _Continue:
                pass
            finally:
                del self._variables[visible:]
        if empty:
            self._walk_all(node.otherwise, dot)

    def _assign(self, names: tuple[str, ...], key: Any, item: Any) -> None:
        for name, value in zip(names, (item,) if len(names) == 1 else (key, item), strict=True):
            self._set(name, value)

    def _items(self, node: Node, value: Any) -> Iterator[tuple[Any, Any]]:
        if value is None or value is NO_VALUE:
            return iter(())
        if isinstance(value, list | tuple):
            return iter(enumerate(value))
        if isinstance(value, dict) and not isinstance(value, Fields):
            return iter(sorted(value.items()))
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        return self._fail(node, f"range can't iterate over {show(value)}")

    def _template(self, node: Template, dot: Any) -> None:
        nodes = self._defined.get(node.name)
        if nodes is None:
            self._fail(node, f'template "{node.name}" not defined')
        self._depth += 1
        if self._depth > _MAX_DEPTH // 10:
            self._fail(node, "exceeded maximum template depth")
        value = self._pipe(node.pipe, dot) if node.pipe else None
        variables, self._variables = self._variables, [("$", value)]
        name, self._name = self._name, node.name
        self._walk_all(nodes, value)
        self._variables, self._name = variables, name
        self._depth -= 1

    def _pipe(self, pipe: Pipe, dot: Any, *, declare: bool = True) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if declare and pipe.names:
            if pipe.assign:
                self._set(pipe.names[0], value)
            else:
                self._variables.append((pipe.names[0], value))
        return value

    def _set(self, name: str, value: Any) -> None:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        first, arguments = command.args[0], command.args[1:]
        has_arguments = bool(arguments) or final is not _NOTHING
        if isinstance(first, Identifier):
            return self._call(first, command, dot, arguments, final)
        if isinstance(first, Field):
            return self._fields(first, dot, first.names, arguments, final, dot)
        if isinstance(first, Chain):
            return self._fields(first, self._operand(first.node, dot), first.fields, arguments, final, dot)
        if isinstance(first, Variable) and first.fields:
            return self._fields(first, self._variable(first.name), first.fields, arguments, final, dot)
        if isinstance(first, Nil):
            self._fail(first, "nil is not a command")
        if has_arguments:
            self._fail(first, f"can't give argument to non-function {first.text}")
        return self._operand(first, dot)

    def _operand(self, node: Operand, dot: Any) -> Any:
        if isinstance(node, Dot):
            return dot
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Nil):
            return None
        if isinstance(node, Field):
            return self._fields(node, dot, node.names, (), _NOTHING, dot)
        if isinstance(node, Variable):
            return self._fields(node, self._variable(node.name), node.fields, (), _NOTHING, dot)
        if isinstance(node, Chain):
            return self._fields(node, self._operand(node.node, dot), node.fields, (), _NOTHING, dot)
        if isinstance(node, Pipe):
            return self._pipe(node, dot)
        assert isinstance(node, Identifier)
        return self._call(node, node, dot, (), _NOTHING)

    def _variable(self, name: str) -> Any:
        return next(value for known, value in reversed(self._variables) if known == name)

    def _fields(
        self, node: Operand, value: Any, names: tuple[str, ...], arguments: tuple[Operand, ...], final: Any, dot: Any
    ) -> Any:
        for index, name in enumerate(names):
            if index < len(names) - 1:
                value = self._field(node, value, name, (), _NOTHING, dot)
            else:
                value = self._field(node, value, name, arguments, final, dot)
        return value

    def _field(self, node: Operand, value: Any, name: str, arguments: tuple[Operand, ...], final: Any, dot: Any) -> Any:
        has_arguments = bool(arguments) or final is not _NOTHING
        if value is NO_VALUE:
            return NO_VALUE
        if value is None:
            self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        if isinstance(value, Fields):
            if name not in value:
                if name in value.optional:
                    return None
                self._fail(node, value.missing.format(name=name, type=value.type_name))
            found = value[name]
            if callable(found):
                given = [self._operand(argument, dot) for argument in arguments]
                given += [] if final is _NOTHING else [final]
                try:
                    return found(*given)
                except TypeError:
                    self._fail(node, f"wrong number of args for {name}: want 1 got {len(given)}")
        elif isinstance(value, dict):
            if has_arguments:
                self._fail(node, f"{name} is not a method but has arguments")
            return value.get(name, NO_VALUE)
        else:
            self._fail(node, f"can't evaluate field {name} in type {type_name(value)}")
        if has_arguments:
            self._fail(node, f"{name} has arguments but cannot be invoked as function")
        return found

    def _call(self, name: Identifier, command: Node, dot: Any, arguments: tuple[Operand, ...], final: Any) -> Any:
        if name.text in SHORT_CIRCUIT:
            return self._short_circuit(name, dot, arguments, final)
        function, kinds, repeats = self._functions[name.text]
        count = len(arguments) + (final is not _NOTHING)
        least = len(kinds) - repeats
        if count < least or (count > least and not repeats):
            want = f"at least {least}" if repeats else str(least)
            self._fail(name, f"wrong number of args for {name.text}: want {want} got {count}")
        values = []
        for index, argument in enumerate(arguments):
            value = self._operand(argument, dot)
            self._check_kind(argument, kinds[min(index, len(kinds) - 1)], value)
            values.append(None if value is NO_VALUE else value)
        if final is not _NOTHING:
            self._check_kind(command, kinds[min(len(values), len(kinds) - 1)], final)
            values.append(None if final is NO_VALUE else final)
        try:
            return function(*values)
        except CallError as error:
            self._fail(command, f"error calling {name.text}: {error}")

    def _short_circuit(self, name: Identifier, dot: Any, arguments: tuple[Operand, ...], final: Any) -> Any:
        if not arguments and final is _NOTHING:
            self._fail(name, f"wrong number of args for {name.text}: want at least 1 got 0")
        value: Any = None
        readers: list[Callable[[], Any]] = [lambda node=node: self._operand(node, dot) for node in arguments]  # type: ignore[misc]
        if final is not _NOTHING:
            readers.append(lambda: final)
        for read in readers:
            value = read()
            if truth(value) == (name.text == "or"):
                break
        return value

    def _check_kind(self, node: Node, kind: str, value: Any) -> None:
        fits = {"string": str, "int": int, "[]string": list | tuple}.get(kind)
        if fits is None or (isinstance(value, fits) and not isinstance(value, bool)):
            return
        if kind == "[]string" and (value is None or value is NO_VALUE):
            return
        if isinstance(node, Nil):
            self._fail(node, f"cannot assign nil to {kind}")
        if value is None or value is NO_VALUE:
            self._fail(node, f"invalid value; expected {kind}")
        if isinstance(node, Literal):
            self._fail(node, f"expected {'integer' if kind == 'int' else kind}; found {node.text}")
        self._fail(node, f"wrong type for value; expected {kind}; got {type_name(value)}")
