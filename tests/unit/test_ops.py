"""The bytes of a plan."""

from __future__ import annotations

import struct

import pytest

from tiffin.runtime.ops import MAGIC, OPS, Plan


def test_layout() -> None:
    plan = Plan()
    plan.add("HOSTNAME", "box")
    plan.add("EXEC", "/bin/true", ["true", "é"], [])
    data = bytes(plan)
    assert struct.unpack_from("<8sII", data) == (MAGIC, len(data), 2)
    assert struct.unpack_from("<HHI", data, 16) == (OPS["HOSTNAME"][0], 0, 8)
    assert data[24:32] == b"\x03\x00\x00\x00box\0"
    code, zero, size = struct.unpack_from("<HHI", data, 32)
    assert (code, zero) == (OPS["EXEC"][0], 0) and 40 + size == len(data)
    assert data.endswith(b"\x02\0\0\0" + b"\x04\0\0\0true\0" + b"\x02\0\0\0\xc3\xa9\0" + b"\0\0\0\0")


def test_numbers_wrap_to_64_bits() -> None:
    plan = Plan()
    plan.add("RLIMIT", 7, -1, -1, 0)
    assert bytes(plan)[32:40] == b"\xff" * 8


def test_every_code_once() -> None:
    codes = [code for code, _ in OPS.values()]
    assert len(set(codes)) == len(codes) and all(set(signature) <= set("usbl") for _, signature in OPS.values())


def test_refusals() -> None:
    plan = Plan()
    with pytest.raises(TypeError, match="HOSTNAME takes 1 fields, not 2"):
        plan.add("HOSTNAME", "a", "b")
    plan.add("HOSTNAME", "a\0b")
    with pytest.raises(ValueError, match="NUL"):
        bytes(plan)


def test_description_hides_bytes_and_quotes_spaces() -> None:
    plan = Plan()
    plan.add("SECCOMP", b"12345678", 0, doing="install the seccomp filter")
    plan.add("HOSTNAME", "a b")
    assert plan.describe().splitlines() == [
        "  0 SECCOMP        <8 bytes> 0   # install the seccomp filter",
        "  1 HOSTNAME       'a b'",
    ]
