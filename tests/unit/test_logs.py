"""Reading CRI logs: parsing, tail, times."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

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


@pytest.mark.parametrize(("tail", "shown"), [(0, b""), (1, line(3, "P")), (2, line(2) + line(3, "P"))])
def test_a_last_line_without_an_end_counts(tail: int, shown: bytes) -> None:
    files = [io.BytesIO(line(0)), io.BytesIO(line(1) + line(2) + line(3, "P"))]
    logs._seek_tail(files, tail)  # type: ignore[arg-type]
    assert b"".join(file.read() for file in files) == shown


def test_tail_counts_what_was_there_when_it_looked() -> None:
    file = io.BytesIO(b"".join(map(line, range(10))))
    end = len(file.getvalue())
    file.write(b"".join(map(line, range(10))) + b"".join(map(line, range(10, 1000))))
    files = [file]
    logs._seek_tail(files, 2, end)  # type: ignore[arg-type]
    assert list(logs._complete(file, end)) == [line(8), line(9)]


def test_a_carriage_return_ends_no_line() -> None:
    drawn = b"2026-01-01T00:00:00.000000001Z stdout F 10%\ra b F c\r100%\n"
    files = [io.BytesIO(line(1) + drawn + line(2))]
    logs._seek_tail(files, 2)  # type: ignore[arg-type]
    assert files[0].read() == drawn + line(2)


def test_every_file_is_opened_whatever_rotates_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "output.log")
    for number, text in ((2, b"a\n"), (1, b"b\n"), (0, b"c\n")):
        Path(f"{path}.{number}" if number else path).write_bytes(text)

    def rotating(name: str, mode: str) -> io.BufferedReader:
        file = open(name, mode)  # noqa: SIM115 - closed below
        if name == f"{path}.1":
            os.rename(f"{path}.1", f"{path}.2")
            os.rename(path, f"{path}.1")
            Path(path).write_bytes(b"d\n")
        return file  # type: ignore[return-value]

    monkeypatch.setattr(logs, "open", rotating, raising=False)
    files = logs._open_all(path, 3)
    assert b"".join(file.read() for file in files) == b"b\nc\n"
    for file in files:
        file.close()


def test_the_next_file_is_the_one_that_came_after(tmp_path: Path) -> None:
    path = str(tmp_path / "output.log")
    Path(f"{path}.2").write_bytes(b"mine\n")
    Path(f"{path}.1").write_bytes(b"next\n")
    Path(path).write_bytes(b"newest\n")
    with open(f"{path}.2", "rb") as mine, logs._next_file(path, 3, mine) as following:
        assert following.read() == b"next\n"
    with open(f"{path}.2", "rb") as mine:
        os.unlink(f"{path}.2")
        with logs._next_file(path, 3, mine) as oldest:
            assert oldest.read() == b"next\n"
