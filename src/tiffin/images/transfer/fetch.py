"""One layer from a registry into the store, in one pass: download, digest, unpacking; and several of them at once."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager

from tiffin.errors import InvalidImageError, os_error
from tiffin.images.archive import ingest, known_layer
from tiffin.images.codecs import Counted, Verified
from tiffin.images.transfer import steps
from tiffin.model.record import Record
from tiffin.storage import kept
from tiffin.storage.lock import LayerLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from queue import Queue

    from tiffin.images.codecs import Readable
    from tiffin.images.store import ImageStore
    from tiffin.images.transfer.documents import Descriptor
    from tiffin.images.transfer.steps import Teller
    from tiffin.images.transfer.unpacker import Unpacker
    from tiffin.registry.client import Registries
    from tiffin.registry.names import Repository

AT_ONCE = 3
READ_BYTES = 256 << 10
IDLE_S = 0.5
OWN_PROCESS_BYTES = 1 << 20
"""A blob of this size is worth a process of its own, which takes some 50 ms to begin."""
_PATIENCE_S = 0.3


class Fetched(Record):
    """A layer that is in the store now; `verified` when it came out of that very blob just now."""

    diff_id: str
    size_bytes: int
    blob: Descriptor
    verified: bool


class Fetcher:
    """Fetches the layers of an image, `AT_ONCE` at a time. Use once."""

    def __init__(
        self, store: ImageStore, registries: Registries, repository: Repository, teller: Teller, *, keep_blobs: bool
    ) -> None:
        from queue import SimpleQueue

        self._store = store
        self._registries = registries
        self._repository = repository
        self._teller = teller
        self._keep_blobs = keep_blobs
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._unpackers: set[Unpacker] = set()  # guarded by _lock
        self._done: SimpleQueue[Fetched | BaseException] = SimpleQueue()

    def run(
        self,
        layers: Sequence[tuple[Descriptor, str]],
        finished: Callable[[Fetched, int], None],
        idle: Callable[[], None],
    ) -> None:
        """Fetch `layers` (blob and diff_id); `finished` is called in this thread for each, with how many are left.

        `idle` is called when nothing has finished for half a second. The first failure stops the others and is raised,
        as is KeyboardInterrupt.
        """
        from queue import SimpleQueue

        waiting: Queue[tuple[Descriptor, str]] = SimpleQueue()  # type: ignore[assignment]
        for layer in sorted(layers, key=lambda each: -each[0].size):  # so that none of the large ones is the last alone
            waiting.put(layer)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name="tiffin-fetch", daemon=True)
            for _ in range(min(AT_ONCE, len(layers)))
        ]
        for thread in threads:
            thread.start()
        try:
            for left in range(len(layers) - 1, -1, -1):
                outcome = self._next(idle)
                if isinstance(outcome, BaseException):
                    raise outcome
                finished(outcome, left)
        finally:
            self._stop(threads)

    def _stop(self, threads: Sequence[threading.Thread]) -> None:
        """Nothing is written to the store after this. A thread that waits for a silent server is left to its wait."""
        self._stopped.set()
        with self._lock:
            unpackers = list(self._unpackers)
        for unpacker in unpackers:
            unpacker.stop()
        for thread in threads:
            thread.join(_PATIENCE_S)

    def _next(self, idle: Callable[[], None]) -> Fetched | BaseException:
        from queue import Empty

        while True:
            try:
                return self._done.get(timeout=IDLE_S)
            except Empty:
                idle()

    def finished_meanwhile(self) -> list[Fetched]:
        """After `run` was cut short: the layers that got ready in the meantime."""
        found = []
        while not self._done.empty():
            outcome = self._done.get()
            if isinstance(outcome, Fetched):
                found.append(outcome)
        return found

    def _work(self, waiting: Queue[tuple[Descriptor, str]]) -> None:
        while not self._stopped.is_set() and not waiting.empty():
            try:
                blob, diff_id = waiting.get_nowait()
            except Exception:  # another thread was faster
                return
            try:
                self._done.put(self._fetch(blob, diff_id))
            except BaseException as error:  # raised again by the thread that waits
                self._done.put(error)
                return

    def _fetch(self, blob: Descriptor, diff_id: str) -> Fetched:
        id = steps.short(blob.digest)
        what = f"layer {blob.digest}"
        try:
            with LayerLock(self._store.paths, diff_id, self._stopped.is_set):
                known = known_layer(self._store, diff_id)
                if known is None:
                    found = self._download(blob, diff_id, id, what)
                else:  # another one was faster, or the blob is to be kept too
                    found = known
                    if self._keep_blobs:
                        self._keep(blob, what)
        except OSError as error:
            raise os_error(error, f"cannot fetch {what}") from error
        self._teller.say(steps.PULLED, id)
        return Fetched(diff_id=found[0], size_bytes=found[1], blob=blob, verified=known is None)

    def _keep(self, blob: Descriptor, what: str) -> None:
        """The packed layer alone."""
        file = kept.KeptFile(self._store.paths, blob.digest)
        try:
            with self._registries.open_blob(self._repository, blob.digest, blob.size) as body:
                raw = Verified(_Teed(_Stopping(body, self._stopped), file), what, digest=blob.digest, size=blob.size)
                while raw.read(READ_BYTES):
                    pass
            file.keep()
        finally:
            file.close()

    def _download(self, blob: Descriptor, diff_id: str, id: str, what: str) -> tuple[str, int]:
        keeping = kept.KeptFile(self._store.paths, blob.digest) if self._keep_blobs else None
        try:
            if blob.size < OWN_PROCESS_BYTES or not sys.executable:
                with self._opened(blob, id, keeping) as raw:
                    found = ingest(self._store, raw, what, digest=blob.digest, size=blob.size, diff_id=diff_id)
            else:
                found = self._hand_over(blob, diff_id, id, what, keeping)
            if keeping is not None:
                keeping.keep()
            return found
        finally:
            if keeping is not None:
                keeping.close()

    @contextmanager
    def _opened(self, blob: Descriptor, id: str, keeping: kept.KeptFile | None) -> Iterator[Readable]:
        """The blob as it comes, not verified."""
        counter = self._teller.counter(steps.DOWNLOADING, id, blob.size)
        with self._registries.open_blob(self._repository, blob.digest, blob.size) as body:
            raw: Readable = Counted(_Stopping(body, self._stopped), counter)
            yield raw if keeping is None else _Teed(raw, keeping)

    def _hand_over(
        self, blob: Descriptor, diff_id: str, id: str, what: str, keeping: kept.KeptFile | None
    ) -> tuple[str, int]:
        from tiffin.images.transfer.unpacker import Unpacker

        with (
            Unpacker(self._store.paths, diff_id, blob.size, what) as unpacker,  # begins while the registry is asked
            self._stoppable(unpacker),
            self._opened(blob, id, keeping) as raw,
        ):
            verified = Verified(raw, what, digest=blob.digest, size=blob.size)
            try:
                while data := verified.read(READ_BYTES):
                    unpacker.write(data)
            except BrokenPipeError:
                try:
                    return unpacker.finish()
                except InvalidImageError:
                    while verified.read(
                        READ_BYTES
                    ):  # a blob that is not what was promised is better told by its digest
                        pass
                    raise
            return unpacker.finish()

    @contextmanager
    def _stoppable(self, unpacker: Unpacker) -> Iterator[None]:
        with self._lock:
            if self._stopped.is_set():
                raise steps.Stopped
            self._unpackers.add(unpacker)
        try:
            yield
        finally:
            with self._lock:
                self._unpackers.discard(unpacker)


class _Stopping:
    """A stream that ends with an error once the transfer is given up."""

    def __init__(self, raw: Readable, stopped: threading.Event) -> None:
        self._raw = raw
        self._stopped = stopped

    def read(self, size: int) -> bytes:
        data = b"" if self._stopped.is_set() else self._raw.read(size)
        if self._stopped.is_set():  # also while it waited
            raise steps.Stopped
        return data


class _Teed:
    """A stream that is also written down."""

    def __init__(self, raw: Readable, file: kept.KeptFile) -> None:
        self._raw = raw
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._file.write(data)
        return data
