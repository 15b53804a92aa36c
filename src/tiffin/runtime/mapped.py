"""The part of a plan that a user namespace adds: what is done with the host's rights, before the child gives them up.

Mounts of the host's files are prepared there as detached trees and attached later, in the order of all mounts: whoever
attaches them has no way to the files. The kernel's own file systems are mounted later, by the namespace's root, so that
they belong to it.
"""

from __future__ import annotations

from tiffin.errors import HostError
from tiffin.model.idmap import IdMap, covers, text
from tiffin.runtime import compile as compiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.runtime.ops import Plan
    from tiffin.storage.rootfs import MountStep

DEV_TREE = 1
FIRST_TREE, MAX_TREES = 2, 256
TERMINALS_GID = 5  # "tty" in every distribution; it owns what devpts makes


def prepare(plan: Plan, spec: dict[str, Any], steps: Sequence[MountStep]) -> dict[int, int]:
    """Everything before CLONE; which of the spec's mounts have become which trees. HostError for too many."""
    linux = spec["linux"]
    ids = IdMap(uids=_maps(linux["uidMappings"]), gids=_maps(linux["gidMappings"]))
    path = next(entry.get("path", "") for entry in linux["namespaces"] if entry["type"] == "user")
    doing = f"enter the user namespace {path}" if path else "make the container's user namespace"
    plan.add("USERNS", path, text(ids.uids), text(ids.gids), *ids.root, doing=doing)
    for step in steps:
        if step.fstype == IDMAP:
            plan.add("IDMAP", step.source, step.target, doing=f"map the ids of the files of {step.source}")
        else:
            doing = f"mount {step.fstype} on {step.target}"
            plan.add("MOUNT", step.source, step.target, step.fstype, step.flags, step.data, doing=doing)
    plan.add("ROOT", spec["root"]["path"], doing=f"open the root {spec['root']['path']}")
    trees: dict[int, int] = {}
    for index, mount in enumerate(spec["mounts"]):
        if compiler.is_dev(mount):
            uid, gid = ids.root
            compiler.add_mount(plan, {**mount, "options": [*mount["options"], f"uid={uid}", f"gid={gid}"]})
            compiler.add_devices(plan, compiler.DEFAULT_NODES, ids.outside)
            compiler.add_devices(plan, linux["devices"], ids.outside)
            plan.add("TREE_IN", DEV_TREE, mount["destination"], doing=f"prepare {mount['destination']}")
            trees[index] = DEV_TREE
        elif "bind" in mount["options"] or "rbind" in mount["options"]:
            if mount["source"].endswith("/ns/mnt"):
                continue  # another container's /dev/shm, which is a tree already
            trees[index] = tree = FIRST_TREE + len(trees)
            if tree >= MAX_TREES:
                raise HostError(f"more than {MAX_TREES - FIRST_TREE} bind mounts in a user namespace")
            compiler.add_mount(plan, mount, tree)
        elif mount["type"] == "devpts" and not covers(ids.gids, TERMINALS_GID):
            mount["options"] = [option for option in mount["options"] if option != f"gid={TERMINALS_GID}"]
    compiler.add_limits(plan, spec["process"], 2)
    compiler.add_oom_score(plan, spec["process"])
    return trees


IDMAP = "idmap"  # a step that is no mount of a file system


def _maps(entries: list[dict[str, int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((entry["containerID"], entry["hostID"], entry["size"]) for entry in entries)
