"""Which images rest on a base that has moved on; registries are played here, real ones are in the integration tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.archives import open_store
from harness.lineages import APP, BASE, MIDDLE, NEW_BASE, WEB, add
from tiffin.errors import NotFoundError, RegistryError
from tiffin.images.lineage.bases import base_upon
from tiffin.images.lineage.outdated import BaseStatus, outdated
from tiffin.images.store import ImageStore
from tiffin.model.image import Image
from tiffin.state import blobs
from tiffin.state import images as records
from tiffin.state.blobs import Base, Manifest

OLD_DIGEST, NEW_DIGEST = "sha256:" + "7" * 64, "sha256:" + "8" * 64
HOSTED = "registry.example:5000/debian:12"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return open_store(tmp_path / "store")


class Played:
    """Registries that answer one thing, and what they were asked."""

    def __init__(self, answer: tuple[str, str] | Exception) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def now(self, name: str, image: Image, known: frozenset[str]) -> tuple[str, str]:
        self.asked.append(name)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _record(store: ImageStore, image: Image, base: Base) -> None:
    with store.database.transaction():
        blobs.set_base(store.database, image.id, base)


def _one(store: ImageStore, name: str, *, registry: bool | None = None, asked: Played | None = None) -> BaseStatus:
    (status,) = outdated(store, [name], registry=registry, asked=asked)
    assert status.image.id == store.get(name).id
    return status


def test_a_recorded_base_that_moved(store: ImageStore) -> None:
    base = add(store, "debian:12", BASE)
    app = add(store, "app:1", BASE, APP)
    _record(store, app, base_upon(store.database, base))
    status = _one(store, "app:1")
    assert (status.status, status.name, status.was, status.now) == ("current", "debian:12", base.id, base.id)
    new = add(store, "debian:12", NEW_BASE)
    status = _one(store, "app:1")
    assert (status.status, status.name, status.was, status.now) == ("outdated", "debian:12", base.id, new.id)
    assert (status.where, status.via, status.reason) == ("here", "", "")
    store.tag(base.id, "debian:12")
    assert _one(store, "app:1").status == "current"


def test_nothing_recorded_but_the_layers_tell(store: ImageStore) -> None:
    base = add(store, "debian:12", BASE)
    add(store, "app:1", BASE, APP)
    add(store, "alone:1", WEB)
    assert [(one.image.names[0], one.status) for one in outdated(store)] == [
        (image.names[0], "current" if image.names[0] == "app:1" else "no base") for image in store.list()
    ]
    new = add(store, "debian:12", NEW_BASE)
    status = _one(store, "app:1")
    assert (status.status, status.name, status.was, status.now) == ("outdated", "debian:12", base.id, new.id)


def test_by_way_of_another_image(store: ImageStore) -> None:
    base = add(store, "debian:12", BASE)
    middle = add(store, "middle:1", BASE, MIDDLE)
    app = add(store, "app:1", BASE, MIDDLE, APP)
    _record(store, middle, base_upon(store.database, base))
    _record(store, app, base_upon(store.database, middle))
    assert _one(store, "app:1").status == "current"
    add(store, "debian:12", NEW_BASE)
    status = _one(store, "app:1")
    assert (status.status, status.name, status.via) == ("outdated", "debian:12", "middle:1")
    assert _one(store, "middle:1").via == ""
    assert {one.image.names[0] for one in outdated(store) if one.status == "outdated"} == {"middle:1", "app:1"}


def test_an_image_that_took_its_bases_name(store: ImageStore) -> None:
    """As a commit of an update under the same name: it is the base now, and what rested on the old one is outdated."""
    base = add(store, "debian:12", BASE)
    app = add(store, "app:1", BASE, APP)
    updated = add(store, "debian:12", BASE, WEB)
    again = add(store, "debian:12", BASE, WEB, MIDDLE)
    _record(store, updated, base_upon(store.database, base).replace(name="debian:12"))
    statuses = {one.image.id: one.status for one in outdated(store)}
    assert statuses == {base.id: "no base", app.id: "outdated", updated.id: "current", again.id: "current"}
    _record(store, again, base_upon(store.database, updated).replace(name="debian:12"))
    assert {one.image.id: one.status for one in outdated(store)} == statuses


def test_what_cannot_be_told(store: ImageStore) -> None:
    app = add(store, "app:1", BASE, APP)
    for base, reason in (
        (Base(name="debian:12"), "debian:12 is not here"),
        (Base(name="debian:12", digest=OLD_DIGEST), "debian:12 is not here"),
        (Base(digest=OLD_DIGEST), "its base has no name"),
        (Base(base_id=f"sha256:{'9' * 64}"), "its base has no name"),
    ):
        _record(store, app, base)
        status = _one(store, "app:1")
        assert (status.status, status.reason) == ("unknown", reason), base
    add(store, "debian:12", NEW_BASE)
    _record(store, app, Base(name="debian:12"))
    status = _one(store, "app:1")
    assert (status.status, status.reason) == ("unknown", "it is not recorded which image its base was")
    # What is pinned cannot move.
    _record(store, app, Base(name=f"debian@{OLD_DIGEST}", digest=OLD_DIGEST))
    assert _one(store, "app:1").status == "current"


def test_a_digest_instead_of_an_id(store: ImageStore) -> None:
    app = add(store, "app:1", BASE, APP)
    _record(store, app, Base(name="debian:12", digest=OLD_DIGEST))
    new = add(store, "debian:12", NEW_BASE)
    assert _one(store, "app:1").status == "outdated"
    with store.database.transaction():
        blobs.add_manifest(store.database, Manifest(digest=OLD_DIGEST, media_type="x", body=b"x"), new.id)
    assert _one(store, "app:1").status == "current"


@pytest.fixture
def hosted(store: ImageStore) -> Image:
    """An image on one from a registry, which is here with its digest."""
    base = add(store, HOSTED, BASE)
    records.set_tag(store.database, f"{HOSTED.rpartition(':')[0]}@{OLD_DIGEST}", base.id)
    app = add(store, "app:1", BASE, APP)
    _record(store, app, base_upon(store.database, store.get(HOSTED), HOSTED))
    assert blobs.base_of(store.database, app.id) == Base(name=HOSTED, digest=OLD_DIGEST, base_id=base.id, layer_count=1)
    return app


def test_at_the_registry(store: ImageStore, hosted: Image) -> None:
    base_id = store.get(HOSTED).id
    for answer, status, now in (
        (("", OLD_DIGEST), "current", base_id),
        ((base_id, NEW_DIGEST), "current", base_id),  # packed anew, or an index around it
        ((f"sha256:{'a' * 64}", NEW_DIGEST), "outdated", NEW_DIGEST),
        (("", NEW_DIGEST), "outdated", NEW_DIGEST),  # nothing for this platform any more
    ):
        played = Played(answer)
        found = _one(store, "app:1", asked=played)
        assert (found.status, found.now, found.where) == (status, now, "registry.example:5000"), answer
        assert played.asked == [HOSTED]


def test_a_registry_that_fails_is_no_failure(store: ImageStore, hosted: Image) -> None:
    for error in (RegistryError("registry.example:5000 does not answer"), NotFoundError("it has no such manifest")):
        found = _one(store, "app:1", asked=Played(error))
        assert (found.status, found.reason) == ("unknown", error.message)
        assert found.where == "registry.example:5000"


def test_who_is_asked(store: ImageStore, hosted: Image) -> None:
    base = add(store, "debian:12", BASE, User="other")
    short = add(store, "short:1", BASE, APP, User="other")
    _record(store, short, base_upon(store.database, base))
    for registry, names in ((None, [HOSTED]), (False, []), (True, [HOSTED, "debian:12"])):
        played = Played(("", OLD_DIGEST))
        outdated(store, ["app:1", "short:1"], registry=registry, asked=played)
        assert played.asked == names


def test_nobody_is_asked_about_what_moved_here(store: ImageStore, hosted: Image) -> None:
    add(store, HOSTED, NEW_BASE)
    played = Played(("", OLD_DIGEST))
    found = _one(store, "app:1", asked=played)
    assert (found.status, found.where, played.asked) == ("outdated", "here", [])


def test_an_outdated_base_counts_more_than_an_unknown_one(store: ImageStore, hosted: Image) -> None:
    top = add(store, "top:1", BASE, APP, WEB)
    _record(store, top, base_upon(store.database, hosted).replace(name="gone:1"))
    played = Played((f"sha256:{'a' * 64}", NEW_DIGEST))
    found = _one(store, "top:1", asked=played)
    assert (found.status, found.via, found.name) == ("outdated", "app:1", HOSTED)
    failing = Played(RegistryError("down"))
    found = _one(store, "top:1", asked=failing)
    assert (found.status, found.reason, found.via) == ("unknown", "gone:1 is not here", "")


def test_references(store: ImageStore) -> None:
    with pytest.raises(NotFoundError, match="no such image: gone"):
        outdated(store, ["gone"])
    assert outdated(store) == []
    assert outdated(store, ["host"]) == []
