"""From limits to writes: which value goes into which cgroup file, in an order that the kernel takes.

Where it asks that one value never exceeds another (memory and memory plus swap, quota and burst, real-time runtime and
period), the one that makes room goes first, whichever way both are changed.
"""

from __future__ import annotations

import os

from tiffin.cgroups import files, limits
from tiffin.cgroups.blockdev import disk_of, scheduler
from tiffin.cgroups.knobs import asks, swap_not_counted
from tiffin.model.record import Record
from tiffin.model.resources import LimitWrite, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What limit files of v1 say when there is no limit: the largest page counter.
UNLIMITED_BYTES = 1 << 62

# for all disks, for one, v1's file, v2's word
_RATES = (
    ("io_read_bps", "device_read_bps", "blkio.throttle.read_bps_device", "rbps"),
    ("io_write_bps", "device_write_bps", "blkio.throttle.write_bps_device", "wbps"),
    ("io_read_iops", "device_read_iops", "blkio.throttle.read_iops_device", "riops"),
    ("io_write_iops", "device_write_iops", "blkio.throttle.write_iops_device", "wiops"),
)


class Setting(Record):
    """One value for one file.

    `undo` says how what the file said before is written back: "plain", as it is; "keyed", the line that begins with
    the same word, or that word with `reset` where there is none; "flag", the number of its first line.
    """

    path: str
    value: str
    undo: str = "plain"
    reset: str = ""

    def undone(self, before: str) -> str:
        """What restores a file that said `before`."""
        if self.undo == "keyed":
            key = self.value.partition(" ")[0]
            same = (line for line in before.splitlines() if line.partition(" ")[0] == key)
            return next(same, f"{key} {self.reset}")
        if self.undo == "flag":
            return before.partition("\n")[0].rpartition(" ")[2]
        return before

    def as_write(self) -> LimitWrite:
        """For people: what it says now, of the same device where there are several."""
        before = files.read(self.path)
        return LimitWrite(path=self.path, before=None if before is None else self.undone(before), value=self.value)


