"""The engine's use cases with registries; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiffin.images.lineage.outdated import BaseStatus
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
