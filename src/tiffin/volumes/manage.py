"""Volumes on their own: create, look up, remove, and finish what a killed command left half done."""

from __future__ import annotations

import os

from tiffin.containers.names import ALLOWED
from tiffin.errors import ConflictError, NotFoundError, TiffinError, UsageError
from tiffin.failpoints import failpoint
from tiffin.model.volume import ANONYMOUS_LABEL, Volume, VolumeInfo
from tiffin.state import events
from tiffin.state import volumes as records
from tiffin.state.db import now_ns
from tiffin.storage import volumes as storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tiffin.parts import Parts

MAX_NAME = 255


def check_name(name: str) -> str:
    """The name, if it is one. UsageError with Docker's words otherwise."""
    if len(name) == 1 and name in ALLOWED:
        raise UsageError(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not name or len(name) > MAX_NAME or not ALLOWED.issuperset(name) or name[0] in "_.-":
        raise UsageError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
            hint="if you intended to pass a host directory, use an absolute path",
        )
    return name


def check_driver(name: str, driver: str) -> None:
    """There are no plugins: `NotFoundError` with Docker's words for any driver but `local`."""
    if driver not in ("", "local"):
        raise NotFoundError(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found',
            hint="Tiffin has the driver local, which mounts what mount(2) can: -o type=nfs -o device=… -o o=…",
        )


def new_anonymous(labels: tuple[tuple[str, str], ...] = ()) -> Volume:
    """A record with a random name."""
    everything = tuple(sorted({ANONYMOUS_LABEL: "", **dict(labels)}.items()))
    return Volume(name=os.urandom(32).hex(), created_ns=now_ns(), labels=everything, anonymous=True)


def create(
    parts: Parts, name: str | None, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
) -> Volume:
    """Make a volume, or find the one of that name."""
    check_driver(name or "", driver)
    if options:
        from tiffin.volumes.options import check_options

        check_options(name or "", options)
    chosen = tuple(sorted(labels.items()))
    if name:
        volume = Volume(name=check_name(name), created_ns=now_ns(), labels=chosen)
    else:
        volume = new_anonymous(chosen)
    volume = volume.replace(options=tuple(sorted(options.items())))
    finish(parts)
    with parts.database.transaction() as database:
        records.add(database, volume)
    failpoint("volume.recorded")
    ensure(parts, volume.name)
    return records.get(parts.database, volume.name)


def ensure(parts: Parts, name: str) -> None:
    """Have the directory of a volume that has a record. NotFoundError when it has none."""
    with storage.VolumeLock(parts.paths, name):
        _ensure_locked(parts, name)


def _ensure_locked(parts: Parts, name: str) -> None:
    state = records.state_of(parts.database, name)
    if state is None or state == records.REMOVING:
        _drop_empty(f"{parts.paths.volumes}/{name}")
        raise NotFoundError(f"no such volume: {name}")
    storage.make(parts.paths, name)
    failpoint("volume.directory")
    if state == records.BEING_MADE:
        records.mark_ready(parts.database, name)
        failpoint("volume.ready")
        events.write(parts.paths, "volume", "create", name, {"driver": "local"})


def _drop_empty(directory: str) -> None:
    """Undo what taking the lock of a volume that is gone has made."""
    try:
        os.rmdir(directory)
    except OSError:
        pass  # whoever removes it does it, or the next prune


def info(parts: Parts, name: str) -> VolumeInfo:
    """One volume. NotFoundError."""
    volume = records.get(parts.database, name)
    users = tuple(records.users_of(parts.database, name))
    return VolumeInfo(volume=volume, mountpoint=storage.data_path(parts.paths, name), users=users)


def infos(parts: Parts) -> list[VolumeInfo]:
    """All volumes, by name."""
    finish(parts)
    users = records.users(parts.database)
    return [
        VolumeInfo(
            volume=volume,
            mountpoint=storage.data_path(parts.paths, volume.name),
            users=tuple(users.get(volume.name, ())),
        )
        for volume in records.all_volumes(parts.database)
    ]


def inspect(parts: Parts, name: str) -> dict[str, Any]:
    """Docker's fields."""
    from tiffin.containers.logs import rfc3339

    found = info(parts, name)
    volume = found.volume
    return {
        "CreatedAt": rfc3339(volume.created_ns)[:19] + "Z",
        "Driver": volume.driver,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": found.mountpoint,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }


def remove(parts: Parts, name: str) -> None:
    """Remove a volume and its files. ConflictError while a container needs it, NotFoundError."""
    records.get(parts.database, name)
    if not records.mark_removing(parts.database, name):
        users = records.users_of(parts.database, name)
        if not users:
            raise NotFoundError(f"no such volume: {name}")
        raise ConflictError(
            f"remove {name}: volume is in use - [{', '.join(container_id for container_id, _ in users)}]",
            hint=f"remove the container {' and '.join(container for _, container in users)} first",
        )
    failpoint("volume.marked")
    finish_removal(parts, name)


def finish_removal(parts: Parts, name: str, *, wait: bool = True) -> None:
    """Delete the files and then the record of a volume whose removal has begun; of any other, nothing."""
    with storage.VolumeLock(parts.paths, name, wait=wait):
        state = records.state_of(parts.database, name)
        if state is None:
            _drop_empty(f"{parts.paths.volumes}/{name}")
        elif state == records.REMOVING:
            storage.remove(parts.paths, name)
            failpoint("volume.removed")
            records.delete(parts.database, name)
            failpoint("volume.deleted")
            events.write(parts.paths, "volume", "destroy", name, {"driver": "local"})


def finish(parts: Parts) -> None:
    """Finish what killed commands began; removals that are under way elsewhere are left to their command."""
    for name, state in records.unfinished(parts.database):
        try:
            if state == records.REMOVING:
                finish_removal(parts, name, wait=False)
            else:
                ensure(parts, name)
        except (BlockingIOError, NotFoundError):
            continue
        except TiffinError as error:
            parts.warn(f"cannot finish with the volume {name}: {error}")


def strays(parts: Parts) -> list[str]:
    """Names of directories without a record. A record comes before its directory, so they are looked up after."""
    found = storage.directories(parts.paths)
    known = records.names(parts.database)
    return [name for name in found if name not in known]


def remove_stray(parts: Parts, name: str) -> None:
    """Delete the directory of that name, unless a record turned up."""
    with storage.VolumeLock(parts.paths, name):
        if records.state_of(parts.database, name) is None:
            storage.remove(parts.paths, name)


def check(parts: Parts) -> list[str]:
    """What is wrong with volumes, a sentence each."""
    finish(parts)
    problems = []
    if found := strays(parts):
        problems.append(
            f"{len(found)} volume directories without a record (harmless; `tiffin system prune` removes them)"
        )
    for volume in records.all_volumes(parts.database):
        if not os.path.isdir(storage.data_path(parts.paths, volume.name)) and (
            records.state_of(parts.database, volume.name) == records.READY
        ):
            problems.append(f"the volume {volume.name} has lost its files; it starts empty when it is next used")
    return problems
