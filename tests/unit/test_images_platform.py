"""Platform names, and which of an index's platforms a host takes."""

from __future__ import annotations

import os

import pytest

from tiffin.errors import UsageError
from tiffin.images.platform import Platform, choose, host_platform, parse_platform


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("Linux/ARM/V7", "linux/arm/v7"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_parse(text: str, shown: str) -> None:
    assert str(parse_platform(text)) == shown


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/am d64"])
def test_parse_invalid(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platform(text)
    assert str(caught.value) == f"invalid platform {text!r} (write it as os/architecture[/variant]: linux/arm64)"


def test_host_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        machine = "aarch64"

    monkeypatch.setattr(os, "uname", lambda: Uname)
    assert host_platform() == Platform(architecture="arm64", variant="v8")


def _offered(*texts: str) -> list[Platform]:
    parts = [text.split("/") for text in texts]
    return [Platform(os=p[0], architecture=p[1], variant=p[2] if len(p) > 2 else "") for p in parts]


@pytest.mark.parametrize(
    ("wanted", "offered", "index"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v5", ["linux/arm/v6", "linux/arm/v7"], None),
        ("linux/arm64", ["linux/arm64/v8", "linux/arm64"], 0),
        ("linux/arm64", ["linux/arm64"], 0),
        ("linux/arm64", ["windows/arm64", "linux/arm/v7"], None),
        ("linux/amd64", ["linux/amd64/strange"], None),
    ],
)
def test_choose(wanted: str, offered: list[str], index: int | None) -> None:
    assert choose(_offered(*offered), parse_platform(wanted)) == index
