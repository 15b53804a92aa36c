"""`image verify`."""

from __future__ import annotations

from tiffin.cli.options import Option, Verb
from tiffin.cli.progress import Progress
from tiffin.cli.report import show_error
from tiffin.errors import TiffinError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed
    from tiffin.images.trust.verify import Verified

_SHOWN = 10


def _verify(context: Context, parsed: Parsed) -> int:
    references = list(parsed.arguments)
    if parsed.flag("all"):
        if references:
            raise UsageError("--all goes without names of images")
        references = [(*image.names, image.id)[0] for image in context.engine.images()]
    elif not references:
        raise UsageError("no image was named", hint="name one, or use --all")
    code = 0
    for reference in references:
        try:
            with Progress(f"Verifying {reference}", quiet=parsed.flag("quiet")) as progress:
                result = context.engine.verify_image(
                    reference, repair=parsed.flag("repair"), progress=progress.callback
                )
        except TiffinError as error:
            show_error(context, error)
            code = 1
            continue
        if not result.whole:
            code = 1
        if not parsed.flag("quiet"):
            print("\n".join(_lines(reference, result)))
    return code


def _lines(reference: str, result: Verified) -> list[str]:
    from tiffin.cli.units import size

    read = f"{result.layers} layer{'' if result.layers == 1 else 's'}, {size(result.read_bytes)}"
    if not result.damaged and not result.problems and not result.rebuilt:
        return [f"{reference}: whole ({read})"]
    lines = [f"{reference}: {'repaired' if result.whole else 'DAMAGED'} ({read})"]
    for layer in result.damaged:
        state = "repaired" if layer.diff_id in result.repaired else "damaged"
        lines.append(f"  layer {layer.diff_id}: {state}: {layer.reason}")
        lines += [f"    object {digest}" for digest in layer.objects[:_SHOWN]]
        if len(layer.objects) > _SHOWN:
            lines.append(f"    and {len(layer.objects) - _SHOWN} more objects")
    lines += [f"  {problem}" for problem in result.problems]
    lines += [f"  cannot repair: {failure}" for failure in result.failures]
    return lines


VERIFY = Verb(
    name="image verify",
    summary="Read everything that images consist of",
    run=_verify,
    arguments="[IMAGE...]",
    maximum=None,
    options=(
        Option(name="all", short="a", kind="bool", help="Every image that is here"),
        Option(name="quiet", short="q", kind="bool", help="Say nothing, only exit with 1 when something is damaged"),
        Option(name="repair", kind="bool", help="Get damaged layers again: from kept blobs, or where they came from"),
    ),
    description="Every layer is written out again against its digest; what containers mount is checked as well.",
    examples=(
        ("tiffin image verify --all", "everything"),
        ("tiffin image verify --repair registry.example/app:1", "put right what is damaged"),
    ),
)
