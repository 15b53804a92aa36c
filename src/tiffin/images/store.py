"""The images that are here: look up, list, tag, remove, history, and the one way in for new ones."""

from __future__ import annotations

import builtins

from tiffin.errors import AmbiguousError, NotFoundError, UsageError
from tiffin.failpoints import failpoint
from tiffin.images.host import host_image, is_host_id
from tiffin.images.reference import HOST, id_prefix, is_id, parse_reference, parse_tag
from tiffin.model.image import HistoryEntry, Image
from tiffin.state import events
from tiffin.state import images as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from tiffin.images.config import ParsedConfig
    from tiffin.paths import Paths
    from tiffin.state.blobs import Base, Blob, Manifest
    from tiffin.state.db import Database
    from tiffin.storage.layers import LayerStore
    from tiffin.storage.rootfs import RootfsDriver

_LIST_HINT = "`tiffin images` lists what is here"


class ImageStore:
    """Images of one engine: records in `database`, layers in `layers`, what `driver` made of them to be mounted.

    The last two are asked for when they are needed: whoever only looks images up does without storage.
    """

    def __init__(
        self,
        paths: Paths,
        database: Database,
        layers: Callable[[], LayerStore],
        driver: Callable[[], RootfsDriver],
    ) -> None:
        self.paths = paths
        self.database = database
        self._layers = layers
        self._driver = driver

    @property
    def layers(self) -> LayerStore:
        return self._layers()

    @property
    def driver(self) -> RootfsDriver:
        return self._driver()

    def get(self, reference: str) -> Image:
        """The image that a name[:tag], name@digest, full ID or unique ID prefix stands for; names win over prefixes.

        Raises NotFoundError, AmbiguousError; UsageError when `reference` can be neither.
        """
        if reference in (HOST, f"{HOST}:latest"):
            return host_image()
        image = self._by_id(reference) if is_id(reference) else self._by_name_or_prefix(reference)
        if image is None:
            raise NotFoundError(f"no such image: {reference}", hint=_LIST_HINT)
        return image

    def list(self, *, all: bool = False) -> builtins.list[Image]:
        """Every image, newest first; with `all` the pseudo image `host` as well, last."""
        self.finish()
        images = records.all_images(self.database)
        return [*images, host_image()] if all else images

    def tag(self, reference: str, name: str) -> Image:
        """Give an image one more name; a name that another image had moves. Raises as `get`, and UsageError."""
        target = parse_tag(name)
        image = self.get(reference)
        if is_host_id(image.id):
            raise UsageError(
                "the image 'host' cannot be tagged: it is the host itself",
                hint="make an image of a directory with `tar -C DIR -c . | tiffin import - NAME`",
            )
        if not records.set_tag(self.database, target.key, image.id):
            raise NotFoundError(f"no such image: {reference}", hint="it was removed meanwhile")
        failpoint("image.tagged")
        self.tell("tag", image, target.key)
        return self.get(image.id)

    def tell(self, action: str, image: Image, name: str) -> None:
        """Write an event of an image under one of its names."""
        events.write(self.paths, "image", action, image.id, {**dict(image.config.labels), "name": name or image.id})

    def remove(self, reference: str, *, force: bool = False) -> builtins.list[str]:
        """Remove a name, and the image itself with its last name; returns the lines that Docker would print.

        By ID an image must have at most one name, unless `force`. An image that a container was made from stays:
        ConflictError; with `force` and no such container running it only loses its names, and goes at the next
        prune after the container. Raises as `get`, and UsageError for `host`.
        """
        from tiffin.images.removal import remove

        return remove(self, reference, force=force)

    def history(self, reference: str) -> builtins.list[HistoryEntry]:
        """How the image came to be, newest step first; sizes are those of the files each layer brought."""
        from tiffin.images.history import history

        return history(self, self.get(reference))

    def inspect(self, reference: str) -> dict[str, Any]:
        """Everything known of an image, with Docker's field names and types."""
        from tiffin.images.inspect import inspect

        return inspect(self, self.get(reference))

    def adding(self) -> AbstractContextManager[object]:
        """Hold while layers are ingested and until `add` returned: nothing collects them as unused in between."""
        from tiffin.images.unfinished import Changing

        return Changing(self)

    def finish(self) -> None:
        """Remove what commands that were killed while they changed images have left. Raises `StoreError`."""
        from tiffin.images.unfinished import finish

        finish(self)

    def add(
        self,
        config: ParsedConfig,
        layers: Sequence[tuple[str, int]],
        names: Iterable[str] = (),
        *,
        manifests: Iterable[Manifest] = (),
        packed: Iterable[tuple[Blob, str]] = (),
        base: Base | None = None,
    ) -> Image:
        """File an image whose layers (diff_id, tar size in bytes) are in the layer store; call inside `adding()`.

        `names` are keys as `Reference.key` gives them, `packed` layers as registries have them with the repository
        where they were seen. Nothing is visible before everything is on disk.
        """
        size_bytes = self.driver.prepare_image(config.image_id, config.diff_ids)
        failpoint("image.prepared")
        self.layers.objects.syncfs()
        failpoint("image.synced")
        records.add_image(
            self.database,
            image_id=config.image_id,
            config=config.raw,
            created_ns=config.created_ns,
            architecture=config.platform.architecture,
            os=config.platform.os,
            variant=config.platform.variant,
            size_bytes=size_bytes,
            layers=layers,
            names=names,
            manifests=manifests,
            packed=packed,
            base=base,
        )
        failpoint("image.recorded")
        return self.get(config.image_id)

    def _by_id(self, reference: str) -> Image | None:
        image_id = "sha256:" + reference.removeprefix("sha256:")
        return host_image() if is_host_id(image_id) else records.image_by_id(self.database, image_id)

    def _by_name_or_prefix(self, reference: str) -> Image | None:
        digits = id_prefix(reference)
        try:
            parsed = parse_reference(reference)
        except UsageError:
            if not digits:
                raise
        else:
            image_id = records.id_of_name(self.database, parsed.key)
            if image_id:
                return records.image_by_id(self.database, image_id)
        if not digits:
            return None
        candidates = records.ids_with_prefix(self.database, digits)
        host = host_image()
        if host.id.startswith(f"sha256:{digits}"):
            candidates.append(host.id)
        if len(candidates) > 1:
            some = ", ".join(candidate.removeprefix("sha256:")[: max(12, len(digits) + 4)] for candidate in candidates)
            raise AmbiguousError(f"the image ID prefix {reference!r} is ambiguous: {some}", hint="give more digits")
        return self._by_id(candidates[0]) if candidates else None


def tag_keys(names: Iterable[str]) -> list[str]:
    """The keys for user-given names, all checked before any is used. Raises UsageError."""
    return [parse_tag(name).key for name in names]
