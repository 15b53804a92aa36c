"""`tiffin image inspect`: Docker's field names and types (Docker Engine API, ImageInspect)."""

from __future__ import annotations

from tiffin.images.host import is_host_id
from tiffin.images.timestamps import format_rfc3339
from tiffin.plain_json import loads
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image

_NEVER = "0001-01-01T00:00:00Z"


def inspect(store: ImageStore, image: Image) -> dict[str, Any]:
    """One image as Docker shows it; what an image does not have is empty, as there."""
    document: dict[str, Any] = loads(image.raw_config.decode("utf-8", "surrogatepass"))
    execution: dict[str, Any] = document.get("config") or {}
    history: list[dict[str, Any]] = document.get("history") or []
    tagged_ns = records.last_tagged_ns(store.database, image.id)
    return {
        "Id": image.id,
        "RepoTags": list(image.names),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": document.get("comment") or (history[-1].get("comment") if history else None) or "",
        "Created": document.get("created") or _NEVER,
        "DockerVersion": document.get("docker_version") or "",
        "Author": document.get("author") or "",
        "Container": "",
        "ContainerConfig": _execution({}),
        "Config": _execution(execution),
        "Architecture": image.architecture,
        **({"Variant": image.variant} if image.variant else {}),
        "Os": image.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "GraphDriver": _driver(store, image),
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": format_rfc3339(tagged_ns) if tagged_ns else _NEVER},
    }


def _execution(config: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Hostname": config.get("Hostname") or "",
        "Domainname": config.get("Domainname") or "",
        "User": config.get("User") or "",
        "AttachStdin": bool(config.get("AttachStdin")),
        "AttachStdout": bool(config.get("AttachStdout")),
        "AttachStderr": bool(config.get("AttachStderr")),
        "Tty": bool(config.get("Tty")),
        "OpenStdin": bool(config.get("OpenStdin")),
        "StdinOnce": bool(config.get("StdinOnce")),
        "Env": config.get("Env"),
        "Cmd": config.get("Cmd"),
        "Image": config.get("Image") or "",
        "Volumes": config.get("Volumes"),
        "WorkingDir": config.get("WorkingDir") or "",
        "Entrypoint": config.get("Entrypoint"),
        "OnBuild": config.get("OnBuild"),
        "Labels": config.get("Labels"),
    }
    for field in ("ExposedPorts", "StopSignal", "Healthcheck", "Shell", "ArgsEscaped", "StopTimeout"):
        if config.get(field):
            shown[field] = config[field]
    return shown


def _driver(store: ImageStore, image: Image) -> dict[str, Any]:
    if is_host_id(image.id):
        return {"Name": "host", "Data": {"Directory": "/"}}
    directory = f"{store.paths.images}/{image.id.removeprefix('sha256:')}"
    return {"Name": store.driver.name, "Data": {"Directory": directory}}
