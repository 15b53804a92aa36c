"""`--gpus`, with the words and errors of Docker's command line."""

from __future__ import annotations

from tiffin.cli import csv_record
from tiffin.errors import NotSupportedError, UsageError


def gpus(text: str) -> str:
    """Read all, a number, or device=ID[,ID…] into the form of `ContainerConfig.gpus`; empty for no GPU.

    ValueError for what makes no sense, UsageError in Docker's words for another driver, NotSupportedError.
    """
    values: dict[str, str] = {}
    for field in csv_record.fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", field
        if key in values:
            raise ValueError(f"gpu request key '{key}' can be specified only once")
        if key not in ("driver", "count", "device", "capabilities", "options"):
            raise ValueError(f"unexpected key '{key}' in '{field}'")
        values[key] = value
    driver = values.get("driver", "")
    if driver not in ("", "nvidia", "cdi"):
        raise UsageError(f'could not select device driver "{driver}" with capabilities: [[gpu]]')
    if values.get("capabilities", "gpu") != "gpu" or values.get("options"):
        raise NotSupportedError(
            f"--gpus {text} is not supported yet: descriptions of devices know no capabilities and no options"
        )
    count = _count(values["count"]) if "count" in values else None
    if "device" in values:
        if count:
            raise UsageError("cannot set both Count and DeviceIDs on device request")
        return f"device={values['device']}"
    return "1" if count is None else count


def _count(text: str) -> str:
    if text == "all":
        return text
    try:
        count = int(text)
    except ValueError:
        raise ValueError("count must be an integer") from None
    if not -1 <= count <= 1 << 16:
        raise ValueError("count must be all or a number of GPUs")
    return "all" if count == -1 else str(count) if count else ""
