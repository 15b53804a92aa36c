"""Options of a spec's mounts as operations: runtime-spec 1.2, config.md, "Linux mount options"."""

from __future__ import annotations

import pytest

from tiffin.errors import HostError, UsageError
from tiffin.runtime.mount_options import (
    MS_CLEARED,
    MS_REC,
    OPTIONS,
    PROPAGATION,
    add_borrowed,
    add_early_trees,
    add_mount,
    add_trees,
)
from tiffin.runtime.ops import Plan

RPRIVATE = PROPAGATION["rprivate"]
# runtime-spec 1.2, config.md: everything in the table but what names identity maps and remounts.
LISTED = """
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
    noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
    relatime rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate
    rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid
    symfollow sync tmpcopyup unbindable
""".split()


def plan_of(
    *options: str, kind: str = "bind", shared: bool = False, mapped: bool = False, **extra: object
) -> list[tuple[str, object]]:
    mount = {"destination": "/t", "type": kind, "source": "/s", "options": list(options), **extra}
    spec = {"mounts": [mount], "linux": {"rootfsPropagation": "rshared" if shared else "rslave"}}
    plan = Plan()
    trees = add_borrowed(plan, spec)
    add_early_trees(plan, spec, trees)
    plan.add("PROPAGATION", 0)
    add_trees(plan, spec, trees, mapped=mapped)
    add_mount(plan, mount, trees.get(0))
    return [(name, fields) for name, fields, _ in plan if name != "PROPAGATION"]


@pytest.mark.parametrize("option", LISTED)
def test_every_listed_option_is_taken(option: str) -> None:
    (*_, (_, fields)) = plan_of(option, "rbind")
    assert option not in str(fields)
    name, fields = plan_of(option, kind="tmpfs")[0]
    assert option == "rbind" or option == "bind" or fields[-1] == ""  # type: ignore[index]
    assert name in ("MOUNT_IN", "COPY_UP_IN") or option in ("bind", "rbind")


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (("bind", "ro"), (0, 1, RPRIVATE)),
        (("bind", "ro", "rw"), (0, 0, RPRIVATE)),
        (("rbind", "ro", "rro"), (1, 1, RPRIVATE)),
        (("rbind", "rnosuid", "rslave"), (1, 2, PROPAGATION["rslave"])),
        (("bind", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"), (0, 0x20009E, RPRIVATE)),
        (("bind", "sync", "silent"), (0, 0, RPRIVATE)),
        (("rbind", "rw"), (1, 0, RPRIVATE)),
    ],
)
def test_simple_binds(options: tuple[str, ...], fields: tuple[int, ...]) -> None:
    assert plan_of(*options) == [("BIND_IN", ("/s", "/t", *fields))]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (("rbind", "ro"), (1, 0, 0, 0)),
        (("rbind", "ro", "rnodev"), (1, 0, 4, 0)),
        (("bind", "exec"), (0, 8, 0, 0)),
        (("bind", "noexec", "exec"), (0, 8, 0, 0)),
        (("rbind", "rrw"), (0, 0, 0, 1)),
        (("rbind", "rrelatime"), (0, 0, 0, 0x70)),
        (("bind", "relatime"), (0, 0x70, 0, 0)),
        (("rbind", "strictatime", "rnoatime"), (0x20, 0x70, 0x10, 0x70)),
    ],
)
def test_binds_that_need_a_tree(options: tuple[str, ...], fields: tuple[int, ...]) -> None:
    tree, attached = plan_of(*options)
    assert tree == ("TREE", (0, "/s", "", int("rbind" in options), 0))
    assert attached == ("ATTACH", (0, "/t", *fields, RPRIVATE))


def test_subpaths_and_shared_trees() -> None:
    assert plan_of("rbind", subpath="a/b")[0] == ("TREE", (0, "/s", "a/b", 1, 0))
    shared = PROPAGATION["rshared"]
    assert plan_of("rbind", "rshared", shared=True) == [
        ("TREE", (0, "/s", "", 1, 0)), ("ATTACH", (0, "/t", 0, 0, 0, 0, shared)),
    ]  # fmt: skip
    assert plan_of("rbind", "rshared") == [("BIND_IN", ("/s", "/t", 1, 0, shared))]
    assert plan_of("rbind", joined=("/d", 7)) == [
        ("TREE_FROM", (0, "/s", "/d", 7)), ("ATTACH", (0, "/t", 0, 0, 0, 0, RPRIVATE)),
    ]  # fmt: skip


