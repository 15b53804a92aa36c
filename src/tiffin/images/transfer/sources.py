"""Where a packed layer can be had when a registry wants it, cheapest first."""

from __future__ import annotations

from contextlib import contextmanager

from tiffin.errors import RegistryError, StoreError, TiffinError
from tiffin.images.transfer import steps
from tiffin.images.transfer.packing import Checked, Packed, WrongDigest, can_repack
from tiffin.model.record import Record
from tiffin.registry.names import split_name
from tiffin.state import blobs
from tiffin.storage import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tiffin.images.codecs import Readable
    from tiffin.images.store import ImageStore
    from tiffin.images.transfer.steps import Teller
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository
    from tiffin.state.blobs import Blob

CHUNK_BYTES = 4 << 20
"""An upload's chunk is held in memory, once for each layer on its way."""
THERE = "there"
MOUNT = "mount"
REPACK = "repack"
KEPT = "kept"
PLACE = "place"


class Source(Record):
    """One way to a blob; `place` is the repository to mount it or to fetch it from."""

    kind: str
    place: Repository | None = None


class Sources:
    """Finds ways to blobs for one target repository, and goes them. Safe from several threads."""

    def __init__(
        self,
        store: ImageStore,
        registries: Registries,
        target: Repository,
        teller: Teller,
        stopped: Callable[[], bool],
    ) -> None:
        self._store = store
        self._registries = registries
        self._target = target
        self._teller = teller
        self._stopped = stopped

    def of(self, blob: Blob) -> list[Source]:
        """Every way that looks open now, best first; none when the blob cannot be had."""
        if self._registries.blob_size(self._target, blob.digest) is not None:
            return [Source(kind=THERE)]
        places = [place for text in self._places(blob) if (place := split_name(text)) and place != self._target]
        found = [Source(kind=MOUNT, place=place) for place in places if place.host == self._target.host]
        solid = []
        if can_repack(blob.packed_by):
            solid.append(Source(kind=REPACK))
        if kept.is_kept(self._store.paths, blob.digest):
            solid.append(Source(kind=KEPT))
        for place in places:
            if solid:
                break  # asking other registries takes time, and may wait for one that is down
            if self._is_at(place, blob):
                solid.append(Source(kind=PLACE, place=place))
        return [*found, *solid] if solid else []

    def provide(self, blob: Blob, sources: list[Source], id: str) -> bool:
        """Bring the blob to the target by the first of the ways that works; False when none does."""
        for source in sources:
            if source.kind == THERE:
                self._teller.say(steps.THERE_ALREADY, id)
                return True
            if source.kind == MOUNT and source.place is not None:
                if self._registries.mount_blob(self._target, blob.digest, source.place):
                    self._teller.say(f"{steps.MOUNTED} {source.place.path}", id)
                    return True
                continue
            try:
                self._registries.upload_blob(
                    self._target,
                    self._maker(blob, source, id),
                    digest=blob.digest,
                    size=blob.size_bytes,
                    chunk_bytes=CHUNK_BYTES,
                )
            except (WrongDigest, StoreError):
                continue
            self._teller.say(steps.PUSHED, id)
            return True
        return False

    def _places(self, blob: Blob) -> list[str]:
        return blobs.places_of_blob(self._store.database, blob.digest)

    def _is_at(self, place: Repository, blob: Blob) -> bool:
        try:
            if self._registries.blob_size(place, blob.digest) is not None:
                return True
        except RegistryError:  # down, or we may not read there: no reason not to push
            return False
        except TiffinError:
            return False
        blobs.forget_place(self._store.database, blob.digest, str(place))
        return False

    def _maker(self, blob: Blob, source: Source, id: str) -> Callable[[], AbstractContextManager[Readable]]:
        counter = self._teller.counter(steps.PUSHING, id, blob.size_bytes)

        @contextmanager
        def make() -> Iterator[Readable]:
            with self._opened(blob, source) as raw:
                yield Told(Checked(raw, blob.digest, blob.size_bytes), counter, self._stopped)

        return make

    def _opened(self, blob: Blob, source: Source) -> AbstractContextManager[Readable]:
        if source.kind == REPACK:
            return Packed(self._store.layers, blob.diff_id, blob.packed_by.partition(" ")[0])
        if source.kind == KEPT:
            file = kept.open_kept(self._store.paths, blob.digest)
            if file is None:
                raise WrongDigest(f"the blob {blob.digest} is not kept any more")
            return file
        assert source.place is not None
        return self._registries.open_blob(source.place, blob.digest, blob.size_bytes)


class Told:
    """A stream that tells how many bytes were read, and ends with an error once the transfer is given up."""

    def __init__(self, raw: Readable, count: Callable[[int], None] | None, stopped: Callable[[], bool]) -> None:
        self._raw = raw
        self._count = count
        self._stopped = stopped
        self._done = 0

    def read(self, size: int) -> bytes:
        if self._stopped():
            raise steps.Stopped
        data = self._raw.read(size)
        self._done += len(data)
        if self._count is not None:
            self._count(self._done)
        return data
