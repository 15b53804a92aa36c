"""Uploading a blob: at once or in chunks, continued where a cut left it; and taking one over without uploading."""

from __future__ import annotations

from tiffin.errors import NotFoundError, RegistryError, TiffinError
from tiffin.registry import failures
from tiffin.registry.client import push_scopes
from tiffin.registry.waiting import PASSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tiffin.registry.client import Readable
    from tiffin.registry.host import Host, Reply
    from tiffin.registry.names import Repository

_BLOCK = 256 * 1024
_LARGEST_CHUNK = 256 * 1024 * 1024
OUT_OF_ORDER = 416
_OCTETS = {"Content-Type": "application/octet-stream"}


def mount(host: Host, repository: Repository, digest: str, source: Repository) -> bool:
    """Ask for a cross-repository mount; an upload that begins instead is called off."""
    from urllib.parse import quote

    scopes = (*push_scopes(repository), f"repository:{source.path}:pull")
    path = f"/v2/{repository.path}/blobs/uploads/?mount={digest}&from={quote(source.path, safe='')}"
    reply = host.fetch(
        "POST", path, scopes=scopes, expected=(201, 202), body=lambda: b"", doing=f"mount {digest} in {repository}"
    )
    if reply.status == 201:
        return True
    try:
        location = _location(host, reply)
        host.fetch("DELETE", location, scopes=scopes, expected=(200, 202, 204), attempts=1)
    except TiffinError:
        pass  # it is dropped by itself after a while
    return False


class _Anew(Exception):
    """The upload is lost: begin again. `cause` is why."""

    def __init__(self, cause: TiffinError) -> None:
        self.cause = cause


