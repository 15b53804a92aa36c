"""The engine's use cases with registries; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.parts import Parts


class Registries:
    """Getting images from registries and giving them there."""

    _parts: Parts
