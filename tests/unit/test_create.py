"""Decisions at creation: what the user said, what the image says, what is refused."""

from __future__ import annotations

import pytest

from tiffin.containers import names
from tiffin.containers.command import merge_env
from tiffin.containers.create import check_mounts
from tiffin.errors import UsageError
from tiffin.model.container import Mount


def test_environment_is_merged_by_name_in_order() -> None:
    assert merge_env(("PATH=/bin", "A=1"), ("B=2", "A=3", "C")) == ("PATH=/bin", "A=3", "B=2", "C")


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (Mount(type="tmpfs", target="rel"),
         "invalid mount config for type \"tmpfs\": invalid mount path: 'rel' mount path must be absolute"),
        (Mount(type="tmpfs", target="/x/.."),
         "invalid mount config for type \"tmpfs\": invalid specification: destination can't be '/'"),
        (Mount(type="bind", source="rel", target="/x"),
         "invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute"),
        (Mount(type="bind", source="/no/such", target="/x"),
         'invalid mount config for type "bind": bind source path does not exist: /no/such'),
        (Mount(type="bind", target="/x"), 'invalid mount config for type "bind": field Source must not be empty'),
        (Mount(type="image", target="/x"), 'invalid mount config for type "image": field Source must not be empty'),
        (Mount(type="tmpfs", source="x", target="/x"),
         'invalid mount config for type "tmpfs": field Source must not be specified'),
        (Mount(type="npipe", target="/x"), 'invalid mount config for type "npipe": mount type unknown'),
        (Mount(type="bind", source="/", target="/x", propagation="foo"),
         'invalid mount config for type "bind": invalid propagation mode: foo'),
        (Mount(type="volume", source="vv", target="/x", subpath="/etc"),
         'invalid mount config for type "volume": subpath must be a relative path within the volume'),
        (Mount(type="volume", source="vv", target="/x", subpath="a/../../b"),
         'invalid mount config for type "volume": subpath must be a relative path within the volume'),
        (Mount(type="bind", source="/usr/", target="/x", relabel="shared"),
         "SELinux relabeling of /usr is not allowed"),
        (Mount(type="bind", source="/", target="/x", relabel="private"), "SELinux relabeling of / is not allowed"),
        (Mount(type="tmpfs", target="/proc"), '"/proc" cannot be mounted because it is not of type proc'),
        (Mount(type="bind", source="/etc", target="/proc/.."),
         "invalid mount config for type \"bind\": invalid specification: destination can't be '/'"),
        (Mount(type="bind", source="/etc", target="/a/../proc/sys/"),
         '"/proc/sys" cannot be mounted because it is inside /proc'),
    ],
)  # fmt: skip
def test_mounts_that_cannot_be(mount: Mount, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_mounts((mount,))
    assert caught.value.message == message


def test_what_may_be_mounted_in_proc() -> None:
    check_mounts(
        (
            Mount(type="bind", source="/etc/hosts", target="/proc/uptime"),
            Mount(type="bind", source="/proc", target="/proc"),
            Mount(type="bind", source="/", target="/process"),
            Mount(type="volume", source="vv", target="/x", subpath="a/../b"),
        )
    )


def test_a_target_once() -> None:
    with pytest.raises(UsageError) as caught:
        check_mounts((Mount(type="tmpfs", target="/x"), Mount(type="tmpfs", target="/y/../x/")))
    assert caught.value.message == "Duplicate mount point: /x"


@pytest.mark.parametrize("bad", ["a", "-a", ".a", "a b", "a/b", "é", "x" * 256, "a\n"])
def test_bad_names(bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.check_name(bad)
    assert caught.value.message == f"Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


def test_names_and_ids() -> None:
    assert names.check_name("/web.1_a-b") == "web.1_a-b"
    assert len(names.new_id()) == 64 and names.new_id() != names.new_id()
    made = names.random_name(lambda name: False)
    assert names.check_name(made) == made and "_" in made
    assert names.random_name(lambda name: True).startswith("tiffin_")
