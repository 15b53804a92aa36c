"""`tiffin import`: the tar of a root file system becomes an image of one layer."""

from __future__ import annotations

from tiffin.images.archive import ingest
from tiffin.images.changes import apply_changes
from tiffin.images.codecs import Counted
from tiffin.images.config import parse_config, write_config
from tiffin.images.platform import host_platform, parse_platform
from tiffin.images.store import tag_keys
from tiffin.images.timestamps import creation_time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image


def import_image(
    store: ImageStore,
    source: IO[bytes],
    name: str | None = None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str | None = None,
    progress: Callable[[int], None] | None = None,
    config: dict[str, Any] | None = None,
    created_by: str = "",
    before_add: Callable[[], None] | None = None,
) -> Image:
    """Import a tar (plain or gzip, zstd, bzip2, xz), read as a stream to its end.

    `changes` are Dockerfile instructions over `config` (an image config's `config` object); `platform` is what the
    image says it is for, by default the host's. `progress` gets the number of bytes read so far. The creation time is
    SOURCE_DATE_EPOCH where that is set. `before_add` runs when all was read; what it raises keeps the image out.
    Raises UsageError (before anything is read), InvalidImageError, StoreError.
    """
    names = tag_keys([name] if name else [])
    changed = apply_changes(config or {}, changes)
    target = parse_platform(platform) if platform else host_platform()
    created_ns = creation_time_ns()
    with store.adding():
        layer = ingest(store, Counted(source, progress), "the archive", threaded=_is_file(source))
        if before_add:
            before_add()
        raw = write_config(
            created_ns=created_ns,
            platform=target,
            config=changed,
            diff_ids=[layer[0]],
            created_by=created_by,
            comment=message or ("" if created_by else "Imported from -"),
        )
        image = store.add(parse_config(raw), [layer], names)
    for key in names:
        store.tell("tag", image, key)
    store.tell("import", image, image.id)
    return image


def _is_file(source: IO[bytes]) -> bool:
    import os
    import stat

    try:
        return stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, AttributeError, ValueError):
        return False
