"""Volumes of real containers: content, copy-up, sharing, removal, and commands that were killed half way."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import tiffin as package
from tiffin.errors import ConflictError, NotFoundError, UsageError
from tiffin.model.container import ContainerConfig, Mount
from tiffin.volumes import manage, mounts

if TYPE_CHECKING:
    from integration.conftest import Runner


def entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


@pytest.fixture
def stocked(engine: package.Engine, busybox_archive: bytes) -> str:
    """An image with files of all kinds below /stock, a volume at /vol, and an alias that leads to /stock."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar,
        tarfile.open(fileobj=io.BytesIO(busybox_archive)) as base,
    ):
        for member in base:
            tar.addfile(member, base.extractfile(member) if member.isreg() else None)
        for info, data in (
            entry("stock", type=tarfile.DIRTYPE, mode=0o2750, uid=5, gid=6),
            entry("stock/tool", b"#!/bin/sh\n", mode=0o4755, uid=7, gid=8, mtime=1234567890,
                  pax_headers={"SCHILY.xattr.user.colour": "red"}),
            entry("stock/again", type=tarfile.LNKTYPE, linkname="stock/tool"),
            entry("stock/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            entry("stock/dir", type=tarfile.DIRTYPE, mode=0o700, uid=1000, gid=1000),
            entry("stock/dir/deep", b"deep"),
            entry("vol", type=tarfile.DIRTYPE, mode=0o1777),
            entry("alias", type=tarfile.SYMTYPE, linkname="/stock"),
        ):  # fmt: skip
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    engine.import_image(out, "stocked", changes=['CMD ["sh"]', "VOLUME /vol"])
    return "stocked"


def test_create_ls_inspect_rm(tiffin: Runner, engine_root: str) -> None:
    assert tiffin.ok("volume", "create", "--label", "a=1", "data") == "data"
    assert tiffin.ok("volume", "create", "data") == "data", "it is there already"
    anonymous = tiffin.ok("volume", "create")
    assert len(anonymous) == 64
    assert tiffin.ok("volume", "ls").splitlines()[0] == "DRIVER    VOLUME NAME"
    assert "local     data" in tiffin.ok("volume", "ls")
    assert tiffin.ok("volume", "list", "-q") == "\n".join(sorted(("data", anonymous)))
    mountpoint = f"{engine_root}/volumes/data/_data"
    (facts,) = json.loads(tiffin.ok("volume", "inspect", "data"))
    assert facts.pop("CreatedAt").endswith("Z")
    assert facts == {
        "Driver": "local", "Labels": {"a": "1"}, "Mountpoint": mountpoint, "Name": "data", "Options": None,
        "Scope": "local",
    }  # fmt: skip
    assert tiffin.ok("inspect", "--type", "volume", "-f", "{{.Mountpoint}}", "data") == mountpoint
    assert tiffin.ok("inspect", "-f", "{{.Name}}", "data") == "data"
    assert stat.S_IMODE(os.stat(mountpoint).st_mode) == 0o755
    for condition, names in (
        ("label=a", "data"), ("label=a=2", ""), ("name=dat", "data"), ("driver=nfs", ""), ("label=b", ""),
        ("dangling=false", ""), ("label=com.docker.volume.anonymous", anonymous),
    ):  # fmt: skip
        assert tiffin.ok("volume", "ls", "-q", "-f", condition) == names, condition
    row = json.loads(tiffin.ok("volume", "ls", "-f", "name=data", "--format", "json"))
    assert (row["Name"], row["Labels"], row["Scope"], row["Size"]) == ("data", "a=1", "local", "N/A")
    assert tiffin("volume", "ls", "-f", "dangling=x") == (
        1, "", "tiffin: invalid filter 'dangling=x'\nit is true or false\n",
    )  # fmt: skip
    assert tiffin("volume", "rm", "data", "nosuch", anonymous) == (
        1, f"data\n{anonymous}\n", "tiffin: no such volume: nosuch\n`tiffin volume ls` lists what is here\n",
    )  # fmt: skip
    assert tiffin("volume", "rm", "-f", "nosuch") == (0, "nosuch\n", "")
    assert os.listdir(f"{engine_root}/volumes") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-o type=tmpfs data", 'create data: missing required option: "device"'),
        ("-o device=tmpfs data", 'create data: missing required option: "type"'),
        ("-o o=bind -o device=/srv data", 'create data: missing required option: "type"'),
        ("-o o=size=1m data", 'create data: missing required option: "device"'),
        ("-o foo=1 data", 'create data: invalid option: "foo"'),
        ("-o =1 data", 'create data: invalid option: ""'),
        ("-o size=1m data", "create data: quota size requested but no quota support"),
        ("x", "create x: volume name is too short, names should be at least two alphanumeric characters"),
        ("../x", ('create ../x: "../x" includes invalid characters for a local volume name, '
                  'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed')),
        ("--name aa bb",
         "conflicting options: cannot specify a volume-name through both --name and as a positional arg"),
    ],
)  # fmt: skip
def test_volumes_that_cannot_be_created(tiffin: Runner, words: str, message: str) -> None:
    result = tiffin("volume", "create", *words.split())
    # What Tiffin has not got is 125, as an option that it has not got.
    code = 125 if "no quota support" in message else 1
    assert (result.code, result.err.splitlines()[0]) == (code, f"tiffin: {message}")
    assert tiffin.ok("volume", "ls", "-q") == ""


