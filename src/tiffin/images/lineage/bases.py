"""What images rest on: recorded bases where there are any, else the layers that they begin with."""

from __future__ import annotations

from tiffin.errors import UsageError
from tiffin.images.reference import is_digest, parse_reference
from tiffin.state import blobs
from tiffin.state import images as records
from tiffin.state.blobs import Base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.state.db import Database


class Lineage:
    """Every image that is here, with what each one rests on, as it stood when this was made."""

    def __init__(self, store: ImageStore) -> None:
        self.images = records.all_images(store.database)
        self.by_id = {image.id: image for image in self.images}
        self.bases = {image_id: _sane(base) for image_id, base in blobs.all_bases(store.database).items()}
        self._by_digest = blobs.images_of_manifests(store.database)
        self._names = records.all_names(store.database)
        self._by_layers: dict[tuple[str, ...], list[Image]] = {}
        oldest_first = sorted(self.images, key=_age)
        for image in oldest_first:
            self._by_layers.setdefault(image.layers, []).append(image)
        self._parents: dict[str, Image] = {}
        for image in oldest_first:
            self._find_parent(image)

    def parent(self, image: Image) -> Image | None:
        """The image here that this one rests on directly. Following it comes to an end."""
        return self._parents.get(image.id)

    def rests_on(self, image: Image, sought: Image) -> bool:
        """Whether `sought` is the image itself or something that it rests on, directly or not."""
        at: Image | None = image
        while at is not None:
            if at.id == sought.id:
                return True
            at = self._parents.get(at.id)
        return False

    def recorded(self, image: Image) -> Image | None:
        """The image here that is recorded as the base."""
        base = self.bases.get(image.id)
        if base is None:
            return None
        found = self.by_id.get(base.base_id) or self._of_digest(image, base)
        if found is None and not base.base_id and not base.digest and base.name:
            # A name alone may have moved since: it counts while the layers agree.
            named = self.by_id.get(self._names.get(_key(base.name), ""))
            found = named if named is not None and begins_with(image, named) else None
        return None if found is not None and found.id == image.id else found

    def by_layers(self, image: Image) -> Image | None:
        """The image here with the most layers that this one begins with; of those with all of them the oldest."""
        same = self._by_layers[image.layers][0]
        if same.id != image.id and image.layers:
            return same
        for count in range(len(image.layers) - 1, 0, -1):
            found = self._by_layers.get(image.layers[:count])
            if found:
                return found[0]
        return None

    def resting_on(self, image: Image) -> list[Image]:
        """The other images that begin with all of its layers or record it as their base, oldest first."""
        return [
            other
            for other in sorted(self.images, key=_age)
            if other.id != image.id and ((image.layers and begins_with(other, image)) or self._records(other, image))
        ]

    def _records(self, image: Image, base: Image) -> bool:
        found = self.recorded(image)
        return found is not None and found.id == base.id

    def _of_digest(self, image: Image, base: Base) -> Image | None:
        """An index has images for several platforms: the one whose layers fit, or the only one."""
        found = [self.by_id[image_id] for image_id in self._by_digest.get(base.digest, ()) if image_id in self.by_id]
        fitting = [candidate for candidate in found if begins_with(image, candidate)]
        if fitting:
            return fitting[0]
        return found[0] if len(found) == 1 else None

    def _find_parent(self, image: Image) -> None:
        for found in (self.recorded(image), self.by_layers(image)):
            # What archives claim may go round in a circle.
            if found is not None and not self.rests_on(found, image):
                self._parents[image.id] = found
                return


def begins_with(image: Image, base: Image) -> bool:
    """Whether the base's layers are the first ones of the image."""
    return image.layers[: len(base.layers)] == base.layers


def base_upon(database: Database, base: Image, asked: str = "") -> Base:
    """The record for what is made upon an image that is here, which was `asked` for by that name."""
    name = _name_of(base, asked)
    return Base(name=name, digest=_digest_of(database, base, name), base_id=base.id, layer_count=len(base.layers))


def base_of_annotations(annotations: Mapping[str, str], diff_ids: tuple[str, ...], database: Database) -> Base | None:
    """What a manifest's annotations say of the base (image-spec, annotations.md); None when they say nothing.

    They are anybody's claim: names and digests that are none are left out, and layers are counted only when the
    image with that digest is here and they are the same.
    """
    from tiffin.images.transfer.documents import BASE_DIGEST, BASE_NAME

    claimed = _sane(Base(name=annotations.get(BASE_NAME, ""), digest=annotations.get(BASE_DIGEST, "")))
    name, digest = claimed.name, claimed.digest
    if not name and not digest:
        return None
    for image_id in blobs.images_of_manifests(database).get(digest, ()) if digest else ():
        image = records.image_by_id(database, image_id)
        if image is not None and diff_ids[: len(image.layers)] == image.layers:
            return Base(name=name, digest=digest, base_id=image.id, layer_count=len(image.layers))
    return Base(name=name, digest=digest)


def annotations_of_base(base: Base | None) -> dict[str, str]:
    """The inverse: what a manifest should say of an image's base."""
    from tiffin.images.transfer.documents import BASE_DIGEST, BASE_NAME

    if base is None:
        return {}
    said = {BASE_DIGEST: base.digest, BASE_NAME: base.name}
    return {key: value for key, value in said.items() if value}


def _sane(base: Base) -> Base:
    """Without a name or digest that is none: others have written them, and they are shown and looked up."""
    name = base.name
    try:
        parse_reference(name)
    except UsageError:
        name = ""
    return base.replace(name=name, digest=base.digest if is_digest(base.digest) else "")


def _age(image: Image) -> tuple[int, str]:
    return image.created_ns, image.id


def _key(name: str) -> str:
    try:
        return parse_reference(name).key
    except UsageError:
        return ""


def _name_of(image: Image, asked: str) -> str:
    """The name that was asked for when it is one of the image's, else the image's first."""
    if asked:
        key = _key(asked)
        if key in (*image.names, *image.digests):
            return key
    return image.names[0] if image.names else image.digests[0] if image.digests else ""


def _digest_of(database: Database, image: Image, name: str) -> str:
    """The digest of the image's manifest or index, under that name if possible."""
    repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    for pinned in image.digests:
        if pinned.partition("@")[0] == repository:
            return pinned.partition("@")[2]
    manifests = blobs.manifests_of(database, image.id)
    return manifests[0].digest if manifests else ""
