"""Plans of foreign specs, their limits and their device rules: pure functions, tested without root."""

from __future__ import annotations

from typing import Any

import pytest

from tiffin.cgroups.driver import CgroupPlan
from tiffin.cgroups.layout import Hierarchy, Layout
from tiffin.errors import HostError, NotSupportedError, UsageError
from tiffin.oci import devices, process, schema
from tiffin.oci.bundle import complete
from tiffin.oci.cgroups import Cgroups, place
from tiffin.oci.compile import Bundle, compile_create
from tiffin.oci.launch import failure, late_operations, late_plan
from tiffin.oci.resources import v1_settings, v2_settings
from tiffin.runtime.compile import Confinement
from tiffin.runtime.ops import Plan

V1 = Layout(
    version=1,
    hierarchies=(
        Hierarchy(controllers=("cpu", "cpuacct"), mount="/cg/cpu"),
        Hierarchy(controllers=("memory",), mount="/cg/memory"),
    ),
)
V2 = Layout(version=2, unified="/cg")
BUNDLE = Bundle(path="/b", root="/b/rootfs", root_parent_mount="/", start_fifo="/s/start", result_fifo="/s/result")


def compiled(
    *, layout: Layout = V1, warnings: list[str] | None = None, bundle: Bundle = BUNDLE, **changes: Any
) -> list[tuple[Any, ...]]:
    """The plan's operations as (name, fields...)."""
    document = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"]},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        **changes,
    }
    config = complete(schema.checked(document, schema.CONFIG, "config.json"))
    plan = compile_create(
        config,
        bundle,
        cgroup=CgroupPlan(tasks=("/cg/memory/x/tasks",)),
        cgroups=Cgroups("x", layout),
        confinement=Confinement(),
        warn=(warnings if warnings is not None else []).append,
    )
    bytes(plan)  # every field fits its signature
    return [(name, *fields) for name, fields, _ in plan]


def names(operations: list[tuple[Any, ...]]) -> list[str]:
    return [operation[0] for operation in operations]


def only(operations: list[tuple[Any, ...]], name: str) -> list[tuple[Any, ...]]:
    return [operation for operation in operations if operation[0] == name]


def test_the_smallest_config() -> None:
    order = names(compiled())
    assert order[:5] == ["CLONE", "CGROUP_TASKS", "PROPAGATION", "ROOT", "MKNOD_IN"]
    assert order[-3:] == ["FIND_EXEC", "WAIT_START", "EXEC"]
    assert order.index("PIVOT") < order.index("CREDS") < order.index("CAPS") < order.index("WAIT_START")
    assert "RUN_DIR" not in order and "HOOKS" not in order


def test_no_process_is_a_container_that_can_only_be_looked_at() -> None:
    document = compiled(process=None)
    assert names(document)[-2:] == ["WAIT_START", "EXEC"] and document[-1][1:] == ("", [""], [])
    with pytest.raises(UsageError, match=r"process.args is empty"):
        compiled(process={"cwd": "/"})


def test_namespaces_are_joined_in_an_order_that_keeps_rights() -> None:
    linux = {
        "namespaces": [
            {"type": "mount", "path": "/ns/mnt"},
            {"type": "network", "path": "/ns/net"},
            {"type": "time"},
            {"type": "uts"},
        ],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 7}, "boottime": {"secs": -3}},
    }
    operations = compiled(linux=linux, hostname="box")
    assert [operation[2] for operation in only(operations, "JOIN_NS")] == ["/ns/net", "/ns/mnt"]
    assert only(operations, "TIME_OFFSETS") == [("TIME_OFFSETS", "monotonic 5 7\nboottime -3 0\n")]
    assert only(operations, "CLONE") == [("CLONE", 0x4000000)]
    assert ("HOSTNAME", "box") in operations and "LOOPBACK" not in names(operations)


