"""From the OCI spec to a plan: order is what matters."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tiffin.cgroups.driver import CgroupPlan
from tiffin.errors import UsageError
from tiffin.model.container import Container, ContainerConfig, Mount, Ulimit
from tiffin.runtime import spec
from tiffin.runtime.compile import Confinement, Monitor, compile_exec, compile_launch
from tiffin.runtime.ops import Plan
from tiffin.runtime.security.capabilities import ALL
from tiffin.runtime.security.options import parse_security_opts
from tiffin.runtime.security.seccomp import SeccompFilter
from tiffin.runtime.users import Identity
from tiffin.storage.rootfs import MountStep

FILTER = SeccompFilter(program=b"12345678", flags=2)
CGROUP = CgroupPlan(tasks=("/cg/memory/x/tasks",), remove=("/cg/memory/x",), oom_file="/cg/memory/x/memory.oom_control")


MAPS = ((0, 100000, 65536),)


def plan_of(
    *,
    cgroup: CgroupPlan = CGROUP,
    confinement: Confinement | None = None,
    maps: tuple[tuple[int, int, int], ...] = (),
    joined: spec.Joined = spec.NOBODY,
    **options: Any,
) -> Plan:
    config = ContainerConfig(image="img", **options)
    container = Container(
        id="ab" * 32,
        name="web",
        image_id="sha256:x",
        image_name="img",
        driver="composefs",
        created_ns=1,
        config=config,
        argv=("sh",),
        env=(),
        workdir="/w",
        user="",
        hostname="box",
        stop_signal=15,
        stop_timeout_s=10,
        uid_maps=maps,
        gid_maps=maps,
    )
    built = spec.build_spec(
        container,
        identity=Identity(uid=5, gid=6, groups=(7, 70000)),
        security=parse_security_opts(config.security_opts),
        host=spec.HostFacts(bounding=ALL, joined=joined),
        files=spec.Files(hostname="/c/hostname", hosts="/c/hosts", resolv_conf="/c/resolv.conf"),
        rootfs="/c/rootfs",
    )
    return compile_launch(
        built,
        monitor=Monitor(run_dir="/run/x", exit_file="/c/exit", log_path="/c/log", log_max_bytes=5, log_files=3),
        rootfs_steps=(MountStep(source="overlay", target="/c/rootfs", fstype="overlay", data="lowerdir=/l"),),
        cgroup=cgroup,
        confinement=confinement or Confinement(seccomp=FILTER),
        joined=joined,
    )


def names(plan: Plan) -> list[str]:
    return [name for name, _, _ in plan]


def fields(plan: Plan, name: str) -> list[tuple[object, ...]]:
    return [found for op, found, _ in plan if op == name]


def before(plan: Plan, first: str, second: str) -> bool:
    order = names(plan)
    return order.index(first) < order.index(second)


def test_it_ends_with_exec_and_can_be_written() -> None:
    plan = plan_of()
    assert names(plan)[-1] == "EXEC" and fields(plan, "EXEC")[0][:2] == ("sh", ["sh"])
    assert bytes(plan).startswith(b"TFPLAN1\0")


def test_order_of_isolation() -> None:
    plan = plan_of(read_only=True, sysctls=(("net.ipv4.ip_forward", "1"),))
    order = [
        "CLONE",
        "CGROUP_TASKS",
        "UNSHARE",
        "PROPAGATION",
        "MOUNT",
        "ROOT",
        "MOUNT_IN",
        "MKNOD_IN",
        "SYSCTL",
        "MASK_IN",
        "READONLY_IN",
        "ROOT_READONLY",
        "PIVOT",
        "LOOPBACK",
        "HOSTNAME",
        "SECCOMP",
        "CREDS",
        "CAPS",
        "EXEC",
    ]
    found = names(plan)
    positions = [found.index(name) for name in order]
    assert positions == sorted(positions)


def test_cgroup_namespace_is_made_after_joining() -> None:
    plan = plan_of()
    (flags,) = fields(plan, "CLONE")[0]
    assert flags == 0x6C02_0000  # all but CLONE_NEWCGROUP
    assert fields(plan, "UNSHARE") == [(0x0200_0000,)]
    assert "UNSHARE" not in names(plan_of(cgroupns="host"))


def test_version_two_cgroups_are_cloned_into() -> None:
    cgroup = CgroupPlan(
        into="/cg/x", remove=("/cg/x",), oom_file="/cg/x/memory.events", device_program=("/cg/x", b"8" * 8)
    )
    plan = plan_of(cgroup=cgroup)
    assert before(plan, "DEVICE_BPF", "CLONE") and before(plan, "CGROUP_INTO", "CLONE")
    assert "CGROUP_TASKS" not in names(plan)


def test_a_filter_without_no_new_privs_comes_before_privileges_go() -> None:
    assert before(plan_of(), "SECCOMP", "CREDS")
    careful = plan_of(security_opts=("no-new-privileges",))
    assert before(careful, "NO_NEW_PRIVS", "SECCOMP") and before(careful, "CAPS", "SECCOMP")
    assert fields(careful, "SECCOMP") == [(b"12345678", 2)]


def test_credentials() -> None:
    plan = plan_of()
    assert fields(plan, "CREDS") == [(5, 6, (7).to_bytes(4, "little") + (70000).to_bytes(4, "little"))]
    bounding, effective, *_ = fields(plan, "CAPS")[0]
    assert isinstance(bounding, int) and bounding.bit_count() == 14 and effective == 0


def test_mounts_and_binds() -> None:
    plan = plan_of(mounts=(Mount(type="bind", source="/src", target="/dst", readonly=True, propagation="rslave"),))
    binds = {found[1]: found for found in fields(plan, "BIND_IN")}
    assert binds["/dst"] == ("/src", "/dst", 1, 1, 1 << 19 | 0x4000)
    mounts = {found[1]: found for found in fields(plan, "MOUNT_IN")}
    assert mounts["/proc"] == ("proc", "/proc", "proc", 0xE, "")
    assert mounts["/dev"][4] == "mode=755,size=65536k"


def test_devices_are_what_the_runtime_spec_lists() -> None:
    made = {found[0]: found[2] for found in fields(plan_of(), "MKNOD_IN")}
    assert made["/dev/null"] == os.makedev(1, 3) and made["/dev/tty"] == os.makedev(5, 0) and len(made) == 6


def test_init_and_terminal() -> None:
    plan = plan_of(init=True, tty=True, confinement=Confinement(init=True))
    assert names(plan)[-2:] == ["INIT", "EXEC"] and before(plan, "CONSOLE", "PIVOT")


def test_limits() -> None:
    plan = plan_of(ulimits=(Ulimit(name="nofile", soft=1, hard=-1),))
    assert fields(plan, "RLIMIT") == [(7, 1, -1, 0)]
    with pytest.raises(UsageError, match="unknown ulimit 'nofiles'"):
        plan_of(ulimits=(Ulimit(name="nofiles", soft=1, hard=1),))


def test_entering() -> None:
    process = {
        "terminal": True,
        "user": {"uid": 0, "gid": 0, "additionalGids": []},
        "args": ["ls"],
        "env": [],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), ()),
        "noNewPrivileges": False,
        "rlimits": [],
    }
    plan = compile_exec(
        process,
        pid=42,
        start_ticks=7,
        kinds=["mount", "pid", "cgroup"],
        cgroup=CGROUP,
        confinement=Confinement(),
        tty_size=(24, 80),
    )
    assert names(plan) == ["TTY_SIZE", "ENTER", "CGROUP_TASKS", "CONSOLE", "UMASK", "CHDIR", "CREDS", "CAPS", "EXEC"]
    assert fields(plan, "ENTER") == [(42, 7, 0x2202_0000)]


def test_memory_is_merged_before_a_filter_could_refuse_it() -> None:
    process = {
        "terminal": False, "user": {"uid": 0, "gid": 0, "additionalGids": []}, "args": ["sh"], "env": [], "cwd": "/",
        "capabilities": {name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        "noNewPrivileges": False, "rlimits": [],
    }  # fmt: skip
    confined = Confinement(memory_merge=True, seccomp=SeccompFilter(program=bytes(8), flags=0))
    plan = compile_exec(process, pid=5, start_ticks=6, kinds=(), cgroup=CgroupPlan(), confinement=confined)
    assert names(plan) == ["ENTER", "MEMORY_MERGE", "UMASK", "CHDIR", "SECCOMP", "CREDS", "CAPS", "EXEC"]
    assert "MEMORY_MERGE" not in names(plan_of())


def test_it_is_pure() -> None:
    assert bytes(plan_of()) == bytes(plan_of())


def test_an_oom_score_of_zero_is_one() -> None:
    process = {
        "terminal": False, "user": {"uid": 0, "gid": 0, "additionalGids": []}, "args": ["sh"], "env": [], "cwd": "/",
        "capabilities": {name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")},
        "noNewPrivileges": False, "rlimits": [],
    }  # fmt: skip
    options: Any = {"pid": 5, "start_ticks": 6, "kinds": (), "cgroup": CgroupPlan(), "confinement": Confinement()}
    assert "OOM_SCORE_ADJ" not in [name for name, _, _ in compile_exec(process, **options)]
    plan = compile_exec({**process, "oomScoreAdj": 0}, **options)
    assert [fields for name, fields, _ in plan if name == "OOM_SCORE_ADJ"] == [(1000,)]


def test_namespaces_of_others_are_entered_before_the_child_is_made() -> None:
    joined = spec.Joined(
        paths=(("ipc", "/proc/7/ns/ipc"), ("pid", "/proc/7/ns/pid")), donors=((7, 99),), shm="/proc/7/ns/mnt"
    )
    plan = plan_of(pid="container:x", ipc="container:x", joined=joined)
    before = [op[:2] for op in plan.ops[: names(plan).index("CLONE")] if op[0] in ("JOIN_NS", "DONOR", "TREE_FROM")]
    assert before == [
        ("JOIN_NS", (0x2000_0000, "/proc/7/ns/pid")),
        ("JOIN_NS", (0x0800_0000, "/proc/7/ns/ipc")),
        ("DONOR", (7, 99)),
        ("TREE_FROM", (0, "/proc/7/ns/mnt", "/dev/shm", 0)),
    ]
    (flags,) = next(fields for name, fields, _ in plan if name == "CLONE")
    assert isinstance(flags, int) and not flags & 0x2800_0000
    assert ("ATTACH", (0, "/dev/shm", 0xE, 0, 0, 0, 0x4000 | 1 << 18)) in [op[:2] for op in plan.ops]


def test_a_user_namespace_divides_the_plan() -> None:
    volume = Mount(type="volume", source="data", target="/data")
    bind = Mount(type="bind", source="/srv", target="/srv")
    plan = plan_of(maps=MAPS, mounts=(volume, bind), ulimits=(Ulimit(name="nofile", soft=10, hard=20),))
    at = names(plan).index("CLONE")
    before, after = plan.ops[:at], plan.ops[at:]
    text = "0 100000 65536\n"
    assert ("USERNS", ("", text, text, 100000, 100000)) in [op[:2] for op in before]
    assert {name for name, _, _ in before} >= {"MOUNT", "ROOT", "MKNOD_IN", "TREE", "TREE_INSIDE"}
    assert {name for name, _, _ in after}.isdisjoint({"MOUNT", "ROOT", "MKNOD_IN", "TREE", "BIND_IN", "PROPAGATION"})
    nodes = [fields for name, fields, _ in before if name == "MKNOD_IN"]
    assert {fields[3:] for fields in nodes} == {(100000, 100000)}
    trees = {fields[1]: fields[4] for name, fields, _ in before if name == "TREE"}
    assert trees == {"/c/resolv.conf": 1, "/c/hostname": 1, "/c/hosts": 1, "/data/_data": 1, "/srv": 0}
    attached = [fields[1] for name, fields, _ in after if name == "ATTACH"]
    assert attached == ["/dev", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/data", "/srv"]
    assert [fields[3] for name, fields, _ in plan if name == "RLIMIT"] == [2, 0]
    dev = next(fields for name, fields, _ in before if name == "MOUNT_IN")
    assert dev[1] == "/dev" and str(dev[4]).endswith(",uid=100000,gid=100000")


def test_terminals_are_root_groups_where_there_is_no_tty_group() -> None:
    def options(maps: tuple[tuple[int, int, int], ...]) -> str:
        return str(
            next(fields[4] for name, fields, _ in plan_of(maps=maps) if name == "MOUNT_IN" and fields[2] == "devpts")
        )

    assert "gid=5" in options(MAPS) and "gid=5" not in options(((0, 100000, 5),))
