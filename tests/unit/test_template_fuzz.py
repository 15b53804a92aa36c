"""No template, however odd, does anything but render or raise `TemplateError`."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.cli.go_format import Fields
from tiffin.cli.template import TemplateError, compile_template

PIECES = st.sampled_from(
    "{{ }} {{- -}} if else end range with define template block break continue .Name .A.B . $ $x := = , | "
    "( ) \"a\" `b` 'c' "
    "1 -2 1.5 0x1 nil true json len index slice printf print eq lt and or not join split pad truncate /* */ \n text %d "
    '"%5.2f %v %q %x"'.split(" ")
)
DATA = Fields(Name="n", A={"B": [1, "x", None]}, C=lambda key: key)


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=14), st.booleans())
def test_any_words(pieces: list[str], spaced: bool) -> None:
    with contextlib.suppress(TemplateError):
        compile_template((" " if spaced else "").join(pieces)).render(DATA)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_any_action(text: str) -> None:
    with contextlib.suppress(TemplateError):
        compile_template("{{" + text + "}}").render(DATA)


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="%+-# 0123456789.*sdvqxXtfgecUbT!", max_size=12),
    st.lists(st.sampled_from('1 "a" 1.5 true nil .A'.split())),
)
def test_any_printf(form: str, values: list[str]) -> None:
    with contextlib.suppress(TemplateError):
        compile_template(f"{{{{printf `{form}` {' '.join(values)}}}}}").render(DATA)
