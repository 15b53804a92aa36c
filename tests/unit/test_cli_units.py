"""Sizes and times: go-units' rules."""

from __future__ import annotations

import pytest

from tiffin.cli import units


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("32", 32), ("32b", 32), ("32B", 32), ("32k", 32 << 10), ("32K", 32 << 10), ("32kb", 32 << 10),
        ("32KiB", 32 << 10), ("32m", 32 << 20), ("1.5g", 3 << 29), ("32 mb", 32 << 20), ("1t", 1 << 40),
        ("2p", 2 << 50), ("0.5", 0), (".5k", 512), ("9007199254740993", 9007199254740993), ("0", 0),
    ],
)  # fmt: skip
def test_parse_bytes(text: str, count: int) -> None:
    assert units.parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid size: ''"),
        ("abc", "invalid size: 'abc'"),
        ("-1", "invalid size: '-1'"),
        ("1x", "invalid suffix: 'x'"),
        ("1mm", "invalid suffix: 'mm'"),
        ("1bb", "invalid suffix: 'bb'"),
        ("1 2", "invalid size: '1 2'"),
        ("1.2.3", "invalid size: '1.2.3'"),
        ("1e3", "invalid size: '1e3'"),
        ("8192p", "invalid size: '8192p': more than 2^63 bytes"),
    ],
)
def test_parse_bytes_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        units.parse_bytes(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (12_345_678, "12.3MB"), (1_050_000_000, "1.05GB"), (999_950, "1000kB")],
)
def test_size(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (120, "2 minutes"),
        (3540, "59 minutes"), (3600, "About an hour"), (7200, "2 hours"),
        (47 * 3600, "47 hours"), (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"), (60 * 86400, "2 months"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_ago_of_never_is_not_available() -> None:
    assert units.ago(0, 5) == "N/A"
    assert units.ago(1_000_000_000, 181_000_000_000) == "3 minutes ago"
    assert units.ago(9_000_000_000, 1_000_000_000) == "Less than a second ago"


@pytest.mark.parametrize(
    ("moment", "text"),
    [(0, "0001-01-01T00:00:00Z"), (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
     (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z")],
)  # fmt: skip
def test_rfc3339(moment: int, text: str) -> None:
    assert units.rfc3339(moment) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("42m", 2520.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("300ms", 0.3), ("-2s", -2.0), ("0", 0.0), ("1h1m1s", 3661.0)],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "1x", "1h30", "1..5s", "-"])
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        units.parse_duration(text)
    assert str(caught.value) == f'invalid duration "{text}"'


NOW = 2_000_000_000_000_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.000000001", 1_700_000_000_000_000_001),
        ("10s", NOW - 10_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.000000007Z", 1_700_000_000_000_000_007),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000_000_000),
    ],
)
def test_parse_moment(text: str, moment: int) -> None:
    assert units.parse_moment(text, NOW) == moment


def test_parse_moment_refuses() -> None:
    with pytest.raises(ValueError) as caught:
        units.parse_moment("yesterday", NOW)
    assert str(caught.value) == 'not a time: "yesterday" (RFC 3339 like 2024-05-01T12:00:00Z, or an age like 42m)'
