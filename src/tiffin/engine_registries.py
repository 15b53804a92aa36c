"""The engine's use cases with registries; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
