"""The library where it is easily used wrongly, or where details of Docker matter."""

from __future__ import annotations

import glob
import os
import secrets
import threading
import time
from pathlib import Path

import pytest

import tiffin
from tiffin.errors import UsageError
from tiffin.model.container import ContainerConfig, LogConfig, Mount


def sh(engine: tiffin.Engine, image: str, script: str, **options: object) -> str:
    result = engine.run(image, ["sh", "-c", script], **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_other_users_cannot_look_into_the_store(engine: tiffin.Engine, busybox: str) -> None:
    """Not at the environments in the database, nor at the setuid programs that a container may have made."""
    sh(engine, busybox, "cp /bin/busybox /bin/su2; chmod u+s /bin/su2", auto_remove=False, name="web")
    assert os.stat(f"{engine.root}/state.db").st_mode & 0o077 == 0
    passable = {name for name in os.listdir(engine.root) if os.stat(f"{engine.root}/{name}").st_mode & 0o007}
    assert passable <= {"tmp", "cache", "run"}
    engine.remove("web")


def test_a_single_file_is_bound(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello\n")
    mount = Mount(type="bind", source=str(tmp_path / "file"), target="/etc/new/file", create_source=True)
    assert sh(engine, busybox, "cat /etc/new/file", mounts=(mount,)) == "hello\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("ls -l", "the command 'ls -l' is one text, not a sequence of words"),
        (b"ls", "the command b'ls' is one text, not a sequence of words"),
        (["sleep", 1], "the word 1 of the command is not a text"),
    ],
)
def test_a_command_is_words(engine: tiffin.Engine, busybox: str, command: object, message: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    with pytest.raises(UsageError) as caught:
        engine.run(busybox, command)  # type: ignore[arg-type]
    assert caught.value.message == message
    with pytest.raises(UsageError) as caught:
        engine.exec_run("web", command)  # type: ignore[arg-type]
    assert caught.value.message == message
    engine.remove("web", force=True)


@pytest.mark.parametrize("option", ["tty", "detach"])
def test_exec_run_collects_or_refuses(engine: tiffin.Engine, busybox: str, option: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="web", command=("sleep", "60")))
    engine.start("web")
    with pytest.raises(UsageError) as caught:
        engine.exec_run("web", ["echo", "lost"], **{option: True})
    assert str(caught.value) == f"exec_run collects output to the end, which {option}=True does not allow (use `exec`)"
    engine.remove("web", force=True)


def test_log_limits_that_cannot_be(engine: tiffin.Engine, busybox: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.create(ContainerConfig(image=busybox, log=LogConfig(max_size_bytes=1000)))
    assert str(caught.value) == (
        "a log cannot be kept in 3 files of 1000 bytes (it needs 1 to 1000 files of at least 4096 bytes)"
    )
    engine.run(busybox, ["true"], log=LogConfig(max_size_bytes=4096, max_files=1000))


def test_the_hosts_network_comes_with_the_hosts_name(engine: tiffin.Engine, busybox: str) -> None:
    assert sh(engine, busybox, "hostname", network="host") == os.uname().nodename + "\n"
    assert sh(engine, busybox, "hostname", network="host", hostname="mine") == "mine\n"


def test_inspect_shows_what_runs_merged_from_image_and_user(engine: tiffin.Engine, busybox: str) -> None:
    engine.create(ContainerConfig(image=busybox, name="image"))
    engine.create(ContainerConfig(image=busybox, name="user", entrypoint=("echo", "a"), command=("b",)))
    of_image = engine.inspect_container("image")["Config"]
    assert (of_image["Entrypoint"], of_image["Cmd"]) == (None, ["sh"])
    of_user = engine.inspect_container("user")["Config"]
    assert (of_user["Entrypoint"], of_user["Cmd"]) == (["echo", "a"], ["b"])
    assert engine.inspect_container("user")["NetworkSettings"]["Networks"]["none"]["IPAddress"] == ""


def test_what_a_prune_frees_counts_what_only_unused_images_share(
    engine: tiffin.Engine, busybox: str, busybox_archive: bytes
) -> None:
    import io

    engine.import_image(io.BytesIO(busybox_archive), "twin", changes=["ENV A=1"])
    usage = engine.disk_usage()
    assert sum(image["UniqueSize"] for image in usage["ImageList"]) == 0
    plan = engine.prune_plan(all_images=True)
    assert plan.size_bytes == usage["Images"]["Reclaimable"] > len(busybox_archive) / 2
    pruned = engine.prune(plan)
    assert len(pruned.images) == 2
    assert abs(pruned.size_bytes - plan.size_bytes) < 1 << 15  # directories that shrink, too


def test_a_forced_removal_may_meet_the_owners(engine: tiffin.Engine, busybox: str) -> None:
    """Who ran it with --rm sees its end as well, and may be the first to remove it."""
    for _ in range(10):
        running = threading.Thread(target=engine.run, args=(busybox, ["sleep", "60"]), kwargs={"name": "web"})
        running.start()
        deadline = time.monotonic() + 10
        while not engine.containers() and time.monotonic() < deadline:
            time.sleep(0.01)
        engine.remove("web", force=True)
        running.join()
        assert engine.containers(all=True) == []


def test_the_cgroup_above_goes_with_the_last_container(
    engine: tiffin.Engine, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `rm` and by prune; nobody who runs one container after the other waits for it to be made again."""
    parent = f"tiffin-test-{secrets.token_hex(4)}"

    def above() -> list[str]:
        return glob.glob(f"/sys/fs/cgroup/*/{parent}") + glob.glob(f"/sys/fs/cgroup/{parent}")

    with tiffin.Engine(engine.root, cgroup_parent=parent) as own:
        own.run(busybox, ["true"])
        assert above()
        own.prune(own.prune_plan(containers=True, images=False))
        assert above(), "the user has named it, and may have given it limits"
        monkeypatch.setattr("tiffin.parts.DEFAULT_CGROUP_PARENT", parent)
        own.prune(own.prune_plan(containers=True, images=False))
        assert above() == []
        first, second = (own.create(ContainerConfig(image=busybox, command=("sleep", "60"))) for _ in range(2))
        own.start(first.id)
        own.start(second.id)
        own.remove(first.id, force=True)
        assert above()
        own.remove(second.id, force=True)
        assert above() == []
        own.run(busybox, ["true"])
        assert above()
        own.create(ContainerConfig(image=busybox, name="web"))
        own.prune(own.prune_plan(containers=True, images=False))
        assert above() == []
