"""Descriptors that a caller gives to a program inside: plain ones, or sockets by name as systemd passes them."""

from __future__ import annotations

import os

from tiffin.errors import UsageError
from tiffin.model.record import Record
from tiffin.runtime.ops import LISTEN_PID, MAX_PASSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiffin.runtime.compile import Confinement

NAMELESS = "unknown"  # what systemd calls a socket without a name


class Passed(Record):
    """Descriptors for a program, which finds them from 3 on.

    With `names`, one for each, it is told of them in LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)).
    """

    fds: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def confine(self, confinement: Confinement) -> Confinement:
        """With these descriptors. The environment is the other half, see `environment`."""
        return confinement.replace(passed=len(self.fds), listening=bool(self.names))

    def environment(self, env: list[str]) -> list[str]:
        """The variables of a process that gets them; what it was told of other descriptors is not true of these."""
        if not self.names:
            return env
        others = ("LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=")
        kept = [entry for entry in env if not entry.startswith(others)]
        return [*kept, f"LISTEN_FDS={len(self.fds)}", f"LISTEN_FDNAMES={':'.join(self.names)}", LISTEN_PID]


def passed(given: Sequence[int | tuple[str, int]]) -> Passed:
    """Check what a caller gives: numbers, or pairs of a name and a number. UsageError."""
    if len(given) > MAX_PASSED - 3:
        raise UsageError(f"{len(given)} descriptors are too many to pass: {MAX_PASSED - 3} are possible")
    pairs = [(NAMELESS, entry) if isinstance(entry, int) else entry for entry in given]
    for name, fd in pairs:
        if not name or len(name) > 255 or not name.isascii() or not name.isprintable() or ":" in name:
            raise UsageError(f"the name {name!r} of descriptor {fd} is not one to 255 printable characters without ':'")
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"file descriptor {fd} is not available: it is not open in the calling process") from None
    named = any(not isinstance(entry, int) for entry in given)
    return Passed(fds=tuple(fd for _, fd in pairs), names=tuple(name for name, _ in pairs) if named else ())
