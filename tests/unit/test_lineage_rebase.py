"""Swapping the base under an image's own layers: what is taken, what is refused, and what the config becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.archives import open_store, symlink, tar_of
from harness.lineages import APP, BASE, MIDDLE, NEW_BASE, WEB, add
from harness.tars import TarMaker
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.images.lineage.bases import base_upon
from tiffin.images.lineage.flatten import flattened
from tiffin.images.lineage.joined import joined_config, joined_history
from tiffin.images.lineage.rebase import rebase
from tiffin.images.store import ImageStore
from tiffin.model.image import Image
from tiffin.state import blobs
from tiffin.state.blobs import Base


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


def _paths(store: ImageStore, image: Image) -> set[str]:
    return {path.decode() for path, _ in flattened(store, image).walk() if path}


def _pair(store: ImageStore, old: bytes, new: bytes, own: bytes) -> None:
    add(store, "old:1", old)
    add(store, "new:1", new)
    add(store, "app:1", old, own)


def _conflicts(store: ImageStore) -> list[str]:
    """What keeps app:1 from resting on new:1; and with --force, that is what was taken."""
    with pytest.raises(ConflictError):
        rebase(store, "app:1", "new:1")
    done = rebase(store, "app:1", "new:1", force=True, name="forced:1")
    assert done.image is not None and done.conflicts
    return [path.decode() for path in done.conflicts]


def test_the_base_is_swapped(store: ImageStore) -> None:
    old = add(store, "debian:12", BASE)
    app = add(store, "app:1", BASE, APP)
    new = add(store, "debian:12", NEW_BASE)
    done = rebase(store, "app:1", "debian:12")
    assert done.image is not None and done.old_base is not None
    assert (done.old.id, done.old_base.id, done.new_base.id, done.layer_count) == (app.id, old.id, new.id, 1)
    assert (done.conflicts, done.unchanged, done.name) == ((), False, "app:1")
    assert done.image.layers == (*new.layers, *app.layers[1:])
    assert store.get("app:1").id == done.image.id
    assert store.get(app.id).names == ()
    assert blobs.base_of(store.database, done.image.id) == Base(name="debian:12", base_id=new.id, layer_count=1)
    contents = {path: node.entry.object for path, node in flattened(store, done.image).walk()}
    fresh = {path: node.entry.object for path, node in flattened(store, new).walk()}
    assert fresh.items() <= contents.items() and b"opt/app" in contents


def test_another_name_leaves_the_first_one(store: ImageStore) -> None:
    _pair(store, BASE, NEW_BASE, APP)
    app = store.get("app:1")
    done = rebase(store, "app:1", "new:1", name="app:2")
    assert done.image is not None
    assert store.get("app:1").id == app.id and store.get("app:2").id == done.image.id
    by_id = rebase(store, app.id, "new:1")
    assert by_id.image is not None and by_id.name == "" and store.get("app:1").id == app.id


def test_a_dry_run_changes_nothing(store: ImageStore) -> None:
    _pair(store, BASE, NEW_BASE, APP)
    before = [(image.id, image.names) for image in store.list()]
    done = rebase(store, "app:1", "new:1", dry_run=True)
    assert done.image is None and done.layer_count == 1
    assert [(image.id, image.names) for image in store.list()] == before


def test_twice_is_no_more_than_once(store: ImageStore) -> None:
    _pair(store, BASE, NEW_BASE, APP)
    first = rebase(store, "app:1", "new:1")
    second = rebase(store, "app:1", "new:1")
    assert first.image is not None and second.image is not None
    assert second.unchanged and second.image.id == first.image.id
    rebase(store, "app:1", "new:1", name="more:1")
    assert store.get("more:1").id == first.image.id


def test_which_base_is_meant(store: ImageStore) -> None:
    """The one whose name or repository the new one has; else what is recorded; else by layers."""
    base = add(store, "debian:12", BASE)
    middle = add(store, "middle:1", BASE, MIDDLE)
    app = add(store, "app:1", BASE, MIDDLE, APP)
    add(store, "debian:13", NEW_BASE)
    add(store, "debian:12", WEB)
    for onto, old in (("debian:12", base), ("debian:13", base), (store.get("debian:13").id, middle)):
        done = rebase(store, app.id, onto, dry_run=True)
        assert done.old_base is not None and done.old_base.id == old.id, onto
    with store.database.transaction():
        blobs.set_base(store.database, app.id, base_upon(store.database, base))
    done = rebase(store, app.id, store.get("debian:13").id, dry_run=True)
    assert done.old_base is not None and done.old_base.id == base.id
    done = rebase(store, app.id, "debian:13", base="middle:1", dry_run=True)
    assert done.old_base is not None and done.old_base.id == middle.id


def test_a_base_that_is_gone(store: ImageStore) -> None:
    """Its layers are known from the record, its config is not: the image keeps its own whole."""
    base = add(store, "old:1", BASE, Env=["A=1"], Cmd=["sh"])
    app = add(store, "app:1", BASE, APP, Env=["A=1"], Cmd=["sh"])
    add(store, "new:1", NEW_BASE, Env=["A=2"], Cmd=["bash"])
    with store.database.transaction():
        blobs.set_base(store.database, app.id, base_upon(store.database, base))
    store.remove("old:1")
    done = rebase(store, "app:1", "new:1")
    assert done.image is not None and done.old_base is None
    assert (done.image.config.env, done.image.config.cmd) == (("A=1",), ("sh",))
    assert len(done.image.layers) == 2


def test_refusals(store: ImageStore) -> None:
    add(store, "old:1", BASE)
    add(store, "new:1", NEW_BASE)
    add(store, "app:1", BASE, APP)
    add(store, "alone:1", WEB)
    add(store, "empty:1")
    add(store, "arm:1", NEW_BASE, architecture="riscv64")
    here = store.get("app:1").architecture
    for arguments, sentence in (
        (("app:1", "app:1"), "app:1 and app:1 are the same image: it cannot rest on itself"),
        (("old:1", "app:1"), "app:1 rests on old:1 itself"),
        (("app:1", "arm:1"), f"app:1 is for linux/{here}, arm:1 for linux/riscv64: their programs do not run together"),
        (("app:1", "host"), "the image 'host' has no layers, so it can neither be rebased nor be a base"),
        (("host", "app:1"), "the image 'host' has no layers, so it can neither be rebased nor be a base"),
        (("app:1", "new:1", "app:1"), "app:1 and app:1 are the same image: it cannot rest on itself"),
        (("app:1", "new:1", "alone:1"), "app:1 does not rest on alone:1: its layers are others"),
        (("app:1", "new:1", "empty:1"), "app:1 does not rest on empty:1: a base needs layers"),
    ):
        with pytest.raises(UsageError) as caught:
            rebase(store, arguments[0], arguments[1], base=arguments[2] if len(arguments) > 2 else "")
        assert caught.value.message == sentence
    with pytest.raises(UsageError) as caught:
        rebase(store, "old:1", "new:1", base="app:1")
    assert caught.value.message == "old:1 does not rest on app:1: it has only 1 of 2 layers"
    with pytest.raises(NotFoundError) as missing:
        rebase(store, "alone:1", "new:1")
    assert str(missing.value) == (
        "it is not known what alone:1 rests on: no base is recorded, and no image here has its first layers"
        " (name it with --base)"
    )
    for arguments in (("app:1", "gone"), ("gone", "app:1")):
        with pytest.raises(NotFoundError, match="no such image: gone"):
            rebase(store, *arguments)
    with pytest.raises(UsageError, match="invalid reference format"):
        rebase(store, "app:1", "new:1", name="No Name")
    assert all(image.names for image in store.list())


def test_both_changed_a_file(store: ImageStore) -> None:
    _pair(store, tar_of({"f": b"1", "g": b"1"}), tar_of({"f": b"2", "g": b"1"}), tar_of({"f": b"3", "g": b"3"}))
    with pytest.raises(ConflictError) as caught:
        rebase(store, "app:1", "new:1")
    assert caught.value.message == (
        "cannot rebase app:1 onto new:1: 1 file that its own layers changed changed in the base as well:\n  /f"
    )
    assert caught.value.hint == "build it anew, or take its own versions with --force"
    assert _conflicts(store) == ["f"]
    forced = flattened(store, store.get("forced:1")).lookup("f")
    assert forced is not None and forced.entry.object == flattened(store, store.get("app:1")).lookup("f").entry.object  # type: ignore[union-attr]


def test_many_conflicts_are_counted(store: ImageStore) -> None:
    names = [f"f{number:03d}" for number in range(25)]
    _pair(store, *(tar_of(dict.fromkeys(names, content)) for content in (b"1", b"2", b"3")))
    with pytest.raises(ConflictError) as caught:
        rebase(store, "app:1", "new:1")
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("cannot rebase app:1 onto new:1: 25 files ")
    assert lines[1:] == [*(f"  /{name}" for name in names[:20]), "  and 5 more"]


def test_both_made_the_same_change(store: ImageStore) -> None:
    _pair(store, tar_of({"f": b"1"}), tar_of({"f": b"2", "h": b"2"}), tar_of({"f": b"2", "h": b"2"}))
    assert rebase(store, "app:1", "new:1").conflicts == ()


def test_times_do_not_count(store: ImageStore) -> None:
    old = TarMaker().directory("d", mtime=1).file("d/f", b"1", mtime=1).done()
    new = TarMaker().directory("d", mtime=2).file("d/f", b"1", mtime=2).done()
    _pair(store, old, new, TarMaker().directory("d", mtime=3).file("d/f", b"3", mtime=3).done())
    assert rebase(store, "app:1", "new:1").conflicts == ()


def test_modes_and_owners_count(store: ImageStore) -> None:
    old = TarMaker().file("f", b"1", mode=0o644).file("g", b"1").done()
    new = TarMaker().file("f", b"1", mode=0o600).file("g", b"1", uid=7).done()
    _pair(store, old, new, TarMaker().file("f", b"3").file("g", b"3").done())
    assert _conflicts(store) == ["f", "g"]


def test_deleted_above_changed_below(store: ImageStore) -> None:
    old = tar_of({"kept": b"1", "changed": b"1", "gone": b"1"})
    new = tar_of({"kept": b"1", "changed": b"2"})
    _pair(store, old, new, tar_of({".wh.kept": b"", ".wh.changed": b"", ".wh.gone": b""}))
    assert _conflicts(store) == ["changed"]
    assert _paths(store, store.get("forced:1")) == set()


def test_changed_above_deleted_below(store: ImageStore) -> None:
    _pair(store, tar_of({"f": b"1", "g": b"1"}), tar_of({"g": b"1"}), tar_of({"f": b"3"}))
    assert _conflicts(store) == ["f"]


def test_a_directory_deleted_above(store: ImageStore) -> None:
    old = tar_of({"d/same": b"1", "d/changed": b"1"})
    new = tar_of({"d/same": b"1", "d/changed": b"2", "d/new": b"2"})
    _pair(store, old, new, tar_of({".wh.d": b""}))
    assert _conflicts(store) == ["d/changed", "d/new"]


def test_an_opaque_directory(store: ImageStore) -> None:
    old = tar_of({"d/same": b"1", "d/changed": b"1"})
    new = tar_of({"d/same": b"1", "d/changed": b"2", "d/new": b"2"})
    _pair(store, old, new, tar_of({"d/.wh..wh..opq": b"", "d/mine": b"3"}))
    assert _conflicts(store) == ["d/changed", "d/new"]
    assert _paths(store, store.get("forced:1")) == {"d", "d/mine"}


def test_a_directory_that_is_listed_again(store: ImageStore) -> None:
    """Layers list the directories above their files: that undoes a mode that the base has changed."""
    old = TarMaker().directory("d", mode=0o755).directory("e", mode=0o755).done()
    new = TarMaker().directory("d", mode=0o1777).directory("e", mode=0o755).done()
    own = TarMaker().directory("d", mode=0o755).file("d/f", b"3").directory("e", mode=0o755).file("e/f").done()
    _pair(store, old, new, own)
    assert _conflicts(store) == ["d"]


def test_a_directory_that_the_base_has_no_more(store: ImageStore) -> None:
    _pair(
        store,
        TarMaker().directory("d", mode=0o700).file("d/theirs", b"1").done(),
        tar_of({"other": b"2"}),
        TarMaker().directory("d", mode=0o700).file("d/mine", b"3").done(),
    )
    done = rebase(store, "app:1", "new:1")
    assert done.image is not None and _paths(store, done.image) == {"d", "d/mine", "other"}


def test_a_directory_becomes_a_symlink_below(store: ImageStore) -> None:
    """As when a distribution merges /bin into /usr/bin: a file in the old directory would cover the link."""
    old = TarMaker().directory("bin").file("bin/sh", b"1").done()
    new = TarMaker().directory("usr").directory("usr/bin").file("usr/bin/sh", b"1").symlink("bin", "usr/bin").done()
    _pair(store, old, new, TarMaker().file("bin/mine", b"3").done())
    assert _conflicts(store) == ["bin"]


def test_a_directory_is_replaced_by_a_symlink_above(store: ImageStore) -> None:
    _pair(
        store,
        tar_of({"d/same": b"1", "d/changed": b"1", "e/x": b"1"}),
        tar_of({"d/same": b"1", "d/changed": b"2", "e/x": b"1"}),
        tar_of({"d": symlink("e")}),
    )
    assert _conflicts(store) == ["d/changed"]


def test_a_symlink_changed_in_both(store: ImageStore) -> None:
    _pair(store, *(tar_of({"l": symlink(target)}) for target in ("1", "2", "3")))
    assert _conflicts(store) == ["l"]


def test_hard_links_into_the_base(store: ImageStore) -> None:
    """A second name of a file of the base would show the new content under it."""
    old, new = tar_of({"f": b"1", "g": b"1"}), tar_of({"f": b"2", "g": b"1"})
    _pair(store, old, new, TarMaker().hardlink("f2", "f").hardlink("g2", "g").done())
    assert _conflicts(store) == ["f2"]


def test_a_hard_link_to_what_is_gone(store: ImageStore) -> None:
    _pair(store, tar_of({"f": b"1"}), tar_of({"g": b"1"}), TarMaker().hardlink("f2", "f").done())
    for force in (False, True):
        with pytest.raises(ConflictError) as caught:
            rebase(store, "app:1", "new:1", force=force)
        assert caught.value.message == (
            "the layers of app:1 do not fit new:1: the hard link 'f2' leads to the missing file 'f'"
        )


def test_names_that_terminals_obey_are_escaped(store: ImageStore) -> None:
    _pair(store, *(TarMaker().file("a\x1b[2Jb\n", content).done() for content in (b"1", b"2", b"3")))
    with pytest.raises(ConflictError) as caught:
        rebase(store, "app:1", "new:1")
    assert caught.value.message.endswith("\n  /a\\x1b[2Jb\\n")


OLD: dict[str, Any] = {
    "Env": ["PATH=/bin", "A=1", "B=1"],
    "Cmd": ["sh"],
    "WorkingDir": "/",
    "User": "root",
    "ExposedPorts": {"80/tcp": {}},
    "Labels": {"v": "1", "w": "1", "x": "1"},
    "StopSignal": "SIGTERM",
}
NEW: dict[str, Any] = {
    "Env": ["PATH=/usr/bin:/bin", "A=2", "C=2"],
    "Cmd": ["bash"],
    "WorkingDir": "/srv",
    "ExposedPorts": {"81/tcp": {}},
    "Labels": {"v": "2", "w": "2", "y": "2"},
    "Shell": ["/bin/bash", "-c"],
}


@pytest.mark.parametrize(
    ("image", "old", "new", "expected"),
    [
        (OLD, OLD, NEW, NEW),
        (OLD, OLD, OLD, OLD),
        (OLD, None, NEW, OLD),
        ({}, OLD, {}, {}),
        # What the image says itself stays.
        ({**OLD, "User": "app", "Cmd": ["app"]}, OLD, NEW, {**NEW, "User": "app", "Cmd": ["app"]}),
        ({**OLD, "WorkingDir": ""}, OLD, NEW, {key: value for key, value in NEW.items() if key != "WorkingDir"}),
        # A variable goes by itself: changed, added, removed.
        (
            {**OLD, "Env": ["PATH=/app:/bin", "A=1", "D=3"]},
            OLD,
            NEW,
            {**NEW, "Env": ["PATH=/app:/bin", "A=2", "C=2", "D=3"]},
        ),
        (
            {**OLD, "Labels": {"v": "3", "w": "1", "z": "3"}},
            OLD,
            NEW,
            {**NEW, "Labels": {"v": "3", "w": "2", "y": "2", "z": "3"}},
        ),
        # A command is the argument of its entry point.
        ({**OLD, "Entrypoint": ["/app"]}, OLD, NEW, {**NEW, "Entrypoint": ["/app"], "Cmd": ["sh"]}),
        ({**OLD, "Entrypoint": ["/app"], "Cmd": None}, OLD, NEW,
         {**{key: value for key, value in NEW.items() if key != "Cmd"}, "Entrypoint": ["/app"]}),
        # Absent, null and empty are the same.
        ({**OLD, "Entrypoint": None, "Volumes": {}}, {**OLD, "Entrypoint": []}, NEW, NEW),
    ],
)  # fmt: skip
def test_configs_are_joined(image: dict[str, Any], old: Any, new: dict[str, Any], expected: dict[str, Any]) -> None:
    assert joined_config(image, old, new) == expected


def _steps(*words: str) -> list[dict[str, Any]]:
    return [{"created_by": word.strip("-"), **({"empty_layer": True} if word[0] == "-" else {})} for word in words]


@pytest.mark.parametrize(
    ("image", "old_steps", "old_layers", "new", "new_layers", "expected"),
    [
        (("a", "-b", "x"), 2, 1, ("n",), 1, ("n", "x")),
        (("a", "-b", "x"), None, 1, ("n",), 1, ("n", "-b", "x")),
        (("a", "x", "-y"), 1, 1, ("n", "-m", "o"), 2, ("n", "-m", "o", "x", "-y")),
        ((), None, 1, ("n",), 1, ("n",)),
        (("a", "x"), None, 1, ("n", "m"), 1, ("n", "-m", "x")),
    ],
)
def test_histories_are_joined(
    image: tuple[str, ...], old_steps: int | None, old_layers: int, new: tuple[str, ...], new_layers: int, expected: Any
) -> None:
    found = joined_history({"history": _steps(*image)}, old_steps, old_layers, {"history": _steps(*new)}, new_layers)
    assert found == _steps(*expected)


def test_a_base_without_history_keeps_the_steps_at_their_layers(store: ImageStore) -> None:
    """As of an image that was imported: each of its layers counts as a step, else the image's would slip down."""
    assert joined_history({"history": _steps("a", "x")}, 1, 1, {"created": "now"}, 2) == [
        {"created": "now"}, {"created": "now"}, {"created_by": "x"},
    ]  # fmt: skip
    _pair(store, BASE, NEW_BASE, APP)
    done = rebase(store, "app:1", "new:1")
    assert done.image is not None
    document = json.loads(done.image.raw_config)
    assert [step["created_by"] for step in document["history"]] == [
        json.loads(store.get("new:1").raw_config)["history"][0]["created_by"],
        json.loads(done.old.raw_config)["history"][1]["created_by"],
    ]
    assert [entry.diff_id for entry in store.history("app:1")] == list(reversed(done.image.layers))
