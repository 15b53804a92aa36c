"""Images as the rest of the house sees them."""

from __future__ import annotations

from tiffin.model.container import HealthCheck
from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ImageConfig(Record):
    """The execution part of an OCI image config (image-spec, config.md), parsed."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    health: HealthCheck | None = None


class Image(Record):
    """One image. `id` is "sha256:" and the digest of `raw_config`, its OCI image config byte for byte.

    `layers` are diff_ids, base first; `size_bytes` is the sum of the layers' regular file sizes as flattened;
    `names` are its tags ("debian:bookworm"), `digests` its pinned references ("debian@sha256:…").
    """

    id: str
    created_ns: int
    architecture: str
    os: str
    variant: str = ""
    size_bytes: int
    layers: tuple[str, ...]
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    config: ImageConfig
    raw_config: bytes


class HistoryEntry(Record):
    """One line of `tiffin history`; `diff_id` is empty for steps that made no layer."""

    created_ns: int
    created_by: str
    comment: str
    size_bytes: int
    diff_id: str = ""


def image_config(raw: dict[str, Any]) -> ImageConfig:
    """Parse the `config` object of an OCI image config; absent and null mean empty."""
    return ImageConfig(
        user=raw.get("User") or "",
        env=tuple(raw.get("Env") or ()),
        entrypoint=tuple(raw.get("Entrypoint") or ()),
        cmd=tuple(raw.get("Cmd") or ()),
        workdir=raw.get("WorkingDir") or "",
        exposed_ports=tuple(raw.get("ExposedPorts") or ()),
        volumes=tuple(raw.get("Volumes") or ()),
        labels=tuple(sorted((raw.get("Labels") or {}).items())),
        stop_signal=raw.get("StopSignal") or "",
        health=health_check(raw.get("Healthcheck")),
    )


def health_check(raw: dict[str, Any] | None) -> HealthCheck | None:
    """An image config's `Healthcheck` (Docker's addition to image-spec config.md); None without one."""
    if not raw:
        return None
    return HealthCheck(
        test=tuple(raw.get("Test") or ()),
        interval_ns=raw.get("Interval") or 0,
        timeout_ns=raw.get("Timeout") or 0,
        start_period_ns=raw.get("StartPeriod") or 0,
        start_interval_ns=raw.get("StartInterval") or 0,
        retries=raw.get("Retries") or 0,
    )


def health_object(check: HealthCheck) -> dict[str, Any]:
    """The inverse: only what is said."""
    fields = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {name: value for name, value in fields.items() if value}
