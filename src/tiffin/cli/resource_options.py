"""The options that limit a container, made into `Resources`."""

from __future__ import annotations

from tiffin.cgroups.limits import IO_WEIGHTS
from tiffin.cli.units import parse_bytes
from tiffin.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from tiffin.cli.options import Parsed

    T = TypeVar("T")

_IOPS = "The correct format is <device-path>:<number>. Number must be a positive integer"
_BPS = (
    f"{_IOPS.replace('<number>', '<number>[<unit>]')}. Unit is optional and can be kb, mb, or gb"  # as Docker says it
)


def resources(parsed: Parsed) -> Resources:
    """The limits that are given; None for the others, and for those that are 0. OptionError, UsageError."""
    pids = parsed.number("pids-limit")
    swappiness = parsed.number("memory-swappiness")
    rates: dict[str, object] = {}
    for direction in ("read", "write"):
        for unit, rate in (("bps", _bps), ("iops", _iops)):
            rates[f"io_{direction}_{unit}"] = _rate(parsed, f"io-{direction}-{unit}", bytes_=unit == "bps")
            rates[f"device_{direction}_{unit}"] = _pairs(parsed, f"device-{direction}-{unit}", rate)
    return Resources(
        memory_bytes=_bytes(parsed, "memory"),
        memory_swap_bytes=_bytes(parsed, "memory-swap", negative=True),
        memory_reservation_bytes=_bytes(parsed, "memory-reservation"),
        memory_min_bytes=_bytes(parsed, "memory-min", negative=True),
        memory_high_bytes=_bytes(parsed, "memory-high", negative=True),
        memory_swappiness=None if swappiness == -1 else swappiness,
        memory_merge=_switch(parsed, "memory-merge"),
        oom_kill_disable=_switch(parsed, "oom-kill-disable"),
        oom_group=_switch(parsed, "oom-group"),
        cpus=_cpus(parsed),
        cpu_quota_us=parsed.number("cpu-quota") or None,
        cpu_period_us=parsed.number("cpu-period") or None,
        cpu_burst_us=parsed.number("cpu-burst"),
        cpu_shares=parsed.number("cpu-shares") or None,
        cpu_idle=_switch(parsed, "cpu-idle"),
        cpu_rt_runtime_us=parsed.number("cpu-rt-runtime") or None,
        cpu_rt_period_us=parsed.number("cpu-rt-period") or None,
        cpuset_cpus=parsed.text("cpuset-cpus") or None,
        cpuset_mems=parsed.text("cpuset-mems") or None,
        pids_limit=-1 if pids == 0 else pids,
        io_weight=parsed.number("blkio-weight") or None,
        device_weights=_pairs(parsed, "blkio-weight-device", _weight),
        hugetlb=_pairs(parsed, "hugetlb", _huge_pages),
        rdma=_pairs(parsed, "rdma", _rdma),
        misc=_pairs(parsed, "misc", _misc),
        **rates,  # type: ignore[arg-type]
    )


def _switch(parsed: Parsed, name: str) -> bool | None:
    return parsed.flag(name) if parsed.given(name) else None


def _bytes(parsed: Parsed, name: str, *, negative: bool = False) -> int | None:
    text = parsed.text(name)
    if text is None:
        return None
    if negative and text == "-1":
        return -1
    try:
        return parse_bytes(text) or None
    except ValueError as error:
        raise parsed.malformed(name, text, str(error)) from None


def _rate(parsed: Parsed, name: str, *, bytes_: bool) -> int | None:
    """A rate of 0 is passed on, to be refused: nobody means "no limit" by it who knows -1."""
    text = parsed.text(name)
    if text is None or text == "-1":
        return None if text is None else -1
    try:
        return parse_bytes(text) if bytes_ else _number(text)
    except ValueError as error:
        raise parsed.malformed(name, text, str(error)) from None


def _cpus(parsed: Parsed) -> float | None:
    text = parsed.text("cpus")
    if text is None:
        return None
    try:
        cpus = float(text)
        if not 0 <= cpus < 1e6:
            raise ValueError
    except ValueError:
        raise parsed.malformed("cpus", text, "not a number of CPUs such as 1.5") from None
    return cpus or None


def _pairs(parsed: Parsed, name: str, convert: Callable[[str], tuple[str, T]]) -> tuple[tuple[str, T], ...] | None:
    """One for each name: the last one counts."""
    found: dict[str, T] = {}
    for text in parsed.items(name):
        try:
            key, value = convert(text)
        except ValueError as error:
            raise parsed.malformed(name, text, str(error)) from None
        found[key] = value
    return tuple(found.items()) or None


def _device(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def _bps(text: str) -> tuple[str, int]:
    path, value = _device(text)
    if value == "-1":
        return path, -1
    try:
        return path, parse_bytes(value)
    except ValueError:
        raise ValueError(f"invalid rate for device: {text}. {_BPS}") from None


def _iops(text: str) -> tuple[str, int]:
    path, value = _device(text)
    if value == "-1":
        return path, -1
    try:
        return path, _number(value)
    except ValueError:
        raise ValueError(f"invalid rate for device: {text}. {_IOPS}") from None


def _weight(text: str) -> tuple[str, int]:
    path, value = _device(text)
    if not value.isdecimal() or not IO_WEIGHTS[0] <= int(value) <= IO_WEIGHTS[1]:
        raise ValueError(f"invalid weight for device: {text}")
    return path, int(value)


def _huge_pages(text: str) -> tuple[str, int]:
    size, colon, limit = text.partition(":")
    if not size or not colon:
        raise ValueError("it is SIZE:BYTES, such as 2MB:1g")
    page_bytes = parse_bytes(size)
    units = ((30, "GB"), (20, "MB"), (10, "KB"))
    whole = (f"{page_bytes >> shift}{unit}" for shift, unit in units if page_bytes and not page_bytes % (1 << shift))
    return next(whole, size), -1 if limit == "-1" else parse_bytes(limit)


def _rdma(text: str) -> tuple[str, str]:
    device, _, words = text.partition(":")
    each = words.split(",")
    for word in each:
        name, _, value = word.partition("=")
        if not device or name not in ("hca_handle", "hca_object") or not (value == "max" or value.isdecimal()):
            raise ValueError("it is DEVICE:hca_handle=NUMBER,hca_object=NUMBER, or max for either")
    return device, " ".join(each)


def _misc(text: str) -> tuple[str, str]:
    name, _, most = text.partition(":")
    if not name or not (most == "max" or most.isdecimal()):
        raise ValueError("it is NAME:NUMBER, or NAME:max")
    return name, most


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"invalid number: '{text}'")
    return int(text)
