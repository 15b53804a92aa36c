"""The options that limit a container, of `run`, `create` and `update`."""

from __future__ import annotations

from tiffin.cli.options import Option, absent

_RATES = tuple(
    Option(name=f"{scope}-{direction}-{unit}", kind=kind, word=word.format(what), help=help.format(what, verb))
    for scope, kind, word, help in (
        ("device", "list", "device:{}", "{1} at most so many {0} a second, of one device"),
        ("io", "string", "{}", "{1} at most so many {0} a second of each disk that carries it; -1 for no limit"),
    )
    for direction, verb in (("read", "Read"), ("write", "Write"))
    for unit, what in (("bps", "bytes"), ("iops", "operations"))
)

LIMITS = (
    Option(name="blkio-weight", kind="int", help="Weight of its block IO against others', 10 to 1000"),
    Option(name="blkio-weight-device", kind="list", word="device:weight", help="The weight for one device"),
    Option(name="cpu-burst", kind="int", word="microseconds", help="Unused quota that may be used later; -1 for none"),
    Option(name="cpu-idle", kind="bool", help="Give it the CPU time that nobody else wants"),
    Option(name="cpu-period", kind="int", word="microseconds", help="The period for --cpu-quota", default="100000"),
    Option(name="cpu-quota", kind="int", word="microseconds", help="CPU time in each period; -1 for no limit"),
    Option(name="cpu-rt-period", kind="int", word="microseconds", help="The period for --cpu-rt-runtime"),
    Option(name="cpu-rt-runtime", kind="int", word="microseconds", help="Real-time CPU time in each period"),
    Option(name="cpu-shares", short="c", kind="int", help="CPU weight against other containers (1024 is one share)"),
    Option(name="cpus", word="number", help="How many CPUs' worth of time, such as 1.5"),
    Option(name="cpuset-cpus", word="list", help="CPUs to run on, such as 0-3 or 0,1"),
    Option(name="cpuset-mems", word="list", help="Memory nodes to use, such as 0-3 or 0,1"),
    *_RATES,
    Option(name="hugetlb", kind="list", word="size:bytes", help="Limit of huge pages of a size, such as 2MB:1g"),
    Option(name="memory", short="m", word="bytes", help="Memory limit, such as 512m"),
    Option(name="memory-high", word="bytes", help="Memory beyond which it is slowed down, not killed; -1 for no limit"),
    Option(
        name="memory-merge",
        kind="bool",
        help="Have the kernel merge its memory with equal memory of others: saves some, and is a risk, see SECURITY.md",
    ),
    Option(name="memory-min", word="bytes", help="Memory that is never taken from it; -1 for none"),
    Option(name="memory-reservation", word="bytes", help="Memory that is kept for it when the host runs short"),
    Option(name="memory-swap", word="bytes", help="Limit of memory plus swap; -1 for unlimited swap"),
    Option(name="memory-swappiness", kind="int", help="How readily its memory is swapped, 0 to 100", default="-1"),
    Option(name="misc", kind="list", word="name:number", help="Limit of a resource that misc.capacity names"),
    Option(name="oom-group", kind="bool", help="If one of its processes is killed for want of memory, kill all"),
    Option(name="oom-kill-disable", kind="bool", help="Stop processes for want of memory instead of killing one"),
    Option(name="pids-limit", kind="int", help="How many processes and threads; -1 for unlimited"),
    Option(name="rdma", kind="list", word="device:limits", help="Limits such as mlx4_0:hca_handle=2,hca_object=100"),
)  # fmt: skip
LIMIT_NAMES = frozenset(option.name for option in LIMITS)

LIMITS_ABSENT = absent("Linux has dropped this limit; --memory counts kernel memory too", "kernel-memory")
