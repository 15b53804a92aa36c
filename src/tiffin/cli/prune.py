"""`system prune`, `container prune` and `image prune`: show first what would go, then ask."""

from __future__ import annotations

import os
import sys

from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.units import size
from tiffin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.model.container import Container
    from tiffin.model.image import Image
    from tiffin.system.prune import PrunePlan


def _system(context: Context, parsed: Parsed) -> int:
    return _prune(context, parsed, containers=True, images=True)


def _containers(context: Context, parsed: Parsed) -> int:
    return _prune(context, parsed, containers=True, images=False)


def _images(context: Context, parsed: Parsed) -> int:
    return _prune(context, parsed, containers=False, images=True)


def _prune(context: Context, parsed: Parsed, *, containers: bool, images: bool) -> int:
    force = parsed.flag("force")
    engine = context.engine
    plan = engine.prune_plan(containers=containers, images=images, all_images=images and parsed.flag("all"))
    if plan.empty:
        print("Nothing to remove.")
        return 0
    if not force:
        print("This would be removed:", *describe(plan), sep="\n")
        print(f"Total: {size(plan.size_bytes)}")
        sys.stdout.flush()
        if not _agreed():
            return 0
    pruned = engine.prune(plan)
    for container in pruned.containers if force else ():
        print(f"Removed container {_shown(container)}")
    for image in pruned.images if force else ():
        print(f"Removed image {_shown_image(image)}")
    print(f"Total reclaimed space: {size(pruned.size_bytes)}")
    return 0


def describe(plan: PrunePlan) -> list[str]:
    """One line per container and image that goes, and one for what nothing refers to."""
    lines = [f"  container {_shown(container)}" for container in plan.containers]
    lines += [f"  image {_shown_image(image)}" for image in plan.images]
    garbage = plan.garbage
    counts = (
        (len(garbage.objects), "file", "that no image needs"),
        (len(garbage.layers), "layer", "that no image needs"),
        (len(garbage.images) + len(garbage.containers), "directory", "without a record"),
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


def _agreed() -> bool:
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
_ABSENT = absent("Tiffin prunes everything of a kind so far", "filter")

SYSTEM_PRUNE = Verb(
    name="system prune",
    summary="Remove stopped containers, images without a name, and files that nothing needs",
    run=_system,
    options=(_ALL, _FORCE),
    absent={**_ABSENT, **absent("Tiffin has no volumes so far", "volumes")},
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(("tiffin system prune -af", "everything that no running container needs"),),
)
CONTAINER_PRUNE = Verb(
    name="container prune",
    summary="Remove all stopped containers",
    run=_containers,
    options=(_FORCE,),
    absent=_ABSENT,
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(("tiffin container prune -f", "without being asked"),),
)
IMAGE_PRUNE = Verb(
    name="image prune",
    summary="Remove images without a name",
    run=_images,
    options=(_ALL, _FORCE),
    absent=_ABSENT,
    description="Shows what would go and asks. With nobody to answer, --force is needed.",
    examples=(("tiffin image prune -a", "every image that no container uses"),),
)
