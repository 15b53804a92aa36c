"""Writing the tar of an image archive: plain files and directories, the same bytes for the same input."""

from __future__ import annotations

import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from tiffin.images.codecs import Writable


class ArchiveWriter:
    """Members one after the other; times are 0 and owners root, so that nothing of the machine gets in."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._directories: set[str] = set()

    def add(self, name: str, data: bytes) -> None:
        """A small member."""
        with self.member(name, len(data)) as member:
            member.write(data)

    def member(self, name: str, size: int) -> _Member:
        """`with writer.member(name, size) as member: member.write(…)`, until `size` bytes were written."""
        parent = name.rpartition("/")[0]
        if parent:
            self._directory(parent)
        self._header(name, tarfile.REGTYPE, 0o644, size)
        return _Member(self._out, name, size)

    def growing(self, name: str, file: IO[bytes]) -> _Growing:
        """A member whose size is known at its end only, in `file`, which can be sought and is what this writes to."""
        at = file.tell()
        self._header(name, tarfile.REGTYPE, 0o644, 0)
        return _Growing(self, name, file, at)

    def finish(self) -> None:
        """The end of the archive."""
        _write_all(self._out, bytes(1024))

    def _directory(self, name: str) -> None:
        if name in self._directories:
            return
        self._directories.add(name)
        parent = name.rpartition("/")[0]
        if parent:
            self._directory(parent)
        self._header(f"{name}/", tarfile.DIRTYPE, 0o755, 0)

    def rewrite(self, file: IO[bytes], at: int, name: str, size: int) -> None:
        """Write the header of a member again, now that its size is known."""
        end = file.tell()
        file.seek(at)
        self._header(name, tarfile.REGTYPE, 0o644, size)
        file.seek(end)

    def _header(self, name: str, kind: bytes, mode: int, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size = kind, mode, size
        _write_all(self._out, info.tobuf(tarfile.GNU_FORMAT))  # GNU's base-256 size for layers of 8 GiB and more


class _Member:
    def __init__(self, out: Writable, name: str, size: int) -> None:
        self._out = out
        self._name = name
        self._size = size
        self._left = size

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            if self._left:
                raise AssertionError(f"{self._name} was announced with {self._size} bytes, {self._left} are missing")
            _write_all(self._out, bytes(-self._size % 512))

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise AssertionError(f"{self._name} was announced with {self._size} bytes and has more")
        _write_all(self._out, data)
        return len(data)


class _Growing:
    """`with` it `write`; the header gets the size at the end."""

    def __init__(self, writer: ArchiveWriter, name: str, file: IO[bytes], at: int) -> None:
        self._writer = writer
        self._name = name
        self._file = file
        self._at = at
        self.size = 0

    def __enter__(self) -> _Growing:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            _write_all(self._file, bytes(-self.size % 512))
            self._writer.rewrite(self._file, self._at, self._name, self.size)

    def write(self, data: bytes) -> int:
        self.size += len(data)
        _write_all(self._file, data)
        return len(data)


def _write_all(out: Writable, data: bytes) -> None:
    """A stream without a buffer may take less than it was given: a pipe, or a disk that is nearly full."""
    taken = out.write(data)
    while isinstance(taken, int) and taken < len(data):
        data = data[taken:]
        taken = out.write(data)
