from __future__ import annotations

import signal

import pytest

from tiffin.errors import UsageError
from tiffin.runtime import signals


@pytest.mark.parametrize("known", [s for s in signal.Signals if s.name not in ("SIGRTMIN", "SIGRTMAX")])
def test_agrees_with_the_kernel(known: signal.Signals) -> None:
    assert signals.number(known.name) == known.value == signals.number(known.name[3:].lower())
    assert signals.number(signals.name(known.value)) == known.value


def test_real_time_and_numbers() -> None:
    assert signals.number("RTMIN+3") == 37 == signals.number("SIGRTMIN+3")
    assert signals.number("SIGRTMAX-1") == 63
    assert signals.number("9") == signals.number(9) == 9
    assert signals.name(34) == "SIGRTMIN" and signals.name(37) == "SIGRTMIN+3"


@pytest.mark.parametrize("bad", ["", "0", "65", "SIGFOO", "RTMIN+99", "RTMIN-1", "32", -1, "1.5"])
def test_refused(bad: str | int) -> None:
    with pytest.raises(UsageError) as caught:
        signals.number(bad)
    assert caught.value.message == f"invalid signal: {bad}"
