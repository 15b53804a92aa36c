"""`image sharing`, `image mount` and `image unmount`."""

from __future__ import annotations

import sys

from tiffin.cli import listing
from tiffin.cli.go_format import Fields
from tiffin.cli.options import Option, Verb
from tiffin.cli.report import exit_code, for_each, show_error
from tiffin.cli.table import aligned
from tiffin.cli.units import size
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.errors import TiffinError
    from tiffin.images.mounts import ImageMount
    from tiffin.images.sharing import Sharing
    from tiffin.system.sharing import Memory

_MOUNT_HEADINGS = {"Image": "IMAGE", "ID": "IMAGE ID", "Count": "COUNT", "MountPoint": "MOUNT POINT"}


class MountRow(Fields):
    type_name = "image mount"


# image sharing


def _sharing(context: Context, parsed: Parsed) -> int:
    sharing, memory = context.engine.image_sharing(parsed.arguments)
    format = parsed.text("format")
    if format and format != "table":
        from tiffin.cli.inspect import structured

        sys.stdout.write(listing.render_one(format, structured(_facts(sharing, memory))))
        return 0
    _print_images(sharing)
    if len(sharing.images) > 1:
        _print_pairs(sharing, _columns_wide())
    if memory.containers:
        _print_memory(memory)
    return 0


def _facts(sharing: Sharing, memory: Memory) -> dict[str, Any]:
    """Everything, sizes in bytes."""
    return {
        "Images": [
            {
                "ID": image.id,
                "Name": image.name,
                "Files": image.files,
                "Size": image.size_bytes,
                "SharedFiles": image.shared_files,
                "SharedSize": image.shared_bytes,
                "UniqueSize": image.unique_bytes,
            }
            for image in sharing.images
        ],
        "Pairs": [
            {"First": pair.first, "Second": pair.second, "Files": pair.files, "Size": pair.size_bytes}
            for pair in sharing.pairs
        ],
        "Total": {
            "Files": sharing.files,
            "Size": sharing.size_bytes,
            "SeparateSize": sharing.separate_bytes,
            "SavedSize": sharing.saved_bytes,
            "DiskSize": sharing.disk_bytes,
        },
        "Containers": [
            {
                "ID": container.id,
                "Name": container.name,
                "Image": container.image_name,
                "ImageID": container.image_id,
                "Driver": container.driver,
                "Cached": container.cached_bytes,
                "CachedShared": container.cached_shared_bytes,
                "Mapped": container.mapped_bytes,
                "MappedShared": container.mapped_shared_bytes,
                "RSS": container.rss_bytes,
                "PSS": container.pss_bytes,
            }
            for container in memory.containers
        ],
        "PageCache": {"Size": memory.cached_bytes, "SeparateSize": memory.separate_bytes},
    }


def _print_images(sharing: Sharing) -> None:
    headings = ["", "IMAGE", "FILES", "SIZE", "SHARED FILES", "SHARED SIZE", "UNIQUE SIZE"]
    rows = [
        [
            str(number),
            image.name,
            str(image.files),
            size(image.size_bytes),
            str(image.shared_files),
            size(image.shared_bytes),
            size(image.unique_bytes),
        ]
        for number, image in enumerate(sharing.images, 1)
    ]
    print(*aligned([headings, *rows], minimum=4), sep="\n")
    part = f" ({sharing.saved_bytes * 100 // sharing.separate_bytes}%)" if sharing.separate_bytes else ""
    print(
        f"\nTogether {size(sharing.size_bytes)} in {sharing.files} files, {size(sharing.disk_bytes)} on disk; "
        f"each on its own {size(sharing.separate_bytes)}: {size(sharing.saved_bytes)}{part} saved."
    )


def _columns_wide() -> int:
    """How many columns the terminal has; in a pipe there is no end to a line."""
    from os import get_terminal_size

    try:
        return get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 1 << 16


