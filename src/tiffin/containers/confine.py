"""How a process is confined beyond its namespaces: the same for a container's first process and for later ones."""

from __future__ import annotations

from tiffin.runtime.compile import Confinement
from tiffin.runtime.security import capabilities, lsm, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.model.container import Container
    from tiffin.parts import Parts
    from tiffin.runtime.security.options import SecurityOptions


def spared(path: str = "/proc/self/oom_score_adj") -> bool:
    """Whether the kernel is asked to spare this process when memory runs out (proc_pid_oom_score_adj(5)).

    Where it is not, the score is left as it is: to lower it takes a right that root may lack.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(16).startswith(b"-")
    except OSError:
        return False


def confinement(
    parts: Parts,
    container: Container,
    security: SecurityOptions,
    labels: lsm.Labels,
    process: dict[str, Any],
    *,
    init: bool,
) -> Confinement:
    """The compiled seccomp filter of a process, its labels, an init before it or not, its memory merged or not."""
    profile = security.seccomp
    if profile is None and container.config.privileged:
        profile = "unconfined"
    mask = capabilities.mask_of(process["capabilities"]["bounding"])
    return Confinement(
        seccomp=seccomp.load_filter(profile, mask, parts.paths.cache),
        labels=labels,
        init=init,
        memory_merge=bool(container.config.resources.memory_merge),
    )
