"""The engine's use cases on the images that are here; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from tiffin.errors import TiffinError
    from tiffin.images.contents.compare import ImageDifference
    from tiffin.images.contents.packages import Package
    from tiffin.images.lineage.rebase import Rebased
    from tiffin.images.lineage.rollback import TagMove
    from tiffin.images.lineage.tree import TreeNode
    from tiffin.images.mounts import ImageMount
    from tiffin.images.sharing import Sharing
    from tiffin.images.trust.verify import Verified
    from tiffin.model.image import HistoryEntry, Image
    from tiffin.parts import Parts
    from tiffin.system.sharing import Memory


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

    def image_sharing(self, references: Sequence[str] = ()) -> tuple[Sharing, Memory]:
        """What images have in common, and the memory that their running containers share; all images by default.

        NotFoundError, AmbiguousError, StoreError; UsageError for `host`.
        """
        from tiffin.system.sharing import sharing

        return sharing(self._parts, references)

    def mount_image(self, reference: str, directory: str | None = None) -> ImageMount:
        """Show an image's files on the host, read-only, at `directory`, by default one below the run directory.

        Where it is mounted already this is counted. NotFoundError, UsageError, ConflictError when another image is
        there, HostError when the kernel refuses.
        """
        from tiffin.images import mounts

        return mounts.mount(self._parts.images, reference, directory)

    def mounted_images(self) -> list[ImageMount]:
        """The mounts of images, in the order in which they were made."""
        from tiffin.images import mounts

        return mounts.mounted(self._parts.paths)

    def unmount_image(
        self,
        reference: str | None = None,
        *,
        force: bool = False,
        failed: Callable[[TiffinError], None] = lambda error: None,
    ) -> list[ImageMount]:
        """Undo a `mount_image` of an image, or of what is at a directory; one of every image without `reference`.

        With `force` however often it was mounted, and though it is in use. Returns what was changed, with the
        `count` that is left; of several, `failed` gets the errors of those that stay. NotFoundError, ConflictError.
        """
        from tiffin.images import mounts

        return mounts.unmount(self._parts.images, reference, force=force, failed=failed)

    def packages(self, reference: str) -> list[Package]:
        """The packages that an image's own databases name: dpkg's, apk's, rpm's, Python's. NotFoundError."""
        from tiffin.images.contents.packages import packages_of

        return packages_of(self._parts.images, self._parts.images.get(reference), warn=self._parts.warn)

    def compare_images(self, old: str, new: str, *, path: str | None = None) -> ImageDifference:
        """What `new` has that `old` has not, and the reverse, by package and file, below `path`. NotFoundError."""
        from tiffin.images.contents.compare import compare

        images = self._parts.images
        return compare(images, images.get(old), images.get(new), path=path, warn=self._parts.warn)

    def sbom(self, reference: str, *, files: bool = False) -> dict[str, Any]:
        """An image's bill of materials as an SPDX 2.3 document, ready for JSON; with `files` each file too.

        SOURCE_DATE_EPOCH is its creation time where that is set. NotFoundError.
        """
        from tiffin.images.contents.sbom import sbom

        return sbom(
            self._parts.images, self._parts.images.get(reference), reference, files=files, warn=self._parts.warn
        )

    def image_tree(self, references: Sequence[str] = ()) -> list[TreeNode]:
        """The images by what they rest on, roots first; with `references` only what is above and below those.

        NotFoundError, AmbiguousError.
        """
        from tiffin.images.lineage.tree import tree

        return tree(self._parts.images, references)

    def rebase_image(
        self,
        reference: str,
        onto: str,
        *,
        base: str = "",
        name: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Rebased:
        """Put an image's own layers on another base; its name moves to the new image, or `name` is given to it.

        The old base is `base`, else what is recorded, else what the layers tell. ConflictError when files that its
        own layers changed were changed between the bases as well, unless `force`; NotFoundError, UsageError.
        """
        from tiffin.images.lineage.rebase import rebase

        return rebase(self._parts.images, reference, onto, base=base, name=name, force=force, dry_run=dry_run)

    def flatten_image(self, reference: str, name: str = "", *, progress: Callable[[int], None] | None = None) -> Image:
        """Make an image of one layer with the files and the config of another. NotFoundError, UsageError."""
        from tiffin.images.lineage.flatten import flatten_image

        return flatten_image(self._parts.images, reference, name, progress=progress)

    def split_image(
        self, reference: str, name: str = "", *, layers: int = 20, progress: Callable[[int], None] | None = None
    ) -> Image:
        """Make an image with the files and the config of another, in at most so many layers by package.

        ConflictError when it has no packages, NotFoundError, UsageError.
        """
        from tiffin.images.lineage.split import split_image

        store, warn = self._parts.images, self._parts.warn
        return split_image(store, reference, name, layers=layers, progress=progress, warn=warn)

    def tag_moves(self, name: str) -> list[TagMove]:
        """Which images a name has stood for, newest first; they may be gone. NotFoundError, UsageError."""
        from tiffin.images.lineage.rollback import tag_moves

        return tag_moves(self._parts.images, name)

    def rollback(self, name: str, to: str = "") -> Image:
        """Have a name stand for what it stood for before, or for `to` (ID or digest) among those that it ever did.

        NotFoundError when that image is not here any more, ConflictError when there was no other, UsageError.
        """
        from tiffin.images.lineage.rollback import rollback

        return rollback(self._parts.images, name, to)

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
