"""`tiffin manifest push` and `manifest inspect`: lists given to registries, and manifests shown."""

from __future__ import annotations

import base64
import io
import json
from contextlib import nullcontext

from tiffin.errors import NotFoundError, RegistryError, UsageError
from tiffin.images.reference import parse_reference
from tiffin.images.transfer import lists, steps
from tiffin.images.transfer.copy import checked_manifest, config_of, copy_blobs
from tiffin.images.transfer.copy_destinations import RegistryDestination
from tiffin.images.transfer.copy_sources import RegistrySource
from tiffin.images.transfer.documents import CONFIGS, DOCKER_MANIFEST, INDEXES, parse_index
from tiffin.images.transfer.sources import Sources
from tiffin.images.transfer.steps import Teller
from tiffin.images.transfer.transports import manifest_of
from tiffin.model.record import Record
from tiffin.registry.names import Repository, split_name
from tiffin.state import blobs
from tiffin.state.blobs import Blob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tiffin.images.store import ImageStore
    from tiffin.images.transfer.lists import Member
    from tiffin.images.transfer.steps import Step
    from tiffin.paths import Paths
    from tiffin.registry.client import Registries
    from tiffin.state.blobs import Manifest


_DESCRIPTOR = ("mediaType", "size", "digest", "platform")


class Shown(Record):
    """A manifest, index or list as it was found. `reference` is its name; `platform` is known with `verbose` only."""

    reference: str
    document: Manifest
    platform: dict[str, Any] | None = None
    members: tuple[Shown, ...] = ()

    @property
    def is_index(self) -> bool:
        return self.document.media_type in INDEXES

    def plain(self) -> dict[str, Any]:
        """As Docker shows it: the fields of what an index lists have its order there."""
        document: dict[str, Any] = json.loads(self.document.body)
        if self.is_index:
            document["manifests"] = [_ordered(entry) for entry in document["manifests"]]
        return document

    def verbose(self) -> dict[str, Any]:
        """As Docker tells of one manifest."""
        document = self.document
        descriptor: dict[str, Any] = {
            "mediaType": document.media_type,
            "digest": document.digest,
            "size": len(document.body),
        }
        if self.platform:
            descriptor["platform"] = lists.ordered(self.platform)
        kind = "SchemaV2Manifest" if document.media_type == DOCKER_MANIFEST else "OCIManifest"
        return {
            "Ref": self.reference,
            "Descriptor": descriptor,
            "Raw": base64.b64encode(document.body).decode(),
            kind: json.loads(document.body),
        }


def _ordered(entry: dict[str, Any]) -> dict[str, Any]:
    found = {key: entry[key] for key in _DESCRIPTOR if key in entry} | entry
    if isinstance(found.get("platform"), dict):
        found["platform"] = lists.ordered(found["platform"])
    return found


def push(
    store: ImageStore,
    registries: Registries,
    name: str,
    *,
    all: bool = False,
    purge: bool = False,
    pushed: Callable[[str], None] | None = None,
    progress: Callable[[Step], None] | None = None,
) -> str:
    """Give a list to the registry that its name begins with; returns its digest.

    Members of other repositories of that registry are mounted into the list's, those of other registries are copied
    with `all`, and refused without. `pushed` hears each member that came there so, as "host/name@digest". `purge`
    forgets the list.
    Raises NotFoundError, UsageError, RegistryError, InvalidImageError.
    """
    found = lists.read(store.paths, name)
    if found is None:
        raise NotFoundError(f"No such manifest: {name}")
    target, tag = lists.target_of(name)
    for member in found.members:
        elsewhere = split_name(member.repository) if member.repository else None
        if elsewhere is not None and elsewhere.host != target.host and not all:
            raise UsageError(
                f"{member.reference} is in another registry than {target.host}", hint="--all copies it there"
            )
    teller = Teller(progress)
    with store.adding():
        for member in found.members:
            brought = _bring(store, registries, target, member, teller)
            if brought and pushed is not None:
                pushed(f"{target}@{member.digest}")
    document = found.document()
    digest = registries.put_manifest(target, tag, document.media_type, document.body)
    if purge:
        lists.remove(store.paths, name)
    return digest