class Upload:
    """One blob on its way."""

    def __init__(
        self,
        host: Host,
        repository: Repository,
        make: Callable[[], AbstractContextManager[Readable]],
        digest: str | None,
        size: int | None,
        chunk_bytes: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        import hashlib

        self._host = host
        self._repository = repository
        self._make = make
        self._digest = digest
        self._size = size
        self._chunk_bytes = max(1, chunk_bytes)
        self._progress = progress or (lambda done: None)
        self._scopes = push_scopes(repository)
        self._begun = host.attempts()
        self._tries = host.attempts()
        self._sha256 = hashlib.sha256()

    def run(self) -> str:
        """Upload it, and begin anew as often as attempts allow."""
        import hashlib

        while True:
            self._sha256 = hashlib.sha256()
            self._tries = self._host.attempts()
            try:
                if self._digest and self._size is not None and self._size <= self._chunk_bytes:
                    return self._whole(self._digest, self._size)
                return self._chunked()
            except _Anew as lost:
                self._begun.failed(lost.cause)
                self._progress(0)

    def _start(self) -> tuple[str, Reply]:
        reply = self._host.fetch(
            "POST",
            f"/v2/{self._repository.path}/blobs/uploads/",
            scopes=self._scopes,
            expected=(202,),
            body=lambda: b"",
            doing=f"upload to {self._repository}",
        )
        return _location(self._host, reply), reply

    def _whole(self, digest: str, size: int) -> str:
        """POST, and PUT with the whole content, which is read as it is sent."""
        location, _ = self._start()
        with _Source(self._make) as source:
            self._finish(location, digest, lambda: source.blocks(size), {"Content-Length": str(size)}, source)
            self._progress(size)
        return digest

    def _chunked(self) -> str:
        location, reply = self._start()
        least = reply.headers.get("OCI-Chunk-Min-Length", "")
        chunk_bytes = self._chunk_bytes
        if least.isascii() and least.isdigit():
            chunk_bytes = max(chunk_bytes, int(least[:12]))
            if chunk_bytes > _LARGEST_CHUNK:
                raise RegistryError(
                    f"{self._host.name} asks for chunks of {chunk_bytes} bytes at least, which is too much"
                )
        offset = 0
        with _Source(self._make) as source:
            while True:
                chunk = source.chunk(chunk_bytes)
                if self._digest is None:
                    self._sha256.update(chunk)
                last = len(chunk) < chunk_bytes
                if last and offset == 0:
                    digest = self._end_digest()
                    self._finish(location, digest, lambda chunk=chunk: chunk, {}, None)  # type: ignore[misc]
                    self._progress(len(chunk))
                    return digest
                if chunk:
                    location = self._patch(location, memoryview(chunk), offset)
                    offset += len(chunk)
                    self._progress(offset)
                if last:
                    digest = self._end_digest()
                    self._finish(location, digest, lambda: b"", {}, None)
                    return digest

    def _end_digest(self) -> str:
        return self._digest or f"sha256:{self._sha256.hexdigest()}"

    def _patch(self, location: str, chunk: memoryview, offset: int) -> str:
        """Send one chunk; after a cut, what is missing of it."""
        end = offset + len(chunk)
        sent = offset
        while True:
            refusal: failures.Refused | None = None
            rest = chunk[sent - offset :]
            headers = {**_OCTETS, "Content-Range": f"{sent}-{end - 1}"}
            try:
                reply = self._host.fetch(
                    "PATCH",
                    location,
                    scopes=self._scopes,
                    headers=headers,
                    body=lambda rest=rest: rest,  # type: ignore[misc]
                    expected=(202, OUT_OF_ORDER, *PASSING),
                    attempts=1,
                    doing=f"upload to {self._repository}",
                )
            except failures.Unreachable as error:
                self._tries.failed(error)
            except TiffinError as error:
                raise self._lost(error) from None
            else:
                if reply.status == 202:
                    self._tries.progressed()
                    return _location(self._host, reply)
                said = failures.explanation(reply.status, reply.headers, reply.body)
                refusal = failures.Refused(f"{self._host.name}: upload to {self._repository}: {said}", reply.status)
                self._tries.failed(refusal)
            before = sent
            location, sent = self._where(location, offset, end)
            if refusal is not None and refusal.status == OUT_OF_ORDER and sent == before:
                raise _Anew(refusal)  # it contradicts itself
            if sent == end:
                return location

    def _where(self, location: str, offset: int, end: int) -> tuple[str, int]:
        """Ask how far an upload has come; it must be inside of the current chunk.

        Some registries (distribution among them) cannot tell once a part of a chunk has arrived: then begin anew.
        """
        try:
            reply = self._host.fetch(
                "GET",
                location,
                scopes=self._scopes,
                expected=(200, 202, 204),
                doing=f"upload to {self._repository}",
            )
        except (failures.Refused, NotFoundError) as error:
            raise _Anew(error) from None
        have = _ranged(reply)
        if not offset <= have <= end:
            raise _Anew(RegistryError(f"{self._host.name} has {have} bytes of an upload, not {offset} to {end}"))
        return _location(self._host, reply, location), have

    def _finish(
        self,
        location: str,
        digest: str,
        body: Callable[[], bytes | Iterator[bytes]],
        headers: dict[str, str],
        source: _Source | None,
    ) -> None:
        glue = "&" if "?" in location else "?"
        try:
            self._host.fetch(
                "PUT",
                f"{location}{glue}digest={digest}",
                scopes=self._scopes,
                headers={**_OCTETS, **headers},
                body=body,
                expected=(201, 204),
                attempts=1,
                doing=f"upload of {digest} to {self._repository}",
            )
        except TiffinError as error:
            if source is not None:
                source.raise_failure()
            raise self._lost(error) from None

    def _lost(self, error: TiffinError) -> Exception:
        """What to raise for an upload that broke: begin anew when that may help."""
        if isinstance(error, failures.Unreachable):
            return _Anew(error) if error.again else error
        if isinstance(error, failures.Refused):
            return _Anew(error) if error.status in PASSING else error
        # The session is gone: it was cleaned up, or another server of theirs answered.
        return _Anew(error) if isinstance(error, NotFoundError) else error


class _Source:
    """The content, opened; its own failures are kept apart from those of the connection."""

    def __init__(self, make: Callable[[], AbstractContextManager[Readable]]) -> None:
        self._context = make()
        self._failure: BaseException | None = None

    def __enter__(self) -> _Source:
        self._file = self._context.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._context.__exit__(*problem)  # type: ignore[arg-type]

    def chunk(self, size: int) -> bytearray:
        """`size` bytes, fewer only at the end."""
        data = bytearray()
        while len(data) < size and (block := self._file.read(min(_BLOCK, size - len(data)))):
            data += block
        return data

    def blocks(self, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes."""
        left = size
        try:
            while left and (block := self._file.read(min(_BLOCK, left))):
                left -= len(block)
                yield block
            if left or self._file.read(1):
                raise RegistryError(f"the content to upload has not the {size} bytes that it should have")
        except BaseException as error:
            self._failure = error
            raise

    def raise_failure(self) -> None:
        if self._failure is not None and not isinstance(self._failure, GeneratorExit):
            raise self._failure


def _location(host: Host, reply: Reply, default: str = "") -> str:
    """The absolute address that an answer names for the next request."""
    location = reply.headers.get("Location", "")
    if not location:
        if default:
            return default
        raise RegistryError(f"{host.name} does not say where to upload to")
    return host.redirected(reply.url, location)


def _ranged(reply: Reply) -> int:
    """How many bytes the registry has, by "Range: 0-N", where N is the last one."""
    start, dash, last = reply.headers.get("Range", "").removeprefix("bytes=").partition("-")
    if not dash or start.strip() != "0" or not last.strip().isdigit():
        return 0
    # distribution says "0-0" for nothing at all, where the specification has no way to say it.
    return int(last) + 1 if last.strip() != "0" else 0
