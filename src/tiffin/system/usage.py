"""Where the disk went."""

from __future__ import annotations

from tiffin.state import blobs, status
from tiffin.state import containers as records
from tiffin.state import images as image_records
from tiffin.storage import collect
from tiffin.storage.lock import store_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.parts import Parts


def disk_usage(parts: Parts) -> dict[str, Any]:
    """Bytes on disk, in the rows that `docker system df` has, and per image and container.

    Of an image `Size` is what its files' sizes add up to, and `SharedSize` and `UniqueSize` are parts of that.
    `DiskSize` is the disk that all it needs takes, `UniqueDiskSize` what its removal would free.
    """
    images = image_records.all_images(parts.database)
    containers = []
    used: dict[str, int] = {}
    for container, _ in records.all_containers(parts.database):
        state = status.read_state(parts.paths, container.id)
        size, inodes = parts.driver(container.driver).usage(container.id)
        used[container.image_id] = used.get(container.image_id, 0) + 1
        containers.append(
            {
                "ID": container.id,
                "Name": container.name,
                "Image": container.image_name,
                "Status": state.status,
                "Size": size,
                "Inodes": inodes,
            }
        )
    with store_lock(parts.paths, exclusive=False):
        usage = collect.disk_usage(
            parts.paths, parts.objects, parts.layers, {image.id: image.layers for image in images}
        )
        # Not the sum of what each unused image has alone: what they share among each other goes with them, too.
        active = [image for image in images if image.id in used]
        freed = collect.find_garbage(
            parts.paths,
            parts.objects,
            parts.layers,
            known_layers={diff_id for image in active for diff_id in image.layers},
            known_images={image.id for image in active},
            known_containers=records.ids(parts.database),
            known_blobs=blobs.all_digests(parts.database),
        )
    per_image = {entry.image_id: entry for entry in usage.images}
    rows = [
        {
            "ID": image.id,
            "Names": list(image.names),
            "CreatedNs": image.created_ns,
            "Size": image.size_bytes,
            "UniqueSize": per_image[image.id].unique_bytes,
            "SharedSize": per_image[image.id].shared_bytes,
            "DiskSize": per_image[image.id].unique_disk_bytes + per_image[image.id].shared_disk_bytes,
            "UniqueDiskSize": per_image[image.id].unique_disk_bytes,
            "Containers": used.get(image.id, 0),
        }
        for image in images
    ]
    volumes = _volumes(parts)
    idle = [row for row in containers if row["Status"] not in ("running", "restarting")]
    return {
        "Images": {
            "TotalCount": len(images),
            "Active": len(active),
            "Size": usage.objects_bytes + usage.layers_bytes + usage.prepared_bytes,
            "Reclaimable": freed.size_bytes,
        },
        "Containers": {
            "TotalCount": len(containers),
            "Active": len(containers) - len(idle),
            "Size": sum(row["Size"] for row in containers),
            "Reclaimable": sum(row["Size"] for row in idle),
        },
        "Local Volumes": {
            "TotalCount": len(volumes),
            "Active": sum(1 for row in volumes if row["Links"]),
            "Size": sum(row["Size"] for row in volumes),
            "Reclaimable": sum(row["Size"] for row in volumes if not row["Links"]),
        },
        "Store": {
            "Objects": usage.objects,
            "ObjectsSize": usage.objects_bytes,
            "Layers": usage.layers,
            "LayersSize": usage.layers_bytes,
            "PreparedSize": usage.prepared_bytes,
        },
        "ImageList": rows,
        "ContainerList": containers,
        "VolumeList": volumes,
    }


def _volumes(parts: Parts) -> list[dict[str, Any]]:
    from tiffin.storage.volumes import usage
    from tiffin.volumes.manage import infos

    return [
        {"Name": info.volume.name, "Links": len(info.users), "Size": usage(parts.paths, info.volume.name)}
        for info in infos(parts)
    ]
