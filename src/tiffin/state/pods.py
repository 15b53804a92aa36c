"""Pods on disk: a directory `ID:NAME` each, with a record that is written once.

The directory's name says both, so a look at the parent tells which names are taken. A new one gets its name by
rename(2) when it is complete; one whose removal began has a file `removing`, and every command on pods may finish it.
"""

from __future__ import annotations

import fcntl
import json
import os

from tiffin.errors import ConflictError, NotFoundError, StoreError, os_error
from tiffin.model.pod import Pod, pod_from_dict
from tiffin.state.containers import HEX_DIGITS, ambiguous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.paths import Paths


class _Lock:
    """flock(2) on a directory, released by the kernel when its holder dies."""

    def __init__(self, path: str, what: str, shared: bool) -> None:
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._path = path
        self._what = what
        self._fd = -1

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"{self._what} was removed meanwhile") from None
        except OSError as error:
            raise os_error(error, f"cannot lock {self._what}") from error
        fcntl.flock(self._fd, self._mode)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class PodLock(_Lock):
    """Keeps the pod's members from starting, and unless `shared` from being added. NotFoundError when it is gone.

    Whoever holds it must look whether the pod is still there and not going; a container's lock comes before it.
    """

    def __init__(self, paths: Paths, pod: Pod, *, shared: bool = False) -> None:
        super().__init__(directory(paths, pod), f"the pod {pod.name!r}", shared)


class NamesLock(_Lock):
    """Keeps names from being taken by pods, and unless `shared` by containers; their own they tell apart themselves."""

    def __init__(self, paths: Paths, *, shared: bool = False) -> None:
        super().__init__(paths.pods, "the directory of pods", shared)


def directory(paths: Paths, pod: Pod) -> str:
    return f"{paths.pods}/{pod.id}:{pod.name}"


def add(paths: Paths, pod: Pod) -> None:
    """Write a new pod down; the lock on names is held, and the name is free."""
    unfinished = f"{paths.pods}/.{pod.id}"
    try:
        for name in os.listdir(paths.pods):
            if name.startswith("."):  # by somebody who was killed, since the lock is ours
                _drop(f"{paths.pods}/{name}")
        os.mkdir(unfinished, 0o700)
        with open(f"{unfinished}/pod.json", "w") as file:
            json.dump(pod.to_dict(), file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, directory(paths, pod))
    except OSError as error:
        raise os_error(error, f"cannot make the pod {pod.name!r}") from error


def taken(paths: Paths, name: str) -> str:
    """The ID of the pod of that name, "" without one."""
    return next((pod_id for pod_id, taken_name in _names(paths) if taken_name == name), "")


def check_name_free(paths: Paths, name: str) -> None:
    """ConflictError when it is a pod's: pods and containers have their names together, as in Podman."""
    if holder := taken(paths, name):
        raise ConflictError(
            f"the name {name!r} is already in use by pod {holder[:12]}", hint="remove that pod, or choose another name"
        )


def all_pods(paths: Paths) -> list[tuple[Pod, bool]]:
    """Every pod, newest first, and whether its removal has begun."""
    found = []
    for pod_id, name in _names(paths):
        try:
            found.append(_read(paths, pod_id, name))
        except NotFoundError:
            continue
    return sorted(found, key=lambda entry: (-entry[0].created_ns, entry[0].id))


def get(paths: Paths, reference: str) -> Pod:
    """By name, full ID or unique ID prefix, in this order. NotFoundError, AmbiguousError."""
    names = _names(paths)
    fitting = [entry for entry in names if entry[1] == reference] or [
        entry for entry in names if reference and HEX_DIGITS.issuperset(reference) and entry[0].startswith(reference)
    ]
    if len(fitting) > 1:
        raise ambiguous(reference, "pod", [pod_id for pod_id, _ in fitting])
    if fitting:
        pod, removing = _read(paths, *fitting[0])
        if not removing:
            return pod
    raise NotFoundError(
        f"no pod with name or ID {reference} found: no such pod", hint="`tiffin pod ps` lists what is here"
    )


def mark_removing(paths: Paths, pod: Pod) -> None:
    """Removal begins; its lock is held."""
    try:
        os.close(os.open(f"{directory(paths, pod)}/removing", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise os_error(error, f"cannot remove the pod {pod.name!r}") from error


def removing(paths: Paths, pod: Pod) -> bool:
    """Whether it is going, or gone."""
    place = directory(paths, pod)
    return not os.path.exists(f"{place}/pod.json") or os.path.exists(f"{place}/removing")


def delete(paths: Paths, pod: Pod) -> None:
    """The last step of a removal."""
    try:
        _drop(directory(paths, pod))
    except OSError as error:
        raise os_error(error, f"cannot remove the pod {pod.name!r}") from error


def _drop(place: str) -> None:
    for name in ("pod.json", "removing"):
        try:
            os.unlink(f"{place}/{name}")
        except FileNotFoundError:
            continue
    try:
        os.rmdir(place)
    except FileNotFoundError:
        pass  # somebody else finished it


def _names(paths: Paths) -> list[tuple[str, str]]:
    try:
        entries = os.listdir(paths.pods)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise os_error(error, "cannot read the pods") from error
    return [(pod_id, name) for pod_id, colon, name in (entry.partition(":") for entry in entries) if colon]


def _read(paths: Paths, pod_id: str, name: str) -> tuple[Pod, bool]:
    place = f"{paths.pods}/{pod_id}:{name}"
    try:
        with open(f"{place}/pod.json") as file:
            pod = pod_from_dict(json.load(file))
    except FileNotFoundError:
        raise NotFoundError(f"no such pod: {name}") from None
    except OSError as error:
        raise os_error(error, f"cannot read the pod {name!r}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the record of the pod {name!r} is damaged: {error}", hint=f"remove {place}") from error
    return pod, os.path.exists(f"{place}/removing")
