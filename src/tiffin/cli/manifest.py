"""`manifest inspect`, `create`, `annotate`, `push` and `rm`."""

from __future__ import annotations

import sys

from tiffin.cli.options import Option, Verb, absent
from tiffin.cli.report import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

_INSECURE = absent("registries.toml says which registries are insecure", "insecure")


def _inspect(context: Context, parsed: Parsed) -> int:
    import json

    name, *rest = parsed.arguments
    shown = context.engine.inspect_manifest(name, *rest, verbose=parsed.flag("verbose"))
    if parsed.flag("verbose"):
        told: Any = [each.verbose() for each in shown.members] if shown.is_index else shown.verbose()
        print(json.dumps(told, indent="\t", ensure_ascii=False))
        return 0
    # Docker shows a list with other spaces than a manifest.
    print(json.dumps(shown.plain(), indent="   " if shown.is_index else "\t", ensure_ascii=False))
    return 0


def _create(context: Context, parsed: Parsed) -> int:
    name, *members = parsed.arguments
    context.engine.create_manifest_list(name, members, amend=parsed.flag("amend"))
    print(f"Created manifest list {_with_tag(name)}")
    return 0


def _with_tag(name: str) -> str:
    from tiffin.images.reference import parse_tag

    return parse_tag(name).key


def _annotate(context: Context, parsed: Parsed) -> int:
    features = [word for value in parsed.items("os-features") for word in value.split(",") if word]
    context.engine.annotate_manifest(
        parsed.arguments[0],
        parsed.arguments[1],
        os=parsed.text("os"),
        architecture=parsed.text("arch"),
        variant=parsed.text("variant"),
        os_version=parsed.text("os-version"),
        os_features=features,
    )
    return 0


def _push(context: Context, parsed: Parsed) -> int:
    from contextlib import nullcontext

    from tiffin.cli.board import presenter

    def pushed(reference: str) -> None:
        if not parsed.flag("quiet"):
            print(f"Pushed ref {reference} with digest: {reference.rpartition('@')[2]}", flush=True)

    # What is copied is told on standard error, so that the output stays Docker's.
    shown = None if parsed.flag("quiet") else presenter(sys.stderr)
    with shown if shown is not None else nullcontext():
        digest = context.engine.push_manifest_list(
            parsed.arguments[0],
            all=parsed.flag("all"),
            purge=parsed.flag("purge"),
            pushed=pushed,
            progress=shown.show if shown is not None else None,
        )
    print(digest)
    return 0


def _rm(context: Context, parsed: Parsed) -> int:
    return for_each(context, parsed.arguments, lambda name: context.engine.remove_manifest_list(name))


INSPECT = Verb(
    name="manifest inspect",
    summary="Show a manifest or a list of manifests",
    run=_inspect,
    arguments="[LIST] NAME",
    minimum=1,
    maximum=2,
    options=(Option(name="verbose", short="v", kind="bool", help="With the platforms, and what a list has"),),
    absent=_INSECURE,
    description="NAME is a list that is being made here, else an image at a registry. With LIST, it is one of the "
    "manifests in that list.",
    examples=(
        ("tiffin manifest inspect registry.example/team/app:1.2", "as the registry has it"),
        ("tiffin manifest inspect -v localhost:5000/team/app", "every platform's"),
    ),
)
CREATE = Verb(
    name="manifest create",
    summary="Begin a list of manifests for several platforms",
    run=_create,
    arguments="LIST MANIFEST [MANIFEST...]",
    minimum=2,
    maximum=None,
    options=(Option(name="amend", short="a", kind="bool", help="Add to a list that is there already"),),
    absent=_INSECURE,
    description="A MANIFEST is an image at a registry, or one that is here and was pulled or pushed. "
    "`manifest push` gives the list to the registry in its name.",
    examples=(
        (
            "tiffin manifest create localhost:5000/app:1 localhost:5000/app:1-amd64 localhost:5000/app:1-arm64",
            "one name for two platforms",
        ),
    ),
)
ANNOTATE = Verb(
    name="manifest annotate",
    summary="Say for which platform a manifest in a list is",
    run=_annotate,
    arguments="LIST MANIFEST",
    minimum=2,
    maximum=2,
    options=(
        Option(name="arch", word="string", help="Architecture"),
        Option(name="os", word="string", help="Operating system"),
        Option(name="os-features", kind="list", word="strings", help="Features of the operating system"),
        Option(name="os-version", word="string", help="Version of the operating system"),
        Option(name="variant", word="string", help="Variant of the architecture"),
    ),
    examples=(
        (
            "tiffin manifest annotate --arch arm --variant v6 localhost:5000/app:1 localhost:5000/app:1-arm",
            "where the image's config says too little",
        ),
    ),
)
PUSH = Verb(
    name="manifest push",
    summary="Give a list of manifests to a registry",
    run=_push,
    arguments="LIST",
    minimum=1,
    maximum=1,
    options=(
        Option(name="all", short="a", kind="bool", help="Copy manifests that other registries have"),
        Option(name="purge", short="p", kind="bool", help="Forget the list afterwards"),
        Option(name="quiet", short="q", kind="bool", help="Print the list's digest only"),
    ),
    absent=_INSECURE,
    description="Manifests that other repositories of the same registry have are mounted into the list's repository.",
    examples=(("tiffin manifest push --purge localhost:5000/app:1", "the list lives at the registry from then on"),),
)
RM = Verb(
    name="manifest rm",
    summary="Forget one or more lists of manifests",
    run=_rm,
    arguments="LIST [LIST...]",
    minimum=1,
    maximum=None,
    examples=(("tiffin manifest rm localhost:5000/app:1", "what a registry has of it stays"),),
)