def test_user_namespace() -> None:
    linux = {
        "namespaces": [{"type": "mount"}, {"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 20}],
    }
    operations = compiled(linux=linux, process={"cwd": "/", "args": ["sh"], "oomScoreAdj": 5})
    assert ("ID_MAPS", "0 1000 10\n", "0 2000 20\n", "5") in operations
    order = names(operations)
    assert order.index("ROOT") < order.index("ID_MAPS") and "MKNOD_IN" not in order and "OOM_SCORE_ADJ" not in order
    assert ("BIND_IN", "/dev/null", "/dev/null", 0, 0, 1 << 18) in operations


def test_without_a_mount_namespace_nothing_is_mounted() -> None:
    warnings: list[str] = []
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    operations = compiled(linux={"namespaces": []}, mounts=mounts, warnings=warnings)
    assert {"ROOT_AS_IS", "CHROOT"} <= set(names(operations))
    assert not {"ROOT", "MOUNT_IN", "PIVOT", "PROPAGATION"} & set(names(operations))
    assert warnings == ["without a mount namespace these are left out: mounts"]


def test_shared_root() -> None:
    operations = compiled(linux={"namespaces": [{"type": "mount"}], "rootfsPropagation": "shared"})
    assert ("PROPAGATION", 0x4000 | 1 << 20) in operations and ("MOUNT", "", "/", "", 1 << 18, "") in operations
    assert operations[names(operations).index("PIVOT") + 1] == ("PROPAGATION_IN", "/", 1 << 20)


MAP = [{"containerID": 0, "hostID": 5, "size": 1}]


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (
            {"destination": "proc", "type": "proc", "source": "proc", "options": ["nosuid", "suid", "noexec"]},
            [("MOUNT_IN", "proc", "/proc", "proc", 0x8, "")],
        ),
        (
            {"destination": "/t", "type": "tmpfs", "options": ["ro", "size=1m", "mode=700", "lazytime"]},
            [("MOUNT_IN", "", "/t", "tmpfs", 0x1 | 0x200_0000, "size=1m,mode=700")],
        ),
        (
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["rslave"]},
            [
                ("MOUNT_IN", "tmpfs", "/t", "tmpfs", 0, ""),
                ("PROPAGATION_IN", "/t", 0x4000 | 1 << 19),
            ],
        ),
        (
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["rprivate", "tmpcopyup"]},
            [("COPY_UP_IN", "/t", 0, "")],
        ),
        (
            {"destination": "/m", "type": "bind", "source": "data"},
            [("BIND_IN", "/b/data", "/m", 1, 0, 0x4000 | 1 << 18)],
        ),
        (
            {"destination": "/m", "source": "/d", "options": ["bind", "ro", "nosymfollow", "shared"]},
            [("BIND_IN", "/d", "/m", 0, 0x1 | 0x20_0000, 1 << 20)],
        ),
        (
            {"destination": "/m", "source": "/d", "options": ["rbind", "rro", "rnoatime"]},
            [
                ("TREE", 0, "/d", "", 1, 0),
                ("ATTACH", 0, "/m", 0, 0, 0x1 | 0x10, 0x70, 0x4000 | 1 << 18),
            ],
        ),
        (
            {"destination": "/m", "source": "/d", "options": ["rbind", "ro", "size=1m"]},
            [
                ("TREE", 0, "/d", "", 1, 0),
                ("ATTACH", 0, "/m", 0x1, 0, 0, 0, 0x4000 | 1 << 18),
            ],
        ),
        (
            {"destination": "/m", "source": "/d", "options": ["rbind", "rro"]},
            [("BIND_IN", "/d", "/m", 1, 0x1, 0x4000 | 1 << 18)],
        ),
        (
            {"destination": "/m", "source": "d", "options": ["bind", "idmap"], "uidMappings": MAP, "gidMappings": MAP},
            [
                ("TREE_MAPPED", 0, "/b/d", 0, 0, "0 5 1\n", "0 5 1\n"),
                ("ATTACH", 0, "/m", 0, 0, 0, 0, 0x4000 | 1 << 18),
            ],
        ),
    ],
)
def test_mounts(mount: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    wanted = {operation[0] for operation in expected}
    kept = [
        operation
        for operation in compiled(mounts=[mount])
        if operation[0] in wanted | {"MOUNT_IN", "BIND_IN", "COPY_UP_IN"}
    ]
    assert kept == expected


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"destination": "/m", "type": "bind"}, "config.json: mounts[0]: a bind mount needs a source"),
        ({"destination": "/m"}, "config.json: mounts[0]: type is missing"),
        (
            {"destination": "/m", "type": "bind", "source": "/d", "options": ["idmap"]},
            "config.json: mounts[0]: an id-mapped mount needs uidMappings and gidMappings, here or in linux",
        ),
        (
            {"destination": "/m", "type": "bind", "source": "/d", "uidMappings": MAP},
            "config.json: mounts[0]: an id-mapped mount needs uidMappings and gidMappings, here or in linux",
        ),
        (
            {"destination": "/m", "type": "tmpfs", "uidMappings": MAP, "gidMappings": MAP},
            "config.json: mounts[0]: uidMappings and gidMappings are for bind mounts",
        ),
        (
            {"destination": "/m", "type": "tmpfs", "options": ["remount"]},
            "the mount option 'remount' for /m is for mounts that are there already",
        ),
        (
            {"destination": "/m", "type": "proc", "options": ["tmpcopyup"]},
            "config.json: mounts[0]: tmpcopyup is for tmpfs only",
        ),
    ],
)
def test_mounts_that_are_refused(mount: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(mounts=[mount])
    assert str(caught.value) == message


def test_cgroup_mounts() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}
    operations = compiled(mounts=[mount])
    assert [operation[1:3] for operation in only(operations, "BIND_IN")] == [
        ("/cg/cpu/x", "/sys/fs/cgroup/cpu"),
        ("/cg/cpu/x", "/sys/fs/cgroup/cpu,cpuacct"),
        ("/cg/cpu/x", "/sys/fs/cgroup/cpuacct"),
        ("/cg/memory/x", "/sys/fs/cgroup/memory"),
    ]
    assert ("READONLY_IN", "/sys/fs/cgroup") in operations
    linux = {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}
    private = compiled(mounts=[mount], linux=linux, layout=V2)
    assert ("MOUNT_IN", "cgroup", "/sys/fs/cgroup", "cgroup2", 0x3, "") in private


