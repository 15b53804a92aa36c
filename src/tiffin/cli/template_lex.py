"""The words of Go's text/template."""

from __future__ import annotations

import re

from tiffin.cli.template_tree import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEYWORDS = frozenset(("if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"))
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_CHAR = re.compile(r"'(?:[^'\\\n]|\\.)+'")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_WORD = re.compile(r"[^\W\d]\w*")
_SPACE = " \t\r\n"


class Token:
    """`spaced` tells whether white space stands before it, which separates arguments from chained fields."""

    __slots__ = ("kind", "pos", "spaced", "text", "value")

    def __init__(self, kind: str, text: str, pos: int, spaced: bool = False, value: Any = None) -> None:
        self.kind = kind
        self.text = text
        self.pos = pos
        self.spaced = spaced
        self.value = value


def lex(source: str) -> list[Token]:
    """Tokens of a template: text, left, right, and what is between. TemplateError."""
    tokens: list[Token] = []
    at = 0
    trim = False
    while at < len(source):
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        if trim:
            text = text.lstrip(_SPACE)
        inner = start + 2
        trims_before = start >= 0 and source.startswith("-", inner) and source[inner + 1 : inner + 2] in tuple(_SPACE)
        if trims_before:
            text = text.rstrip(_SPACE)
            inner += 2
        if text:
            tokens.append(Token("text", text, at))
        if start < 0:
            break
        if source.startswith("/*", inner):
            at, trim = _comment(source, inner)
            continue
        tokens.append(Token("left", "{{", start))
        at, trim = _action(source, inner, tokens)
    tokens.append(Token("eof", "", len(source)))
    return tokens


def _comment(source: str, at: int) -> tuple[int, bool]:
    end = source.find("*/", at)
    if end < 0:
        raise TemplateError.unparsed(source, at, "unclosed comment")
    end += 2
    if source.startswith("}}", end):
        return end + 2, False
    if source[end : end + 1] in tuple(_SPACE) and source.startswith("-}}", end + 1):
        return end + 4, True
    raise TemplateError.unparsed(source, at, "comment ends before closing delimiter")


def _action(source: str, at: int, tokens: list[Token]) -> tuple[int, bool]:
    """Tokens up to the closing brackets; returns the place after them and whether they trim."""
    depth = 0
    while True:
        begin = at
        while at < len(source) and source[at] in _SPACE:
            at += 1
        spaced = at > begin
        if spaced and source.startswith("-}}", at):
            tokens.append(Token("right", "}}", at, spaced))
            return at + 3, True
        if source.startswith("}}", at):
            if depth:
                raise TemplateError.unparsed(source, at, "unclosed left paren")
            tokens.append(Token("right", "}}", at, spaced))
            return at + 2, False
        if at >= len(source):
            raise TemplateError.unparsed(source, source.rfind("{{", 0, at), "unclosed action")
        token = _token(source, at, spaced)
        depth += {"lparen": 1, "rparen": -1}.get(token.kind, 0)
        if depth < 0:
            raise TemplateError.unparsed(source, at, "unexpected right paren")
        tokens.append(token)
        at += len(token.text)


def _token(source: str, at: int, spaced: bool) -> Token:
    letter = source[at]
    following = source[at + 1 : at + 2]
    if source.startswith(":=", at):
        return Token("declare", ":=", at, spaced)
    if letter in "=|(),":
        kinds = {"=": "assign", "|": "pipe", "(": "lparen", ")": "rparen", ",": "comma"}
        return Token(kinds[letter], letter, at, spaced)
    if letter == '"' or letter == "`":
        return _string(source, at, spaced)
    if letter == "'":
        return _char(source, at, spaced)
    if letter == "." and not following.isdigit():
        word = _WORD.match(source, at + 1)
        return Token("field", "." + (word[0] if word else ""), at, spaced)
    if letter == "$":
        word = _WORD.match(source, at + 1)
        return Token("variable", "$" + (word[0] if word else ""), at, spaced)
    if letter.isdigit() or letter == "." or (letter in "+-" and (following.isdigit() or following == ".")):
        return _number(source, at, spaced)
    word = _WORD.match(source, at)
    if word is None:
        raise TemplateError.unparsed(source, at, f'unexpected "{letter}" in command')
    text = word[0]
    if text in _KEYWORDS:
        return Token("keyword", text, at, spaced)
    if text in ("true", "false"):
        return Token("bool", text, at, spaced, text == "true")
    return Token("nil" if text == "nil" else "identifier", text, at, spaced)


def _string(source: str, at: int, spaced: bool) -> Token:
    if source[at] == "`":
        end = source.find("`", at + 1)
        if end < 0:
            raise TemplateError.unparsed(source, at, "unterminated raw quoted string")
        return Token("string", source[at : end + 1], at, spaced, source[at + 1 : end])
    found = _STRING.match(source, at)
    if found is None:
        raise TemplateError.unparsed(source, at, "unterminated quoted string")
    return Token("string", found[0], at, spaced, _unescape(source, at, found[0][1:-1]))


def _char(source: str, at: int, spaced: bool) -> Token:
    found = _CHAR.match(source, at)
    if found is None:
        raise TemplateError.unparsed(source, at, "unterminated character constant")
    value = _unescape(source, at, found[0][1:-1])
    if len(value) != 1:
        raise TemplateError.unparsed(source, at, f"malformed character constant: {found[0]}")
    return Token("char", found[0], at, spaced, ord(value))


def _unescape(source: str, at: int, body: str) -> str:
    def replace(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "xuU" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code.isdigit() and len(code) == 3:
            return chr(int(code, 8))
        if code not in _LETTERS:
            raise TemplateError.unparsed(source, at, "invalid syntax")
        return _LETTERS[code]

    return _ESCAPE.sub(replace, body)


def _number(source: str, at: int, spaced: bool) -> Token:
    found = _NUMBER.match(source, at)
    text = found[0] if found else source[at]
    after = source[at + len(text) : at + len(text) + 1]
    if found is None or after.isalnum() or after == "_":
        raise TemplateError.unparsed(source, at, f'bad number syntax: "{text}{after}"')
    try:
        digits = text.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        return Token("number", text, at, spaced, int(text, 8 if octal else 0))
    except ValueError:
        return Token("number", text, at, spaced, float(text))
