"""OCI image configs (image-spec, config.md): reading hostile ones, writing our own."""

from __future__ import annotations

import hashlib
import json

from tiffin.errors import InvalidImageError
from tiffin.images.platform import Platform
from tiffin.images.reference import is_digest
from tiffin.images.timestamps import format_rfc3339, parse_rfc3339
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCUMENT_LIMIT = 8 << 20
"""Bytes that a manifest, index or config may have; real ones have a few thousand."""

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ParsedConfig(Record):
    """The facts of an image config that the store files; `raw` is the config byte for byte."""

    image_id: str
    raw: bytes
    created_ns: int
    platform: Platform
    diff_ids: tuple[str, ...]


def parse_document(raw: bytes, what: str) -> Any:
    """The JSON in `raw`. Raises `InvalidImageError` naming `what`, also for too much, too deep or not UTF-8."""
    if len(raw) > DOCUMENT_LIMIT:
        raise InvalidImageError(f"{what} is larger than {DOCUMENT_LIMIT >> 20} MiB")
    try:
        document = json.loads(raw.decode())
        if b"\\u" in raw:  # half of a surrogate pair is no character, and could be neither stored nor passed on
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidImageError(f"{what} is not valid JSON: {reason}") from error


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """As `parse_document`, and it must be an object."""
    document = parse_document(raw, what)
    if not isinstance(document, dict):
        raise InvalidImageError(f"{what} is not a JSON object")
    return document


def parse_config(raw: bytes, what: str = "the image config") -> ParsedConfig:
    """Check all fields that Tiffin relies on. Raises `InvalidImageError`."""
    document = parse_object(raw, what)
    os = document.get("os") or "linux"
    architecture, variant = document.get("architecture"), document.get("variant") or ""
    if not isinstance(os, str) or not isinstance(variant, str):
        raise InvalidImageError(f"{what} has an os or variant that is not text")
    if not isinstance(architecture, str) or not architecture:
        raise InvalidImageError(f"{what} names no architecture")
    platform = Platform(os=os, architecture=architecture, variant=variant)
    if os != "linux":
        raise InvalidImageError(f"the image is for {platform}; only linux images can be used here")
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise InvalidImageError(f"{what} has no rootfs of type 'layers'")
    diff_ids = rootfs.get("diff_ids") or []
    if not isinstance(diff_ids, list):
        raise InvalidImageError(f"{what} has diff_ids that are not a list")
    for diff_id in diff_ids:
        if not isinstance(diff_id, str) or not diff_id.startswith("sha256:") or not is_digest(diff_id):
            raise InvalidImageError(f"{what} has an invalid diff_id {diff_id!r}")
    _check_execution(document.get("config"), what)
    _check_history(document.get("history"), what)
    return ParsedConfig(
        image_id="sha256:" + hashlib.sha256(raw).hexdigest(),
        raw=raw,
        created_ns=_created(document.get("created"), what),
        platform=platform,
        diff_ids=tuple(diff_ids),
    )


def write_config(
    *,
    created_ns: int,
    platform: Platform,
    config: dict[str, Any],
    diff_ids: list[str],
    created_by: str = "",
    comment: str = "",
) -> bytes:
    """A new image config with one history entry; the same input gives the same bytes."""
    created = format_rfc3339(created_ns)
    entry: dict[str, Any] = {"created": created}
    if created_by:
        entry["created_by"] = created_by
    if comment:
        entry["comment"] = comment
    if not diff_ids:
        entry["empty_layer"] = True
    document: dict[str, Any] = {"created": created, "architecture": platform.architecture}
    if platform.variant:
        document["variant"] = platform.variant
    document |= {
        "os": platform.os,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [entry],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _created(value: Any, what: str) -> int:
    if value is None or value == "":
        return 0
    try:
        return parse_rfc3339(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidImageError(f"{what} has an invalid creation time {value!r}") from error


def _check_execution(config: Any, what: str) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise InvalidImageError(f"{what} has a 'config' that is not an object")
    for field in ("User", "WorkingDir", "StopSignal"):
        if not isinstance(config.get(field) or "", str):
            raise InvalidImageError(f"{what} has a {field} that is not text")
    for field in ("Env", "Entrypoint", "Cmd"):
        value = config.get(field) or []
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            raise InvalidImageError(f"{what} has a {field} that is not a list of texts")
    _check_health(config.get("Healthcheck"), what)
    for field in ("ExposedPorts", "Volumes", "Labels"):
        value = config.get(field) or {}
        if not isinstance(value, dict):
            raise InvalidImageError(f"{what} has {field} that are not an object")
        if field == "Labels" and not all(isinstance(item, str) for item in value.values()):
            raise InvalidImageError(f"{what} has a label whose value is not text")


def _check_health(check: Any, what: str) -> None:
    if check is None:
        return
    test = check.get("Test") or [] if isinstance(check, dict) else None
    if not isinstance(test, list) or not all(isinstance(word, str) and "\0" not in word for word in test):
        raise InvalidImageError(f"{what} has a Healthcheck whose Test is not a list of texts")
    for field in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        number = check.get(field) or 0
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 63:
            raise InvalidImageError(f"{what} has a Healthcheck whose {field} is not a whole number of at least 0")


def _check_history(history: Any, what: str) -> None:
    if history is not None and not (isinstance(history, list) and all(isinstance(entry, dict) for entry in history)):
        raise InvalidImageError(f"{what} has a history that is not a list of objects")
