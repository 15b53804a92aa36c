"""What a layer may cost."""

from __future__ import annotations

from tiffin.model.record import Record


class Limits(Record):
    """Beyond any of these, ingest raises `InvalidImageError`.

    `max_layer_bytes` bounds the tar stream and the sum of its files' sizes; beyond `ratio_floor_bytes` either may be
    at most `max_ratio` times the compressed size. `max_header_bytes` bounds one pax or GNU long-name record.
    """

    max_layer_bytes: int = 64 << 30
    max_entries: int = 2_000_000
    max_header_bytes: int = 1 << 20
    max_ratio: int = 1000
    ratio_floor_bytes: int = 1 << 30


DEFAULT_LIMITS = Limits()
