"""The grammar of Go's text/template (https://pkg.go.dev/text/template): from text to a tree.

Errors are TemplateError with Go's words, since scripts and habits know them.
"""

from __future__ import annotations

from tiffin.cli.go_format import quoted
from tiffin.cli.template_lex import Token, lex
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
    from collections.abc import Container
    from typing import NoReturn


def parse(source: str, functions: Container[str]) -> tuple[list[Node], dict[str, list[Node]]]:
    """The top-level nodes and the templates that {{define}} and {{block}} name. TemplateError."""
    parser = _Parser(source, functions)
    nodes, ending = parser.nodes()
    if ending:
        parser.fail(f"unexpected {{{{{ending}}}}}", before=1)
    return nodes, parser.defined


class _Parser:
    def __init__(self, source: str, functions: Container[str]) -> None:
        self._source = source
        self._tokens = lex(source)
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._range_depth = 0
        self.defined: dict[str, list[Node]] = {}

    def fail(self, message: str, *, before: int = 0) -> NoReturn:
        """About the next token, or one that was taken `before` it."""
        token = self._tokens[min(self._at, len(self._tokens) - 1) - before]
        raise TemplateError.unparsed(self._source, token.pos, message)

    @property
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect_right(self, context: str) -> None:
        if self._peek.kind != "right":
            self._unexpected(context)
        self._at += 1

    def _unexpected(self, context: str) -> NoReturn:
        token = self._peek
        if token.kind == "eof":
            self.fail("unexpected EOF")
        if token.kind == "field":
            self.fail(f"unexpected <{token.text}> in {context}")
        if token.kind == "keyword":
            self.fail(f"unexpected <{token.text}> in {context}")
        shown = "}}" if token.kind == "right" else token.text
        self.fail(f'unexpected "{shown}" in {context}')

    def nodes(self) -> tuple[list[Node], str]:
        """Nodes up to {{end}} or {{else …}}, whose keyword is returned and whose brackets are not yet closed."""
        found: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "eof":
                return found, ""
            if token.kind == "text":
                found.append(Text(pos=token.pos, text=token.text))
                continue
            first = self._peek  # token is the left bracket
            if first.kind == "keyword":
                self._at += 1
                if first.text in ("end", "else"):
                    return found, first.text
                node = self._keyword(first)
                if node is not None:
                    found.append(node)
            else:
                pipe = self._pipe("command")
                self._expect_right("command")
                found.append(Action(pos=first.pos, text=pipe.text, pipe=pipe))

    def _keyword(self, keyword: Token) -> Node | None:
        word = keyword.text
        if word in ("if", "with", "range"):
            return self._branch(keyword)
        if word in ("break", "continue"):
            if not self._range_depth:
                self.fail(f"{{{{{word}}}}} outside {{{{range}}}}", before=1)
            self._expect_right(word)
            return Jump(pos=keyword.pos, text=word, word=word)
        name = self._next()
        if name.kind != "string":
            self._at -= 1
            self._unexpected(f"{word} clause")
        if word == "define":
            self._expect_right("define clause")
            self._define(name.value)
            return None
        pipe = None if self._peek.kind == "right" else self._pipe(f"{word} clause")
        self._expect_right(f"{word} clause")
        if word == "block":
            self._define(name.value)
        text = f"{{{{template {name.text}{' ' + pipe.text if pipe else ''}}}}}"
        return Template(pos=name.pos, text=text, name=name.value, pipe=pipe)

    def _define(self, name: str) -> None:
        variables, self._variables = self._variables, ["$"]
        depth, self._range_depth = self._range_depth, 0
        nodes, ending = self.nodes()
        if ending != "end":
            self.fail("unexpected EOF" if not ending else "unexpected {{else}}")
        self._expect_right("end")
        self._variables, self._range_depth = variables, depth
        self.defined[name] = nodes

    def _branch(self, keyword: Token) -> Branch:
        visible = len(self._variables)
        pipe = self._pipe(keyword.text)
        self._expect_right(keyword.text)
        self._range_depth += keyword.text == "range"
        body, ending = self.nodes()
        self._range_depth -= keyword.text == "range"
        otherwise: list[Node] = []
        if ending == "else":
            following = self._peek
            if following.kind == "keyword" and following.text in ("if", "with") and keyword.text == following.text:
                self._at += 1
                otherwise = [self._branch(following)]
                ending = "closed"
            else:
                self._expect_right("else")
                otherwise, ending = self.nodes()
                if ending == "else":
                    self.fail("expected end; found {{else}}")
        if not ending:
            self.fail("unexpected EOF")
        if ending == "end":
            self._expect_right("end")
        del self._variables[visible:]
        return Branch(
            pos=keyword.pos,
            text=keyword.text,
            word=keyword.text,
            pipe=pipe,
            body=tuple(body),
            otherwise=tuple(otherwise),
        )

    def _pipe(self, context: str) -> Pipe:
        start = self._peek
        names, assign = self._declaration(context)
        commands: list[Command] = []
        while True:
            commands.append(self._command(context))
            if self._peek.kind != "pipe":
                break
            self._at += 1
            if self._peek.kind in ("right", "rparen") and commands:
                break  # Go lets a last "|" go
        for command in commands[1:]:
            if command.args and isinstance(command.args[0], Dot | Nil | Literal):
                self.fail(f"non executable command in pipeline stage {commands.index(command) + 1}")
        self._variables += names if not assign else []
        text = " | ".join(command.text for command in commands)
        if names:
            text = f"{', '.join(names)} {'=' if assign else ':='} {text}"
        return Pipe(pos=start.pos, text=text, names=tuple(names), assign=assign, commands=tuple(commands))

    def _declaration(self, context: str) -> tuple[list[str], bool]:
        tokens = self._tokens[self._at : self._at + 4]
        kinds = [token.kind for token in tokens]
        if kinds[:2] in (["variable", "declare"], ["variable", "assign"]):
            names, used = [tokens[0].text], 2
        elif context == "range" and kinds == ["variable", "comma", "variable", "declare"]:
            names, used = [tokens[0].text, tokens[2].text], 4
        elif kinds[:2] == ["variable", "comma"]:
            self.fail(f"too many declarations in {context}")
        else:
            return [], False
        assign = tokens[used - 1].kind == "assign"
        if assign and names[0] not in self._variables:
            self.fail(f'undefined variable "{names[0]}"')
        self._at += used
        return names, assign

    def _command(self, context: str) -> Command:
        start = self._peek
        if start.kind == "pipe":
            self._unexpected(context)
        if start.kind in ("right", "rparen"):
            self.fail(f"missing value for {context}")
        args: list[Operand] = []
        while self._peek.kind not in ("right", "rparen", "pipe"):
            if args and not self._peek.spaced and self._peek.kind != "lparen":
                self._unexpected("operand")
            args.append(self._operand(context))
        return Command(pos=start.pos, text=" ".join(arg.text for arg in args), args=tuple(args))

    def _operand(self, context: str) -> Operand:
        node = self._term(context)
        position = self._peek.pos
        fields: list[str] = []
        while self._peek.kind == "field" and not self._peek.spaced:
            if self._peek.text == ".":
                self._unexpected("operand")
            fields.append(self._next().text[1:])
        if not fields:
            return node
        text = node.text + "".join(f".{field}" for field in fields)
        if isinstance(node, Field):
            return Field(pos=position, text=text, names=(*node.names, *fields))
        if isinstance(node, Variable):
            return Variable(pos=node.pos, text=text, name=node.name, fields=(*node.fields, *fields))
        if isinstance(node, Literal | Nil | Dot):
            self.fail(f"unexpected . after term {quoted(node.text)}")
        return Chain(pos=position, text=text, node=node, fields=tuple(fields))

    def _term(self, context: str) -> Operand:
        token = self._next()
        if token.kind == "field":
            if token.text == ".":
                return Dot(pos=token.pos, text=".")
            return Field(pos=token.pos, text=token.text, names=(token.text[1:],))
        if token.kind == "variable":
            if token.text not in self._variables:
                self._at -= 1
                self.fail(f'undefined variable "{token.text}"')
            return Variable(pos=token.pos, text=token.text, name=token.text)
        if token.kind in ("string", "number", "char", "bool"):
            return Literal(pos=token.pos, text=token.text, value=token.value)
        if token.kind == "nil":
            return Nil(pos=token.pos, text="nil")
        if token.kind == "identifier":
            if token.text not in self._functions:
                self._at -= 1
                self.fail(f'function "{token.text}" not defined')
            return Identifier(pos=token.pos, text=token.text)
        if token.kind == "lparen":
            pipe = self._pipe("parenthesized pipeline")
            if self._peek.kind != "rparen":
                self.fail("unclosed left paren")
            self._at += 1
            return pipe.replace(text=f"({pipe.text})")
        self._at -= 1
        return self._unexpected(context)
