"""`ps`, `inspect`, `logs`, `images` and the rest that shows things, on real containers and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration.conftest import Runner


def test_ps(tiffin: Runner, busybox: str) -> None:
    for name, label in (("aa", "x=1"), ("bb", "x=2")):
        tiffin.ok("create", "--name", name, "-l", label, busybox, "true")
    tiffin("run", "--name", "done", busybox, "sh", "-c", "exit 3")
    assert tiffin.ok("ps") == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"
    assert tiffin.ok("ps", "-a", "--format", "{{.Names}}") == "done\nbb\naa"
    assert tiffin.ok("ps", "-n", "2", "--format", "{{.Names}}") == "done\nbb"
    assert tiffin.ok("ps", "-l", "--format", "{{.Names}}") == "done"
    for condition, names in (
        ("name=aa", "aa"), ("label=x", "bb\naa"), ("label=x=2", "bb"), ("status=exited", "done"), ("exited=3", "done"),
        ("exited=0", ""), (f"ancestor={busybox}", "done\nbb\naa"), ("before=bb", "aa"), ("since=aa", "done\nbb"),
    ):  # fmt: skip
        assert tiffin.ok("ps", "-a", "-f", condition, "--format", "{{.Names}}") == names, condition
    rows = [json.loads(line) for line in tiffin.ok("ps", "-a", "--format", "json").splitlines()]
    assert [(row["Names"], row["State"], row["Labels"]) for row in rows] == [
        ("done", "exited", ""), ("bb", "created", "x=2"), ("aa", "created", "x=1"),
    ]  # fmt: skip
    table = tiffin.ok("ps", "-a", "--format", 'table {{.Names}}\\t{{.Label "x"}}\\t{{.Command}}')
    assert table.splitlines() == [
        "NAMES     x         COMMAND",
        "done                \"sh -c 'exit 3'\"",
        'bb        2         "true"',
        'aa        1         "true"',
    ]
    assert "SIZE" in tiffin.ok("ps", "-as").splitlines()[0]


def test_inspect(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("create", "--name", "c1", "-l", "a=1", "-e", "X=y", busybox, "ls", "-l")
    assert tiffin.ok("inspect", "-f", "{{.State.Status}} {{.Path}} {{json .Args}} {{.Config.Labels.a}}", "c1") == (
        'created ls ["-l"] 1'
    )
    assert tiffin.ok("inspect", "-f", '{{.Config.Labels.zz}}{{index .Config.Labels "zz"}}', "c1") == "<no value>"
    facts = json.loads(tiffin.ok("inspect", "c1", busybox))
    assert [fact.get("Name") for fact in facts] == ["/c1", None]
    assert json.loads(tiffin.ok("inspect", "--format", "json", "c1")) == facts[:1]
    assert json.loads(tiffin.ok("image", "inspect", busybox)) == facts[1:]
    assert tiffin("inspect", "nosuch") == (1, "[]\n", "tiffin: no such object: nosuch\n")
    assert tiffin("inspect", "--type", "image", "c1").code == 1
    missing = tiffin("inspect", "-f", "{{.State.Foo}}", "c1")
    assert missing == (
        1,
        "",
        'tiffin: template parsing error: template: :1:8: executing "" at <.State.Foo>: '
        'map has no entry for key "Foo"\n',
    )


def test_logs(tiffin: Runner, busybox: str) -> None:
    script = "echo one; echo two >&2; printf three; sleep 0.3; echo; echo four"
    tiffin.ok("run", "-d", "--name", "c1", busybox, "sh", "-c", script)
    followed = tiffin("logs", "-f", "c1")
    assert (followed.code, followed.out, followed.err) == (0, "one\nthree\nfour\n", "two\n")
    assert tiffin("logs", "-n", "1", "c1").out == "four\n"
    assert tiffin("logs", "--since", "1h", "c1").out == "one\nthree\nfour\n"
    assert tiffin("logs", "--until", "1h", "c1").out == ""
    stamped = tiffin("logs", "-t", "c1").out.splitlines()
    assert [line.partition(" ")[2] for line in stamped] == ["one", "three", "four"]
    assert all(line[10] == "T" and line.partition(" ")[0].endswith("Z") for line in stamped)
    tiffin.ok("run", "--name", "quiet", "--log-driver", "none", busybox, "echo", "x")
    assert tiffin("logs", "quiet").code == 1


def test_images(tiffin: Runner, busybox: str) -> None:
    tiffin.ok("tag", busybox, "team/app:1")
    lines = tiffin.ok("images").splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert sorted(line.split()[:2] for line in lines[1:]) == [["busybox", "latest"], ["team/app", "1"]]
    assert tiffin.ok("images", "team/*", "--format", "{{.Repository}}:{{.Tag}}") == "team/app:1"
    assert len(tiffin.ok("images", "-q").splitlines()) == 1
    assert tiffin.ok("images", "-q", "--no-trunc").startswith("sha256:")
    assert tiffin.ok("images", "-f", "dangling=true", "-q") == ""
    history = tiffin.ok("history", busybox).splitlines()
    assert history[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert tiffin.ok("rmi", "team/app:1") == "Untagged: team/app:1"
    assert tiffin("rmi", "nosuch").code == 1
    assert tiffin.ok("rmi", busybox).splitlines()[0] == "Untagged: busybox:latest"
    assert tiffin.ok("images", "-q") == ""


def test_archives(tiffin: Runner, busybox_archive: bytes, tmp_path: Path) -> None:
    tar = tmp_path / "rootfs.tar"
    tar.write_bytes(busybox_archive)
    image_id = tiffin.ok("import", "-c", 'CMD ["echo", "hi"]', "-m", "from here", str(tar), "mine:1")
    assert image_id.startswith("sha256:")
    assert tiffin.ok("run", "--rm", "mine:1") == "hi"
    assert tiffin.ok("history", "--format", "{{.Comment}}", "mine:1") == "from here"
    for format in ("docker-archive", "oci-archive", "oci-dir"):
        path = tmp_path / format
        assert tiffin.ok("save", "--format", format, "-o", str(path), "mine:1") == ""
        tiffin.ok("rmi", "mine:1")
        assert tiffin.ok("load", "-i", str(path)) == "Loaded image: mine:1"
        assert tiffin.ok("images", "-q", "--no-trunc") == image_id
    archive = tiffin.binary("save", "mine:1").stdout
    assert tiffin.ok("load", input=archive) == "Loaded image: mine:1"
    assert tiffin("import", f"{tmp_path}/nothing") == (
        1, "", f"tiffin: cannot read the tar archive {tmp_path}/nothing: No such file or directory\n",
    )  # fmt: skip
    assert tiffin("save", "--format", "oci-dir", "mine:1") == (
        1, "", "tiffin: --format oci-dir needs a directory\nname one with -o\n",
    )  # fmt: skip


def test_pruning(tiffin: Runner, busybox: str) -> None:
    tiffin("run", "--name", "old", busybox, "true")
    refused = tiffin("system", "prune")
    assert (refused.code, refused.err) == (
        1, "tiffin: nothing was removed: nobody answered whether it should be\nuse --force to remove it\n",
    )  # fmt: skip
    assert "container old (" in refused.out
    assert tiffin("system", "prune", input="n\n").code == 0
    assert tiffin.ok("ps", "-a", "--format", "{{.Names}}") == "old"
    assert "Total reclaimed space: " in tiffin.ok("container", "prune", input="y\n")
    assert tiffin.ok("ps", "-aq") == ""
    tiffin("run", "--name", "old", busybox, "true")
    lines = tiffin.ok("system", "prune", "-f").splitlines()
    assert lines[0].startswith("Removed container old (")
    assert lines[-1].startswith("Total reclaimed space: ")
    assert tiffin.ok("ps", "-aq") == ""
    assert "Removed image busybox:latest (" in tiffin.ok("image", "prune", "-af")
    assert tiffin.ok("image", "prune", "-af") == "Nothing to remove."


def test_the_system(tiffin: Runner, busybox: str) -> None:
    assert tiffin.ok("info", "-f", "{{.Images}} {{.Containers}} {{.DockerRootDir}}") == f"1 0 {tiffin.root}"
    assert "Storage Driver: " in tiffin.ok("info")
    assert tiffin.ok("system", "check") == "No problems found."
    rows = ["TYPE", "Images", "Containers", "Local"]
    assert [line.split()[0] for line in tiffin.ok("system", "df").splitlines()] == rows
    counts = "Images 1\nContainers 0\nLocal Volumes 0"
    assert tiffin.ok("system", "df", "--format", "{{.Type}} {{.TotalCount}}") == counts
    assert "busybox:latest" in tiffin.ok("system", "df", "-v")
