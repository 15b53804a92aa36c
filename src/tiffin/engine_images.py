"""The engine's use cases on the images that are here; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from tiffin.images.trust.verify import Verified
    from tiffin.model.image import HistoryEntry, Image
    from tiffin.parts import Parts


class Images:
    """Finding, naming, making and removing images."""

    _parts: Parts

    def images(self, *, all: bool = False) -> list[Image]:
        """All images, newest first; with `all` the pseudo image `host` too."""
        return self._parts.images.list(all=all)

    def image(self, reference: str) -> Image:
        """The image that a name, name:tag, name@digest, ID or unique ID prefix means. NotFoundError, AmbiguousError."""
        return self._parts.images.get(reference)

    def history(self, reference: str) -> list[HistoryEntry]:
        """The steps that made an image, newest first. NotFoundError."""
        return self._parts.images.history(reference)

    def tag(self, reference: str, name: str) -> Image:
        """Give an image one more name; a name that was another's moves. NotFoundError, UsageError."""
        return self._parts.images.tag(reference, name)

    def remove_image(self, reference: str, *, force: bool = False) -> list[str]:
        """Take a name from an image, and the image away with its last name.

        Returns lines as Docker prints them ("Untagged: NAME", "Deleted: sha256:…"). ConflictError when a container
        needs it, or when it has several names and was given by ID, unless `force`.
        """
        return self._parts.images.remove(reference, force=force)

    def import_image(
        self,
        source: IO[bytes],
        name: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Image:
        """Make an image of one layer from a tar stream (plain, gzip, zstd, bzip2, xz).

        `changes` are Dockerfile instructions for its config; `progress` gets bytes read so far. InvalidImageError
        for a stream that cannot be trusted, UsageError for a bad name or change.
        """
        from tiffin.images.importer import import_image

        return import_image(
            self._parts.images, source, name, changes=changes, message=message, platform=platform, progress=progress
        )

    def load(
        self, source: IO[bytes] | str, *, platform: str | None = None, progress: Callable[[int], None] | None = None
    ) -> list[Image]:
        """Read images from a docker-archive, an OCI archive (file or stream) or an OCI directory (path).

        InvalidImageError when anything does not match its digest or size; nothing is kept of that image then.
        """
        from tiffin.images.load import load

        return load(self._parts.images, source, platform=platform, progress=progress)

    def save(
        self,
        references: Sequence[str],
        destination: IO[bytes] | str,
        *,
        format: str = "docker-archive",
        compression: str = "none",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write images to a file, a stream, or (oci-dir) a directory.

        `format` is docker-archive, oci-archive or oci-dir; `compression` of layers none, gzip or zstd;
        `progress` gets the number of bytes written so far to a file or stream. NotFoundError.
        """
        from tiffin.images.save import save

        save(self._parts.images, references, destination, format=format, compression=compression, progress=progress)

    def bootstrap(
        self,
        name: str,
        *,
        mirror: str | None = None,
        variant: str = "minbase",
        include: Sequence[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> Image:
        """Make a distribution's image ("debian:bookworm") from its package archive with mmdebstrap(1), no registry.

        `mirror` is the archive's address (default: the host's own sources), `include` further packages, `progress`
        gets mmdebstrap's lines. HostError when mmdebstrap is missing or fails.
        """
        from tiffin.images.bootstrap import bootstrap

        return bootstrap(self._parts.images, name, mirror=mirror, variant=variant, include=include, progress=progress)

    def inspect_image(self, reference: str) -> dict[str, Any]:
        """Everything known of an image, with Docker's field names. NotFoundError."""
        return self._parts.images.inspect(reference)

    def verify_image(
        self, reference: str, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Verified:
        """Read everything that an image consists of; with `repair` damaged layers are got again where they came from.

        `progress` gets the number of bytes read so far. NotFoundError, AmbiguousError, UsageError for `host`.
        """
        from tiffin.images.trust.verify import verify

        if not repair:
            return verify(self._parts.images, reference, progress=progress)
        from tiffin.images.trust.sources import repairing

        with repairing(self._parts.images, self._parts.warn) as open_blob:
            return verify(self._parts.images, reference, repair=open_blob, progress=progress)
