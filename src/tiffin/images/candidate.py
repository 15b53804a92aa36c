"""An image as an archive offers it, before its layers are here."""

from __future__ import annotations

from tiffin.errors import InvalidImageError, UsageError
from tiffin.images.archive import LayerBlob
from tiffin.images.config import ParsedConfig
from tiffin.images.reference import parse_reference, parse_tag
from tiffin.model.record import Record


class Candidate(Record):
    """`names` are store keys; `layers` match `config.diff_ids` one to one, base first.

    `annotations` are the manifest's, where the archive has one.
    """

    config: ParsedConfig
    layers: tuple[LayerBlob, ...]
    names: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


def checked_name(text: object) -> str:
    """The store key of a name that an archive gives. Raises InvalidImageError."""
    if not isinstance(text, str):
        raise InvalidImageError(f"the archive gives the image a name that is not text: {text!r}")
    try:
        return parse_tag(text).key
    except UsageError as error:
        raise InvalidImageError(f"the archive gives the image a bad name: {error.message}") from error


def name_of_annotation(text: str) -> str:
    """The store key for an OCI ref.name annotation, which may be free text: "" when it is no usable reference."""
    try:
        reference = parse_reference(text)
        return parse_tag(str(reference.replace(digest=""))).key
    except UsageError:
        return ""


def check_layer_count(config: ParsedConfig, count: int) -> None:
    """A config and its manifest must speak of the same number of layers."""
    if len(config.diff_ids) != count:
        raise InvalidImageError(
            f"the manifest of image {config.image_id} has {count} layers, its config has {len(config.diff_ids)}"
        )
