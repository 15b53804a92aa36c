"""Names from inside the image become numbers as Docker makes them."""

from __future__ import annotations

import pytest

from tiffin.errors import UsageError
from tiffin.runtime.users import Identity, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1::/usr/sbin:/bin/false
app:x:1000:1000:App:/home/app:/bin/sh
broken
odd:x:notanumber:0::/:/bin/sh
7:x:77:78::/seven:/bin/sh
"""
GROUP = b"root:x:0:\nadm:x:4:app,daemon\napp:x:1000:\nvideo:x:44:app\n"


def test_empty_means_root_with_home() -> None:
    assert resolve("", (), PASSWD, GROUP) == Identity(uid=0, gid=0, home="/root")


def test_root_without_files() -> None:
    assert resolve("", (), None, None) == Identity(uid=0, gid=0, home="/")


def test_name_gets_its_groups_and_home() -> None:
    assert resolve("app", (), PASSWD, GROUP) == Identity(uid=1000, gid=1000, groups=(4, 44), home="/home/app")


def test_number_with_and_without_entry() -> None:
    assert resolve("1000", (), PASSWD, GROUP) == Identity(uid=1000, gid=1000, groups=(4, 44), home="/home/app")
    assert resolve("4242", (), PASSWD, GROUP) == Identity(uid=4242, gid=0, home="/")


def test_a_group_alone_is_roots() -> None:
    assert resolve(":video", (), PASSWD, GROUP) == Identity(uid=0, gid=44, home="/root")


def test_explicit_group_drops_the_supplementary_ones() -> None:
    assert resolve("app:video", (), PASSWD, GROUP) == Identity(uid=1000, gid=44, home="/home/app")
    assert resolve("app:9", (), PASSWD, GROUP).gid == 9


def test_a_name_that_looks_like_a_number_wins() -> None:
    assert resolve("7", (), PASSWD, GROUP).uid == 77


def test_extra_groups_once_each() -> None:
    assert resolve("app", ("video", "1000", "adm", "5"), PASSWD, GROUP).groups == (4, 44, 1000, 5)


@pytest.mark.parametrize(
    ("user", "groups", "message"),
    [
        ("nobody-here", (), "unable to find user nobody-here: no matching entries in the image's /etc/passwd"),
        ("odd", (), "unable to find user odd: no matching entries in the image's /etc/passwd"),
        ("app:nogroup", (), "unable to find group nogroup: no matching entries in the image's /etc/group"),
        ("app", ("wheel",), "unable to find group wheel: no matching entries in the image's /etc/group"),
        ("4294967295", (), "user ID 4294967295 is out of range (0 to 4294967294)"),
    ],
)
def test_refused(user: str, groups: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(user, groups, PASSWD, GROUP)
    assert caught.value.message == message


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert resolve("app", (), b"\xff\xfe:x:5:5::/:\n" + PASSWD, GROUP).uid == 1000