class Settings:
    """Collects the writes for one container. `path` finds a file of its cgroups by name, e.g. "cpu.shares"."""

    def __init__(self, version: int, path: Callable[[str], str]) -> None:
        self._version = version
        self._path = path
        self._found: list[Setting] = []

    def collect(
        self, asked: Resources, *, whole: Resources | None = None, disks: Iterable[str] = (), new: bool = False
    ) -> tuple[Setting, ...]:
        """The writes for those limits of `asked` that are not None; 0 has become None before.

        `whole` has the container's other limits too, `disks` carry it; `new` is a cgroup that nobody has written to.
        UsageError for memory beyond memory plus swap.
        """
        whole = whole or asked
        self._new = new
        if self._version == 1:
            self._memory_v1(asked.memory_bytes, asked.memory_swap_bytes)
        else:
            self._memory_v2(asked.memory_bytes, asked.memory_swap_bytes)
        self._more_memory(asked)
        self._cpu_bandwidth(asked)
        self._realtime(asked)
        self._cpu_weight(asked)
        for name in ("cpus", "mems"):
            self._put(f"cpuset.{name}", getattr(asked, f"cpuset_{name}"))
        if asked.pids_limit is not None and self._has("pids.max"):
            self._put("pids.max", _or_max(asked.pids_limit))
        self._weights(asked)
        self._rates(asked, whole, tuple(disks))
        for size, limit in asked.hugetlb or ():
            if self._version == 1:
                self._put(f"hugetlb.{size}.limit_in_bytes", limit)
            else:
                self._put(f"hugetlb.{size}.max", _or_max(limit))
        for device, words in asked.rdma or ():
            reset = " ".join(f"{word.partition('=')[0]}=max" for word in words.split())
            self._put("rdma.max", f"{device} {words}", undo="keyed", reset=reset)
        for resource, most in asked.misc or ():
            self._put("misc.max", f"{resource} {most}", undo="keyed", reset="max")
        return tuple(self._found)

    def _put(self, file: str, value: object, *, undo: str = "plain", reset: str = "") -> None:
        if value is not None:
            self._found.append(Setting(path=self._path(file), value=str(value), undo=undo, reset=reset))

    def _has(self, file: str) -> bool:
        path = self._path(file)
        return bool(path) and os.path.exists(path)

    def _number(self, file: str) -> int | None:
        number = files.read_number(self._path(file))
        return None if number is None or number >= UNLIMITED_BYTES else number

    def _switch(self, file: str, value: bool | None, undo: str = "plain") -> None:
        if value is not None and (value or (not self._new and self._has(file))):
            self._put(file, int(value), undo=undo)

    def _memory_v1(self, memory: int | None, total: int | None) -> None:
        if memory is None and total is None:
            return
        counts_swap = self._has("memory.memsw.limit_in_bytes")
        now_total = self._number("memory.memsw.limit_in_bytes") if counts_swap else None
        if self._new:
            if counts_swap and total is None and memory is not None:
                total = 2 * memory  # as Docker: as much swap as memory, unless told otherwise
        else:
            both = memory if memory is not None else self._number("memory.limit_in_bytes")
            limits.check_update(both, total if total is not None else now_total)
        grows = total is not None and (total == -1 or (now_total is not None and total > now_total))
        if not grows:
            self._put("memory.limit_in_bytes", memory)
        if total is not None and (total != -1 or counts_swap):
            self._put("memory.memsw.limit_in_bytes", total)
        if grows:
            self._put("memory.limit_in_bytes", memory)

    def _memory_v2(self, memory: int | None, total: int | None) -> None:
        if memory is None and total is None:
            return
        both = memory
        counts_swap = self._has("memory.swap.max")
        if self._new:
            if counts_swap and total is None and memory is not None:
                total = 2 * memory
        else:
            now_memory, now_swap = self._number("memory.max"), self._number("memory.swap.max")
            both = memory if memory is not None else now_memory
            if total is None and now_memory is not None and now_swap is not None:
                total = now_memory + now_swap
            limits.check_update(both, total)
        self._put("memory.max", memory)
        if total == -1:
            if counts_swap:
                self._put("memory.swap.max", "max")
        elif total is not None and both is not None:
            if not counts_swap:
                raise swap_not_counted()
            self._put("memory.swap.max", total - both)

    def _more_memory(self, asked: Resources) -> None:
        v1 = self._version == 1
        self._put("memory.soft_limit_in_bytes" if v1 else "memory.low", asked.memory_reservation_bytes)
        if asked.memory_min_bytes is not None and (asks(asked.memory_min_bytes) or self._has("memory.min")):
            self._put("memory.min", max(asked.memory_min_bytes, 0))
        if asked.memory_high_bytes is not None and (asks(asked.memory_high_bytes) or self._has("memory.high")):
            self._put("memory.high", _or_max(asked.memory_high_bytes))
        self._put("memory.swappiness", asked.memory_swappiness)
        self._switch("memory.oom_control", asked.oom_kill_disable if v1 else None, undo="flag")
        self._switch("memory.oom.group", None if v1 else asked.oom_group)

    def _cpu_bandwidth(self, asked: Resources) -> None:
        quota, period, burst = asked.cpu_quota_us, asked.cpu_period_us, asked.cpu_burst_us
        if asked.cpus is not None:
            quota, period = limits.quota_us(asked.cpus), limits.CPU_PERIOD_US
        burst_file = "cpu.cfs_burst_us" if self._version == 1 else "cpu.max.burst"
        if burst == -1:
            burst = 0 if self._has(burst_file) else None
        shrinks = burst is not None and burst < (files.read_number(self._path(burst_file)) or 0)
        if shrinks:
            self._put(burst_file, burst)
        if self._version == 1:
            self._put("cpu.cfs_period_us", period)
            self._put("cpu.cfs_quota_us", quota)
        elif quota is not None or period is not None:
            now_quota, now_period = [*(files.read(self._path("cpu.max")) or "max").split(), "100000"][:2]
            words = (now_quota if quota is None else _or_max(quota), now_period if period is None else period)
            self._put("cpu.max", f"{words[0]} {words[1]}")
        if not shrinks:
            self._put(burst_file, burst)

    def _realtime(self, asked: Resources) -> None:
        runtime, period = asked.cpu_rt_runtime_us, asked.cpu_rt_period_us
        if self._version != 1:
            return
        grows = runtime is not None and runtime > (files.read_number(self._path("cpu.rt_runtime_us")) or 0)
        if grows:
            self._put("cpu.rt_period_us", period)
        self._put("cpu.rt_runtime_us", runtime)
        if not grows:
            self._put("cpu.rt_period_us", period)

    def _cpu_weight(self, asked: Resources) -> None:
        file = "cpu.shares" if self._version == 1 else "cpu.weight"
        if asked.cpu_idle and not self._new:
            # The kernel forgets the weight of what becomes idle: writing it as it is has it put back by an undo.
            self._put(file, files.read_number(self._path(file)) or None)
        leaves = asked.cpu_shares is not None and asked.cpu_idle is None and not self._new
        if leaves and files.read_number(self._path("cpu.idle")):
            self._put("cpu.idle", 0)
        self._switch("cpu.idle", asked.cpu_idle)
        if asked.cpu_shares is not None:
            weight = asked.cpu_shares if self._version == 1 else limits.weight_of_shares(asked.cpu_shares)
            self._put(file, weight)

    def _weights(self, asked: Resources) -> None:
        if asked.io_weight is None and not asked.device_weights:
            return
        if self._version == 1:
            own = "" if self._has("blkio.weight") else "bfq."
            self._put(f"blkio.{own}weight", asked.io_weight)
            for path, own_weight in asked.device_weights or ():
                reset = "default" if own else "0"
                self._put(f"blkio.{own}weight_device", f"{disk_of(path)} {own_weight}", undo="keyed", reset=reset)
            return
        bfq, plain = self._has("io.bfq.weight"), self._has("io.weight")
        for file, wanted in (("io.bfq.weight", bfq), ("io.weight", plain or not bfq)):
            weights: list[tuple[str, int | None]] = [("default", asked.io_weight), *(asked.device_weights or ())]
            for key, weight in weights:
                if not wanted or weight is None:
                    continue
                scaled = weight if "bfq" in file else limits.io_weight(weight)
                number = key if key == "default" else disk_of(key)
                if number != "default" and "bfq" in file and plain and scheduler(number) != "bfq":
                    continue  # BFQ takes weights for disks of its own only
                self._put(file, f"{number} {scaled}", undo="keyed", reset="default")

    def _rates(self, asked: Resources, whole: Resources, disks: tuple[str, ...]) -> None:
        for everywhere, single, file, word in _RATES:
            touched = set(disks) if getattr(asked, everywhere) is not None else set()
            for path, rate in getattr(asked, single) or ():
                if rate != -1 or os.path.exists(path):  # what is gone has no limit to be lifted
                    touched.add(disk_of(path))
            general = getattr(whole, everywhere)
            own: dict[str, int] = {}
            for path, rate in getattr(whole, single) or () if touched else ():
                if rate != -1:
                    own[disk_of(path)] = min(rate, own.get(disk_of(path), rate))
            for disk in sorted(touched):
                rates = [own[disk]] if disk in own else []
                if disk in disks and asks(general):
                    rates.append(general)
                if not rates and self._new:
                    continue
                if self._version == 1:
                    self._put(file, f"{disk} {min(rates, default=0)}", undo="keyed", reset="0")
                else:
                    text = str(min(rates)) if rates else "max"
                    self._put("io.max", f"{disk} {word}={text}", undo="keyed", reset=f"{word}=max")


def _or_max(value: int) -> str:
    return "max" if value == -1 else str(value)
