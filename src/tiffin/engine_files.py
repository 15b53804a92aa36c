"""The engine's use cases on containers' files, from outside; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from tiffin.containers.changed import FileChange
    from tiffin.model.container import Container
    from tiffin.model.image import Image
    from tiffin.parts import Parts


class ContainerFiles:
    """Copying, comparing, exporting and committing what is in a container."""

    _parts: Parts

    def _get(self, reference: str) -> Container:
        from tiffin.state import containers as records

        return records.get(self._parts.database, reference)

    def copy_out(
        self,
        container: str,
        path: str,
        destination: str | IO[bytes],
        *,
        follow_link: bool = False,
        archive: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Copy a file or directory of a container to a path of the host (as cp would), or as a tar to a stream.

        Symlinks are resolved inside the container, a last one only with `follow_link`. Files become the caller's,
        unless `archive` keeps their numbers. NotFoundError, ConflictError, UsageError for a device.
        """
        from tiffin.containers.copy import copy_out

        found = self._get(container)
        copy_out(self._parts, found, path, destination, follow=follow_link, archive=archive, progress=progress)

    def copy_in(
        self,
        container: str,
        source: str | IO[bytes],
        path: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Copy a file or directory of the host, or what a tar stream holds, into a container.

        Owners keep their numbers; with `archive` everything becomes the container's user's. A stream needs an
        existing directory. NotFoundError, ConflictError, UsageError, InvalidImageError for a bad stream.
        """
        from tiffin.containers.copy import copy_in

        found = self._get(container)
        copy_in(self._parts, found, source, path, follow=follow_link, archive=archive, progress=progress)

    def diff(self, container: str) -> list[FileChange]:
        """What a container changed of its image's files, by path. NotFoundError."""
        from tiffin.containers.changed import diff

        return diff(self._parts, self._get(container))

    def export(
        self, container: str, destination: IO[bytes] | str, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Write all files of a container, but none of what is mounted in it, as a tar to a stream or file.

        `progress` gets the number of bytes written so far to a file.
        """
        from tiffin.containers import changed

        found = self._get(container)
        if isinstance(destination, str):
            changed.export_file(self._parts, found, destination, progress)
        else:
            changed.export(self._parts, found, destination)

    def commit(
        self,
        container: str,
        name: str | None = None,
        *,
        changes: Sequence[str] = (),
        author: str = "",
        message: str = "",
        pause: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Image:
        """Make an image of a container: its image's layers and one more with what it changed.

        `changes` are Dockerfile instructions; with `pause` a running container stands still meanwhile; `progress`
        gets the number of bytes read so far. UsageError, NotSupportedError for the image `host`.
        """
        from tiffin.containers.commit import commit

        return commit(
            self._parts, self._get(container), name, changes=changes, author=author, message=message, pause=pause,
            progress=progress,
        )  # fmt: skip
