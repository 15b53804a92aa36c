"""Lists of manifests for several platforms: made here, a JSON file each below ROOT/manifests, then pushed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os

from tiffin.errors import ConflictError, InvalidImageError, NotFoundError, StoreError, UsageError, os_error
from tiffin.images.config import parse_object
from tiffin.images.reference import is_id, parse_reference, parse_tag
from tiffin.images.transfer.copy import checked_manifest, config_of
from tiffin.images.transfer.copy_sources import RegistrySource
from tiffin.images.transfer.documents import (
    CONFIGS,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    OCI_INDEX,
    OCI_MANIFEST,
    check_image,
    digest_of,
)
from tiffin.images.transfer.transports import manifest_of
from tiffin.model.record import Record
from tiffin.registry.names import Repository, split_name
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.images.store import ImageStore
    from tiffin.paths import Paths
    from tiffin.registry.client import Registries
    from tiffin.state.blobs import Manifest

_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")


class Member(Record):
    """A manifest in a list. `reference` is what the user called it, `platform` as an index has it.

    It is in `repository` ("host/path"), or is that of the image `image_id` that is here.
    """

    reference: str
    digest: str
    media_type: str
    body: bytes
    platform: dict[str, Any]
    repository: str = ""
    image_id: str = ""


class ManifestList(Record):
    """A list that is being made; `name` has a tag."""

    name: str
    members: tuple[Member, ...] = ()

    def document(self) -> Manifest:
        """The index, or Docker's list when all members are of Docker's kind."""
        dockers = all(member.media_type == DOCKER_MANIFEST for member in self.members)
        media_type = DOCKER_INDEX if dockers else OCI_INDEX
        listed = [
            {
                "mediaType": member.media_type,
                "size": len(member.body),
                "digest": member.digest,
                "platform": member.platform,
            }
            for member in self.members
        ]
        made = {"schemaVersion": 2, "mediaType": media_type, "manifests": listed}
        return manifest_of(json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode(), media_type)

    def member(self, text: str) -> Member:
        """The member that a reference or digest means. NotFoundError."""
        wanted = _full(text)
        for member in self.members:
            if wanted in (member.reference, member.digest) or wanted.endswith(f"@{member.digest}"):
                return member
        raise NotFoundError(f"manifest for image {text} does not exist in {self.name}")


def create(
    store: ImageStore, registries: Registries, name: str, members: Sequence[str], *, amend: bool = False
) -> ManifestList:
    """Begin a list with manifests of registries, or of images that are here and were pulled or pushed once.

    `amend` adds to a list that exists already. Raises UsageError, NotFoundError, ConflictError, RegistryError,
    InvalidImageError.
    """
    key = _key(name)
    if not members:
        raise UsageError("no manifest was named")
    existing = read(store.paths, name)
    if existing is not None and not amend:
        raise ConflictError("refusing to amend an existing manifest list with no --amend flag")
    found: dict[str, Member] = {member.digest: member for member in existing.members} if existing else {}
    for text in members:
        member = _resolve(store, registries, text)
        found[member.digest] = member
    made = ManifestList(name=key, members=tuple(found.values()))
    _write(store.paths, made)
    return made


def annotate(
    paths: Paths,
    name: str,
    member: str,
    *,
    os: str | None = None,
    architecture: str | None = None,
    variant: str | None = None,
    os_version: str | None = None,
    os_features: Sequence[str] = (),
) -> ManifestList:
    """Say for which platform a member is, where its config does not or is wrong. Raises NotFoundError."""
    existing = read(paths, name)
    if existing is None:
        raise NotFoundError(f"manifest for image {member} does not exist in {name}")
    found = existing.member(member)
    said = {
        "architecture": architecture,
        "os": os,
        "os.version": os_version,
        "os.features": list(dict.fromkeys([*found.platform.get("os.features", ()), *os_features])),
        "variant": variant,
    }
    platform = ordered({**found.platform, **{key: value for key, value in said.items() if value}})
    changed = tuple(each.replace(platform=platform) if each is found else each for each in existing.members)
    made = existing.replace(members=changed)
    _write(paths, made)
    return made


def remove(paths: Paths, name: str) -> None:
    """Forget a list. NotFoundError."""
    try:
        os.unlink(_path(paths, _key(name)))
    except FileNotFoundError:
        raise NotFoundError(f"No such manifest: {name}") from None
    except OSError as error:
        raise os_error(error, f"cannot remove the manifest list {name!r}") from error


def read(paths: Paths, name: str) -> ManifestList | None:
    """The list of that name, None when there is none. StoreError when it is damaged."""
    try:
        key = _key(name)
    except UsageError:
        return None
    try:
        with open(_path(paths, key), "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error(error, f"cannot read the manifest list {name!r}") from error
    try:
        document = json.loads(raw)
        members = tuple(Member(**{**item, "body": item["body"].encode()}) for item in document["members"])
        whole = all(digest_of(member.body, member.digest.partition(":")[0]) == member.digest for member in members)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(name) from error
    if not whole:
        raise _damaged(name)
    return ManifestList(name=key, members=members)


def _damaged(name: str) -> StoreError:
    return StoreError(f"the manifest list {name!r} is damaged", hint=f"`tiffin manifest rm {name}`, and make it again")


def names(paths: Paths) -> list[str]:
    """Of all lists, sorted."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for file in os.scandir(paths.manifests):
            if file.name.endswith(".json"):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(file.path, "rb") as opened:
                    found.append(str(json.load(opened)["name"]))
    return sorted(found)


