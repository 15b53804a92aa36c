"""Capability names, bits and Docker's grammar for adding and dropping them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.errors import HostError, UsageError
from tiffin.runtime.security.capabilities import (
    ALL,
    BITS,
    DEFAULT,
    DEFAULT_MASK,
    NAMES,
    host_bounding,
    mask_of,
    names_of,
    resolve,
)


def test_all_41_in_the_kernels_order() -> None:
    assert len(NAMES) == 41
    numbers = {}
    for line in Path("/usr/include/linux/capability.h").read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith("CAP_") and words[2].isdigit():
            numbers[words[1].removeprefix("CAP_")] = int(words[2])
    assert numbers == BITS


def test_the_default_is_dockers_fourteen() -> None:
    assert len(DEFAULT) == 14
    assert DEFAULT_MASK == 0xA80425FB  # what a Docker container shows as CapBnd


def test_masks_and_names_round_trip() -> None:
    assert names_of(1 << 21 | 1) == ("CAP_CHOWN", "CAP_SYS_ADMIN")
    assert mask_of(names_of(ALL)) == ALL
    assert mask_of(["chown", "CAP_SYS_ADMIN"]) == 1 << 21 | 1


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "wanted"),
    [
        ((), (), False, DEFAULT_MASK),
        (("SYS_ADMIN",), (), False, DEFAULT_MASK | 1 << 21),
        (("cap_sys_admin",), (), False, DEFAULT_MASK | 1 << 21),
        ((), ("Cap_Chown", "kill"), False, DEFAULT_MASK & ~(1 | 1 << 5)),
        (("ALL",), (), False, ALL),
        (("all",), ("SYS_ADMIN",), False, ALL & ~(1 << 21)),
        (("CAP_ALL", "CHOWN"), ("CHOWN",), False, ALL & ~1),
        ((), ("ALL",), False, 0),
        (("CHOWN",), ("ALL",), False, 1),
        (("ALL",), ("ALL",), False, ALL),
        (("CHOWN",), ("CHOWN",), False, DEFAULT_MASK),
        ((), ("ALL",), True, ALL),
    ],
)
def test_adding_and_dropping(add: tuple[str, ...], drop: tuple[str, ...], privileged: bool, wanted: int) -> None:
    assert resolve(add, drop, privileged, ALL) == (wanted, ())


def test_what_the_host_cannot_give_is_named() -> None:
    bounding = ALL & ~(1 << 24) & ~(1 << 27)
    assert resolve((), (), False, bounding) == (DEFAULT_MASK & bounding, ("CAP_MKNOD",))
    assert resolve((), (), True, bounding) == (bounding, ("CAP_SYS_RESOURCE", "CAP_MKNOD"))
    assert resolve(("sys_resource",), ("ALL",), False, bounding) == (0, ("CAP_SYS_RESOURCE",))


def test_unknown_names() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(("SYS_ADMON",), (), False, ALL)
    assert str(caught.value) == "unknown capability 'SYS_ADMON' in --cap-add (capabilities(7) lists them)"
    with pytest.raises(UsageError) as caught:
        resolve((), ("",), True, ALL)
    assert str(caught.value) == "unknown capability '' in --cap-drop (capabilities(7) lists them)"


def test_bounding_set(tmp_path: Path) -> None:
    assert host_bounding() & ~ALL == 0
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapBnd:\t000001fffeffffff\n")
    assert host_bounding(str(status)) == 0x1FFFEFFFFFF
    status.write_text("Name:\tx\n")
    with pytest.raises(HostError) as caught:
        host_bounding(str(status))
    assert str(caught.value) == f"cannot read the capability bounding set: no CapBnd line in '{status}'"
    with pytest.raises(HostError) as caught:
        host_bounding(f"{tmp_path}/none")
    assert str(caught.value) == f"cannot read the capability bounding set: No such file or directory '{tmp_path}/none'"
