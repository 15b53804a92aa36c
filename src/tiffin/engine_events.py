"""The engine's use cases that watch: events and figures; `Engine` inherits them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiffin.model.container import Container
    from tiffin.model.event import Event
    from tiffin.model.stats import Stats
    from tiffin.parts import Parts


class Observation:
    """Seeing what happens and what is used."""

    _parts: Parts

    def _get(self, reference: str) -> Container:
        from tiffin.state import containers as records

        return records.get(self._parts.database, reference)

    def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        follow: bool = False,
    ) -> Iterator[Event]:
        """What happened, of every process that uses this root, in order; with `follow` what happens from now on, too.

        `since_ns` and `until_ns` are nanoseconds since the epoch, both included; with `until_ns` following ends then.
        The newest 4 to 8 MB of events are kept. `filters` are Docker's: "container", "image", "volume", "label",
        "type", "event" and so on, each with alternatives, of which one must fit (of labels all). UsageError.
        """
        from tiffin.system import events

        return events.read(self._parts.paths, since_ns, until_ns, filters or {}, follow=follow)

    def stats(self, container: str) -> Stats:
        """What a running container has used until now, and its limits. ConflictError when it does not run."""
        from tiffin.containers import pause, stats

        found = self._get(container)
        return stats.read(self._parts, found, pause.running(self._parts, found))

    def stats_all(self) -> list[Stats]:
        """The same of every running container, newest first; one that ends meanwhile is left out."""
        from tiffin.containers import stats

        return stats.read_all(self._parts)
