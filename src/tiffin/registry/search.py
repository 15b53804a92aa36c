"""Searching registries: by the search of the protocol's first version, or in the catalogue of the second."""

from __future__ import annotations

from tiffin.errors import RegistryError, UsageError
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.registry.client import Registries
    from tiffin.registry.host import Host

LARGEST = 100
_PAGE = 1000


class SearchResult(Record):
    """One repository that was found; `name` is without the host. Catalogues know no more than names."""

    host: str
    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def find(client: Registries, term: str, limit: int) -> list[SearchResult]:
    """Search the registry that `term` names, or all that are configured for names without a host."""
    from tiffin.registry.names import split_name

    if not 1 <= limit <= LARGEST:
        raise UsageError(f"limit {limit} is outside the range of [1, {LARGEST}]")
    named = split_name(term)
    if named is not None:
        return client.search(named.host, named.path, limit)
    if term.endswith("/") and split_name(f"{term}x") is not None:
        return client.search(term[:-1], "", limit)
    hosts = client.settings.search
    if not hosts:
        raise UsageError(
            f"{term!r} names no registry, and no registry is configured to be searched",
            hint=f'write HOST/{term}, or set unqualified-search-registries = ["HOST"] in registries.toml',
        )
    return [result for host in hosts for result in client.search(host, term, limit)]


def search(host: Host, term: str, limit: int) -> list[SearchResult]:
    """At most `limit` repositories of one registry. RegistryError when it has neither search nor catalogue."""
    found = _by_search(host, term, limit)
    return _by_catalogue(host, term, limit) if found is None else found


def _by_search(host: Host, term: str, limit: int) -> list[SearchResult] | None:
    """None when the registry has no such search."""
    import json
    from urllib.parse import urlencode

    try:
        reply = host.fetch("GET", f"/v1/search?{urlencode({'q': term, 'n': limit})}", expected=(200, 401, 403, 404))
        document = json.loads(reply.body) if reply.status == 200 else None
    except ValueError:
        document = None
    except RegistryError as error:
        from tiffin.registry.failures import Refused

        if not isinstance(error, Refused):
            raise
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("results"), list):
        return None
    return [_result(host.name, item) for item in document["results"][:limit] if isinstance(item, dict)]


def _result(host: str, item: dict[str, Any]) -> SearchResult:
    stars = item.get("star_count")
    return SearchResult(
        host=host,
        name=str(item.get("name") or ""),
        description=" ".join(str(item.get("description") or "").split()),
        stars=stars if isinstance(stars, int) else 0,
        official=bool(item.get("is_official")),
        automated=bool(item.get("is_automated")),
    )


def _by_catalogue(host: Host, term: str, limit: int) -> list[SearchResult]:
    from tiffin.errors import NotFoundError
    from tiffin.registry.client import pages

    found: list[SearchResult] = []
    try:
        for document in pages(host, f"/v2/_catalog?n={_PAGE}", ("registry:catalog:*",), "catalogue"):
            names = document.get("repositories")
            for name in names if isinstance(names, list) else []:
                if isinstance(name, str) and term in name:
                    found.append(SearchResult(host=host.name, name=name))
            if len(found) >= limit:
                break
    except NotFoundError:
        raise RegistryError(f"{host.name} has neither a search nor a catalogue") from None
    return found[:limit]
