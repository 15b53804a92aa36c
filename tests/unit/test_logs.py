"""Reading CRI logs: parsing, tail, times."""

from __future__ import annotations

import io
import itertools

import pytest

from tiffin.containers import logs


def line(number: int, tag: str = "F", stream: str = "stdout") -> bytes:
    return f"2026-01-01T00:00:00.{number:09d}Z {stream} {tag} text {number}\n".encode()


def test_parse() -> None:
    parsed = logs.parse(b"2026-01-01T00:00:00.000000001Z stderr F hello  world\n")
    assert parsed == logs.LogLine(timestamp="2026-01-01T00:00:00.000000001Z", stream="stderr", data=b"hello  world\n")
    partial = logs.parse(b"2026-01-01T00:00:00.000000001Z stdout P half")
    assert partial is not None and partial.data == b"half"
    empty = logs.parse(b"2026-01-01T00:00:00.000000001Z stdout F \n")
    assert empty is not None and empty.data == b"\n"


@pytest.mark.parametrize("bad", [b"", b"\n", b"x\n", b"T stdout X a\n", b"T stdin F a\n", b"garbage in the file\n"])
def test_what_is_no_line_is_skipped(bad: bytes) -> None:
    assert logs.parse(bad) is None


def test_times_sort_as_text() -> None:
    assert logs.rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert logs.rfc3339(1_700_000_000_000_000_007) == "2023-11-14T22:13:20.000000007Z"


@pytest.mark.parametrize("tail", [0, 1, 3, 10, 5000, 9999, 10000, 20000])
def test_tail_over_several_files(tail: int) -> None:
    numbers = list(range(10000))
    cut = (0, 4000, 9998, 10000)
    files = [io.BytesIO(b"".join(map(line, numbers[a:b]))) for a, b in itertools.pairwise(cut)]
    left = list(files)
    logs._seek_tail(left, tail)  # type: ignore[arg-type]
    assert b"".join(file.read() for file in left) == b"".join(map(line, numbers[len(numbers) - min(tail, 10000) :]))


def test_pieces_of_a_line_count_once() -> None:
    data = line(1) + line(2, "P") + line(3, "P") + line(4) + line(5)
    files = [io.BytesIO(data)]
    logs._seek_tail(files, 2)  # type: ignore[arg-type]
    assert files[0].read() == line(2, "P") + line(3, "P") + line(4) + line(5)
