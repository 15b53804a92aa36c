"""`image outdated`: images whose base has another image under its name by now, here or at its registry."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, NotFoundError, TiffinError, UsageError
from tiffin.images.reference import parse_reference
from tiffin.model.record import Record
from tiffin.state import blobs, tags
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from tiffin.images.lineage.bases import Lineage
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.registry.settings import Settings
    from tiffin.state.blobs import Base

    class Asked(Protocol):
        """What is asked of registries: the ID and manifest digest that a name stands for there now."""

        def now(self, name: str, image: Image, known: frozenset[str]) -> tuple[str, str]: ...


OUTDATED, CURRENT, UNKNOWN, NO_BASE = "outdated", "current", "unknown", "no base"
HERE = "here"


class BaseStatus(Record):
    """How an image stands to the base `name`, directly or by way of `via`, the image between that rests on it.

    `status` is "outdated", "current", "unknown" (`reason` says why) or "no base". `was` is the base's ID or digest,
    `now` what the name stands for, `where` that was found: "here", or the registry's host.
    """

    image: Image
    status: str
    name: str = ""
    was: str = ""
    now: str = ""
    where: str = ""
    via: str = ""
    reason: str = ""


def outdated(
    store: ImageStore, references: Sequence[str] = (), *, registry: bool | None = None, asked: Asked | None = None
) -> list[BaseStatus]:
    """The status of every image, or of those named, in the order of `images`.

    Registries are asked (by `asked`, if given) about names that have a host; `registry` True asks about all of them,
    False about none. One that fails makes the status "unknown". Raises as `ImageStore.get` for the references.
    """
    from tiffin.images.lineage.bases import Lineage

    store.finish()
    lineage = Lineage(store)
    chosen = [store.get(reference) for reference in references] or lineage.images
    with AtRegistries() as registries:
        look = _Look(store, lineage, asked or registries, registry)
        return [look.status(image) for image in chosen if image.id in lineage.by_id]


def moved_here(image: Image, base: Base, names: Mapping[str, str], lineage: Lineage) -> bool:
    """Whether the base's name means another image here than when it was recorded; `names` are all there are.

    One that was made from its base to take its name, or on which such a one rests, is not outdated by that.
    """
    now = lineage.by_id.get(names.get(_tag_key(base.name), ""))
    return bool(now and base.base_id and now.id != base.base_id and not lineage.rests_on(now, image))


class _Look:
    def __init__(self, store: ImageStore, lineage: Lineage, asked: Asked, registry: bool | None) -> None:
        self._store = store
        self._lineage = lineage
        self._asked = asked
        self._registry = registry
        self._names = records.all_names(store.database)
        self._direct: dict[str, BaseStatus] = {}

    def status(self, image: Image) -> BaseStatus:
        """Its own base first, then those that this one rests on; an outdated one is said before an unknown one."""
        own = self._of(image)
        doubtful = own if own.status == UNKNOWN else None
        at: Image | None = image
        while at is not None:
            found = self._of(at)
            if found.status == OUTDATED:
                return found if at is image else found.replace(image=image, via=_name(at))
            if found.status == UNKNOWN and doubtful is None:
                doubtful = found.replace(image=image, via=_name(at))
            at = self._lineage.parent(at)
        return doubtful or own

    def _of(self, image: Image) -> BaseStatus:
        if image.id not in self._direct:
            base = self._lineage.bases.get(image.id)
            self._direct[image.id] = self._recorded(image, base) if base is not None else self._by_layers(image)
        return self._direct[image.id]

    def _recorded(self, image: Image, base: Base) -> BaseStatus:
        here = self._lineage.recorded(image)
        was = base.base_id or (here.id if here is not None else "") or base.digest
        plain = BaseStatus(image=image, status=CURRENT, name=base.name, was=was)
        key = _tag_key(base.name)
        if not key:
            return plain if base.name else plain.replace(status=UNKNOWN, reason="its base has no name")
        known = self._digests(base, here)
        now = self._names.get(key, "")
        if now and was:
            if now != was and not known & self._digests_of(now) and not self._took_the_name(now, image):
                return plain.replace(status=OUTDATED, now=now, where=HERE)
            plain = plain.replace(now=now, where=HERE)
        if self._registry or (self._registry is None and parse_reference(key).domain):
            return self._at_registry(plain, key, known)
        if plain.now:
            return plain
        why = "it is not recorded which image its base was" if now else f"{key} is not here"
        return plain.replace(status=UNKNOWN, reason=why)

    def _at_registry(self, plain: BaseStatus, key: str, known: frozenset[str]) -> BaseStatus:
        host = parse_reference(key).domain
        if not plain.was:
            return plain.replace(status=UNKNOWN, reason="it is not recorded which image its base was")
        try:
            image_id, digest = self._asked.now(key, plain.image, known)
        except TiffinError as error:
            return plain.replace(status=UNKNOWN, where=host, reason=error.message)
        if digest in known or image_id == plain.was:
            return plain.replace(now=image_id or plain.was, where=host)
        return plain.replace(status=OUTDATED, now=digest, where=host)

    def _by_layers(self, image: Image) -> BaseStatus:
        """Nothing is recorded: what it begins with counts, and the names that this had."""
        parent = self._lineage.parent(image)
        if parent is None:
            return BaseStatus(image=image, status=NO_BASE)
        plain = BaseStatus(image=image, status=CURRENT, name=_name(parent), was=parent.id, now=parent.id, where=HERE)
        for move in tags.moves_to(self._store.database, parent.id):
            now = self._names.get(move.name, parent.id)
            if "@" not in move.name and now != parent.id and not self._took_the_name(now, image):
                return plain.replace(status=OUTDATED, name=move.name, now=now)
        return plain

    def _took_the_name(self, now: str, image: Image) -> bool:
        """Whether the base's name moved to the image itself, or to one that was made upon it."""
        found = self._lineage.by_id.get(now)
        return found is not None and self._lineage.rests_on(found, image)

    def _digests(self, base: Base, here: Image | None) -> frozenset[str]:
        """The digests of manifests and indexes that mean the base as it was."""
        found = {base.digest} if base.digest else set()
        if here is not None:
            found |= self._digests_of(here.id)
        return frozenset(found)

    def _digests_of(self, image_id: str) -> set[str]:
        found = {manifest.digest for manifest in blobs.manifests_of(self._store.database, image_id)}
        image = self._lineage.by_id.get(image_id)
        return found | {pin.partition("@")[2] for pin in (image.digests if image is not None else ())}


