"""The engine's use cases with registries; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.images.lineage.outdated import BaseStatus
    from tiffin.images.transfer.copy import Copied
    from tiffin.images.transfer.lists import ManifestList
    from tiffin.images.transfer.lists_push import Shown
    from tiffin.images.transfer.push import Pushed
    from tiffin.images.transfer.steps import Step
    from tiffin.model.image import Image
    from tiffin.parts import Parts
    from tiffin.registry.login import Login
    from tiffin.registry.search import SearchResult


class Registries:
    """Getting images from registries and giving them there."""

    _parts: Parts

    def login(self, server: str, username: str = "", password: str = "") -> Login:
        """Try credentials with a registry and keep them where Docker does; without a user name, those kept already.

        An empty `server` is the first of the search registries. RegistryDenied when they are refused or none are kept.
        """
        from tiffin.registry.login import log_in

        return log_in(server, username, password, warn=self._parts.warn)

    def login_name(self, server: str) -> str | None:
        """The user name of the credentials that are kept for a registry, None without any."""
        from tiffin.registry.login import kept_username

        return kept_username(server, warn=self._parts.warn)

    def logout(self, server: str) -> tuple[str, list[str]]:
        """Forget the credentials for a registry: its name, and the files in which they were."""
        from tiffin.registry.login import log_out

        return log_out(server, warn=self._parts.warn)

    def search(self, term: str, *, limit: int = 25) -> list[SearchResult]:
        """Repositories that have to do with "HOST/TERM", or with "TERM" in each of the search registries.

        UsageError without a registry to ask, RegistryError when one cannot be searched.
        """
        from tiffin.registry.client import Registries as Client
        from tiffin.registry.search import find

        with Client(warn=self._parts.warn) as client:
            return find(client, term, limit)

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_tags: bool = False,
        keep_blobs: bool | None = None,
        progress: Callable[[Step], None] | None = None,
    ) -> list[Image]:
        """Get an image from a registry, for `platform` ("os/arch[/variant]", default the host's), or all of its tags.

        A name without a host is looked for at the search registries of registries.toml. `keep_blobs` keeps the packed
        layers too (default: as registries.toml says); `progress` is called from any thread. NotFoundError,
        RegistryError, InvalidImageError when anything does not match its digest or size, UsageError.
        """
        from tiffin.images.transfer.pull import pull
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return pull(
                self._parts.images,
                client,
                name,
                platform=platform,
                all_tags=all_tags,
                keep_blobs=client.settings.keep_blobs if keep_blobs is None else keep_blobs,
                progress=progress,
            )

    def can_pull(self, name: str) -> bool:
        """Whether there is a registry to ask for that image: its name has a host, or registries.toml names some."""
        from tiffin.errors import UsageError
        from tiffin.images.reference import parse_reference
        from tiffin.registry.settings import load_settings

        try:
            return bool(load_settings().candidates(parse_reference(name).name))
        except UsageError:
            return False

    def push(
        self,
        name: str,
        *,
        all_tags: bool = False,
        compression: str | None = None,
        force_compression: bool = False,
        progress: Callable[[Step], None] | None = None,
    ) -> list[Pushed]:
        """Give an image to the registry that its name begins with, or all tags of the repository.

        What the registry has is not sent. An image that came from a registry keeps its manifest's digest if its layers
        can be had packed as they were; else `warn` is told. Others are packed as `compression` ("gzip" or "zstd").
        NotFoundError, RegistryError, UsageError.
        """
        from tiffin.images.transfer.push import push
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return push(
                self._parts.images,
                client,
                name,
                all_tags=all_tags,
                compression=compression,
                force_compression=force_compression,
                progress=progress,
                warn=self._parts.warn,
            )

    def outdated(self, references: Sequence[str] = (), *, registry: bool | None = None) -> list[BaseStatus]:
        """How all images, or those named, stand to the bases that they rest on.

        Registries are asked about bases whose name has a host; with `registry` True about all, with False about none.
        One that cannot tell makes the status "unknown". NotFoundError, AmbiguousError for the references.
        """
        from tiffin.images.lineage.outdated import outdated

        return outdated(self._parts.images, references, registry=registry)

    def copy_image(
        self,
        source: str,
        destination: str,
        *,
        all: bool = False,
        platform: str | None = None,
        format: str | None = None,
        preserve_digests: bool = False,
        progress: Callable[[Step], None] | None = None,
    ) -> Copied:
        """Copy an image between registries, layouts and archives, past the store and without unpacking it.

        Both ends are written as "docker://HOST/NAME[:TAG|@DIGEST]", "oci:DIRECTORY[:TAG]", "oci-archive:FILE[:TAG]",
        "docker-archive:FILE[:NAME:TAG]" or "dir:DIRECTORY". Of an image for several platforms the one for `platform`
        (default the host's) is copied, or with `all` everything. Manifests stay byte for byte unless `format` ("oci",
        "v2s2") converts them. UsageError, NotFoundError, ConflictError, InvalidImageError, RegistryError.
        """
        from tiffin.images.transfer.copy import copy
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return copy(
                client,
                source,
                destination,
                all=all,
                platform=platform,
                format=format,
                preserve_digests=preserve_digests,
                progress=progress,
            )

    def inspect_manifest(self, name: str, member: str | None = None, *, verbose: bool = False) -> Shown:
        """What a list that is being made, or a registry, has under `name`; with `member` what the list has of it.

        `verbose` looks up platforms, and what an index lists. NotFoundError, RegistryError.
        """
        from tiffin.images.transfer.lists_push import inspect
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return inspect(self._parts.paths, client, name, member, verbose=verbose)

    def create_manifest_list(self, name: str, members: Sequence[str], *, amend: bool = False) -> ManifestList:
        """Begin a list of manifests for several platforms, or with `amend` add to one. Members are names at
        registries, or images that are here. ConflictError, NotFoundError, UsageError."""
        from tiffin.images.transfer.lists import create
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return create(self._parts.images, client, name, members, amend=amend)

    def annotate_manifest(
        self,
        name: str,
        member: str,
        *,
        os: str | None = None,
        architecture: str | None = None,
        variant: str | None = None,
        os_version: str | None = None,
        os_features: Sequence[str] = (),
    ) -> ManifestList:
        """Say for which platform a member of a list is. NotFoundError."""
        from tiffin.images.transfer.lists import annotate

        return annotate(
            self._parts.paths,
            name,
            member,
            os=os,
            architecture=architecture,
            variant=variant,
            os_version=os_version,
            os_features=os_features,
        )

    def push_manifest_list(
        self,
        name: str,
        *,
        all: bool = False,
        purge: bool = False,
        pushed: Callable[[str], None] | None = None,
        progress: Callable[[Step], None] | None = None,
    ) -> str:
        """Give a list to the registry that its name begins with, and return its digest.

        Members that other registries have are copied with `all`, and refused without; `pushed` is called with each
        that was brought into the list's repository, as "host/name@digest". `purge` forgets the list. NotFoundError,
        UsageError, RegistryError.
        """
        from tiffin.images.transfer.lists_push import push
        from tiffin.registry.client import Registries as Client

        with Client(warn=self._parts.warn) as client:
            return push(self._parts.images, client, name, all=all, purge=purge, pushed=pushed, progress=progress)

    def remove_manifest_list(self, name: str) -> None:
        """Forget a list that is being made. NotFoundError."""
        from tiffin.images.transfer.lists import remove

        remove(self._parts.paths, name)