def test_what_is_written_stays_and_is_shared(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("run", "--rm", "-v", "data:/d", busybox, "sh", "-c", "echo one > /d/f")
    assert tiffin.ok("run", "--rm", "-v", "data:/elsewhere", busybox, "cat", "/elsewhere/f") == "one"
    refused = tiffin("run", "--rm", "-v", "data:/d:ro", busybox, "touch", "/d/g")
    assert (refused.code, refused.err) == (1, "touch: /d/g: Read-only file system\n")
    mount = "type=volume,source=data,target=/d,readonly"
    assert tiffin("run", "--rm", "--mount", mount, busybox, "touch", "/d/g").code == 1
    assert tiffin.ok("volume", "ls", "-q") == "data"


def state_of(directory: str) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            status = os.lstat(f"{path}/{name}")
            key = os.path.normpath(f"{os.path.relpath(path, directory)}/{name}")
            found[key] = (oct(status.st_mode), status.st_uid, status.st_gid)
    return found


@pytest.mark.parametrize("driver", ["composefs", "overlay"])
@pytest.mark.parametrize("target", ["/stock", "/alias"])
def test_copy_up_of_the_image(engine_root: str, stocked: str, driver: str, target: str) -> None:
    with package.Engine(engine_root, storage=driver) as engine:
        engine.run(stocked, ["true"], mounts=(Mount(type="volume", source="data", target=target),))
        data = engine.volume("data").mountpoint
    assert state_of(data) == {
        ".": ("0o42750", 5, 6),
        "tool": ("0o104755", 7, 8),
        "again": ("0o104755", 7, 8),
        "link": ("0o120777", 0, 0),
        "dir": ("0o40700", 1000, 1000),
        "dir/deep": ("0o100644", 0, 0),
    }
    assert os.getxattr(f"{data}/tool", "user.colour") == b"red"
    assert os.stat(f"{data}/tool").st_mtime == 1234567890
    assert os.path.samefile(f"{data}/tool", f"{data}/again")
    assert os.readlink(f"{data}/link") == "/etc/passwd"


def test_copy_up_is_for_empty_volumes_only(tiffin: Runner, stocked: str) -> None:
    assert tiffin.ok("run", "--rm", "-v", "plain:/stock:nocopy", stocked, "ls", "/stock") == ""
    mount = "type=volume,source=other,target=/stock,volume-nocopy"
    assert tiffin.ok("run", "--rm", "--mount", mount, stocked, "ls", "/stock") == ""
    tiffin.ok("run", "--rm", "-v", "mine:/x", stocked, "touch", "/x/mine")
    assert tiffin.ok("run", "--rm", "-v", "mine:/stock", stocked, "ls", "/stock") == "mine"
    tiffin.ok("volume", "create", "late")
    assert tiffin.ok("run", "--rm", "-v", "late:/stock:ro", stocked, "cat", "/stock/dir/deep") == "deep"
    # What a container deleted does not come back when it starts again.
    tiffin.ok("run", "--name", "web", "-v", "gone:/stock", stocked, "sh", "-c", "rm -rf /stock/*; ls /stock")
    assert tiffin.ok("start", "-a", "web") == ""


def test_copy_up_of_the_host(tiffin: Runner) -> None:
    shown = tiffin.ok("run", "--rm", "-v", "conf:/etc/apt", "host", "ls", "-A", "/etc/apt")
    assert shown.split() == sorted(os.listdir("/etc/apt"))
    assert tiffin.ok("run", "--rm", "-v", "temp:/tmp", "host", "sh", "-c", "stat -c %a /tmp; ls -A /tmp") == "1777"


def test_a_volume_is_no_place_for_a_file(tiffin: Runner, stocked: str, engine_root: str) -> None:
    result = tiffin("run", "--rm", "-v", "data:/stock/tool", stocked, "true")
    assert (result.code, result.err.splitlines()[0]) == (
        125, "tiffin: cannot mount volume over existing file, file exists /stock/tool"
    )  # fmt: skip
    assert tiffin.ok("ps", "-aq") == ""


def test_anonymous_volumes_go_with_rm_v_and_rm(tiffin: Runner, stocked: str) -> None:
    tiffin.ok("run", "--name", "web", "-v", "/anon", "-v", "named:/named", stocked, "touch", "/vol/f", "/anon/g")
    assert tiffin.ok("ps", "-a", "--format", "{{.LocalVolumes}}") == "3"
    facts = json.loads(tiffin.ok("inspect", "web"))[0]
    assert {(m["Type"], m["Destination"], m["Driver"], m["RW"]) for m in facts["Mounts"]} == {
        ("volume", "/anon", "local", True), ("volume", "/named", "local", True), ("volume", "/vol", "local", True),
    }  # fmt: skip
    assert all(mount["Source"].endswith(f"/volumes/{mount['Name']}/_data") for mount in facts["Mounts"])
    assert facts["HostConfig"]["Binds"] == ["named:/named"]
    assert facts["Config"]["Volumes"] == {"/anon": {}, "/vol": {}}
    volume = next(mount["Name"] for mount in facts["Mounts"] if mount["Destination"] == "/vol")
    path = tiffin.ok("volume", "inspect", "-f", "{{.Mountpoint}}", volume)
    assert (os.listdir(path), stat.S_IMODE(os.stat(path).st_mode)) == (["f"], 0o1777)
    assert len(tiffin.ok("volume", "ls", "-q").split()) == 3
    tiffin.ok("rm", "-v", "web")
    assert tiffin.ok("volume", "ls", "-q") == "named"
    tiffin.ok("run", "--rm", "-v", "/anon", "-v", "named:/named", stocked, "true")
    assert tiffin.ok("volume", "ls", "-q") == "named"
    tiffin.ok("create", "--name", "web", stocked)
    tiffin.ok("rm", "web")
    assert len(tiffin.ok("volume", "ls", "-q", "-f", "dangling=true").split()) == 2, "without -v they stay"


def test_detached_with_rm(tiffin: Runner, stocked: str) -> None:
    container = tiffin.ok("run", "-d", "--rm", "-v", "named:/named", stocked, "sleep", "60")
    assert len(tiffin.ok("volume", "ls", "-q").split()) == 2
    tiffin.ok("rm", "-f", container)
    assert tiffin.ok("volume", "ls", "-q") == "named"
    tiffin.ok("run", "-d", "--rm", stocked, "true")
    deadline = time.monotonic() + 10
    while tiffin.ok("volume", "ls", "-q") != "named":
        assert time.monotonic() < deadline, "its monitor did not remove it with its volume"


def test_a_volume_in_use_stays(tiffin: Runner, busybox: str) -> None:
    container = tiffin.ok("create", "--name", "web", "-v", "data:/d", busybox)
    assert tiffin("volume", "rm", "data") == (
        1, "", f"tiffin: remove data: volume is in use - [{container}]\nremove the container web first\n"
    )  # fmt: skip
    assert tiffin.ok("volume", "prune", "-af") == "Nothing to remove."
    assert tiffin.ok("ps", "-a", "-f", "volume=data", "--format", "{{.Names}} {{.Mounts}}") == "web data"
    tiffin.ok("rm", "-v", "web")
    tiffin.ok("volume", "rm", "data")


def test_volumes_from(tiffin: Runner, busybox: str, engine_root: str) -> None:
    os.mkdir(f"{engine_root}/shared")
    bind = f"{engine_root}/shared:/bind"
    tiffin.ok("run", "--name", "one", "-v", "data:/d", "-v", "/anon", "-v", bind, busybox, "touch", "/d/f", "/anon/g")
    listed = "ls /d /anon; touch /anon/h /bind/i"
    assert tiffin.ok("run", "--name", "two", "--volumes-from", "one", busybox, "sh", "-c", listed).split() == [
        "/anon:", "g", "/d:", "f",
    ]  # fmt: skip
    assert os.listdir(f"{engine_root}/shared") == ["i"]
    read = tiffin("run", "--rm", "--volumes-from", "two:ro", busybox, "touch", "/anon/x", "/d/x", "/bind/x")
    assert read.err.count("Read-only file system") == 3
    # The user's own mount wins; the same container twice is once; two containers with one place: the later wins.
    again = tiffin.ok(
        "run", "--rm", "--volumes-from", "one", "--volumes-from", "one", "--volumes-from", "two", "-v", "other:/d",
        busybox, "ls", "/d",
    )  # fmt: skip
    assert again == ""
    assert json.loads(tiffin.ok("inspect", "-f", "{{json .HostConfig.VolumesFrom}}", "two")) == ["one"]
    tiffin.ok("rm", "-v", "one")
    assert len(tiffin.ok("volume", "ls", "-q").split()) == 3, "two needs the anonymous one"
    tiffin.ok("rm", "-v", "two")
    assert tiffin.ok("volume", "ls", "-q") == "data\nother"
    missing = tiffin("run", "--rm", "--volumes-from", "nosuch", busybox, "true")
    assert (missing.code, missing.err.splitlines()[0]) == (125, "tiffin: no such container: nosuch")
    bad = tiffin("run", "--rm", "--volumes-from", "web:x", busybox, "true")
    assert bad.err.splitlines()[0] == "tiffin: invalid mode: x"


def test_prune_shows_first(tiffin: Runner) -> None:
    tiffin.ok("volume", "create", "--label", "keep", "kept")
    tiffin.ok("volume", "create", "named")
    anonymous = tiffin.ok("volume", "create")
    unanswered = tiffin("volume", "prune")
    assert (unanswered.code, unanswered.out) == (1, f"This would be removed:\n  volume {anonymous}\nTotal: 0B\n")
    assert tiffin("volume", "prune", input="n\n").code == 0
    assert len(tiffin.ok("volume", "ls", "-q").split()) == 3
    assert tiffin.ok("system", "prune", "--volumes", "-f") == (
        f"Removed volume {anonymous}\nTotal reclaimed space: 0B"
    )  # fmt: skip
    assert tiffin.ok("volume", "prune", "-a", "--filter", "label!=keep", "-f") == (
        "Removed volume named\nTotal reclaimed space: 0B"
    )
    assert tiffin.ok("volume", "prune", "-f") == "Nothing to remove."
    assert tiffin.ok("volume", "prune", "-f", "--filter", "all=1") == "Removed volume kept\nTotal reclaimed space: 0B"


def test_disk_usage(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("volume", "create", "idle")
    command = "head -c 8192 /dev/zero > /d/f"
    tiffin.ok("run", "--name", "web", "-v", "data:/d", busybox, "sh", "-c", command)
    shown = "{{.Type}}: {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"
    assert tiffin.ok("system", "df", "--format", shown).splitlines()[-1] == "Local Volumes: 2 1 8.19kB 0B (0%)"
    assert "data          1         8.19kB" in tiffin.ok("system", "df", "-v")


@pytest.mark.parametrize("verb", ["create", "ls", "inspect", "rm", "prune"])
def test_help_has_examples(tiffin: Runner, verb: str) -> None:
    assert f"tiffin volume {verb}" in tiffin.ok("volume", verb, "--help").partition("Examples:")[2]


# Killed half way


def killed_at(root: str, module: object, name: str, action: Callable[[package.Engine], object]) -> None:
    """Do it in a child process that ends, as by SIGKILL, where `module.name` is called."""
    child = os.fork()
    if not child:
        setattr(module, name, lambda *_, **__: os._exit(9))
        try:
            action(package.Engine(root))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def config(image: str, *made: Mount) -> ContainerConfig:
    return ContainerConfig(image=image, name="web", command=("ls", "/stock"), mounts=made)


STOCK = Mount(type="volume", source="data", target="/stock")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (mounts, "prepare"), (mounts, "_fill"), (manage, "_ensure_locked"), (mounts.storage, "make"),
        (mounts.storage, "fill"), (mounts.storage, "_settle"), (mounts.records, "mark_filled"),
        (mounts.records, "mark_ready"),
    ],
)  # fmt: skip
def test_a_create_that_was_killed_is_finished_by_start(
    engine: package.Engine, stocked: str, module: object, name: str
) -> None:
    killed_at(engine.root, module, name, lambda child: child.create(config(stocked, STOCK)))
    assert engine.check() == []
    engine.start("web")
    assert engine.wait("web") == 0
    assert b"".join(line.data for line in engine.logs("web")).split() == [b"again", b"dir", b"link", b"tool"]
    assert os.listdir(f"{engine.root}/volumes/data") == ["_data"]
    engine.remove("web", volumes=True)
    assert engine.volume("data").users == ()


