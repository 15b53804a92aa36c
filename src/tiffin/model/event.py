"""What happened, when, and to what."""

from __future__ import annotations

from tiffin.model.record import Record


class Event(Record):
    """One thing that happened. Names are Docker's (docs.docker.com/reference/cli/docker/system/events).

    `type` is "container", "image" or "volume"; `action` "start", "die", "exec_create: sh -c ls" and so on; `id` a
    container's or image's ID or a volume's name, empty for a prune; `attributes` (key, value) pairs sorted by key: a
    container's name, image and labels among them. `time_ns` is nanoseconds since the epoch; no two events of an
    engine have the same, and later ones have later times, whatever the clock does meanwhile.
    """

    type: str
    action: str
    id: str
    attributes: tuple[tuple[str, str], ...] = ()
    time_ns: int

    def attribute(self, key: str) -> str:
        """Its value, empty without one."""
        return next((value for name, value in self.attributes if name == key), "")