def _print_pairs(sharing: Sharing, width: int) -> None:
    """What each two have in common, in as many blocks of columns as the terminal wants."""
    names = [image.name for image in sharing.images]
    shared = {(pair.first, pair.second): pair.size_bytes for pair in sharing.pairs}
    shared |= {(second, first): count for (first, second), count in shared.items()}
    ids = [image.id for image in sharing.images]
    margin = max(map(len, names)) + len(str(len(names))) + 6
    at_once = max(1, (width - margin) // 9)
    print("\nShared by each two:")
    for begin in range(0, len(ids), at_once):
        columns = range(begin, min(len(ids), begin + at_once))
        rows = [["", "", *(str(column + 1) for column in columns)]]
        for number, image_id in enumerate(ids):
            cells = ["-" if column == number else size(shared[image_id, ids[column]]) for column in columns]
            rows.append([str(number + 1), names[number], *cells])
        print(*aligned(rows, minimum=4), sep="\n")


def _print_memory(memory: Memory) -> None:
    headings = ["CONTAINER", "IMAGE", "CACHED", "SHARED", "MAPPED", "SHARED", "RSS", "PSS"]
    rows = [
        [
            container.name,
            container.image_name,
            size(container.cached_bytes),
            size(container.cached_shared_bytes),
            size(container.mapped_bytes),
            size(container.mapped_shared_bytes),
            size(container.rss_bytes),
            size(container.pss_bytes),
        ]
        for container in memory.containers
    ]
    print("\nMemory of running containers:")
    print(*aligned([headings, *rows], minimum=4), sep="\n")
    print(
        f"\nPage cache of their images' files: {size(memory.cached_bytes)}; "
        f"if no image shared with another: {size(memory.separate_bytes)}."
    )


# image mount, image unmount


def _mount(context: Context, parsed: Parsed) -> int:
    format = parsed.text("format")
    if parsed.flag("all"):
        if parsed.arguments:
            raise UsageError("--all takes no images", hint=parsed.verb.see_help)
        for image in context.engine.images():
            context.engine.mount_image(image.id)
    elif parsed.arguments:
        made = context.engine.mount_image(*parsed.arguments)
        if format:
            listing.show(format, _rows(context, [made]), _MOUNT_HEADINGS, list(_MOUNT_HEADINGS))
        else:
            print(made.directory)
        return 0
    rows = _rows(context, context.engine.mounted_images())
    listing.show(format, rows, _MOUNT_HEADINGS, list(_MOUNT_HEADINGS))
    return 0


def _rows(context: Context, mounts: list[ImageMount]) -> list[MountRow]:
    names = {image.id: ", ".join(image.names) for image in context.engine.images()} if mounts else {}
    return [
        MountRow(
            Count=str(known.count),
            ID=known.image_id.removeprefix("sha256:")[:12],
            Image=names.get(known.image_id) or "<none>",
            MountPoint=known.directory,
        )
        for known in mounts
    ]


def _unmount(context: Context, parsed: Parsed) -> int:
    force = parsed.flag("force")
    if parsed.flag("all"):
        if parsed.arguments:
            raise UsageError("--all takes no images", hint=parsed.verb.see_help)
        code = 0

        def failed(error: TiffinError) -> None:
            nonlocal code
            show_error(context, error)
            code = code or exit_code(error)

        _print_unmounted(context.engine.unmount_image(force=force, failed=failed))
        return code
    if not parsed.arguments:
        raise UsageError(
            f"'tiffin {parsed.verb.name}' requires at least 1 argument",
            hint=f"Usage: tiffin {parsed.verb.name} [OPTIONS] {parsed.verb.arguments}. {parsed.verb.see_help}",
        )

    def unmount(reference: str) -> None:
        _print_unmounted(context.engine.unmount_image(reference, force=force))

    return for_each(context, parsed.arguments, unmount)


def _print_unmounted(done: list[ImageMount]) -> None:
    for known in done:
        print(known.image_id)


SHARING = Verb(
    name="image sharing",
    summary="Show what images have in common, on disk and in memory",
    run=_sharing,
    arguments="[IMAGE...]",
    maximum=None,
    options=(
        Option(name="format", word="template", help="'table', 'json', or a Go template such as '{{.Total.Size}}'"),
    ),
    description="Files are counted by content: one that has several names in an image counts once. CACHED is what the "
    "page cache has of the files of a container's image, MAPPED what its processes have mapped of them; the column "
    "SHARED after each is the part that others of these containers have, too.",
    examples=(
        ("tiffin image sharing", "all images, and their running containers"),
        ("tiffin image sharing debian:bookworm app:1", "these two"),
    ),
)
MOUNT = Verb(
    name="image mount",
    summary="Show an image's files on the host, read-only",
    run=_mount,
    arguments="[IMAGE [PATH]]",
    maximum=2,
    options=(
        Option(name="all", short="a", kind="bool", help="Mount every image"),
        listing.FORMAT,
    ),
    description="Prints where. Without a path it is a directory below the run directory, which only root can enter. "
    "Without an image it lists what is mounted. An image that is mounted there already is counted, and "
    "has to be unmounted as often. A mounted image is not removed. Programs get no setuid bits there, and no devices.",
    examples=(
        ('ls "$(tiffin image mount debian:bookworm)"', "look into an image"),
        ("tiffin image mount debian:bookworm /mnt", "at a directory of one's own"),
        ("tiffin image mount", "what is mounted where"),
    ),
)
UNMOUNT = Verb(
    name="image unmount",
    summary="Undo `image mount`",
    run=_unmount,
    arguments="IMAGE|PATH...",
    maximum=None,
    options=(
        Option(name="all", short="a", kind="bool", help="Every mounted image"),
        Option(name="force", short="f", kind="bool", help="However often it was mounted, and though it is in use"),
    ),
    description="Prints the images' IDs. A path is written with a slash, as in ./mnt.",
    examples=(
        ("tiffin image unmount debian:bookworm", "wherever it is mounted"),
        ("tiffin image unmount --all --force", "everything, at once"),
    ),
)
