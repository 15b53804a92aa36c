"""Image configs: times, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiffin.errors import InvalidImageError, UsageError
from tiffin.images.config import parse_config, write_config
from tiffin.images.platform import Platform
from tiffin.images.timestamps import creation_time_ns, format_rfc3339, parse_rfc3339

DIFF_ID = "sha256:" + "cd" * 32


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-05-06T07:08:09Z", 1714979289_000000000),
        ("2024-05-06T07:08:09.123456789Z", 1714979289_123456789),
        ("2024-05-06T09:08:09.5+02:00", 1714979289_500000000),
        ("2024-05-06T05:38:09-01:30", 1714979289_000000000),
        ("0001-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", (1 << 63) - 1),
    ],
)
def test_parse_time(text: str, nanoseconds: int) -> None:
    assert parse_rfc3339(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "2024", "2024-13-01T00:00:00Z", "2024-05-06T07:08:09", "2024-05-06T07:08:09.xZ"])
def test_parse_time_invalid(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_format_time() -> None:
    assert format_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert format_rfc3339(1714979289_500000000) == "2024-05-06T07:08:09.5Z"


def test_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert creation_time_ns() == 1_700_000_000 * 10**9
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError) as caught:
        creation_time_ns()
    assert str(caught.value) == "SOURCE_DATE_EPOCH is 'yesterday', not a number of seconds (unset or correct it)"


def _config(**changes: Any) -> bytes:
    good: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
    }
    return json.dumps({**good, **changes}).encode()


def test_minimal() -> None:
    parsed = parse_config(_config())
    assert parsed.diff_ids == (DIFF_ID,)
    assert parsed.created_ns == 0
    assert str(parsed.platform) == "linux/amd64"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", ("the image config is not valid JSON: Expecting property name enclosed in double quotes: "
               "line 1 column 2 (char 1)")),
        (b"\xff\xfe", ("the image config is not valid JSON: 'utf-8' codec can't decode byte 0xff in position 0: "
                      "invalid start byte")),
        (_config(author="\ud800"), ("the image config is not valid JSON: 'utf-8' codec can't encode character "
                                   "'\\ud800' in position 171: surrogates not allowed")),
        (b"[" * 100_000, "the image config is not valid JSON: nested too deep"),
        (b"[]", "the image config is not a JSON object"),
        (_config(os="windows"), "the image is for windows/amd64; only linux images can be used here"),
        (_config(os=3), "the image config has an os or variant that is not text"),
        (_config(architecture=None), "the image config names no architecture"),
        (_config(rootfs=None), "the image config has no rootfs of type 'layers'"),
        (_config(rootfs={"type": "zip"}), "the image config has no rootfs of type 'layers'"),
        (_config(rootfs={"type": "layers", "diff_ids": "x"}), "the image config has diff_ids that are not a list"),
        (_config(rootfs={"type": "layers", "diff_ids": ["../x"]}), "the image config has an invalid diff_id '../x'"),
        (_config(rootfs={"type": "layers", "diff_ids": [1]}), "the image config has an invalid diff_id 1"),
        (_config(created="noon"), "the image config has an invalid creation time 'noon'"),
        (_config(created=5), "the image config has an invalid creation time 5"),
        (_config(config=[]), "the image config has a 'config' that is not an object"),
        (_config(config={"User": 0.5}), "the image config has a User that is not text"),
        (_config(config={"Env": "A=1"}), "the image config has a Env that is not a list of texts"),
        (_config(config={"Cmd": [1]}), "the image config has a Cmd that is not a list of texts"),
        (_config(config={"Cmd": ["a\0b"]}), "the image config has a Cmd that is not a list of texts"),
        (_config(config={"Volumes": ["/x"]}), "the image config has Volumes that are not an object"),
        (_config(config={"Labels": {"a": 1}}), "the image config has a label whose value is not text"),
        (_config(history=[1]), "the image config has a history that is not a list of objects"),
        (b" " * ((8 << 20) + 1), "the image config is larger than 8 MiB"),
    ],
)  # fmt: skip
def test_refused(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        parse_config(raw)
    assert str(caught.value) == message


def test_written_config_is_stable_and_parses() -> None:
    def write() -> bytes:
        return write_config(
            created_ns=1_700_000_000 * 10**9,
            platform=Platform(architecture="arm64", variant="v8"),
            config={"Cmd": ["sh"]},
            diff_ids=[DIFF_ID],
            created_by="test",
        )

    assert write() == write()
    parsed = parse_config(write())
    assert parsed.platform == Platform(architecture="arm64", variant="v8")
    assert json.loads(write())["history"] == [{"created": "2023-11-14T22:13:20Z", "created_by": "test"}]
