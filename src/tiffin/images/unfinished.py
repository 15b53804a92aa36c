"""Changes of the image store that outlive their process: what a killed one left is removed by the next.

Whoever adds or removes images works beside a marker (`storage.workspace`). A marker whose process is dead says that
layers, objects or prepared images may be there that no record knows.
"""

from __future__ import annotations

from tiffin.state import containers as container_records
from tiffin.state import images as records
from tiffin.storage.lock import store_lock
from tiffin.storage.workspace import Workspace, abandoned, sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.images.store import ImageStore

KIND = "store"


class Changing:
    """`with Changing(store): …` around adding images, or removing them; nothing collects garbage meanwhile."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._lock = store_lock(store.paths, exclusive=False)
        self._marker = Workspace(store.paths.temporary, KIND)

    def __enter__(self) -> Changing:
        finish(self._store)
        self._lock.__enter__()
        try:
            self._marker.__enter__()
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._marker.__exit__()
        finally:
            self._lock.__exit__()

    def alone(self) -> bool:
        """Keep others from changing the store until the end; False when somebody does at this moment."""
        return self._lock.try_exclusive()

    def leave(self) -> None:
        """Leave the removal of what no record knows to the next command that changes or lists images."""
        self._marker.keep()


def finish(store: ImageStore) -> None:
    """Remove what killed commands left, unless somebody changes the store at this moment: then the next one does.

    Raises `StoreError`.
    """
    temporary = store.paths.temporary
    sweep(temporary)
    if not abandoned(temporary, KIND):
        return
    from tiffin.state import blobs
    from tiffin.storage.collect import collect, find_garbage

    lock = store_lock(store.paths, exclusive=True, wait=False)
    try:
        with lock:
            images = records.all_images(store.database)
            garbage = find_garbage(
                store.paths,
                store.layers.objects,
                store.layers,
                known_layers={diff_id for image in images for diff_id in image.layers}.union(
                    blobs.waiting(store.database)
                ),
                known_images={image.id for image in images},
                known_containers=container_records.ids(store.database),
                known_blobs=blobs.all_digests(store.database),
            )
            collect(store.paths, store.layers.objects, store.layers, garbage.replace(litter=()))
            sweep(temporary, KIND)
    except BlockingIOError:
        return
