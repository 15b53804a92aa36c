"""`system prune`, `container prune` and `image prune`: show first what would go, then ask."""

from __future__ import annotations

import os
import sys
import time
from functools import partial

from tiffin.cli.listing import bad_filter, labels_match, parse_filters, truth
from tiffin.cli.options import Option, Verb
from tiffin.cli.units import parse_moment, size
from tiffin.errors import UsageError
from tiffin.model.image import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import Container
    from tiffin.model.volume import Volume
    from tiffin.system.prune import PrunePlan


def _system(context: Context, parsed: Parsed) -> int:
    volumes = "anonymous" if parsed.flag("volumes") else ""
    if volumes and any(text.startswith("until=") for text in parsed.items("filter")):
        raise UsageError('The "until" filter is not supported with "--volumes"')
    return _prune(context, parsed, containers=True, images=True, volumes=volumes)


def _containers(context: Context, parsed: Parsed) -> int:
    return _prune(context, parsed, containers=True, images=False)


def _images(context: Context, parsed: Parsed) -> int:
    return _prune(context, parsed, containers=False, images=True)


def _volumes(context: Context, parsed: Parsed) -> int:
    filters = parse_filters(parsed, ("all", "label", "label!"))
    everything = parsed.flag("all") or any(truth("all", value) for value in filters.get("all", ()))
    return _prune(
        context,
        parsed,
        containers=False,
        images=False,
        volumes="all" if everything else "anonymous",
        choose=partial(_labelled_volumes, filters),
    )


def _prune(
    context: Context,
    parsed: Parsed,
    *,
    containers: bool,
    images: bool,
    volumes: str = "",
    choose: Callable[[tuple[Volume, ...]], tuple[Volume, ...]] | None = None,
) -> int:
    goes = None
    if choose is None:
        filters = parse_filters(parsed, ("label", "label!", "until"))
        goes = _chosen(filters)
        if volumes and filters:
            choose = partial(_labelled_volumes, filters)
    force = parsed.flag("force")
    engine = context.engine
    all_images = images and parsed.flag("all")
    from tiffin.cli.progress import Progress

    with Progress("Looking"):
        plan = engine.prune_plan(
            containers=containers, images=images, all_images=all_images, volumes=volumes, choose=choose, goes=goes
        )
    if plan.empty:
        engine.prune(plan)  # the empty cgroup that containers were in goes, unasked
        print("Nothing to remove.")
        return 0
    if not force:
        print("This would be removed:", *describe(plan), sep="\n")
        print(f"Total: {size(plan.size_bytes)}")
        sys.stdout.flush()
        if not agreed():
            return 0
    with Progress("Removing"):
        pruned = engine.prune(plan)
    for container in pruned.containers if force else ():
        print(f"Removed container {_shown(container)}")
    for image in pruned.images if force else ():
        print(f"Removed image {_shown_image(image)}")
    for volume in pruned.volumes if force else ():
        print(f"Removed volume {volume.name}")
    print(f"Total reclaimed space: {size(pruned.size_bytes)}")
    return 0


def _chosen(filters: dict[str, list[str]]) -> Callable[[Container | Image], bool] | None:
    """Which containers and images the filters leave to be removed; None for all."""
    if not filters:
        return None
    try:
        before = min((parse_moment(text, time.time_ns()) for text in filters.get("until", ())), default=None)
    except ValueError as error:
        raise bad_filter(f"until={filters['until'][-1]}", str(error)) from None

    def goes(one: Container | Image) -> bool:
        labels = dict(one.config.labels if isinstance(one, Image) else one.labels)
        return (before is None or one.created_ns < before) and _labelled(labels, filters)

    return goes


def _labelled(labels: dict[str, str], filters: dict[str, list[str]]) -> bool:
    return labels_match(filters.get("label", ()), labels) and not any(
        labels_match([text], labels) for text in filters.get("label!", ())
    )


def _labelled_volumes(filters: dict[str, list[str]], volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
    return tuple(volume for volume in volumes if _labelled(dict(volume.labels), filters))


def describe(plan: PrunePlan) -> list[str]:
    """One line per container and image that goes, and one for what nothing refers to."""
    lines = [f"  container {_shown(container)}" for container in plan.containers]
    lines += [f"  image {_shown_image(image)}" for image in plan.images]
    lines += [f"  volume {volume.name}" for volume in plan.volumes]
    garbage = plan.garbage
    counts = (
        (len(garbage.objects), "file", "that no image needs"),
        (len(garbage.layers), "layer", "that no image needs"),
        (len(garbage.images) + len(garbage.containers) + len(plan.stray_volumes), "directory", "without a record"),
        (len(garbage.litter), "piece", "of unfinished work"),
    )
    lines += [f"  {count} {_plural(noun, count)} {which}" for count, noun, which in counts if count]
    return lines


def _plural(noun: str, count: int) -> str:
    if count == 1:
        return noun
    return f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"


def _shown(container: Container) -> str:
    return f"{container.name} ({container.id[:12]})"


def _shown_image(image: Image) -> str:
    short = image.id.removeprefix("sha256:")[:12]
    return f"{', '.join(image.names)} ({short})" if image.names else short


def agreed() -> bool:
    """What the user answers, or a pipe such as yes(1)'s in his place. UsageError when there is nobody."""
    if os.isatty(0):
        sys.stderr.write("Remove it? [y/N] ")
        sys.stderr.flush()
    answer = os.read(0, 1024).decode("utf-8", "replace")
    if not answer and not os.isatty(0):
        raise UsageError("nothing was removed: nobody answered whether it should be", hint="use --force to remove it")
    return answer.partition("\n")[0].strip().lower() in ("y", "yes")


_FORCE = Option(name="force", short="f", kind="bool", help="Do not ask")
_ALL = Option(name="all", short="a", kind="bool", help="Every image that no container uses, also with a name")
_FILTER = Option(
    name="filter", kind="list", word="name=value", help="until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]"
)

SYSTEM_PRUNE = Verb(
    name="system prune",
    summary="Remove stopped containers, images without a name, and files that nothing needs",
    run=_system,
    options=(
        _ALL,
        _FILTER,
        _FORCE,
        Option(name="volumes", kind="bool", help="Also anonymous volumes that no container uses"),
    ),
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(("tiffin system prune -af", "everything that no running container needs"),),
)
CONTAINER_PRUNE = Verb(
    name="container prune",
    summary="Remove all stopped containers",
    run=_containers,
    options=(_FILTER, _FORCE),
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(
        ("tiffin container prune -f", "without being asked"),
        (
            "tiffin container prune -f --filter until=24h --filter label!=keep",
            "older than a day, but for the label keep",
        ),
    ),
)
IMAGE_PRUNE = Verb(
    name="image prune",
    summary="Remove images without a name",
    run=_images,
    options=(_ALL, _FILTER, _FORCE),
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(("tiffin image prune -a", "every image that no container uses"),),
)
VOLUME_PRUNE = Verb(
    name="volume prune",
    summary="Remove anonymous volumes that no container uses",
    run=_volumes,
    options=(
        Option(name="all", short="a", kind="bool", help="Also those with a name"),
        Option(name="filter", kind="list", word="name=value", help="label=KEY[=VALUE], label!=KEY[=VALUE] or all=true"),
        _FORCE,
    ),
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(
        ("tiffin volume prune -f", "without being asked"),
        ("tiffin volume prune -a --filter label!=keep", "named ones too, but for those with the label keep"),
    ),
)