def test_in_a_user_namespace_every_bind_is_a_tree() -> None:
    assert plan_of("bind", "ro", mapped=True) == [
        ("TREE", (0, "/s", "", 0, 0)), ("ATTACH", (0, "/t", 1, 0, 0, 0, RPRIVATE)),
    ]  # fmt: skip
    assert plan_of("rbind", "ro", "rro", "idmap", mapped=True, subpath="a") == [
        ("TREE", (0, "/s", "a", 1, 1)), ("ATTACH", (0, "/t", 1, 0, 1, 0, RPRIVATE)),
    ]  # fmt: skip
    assert plan_of("ro", kind="tmpfs", mapped=True) == [("MOUNT_IN", ("/s", "/t", "tmpfs", 1, ""))]


def test_shared_trees_are_taken_first_and_numbered_apart() -> None:
    def mount(target: str, *options: str) -> dict[str, object]:
        return {"destination": target, "type": "bind", "source": "/s", "options": list(options)}

    spec = {
        "mounts": [mount("/a", "rbind", "ro"), mount("/b", "bind"), mount("/c", "rbind", "shared")],
        "linux": {"rootfsPropagation": "shared"},
    }
    plan = Plan()
    trees: dict[int, int] = {}
    add_early_trees(plan, spec, trees)
    assert trees == {2: 0}
    add_trees(plan, spec, trees)
    assert trees == {2: 0, 0: 1}


def test_there_are_so_many_trees() -> None:
    mount = {"destination": "/a", "type": "bind", "source": "/s", "options": ["rbind", "ro"]}
    with pytest.raises(HostError, match=r"^more than 256 mounts that have to be prepared$"):
        add_trees(Plan(), {"mounts": [mount] * 257, "linux": {}}, {})


def test_ids_are_mapped_for_binds_only() -> None:
    with pytest.raises(UsageError, match=r"^the mount option 'idmap' for /t is for bind mounts$"):
        plan_of("idmap", kind="tmpfs", mapped=True)


def test_a_mount_has_maps_of_its_own() -> None:
    maps = ("0 5 1\n", "0 6 1\n")
    (taken, attached) = plan_of("rbind", "ridmap", maps=maps)
    assert taken == ("TREE_MAPPED", (0, "/s", 1, 1, *maps)) and attached[0] == "ATTACH"
    assert plan_of("rbind", "idmap", maps=maps)[0] == ("TREE_MAPPED", (0, "/s", 1, 0, *maps))
    assert plan_of("bind", maps=maps)[0] == ("TREE_MAPPED", (0, "/s", 0, 0, *maps))


def test_known_options_are_those_of_the_specification() -> None:
    assert {"remount"}.union(OPTIONS) == {"remount", "idmap", "ridmap", "dev", *MS_CLEARED, *LISTED}


def test_new_mounts() -> None:
    assert plan_of("rro", "noexec", "size=1m", "uid=5", kind="tmpfs") == [
        ("MOUNT_IN", ("/s", "/t", "tmpfs", 1 | 8, "size=1m,uid=5"))
    ]
    assert plan_of("rshared", kind="tmpfs") == [
        ("MOUNT_IN", ("/s", "/t", "tmpfs", 0, "")),
        ("PROPAGATION_IN", ("/t", MS_REC | 1 << 20)),
    ]
    assert plan_of("tmpcopyup", "ro", "mode=700", kind="tmpfs") == [("COPY_UP_IN", ("/t", 1, "mode=700"))]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("remount", "the mount option 'remount' for /t is for mounts that are there already"),
        ("idmap", "the mount option 'idmap' for /t needs uidMappings and gidMappings"),
        ("size=1m", "unknown bind mount option 'size=1m' for /t"),
    ],
)
def test_options_that_cannot_be(option: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of("bind", option)
    assert caught.value.message == message
