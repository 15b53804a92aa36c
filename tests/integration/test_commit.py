"""`diff`, `export` and `commit` of real containers, with both storage drivers."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from harness.tars import TarMaker
from tiffin.model.container import ContainerConfig
from tiffin.storage.entry import OPAQUE, WHITEOUT

if TYPE_CHECKING:
    from harness.terminal import Terminal
    from integration.conftest import Runner

# script, then what diff says
CHANGES = [
    ("echo a >/new", ["A /new"]),
    ("mkdir -p /d/e; echo a >/d/e/f", ["A /d", "A /d/e", "A /d/e/f"]),
    ("echo a >>/base/f", ["C /base", "C /base/f"]),
    ("chmod 600 /base/f", ["C /base", "C /base/f"]),
    ("chmod 700 /base", ["C /base"]),
    ("touch -d '2001-01-01' /base", ["C /base"]),
    ("touch /base/x; rm /base/x", ["C /base"]),
    ("rm /base/f", ["C /base", "D /base/f"]),
    ("rm -r /base", ["D /base"]),
    ("rm -r /base; echo a >/base", ["C /base"]),
    ("rm -r /base; mkdir /base; echo a >/base/new", ["C /base", "D /base/f", "A /base/new", "D /base/sub"]),
    ("mv /base /moved", ["D /base", "A /moved", "A /moved/f", "A /moved/sub", "A /moved/sub/g"]),
    ("mv /base /moved; rm /moved/f; echo 1 >/moved/sub/h",
     ["D /base", "A /moved", "A /moved/sub", "A /moved/sub/g", "A /moved/sub/h"]),
    ("mv /base/sub /base/other", ["C /base", "A /base/other", "A /base/other/g", "D /base/sub"]),
    ("rm -r /base/sub; mv /other /base/sub", ["C /base", "C /base/sub", "D /base/sub/g", "A /base/sub/o", "D /other"]),
    ("mv /base/f /base/f2", ["C /base", "D /base/f", "A /base/f2"]),
    ("mv /base /tmp/b; mv /tmp/b /base", ["C /tmp"]),
    ("ln /base/f /twin; ln -s f /base/link", ["C /base", "C /base/f", "A /base/link", "A /twin"]),
    ("rm /base/f; mkdir /base/f; touch /base/f/x", ["C /base", "C /base/f", "A /base/f/x"]),
    ("true", []),
]  # fmt: skip


@pytest.fixture(params=["composefs", "overlay"])
def engine(request: pytest.FixtureRequest, engine_root: str) -> Iterator[library.Engine]:
    with library.Engine(engine_root, storage=request.param) as engine:
        yield engine
        for info in engine.containers(all=True):
            engine.remove(info.container.id, force=True)
        if request.param != "composefs":  # the check of the store at the end of the test is of another driver's
            for image in engine.images():
                engine.remove_image(image.id, force=True)


@pytest.fixture
def base(engine: library.Engine, busybox_archive: bytes) -> str:
    """An image of two layers: busybox, and /base with some files."""
    engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]', "ENV A=1"], message="first")
    engine.create(ContainerConfig(image="busybox", name="base"))
    tar = TarMaker().directory("base").file("base/f", b"base\n" * 1000).directory("base/sub").file("base/sub/g", b"g")
    tar.directory("other").file("other/o", b"o")
    engine.copy_in("base", io.BytesIO(tar.done()), "/")
    engine.commit("base", "base:1")
    engine.remove("base")
    return "base:1"


def make(engine: library.Engine, image: str, script: str, name: str = "web") -> None:
    engine.create(ContainerConfig(image=image, name=name, command=("sh", "-c", script)))
    engine.start(name)
    assert engine.wait(name) == 0


def files(engine: library.Engine, container: str) -> dict[str, tuple[object, ...]]:
    """Everything that an export holds, but for directories' times."""
    out = io.BytesIO()
    engine.export(container, out)
    out.seek(0)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=out) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isreg() or member.islnk() else None
            found[member.name] = (
                member.type if not member.islnk() else tarfile.REGTYPE,
                member.mode,
                member.uid,
                member.gid,
                member.linkname if member.issym() else "",
                data.read() if data else b"",
                member.devmajor,
                member.devminor,
                tuple(sorted(member.pax_headers.items())),
            )
    return found


