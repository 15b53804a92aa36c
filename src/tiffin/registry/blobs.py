"""A blob as a stream that survives cut connections."""

from __future__ import annotations

from tiffin.errors import RegistryError
from tiffin.registry import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from urllib3 import BaseHTTPResponse

    from tiffin.registry.host import Host

_BLOCK = 256 * 1024


class BlobStream:
    """The bytes of a blob, not verified: whoever reads them computes the digest.

    `size_bytes` is what the registry announced, None when it did not. At most one byte more than the expected size
    is given, so that an endless body shows. For one thread; a context manager.
    """

    def __init__(self, host: Host, path: str, scopes: tuple[str, ...], digest: str, expected: int | None) -> None:
        self._host = host
        self._path = path
        self._scopes = scopes
        self._digest = digest
        self._expected = expected
        self._tries = host.attempts()
        self._position = 0
        self._skip = 0
        self._etag = ""
        self.resumed = 0
        """How often it had to be asked for again."""
        self._response: BaseHTTPResponse | None = self._open()
        self.size_bytes = self._announced(self._response)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (all that is left when negative), empty at the end.

        RegistryError when the connection breaks again and again without a byte in between.
        """
        if size < 0:
            blocks = []
            while block := self.read(_BLOCK):
                blocks.append(block)
            return b"".join(blocks)
        if self._expected is not None:
            size = min(size, self._expected + 1 - self._position)
        if size <= 0 or self._response is None:
            return b""
        while True:
            try:
                self._skip_known()
                block = self._read_some(size)
            except failures.Unreachable as error:
                self._resume(error)
                continue
            if block:
                self._position += len(block)
                self._tries.progressed()
            elif self._response is not None:
                self._response.release_conn()
                self._response = None
            return block

    def close(self) -> None:
        """Give the connection back, or up when there is more on it."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_some(self, size: int) -> bytes:
        from urllib3 import exceptions

        assert self._response is not None
        try:
            return self._response.read(size, decode_content=False)
        except exceptions.HTTPError as error:
            raise failures.of_connection(self._host.name, error) from error

    def _skip_known(self) -> None:
        """Pass over what was read before, when the registry cannot begin in the middle."""
        while self._skip:
            block = self._read_some(min(self._skip, _BLOCK))
            if not block:
                raise RegistryError(
                    f"{self._host.name}: {self._digest} ended after {self._position - self._skip} bytes,"
                    f" of which there were {self._position} before"
                )
            self._skip -= len(block)

    def _resume(self, error: failures.Unreachable) -> None:
        told = failures.Unreachable(
            f"{error.message} after {self._position} bytes of {self._digest}", hint=error.hint, again=error.again
        )
        while True:
            self.close()
            self._tries.failed(told)
            self.resumed += 1
            try:
                self._response = self._open()
            except failures.Unreachable as failure:
                if self._tries.exhausted:
                    raise
                # A server that was just there may be on its way back: its refusal counts as one more cut.
                told = failures.Unreachable(failure.message, hint=failure.hint, again=True)
                continue
            return

    def _open(self) -> BaseHTTPResponse:
        headers = {}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self._etag and not self._etag.startswith("W/"):
                headers["If-Range"] = self._etag
        response = self._ask(headers, (200, 206))
        if response.status == 206 and not self._continues(response):
            response.close()
            response = self._ask({}, (200,))
        if "text/html" in response.headers.get("Content-Type", "") and self._announced(response) != self._expected:
            response.close()
            page = failures.explanation(response.status, response.headers, b"")
            raise RegistryError(f"{self._host.name}: blob {self._digest}: {page}")
        self._skip = self._position if response.status == 200 else 0
        if response.status == 200:
            self._etag = response.headers.get("ETag", "")
        return response

    def _ask(self, headers: dict[str, str], expected: tuple[int, ...]) -> BaseHTTPResponse:
        return self._host.open(
            self._path,
            scopes=self._scopes,
            headers=headers,
            expected=expected,
            doing=f"blob {self._digest}",
            tries=self._tries,
        )

    def _continues(self, response: BaseHTTPResponse) -> bool:
        """Whether a 206 is of the same content and begins where we are (RFC 9110, 14.4)."""
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        span, _, total = rest.partition("/")
        etag = response.headers.get("ETag", "")
        if unit != "bytes" or span.partition("-")[0].strip() != str(self._position):
            return False
        if self._etag and etag and etag != self._etag:
            return False
        known = self.size_bytes
        return known is None or total.strip() in ("*", str(known))

    @staticmethod
    def _announced(response: BaseHTTPResponse) -> int | None:
        text = response.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None
