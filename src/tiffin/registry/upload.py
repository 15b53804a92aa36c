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
    from tiffin.registry.transport import Body

_BLOCK = 256 * 1024
STREAMED_CHUNK = 256 * 1024 * 1024
"""Bytes of a chunk that is read as it is sent. What is not longer goes in one request: each chunk costs a registry an
fsync and more, so that 16 MiB at a time took three times as long with distribution as all at once."""
KEPT_CHUNK = 16 * 1024 * 1024
"""Bytes of a chunk that is in memory."""
_LARGEST_KEPT = 64 * 1024 * 1024
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
    """One blob on its way.

    Content whose size is known is read as it is sent, however large a chunk is. Chunks of content of unknown size are
    in memory one at a time, since a chunk begins with its length.
    """

    def __init__(
        self,
        host: Host,
        repository: Repository,
        make: Callable[[], AbstractContextManager[Readable]],
        digest: str | None,
        size: int | None,
        chunk_bytes: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._host = host
        self._repository = repository
        self._make = make
        self._digest = digest
        self._size = size
        self._chunk_bytes = chunk_bytes or (KEPT_CHUNK if size is None else STREAMED_CHUNK)
        self._progress = progress or (lambda done: None)
        self._scopes = push_scopes(repository)
        self._begun = host.attempts()
        self._tries = host.attempts()

    def run(self) -> str:
        """Upload it, and begin anew as often as attempts allow."""
        while True:
            self._tries = self._host.attempts()
            with _Source(self._make, hashing=self._digest is None) as source:
                try:
                    if self._size is not None and self._size <= self._chunk_bytes and self._digest is not None:
                        return self._whole(source, self._size)
                    return self._chunked(source)
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

    def _whole(self, source: _Source, size: int) -> str:
        """POST, and PUT with the whole content."""
        location, _ = self._start()
        digest = self._finish(location, source, lambda: source.blocks(0, size, last=True), size)
        self._progress(size)
        return digest

    def _chunked(self, source: _Source) -> str:
        location, reply = self._start()
        chunk_bytes = self._least(reply)
        offset = 0
        while True:
            if self._size is None:
                chunk = source.kept(chunk_bytes)
                end, last = offset + len(chunk), len(chunk) < chunk_bytes
                rest = _slices(memoryview(chunk), offset)
            else:
                end = min(offset + chunk_bytes, self._size)
                last = end == self._size
                rest = _parts(source, end, last)
            if last and offset == 0 and self._size is None:
                digest = self._finish(location, source, lambda: rest(0), end)  # noqa: B023 - it is called right here
                self._progress(end)
                return digest
            if end > offset:
                location = self._patch(location, source, rest, offset, end)
                offset = end
                self._progress(offset)
            if last:
                return self._finish(location, source, lambda: b"", 0)

    def _least(self, reply: Reply) -> int:
        """How long our chunks are, where the registry may ask for longer ones than we would send."""
        least = reply.headers.get("OCI-Chunk-Min-Length", "")
        if not (least.isascii() and least.isdigit()):
            return self._chunk_bytes
        chunk_bytes = max(self._chunk_bytes, int(least[:12]))
        if self._size is None and chunk_bytes > max(_LARGEST_KEPT, self._chunk_bytes):
            raise RegistryError(f"{self._host.name} asks for chunks of {least[:12]} bytes at least, which is too much")
        return chunk_bytes

    def _patch(self, location: str, source: _Source, rest: Callable[[int], Body], offset: int, end: int) -> str:
        """Send one chunk; after a cut, what is missing of it."""
        sent = offset
        while True:
            refusal: failures.Refused | None = None
            headers = {**_OCTETS, "Content-Range": f"{sent}-{end - 1}", "Content-Length": str(end - sent)}
            try:
                reply = self._host.fetch(
                    "PATCH",
                    location,
                    scopes=self._scopes,
                    headers=headers,
                    body=lambda sent=sent: rest(sent),  # type: ignore[misc]
                    expected=(202, OUT_OF_ORDER, *PASSING),
                    attempts=1,
                    doing=f"upload to {self._repository}",
                )
            except TiffinError as error:
                source.raise_failure()
                if not isinstance(error, failures.Unreachable):
                    raise self._lost(error) from None
                self._tries.failed(error)
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

    def _finish(self, location: str, source: _Source, body: Callable[[], Body], size: int) -> str:
        """PUT, with what has not gone yet."""
        digest = self._digest or source.digest()
        glue = "&" if "?" in location else "?"
        try:
            self._host.fetch(
                "PUT",
                f"{location}{glue}digest={digest}",
                scopes=self._scopes,
                headers={**_OCTETS, "Content-Length": str(size)},
                body=body,
                expected=(201, 204),
                attempts=1,
                doing=f"upload of {digest} to {self._repository}",
            )
        except TiffinError as error:
            source.raise_failure()
            raise self._lost(error) from None
        return digest

    def _lost(self, error: TiffinError) -> Exception:
        """What to raise for an upload that broke: begin anew when that may help."""
        if isinstance(error, failures.Unreachable):
            return _Anew(error) if error.again else error
        if isinstance(error, failures.Refused):
            return _Anew(error) if error.status in PASSING else error
        # The session is gone: it was cleaned up, or another server of theirs answered.
        return _Anew(error) if isinstance(error, NotFoundError) else error


class _Source:
    """The content, opened when it is needed, and again to go back; its own failures are kept apart."""

    def __init__(self, make: Callable[[], AbstractContextManager[Readable]], *, hashing: bool) -> None:
        import hashlib

        self._make = make
        self._context: AbstractContextManager[Readable] | None = None
        self._file: Readable | None = None
        self._position = 0
        self._hash = hashlib.sha256() if hashing else None
        self._hashed = 0
        self._failure: BaseException | None = None

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *problem: object) -> None:
        context, self._context, self._file = self._context, None, None
        if context is not None:
            context.__exit__(*problem)  # type: ignore[arg-type]

    def digest(self) -> str:
        """Of all that was read."""
        assert self._hash is not None
        return f"sha256:{self._hash.hexdigest()}"

    def kept(self, size: int) -> bytearray:
        """The next `size` bytes in memory, fewer only at the end."""
        data = bytearray()
        while len(data) < size and (block := self._read(min(_BLOCK, size - len(data)))):
            data += block
        return data

    def blocks(self, start: int, end: int, *, last: bool) -> Iterator[bytes]:
        """Exactly the bytes from `start` to `end`, after which with `last` there must be none."""
        try:
            self._go_to(start)
            while self._position < end:
                block = self._read(min(_BLOCK, end - self._position))
                if not block:
                    raise RegistryError(f"the content to upload ended after {self._position} bytes of {end}")
                yield block
            if last and self._read(1):
                raise RegistryError(f"the content to upload has more than the {end} bytes that it should have")
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failure = error
            raise

    def raise_failure(self) -> None:
        """Raise what went wrong with the content, if it did: the connection then broke for that."""
        if self._failure is not None:
            raise self._failure

    def _go_to(self, position: int) -> None:
        if position < self._position:
            self.__exit__(None, None, None)
            self._position = 0
        while self._position < position and self._read(min(_BLOCK, position - self._position)):
            pass

    def _read(self, size: int) -> bytes:
        if self._file is None:
            self._context = self._make()
            self._file = self._context.__enter__()
        block = self._file.read(size)
        if self._hash is not None and self._position + len(block) > self._hashed:
            self._hash.update(block[max(0, self._hashed - self._position) :])
            self._hashed = self._position + len(block)
        self._position += len(block)
        return block


def _slices(chunk: memoryview, offset: int) -> Callable[[int], Body]:
    return lambda sent: chunk[sent - offset :]


def _parts(source: _Source, end: int, last: bool) -> Callable[[int], Body]:
    return lambda sent: source.blocks(sent, end, last=last)


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
