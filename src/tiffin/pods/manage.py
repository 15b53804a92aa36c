"""Pods on their own: make, look up, describe, remove."""

from __future__ import annotations

import os

from tiffin.containers import end, names, pause
from tiffin.errors import ConflictError, NotFoundError, TiffinError, UsageError, os_error
from tiffin.model.container import ContainerInfo
from tiffin.model.pod import DEFAULT_SHARE, SHARABLE, Pod, PodInfo
from tiffin.state import containers as records
from tiffin.state import pods
from tiffin.state.db import now_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from tiffin.parts import Parts

_NETWORKS = ("none", "host")


def create(
    parts: Parts,
    name: str | None = None,
    *,
    hostname: str | None = None,
    share: Iterable[str] = DEFAULT_SHARE,
    network: str = "none",
    labels: Mapping[str, str] | None = None,
) -> Pod:
    """Make a pod without containers. UsageError, ConflictError for a name that a pod or container has."""
    if name is not None:
        check_name(name)
    shared = tuple(sorted(set(share)))
    for kind in shared:
        if kind not in SHARABLE:
            raise UsageError(f"a pod cannot share {kind!r}", hint=f"it shares some of {', '.join(SHARABLE)}, or none")
    if network not in _NETWORKS:
        raise UsageError(f"invalid network {network!r} for a pod", hint="it is none or host")
    if network != "none" and "net" not in shared:
        raise UsageError(f"conflicting options: network {network} of a pod that does not share its network")
    if hostname is not None and (not hostname or len(hostname) > 64 or "\0" in hostname):
        raise UsageError(f"the hostname {hostname!r} is not of 1 to 64 characters")
    if hostname is not None and "uts" not in shared:
        raise UsageError("conflicting options: hostname of a pod that does not share its UTS namespace")
    try:
        os.makedirs(parts.paths.pods, mode=0o700, exist_ok=True)
    except OSError as error:
        raise os_error(error, "cannot make the directory of pods") from error
    with pods.NamesLock(parts.paths):
        if name is not None:
            pods.check_name_free(parts.paths, name)
            _check_no_container(parts, name)
        chosen = name or names.random_name(lambda name: _is_taken(parts, name))
        pod = Pod(
            id=names.new_id(),
            name=chosen,
            hostname=hostname or chosen[:64],
            share=shared,
            network=network,
            created_ns=now_ns(),
            labels=tuple(sorted((labels or {}).items())),
        )
        pods.add(parts.paths, pod)
    return pod


def check_name(name: str) -> None:
    """UsageError unless it can be a pod's name; the rule is that of containers."""
    if len(name) < 2 or len(name) > names.MAX_NAME - 65 or not names.ALLOWED.issuperset(name) or name[0] in "_.-":
        raise UsageError(
            f"Invalid pod name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            hint=f"2 to {names.MAX_NAME - 65} characters",
        )


def _is_taken(parts: Parts, name: str) -> bool:
    return bool(pods.taken(parts.paths, name)) or records.name_taken(parts.database, name)


def _check_no_container(parts: Parts, name: str) -> None:
    if records.name_taken(parts.database, name):
        holder = records.get(parts.database, name)
        raise ConflictError(
            f"the name {name!r} is already in use by container {holder.id[:12]}",
            hint="remove or rename that container, or choose another name",
        )


def info(parts: Parts, pod: Pod) -> PodInfo:
    """A pod with its containers."""
    return PodInfo(pod=pod, containers=tuple(_members(parts, pod.id)))


def infos(parts: Parts) -> list[PodInfo]:
    """All pods, newest first. Removals whose command was killed are finished first."""
    finish(parts)
    members: dict[str, list[ContainerInfo]] = {}
    for found in _members(parts):
        members.setdefault(found.container.config.pod, []).append(found)
    return [
        PodInfo(pod=pod, containers=tuple(members.get(pod.id, ()))) for pod, going in pods.all_pods(parts.paths)
        if not going
    ]  # fmt: skip


def _members(parts: Parts, pod_id: str = "") -> list[ContainerInfo]:
    found = []
    for container, removing in records.in_pods(parts.database, pod_id):
        state = pause.read_state(parts, container.id, removing=removing)
        end.end_orphan(parts, container, state)
        found.append(ContainerInfo(container=container, state=state))
    return found


def inspect(parts: Parts, pod: Pod) -> dict[str, Any]:
    """Everything known of a pod, with Podman's field names."""
    from tiffin.containers.logs import rfc3339

    found = info(parts, pod)
    return {
        "Id": pod.id,
        "Name": pod.name,
        "Created": rfc3339(pod.created_ns),
        "ExitPolicy": "continue",
        "State": found.status,
        "Hostname": pod.hostname if "uts" in pod.share else "",
        "Labels": dict(pod.labels),
        "CreateCgroup": False,
        "CgroupParent": "",
        "CgroupPath": "",
        "CreateInfra": False,
        "InfraContainerID": "",
        "SharedNamespaces": list(pod.share),
        "NetworkMode": pod.network if "net" in pod.share else "",
        "NumContainers": len(found.containers),
        "Containers": [
            {
                "Id": member.container.id,
                "Name": member.container.name,
                "State": "paused" if member.state.paused else member.state.status,
            }
            for member in found.containers
        ],
    }


def remove(parts: Parts, pod: Pod, *, force: bool) -> None:
    """Remove a pod and its containers. ConflictError while one of them runs, unless `force` kills them first."""
    with pods.PodLock(parts.paths, pod):
        if not force:
            for member in _members(parts, pod.id):
                if member.state.status == "running":
                    raise ConflictError(
                        f"cannot remove pod {pod.name!r}: its container {member.container.name!r} is running",
                        hint="stop the pod before removing it, or force the removal",
                    )
        # From now on nothing is added and nothing starts, so the lock is not needed any longer.
        pods.mark_removing(parts.paths, pod)
    _finish(parts, pod)


def _finish(parts: Parts, pod: Pod) -> None:
    for container, _ in records.in_pods(parts.database, pod.id):
        try:
            end.remove(parts, container, force=True)
        except NotFoundError:
            continue
    pods.delete(parts.paths, pod)


def finish(parts: Parts) -> None:
    """Finish removals whose command was killed."""
    for pod, going in pods.all_pods(parts.paths):
        if going:
            try:
                _finish(parts, pod)
            except TiffinError as error:
                parts.warn(f"cannot finish the removal of pod {pod.name!r}: {error}")


def prune(parts: Parts) -> list[Pod]:
    """Remove the pods of which no container runs, and which are not new; those removed."""
    removed = []
    for found in infos(parts):
        if found.status in ("Exited", "Stopped"):
            try:
                remove(parts, found.pod, force=False)
            except (ConflictError, NotFoundError):
                continue  # it was started, or removed, at this moment
            removed.append(found.pod)
    return removed


def check(parts: Parts) -> list[str]:
    """One sentence per finding."""
    known = {pod.id for pod, _ in pods.all_pods(parts.paths)}
    return [
        f"container {container.name} ({container.id[:12]}) has lost its pod {container.config.pod[:12]}"
        for container, _ in records.in_pods(parts.database)
        if container.config.pod not in known
    ]