def _bring(store: ImageStore, registries: Registries, target: Repository, member: Member, teller: Teller) -> bool:
    """Have a member and its blobs in the list's repository; False when it is from there."""
    document = manifest_of(member.body, member.media_type).replace(digest=member.digest)
    manifest = checked_manifest(document)
    destination = RegistryDestination(registries, target)
    if member.repository == str(target):
        try:
            registries.resolve(target, member.digest)
            return False
        except NotFoundError:
            raise NotFoundError(f"{member.reference} is not in {target} any more") from None
    if not member.repository:
        _bring_local(store, registries, target, member, teller)
    else:
        place = split_name(member.repository)
        assert place is not None, "it was one when the list was made"
        source = RegistrySource(registries, place, "", member.digest)
        source.accept([member.digest])
        copy_blobs(source, destination, [manifest.config, *dict.fromkeys(manifest.layers)], teller, registries)
    destination.put_manifest(document)
    return True


def _bring_local(store: ImageStore, registries: Registries, target: Repository, member: Member, teller: Teller) -> None:
    """The blobs of an image that is here, by the ways that `tiffin push` knows."""
    manifest = checked_manifest(manifest_of(member.body, member.media_type))
    image = store.get(member.image_id)
    sources = Sources(store, registries, target, teller, lambda: False)
    for layer, diff_id in zip(manifest.layers, image.layers, strict=True):
        known = blobs.blob(store.database, layer.digest) or Blob(
            digest=layer.digest, diff_id=diff_id, media_type=layer.media_type, size_bytes=layer.size
        )
        if not sources.provide(known, sources.of(known), steps.short(layer.digest)):
            raise RegistryError(
                f"the layer {layer.digest} of {member.reference} cannot be had packed as it was",
                hint=f"push the image to {target.host} first, then make the list anew",
            )
    raw = image.raw_config
    if registries.blob_size(target, image.id) is None:
        registries.upload_blob(target, lambda: nullcontext(io.BytesIO(raw)), digest=image.id, size=len(raw))


def inspect(
    paths: Paths, registries: Registries, name: str, member: str | None = None, *, verbose: bool = False
) -> Shown:
    """A list that is being made here, else what a registry has under a name; with `member` what that list has of it.

    `verbose` looks up what an index lists, and for which platform a manifest is. NotFoundError, RegistryError.
    """
    made = lists.read(paths, name)
    if member is not None:
        if made is None:
            raise NotFoundError(f"No such manifest: {name}")
        return _shown(made.member(member))
    if made is not None:
        return Shown(
            reference=made.name, document=made.document(), members=tuple(_shown(each) for each in made.members)
        )
    reference = parse_reference(name)
    try:
        repositories = registries.settings.candidates(reference.name)
    except UsageError as error:
        raise NotFoundError(f"no such manifest: {name}", hint=error.hint) from None
    for repository in repositories:
        source = RegistrySource(registries, repository, reference.tag or "latest", reference.digest)
        try:
            document = source.top()
        except NotFoundError:
            continue
        full = f"{repository}@{reference.digest}" if reference.digest else f"{repository}:{reference.tag or 'latest'}"
        return _look(source, full, document) if verbose else Shown(reference=full, document=document)
    raise NotFoundError(f"no such manifest: {name}")


def _look(source: RegistrySource, reference: str, document: Manifest) -> Shown:
    if document.media_type not in INDEXES:
        manifest = checked_manifest(document)
        platform = None
        if manifest.config.media_type in CONFIGS:
            platform = lists.platform_document(config_of(source, manifest))
        return Shown(reference=reference, document=document, platform=platform)
    raw = {item["digest"]: item.get("platform") for item in json.loads(document.body)["manifests"]}
    members = []
    for pointer in parse_index(document.body, document.media_type, document.digest).manifests:
        found = source.document(pointer)
        members.append(
            Shown(
                reference=f"{reference.partition('@')[0]}@{pointer.digest}",
                document=found,
                platform=raw[pointer.digest],
            )
        )
    return Shown(reference=reference, document=document, members=tuple(members))


def _shown(member: Member) -> Shown:
    document = manifest_of(member.body, member.media_type).replace(digest=member.digest)
    return Shown(reference=member.reference, document=document, platform=member.platform)