class AtRegistries:
    """Asks each registry once for each name. `with AtRegistries() as asked: …`"""

    def __init__(self) -> None:
        self._registries: Registries | None = None
        self._settings: Settings | None = None
        self._found: dict[str, tuple[str, str] | TiffinError] = {}

    def __enter__(self) -> AtRegistries:
        return self

    def __exit__(self, *_: object) -> None:
        if self._registries is not None:
            self._registries.__exit__(None, None, None)

    def now(self, name: str, image: Image, known: frozenset[str]) -> tuple[str, str]:
        """The image ID ("" when the digest is a `known` one, which tells enough) and digest of `name` there.

        RegistryError, NotFoundError, UsageError when no registry is known for a short name.
        """
        asked = f"{name} {image.os}/{image.architecture}/{image.variant}"
        if asked not in self._found:
            try:
                self._found[asked] = self._ask(name, image, known)
            except TiffinError as error:
                self._found[asked] = error
        found = self._found[asked]
        if isinstance(found, TiffinError):
            raise found
        return found

    def _ask(self, name: str, image: Image, known: frozenset[str]) -> tuple[str, str]:
        from tiffin.registry.client import Registries
        from tiffin.registry.settings import load_settings

        if self._settings is None or self._registries is None:  # nobody pays for it who asks nothing
            self._settings = load_settings()
            self._registries = Registries(self._settings)
            self._registries.__enter__()
        reference = parse_reference(name)
        last: TiffinError | None = None
        for repository in self._settings.candidates(reference.name):
            try:
                resolved = self._registries.resolve(repository, reference.tag)
                if resolved.digest in known:
                    return "", resolved.digest
                return _id_of(self._registries, repository, resolved.digest, image), resolved.digest
            except NotFoundError as error:
                last = error
        raise last or NotFoundError(f"no registry has {name}")


def _id_of(registries: Registries, repository: Repository, digest: str, image: Image) -> str:
    """The image ID, which is the config's digest; of an index that of the image's platform."""
    from tiffin.images.platform import Platform
    from tiffin.images.transfer.documents import (
        MANIFESTS,
        MAX_DEPTH,
        choose_platform,
        parse_index,
        parse_manifest,
    )

    wanted = Platform(os=image.os, architecture=image.architecture, variant=image.variant)
    for _ in range(MAX_DEPTH):
        reply = registries.manifest(repository, digest)
        if reply.media_type in MANIFESTS:
            return parse_manifest(reply.body, reply.media_type, reply.digest).config.digest
        index = parse_index(reply.body, reply.media_type, reply.digest)
        digest = choose_platform(index.images, wanted, f"index {reply.digest}").digest
    raise InvalidImageError(f"index {digest} is nested more than {MAX_DEPTH} deep")


def _tag_key(name: str) -> str:
    """The store key of a base's name, "" when it cannot move: without a tag, or pinned by digest alone."""
    try:
        reference = parse_reference(name)
    except UsageError:
        return ""
    if reference.digest and not reference.tag:
        return ""
    return reference.replace(digest="").key


def _name(image: Image) -> str:
    return image.names[0] if image.names else image.id.removeprefix("sha256:")[:12]
