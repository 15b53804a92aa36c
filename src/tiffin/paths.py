"""Where everything lives on disk."""

from __future__ import annotations

import os

from tiffin.model.record import Record

DEFAULT_ROOT = "/var/lib/tiffin"
DEFAULT_RUN_ROOT = "/run/tiffin"
DEFAULT_CGROUP_PARENT = "tiffin"


class Paths(Record):
    """The two directories of an engine and the names inside.

    `root` holds what survives a reboot; `run` what does not need to. They must not be shared between users.
    """

    root: str
    run: str

    @property
    def database(self) -> str:
        return f"{self.root}/state.db"

    @property
    def objects(self) -> str:
        """Regular files' contents, `ab/cdef…` by SHA-256."""
        return f"{self.root}/objects"

    @property
    def layers(self) -> str:
        """One file per layer, named by diff_id without "sha256:"."""
        return f"{self.root}/layers"

    @property
    def images(self) -> str:
        """One directory per image, named by ID without "sha256:": what the rootfs driver made of it."""
        return f"{self.root}/images"

    @property
    def volumes(self) -> str:
        """One directory per volume, by name; its files are in `_data` there."""
        return f"{self.root}/volumes"

    @property
    def pods(self) -> str:
        """One directory per pod, `ID:NAME`, so that names are unique; absent until there is a pod."""
        return f"{self.root}/pods"

    @property
    def manifests(self) -> str:
        """Lists of manifests that are being made, a JSON file each; absent until there is one."""
        return f"{self.root}/manifests"

    @property
    def cache(self) -> str:
        """Derived data; deleting it costs time only."""
        return f"{self.root}/cache"

    @property
    def temporary(self) -> str:
        """Unfinished work, on the same file system as the rest; anything here that no live process holds is litter."""
        return f"{self.root}/tmp"

    @property
    def events(self) -> str:
        """What happened, a line each; `events.1` beside it is older."""
        return f"{self.root}/events"

    def container(self, container_id: str) -> str:
        return f"{self.root}/containers/{container_id}"

    def container_run(self, container_id: str) -> str:
        return f"{self.run}/containers/{container_id}"


def paths_for(root: str | None, run: str | None) -> Paths:
    """Paths for `root`; a root of one's own keeps its run directory inside, so that engines never meet."""
    chosen = os.path.abspath(root or os.environ.get("TIFFIN_ROOT") or DEFAULT_ROOT)
    if run is None:
        run = DEFAULT_RUN_ROOT if chosen == DEFAULT_ROOT else f"{chosen}/run"
    return Paths(root=chosen, run=os.path.abspath(run))
