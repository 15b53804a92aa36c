"""`--log-driver` and `--log-opt`."""

from __future__ import annotations

from tiffin.cli.units import parse_bytes
from tiffin.model.container import UNLIMITED_LOG_BYTES, LogConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.options import Parsed


def log_config(parsed: Parsed) -> LogConfig:
    """The log as it was asked for; the engine judges names and values that are not sizes."""
    driver = parsed.text("log-driver") or "cri"
    sizes: dict[str, int] = {}
    others: dict[str, str] = {}
    prefix = "cache-" if driver in ("journald", "syslog") else ""
    for text in parsed.items("log-opt"):
        key, _, value = text.partition("=")
        try:
            if driver in ("none", "passthrough"):
                others[key] = value
            elif key == f"{prefix}max-size":
                sizes["max_size_bytes"] = UNLIMITED_LOG_BYTES if value == "-1" else _positive(parse_bytes(value))
            elif key == f"{prefix}max-file":
                sizes["max_files"] = _positive(_number(value))
            elif key == "max-buffer-size":
                others[key] = str(parse_bytes(value))
            else:
                others[key] = value
        except ValueError as error:
            raise parsed.invalid("log-opt", text, str(error)) from None
    return LogConfig(driver=driver, options=tuple(others.items())).replace(**sizes)


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
