"""The door to registries: what can be asked of them and given to them (OCI distribution-spec 1.1)."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, NotFoundError, RegistryError, TiffinError
from tiffin.model.record import Record
from tiffin.registry import failures
from tiffin.registry.names import Repository, check_digest, check_host, check_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, Protocol, Self, TypeVar

    from tiffin.registry.blobs import BlobStream
    from tiffin.registry.credentials import Credential, Credentials
    from tiffin.registry.host import Host, Reply
    from tiffin.registry.search import SearchResult
    from tiffin.registry.settings import Place, Settings
    from tiffin.registry.transport import Patience

    T = TypeVar("T")

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...


ALL_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MOST_PAGES = 10_000


class Resolved(Record):
    """What a tag or digest stands for; `size_bytes` is None when the registry does not say."""

    digest: str
    media_type: str
    size_bytes: int | None = None


class ManifestReply(Record):
    """A manifest or index byte for byte; `digest` is verified to be that of `body`."""

    digest: str
    media_type: str
    body: bytes


class Registries:
    """All registries of this user: settings, credentials and connections; for many threads, a context manager.

    `warn` gets sentences for the user, `sleep` does the waiting between attempts.
    Errors: RegistryDenied (401, 403), NotFoundError, RegistryError for everything else that a registry does wrong,
    UsageError for settings that make no sense, InvalidImageError for contents with another digest.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        *,
        warn: Callable[[str], None] | None = None,
        user_agent: str = "",
        patience: Patience | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        from threading import Lock

        from tiffin._version import __version__
        from tiffin.registry.credentials import Credentials
        from tiffin.registry.settings import load_settings
        from tiffin.registry.transport import Patience, Transport, sleep_s

        self.settings = load_settings() if settings is None else settings
        self._warn = warn or (lambda sentence: None)
        self.credentials = credentials or Credentials(helpers=self.settings.credential_helpers, warn=self._warn)
        self._transport = Transport(user_agent=user_agent or f"tiffin/{__version__}", patience=patience or Patience())
        self._sleep = sleep or sleep_s
        self._lock = Lock()
        self._hosts: dict[tuple[Place, str], Host] = {}
        self._scopes: dict[Repository, str] = {}
        self._chosen: dict[Repository, Place] = {}
        self._dead: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def check(self, host: str) -> None:
        """Ask a registry whether it lets us in: GET /v2/."""
        self._host(self.settings.place_of_host(host)).check()

    def log_in(self, host: str) -> str:
        """As `check`; an identity token to use in place of the password where there is one, else ""."""
        asked = self._host(self.settings.place_of_host(host))
        asked.log_in()
        return asked.authorizer.identity_token

    def resolve(self, repository: Repository, reference: str) -> Resolved:
        """What a tag or digest stands for, without getting it. NotFoundError when it is not there."""
        check_reference(reference)
        return self._read(repository, reference, lambda host, place: self._resolve(host, place, reference))

    def _resolve(self, host: Host, place: Repository, reference: str) -> Resolved:
        try:
            reply = host.fetch(
                "HEAD",
                f"/v2/{place.path}/manifests/{reference}",
                scopes=_pull(place),
                headers={"Accept": ", ".join(ALL_MANIFESTS)},
                expected=(200, 405),
                doing=f"manifest {_spelled(place, reference)}",
            )
        except NotFoundError:
            raise _no_manifest(place, reference, b"") from None
        digest = reply.headers.get("Docker-Content-Digest", "") or (reference if ":" in reference else "")
        if reply.status == 405 or not digest:
            got = self._manifest(host, place, reference, ALL_MANIFESTS)
            return Resolved(digest=got.digest, media_type=got.media_type, size_bytes=len(got.body))
        if ":" in reference and digest != reference:
            raise InvalidImageError(f"{_spelled(place, reference)}: {host.name} says that its digest is {digest[:80]}")
        length = reply.headers.get("Content-Length", "")
        return Resolved(
            digest=digest,
            media_type=_media_type(reply),
            size_bytes=int(length) if length.isascii() and length.isdigit() else None,
        )

    def manifest(
        self, repository: Repository, reference: str, *, accept: tuple[str, ...] = ALL_MANIFESTS
    ) -> ManifestReply:
        """Get a manifest or index of at most 4 MiB, and verify its digest. NotFoundError, InvalidImageError."""
        check_reference(reference)
        return self._read(repository, reference, lambda host, place: self._manifest(host, place, reference, accept))

    def _manifest(self, host: Host, place: Repository, reference: str, accept: tuple[str, ...]) -> ManifestReply:
        import hashlib

        spelled = _spelled(place, reference)
        try:
            reply = host.fetch(
                "GET",
                f"/v2/{place.path}/manifests/{reference}",
                scopes=_pull(place),
                headers={"Accept": ", ".join(accept)},
                doing=f"manifest {spelled}",
            )
        except NotFoundError as error:
            raise _no_manifest(place, reference, error.message) from None
        if failures.is_page(reply.headers, reply.body):
            said = failures.explanation(reply.status, reply.headers, reply.body)
            raise RegistryError(f"{host.name}: manifest {spelled}: {said}")
        announced = reference if ":" in reference else reply.headers.get("Docker-Content-Digest", "")
        algorithm = announced.partition(":")[0] if announced else "sha256"
        if algorithm not in ("sha256", "sha384", "sha512"):
            raise InvalidImageError(f"manifest {spelled}: digests by {algorithm[:20]!r} are unknown here")
        digest = f"{algorithm}:{hashlib.new(algorithm, reply.body).hexdigest()}"
        if announced and digest != announced:
            raise InvalidImageError(
                f"manifest {spelled}: its digest is {digest} and not {announced[:140]}: it was damaged or exchanged"
            )
        return ManifestReply(digest=digest, media_type=_media_type(reply), body=reply.body)

    def open_blob(self, repository: Repository, digest: str, size: int | None = None) -> BlobStream:
        """A blob as a stream that continues after cut connections; whoever reads it verifies the digest.

        With `size` it ends one byte after that at the latest. NotFoundError.
        """
        from tiffin.registry.blobs import BlobStream

        check_digest(digest)

        def action(host: Host, place: Repository) -> BlobStream:
            return BlobStream(host, f"/v2/{place.path}/blobs/{digest}", _pull(place), digest, size)

        return self._read(repository, digest, action)

    def blob_size(self, repository: Repository, digest: str) -> int | None:
        """How long a blob is that `repository` itself (no mirror) has; None when it has none of that digest."""
        check_digest(digest)
        host = self._host_to_write(repository)
        try:
            reply = host.fetch(
                "HEAD",
                f"/v2/{repository.path}/blobs/{digest}",
                scopes=_pull(repository),
                doing=f"blob {digest} of {repository}",
            )
        except NotFoundError:
            return None
        length = reply.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise RegistryError(f"{host.name} does not say how long {digest} is")
        return int(length)

    def mount_blob(self, repository: Repository, digest: str, source: Repository) -> bool:
        """Have the registry take a blob over from another of its repositories; False when it does not."""
        from tiffin.registry.upload import mount

        check_digest(digest)
        if source.host != repository.host:
            return False
        return mount(self._host_to_write(repository), repository, digest, source)

    def upload_blob(
        self,
        repository: Repository,
        make: Callable[[], AbstractContextManager[Readable]],
        *,
        digest: str | None,
        size: int | None,
        chunk_bytes: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Upload a blob: in one request when it is not longer than `chunk_bytes`, else in chunks. Returns its digest.

        `make` opens the content, and again to go back after a cut, so it must give the same bytes each time; its
        exceptions come through. With `digest` None (sha256) it is computed on the way. `progress` gets the number of
        bytes that the registry has, 0 when the upload begins anew. By default chunks are of 256 MiB, which are read as
        they are sent; without `size` they are of 16 MiB, and one at a time is in memory.
        """
        from tiffin.registry.upload import Upload

        if digest is not None:
            check_digest(digest)
        host = self._host_to_write(repository)
        return Upload(host, repository, make, digest, size, chunk_bytes, progress).run()

    def put_manifest(self, repository: Repository, reference: str, media_type: str, body: bytes) -> str:
        """Store a manifest or index under a tag or its digest; returns its digest."""
        from tiffin.registry.referrers import record_subject

        check_reference(reference)
        host = self._host_to_write(repository)
        digest, subject_known = self._put(host, repository, reference, media_type, body)
        if not subject_known:
            record_subject(self, repository, digest, media_type, body)
        return digest

    def _put(
        self, host: Host, repository: Repository, reference: str, media_type: str, body: bytes
    ) -> tuple[str, bool]:
        import hashlib

        algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if ":" in reference and reference != digest:
            raise InvalidImageError(f"the manifest for {_spelled(repository, reference)} has the digest {digest}")
        reply = host.fetch(
            "PUT",
            f"/v2/{repository.path}/manifests/{reference}",
            scopes=push_scopes(repository),
            headers={"Content-Type": media_type},
            body=lambda: body,
            expected=(200, 201, 202),
            doing=f"manifest {_spelled(repository, reference)}",
        )
        said = reply.headers.get("Docker-Content-Digest", "")
        if said.startswith(f"{algorithm}:") and said != digest:
            raise RegistryError(
                f"{host.name} stored {_spelled(repository, reference)} as {said[:140]}, not as {digest}"
            )
        return digest, bool(reply.headers.get("OCI-Subject"))

    def delete_manifest(self, repository: Repository, digest: str) -> None:
        """Have a registry forget a manifest. NotFoundError; RegistryError where it allows no deletion."""
        check_digest(digest)
        host = self._host_to_write(repository)
        host.fetch(
            "DELETE",
            f"/v2/{repository.path}/manifests/{digest}",
            scopes=(f"repository:{repository.path}:pull,push,delete",),
            expected=(200, 202),
            doing=f"delete manifest {repository}@{digest}",
        )

    def tags(self, repository: Repository) -> list[str]:
        """Every tag of a repository, sorted. NotFoundError."""

        def action(host: Host, place: Repository) -> list[str]:
            found: list[str] = []
            for document in pages(host, f"/v2/{place.path}/tags/list", _pull(place), f"tags of {place}"):
                names = document.get("tags")
                found += [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
            return sorted(set(found))

        return self._read(repository, "", action, mirrors_last=True)

    def referrers(self, repository: Repository, digest: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
        """Descriptors of the manifests whose subject is `digest`, of one artifact type if that is given.

        Where the registry has no referrers API, the index under the tag "sha256-<hex>" is read.
        """
        from tiffin.registry.referrers import find

        check_digest(digest)

        def action(host: Host, place: Repository) -> list[dict[str, Any]]:
            return find(self, host, place, digest, artifact_type)

        return self._read(repository, digest, action, mirrors_last=True)

    def search(self, host: str, term: str, limit: int = 25) -> list[SearchResult]:
        """Repositories of a registry that have to do with `term`: by its search, or from its catalogue."""
        from tiffin.registry.search import search

        return search(self._host(self.settings.place_of_host(host)), term, limit)

    def _read(
        self,
        repository: Repository,
        reference: str,
        action: Callable[[Host, Repository], T],
        *,
        mirrors_last: bool = False,
    ) -> T:
        """Do something with the first place that can: mirrors, then the registry itself."""
        places = self.settings.places(repository, reference)
        chosen = self._chosen.get(repository)
        if chosen is not None:  # where the manifest came from, its blobs are
            places = [chosen, *(place for place in places if place != chosen)]
        if mirrors_last:
            places = [places[-1], *places[:-1]]
        living = [place for place in places if place.repository.host not in self._dead]
        places = living or places
        failed: list[str] = []
        for place in places:
            try:
                done = action(self._host(place), place.repository)
            except TiffinError as error:
                if place is places[-1]:
                    if failed:
                        error.message += f"; before that: {'; '.join(failed)}"
                        error.args = (error.message,)
                    raise
                if not isinstance(error, RegistryError | NotFoundError | InvalidImageError):
                    raise
                self._passed_over(place, error)
                failed.append(error.message)
                continue
            if len(places) > 1 and not mirrors_last:
                self._chosen[repository] = place
            return done
        raise AssertionError("settings give at least one place")

    def _passed_over(self, place: Place, error: TiffinError) -> None:
        if isinstance(error, failures.Unreachable):
            self._dead.add(place.repository.host)
        if not isinstance(error, NotFoundError):
            self._warn(f"{'mirror' if place.is_mirror else 'registry'} passed over: {error}")

    def _host_to_write(self, repository: Repository) -> Host:
        return self._host(self.settings.place_to_write(repository))

    def _host(self, place: Place) -> Host:
        from tiffin.registry.host import Host

        check_host(place.repository.host)
        scope = self._scope(place.repository)
        key = (place.replace(repository=Repository(host=place.repository.host, path="")), scope)
        with self._lock:
            host = self._hosts.get(key)
            if host is None:
                host = self._hosts[key] = Host(
                    place,
                    self.settings,
                    self._transport,
                    _Once(self.credentials, scope),
                    self._sleep,
                    patient=not place.is_mirror,
                )
            return host

    def _scope(self, repository: Repository) -> str:
        with self._lock:
            scope = self._scopes.get(repository)
            if scope is None:
                scope = self._scopes[repository] = self.credentials.scope(repository.host, repository.path)
            return scope


class _Once:
    """A host's credential, looked up when it is first needed: helpers are programs that take their time."""

    def __init__(self, credentials: Credentials, scope: str) -> None:
        self._credentials = credentials
        self._scope = scope
        self._found: list[Credential | None] = []

    def __call__(self) -> Credential | None:
        if not self._found:
            self._found.append(self._credentials.get(self._scope))
        return self._found[0]


def pages(host: Host, path: str, scopes: tuple[str, ...], doing: str) -> Iterator[dict[str, Any]]:
    """The documents of a list in pages, which `Link: <…>; rel="next"` joins (RFC 8288)."""
    import json
    from urllib.parse import urljoin, urlsplit

    seen = {path}
    while True:
        reply = host.fetch("GET", path, scopes=scopes, doing=doing)
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            said = failures.explanation(reply.status, reply.headers, reply.body)
            raise RegistryError(f"{host.name}: {doing}: {said}, and no list")
        yield document
        target, _, parameters = reply.headers.get("Link", "").partition(">")
        if 'rel="next"' not in parameters.replace("rel=next", 'rel="next"') or not target.startswith("<"):
            return
        parts = urlsplit(urljoin(reply.url, target[1:]))
        path = f"{parts.path}?{parts.query}"
        if path in seen or len(seen) > _MOST_PAGES:
            raise RegistryError(f"{host.name}: {doing}: the list goes in a circle")
        seen.add(path)


def push_scopes(repository: Repository) -> tuple[str, ...]:
    return (f"repository:{repository.path}:pull,push",)


def _pull(repository: Repository) -> tuple[str, ...]:
    return (f"repository:{repository.path}:pull",)


def _spelled(repository: Repository, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def _no_manifest(repository: Repository, reference: str, said: str | bytes) -> NotFoundError:
    """Docker's words."""
    reason = str(said).partition(f"{_spelled(repository, reference)}: ")[2] if said else ""
    return NotFoundError(
        f"manifest for {_spelled(repository, reference)} not found: {reason or 'manifest unknown: manifest unknown'}"
    )


def _media_type(reply: Reply) -> str:
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
