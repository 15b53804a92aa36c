"""Changing the limits of containers, running and not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tiffin
from tiffin.cgroups.driver import choose_driver
from tiffin.errors import HostError, NotFoundError, UsageError
from tiffin.model.container import ContainerConfig
from tiffin.model.resources import Resources
from tiffin.state.db import Database

if TYPE_CHECKING:
    from integration.conftest import Runner

MB = 1 << 20


def sleeper(engine: tiffin.Engine, image: str, resources: Resources | None = None, script: str = "") -> str:
    config = ContainerConfig(
        image=image, command=("sh", "-c", f"{script} echo up; exec sleep 60"), name="cc",
        resources=resources or Resources(),
    )  # fmt: skip
    return engine.create(config).id


def limits(container_id: str) -> Resources:
    return choose_driver().read(container_id)


def test_at_once_and_for_every_later_start(engine: tiffin.Engine, busybox: str) -> None:
    container_id = sleeper(engine, busybox)
    engine.start("cc")
    asked = Resources(
        memory_bytes=64 * MB, memory_swap_bytes=96 * MB, memory_reservation_bytes=32 * MB, cpus=0.5,
        cpuset_cpus="0", cpuset_mems="0", pids_limit=77,
    )  # fmt: skip
    engine.update("cc", asked)
    engine.update("cc", Resources(cpu_shares=0, memory_bytes=0))  # as Docker: 0 asks for nothing
    for again in (False, True):
        if again:
            engine.restart("cc", timeout_s=0)
        assert limits(container_id).replace(cpu_shares=None) == asked
        assert engine.container("cc").container.config.resources == asked
    engine.update("cc", Resources(pids_limit=-1, memory_swap_bytes=-1))
    now = limits(container_id)
    assert (now.pids_limit, now.memory_swap_bytes, now.memory_bytes) == (None, -1, 64 * MB)


def test_before_it_runs(engine: tiffin.Engine, busybox: str) -> None:
    container_id = sleeper(engine, busybox, Resources(memory_bytes=64 * MB))
    engine.update("cc", Resources(memory_bytes=32 * MB, pids_limit=9))
    engine.start("cc")
    now = limits(container_id)
    assert (now.memory_bytes, now.memory_swap_bytes, now.pids_limit) == (32 * MB, 128 * MB, 9)


def test_a_change_of_memory_leaves_the_sum_over_a_restart(engine: tiffin.Engine, busybox: str) -> None:
    container_id = sleeper(engine, busybox, Resources(memory_bytes=64 * MB))
    engine.start("cc")
    engine.update("cc", Resources(memory_bytes=32 * MB))
    live = limits(container_id)
    engine.restart("cc", timeout_s=0)
    assert (live.memory_bytes, live.memory_swap_bytes) == (32 * MB, 128 * MB)
    assert limits(container_id) == live


@pytest.mark.parametrize("running", [False, True])
def test_what_is_refused_changes_nothing(engine: tiffin.Engine, busybox: str, running: bool) -> None:
    before = Resources(memory_bytes=64 * MB, pids_limit=9)
    container_id = sleeper(engine, busybox, before)
    if running:
        engine.start("cc")
    for changes, message in (
        (Resources(memory_bytes=256 * MB, pids_limit=5), (f"the memory limit ({256 * MB} bytes) would exceed the limit "
         f"of memory plus swap ({128 * MB} bytes)")),
        (Resources(pids_limit=5, memory_bytes=1024),
         f"a memory limit of 1024 bytes is too small: the least is 6 MB ({6 * MB} bytes)"),
        (Resources(pids_limit=5, memory_reservation_bytes=65 * MB),
         f"the memory reservation ({65 * MB} bytes) exceeds the memory limit ({64 * MB} bytes)"),
        (Resources(pids_limit=-2), "the pids limit must be positive, or -1 for none: -2"),
        (Resources(pids_limit=5, cpu_shares=1), "cpu shares must be within 2 and 262144: 1"),
        (Resources(pids_limit=5, cpuset_cpus="a"), "'a' is not a list of processors such as 0-2,7"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            engine.update("cc", changes)
        assert caught.value.message == message
        assert engine.container("cc").container.config.resources == before
        if running:
            assert limits(container_id).pids_limit == 9
    with pytest.raises(NotFoundError):
        engine.update("nosuch", Resources(pids_limit=5))


def test_less_memory_than_is_in_use(engine: tiffin.Engine, busybox: str) -> None:
    """On v1 the kernel refuses what it cannot free, and the other changes are taken back; on v2 it kills."""
    before = Resources(memory_bytes=128 * MB, memory_swap_bytes=128 * MB)
    fill = "dd if=/dev/zero of=/dev/shm/full bs=1M count=40 2>/dev/null;"
    container_id = sleeper(engine, busybox, before, fill)
    engine.start("cc")
    next(iter(engine.logs("cc", follow=True)))
    live = limits(container_id)
    less = Resources(memory_bytes=8 * MB, memory_swap_bytes=256 * MB, pids_limit=5)
    if choose_driver().version == 2:
        engine.update("cc", less)
        assert engine.wait("cc", timeout_s=20) == 137
        assert engine.container("cc").state.oom_killed
        return
    with pytest.raises(HostError) as caught:
        engine.update("cc", less)  # the sum grows first and is accepted; then memory is refused
    assert caught.value.message.startswith(f"cannot update container cc: cannot write '{8 * MB}' to /sys/fs/cgroup/")
    assert caught.value.message.endswith("memory.limit_in_bytes: Device or resource busy")
    assert caught.value.hint is not None and caught.value.hint.endswith(" bytes of memory now")
    assert limits(container_id) == live
    assert engine.container("cc").container.config.resources == before


def test_a_full_disk_changes_nothing(engine: tiffin.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container_id = sleeper(engine, busybox)
    engine.start("cc")

    def full(self: Database, sql: str, parameters: object = ()) -> int:
        if sql.startswith("UPDATE"):
            raise tiffin.errors.StoreError("cannot write the state: the disk is full")
        return execute(self, sql, parameters)  # type: ignore[arg-type]

    execute = Database.execute
    with monkeypatch.context() as patch:
        patch.setattr(Database, "execute", full)
        with pytest.raises(tiffin.errors.StoreError):
            engine.update("cc", Resources(pids_limit=5))
    assert limits(container_id).pids_limit is None
    assert engine.container("cc").container.config.resources == Resources()


def test_several_on_the_command_line(tiffin: Runner, busybox: str) -> None:
    for name in ("aa", "bb"):
        tiffin.ok("create", "--name", name, busybox, "true")
    result = tiffin("update", "-m", "64m", "--memory-swap", "128m", "--cpus", "1", "aa", "nosuch", "bb")
    assert result == (1, "aa\nbb\n", "tiffin: no such container: nosuch\n`tiffin ps -a` lists what is here\n")
    format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}}"
    assert tiffin.ok("inspect", "-f", format, "aa", "bb").splitlines() == [f"{64 * MB} {128 * MB} 1000000000"] * 2
    assert tiffin.ok("container", "update", "--pids-limit", "0", "aa") == "aa"
    assert tiffin.ok("inspect", "-f", "{{.HostConfig.PidsLimit}}", "aa") == "-1"
    assert tiffin("update", "aa") == (
        1, "",
        "tiffin: you must provide one or more flags when using this command\nSee 'tiffin update --help'.\n",
    )  # fmt: skip
    assert tiffin("update", "--kernel-memory", "10m", "aa").err == (
        "tiffin: --kernel-memory is not supported yet: Linux has dropped this limit; "
        "--memory counts kernel memory too\n"
    )
    assert tiffin("update", "-m", "lots", "aa").code == 125
