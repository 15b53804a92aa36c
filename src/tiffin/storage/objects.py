"""Contents of regular files, each kept once, named by its SHA-256 and never modified.

The directories cannot be listed by other users (0711) but the files can be read (0644): whoever can name a content
already knows it, and overlay opens objects as whoever mounted it.
"""

from __future__ import annotations

import errno
import os

from tiffin.errors import NotFoundError, StoreError, os_error
from tiffin.failpoints import failpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL_BYTES = 1 << 20
HOLE_BYTES = 32 << 10
HELD_BYTES = 8 << 20
"""How much of a content is held in memory until it is known whether the store has it already."""
_ZEROS = bytes(HOLE_BYTES)
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
NEW_PREFIX = ".new-"


class UnnamedFile:
    """A file being written that no name leads to; `appear` names it when it is complete.

    O_TMPFILE where the file system has it: a killed process leaves nothing. Otherwise a `.new-…` file in `directory`,
    which the next prune removes.
    """

    def __init__(self, directory: str, mode: int = 0o644) -> None:
        self._mode = mode
        self._directory = directory
        self._name: str | None = None
        try:
            self.fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno not in _NO_TMPFILE or not os.path.isdir(directory):
                raise
            self._name = _new_name(directory)
            self.fd = os.open(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)

    def appear(self, path: str, directory_fd: int, *, replace: bool = False) -> None:
        """Give it `path`; an existing file there is kept unless `replace`. May be called once."""
        if self._name is None:
            target = _new_name(self._directory) if replace else path
            try:
                # dst_dir_fd makes Python call linkat with AT_SYMLINK_FOLLOW, which this needs (open(2), O_TMPFILE).
                os.link(f"/proc/self/fd/{self.fd}", target, dst_dir_fd=directory_fd, follow_symlinks=True)
            except FileExistsError:
                return
            if not replace:
                return
            self._name = target
        if not replace:
            try:
                os.link(self._name, path)
            except FileExistsError:
                pass
            return
        os.rename(self._name, path)
        self._name = None

    def close(self) -> None:
        """Close it; unnamed, it is gone."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._name is not None:
            try:
                os.unlink(self._name)
            except FileNotFoundError:
                pass
            self._name = None


def _new_name(directory: str) -> str:
    return f"{directory}/{NEW_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until all of `data` is written."""
    written = os.write(fd, data)
    size = len(data)
    while written < size:
        written += os.write(fd, memoryview(data)[written:])


def sync_file_system(directory: str) -> None:
    """syncfs(2) on the file system of `directory`: everything written there so far survives a power cut."""
    import ctypes

    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), directory)
        finally:
            os.close(fd)
    except OSError as error:
        raise os_error(error, "cannot write the store to disk") from error


class ObjectStore:
    """A directory of objects. Methods raise `OSError` as the system does, unless they say otherwise. Thread-safe."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._ready = False
        self._fix_mode = False

    def path(self, digest: str) -> str:
        """Where the object with this SHA-256 (hex) is, or would be."""
        return f"{self.root}/{digest[:2]}/{digest[2:]}"

    def has(self, digest: str) -> bool:
        return os.path.exists(self.path(digest))

    def open(self, digest: str) -> int:
        """A file descriptor for reading. Raises `StoreError` when the object is missing."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            hint = "run `tiffin system check`, then load the image again"
            raise StoreError(f"object {digest} is missing from the store", hint=hint) from None
        except OSError as error:
            raise os_error(error, f"cannot read object {digest}") from error

    def add_bytes(self, data: bytes | memoryview) -> str:
        """Keep `data`; returns its SHA-256 in hex. Content that is there already is not written again."""
        from hashlib import sha256

        digest = sha256(data).hexdigest()
        self.put_small(digest, data)
        return digest

    def put_small(self, digest: str, data: bytes | memoryview) -> None:
        """Keep `data`, whose SHA-256 the caller has computed."""
        path = f"{self.root}/{digest[:2]}/{digest[2:]}"
        replace = False
        try:
            # A power cut may have left a file whose data never reached the disk; then it is too short.
            if os.stat(path).st_size == len(data):
                return
            replace = True
        except FileNotFoundError:
            pass
        new = self.new_file()
        try:
            write_all(new.fd, data)
            self.appear(new, path, replace)
        finally:
            new.close()

    def writer(self) -> ObjectWriter:
        """For contents too large to hold: hashes while it writes."""
        return ObjectWriter(self)

    def new_file(self) -> UnnamedFile:
        if not self._ready:
            self._prepare()
        new = UnnamedFile(self.root)
        if self._fix_mode:
            os.fchmod(new.fd, 0o644)
        return new

    def _prepare(self) -> None:
        make_directory(self.root)
        # The umask cannot be read without changing it for every thread; a first file shows what it does.
        probe = UnnamedFile(self.root)
        try:
            self._fix_mode = os.fstat(probe.fd).st_mode & 0o777 != 0o644
        finally:
            probe.close()
        self._ready = True

    def appear(self, new: UnnamedFile, path: str, replace: bool = False) -> None:
        """Name a complete file."""
        try:
            new.appear(path, new.fd, replace=replace)
        except FileNotFoundError:
            make_directory(os.path.dirname(path))
            new.appear(path, new.fd, replace=replace)
        failpoint("object.kept")

    def remove(self, digest: str) -> int:
        """Delete an object; returns the bytes of disk that it took, 0 when it was not there."""
        path = self.path(digest)
        try:
            freed = os.stat(path).st_blocks * 512
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return freed

    def __iter__(self) -> Iterator[str]:
        """Digests of all objects, in no order."""
        for directory in _directories(self.root):
            with os.scandir(f"{self.root}/{directory}") as found:
                for item in found:
                    if len(item.name) == 62:
                        yield directory + item.name

    def disk_usage(self) -> tuple[int, int]:
        """(objects, bytes of disk that they take)."""
        count = size = 0
        for directory in _directories(self.root):
            with os.scandir(f"{self.root}/{directory}") as found:
                for item in found:
                    count += 1
                    size += item.stat(follow_symlinks=False).st_blocks * 512
        return count, size

    def verify(self, digest: str) -> bool:
        """Whether the object's content still has its SHA-256. Raises `NotFoundError` when it is missing."""
        from hashlib import sha256

        try:
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"object {digest} is missing from the store") from None
        hasher = sha256()
        try:
            buffer = bytearray(SMALL_BYTES)
            view = memoryview(buffer)
            while count := os.readv(fd, [buffer]):
                hasher.update(view[:count])
        except OSError:
            return False
        finally:
            os.close(fd)
        return hasher.hexdigest() == digest

    def syncfs(self) -> None:
        """Make everything added so far survive a power cut. Raises `StoreError`."""
        make_directory(self.root)
        sync_file_system(self.root)


