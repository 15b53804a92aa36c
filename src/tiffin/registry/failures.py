"""What goes wrong between us and a registry, in words: answers that refuse, and answers that never come."""

from __future__ import annotations

from tiffin.errors import NotFoundError, RegistryDenied, RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiffin.errors import TiffinError

_MAX_SHOWN = 300
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is no TLS."""


_REFUSALS = {401: "unauthorized: authentication required", 403: "denied: requested access to the resource is denied"}
"""The distribution project's words, for answers without any (those to HEAD have no body)."""


class Unreachable(RegistryError):
    """No answer, or no whole one.

    `again` says whether a further attempt may help, `other_scheme` whether plain HTTP may.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, again: bool = False, other_scheme: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.again = again
        self.other_scheme = other_scheme or again


class Refused(RegistryError):
    """An answer with a status that was not expected."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def of_connection(host: str, error: Exception, *, proxy: str = "", certificates: str = "") -> Unreachable:
    """The error for an exception of urllib3's; `certificates` is the directory for this host's authorities."""
    import socket
    import ssl

    from urllib3 import exceptions

    via = f" through the proxy {proxy}" if proxy else ""
    cause = _cause(error)
    if isinstance(error, exceptions.ProxyError) and proxy:
        return Unreachable(f"cannot reach {host}{via}: {_words(cause)}", hint="HTTPS_PROXY or HTTP_PROXY names it")
    if isinstance(error, exceptions.NameResolutionError) or isinstance(cause, socket.gaierror):
        return Unreachable(f"cannot find {host}{via}: no such host name, or no name server answers", other_scheme=True)
    if isinstance(error, exceptions.NewConnectionError):
        return Unreachable(f"cannot reach {host}{via}: {_words(cause)}", other_scheme=True)
    if isinstance(error, exceptions.ConnectTimeoutError):
        return Unreachable(f"cannot reach {host}{via}: it does not answer", other_scheme=True)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"the certificate of {host} cannot be trusted: {cause.verify_message}",
            hint=f"put the certificate of its authority into {certificates}/{host}/ca.crt" if certificates else None,
        )
    if isinstance(cause, ssl.SSLError):
        if cause.reason in _PLAIN:
            return Unreachable(
                f"{host} speaks plain HTTP, which is not allowed with it",
                hint=f"insecure = true for {host} in registries.toml allows it",
                other_scheme=True,
            )
        return Unreachable(f"cannot speak TLS with {host}: {_words(cause)}", other_scheme=True)
    if isinstance(error, exceptions.ReadTimeoutError) or isinstance(cause, TimeoutError):
        return Unreachable(f"{host} was silent for too long", again=True)
    return Unreachable(f"{host} cut the connection", again=True)


def of_answer(host: str, doing: str, status: int, headers: Mapping[str, str], body: bytes) -> TiffinError:
    """The error for an answer that is none of those expected, with what the registry says itself."""
    said = explanation(status, headers, body)
    message = f"{host}: {doing}: {said}" if doing else f"{host}: {said}"
    if status in (401, 403):
        denied = RegistryDenied(message)
        denied.http_status = status
        return denied
    if status == 404 and not is_page(headers, body):
        return NotFoundError(message)
    return Refused(message, status)


def explanation(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """An answer in words: the errors of the distribution-spec as Docker writes them, or what else it seems to be."""
    errors = error_document(body)
    if errors:
        return "; ".join(errors)
    if is_page(headers, body):
        return f"answered with a web page (HTTP {status}), so it is no registry, or something stands before it"
    if status in _REFUSALS:
        return _REFUSALS[status]
    from http import HTTPStatus

    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = "unknown status"
    return f"answered HTTP {status} ({words})"


def error_document(body: bytes) -> list[str]:
    """Each error as "code in words: message", from `{"errors": [{"code", "message"}]}`; empty for other documents."""
    import json

    try:
        document = json.loads(body)
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    found = []
    errors = document.get("errors")
    for item in errors if isinstance(errors, list) else []:
        if not isinstance(item, dict):
            continue
        code = _one_line(str(item.get("code", ""))).lower().replace("_", " ")
        message = _one_line(str(item.get("message", "")))
        found.append(": ".join(part for part in (code, message) if part))
    if not found and isinstance(document.get("details"), str):  # what token servers say instead
        found.append(_one_line(document["details"]))
    return [text for text in found if text][:5]


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer is for browsers."""
    start = body.lstrip()[:15].lower()
    return "text/html" in headers.get("Content-Type", "").lower() or start.startswith((b"<!doctype html", b"<html"))


def _one_line(text: str) -> str:
    """What strangers say, without what would play with a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)[:_MAX_SHOWN].strip()


def _cause(error: BaseException) -> BaseException:
    """The innermost exception, which the system or OpenSSL raised."""
    seen = 0
    while seen < 10:
        seen += 1
        inner = error.__cause__ or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        inner = inner or getattr(error, "original_error", None) or error.__context__
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    return error


def _words(error: BaseException) -> str:
    import os

    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return _one_line(str(error)) or type(error).__name__
