"""Tiffin, a container engine without a daemon.

    with tiffin.Engine() as engine:
        print(engine.run("host", ["cat", "/etc/os-release"]).stdout)

Everything public is here, and is loaded when it is first used.
"""

from __future__ import annotations

from tiffin._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.containers.changed import FileChange
    from tiffin.containers.execute import ExecSession
    from tiffin.containers.logs import LogLine
    from tiffin.containers.result import Result
    from tiffin.engine import Engine
    from tiffin.errors import (
        AmbiguousError,
        CommandNotExecutable,
        CommandNotFound,
        ConflictError,
        HostError,
        InvalidImageError,
        LaunchError,
        NotFoundError,
        NotSupportedError,
        OptionError,
        RegistryDenied,
        RegistryError,
        StoreError,
        TiffinError,
        UsageError,
    )
    from tiffin.model.container import (
        Container,
        ContainerConfig,
        ContainerInfo,
        ContainerState,
        Device,
        HealthCheck,
        LogConfig,
        Mount,
        RestartPolicy,
        Ulimit,
    )
    from tiffin.model.event import Event
    from tiffin.model.image import HistoryEntry, Image, ImageConfig
    from tiffin.model.pod import Pod, PodInfo
    from tiffin.model.resources import LimitWrite, Resources
    from tiffin.model.stats import Stats
    from tiffin.model.volume import Volume, VolumeInfo
    from tiffin.runtime.attach import Attachment
    from tiffin.state.health import Health, HealthResult

__all__ = [
    "__version__",
    "run",
    # The engine and what it returns.
    "Engine",
    "Attachment",
    "Container",
    "ContainerInfo",
    "ContainerState",
    "Event",
    "ExecSession",
    "FileChange",
    "Health",
    "HealthResult",
    "HistoryEntry",
    "Image",
    "ImageConfig",
    "LogLine",
    "Pod",
    "LimitWrite",
    "PodInfo",
    "Result",
    "Stats",
    "Volume",
    "VolumeInfo",
    # What is asked of a container.
    "ContainerConfig",
    "Device",
    "HealthCheck",
    "LogConfig",
    "Mount",
    "Resources",
    "RestartPolicy",
    "Ulimit",
    # What goes wrong.
    "TiffinError",
    "UsageError",
    "NotSupportedError",
    "OptionError",
    "NotFoundError",
    "AmbiguousError",
    "ConflictError",
    "InvalidImageError",
    "RegistryError",
    "RegistryDenied",
    "StoreError",
    "HostError",
    "LaunchError",
    "CommandNotExecutable",
    "CommandNotFound",
]

_HOMES = {
    "tiffin.engine": ("Engine",),
    "tiffin.containers.changed": ("FileChange",),
    "tiffin.containers.execute": ("ExecSession",),
    "tiffin.containers.logs": ("LogLine",),
    "tiffin.containers.result": ("Result",),
    "tiffin.model.container": (
        "Container",
        "ContainerConfig",
        "ContainerInfo",
        "ContainerState",
        "Device",
        "HealthCheck",
        "LogConfig",
        "Mount",
        "RestartPolicy",
        "Ulimit",
    ),
    "tiffin.model.event": ("Event",),
    "tiffin.model.stats": ("Stats",),
    "tiffin.model.image": ("HistoryEntry", "Image", "ImageConfig"),
    "tiffin.model.pod": ("Pod", "PodInfo"),
    "tiffin.model.resources": ("LimitWrite", "Resources"),
    "tiffin.model.volume": ("Volume", "VolumeInfo"),
    "tiffin.runtime.attach": ("Attachment",),
    "tiffin.state.health": ("Health", "HealthResult"),
    "tiffin.errors": (
        "TiffinError",
        "UsageError",
        "NotSupportedError",
        "OptionError",
        "NotFoundError",
        "AmbiguousError",
        "ConflictError",
        "InvalidImageError",
        "RegistryError",
        "RegistryDenied",
        "StoreError",
        "HostError",
        "LaunchError",
        "CommandNotExecutable",
        "CommandNotFound",
    ),
}


def run(image: str, command: Sequence[str] = (), *, root: str | None = None, **options: Any) -> Result:
    """Run `command` in a new container of `image`, wait, remove it, and return its exit code and output.

    `root` is the engine's directory; the other options are those of `Engine.run`. Raises `TiffinError` and its kind
    when the container cannot run; a command that fails is a `Result` like any other.
    """
    from tiffin.engine import Engine

    with Engine(root) as engine:
        return engine.run(image, command, **options)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562): `import tiffin` itself costs next to nothing."""
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(__import__(module, fromlist=(name,)), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
