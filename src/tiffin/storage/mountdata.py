"""The option string of an overlay mount."""

from __future__ import annotations

from tiffin.errors import HostError
from tiffin.storage.rootfs import MAX_MOUNT_DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def escaped(path: str) -> str:
    """`path` with a backslash before each `\\`, `:` and `,` (overlayfs.rst, "Multiple lower layers")."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def overlay_data(
    lower: Sequence[str],
    upper: str | None,
    work: str | None,
    *,
    data_only: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """Options for lower directories (topmost first), data-only ones below them, and a writable layer or none.

    Raises `HostError` when they do not fit in the page that mount(2) takes.
    """
    lowers = ":".join(escaped(path) for path in lower) + "".join(f"::{escaped(path)}" for path in data_only)
    parts = [f"lowerdir={lowers}"]
    if upper is not None and work is not None:
        parts += [f"upperdir={escaped(upper)}", f"workdir={escaped(work)}"]
    data = ",".join([*parts, *options])
    if len(data.encode("utf-8", "surrogateescape")) > MAX_MOUNT_DATA:
        raise HostError(
            f"the store's paths are too long to mount: {len(data)} bytes of options, the kernel takes {MAX_MOUNT_DATA}",
            hint="choose a shorter --root",
        )
    return data
