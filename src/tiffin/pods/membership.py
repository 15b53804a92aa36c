"""Containers of a pod: what they get of it at creation, and whose namespaces they join at a start.

A pod has no process of its own. The first member that starts makes the namespaces, as any container does; those that
start later join those of a member that runs, as with `--network container:NAME`. They are gone with the last one.
"""

from __future__ import annotations

from contextlib import contextmanager

from tiffin.errors import ConflictError, LaunchError, NotFoundError, NotSupportedError, UsageError
from tiffin.state import containers as records
from tiffin.state import pods, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from tiffin.model.container import Container, ContainerConfig
    from tiffin.model.pod import Pod
    from tiffin.parts import Parts

    T = TypeVar("T")

NEW = "new:"
# The kind of namespace in a pod's `share`, the field of the config, and what a member has there by itself.
_FIELDS = (("ipc", "ipc", "private"), ("net", "network", "none"), ("pid", "pid", "private"), ("uts", "uts", "private"))


@contextmanager
def creating(parts: Parts, config: ContainerConfig) -> Iterator[ContainerConfig]:
    """The config of a new container, in its pod if it has one; what is created meanwhile meets no other of that name.

    NotFoundError for the pod, UsageError for options that the pod decides, ConflictError for a pod's name.
    """
    if not config.pod:
        with pods.NamesLock(parts.paths, shared=True):
            if config.name:
                pods.check_name_free(parts.paths, config.name)
            yield config
        return
    made = None
    if config.pod.startswith(NEW):
        from tiffin.pods import manage

        pod = made = manage.create(parts, config.pod.removeprefix(NEW) or None)
    else:
        pod = pods.get(parts.paths, config.pod)
    try:
        with pods.NamesLock(parts.paths, shared=True), pods.PodLock(parts.paths, pod, shared=True):
            if pods.removing(parts.paths, pod):
                raise NotFoundError(f"the pod {pod.name!r} is being removed")
            if config.name:
                pods.check_name_free(parts.paths, config.name)
            if pod.share and (config.uid_maps or (config.userns or parts.userns or "host") != "host"):
                raise NotSupportedError(
                    "user namespaces in pods are not supported yet: what the containers share belongs to one of them",
                    hint="use --userns host, or make the pod with --share none",
                )
            if config.runtime or parts.runtime:
                from tiffin.runtime import foreign

                foreign.check_pod(config.runtime or parts.runtime, pod.share)
            yield member_config(pod, config)
    except BaseException:
        if made is not None:
            pods.delete(parts.paths, made)
        raise


def member_config(pod: Pod, config: ContainerConfig) -> ContainerConfig:
    """The config with what the pod decides. UsageError where the user has decided otherwise."""
    for kind, field, own in _FIELDS:
        if kind in pod.share and getattr(config, field) not in (own, "shareable"):
            raise UsageError(
                f"conflicting options: --{field} {getattr(config, field)} in the pod {pod.name!r},"
                f" whose containers share their {kind} namespace"
            )
    changes: dict[str, str] = {"pod": pod.id}
    if "net" in pod.share:
        changes["network"] = pod.network
    if "ipc" in pod.share:
        changes["ipc"] = "shareable"
    if "uts" in pod.share:
        if config.hostname:
            raise UsageError(f"conflicting options: hostname in the pod {pod.name!r}, whose containers share theirs")
        changes["hostname"] = pod.hostname
    if "pid" in pod.share and config.systemd != "false":
        if config.systemd == "always":
            raise UsageError(
                f"conflicting options: --systemd always in the pod {pod.name!r},"
                " whose containers share their pid namespace"
            )
        changes["systemd"] = "false"  # only one of them can be the first process
    return config.replace(**changes)


def launch(parts: Parts, container: Container, go: Callable[[Container], T]) -> T:
    """Have `go` start the container in the namespaces of its pod. NotFoundError when that is gone."""
    pod = pods.get(parts.paths, container.config.pod)
    with pods.PodLock(parts.paths, pod):
        if pods.removing(parts.paths, pod):
            raise ConflictError(f"cannot start container {container.name!r}: its pod {pod.name!r} is being removed")
        while True:
            holder = _running(parts, pod, container.id)
            try:
                return go(_joining(pod, container, holder))
            except (LaunchError, ConflictError, NotFoundError):
                # A member whose end came between our look and the launcher's: it is another one's turn, or nobody's.
                if holder is None or ((now := _running(parts, pod, container.id)) is not None and now.id == holder.id):
                    raise


def _running(parts: Parts, pod: Pod, other_than: str) -> Container | None:
    """A member that runs; its namespaces are those of all that run."""
    for member, going in records.in_pods(parts.database, pod.id):
        if going or member.id == other_than:
            continue
        state = status.read_state(parts.paths, member.id)
        if (
            state.status == "running"
            and status.alive(state.pid, state.pid_start_ticks)
            and status.has_namespaces(state.pid)
        ):
            return member
    return None


def _joining(pod: Pod, container: Container, holder: Container | None) -> Container:
    """The container as it is started this time."""
    if holder is None:
        return container
    changes = {
        field: f"container:{holder.id}"
        for kind, field, _ in _FIELDS
        if kind in pod.share and getattr(container.config, field) != "host"
    }
    return container.replace(config=container.config.replace(**changes))
