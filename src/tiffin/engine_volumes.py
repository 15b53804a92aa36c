"""The engine's use cases on volumes; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tiffin.model.volume import Volume, VolumeInfo
    from tiffin.parts import Parts
    from tiffin.system.prune import Pruned


class Volumes:
    """Making, finding and removing volumes."""

    _parts: Parts

    def volume_create(
        self,
        name: str | None = None,
        *,
        driver: str = "local",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or find the one of that name; without a name an anonymous one. UsageError."""
        from tiffin.volumes import manage

        return manage.create(self._parts, name, driver=driver, labels=labels or {}, options=options or {})

    def volumes(self) -> list[VolumeInfo]:
        """All volumes by name, with the containers that use them."""
        from tiffin.volumes import manage

        return manage.infos(self._parts)

    def volume(self, name: str) -> VolumeInfo:
        """A volume, by its whole name. NotFoundError."""
        from tiffin.volumes import manage

        return manage.info(self._parts, name)

    def inspect_volume(self, name: str) -> dict[str, Any]:
        """Everything known of a volume, with Docker's field names. NotFoundError."""
        from tiffin.volumes import manage

        return manage.inspect(self._parts, name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume and its files. ConflictError while a container needs it, running or not."""
        from tiffin.volumes import manage

        manage.remove(self._parts, name)

    def prune_volumes(self, *, all: bool = False) -> Pruned:
        """Remove the anonymous volumes that no container needs; with `all` named ones too."""
        from tiffin.system.prune import plan, prune

        which = "all" if all else "anonymous"
        return prune(self._parts, plan(self._parts, containers=False, images=False, all_images=False, volumes=which))
