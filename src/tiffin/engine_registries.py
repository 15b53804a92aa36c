"""The engine's use cases with registries; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.images.lineage.outdated import BaseStatus
    from tiffin.parts import Parts


class Registries:
    """Getting images from registries and giving them there."""

    _parts: Parts

    def outdated(self, references: Sequence[str] = (), *, registry: bool | None = None) -> list[BaseStatus]:
        """How all images, or those named, stand to the bases that they rest on.

        Registries are asked about bases whose name has a host; with `registry` True about all, with False about none.
        One that cannot tell makes the status "unknown". NotFoundError, AmbiguousError for the references.
        """
        from tiffin.images.lineage.outdated import outdated

        return outdated(self._parts.images, references, registry=registry)