@pytest.mark.parametrize(("script", "expected"), CHANGES)
def test_diff_and_commit(engine: library.Engine, base: str, script: str, expected: list[str]) -> None:
    make(engine, base, script)
    assert [f"{change.kind} {change.path}" for change in engine.diff("web")] == expected
    image = engine.commit("web", "made")
    assert len(image.layers) == (3 if expected else 2)
    make(engine, "made", "true", "again")
    assert files(engine, "again") == files(engine, "web")
    assert engine.diff("again") == []


def test_the_layer_has_only_the_changes(engine: library.Engine, base: str) -> None:
    make(engine, base, "rm /base/f; rm -r /other; mkdir /other; echo 1 >/other/x; chmod 700 /base/sub")
    image = engine.commit("web")
    entries = engine._parts.layers.entries(image.layers[-1])
    found = [(entry.path, entry.kind) for entry in entries]
    assert (b"base/f", WHITEOUT) in found
    assert (b"other", OPAQUE) in found
    assert {path for path, _ in found} == {b"base", b"base/f", b"base/sub", b"other", b"other/x"}


def test_what_tars_find_hard(engine: library.Engine, base: str) -> None:
    script = """
    echo 1 >/a; ln /a /b; ln /a /c; mkfifo /p; mknod /d c 1 3
    dd if=/dev/zero of=/sparse bs=1 seek=50000000 count=1 2>/dev/null
    n=$(printf '%0200d' 1); echo long >/$n; chown 3000000:7 /a; chmod 4755 /bin/busybox; mv /base /renamed
    """
    make(engine, base, script)
    upper = engine._parts.driver(engine.container("web").container.driver).upper(engine.container("web").container.id)
    os.setxattr(f"{upper}/a", "user.colour", b"blue\0")
    os.setxattr(f"{upper}/a", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
    image = engine.commit("web", "made")
    assert engine._parts.layers.info(image.layers[-1]).size_bytes < 3 << 20
    make(engine, "made", "true", "again")
    before, after = files(engine, "web"), files(engine, "again")
    assert after == before
    assert ("SCHILY.xattr.user.colour", "blue\0") in after["a"][8]  # type: ignore[operator]
    assert len(after["sparse"][5]) == 50000001  # type: ignore[arg-type]
    assert engine.run("made", ["stat", "-c", "%h", "/a"]).stdout == "3\n"
    digest = next(entry.object for entry in engine._parts.layers.entries(image.layers[-1]) if entry.path == b"sparse")
    assert digest is not None
    fd = engine._parts.objects.open(digest)
    assert os.fstat(fd).st_blocks < 1000
    os.close(fd)


def test_what_the_config_becomes(engine: library.Engine, base: str) -> None:
    engine.create(
        ContainerConfig(
            image=base, name="web", command=("echo", "said"), env=("B=2",), user="alice", workdir="/base",
            labels=(("who", "me"),), stop_signal="INT",
        )
    )  # fmt: skip
    image = engine.commit("web", "made:1", changes=["ENV C=3"], author="Jane", message="because")
    assert image.names == ("made:1",)
    assert image.layers == engine.image(base).layers
    config = image.config
    assert config.env == ("A=1", "B=2", "C=3")
    assert (config.cmd, config.user, config.workdir, config.stop_signal) == (
        ("echo", "said"), "alice", "/base", "SIGINT",
    )  # fmt: skip
    assert config.labels == (("who", "me"),)
    steps = [(step.created_by, step.comment, bool(step.diff_id)) for step in engine.history("made:1")]
    assert steps == [("echo said", "because", False), ("sh", "", True), ("", "first", True)]
    assert engine.inspect_image("made:1")["Author"] == "Jane"
    assert engine.run("made:1").stdout == "said\n"


def test_a_running_one_stands_still_meanwhile(
    engine: library.Engine, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.create(ContainerConfig(image=base, name="web", command=("sleep", "100")))
    engine.start("web")
    calls: list[str] = []
    for name in ("freeze", "thaw"):
        real = getattr(engine._parts.cgroups, name)
        monkeypatch.setattr(
            engine._parts.cgroups, name, lambda which, name=name, real=real: (calls.append(name), real(which))
        )
    engine.commit("web")
    assert calls == ["freeze", "thaw"]
    engine.commit("web", pause=False)
    assert calls == ["freeze", "thaw"]
    assert engine.exec_run("web", ["true"]).exit_code == 0
    monkeypatch.setattr("tiffin.containers.commit.raw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.commit("web")
    assert calls == ["freeze", "thaw"] * 2
    assert engine.exec_run("web", ["true"]).exit_code == 0


def test_images_share_their_objects(engine: library.Engine, base: str) -> None:
    def objects() -> int:
        return sum(len(names) for _, _, names in os.walk(f"{engine.root}/objects"))

    before = objects()
    make(engine, base, "cp /base/f /copy; chmod 600 /base/f; mv /other /elsewhere; echo new >/new")
    engine.commit("web", "made")
    assert objects() == before + 1


def test_names_that_layers_use_are_left_out(engine_root: str, busybox_archive: bytes) -> None:
    warnings: list[str] = []
    with library.Engine(engine_root, warn=warnings.append) as engine:
        engine.import_image(io.BytesIO(busybox_archive), "busybox", changes=['CMD ["sh"]'])
        make(engine, "busybox", "echo >/.wh.bin; echo >/good")
        engine.commit("web", "made")
        assert warnings == ["not committed, since layers use names that begin with .wh.: '.wh.bin'"]
        make(engine, "made", "test -e /good && ! test -e /.wh.bin", "again")


def test_the_host_image(engine_root: str) -> None:
    with library.Engine(engine_root) as engine:
        script = "echo 1 >/etc/tiffin-new; rm /etc/passwd; echo >/tmp/x"
        make(engine, "host", script)
        assert [str(change.kind + " " + change.path) for change in engine.diff("web")] == [
            "C /etc", "D /etc/passwd", "A /etc/tiffin-new", "C /tmp", "A /tmp/x",
        ]  # fmt: skip
        with pytest.raises(library.NotSupportedError) as caught:
            engine.commit("web")
        assert caught.value.message == (
            "a container of the image 'host' cannot be committed: what it is made of is the host, which is no layer"
        )
        assert caught.value.hint == "`tiffin export web | tiffin import - NAME` makes an image of all its files"


@pytest.mark.parametrize("engine", ["composefs"], indirect=True)
def test_commands(tiffin: Runner, busybox: str, tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    tiffin.ok("run", "--name", "web", busybox, "sh", "-c", "echo 1 >/new; rm -r /home")
    assert tiffin("diff", "web") == (0, "D /home\nA /new\n", "")
    assert tiffin("container", "diff", "web") == (0, "D /home\nA /new\n", "")
    made = tiffin.ok("commit", "-m", "why", "-c", 'CMD ["cat", "/new"]', "web", "made:2")
    assert tiffin.ok("images", "-q", "--no-trunc", "made") == made
    assert tiffin.ok("run", "--rm", "made:2") == "1"
    assert tiffin("commit", "--pause=false", "-a", "me", "web").code == 0
    tiffin.ok("export", "-o", f"{tmp_path}/web.tar", "web")
    assert (tmp_path / "web.tar").read_bytes() == tiffin.binary("export", "web").stdout
    assert os.listdir(tmp_path) == ["web.tar"]
    tiffin.ok("import", f"{tmp_path}/web.tar", "flat")
    assert tiffin.ok("run", "--rm", "flat", "cat", "/new") == "1"
    assert tiffin("export", "-o", "/nosuch/x", "web") == (
        1, "", "tiffin: cannot write the archive '/nosuch/x': No such file or directory\n"
    )  # fmt: skip
    assert tiffin("commit", "web", "Bad Name").code == 1
    assert tiffin("commit", "-c", "RUN x", "web").code == 1
    assert tiffin("diff", "nosuch").code == 1
    screen = terminal("export", "web")
    screen.expect("refusing to write a tar archive to a terminal")
    assert screen.wait() == 1


def test_an_export_while_files_change(engine: library.Engine, base: str) -> None:
    script = "mkdir /c; while :; do for i in 1 2 3; do echo $i >>/c/$i; echo x >/c/t; rm -f /c/t /c/$i; done; done"
    engine.create(ContainerConfig(image=base, name="web", command=("sh", "-c", script)))
    engine.start("web")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert files(engine, "web")["base/f"][5] == b"base\n" * 1000
