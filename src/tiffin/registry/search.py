"""Searching a registry: by the search of the first version of the protocol, or in the catalogue."""

from __future__ import annotations

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.registry.host import Host


class SearchResult(Record):
    """One repository that was found; `name` is without the host."""

    host: str
    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def search(host: Host, term: str, limit: int) -> list[SearchResult]:
    """At most `limit` repositories."""
    from tiffin.registry.client import pages

    found: list[SearchResult] = []
    for document in pages(host, "/v2/_catalog?n=1000", ("registry:catalog:*",), "catalogue"):
        names = document.get("repositories")
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and term in name:
                found.append(SearchResult(host=host.name, name=name))
        if len(found) >= limit:
            break
    return found[:limit]
