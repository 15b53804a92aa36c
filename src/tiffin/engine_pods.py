"""The engine's use cases on pods; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from tiffin.containers.logs import LogLine
    from tiffin.containers.processes import ProcessTable
    from tiffin.model.container import Container
    from tiffin.model.pod import Pod, PodInfo
    from tiffin.parts import Parts


class Pods:
    """Making pods, and what is done to all containers of one. A container is put into one by `ContainerConfig.pod`.

    A pod is named by name, ID or unique ID prefix; every method raises NotFoundError and AmbiguousError for it.
    """

    _parts: Parts

    def create_pod(
        self,
        name: str | None = None,
        *,
        hostname: str | None = None,
        share: Iterable[str] = ("ipc", "net", "uts"),
        network: str = "none",
        labels: Mapping[str, str] | None = None,
    ) -> Pod:
        """Make a pod without containers, with a name of its own if none is given.

        `share` are the namespaces that its containers have together: ipc, net, pid, uts; `network` is "none" or
        "host". UsageError, ConflictError for a name that a pod or a container has.
        """
        from tiffin.pods import manage

        return manage.create(self._parts, name, hostname=hostname, share=share, network=network, labels=labels)

    def pods(self) -> list[PodInfo]:
        """All pods with their containers, newest first. What killed commands left is finished first."""
        from tiffin.pods import manage

        return manage.infos(self._parts)

    def pod(self, reference: str) -> PodInfo:
        """A pod with its containers."""
        from tiffin.pods import manage

        return manage.info(self._parts, self._pod(reference))

    def inspect_pod(self, reference: str) -> dict[str, Any]:
        """Everything known of a pod, with Podman's field names."""
        from tiffin.pods import manage

        return manage.inspect(self._parts, self._pod(reference))

    def start_pod(self, pod: str) -> None:
        """Start the containers that do not run, the oldest first. ConflictError without any; errors as `start`."""
        from tiffin.pods import members

        members.start_all(self._parts, self._pod(pod))

    def stop_pod(self, pod: str, *, timeout_s: float | None = None) -> None:
        """Stop all containers at once, as `stop` does each."""
        from tiffin.pods import members

        members.stop_all(self._parts, self._pod(pod), timeout_s)

    def restart_pod(self, pod: str, *, timeout_s: float | None = None) -> None:
        """Stop all containers and start all of them. ConflictError without any."""
        from tiffin.pods import members

        members.restart_all(self._parts, self._pod(pod), timeout_s)

    def kill_pod(self, pod: str, *, signal: int | str = "KILL") -> None:
        """Send a signal to the first process of every container that runs. UsageError for no signal."""
        from tiffin.pods import members

        members.kill_all(self._parts, self._pod(pod), signal)

    def pause_pod(self, pod: str) -> None:
        """Have every container that runs stand still."""
        from tiffin.pods import members

        members.pause_all(self._parts, self._pod(pod))

    def unpause_pod(self, pod: str) -> None:
        """Let every paused container run on."""
        from tiffin.pods import members

        members.unpause_all(self._parts, self._pod(pod))

    def top_pod(self, pod: str, columns: Sequence[str] = ()) -> ProcessTable:
        """The processes of all containers that run, as `top`. ConflictError when none does."""
        from tiffin.pods import members

        return members.processes(self._parts, self._pod(pod), columns)

    def pod_logs(self, pod: str, *, only: Sequence[str] = (), **options: Any) -> Iterator[tuple[Container, LogLine]]:
        """What all containers, or `only` those, have written, by time; options as `logs`.

        With `follow` it goes on until all have ended. NotFoundError for a container that is not in the pod.
        """
        from tiffin.pods import members

        return members.logs(self._parts, self._pod(pod), only=only, **options)

    def remove_pod(self, pod: str, *, force: bool = False) -> None:
        """Remove a pod and its containers. ConflictError while one of them runs, unless `force` kills them first."""
        from tiffin.pods import manage

        manage.remove(self._parts, self._pod(pod), force=force)

    def prune_pods(self) -> list[Pod]:
        """Remove the pods whose containers have ended, with these; the pods removed. New and empty ones stay."""
        from tiffin.pods import manage

        return manage.prune(self._parts)

    def _pod(self, reference: str) -> Pod:
        from tiffin.state import pods

        return pods.get(self._parts.paths, reference)
