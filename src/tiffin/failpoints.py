"""Places where the process can be made to die: one after each step that is on disk, or in the kernel, for good.

`TIFFIN_FAILPOINT=NAME` kills the process with SIGKILL when it gets there, so that a test can show for each one that
the next command carries on. Without the variable a point costs a comparison.
"""

from __future__ import annotations

import os

POINTS = {
    "schema.created": "a new database has its tables",
    "schema.migrated": "an older database has this version's tables",
    "create.recorded": "a container has its record, and no directory",
    "create.directory": "its directory too",
    "volume.recorded": "a volume has its record, and no directory",
    "volume.directory": "its directory too; it is not marked ready",
    "volume.ready": "it is marked ready",
    "volume.copied": "what the image has at its place is copied, beside its place",
    "volume.filled": "that copy is complete, and not where it belongs",
    "volume.settled": "the copy is where it belongs; the container does not know it",
    "create.filled": "all volumes of a container have what they are to have",
    "start.starting": "a start has begun and has said so",
    "start.directories": "the directories of a run exist",
    "start.image": "the image is prepared for the storage driver",
    "start.writable": "the writable layer is there",
    "start.files": "the generated files are written",
    "start.cgroup": "the cgroup is made",
    "start.owner": "whoever watches has promised to remove it",
    "start.launched": "it runs, and nobody was told",
    "stop.signalled": "the stop signal is sent, and nobody waits",
    "pause.frozen": "all processes stand still",
    "pause.thawed": "they run on",
    "change.recorded": "a new name or limit is in the record",
    "change.applied": "new limits are in force",
    "remove.marked": "removal has begun and has said so",
    "remove.cgroup": "the cgroup is gone",
    "remove.writable": "the writable layer is gone",
    "remove.run": "the run directory is gone",
    "remove.directory": "the container's directory is gone",
    "remove.recorded": "the record is gone; anonymous volumes may be there still",
    "volume.marked": "the removal of a volume has begun and has said so",
    "volume.removed": "its files are gone",
    "volume.deleted": "its record is gone",
    "object.kept": "a file's content is in the store, and no layer needs it",
    "layer.kept": "a layer is in the store, and no image needs it",
    "image.built": "an image is prepared, and does not have its name",
    "image.prepared": "it has its name, and no record",
    "image.synced": "all of it would survive a power cut",
    "image.recorded": "its record is there",
    "image.tagged": "an image has one more name",
    "image.dropped": "the record of an image is gone; its files are there",
    "image.unprepared": "what the storage driver made of it is gone",
    "layer.removed": "a layer is gone; its objects are there",
    "prune.containers": "stray directories of containers are pruned",
    "prune.images": "stray prepared images too",
    "prune.layers": "stray layers too",
    "prune.objects": "stray objects too",
}

_wanted = os.environ.get("TIFFIN_FAILPOINT", "")


def failpoint(name: str) -> None:
    """Die here if a test asked for it."""
    if _wanted and _wanted == name:
        os.kill(os.getpid(), 9)
