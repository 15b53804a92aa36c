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
    assert resolve("", (), PASSWD, GROUP) == Identity(uid=0, gid=0, groups=(0,), home="/root")


def test_root_without_files() -> None:
    assert resolve("", (), None, None) == Identity(uid=0, gid=0, groups=(0,), home="/")


def test_name_gets_its_groups_and_home() -> None:
    assert resolve("app", (), PASSWD, GROUP) == Identity(uid=1000, gid=1000, groups=(1000, 4, 44), home="/home/app")


def test_number_with_and_without_entry() -> None:
    assert resolve("1000", (), PASSWD, GROUP) == Identity(uid=1000, gid=1000, groups=(1000, 4, 44), home="/home/app")
    assert resolve("4242", (), PASSWD, GROUP) == Identity(uid=4242, gid=0, groups=(0,), home="/")


def test_a_group_alone_is_roots() -> None:
    assert resolve(":video", (), PASSWD, GROUP) == Identity(uid=0, gid=44, groups=(44,), home="/root")


def test_explicit_group_drops_the_others() -> None:
    assert resolve("app:video", (), PASSWD, GROUP) == Identity(uid=1000, gid=44, groups=(44,), home="/home/app")
    assert resolve("app:9", (), PASSWD, GROUP).gid == 9


def test_a_number_is_never_a_name() -> None:
    # Otherwise an image could make root of what the operator asked to be user 1000 (CVE-2016-3697).
    passwd = b"root:x:0:0::/root:/bin/sh\n1000:x:0:0::/:/bin/sh\n"
    group = b"root:x:0:\n1000:x:0:\n"
    assert resolve("1000:1000", ("1000",), passwd, group) == Identity(uid=1000, gid=1000, groups=(1000,), home="/")
    assert resolve("7", (), PASSWD, GROUP) == Identity(uid=7, gid=0, groups=(0,), home="/")


@pytest.mark.parametrize(
    "line",
    [
        "bad:x:²:0::/:/bin/sh",
        "bad:x:٣:0::/:/bin/sh",
        "bad:x:4294967295:0::/:/bin/sh",
        "bad:x:0:4294967296::/:/bin/sh",
        "bad:x:" + "9" * 5000 + ":0::/:/bin/sh",
        "bad:x:-1:0::/:/bin/sh",
        "bad:x:0:0::/\0:/bin/sh",
    ],
)
def test_ids_that_cannot_be_are_no_entries(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve("bad", (), line.encode() + b"\n" + PASSWD, GROUP)
    assert caught.value.message == "unable to find user bad: no matching entries in the image's /etc/passwd"


def test_groups_that_cannot_be_are_skipped() -> None:
    group = "short:x:9\none:x:²:app\ntwo:x:4294967296:app\nthree:x:33:app\n".encode()
    assert resolve("app", (), PASSWD, group).groups == (1000, 33)


def test_extra_groups_once_each() -> None:
    assert resolve("app", ("video", "1000", "adm", "5"), PASSWD, GROUP).groups == (1000, 4, 44, 5)


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