class ObjectWriter:
    """One object being written piece by piece; `finish` or `abort` must end it.

    The first pieces are held, so that most of what the store has already is never written again.
    """

    def __init__(self, store: ObjectStore) -> None:
        from hashlib import sha256

        self._store = store
        self._new: UnnamedFile | None = None
        self._held: list[tuple[bytes, int, int]] = []  # pieces, and holes with no bytes
        self._hash = sha256()
        self._size = 0
        self._offset = 0  # of what is in the file

    def write(self, data: bytes, start: int, end: int) -> None:
        """Append data[start:end]; aligned runs of zeros become holes. `data` must not change afterwards."""
        self._hash.update(memoryview(data)[start:end])
        self._size += end - start
        self._take(data, start, end)

    def hole(self, size: int) -> None:
        """Append `size` zero bytes that take no disk."""
        left = size
        while left:
            step = min(left, SMALL_BYTES)
            self._hash.update(memoryview(_zero_megabyte())[:step])
            left -= step
        self._size += size
        self._take(b"", 0, size)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._new is not None:
            self._put(data, start, end)
            return
        self._held.append((data, start, end))
        if self._size > HELD_BYTES:
            self._make_file()

    def _make_file(self) -> UnnamedFile:
        if self._new is None:
            self._new = self._store.new_file()
            for piece in self._held:
                self._put(*piece)
            self._held.clear()
        return self._new

    def _put(self, data: bytes, start: int, end: int) -> None:
        assert self._new is not None
        fd = self._new.fd
        if not data:
            os.lseek(fd, end - start, os.SEEK_CUR)
            self._offset += end - start
            return
        view = memoryview(data)
        first = at = start  # `first`: where the run of data that is not yet written began
        step = min(HOLE_BYTES - self._offset % HOLE_BYTES, end - start)
        while at < end:
            if data.startswith(_ZEROS[:step], at):
                if first < at:
                    write_all(fd, view[first:at])
                os.lseek(fd, step, os.SEEK_CUR)
                first = at + step
            at += step
            step = min(HOLE_BYTES, end - at)
        if first < end:
            write_all(fd, view[first:end])
        self._offset += end - start

    def finish(self) -> str:
        """The object is complete; returns its SHA-256 in hex."""
        digest = self._hash.hexdigest()
        path = self._store.path(digest)
        try:
            try:
                if os.stat(path).st_size == self._size:
                    return digest
                replace = True
            except FileNotFoundError:
                replace = False
            new = self._make_file()
            os.ftruncate(new.fd, self._size)
            self._store.appear(new, path, replace)
        finally:
            self.abort()
        return digest

    def abort(self) -> None:
        self._held.clear()
        if self._new is not None:
            self._new.close()
            self._new = None


_zero_cache: list[bytes] = []


def _zero_megabyte() -> bytes:
    if not _zero_cache:
        _zero_cache.append(bytes(SMALL_BYTES))
    return _zero_cache[0]


def _directories(root: str) -> list[str]:
    try:
        return [name for name in os.listdir(root) if len(name) == 2]
    except FileNotFoundError:
        return []


def make_directory(path: str) -> None:
    """mkdir -p with mode 0711 whatever the umask, since what a container mounts lies below."""
    try:
        os.mkdir(path, 0o711)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        try:
            os.mkdir(path, 0o711)
        except FileExistsError:
            return
    os.chmod(path, 0o711)
