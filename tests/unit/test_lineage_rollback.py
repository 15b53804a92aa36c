"""Moves of names: remembered, listed, undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.archives import open_store
from harness.lineages import APP, BASE, MIDDLE, WEB, add
from tiffin.errors import AmbiguousError, ConflictError, NotFoundError, UsageError
from tiffin.images.lineage.rollback import rollback, tag_moves
from tiffin.images.store import ImageStore
from tiffin.state import blobs, tags
from tiffin.state import images as records
from tiffin.state.blobs import Manifest

DIGEST = "sha256:" + "6" * 64


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


def _listed(store: ImageStore, name: str) -> list[tuple[str, bool, bool]]:
    return [(move.image_id, move.here, move.current) for move in tag_moves(store, name)]


def test_back_and_forth(store: ImageStore) -> None:
    first = add(store, "app:1", BASE)
    second = add(store, "app:1", APP)
    assert _listed(store, "app:1") == [(second.id, True, True), (first.id, True, False)]
    assert rollback(store, "app:1").id == first.id == store.get("app:1").id
    assert rollback(store, "app:1").id == second.id == store.get("app:1").id
    assert [move[0] for move in _listed(store, "app:1")] == [second.id, first.id, second.id, first.id]
    moves = tag_moves(store, "app:1")
    assert all(move.name == "app:1" and move.created_ns == first.created_ns for move in moves)
    assert [move.moved_ns for move in moves] == sorted((move.moved_ns for move in moves), reverse=True)


def test_latest_is_meant_without_a_tag(store: ImageStore) -> None:
    first = add(store, "app:latest", BASE)
    add(store, "app:latest", APP)
    assert rollback(store, "app").id == first.id


def test_to_one_of_them(store: ImageStore) -> None:
    first, second, third = (add(store, "app:1", layer) for layer in (BASE, APP, WEB))
    with store.database.transaction():
        blobs.add_manifest(store.database, Manifest(digest=DIGEST, media_type="x", body=b"x"), second.id)
    digits = first.id.removeprefix("sha256:")
    for to, image in (
        (first.id, first), (digits[:12], first), (DIGEST, second), (f"app@{DIGEST}", second), (third.id[7:], third),
    ):  # fmt: skip
        assert rollback(store, "app:1", to).id == image.id == store.get("app:1").id


def test_to_something_else(store: ImageStore) -> None:
    add(store, "app:1", BASE)
    other = add(store, "other:1", APP)
    for to in (other.id, other.id[7:19], DIGEST, f"sha256:{'0' * 64}"):
        with pytest.raises(NotFoundError) as caught:
            rollback(store, "app:1", to)
        assert caught.value.message == f"cannot roll back app:1: it is not remembered to have named {to}"
        assert caught.value.hint == (
            "`tiffin image rollback --list app:1` shows what it named; `tiffin tag` gives it to any image"
        )
    with pytest.raises(UsageError) as refused:
        rollback(store, "app:1", "other:1")
    assert refused.value.message == "--to takes an image ID or a digest, not 'other:1'"


def test_an_ambiguous_beginning(store: ImageStore) -> None:
    add(store, "app:1", BASE)
    with store.database.transaction():
        for digits in ("ab" * 32, "ac" * 32):
            tags.add_move(store.database, tags.Move(name="app:1", image_id=f"sha256:{digits}", moved_ns=1))
    with pytest.raises(AmbiguousError) as caught:
        rollback(store, "app:1", "a")
    assert caught.value.message == "the image ID prefix 'a' is ambiguous: abababababab, acacacacacac"


def test_no_other_image(store: ImageStore) -> None:
    image = add(store, "app:1", BASE)
    with pytest.raises(ConflictError) as caught:
        rollback(store, "app:1")
    assert str(caught.value) == f"cannot roll back app:1: it has named no other image before {image.id[7:19]}"
    with pytest.raises(NotFoundError) as unknown:
        rollback(store, "never:1")
    assert unknown.value.message == "no move of the name never:1 is remembered"
    for name in ("host", f"app@{DIGEST}", "No Name"):
        with pytest.raises(UsageError):
            rollback(store, name)


def test_an_image_that_is_gone(store: ImageStore) -> None:
    first = add(store, "app:1", BASE)
    second = add(store, "app:1", APP)
    store.remove(first.id)
    assert _listed(store, "app:1") == [(second.id, True, True), (first.id, False, False)]
    with pytest.raises(NotFoundError) as caught:
        rollback(store, "app:1")
    short = first.id[7:19]
    assert (
        caught.value.message == f"cannot roll back app:1: the image {short} that it named before is not here any more"
    )
    assert caught.value.hint == "`tiffin image rollback --list app:1` shows what is"
    assert store.get("app:1").id == second.id


def test_an_image_that_is_gone_and_can_be_pulled(store: ImageStore) -> None:
    """The digest reference under which it came is remembered, that of the same repository before others."""
    first = add(store, "registry.example/app:1", BASE)
    for name in (f"registry.example/other@{DIGEST}", f"registry.example/app@{DIGEST}", f"x@{DIGEST}"):
        assert records.set_tag(store.database, name, first.id)
    add(store, "registry.example/app:1", APP)
    store.remove(first.id, force=True)
    with pytest.raises(NotFoundError) as caught:
        rollback(store, "registry.example/app:1")
    assert caught.value.hint == f"`tiffin pull registry.example/app@{DIGEST}` gets it back; then try again"
    assert tag_moves(store, "registry.example/app:1")[1].pin == f"registry.example/app@{DIGEST}"
    with pytest.raises(NotFoundError):
        rollback(store, "registry.example/app:1", DIGEST)


def test_a_name_that_was_removed(store: ImageStore) -> None:
    image = add(store, "app:1", BASE)
    add(store, "other:1", BASE)
    store.remove("app:1")
    assert _listed(store, "app:1") == [(image.id, True, False)]
    assert rollback(store, "app:1").id == image.id
    assert store.get("app:1").id == image.id


def test_the_last_hundred_moves_are_kept(store: ImageStore) -> None:
    one, two = add(store, "app:1", BASE), add(store, "other:1", APP)
    for number in range(tags.KEPT_MOVES + 20):
        records.set_tag(store.database, "app:1", (two, one)[number % 2].id)
    moves = tags.moves_of(store.database, "app:1")
    assert len(moves) == tags.KEPT_MOVES
    assert moves[0].image_id == one.id and moves[1].image_id == two.id
    assert len(tags.moves_of(store.database, "other:1")) == 1


def test_order_is_that_of_the_moves_whatever_the_clock_says(store: ImageStore) -> None:
    first = add(store, "app:1", BASE)
    store.database.execute("UPDATE tag_history SET moved_ns = moved_ns + 1000000000000")
    second = add(store, "app:1", MIDDLE)
    assert [move.image_id for move in tag_moves(store, "app:1")] == [second.id, first.id]


def test_no_move_is_no_row(store: ImageStore) -> None:
    image = add(store, "app:1", BASE)
    store.tag(image.id, "app:1")
    assert len(tag_moves(store, "app:1")) == 1
