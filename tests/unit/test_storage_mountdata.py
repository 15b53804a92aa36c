"""Overlay's option string."""

from __future__ import annotations

import pytest

from tiffin.errors import HostError
from tiffin.storage.mountdata import overlay_data
from tiffin.storage.writable import takes_volatile


def test_options_in_order() -> None:
    assert overlay_data(("/l", "/m"), "/u", "/w", data_only=("/o",), options=("metacopy=on",)) == (
        "lowerdir=/l:/m::/o,upperdir=/u,workdir=/w,metacopy=on"
    )
    assert overlay_data(("/l", "/m"), None, None) == "lowerdir=/l:/m"


def test_separators_in_paths_are_escaped() -> None:
    assert overlay_data(("/a:b,c\\d",), "/u,", "/w:") == "lowerdir=/a\\:b\\,c\\\\d,upperdir=/u\\,,workdir=/w\\:"


def test_the_kernel_takes_one_page() -> None:
    fixed = len("lowerdir=")
    assert len(overlay_data(("/" + "x" * (4095 - fixed - 1),), None, None)) == 4095
    with pytest.raises(HostError) as caught:
        overlay_data(("/" + "x" * (4095 - fixed),), None, None)
    assert str(caught.value) == (
        "the store's paths are too long to mount: 4096 bytes of options, the kernel takes 4095 "
        "(choose a shorter --root)"
    )


@pytest.mark.parametrize(
    ("release", "takes"),
    [("4.19.0-27-amd64", False), ("5.9.16", False), ("5.10.0-cloud", True), ("5.10-rc1", True), ("6.1.0-9", True),
     ("10.0", True), ("odd", False)],
)  # fmt: skip
def test_kernels_with_volatile_mounts(release: str, takes: bool) -> None:
    assert takes_volatile(release) is takes