def test_devices() -> None:
    node = {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 7}
    operations = only(compiled(linux={"namespaces": [{"type": "mount"}], "devices": [node]}), "MKNOD_IN")
    assert [operation for operation in operations if operation[1] == "/dev/null"] == [
        ("MKNOD_IN", "/dev/null", 0o20600, 259, 7, 0)
    ]
    bound = [{"destination": "/dev", "type": "bind", "source": "/dev"}]
    assert only(compiled(mounts=bound), "MKNOD_IN") == []
    with pytest.raises(UsageError, match=r"linux.devices\[0\].minor is -1, which is no device number"):
        compiled(linux={"namespaces": [{"type": "mount"}], "devices": [{**node, "minor": -1}]})


def test_hooks() -> None:
    hook = {"path": "/bin/h", "timeout": 3}
    operations = compiled(hooks={"createContainer": [hook], "startContainer": [{"path": "/s", "args": ["s", "x"]}]})
    assert only(operations, "HOOK") == [
        ("HOOK", "/bin/h", ["/bin/h"], [], 3000, 0),
        ("HOOK", "/s", ["s", "x"], [], 0, 1),
    ]
    order = names(operations)
    assert order.index("HOOKS") < order.index("HOOK") < order.index("PIVOT")
    assert order[-3:] == ["WAIT_START", "HOOK", "EXEC"]


def test_attributes_of_the_process() -> None:
    wanted = {
        "cwd": "/",
        "args": ["sh"],
        "user": {"umask": 0o77},
        "scheduler": {"policy": "SCHED_BATCH", "nice": -2, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
    }
    linux = {"namespaces": [{"type": "mount"}], "personality": {"domain": "LINUX32"}}
    operations = compiled(process=wanted, linux=linux)
    assert ("SCHEDULER", 3, 1, -2, 0, 0, 0, 0) in operations and ("IO_PRIORITY", 2 << 13 | 3) in operations
    assert ("PERSONALITY", 8) in operations and ("UMASK", 0o77) in operations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": {"policy": "SCHED_FAST"}}, "process.scheduler.policy is 'SCHED_FAST', not one of "),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "process.ioPriority.priority is 8, "),
        ({"rlimits": [{"type": "NOFILE", "soft": 1, "hard": 1}]}, "process.rlimits[0].type is 'NOFILE', "),
    ],
)
def test_processes_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(process={"cwd": "/", "args": ["sh"], **changes})
    assert str(caught.value).startswith(message)


def test_capabilities_that_the_host_lacks_are_left_out_with_a_warning() -> None:
    warnings: list[str] = []
    sets = {name: ["CAP_KILL", "CAP_CHOWN", "CAP_NOSUCH"] for name in ("bounding", "permitted", "effective", "ambient")}
    wanted = {"capabilities": {**sets, "inheritable": []}}
    process.known_capabilities(wanted, 1 << 5, warnings.append)
    assert wanted["capabilities"]["bounding"] == ["CAP_KILL"] and wanted["capabilities"]["ambient"] == []
    assert warnings == [
        "this host cannot give the capabilities CAP_CHOWN, CAP_NOSUCH",
        "the ambient capabilities CAP_KILL are not inheritable, so they are left out",
    ]


def test_processors() -> None:
    assert process.processors("0-1,8") == (0x103).to_bytes(8, "little")
    assert len(process.processors("64")) == 16
    with pytest.raises(UsageError, match="is not a list of processors"):
        process.processors("1-")


def test_cgroup_places() -> None:
    assert place("/a//b/", "id") == "a/b" and place("a", "id") == "tiffin-runtime/a"
    assert place("", "id") == "tiffin-runtime/id"
    with pytest.raises(UsageError, match="goes upwards"):
        place("/a/../../b", "id")
    with pytest.raises(NotSupportedError, match="is for systemd"):
        place("user.slice:libpod:id", "id")


