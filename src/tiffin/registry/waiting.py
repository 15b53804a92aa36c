"""When to try again, and when to give up: back-off for failures, obedience to Retry-After."""

from __future__ import annotations

from tiffin.errors import RegistryError
from tiffin.registry import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiffin.errors import TiffinError
    from tiffin.registry.transport import Patience

BUSY = 429
PASSING = frozenset((408, 500, 502, 503, 504))
"""Statuses after which the same request may succeed."""


class Attempts:
    """The attempts at one request: each failure is told to it, and it waits or raises."""

    def __init__(self, patience: Patience, sleep: Callable[[float], None], *, limit: int | None = None) -> None:
        self._patience = patience
        self._sleep = sleep
        self._limit = patience.attempts if limit is None else limit
        self._failed = 0
        self._asked_s = 0.0

    def failed(self, error: TiffinError) -> None:
        """Wait before the next attempt, or raise `error` when there is none."""
        self._failed += 1
        if isinstance(error, failures.Unreachable) and not error.again:
            raise error
        if self._failed >= self._limit:
            if self._failed > 1:
                error.message += f" ({self._failed} attempts)"
                error.args = (error.message,)
            raise error
        self._sleep(self._patience.wait_s(self._failed))

    @property
    def exhausted(self) -> bool:
        return self._failed >= self._limit

    def progressed(self) -> None:
        """Something came through: what failed before does not count any more."""
        self._failed = 0

    def refused(self, host: str, status: int, headers: Mapping[str, str], error: TiffinError) -> None:
        """Wait as a passing refusal asks for, or raise."""
        asked_s = retry_after_s(headers)
        if asked_s is None or asked_s <= 0:
            self.failed(error)
            return
        limit_s = self._patience.asked_wait_s
        if self._asked_s + asked_s > limit_s:
            before = f", after {self._asked_s:.0f} s already" if self._asked_s else ""
            reason = "too many requests" if status == BUSY else f"HTTP {status}"
            raise too_busy(
                f"{host} asks to wait {asked_s:.0f} s{before} ({reason}); Tiffin waits no longer than {limit_s:.0f} s",
                status,
            ) from error
        self._asked_s += asked_s
        self._sleep(asked_s)


def too_busy(message: str, status: int) -> RegistryError:
    error = RegistryError(message, hint="try again later; those who log in may ask more often")
    error.http_status = status
    return error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, be it a number or a date (RFC 9110, 10.2.3); None without one."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