def _write(paths: Paths, made: ManifestList) -> None:
    document = {
        "name": made.name,
        "members": [
            {
                "reference": member.reference,
                "digest": member.digest,
                "media_type": member.media_type,
                "platform": member.platform,
                "repository": member.repository,
                "image_id": member.image_id,
                "body": member.body.decode(),
            }
            for member in made.members
        ],
    }
    path = _path(paths, made.name)
    unfinished = f"{path}.{os.getpid()}.unfinished"
    try:
        os.makedirs(paths.manifests, mode=0o700, exist_ok=True)
        with open(unfinished, "wb") as file:
            file.write(json.dumps(document, ensure_ascii=False).encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise os_error(error, f"cannot write the manifest list {made.name!r}") from error


def _path(paths: Paths, key: str) -> str:
    # Names may be longer than those of files, and have slashes.
    return f"{paths.manifests}/{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"


def _key(name: str) -> str:
    return parse_tag(name).key


def _full(text: str) -> str:
    """A reference with its tag; what is none stays as it is."""
    if is_id(text) or text.startswith("sha256:"):
        return text
    reference = parse_reference(text)
    return str(reference) if reference.digest else reference.key


def _resolve(store: ImageStore, registries: Registries, text: str) -> Member:
    """What a member's name means: with a host first the registry's manifest, else that of an image that is here."""
    if not is_id(text) and not text.startswith("sha256:"):
        reference = parse_reference(text)
        repository = split_name(reference.name)
        if repository is not None:
            try:
                return fetch(registries, text)
            except NotFoundError:
                local = _local(store, text)
                if local is None:
                    raise NotFoundError(f"no such manifest: {text}") from None
                return local
    local = _local(store, text)
    if local is not None:
        return local
    try:
        return fetch(registries, text)
    except UsageError:  # no registry is configured for names without a host
        raise NotFoundError(f"no such manifest: {text}") from None


def fetch(registries: Registries, text: str) -> Member:
    """A registry's manifest with its platform. NotFoundError, UsageError for an index."""
    reference = parse_reference(text)
    repositories = registries.settings.candidates(reference.name)
    for repository in repositories:
        source = RegistrySource(registries, repository, reference.tag or "latest", reference.digest)
        try:
            document = source.top()
        except NotFoundError:
            if repository is repositories[-1]:
                raise
            continue
        if document.media_type in INDEXES:
            raise UsageError(
                f"{text} is a manifest list",
                hint="name one of its manifests by digest",
            )
        manifest = checked_manifest(document)
        platform: dict[str, Any] = {"architecture": "unknown", "os": "unknown"}
        if manifest.config.media_type in CONFIGS:
            platform = platform_document(config_of(source, manifest))
        return Member(
            reference=_full(text),
            digest=document.digest,
            media_type=document.media_type,
            body=document.body,
            platform=platform,
            repository=str(repository),
        )
    raise AssertionError("settings give at least one repository")


def _local(store: ImageStore, text: str) -> Member | None:
    """The newest manifest that an image which is here came with or was pushed as."""
    try:
        image = store.get(text)
    except NotFoundError:
        return None
    for document in blobs.manifests_of(store.database, image.id):
        if document.media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
            continue
        manifest = checked_manifest(document)
        if manifest.config.digest == image.id:
            check_image(manifest, document.digest)
            return Member(
                reference=_full(text),
                digest=document.digest,
                media_type=document.media_type,
                body=document.body,
                platform=platform_document(parse_object(image.raw_config, f"config {image.id}")),
                image_id=image.id,
            )
    raise InvalidImageError(
        f"the image {text} has no manifest: it was neither pulled nor pushed", hint="push it, then name what was pushed"
    )


def platform_document(config: dict[str, Any]) -> dict[str, Any]:
    """The platform that an index has, from a config."""
    found = {key: config[key] for key in _PLATFORM if config.get(key)}
    return ordered({"architecture": "unknown", "os": "linux", **found})


def ordered(platform: dict[str, Any]) -> dict[str, Any]:
    """A platform with its fields in the order in which Docker has them."""
    return {key: platform[key] for key in _PLATFORM if key in platform} | platform


def target_of(name: str) -> tuple[Repository, str]:
    """The repository and tag that a list's name means. UsageError."""
    reference = parse_tag(name)
    repository = split_name(reference.name)
    if repository is None:
        raise UsageError(f"cannot push {name!r}: the name says no registry", hint="make the list as HOST/NAME[:TAG]")
    return repository, reference.tag