ALL = {
    "memory": {"limit": 100, "swap": 300, "reservation": 50, "swappiness": 0, "disableOOMKiller": False},
    "cpu": {"shares": 1024, "quota": 5000, "period": 10_000, "cpus": "0", "mems": "", "burst": 0},
    "pids": {"limit": -1},
    "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    "rdma": {"mlx5": {"hcaHandles": 3}},
}  # fmt: skip


def test_limits_as_v1_files() -> None:
    settings = [(item.file, item.value) for item in v1_settings(ALL, lambda _, file: "memsw" in file)]
    assert settings == [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
        ("memory.swappiness", "0"),
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "10000"),
        ("cpu.cfs_quota_us", "5000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
        ("blkio.bfq.weight", "500"),
        ("blkio.throttle.read_bps_device", "8:0 1024"),
        ("hugetlb.2MB.limit_in_bytes", "4"),
        ("rdma.max", "mlx5 hca_handle=3"),
    ]


def test_limits_as_v2_files() -> None:
    resources = {**ALL, "unified": {"memory.high": "70"}}
    settings = [(item.file, item.value) for item in v2_settings(resources, lambda *_: False)]
    assert settings == [
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
        ("cpuset.cpus", "0"),
        ("cpu.weight", "100"),
        ("cpu.max", "5000 10000"),
        ("pids.max", "max"),
        ("io.weight", "4950"),
        ("io.max", "8:0 rbps=1024"),
        ("hugetlb.2MB.max", "4"),
        ("rdma.max", "mlx5 hca_handle=3"),
        ("memory.high", "70"),
    ]


@pytest.mark.parametrize(
    ("settings", "resources", "kind", "message"),
    [
        (v1_settings, {"unified": {"memory.high": "1"}}, NotSupportedError, "linux.resources.unified needs cgroup v2"),
        (v2_settings, {"network": {"classID": 1}}, NotSupportedError, "linux.resources.network is not supported"),
        (v2_settings, {"unified": {"../x": "1"}}, UsageError, "linux.resources.unified has '../x'"),
        (v1_settings, {"memory": {"limit": 9, "swap": 8}}, UsageError, "linux.resources.memory.swap (8) counts"),
    ],
)
def test_limits_that_are_refused(settings: Any, resources: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        settings(resources, lambda *_: True)
    assert str(caught.value).startswith(message)


def test_the_last_rule_decides_about_a_device() -> None:
    resources = {
        "devices": [
            {"allow": True},
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 4, "minor": 7, "access": "r"},
            {"allow": False, "access": "w"},
        ]
    }
    writes = devices.v1_writes(devices.rules(resources))
    assert writes[:4] == [
        ("devices.deny", "a"),
        ("devices.allow", "c 4:7 r"),
        ("devices.deny", "b *:* w"),
        ("devices.deny", "c *:* w"),
    ]
    assert ("devices.allow", "c 1:3 rwm") in writes
    assert devices.v1_writes(devices.rules({"devices": [{"allow": True}]})) == [("devices.allow", "a")]
    with pytest.raises(UsageError, match=r"linux.resources.devices\[0\].access is 'x'"):
        devices.rules({"devices": [{"allow": True, "access": "x"}]})


def test_a_controller_that_the_host_lacks() -> None:
    with pytest.raises(HostError) as caught:
        Cgroups("x", V1).apply({"pids": {"limit": 5}})
    assert str(caught.value) == (
        "linux.resources.pids.limit needs the 'pids' cgroup controller, which this host does not have"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("E 0 2 exec", 'exec: "nosuch": executable file not found in $PATH'),
        ("E 1 2 exec", 'exec: "/no": stat /no: no such file or directory'),
        ("E 0 13 exec", 'exec: "nosuch": permission denied'),
        ("E 2 125 hook exited with code 3: oh", "cannot run the hook: it exited with code 3: oh"),
    ],
)
def test_errors_in_the_words_that_engines_look_for(words: str, message: str) -> None:
    plan = Plan()
    plan.add("FIND_EXEC", "nosuch", [])
    plan.add("FIND_EXEC", "/no", [])
    plan.add("HOOK", "/h", ["h"], [], 0, 0, doing="run the hook")
    assert str(failure(words.split(), plan)) == message


def test_the_words_for_what_fails_after_the_start() -> None:
    plan = Plan()
    plan.add("UMASK", 0)
    plan.add("WAIT_START", "/s", "/r")
    plan.add("EXEC", "/bin/x", ["x"], [], doing="run x")
    late = late_plan(late_operations(plan))
    assert str(failure("E 2 8 exec".split(), late)) == 'exec: "/bin/x": exec format error'
