"""What a layer says about one path."""

from __future__ import annotations

# The first seven are EROFS's and dirent's own numbers (erofs_fs.h, EROFS_FT_*).
REGULAR, DIRECTORY, CHARACTER, BLOCK, FIFO, SOCKET, SYMLINK = range(1, 8)
HARDLINK = 8  # another name for `link`
WHITEOUT = 9  # `path` of the layers below is gone
OPAQUE = 10  # what the layers below have in the directory `path` is gone

KIND_MODES = {
    REGULAR: 0o100000,
    DIRECTORY: 0o040000,
    CHARACTER: 0o020000,
    BLOCK: 0o060000,
    FIFO: 0o010000,
    SOCKET: 0o140000,
    SYMLINK: 0o120000,
}


class Entry:
    """One entry of a layer, in the order of its tar.

    `path` and a hard link's `link` are relative, without `.` and `..`; the root is b"". A symlink's `link` is its
    content. `mode` has no type bits. `object` is the SHA-256 of the content in hex, None when empty or no file.
    `xattrs` are (name, value) pairs. `sparse` tells that the tar stored it sparse. Times are seconds and nanoseconds.
    """

    # A plain class: a Record's checked construction would cost 30 ms for Debian's 8,700 entries.
    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "mtime_s", "object", "path", "size", "sparse",
        "uid", "xattrs",
    )  # fmt: skip

    def __init__(
        self,
        path: bytes,
        kind: int,
        mode: int,
        uid: int,
        gid: int,
        mtime_s: int,
        mtime_ns: int,
        size: int = 0,
        object: str | None = None,
        link: bytes = b"",
        major: int = 0,
        minor: int = 0,
        xattrs: tuple[tuple[bytes, bytes], ...] = (),
        sparse: bool = False,
    ) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_s = mtime_s
        self.mtime_ns = mtime_ns
        self.size = size
        self.object = object
        self.link = link
        self.major = major
        self.minor = minor
        self.xattrs = xattrs
        self.sparse = sparse

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<Entry {self.kind} {self.path!r} {self.mode:o} {self.uid}:{self.gid} {self.size}>"


def shown(path: bytes) -> str:
    """A path as error messages print it: quoted, bytes that are not UTF-8 escaped, long ones shortened."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return f"'{text}'" if len(text) <= 100 else f"'{text[:80]}…'"
