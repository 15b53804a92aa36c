"""Tiffin's own JSON is what the standard library's would be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin import plain_json

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_is_json_both_ways(value: Any) -> None:
    text = plain_json.dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert plain_json.loads(text) == json.loads(text) == value
    assert plain_json.pretty(value) == json.dumps(value, indent=4, ensure_ascii=False)


@given(VALUES)
def test_without_the_parser_in_c(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_json, "_scan", None)
        assert plain_json.loads(plain_json.dumps(value)) == value
        assert plain_json.loads(plain_json.pretty(value)) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{} x", "nul", '{"a":}', '"a', "1 2"])
def test_what_it_did_not_write(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        plain_json.loads(text)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), float("nan"), float("inf")])
def test_what_json_does_not_have(value: Any) -> None:
    with pytest.raises(TypeError):
        plain_json.dumps(value)
