"""Licences as databases name them, as SPDX expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.images.contents.licenses import NONE, Licenses


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", NONE),
        ("UNKNOWN", NONE),
        ("noassertion", NONE),
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("Expat", "MIT"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("GPL-3.0-only", "GPL-3.0-only"),
        ("GPL-3.0-or-later", "GPL-3.0-or-later"),
        ("LGPLv2+", "LGPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("AGPL-3", "AGPL-3.0-only"),
        ("GPL-4", "LicenseRef-GPL-4"),
        ("GPL", "LicenseRef-GPL"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("GFDL-1.3-no-invariants-only", "GFDL-1.3-no-invariants-only"),
        ("GFDL-1.2-invariants-or-later", "GFDL-1.2-invariants-or-later"),
        ("Apache-2", "Apache-2.0"),
        ("Apache-1.1+", "Apache-1.1+"),
        ("ASL 2.0", "Apache-2.0"),
        ("public-domain", "LicenseRef-public-domain"),
        ("A & B | C", "LicenseRef-A AND LicenseRef-B OR LicenseRef-C"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("MIT and MIT", "MIT"),
        ("GPLv2+ and (MIT or BSD)", "GPL-2.0-or-later AND (MIT OR LicenseRef-BSD)"),
        ("GPL-1+ or Artistic, and BSD-3-clause", "(GPL-1.0-or-later OR LicenseRef-Artistic) AND BSD-3-Clause"),
        ("BSD-3-clause and/or GPL-3+", "BSD-3-Clause OR GPL-3.0-or-later"),
        ("GPL-2.0-only WITH Linux-syscall-note", "GPL-2.0-only WITH Linux-syscall-note"),
        ("GPL-3+ with Bison exception", "GPL-3.0-or-later WITH Bison-exception-2.2"),
        ("GPL-3+ with other exception", "LicenseRef-GPL-3-with-other-exception"),
        ("LicenseRef-Fedora-Public-Domain", "LicenseRef-Fedora-Public-Domain"),
        ("DocumentRef-x:LicenseRef-y", "LicenseRef-DocumentRef-x-LicenseRef-y"),
        ("Liçence 1", "LicenseRef-Li-ence-1"),
        ("(MIT", "LicenseRef-MIT"),
        ("MIT and", "LicenseRef-MIT-and"),
        ("or", "LicenseRef-or"),
        ("a (b) c", "LicenseRef-a-b-c"),
        ("(" * 50 + "MIT" + ")" * 50, "LicenseRef-MIT"),
    ],
)
def test_expressions(text: str, expression: str) -> None:
    assert Licenses().expression(text) == expression


def test_references_are_told_apart() -> None:
    licenses = Licenses()
    assert licenses.expression("BSD variant") == "LicenseRef-BSD-variant"
    assert licenses.expression("BSD  variant") == "LicenseRef-BSD-variant"
    assert licenses.expression("BSD/variant") == "LicenseRef-BSD-variant-8815e51c"
    long = licenses.expression("x" * 5000)
    assert long.startswith("LicenseRef-" + "x" * 60 + "-")
    assert licenses.expression("«»").startswith("LicenseRef-")
    assert licenses.references["LicenseRef-BSD-variant"] == "BSD variant"
    assert licenses.references["LicenseRef-BSD-variant-8815e51c"] == "BSD/variant"
    assert licenses.references[long] == "x" * 2000
    assert len(licenses.references) == 4


WORDS = st.sampled_from(["MIT", "GPL-2+", "and", "or", "with", "(", ")", ",", "and/or", "é", "x", "WITH", "&"])


@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=50))
def test_every_text_gives_a_valid_expression(text: str) -> None:
    """Names and references, joined by operators, with parentheses that fit."""
    licenses = Licenses()
    expression = licenses.expression(text)
    depth = 0
    wants_name = True
    for token in expression.replace("(", "( ").replace(")", " )").split():
        depth += (token == "(") - (token == ")")
        assert depth >= 0
        if token in ("AND", "OR", "WITH"):
            assert not wants_name
            wants_name = True
        elif token not in "()":
            assert wants_name
            wants_name = False
            assert all(letter.isascii() and (letter.isalnum() or letter in ".-+") for letter in token)
            assert not token.startswith("LicenseRef-") or token in licenses.references
    assert not wants_name
    assert depth == 0
