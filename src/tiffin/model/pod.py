"""Pods: containers that share namespaces."""

from __future__ import annotations

from tiffin.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.container import ContainerInfo

SHARABLE = ("ipc", "net", "pid", "uts")
DEFAULT_SHARE = ("ipc", "net", "uts")


class Pod(Record):
    """What was decided when the pod was made; never changed.

    `id` is 64 hex digits, `share` some of `SHARABLE`, `network` that of the members if they share it.
    """

    id: str
    name: str
    hostname: str
    share: tuple[str, ...]
    network: str
    created_ns: int
    labels: tuple[tuple[str, str], ...] = ()


class PodInfo(Record):
    """A pod with its containers, the oldest first, as they stand at the moment of reading."""

    pod: Pod
    containers: tuple[ContainerInfo, ...]

    @property
    def status(self) -> str:
        """One word, as Podman says it: Created, Running, Degraded, Paused, Exited or Stopped."""
        words = ["paused" if info.state.paused else info.state.status for info in self.containers]
        if "running" in words:
            return "Running" if set(words) == {"running"} else "Degraded"
        for word, all_of_them in (("paused", "Paused"), ("exited", "Exited")):
            if words and set(words) == {word}:
                return all_of_them
        return "Stopped" if "exited" in words else "Created"


def pod_from_dict(values: dict[str, Any]) -> Pod:
    """The inverse of `Pod.to_dict`, for what `json.loads` gives back."""
    labels = tuple((key, value) for key, value in values.get("labels", ()))
    return Pod(**{**values, "share": tuple(values["share"]), "labels": labels})