@pytest.mark.parametrize(
    ("module", "name"), [(manage, "finish_removal"), (mounts.storage, "remove"), (mounts.records, "delete")]
)
def test_a_removal_that_was_killed_is_finished(engine: package.Engine, module: object, name: str) -> None:
    engine.volume_create("data")
    killed_at(engine.root, module, name, lambda child: child.remove_volume("data"))
    with pytest.raises(NotFoundError):
        engine.volume("data")
    assert engine.volumes() == []
    assert engine.check() == []
    assert os.listdir(f"{engine.root}/volumes") == []


def test_a_killed_rm_v_takes_the_volumes_all_the_same(engine: package.Engine, stocked: str) -> None:
    from tiffin.containers import end

    for module, name in ((end, "remove_tree"), (end.records, "delete"), (manage, "finish_removal")):
        engine.create(config(stocked, Mount(type="volume", target="/x")))
        killed_at(engine.root, module, name, lambda child: child.remove("web", volumes=True))
        assert engine.containers(all=True) == []
        assert engine.volumes() == []
        assert os.listdir(f"{engine.root}/volumes") == []


def test_a_directory_without_a_record_is_reported_and_pruned(engine: package.Engine) -> None:
    engine.volume_create("data")
    os.makedirs(f"{engine.root}/volumes/stray/_data/x")
    assert engine.check() == ["1 volume directories without a record (harmless; `tiffin system prune` removes them)"]
    engine.prune(engine.prune_plan())
    assert os.listdir(f"{engine.root}/volumes") == ["data"]
    assert engine.check() == []
    os.rmdir(f"{engine.root}/volumes/data/_data")
    assert engine.check() == ["the volume data has lost its files; it starts empty when it is next used"]
    engine.remove_volume("data")


def test_library_errors(engine: package.Engine, busybox: str) -> None:
    engine.create(config(busybox, STOCK))
    with pytest.raises(ConflictError):
        engine.remove_volume("data")
    with pytest.raises(UsageError) as caught:
        engine.create(config(busybox, STOCK, STOCK.replace(source="other")).replace(name="other"))
    assert caught.value.message == "Duplicate mount point: /stock"
    assert [info.volume.name for info in engine.volumes()] == ["data"], "nothing was recorded for it"
    with pytest.raises(UsageError):
        engine.prune_plan(volumes="some")
