"""Images that a container has mounted beside its own."""

from __future__ import annotations

from tiffin.errors import NotSupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import ContainerConfig
    from tiffin.parts import Parts


def resolve_images(parts: Parts, config: ContainerConfig) -> ContainerConfig:
    """The config with every mounted image by its ID, which keeps the image from removal. NotFoundError."""
    mounts = []
    for mount in config.mounts:
        if mount.type == "image":
            image = parts.images.get(mount.source)
            if parts.is_host(image.id):
                raise NotSupportedError(
                    "the image 'host' cannot be mounted: it shows only as a container's root",
                    hint="bind what you need of the host with -v",
                )
            mount = mount.replace(source=image.id, readonly=True)
        mounts.append(mount)
    return config.replace(mounts=tuple(mounts))
