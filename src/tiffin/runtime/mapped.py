"""The part of a plan that a user namespace adds: what is done with the host's rights, before the child gives them up.

Mounts of the host's files are prepared there as detached trees and attached later, in the order of all mounts: whoever
attaches them has no way to the files. The kernel's own file systems are mounted later, by the namespace's root, so that
they belong to it.
"""

from __future__ import annotations

from tiffin.model.idmap import IdMap, covers, text
from tiffin.runtime import compile as compiler
from tiffin.runtime.mount_options import add_mount, add_trees, new_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tiffin.runtime.ops import Plan
    from tiffin.storage.rootfs import MountStep

TERMINALS_GID = 5  # "tty" in every distribution; it owns what devpts makes


def prepare(plan: Plan, spec: dict[str, Any], steps: Sequence[MountStep], trees: dict[int, int]) -> None:
    """Everything before CLONE; `trees` gets the numbers of the mounts that are taken here. HostError for too many."""
    linux = spec["linux"]
    ids = IdMap(uids=_maps(linux["uidMappings"]), gids=_maps(linux["gidMappings"]))
    path = next(entry.get("path", "") for entry in linux["namespaces"] if entry["type"] == "user")
    doing = f"enter the user namespace {path}" if path else "make the container's user namespace"
    plan.add("USERNS", path, text(ids.uids), text(ids.gids), *ids.root, doing=doing)
    compiler.add_steps(plan, steps)
    plan.add("ROOT", spec["root"]["path"], doing=f"open the root {spec['root']['path']}")
    for index, mount in enumerate(spec["mounts"]):
        if compiler.is_dev(mount):
            uid, gid = ids.root
            add_mount(plan, {**mount, "options": [*mount["options"], f"uid={uid}", f"gid={gid}"]})
            compiler.add_devices(plan, compiler.DEFAULT_NODES, ids.outside)
            compiler.add_devices(plan, linux["devices"], ids.outside)
            tree = new_tree(trees, index)
            plan.add("TREE_INSIDE", tree, mount["destination"], doing=f"prepare {mount['destination']}")
        elif mount["type"] == "devpts" and not covers(ids.gids, TERMINALS_GID):
            mount["options"] = [option for option in mount["options"] if option != f"gid={TERMINALS_GID}"]
    add_trees(plan, spec, trees, mapped=True)
    compiler.add_limits(plan, spec["process"], 2)
    compiler.add_oom_score(plan, spec["process"])


def _maps(entries: list[dict[str, int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((entry["containerID"], entry["hostID"], entry["size"]) for entry in entries)
