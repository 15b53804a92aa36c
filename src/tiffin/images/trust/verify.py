"""`tiffin image verify`: read everything that an image consists of, and put right what is damaged."""

from __future__ import annotations

from tiffin.errors import NotFoundError, StoreError, TiffinError, UsageError
from tiffin.images.host import is_host_id
from tiffin.model.record import Record
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tiffin.images.codecs import Readable
    from tiffin.images.store import ImageStore
    from tiffin.model.image import Image
    from tiffin.state.blobs import Blob

    OpenBlob = Callable[[Blob], Iterator[tuple[str, Callable[[], AbstractContextManager[Readable]]]]]


class LayerDamage(Record):
    """What is wrong with a layer: SHA-256 (hex) of its bad objects, or the layer's own file."""

    diff_id: str
    objects: tuple[str, ...] = ()
    reason: str = ""


class Verified(Record):
    """`read_bytes` of layers were read. `damaged` is what was found, `repaired` the diff_ids of what is whole again,
    `problems` what is wrong with the prepared image, a sentence each (it was prepared again when `rebuilt`);
    `failures` why a repair did not succeed.
    """

    image_id: str
    layers: int
    read_bytes: int
    damaged: tuple[LayerDamage, ...] = ()
    problems: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    rebuilt: bool = False

    @property
    def whole(self) -> bool:
        return not self.problems and {layer.diff_id for layer in self.damaged} <= set(self.repaired)


def verify(
    store: ImageStore, reference: str, *, repair: OpenBlob | None = None, progress: Callable[[int], None] | None = None
) -> Verified:
    """Write every layer of an image out again against its digest, which reads every object, and check what is mounted.

    With `repair` damaged layers are read anew: it yields, for a packed layer, where it can be had and how to open it.
    `progress` gets the number of bytes of tar checked so far. Raises as `ImageStore.get`; UsageError for `host`.
    """
    image = store.get(reference)
    if is_host_id(image.id):
        raise UsageError("the image 'host' cannot be verified: it is the host itself")
    with store.adding():
        counted = _Counted(progress)
        damaged = [damage for diff_id in dict.fromkeys(image.layers) if (damage := _damage(store, diff_id, counted))]
        repaired, failures = [], []
        for damage in damaged if repair else ():
            reasons = _repair(store, damage, repair) if repair else []
            if reasons:
                failures += reasons
            else:
                repaired.append(damage.diff_id)
        problems = _problems(store, image)
        rebuilt = bool(repair and len(repaired) == len(damaged) and (damaged or problems))
        if rebuilt:
            store.driver.remove_image(image.id)
            store.driver.prepare_image(image.id, image.layers)
            problems = _problems(store, image)
    return Verified(
        image_id=image.id,
        layers=len(image.layers),
        read_bytes=counted.size,
        damaged=tuple(damaged),
        problems=tuple(problems),
        repaired=tuple(repaired),
        failures=tuple(failures),
        rebuilt=rebuilt,
    )


class _Counted:
    """Swallows a tar."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if self._progress:
            self._progress(self.size)
        return len(data)


def _damage(store: ImageStore, diff_id: str, counted: _Counted) -> LayerDamage | None:
    try:
        store.layers.write_tar(diff_id, counted)  # type: ignore[arg-type]
    except (StoreError, NotFoundError) as error:
        return LayerDamage(diff_id=diff_id, objects=_bad_objects(store, diff_id), reason=_reason(diff_id, error))
    return None


def _reason(diff_id: str, error: TiffinError) -> str:
    return error.message.removeprefix(f"layer {diff_id} is damaged: ")


def _bad_objects(store: ImageStore, diff_id: str) -> tuple[str, ...]:
    try:
        objects = store.layers.objects_of(diff_id)
    except TiffinError:
        return ()

    def good(digest: str) -> bool:
        try:
            return store.layers.objects.verify(digest)
        except NotFoundError:
            return False

    return tuple(digest for digest in objects if not good(digest))


def _repair(store: ImageStore, damage: LayerDamage, open_blob: OpenBlob) -> list[str]:
    """Read a layer anew from the first place that has it; nothing when that succeeded, else why not, in sentences."""
    from tiffin.images.archive import ingest

    known = blobs.blobs_of_layer(store.database, damage.diff_id)
    reasons = []
    for blob in known:
        what = f"layer {blob.digest}"
        for place, opened in open_blob(blob):
            try:
                with opened() as raw:
                    # Only now, as there is something to be had in their place. Who has them open keeps them.
                    for digest in damage.objects:
                        store.layers.objects.remove(digest)
                    ingest(
                        store,
                        raw,
                        what,
                        digest=blob.digest,
                        size=blob.size_bytes,
                        diff_id=damage.diff_id,
                        replace=True,
                    )
            except (TiffinError, OSError) as error:
                reasons.append(f"{place}: {getattr(error, 'message', error)}")
                continue
            store.layers.objects.syncfs()
            return []
    if reasons:
        return reasons
    # What is not here is read again by the next load; what is damaged would stay.
    for digest in damage.objects:
        store.layers.objects.remove(digest)
    store.layers.remove(damage.diff_id)
    return [f"layer {damage.diff_id} can be had nowhere, so what was damaged is removed: load its image again"]


def _problems(store: ImageStore, image: Image) -> list[str]:
    if not store.driver.image_ready(image.id):
        return [f"image {image.id} is not prepared for the storage driver {store.driver.name}"]
    return [problem for problem in store.driver.check() if image.id in problem]
