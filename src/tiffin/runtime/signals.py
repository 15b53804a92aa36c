"""Signals by name and number (signal(7), x86 and ARM), without the import cost of the `signal` module's enums."""

from __future__ import annotations

from tiffin.errors import UsageError

SIGKILL, SIGTERM = 9, 15

NUMBERS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
    "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18,
    "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27,
    "WINCH": 28, "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31,
}  # fmt: skip
SIGRTMIN, SIGRTMAX = 34, 64


def number(signal: int | str) -> int:
    """The number of "TERM", "SIGTERM", "15", 15, "RTMIN+3" or "RTMAX-1". UsageError for anything else."""
    text = str(signal).upper().removeprefix("SIG")
    found = NUMBERS.get(text, 0)
    if text.isascii() and text.isdigit():
        found = int(text)
    elif text.startswith("RTMIN") and (text[5:] == "" or (text[5] == "+" and text[6:].isdigit())):
        found = SIGRTMIN + int(text[6:] or 0)
    elif text.startswith("RTMAX") and (text[5:] == "" or (text[5] == "-" and text[6:].isdigit())):
        found = SIGRTMAX - int(text[6:] or 0)
    if not 1 <= found <= SIGRTMAX or found in (32, 33):
        raise UsageError(f"invalid signal: {signal}")
    return found


def name(signal_number: int) -> str:
    """ "SIGTERM" for 15; "SIGRTMIN+3" for 37."""
    for text, value in NUMBERS.items():
        if value == signal_number:
            return f"SIG{text}"
    return "SIGRTMIN" + (f"+{signal_number - SIGRTMIN}" if signal_number > SIGRTMIN else "")
