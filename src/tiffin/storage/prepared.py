"""What drivers make of images on disk: `<images>/<hex>/<driver>/`, complete from the moment it has that name.

`info` there is one line: format, file bytes, checksum, then mode, owner and time of the image's root directory.
`passwd` and `group` are copies of the image's files, since every start looks names up in them.
"""

from __future__ import annotations

import os

from tiffin.errors import NotFoundError, StoreError, os_error
from tiffin.failpoints import failpoint
from tiffin.model.record import Record
from tiffin.storage.objects import make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiffin.paths import Paths
    from tiffin.storage.entry import Entry

FORMAT = "tiffin-image-1"
CACHED_FILES = {"etc/passwd": "passwd", "etc/group": "group"}


class PreparedInfo(Record):
    """`checksum` is the driver's, in hex or "-"; the rest but `size_bytes` describes the image's root directory."""

    size_bytes: int
    checksum: str = "-"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def info_of(size_bytes: int, checksum: str, root: Entry) -> PreparedInfo:
    return PreparedInfo(
        size_bytes=size_bytes, checksum=checksum, mode=root.mode, uid=root.uid, gid=root.gid,
        mtime_ns=root.mtime_s * 1_000_000_000 + root.mtime_ns, xattrs=root.xattrs,
    )  # fmt: skip


class PreparedImages:
    """The prepared images of one driver. Safe from threads and processes."""

    def __init__(self, paths: Paths, driver: str) -> None:
        self._paths = paths
        self._driver = driver

    def directory(self, image_id: str) -> str:
        return f"{self._paths.images}/{image_id.removeprefix('sha256:')}/{self._driver}"

    def ready(self, image_id: str) -> bool:
        return os.path.exists(f"{self.directory(image_id)}/info")

    def info(self, image_id: str) -> PreparedInfo:
        """Raises `NotFoundError` when the image was not prepared, `StoreError` when `info` is damaged."""
        path = f"{self.directory(image_id)}/info"
        try:
            text = read_small(path).decode("ascii", "replace")
        except FileNotFoundError:
            raise NotFoundError(
                f"image {image_id} has not been prepared for the storage driver {self._driver}",
                hint="load it again",
            ) from None
        except OSError as error:
            raise os_error(error, f"cannot read image {image_id}") from error
        fields = text.split()
        try:
            if fields[0] != FORMAT or fields[7] != "end":
                raise ValueError
            xattrs = tuple(
                (bytes.fromhex(name), bytes.fromhex(value)) for name, value in (item.split("=") for item in fields[8:])
            )
            return PreparedInfo(
                size_bytes=int(fields[1]), checksum=fields[2], mode=int(fields[3], 8), uid=int(fields[4]),
                gid=int(fields[5]), mtime_ns=int(fields[6]), xattrs=xattrs,
            )  # fmt: skip
        except (ValueError, IndexError):
            raise StoreError(f"{path!r} is damaged", hint="remove the image and load it again") from None

    def publish(self, image_id: str, build: Callable[[str], PreparedInfo]) -> int:
        """Let `build` fill a new directory, then give it its name; returns the image's file bytes.

        When somebody else was faster, theirs stays. Raises `StoreError`.
        """
        from tiffin.storage.workspace import Workspace

        final = self.directory(image_id)
        try:
            with Workspace(self._paths.temporary, "image") as workspace:
                new = f"{workspace}/{self._driver}"
                make_directory(new)
                info = build(new)
                write_file(f"{new}/info", _info_line(info), 0o644)
                failpoint("image.built")
                make_directory(os.path.dirname(final))
                try:
                    os.rename(new, final)
                except FileExistsError:
                    pass
                except OSError as error:
                    if not self.ready(image_id):
                        raise error
        except OSError as error:
            raise os_error(error, f"cannot prepare image {image_id}") from error
        return info.size_bytes

    def remove(self, image_id: str) -> None:
        """Forget a prepared image; from the first moment on it is not `ready`. Raises `StoreError`."""
        from tiffin.storage.workspace import Workspace

        final = self.directory(image_id)
        try:
            with Workspace(self._paths.temporary, "gone") as workspace:
                try:
                    os.rename(final, f"{workspace}/{self._driver}")
                except FileNotFoundError:
                    return
                try:
                    os.rmdir(os.path.dirname(final))
                except OSError:
                    pass  # another driver's still is there
        except OSError as error:
            raise os_error(error, f"cannot remove image {image_id}") from error

    def cached_file(self, image_id: str, path: str) -> bytes | None:
        """The copy of one of `CACHED_FILES`; None when `path` is none of them or the image has no such file."""
        name = CACHED_FILES.get(path.strip("/"))
        if name is None:
            return None
        try:
            return read_small(f"{self.directory(image_id)}/{name}")
        except OSError:
            return None

    def __iter__(self) -> Iterator[str]:
        """IDs of the images that are ready."""
        try:
            names = os.listdir(self._paths.images)
        except FileNotFoundError:
            return
        for name in sorted(names):
            if self.ready(name):
                yield f"sha256:{name}"


def _info_line(info: PreparedInfo) -> bytes:
    fields = (FORMAT, info.size_bytes, info.checksum, f"{info.mode:o}", info.uid, info.gid, info.mtime_ns, "end")
    xattrs = (f"{name.hex()}={value.hex()}" for name, value in info.xattrs)
    return " ".join([*map(str, fields), *xattrs]).encode() + b"\n"


def is_cached(path: str) -> bool:
    return path.strip("/") in CACHED_FILES


def read_small(path: str, max_bytes: int = 16 << 20) -> bytes:
    """A file's content, up to `max_bytes`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, min(os.fstat(fd).st_size, max_bytes))
    finally:
        os.close(fd)


def write_file(path: str, data: bytes | bytearray, mode: int) -> None:
    """A new file with this content and exactly this mode."""
    from tiffin.storage.objects import write_all

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        if data:
            write_all(fd, memoryview(data))
    finally:
        os.close(fd)
