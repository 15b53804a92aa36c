"""The disks under a container, for limits of block IO that name none; and what such limits will not do there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.model.container import Container
    from tiffin.model.resources import Resources
    from tiffin.parts import Parts

_EVERYWHERE = ("io_read_bps", "io_write_bps", "io_read_iops", "io_write_iops")


def disks(parts: Parts, container: Container, resources: Resources) -> tuple[str, ...]:
    """ "MAJOR:MINOR" of each that carries its root, volumes and binds, or is shown inside; none where no limit asks.

    `resources` are the limits that it will have.
    """
    if all(getattr(resources, name) is None for name in (*_EVERYWHERE, "io_weight")):
        return ()
    from tiffin.cgroups.blockdev import disks_of

    return disks_of(_places(parts, container))


def _places(parts: Parts, container: Container) -> list[str]:
    config = container.config
    paths = parts.paths
    places = [paths.root, paths.objects, paths.layers, paths.container(container.id)]
    places += [device.host_path for device in config.devices]
    if parts.is_host(container.image_id):
        places.append("/")
    for mount in config.mounts:
        if mount.type == "bind":
            places.append(mount.source)
        elif mount.type == "volume":
            from tiffin.errors import NotFoundError
            from tiffin.state import volumes as records
            from tiffin.storage.volumes import data_path

            places.append(data_path(paths, mount.source))
            try:
                options = dict(records.get(parts.database, mount.source).options)
            except NotFoundError:
                options = dict(mount.volume_options)
            places.append(options.get("device", ""))
    return places


def warn(parts: Parts, container: Container, asked: Resources, found: tuple[str, ...]) -> None:
    """Say which of the limits in `asked` the host accepts and then ignores, by device. `found` are its disks."""
    name = container.name
    for field in _EVERYWHERE:
        if (getattr(asked, field) or 0) > 0 and not found:
            option = field.replace("_", "-")
            parts.warn(f"--{option} limits nothing: container {name} is on no block device")
    if asked.oom_kill_disable and asked.memory_bytes is None:
        parts.warn(f"container {name} has --oom-kill-disable without a memory limit: it can use up the whole host's")
    if asked.io_weight is None and not asked.device_weights:
        return
    from tiffin.cgroups import blockdev
    from tiffin.cgroups.layout import detect

    weighed = {blockdev.disk_of(path) for path, _ in asked.device_weights or ()}
    weighed.update(found if asked.io_weight is not None else ())
    root = detect().unified
    for disk in sorted(weighed):
        if not blockdev.weighs(disk, parts.cgroups.version, root):
            parts.warn(
                f"the weight of container {name} has no effect on {blockdev.disk_name(disk)}, whose IO scheduler is "
                f"{blockdev.scheduler(disk)}: only bfq weighs"
            )
