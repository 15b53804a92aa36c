"""Pull and push with real registries, beside skopeo and Docker: what they push we pull, what we push they pull."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiffin
from harness.archives import LAYER, UPPER, Layout, platforms
from harness.docker_peer import DockerPeer
from harness.registries import RegistryServer, registry
from harness.terminal import Terminal
from tiffin.errors import NotFoundError, RegistryError, UsageError
from tiffin.state import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from integration.conftest import Runner

BASE = {"org.opencontainers.image.base.name": "registry.example/base:1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with registry(tmp_path) as server:
        yield server


@pytest.fixture
def other(tmp_path: Path) -> Iterator[RegistryServer]:
    with registry(tmp_path, name="other") as server:
        yield server


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's or user's settings and credentials."""
    path = tmp_path / "registries.toml"
    path.write_text("")
    monkeypatch.setenv("TIFFIN_REGISTRIES", str(path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("TIFFIN_POLICY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return path


def skopeo(tmp_path: Path, *arguments: str) -> str:
    policy = tmp_path / "accept.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    done = subprocess.run(
        ["skopeo", "--policy", str(policy), "--tmpdir", str(tmp_path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest_at(tmp_path: Path, name: str) -> str:
    """What another client says is the digest of a tag."""
    inspected = json.loads(skopeo(tmp_path, "inspect", "--tls-verify=false", f"docker://{name}"))
    return str(inspected["Digest"])


def put_layout(tmp_path: Path, server: RegistryServer, layout: Layout, top: dict[str, object], name: str) -> str:
    """Have skopeo push a layout, as it is; the full name."""
    layout.top(top).write(tmp_path / "layout")
    target = f"{server.host}/{name}"
    skopeo(
        tmp_path, "copy", "--all", "--preserve-digests", "--dest-tls-verify=false",
        f"oci:{tmp_path}/layout", f"docker://{target}",
    )  # fmt: skip
    return target


def two_layers(tmp_path: Path, server: RegistryServer, name: str = "team/app:1", pack: str = "gzip") -> str:
    layout = Layout()
    return put_layout(tmp_path, server, layout, layout.image((LAYER, UPPER), pack=pack), name)


def test_pull_as_docker_tells_it(tiffin: Runner, server: RegistryServer, tmp_path: Path) -> None:
    name = two_layers(tmp_path, server, "team/app:latest").removesuffix(":latest")
    digest = digest_at(tmp_path, name)
    lines = tiffin.ok("pull", name).splitlines()
    assert lines[:2] == ["Using default tag: latest", "latest: Pulling from team/app"]
    assert [re.sub("^[0-9a-f]{12}", "ID", line) for line in lines[2:4]] == ["ID: Pulling fs layer"] * 2
    assert sorted(re.sub("^[0-9a-f]{12}", "ID", line) for line in lines[4:6]) == ["ID: Pull complete"] * 2
    assert lines[6:] == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}:latest",
        f"{name}:latest",
    ]
    assert tiffin.ok("pull", name).splitlines() == [
        "Using default tag: latest",
        "latest: Pulling from team/app",
        f"Digest: {digest}",
        f"Status: Image is up to date for {name}:latest",
        f"{name}:latest",
    ]
    assert tiffin.ok("pull", "-q", name) == f"{name}:latest"
    assert json.loads(tiffin.ok("inspect", name))[0]["RepoDigests"] == [f"{name}@{digest}"]
    by_digest = f"{name}@{digest}"
    assert tiffin.ok("pull", by_digest).splitlines() == [
        f"{digest}: Pulling from team/app",
        f"Digest: {digest}",
        f"Status: Image is up to date for {by_digest}",
        by_digest,
    ]
    assert "image pull" in tiffin.ok("events", "--since", "1h", "--until", "0s")


def test_pull_as_json_lines(tiffin: Runner, server: RegistryServer, tmp_path: Path) -> None:
    name = two_layers(tmp_path, server)
    messages = [json.loads(line) for line in tiffin.ok("pull", "--format", "json", name).splitlines()]
    assert messages[0] == {"status": "Pulling from team/app", "id": "1"}
    assert sum(message.get("status") == "Pull complete" for message in messages) == 2
    assert messages[-1]["aux"]["RepoTags"] == [name]


@pytest.mark.parametrize("pack", ["gzip", "zstd", ""])
def test_a_pulled_image_keeps_its_digest(
    engine: tiffin.Engine, server: RegistryServer, other: RegistryServer, tmp_path: Path, pack: str
) -> None:
    """From one registry to another while the first is up: layers are streamed from where they were seen."""
    name = two_layers(tmp_path, server, pack=pack)
    engine.pull(name)
    target = f"{other.host}/elsewhere:2"
    engine.tag(name, target)
    pushed = engine.push(target)
    assert [each.digest for each in pushed] == [digest_at(tmp_path, name)] == [digest_at(tmp_path, target)]
    assert pushed[0].same_manifest
    assert f"{other.host}/elsewhere@{pushed[0].digest}" in engine.image(target).digests


def test_with_kept_blobs_the_first_registry_may_be_gone(
    engine: tiffin.Engine, other: RegistryServer, tmp_path: Path
) -> None:
    with registry(tmp_path, name="first") as first:
        name = two_layers(tmp_path, first)
        digest = digest_at(tmp_path, name)
        engine.pull(name)
        assert not list(Path(engine.root).glob("blobs/*/*"))
        engine.pull(name, keep_blobs=True)
        assert len(list(Path(engine.root).glob("blobs/sha256/*"))) == 2
    target = f"{other.host}/elsewhere:2"
    engine.tag(name, target)
    assert engine.push(target)[0].digest == digest == digest_at(tmp_path, target)
    assert engine.check() == []
    engine.remove_image(engine.image(name).id, force=True)
    assert not list(Path(engine.root).glob("blobs/sha256/*"))


def test_without_them_it_gets_a_new_manifest_and_that_is_said(
    tiffin: Runner, other: RegistryServer, tmp_path: Path
) -> None:
    with registry(tmp_path, name="first") as first:
        name = two_layers(tmp_path, first)
        digest = digest_at(tmp_path, name)
        tiffin.ok("pull", "-q", name)
    target = f"{other.host}/elsewhere:2"
    tiffin.ok("tag", name, target)
    result = tiffin("push", target)
    assert result.code == 0, result.err
    lost = re.search(r"layer (sha256:[0-9a-f]{64})", result.err)
    assert lost is not None
    assert result.err == (
        f"tiffin: warning: the manifest {digest} cannot be kept: layer {lost[1]} is neither at {other.host} nor where "
        "it was seen, and is not kept packed; the image gets a new manifest\n"
    )
    new = digest_at(tmp_path, target)
    assert new != digest
    last = result.out.splitlines()[-1]
    assert re.fullmatch(rf"2: digest: {new} size: \d+", last)


def test_what_was_packed_here_is_packed_again(engine: tiffin.Engine, busybox: str, tmp_path: Path) -> None:
    """An image of our own keeps the digest that it was pushed with, at any registry."""
    with registry(tmp_path, name="first") as first:
        name = f"{first.host}/team/box:1"
        engine.tag(busybox, name)
        digest = engine.push(name)[0].digest
        assert digest == digest_at(tmp_path, name)
    with registry(tmp_path, name="second") as second:
        target = f"{second.host}/box:1"
        engine.tag(busybox, target)
        assert engine.push(target)[0].digest == digest == digest_at(tmp_path, target)


def test_a_packer_that_packs_differently_now(
    engine: tiffin.Engine, busybox: str, other: RegistryServer, tmp_path: Path
) -> None:
    """What was packed by another version under the same name: the digest tells, and a new manifest is made."""
    with registry(tmp_path, name="first") as first:
        name = f"{first.host}/team/box:1"
        engine.tag(busybox, name)
        digest = engine.push(name)[0].digest
    database = engine._parts.database
    layer = engine.image(busybox).layers[0]
    blob = blobs.blobs_of_layer(database, layer)[0]
    with database.transaction():
        database.execute("UPDATE blobs SET packed_by = ? WHERE digest = ?", ("none", blob.digest))
    target = f"{other.host}/box:1"
    engine.tag(busybox, target)
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        pushed = engine.push(target)[0]
    # The layer is packed as before, so that the same manifest comes out of it.
    assert pushed.digest == digest
    assert not pushed.same_manifest


def test_layers_that_the_registry_has_are_not_sent(tiffin: Runner, server: RegistryServer, busybox: str) -> None:
    name, mounted = f"{server.host}/team/box:1", f"{server.host}/team/copy:1"
    tiffin.ok("tag", busybox, name)
    tiffin.ok("tag", busybox, mounted)
    lines = tiffin.ok("push", name).splitlines()
    assert lines[0] == f"The push refers to repository [{server.host}/team/box]"
    assert [line.partition(": ")[2] for line in lines[1:3]] == ["Preparing", "Pushed"]
    assert re.fullmatch(r"1: digest: sha256:[0-9a-f]{64} size: \d+", lines[3])
    again = tiffin.ok("push", name).splitlines()
    assert [line.partition(": ")[2] for line in again[1:3]] == ["Preparing", "Layer already exists"]
    assert again[3] == lines[3]
    copied = tiffin.ok("push", mounted).splitlines()
    assert [line.partition(": ")[2] for line in copied[1:3]] == ["Preparing", "Mounted from team/box"]
    assert copied[3] == lines[3]
    assert "POST /v2/team/copy/blobs/uploads/" in server.log.read_text()


def test_compression(engine: tiffin.Engine, busybox: str, server: RegistryServer, tmp_path: Path) -> None:
    name = f"{server.host}/team/box:1"
    engine.tag(busybox, name)

    def types() -> list[str]:
        raw = json.loads(skopeo(tmp_path, "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
        return [layer["mediaType"].rpartition("+")[2] for layer in raw["layers"]]

    engine.push(name)
    assert types() == ["gzip"]
    engine.push(name, compression="zstd")
    assert types() == ["gzip"], "it exists as gzip already"
    engine.push(name, compression="zstd", force_compression=True)
    assert types() == ["zstd"]
    skopeo(tmp_path, "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copied")


def test_all_tags(tiffin: Runner, server: RegistryServer, busybox: str, tmp_path: Path) -> None:
    name = f"{server.host}/team/box"
    for tag in ("1", "2"):
        tiffin.ok("tag", busybox, f"{name}:{tag}")
    tiffin.ok("push", "-a", name)
    tiffin.ok("rmi", "-f", f"{name}:1", f"{name}:2")
    assert tiffin.ok("pull", "-a", name).splitlines()[-1] == name
    listed = tiffin.ok("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert {f"{name}:1", f"{name}:2"} <= set(listed)
    result = tiffin("pull", "-a", f"{name}:1")
    assert (result.code, result.err.splitlines()[0]) == (1, "tiffin: tag can't be used with --all-tags/-a")


def test_docker_and_us(engine: tiffin.Engine, busybox: str, server: RegistryServer, docker: DockerPeer) -> None:
    theirs, ours = f"{server.host}/docker:1", f"{server.host}/tiffin:1"
    docker.ok("tag", "busybox", theirs)
    said = docker.ok("push", theirs)
    image = engine.pull(theirs)[0]
    assert image.digests[-1].rpartition("@")[2] in said
    assert engine.run(theirs, ["echo", "well"]).stdout == "well\n"
    engine.tag(busybox, ours)
    pushed = engine.push(ours)[0]
    assert f"Digest: {pushed.digest}" in docker.ok("pull", ours)
    assert docker.inspect(ours)[0]["Id"] == pushed.image_id
    # Docker's kind of manifest stays Docker's, when it has to be made anew.
    copied = f"{server.host}/copied:1"
    engine.tag(theirs, copied)
    assert engine.push(copied)[0].same_manifest
    docker.ok("rmi", theirs, ours)


def test_platforms(engine: tiffin.Engine, server: RegistryServer, tmp_path: Path) -> None:
    layout = Layout()
    top = layout.index(*platforms(layout, "linux/amd64", "linux/arm64/v8"))
    name = put_layout(tmp_path, server, layout, top, "team/many:1")
    mine, arm = engine.pull(name)[0], engine.pull(name, platform="linux/arm64")[0]
    assert (mine.architecture, arm.architecture) == ("amd64", "arm64")
    assert engine.image(name).id == arm.id
    assert engine.pull(name)[0].id == mine.id
    assert engine.image(f"{server.host}/team/many@{top['digest']}").id == mine.id
    with pytest.raises(NotFoundError) as caught:
        engine.pull(name, platform="linux/s390x")
    assert caught.value.message == (
        f"index {top['digest']} has no image for linux/s390x, it has linux/amd64, linux/arm64/v8"
    )


def test_base_annotations_are_remembered(engine: tiffin.Engine, server: RegistryServer, tmp_path: Path) -> None:
    layout = Layout()
    descriptor = layout.image((LAYER,))
    path = f"blobs/{descriptor['digest'].replace(':', '/')}"
    manifest = {**json.loads(layout.files.pop(path)), "annotations": BASE}
    top = layout.blob(json.dumps(manifest).encode(), descriptor["mediaType"])
    name = put_layout(tmp_path, server, layout, top, "team/based:1")
    image = engine.pull(name)[0]
    base = blobs.base_of(engine._parts.database, image.id)
    assert base is not None and base.name == "registry.example/base:1"


def test_run_pulls_what_is_missing(
    tiffin: Runner, engine: tiffin.Engine, server: RegistryServer, busybox: str, settings: Path
) -> None:
    name = f"{server.host}/team/box:1"
    engine.tag(busybox, name)
    engine.push(name)
    engine.remove_image(name)
    engine.remove_image(busybox)
    result = tiffin("run", "--rm", "--pull", "never", name, "echo", "x")
    assert (result.code, "no such image" in result.err.lower()) == (125, True), result.err
    result = tiffin("run", "--rm", name, "echo", "well")
    assert (result.code, result.out) == (0, "well\n"), result.err
    assert result.err.splitlines()[0] == f"Unable to find image '{name}' locally"
    assert result.err.splitlines()[-1] == f"Status: Downloaded newer image for {name}"
    result = tiffin("run", "--rm", "--pull", "always", name, "true")
    assert result.err.splitlines()[-1] == f"Status: Image is up to date for {name}"
    assert tiffin("run", "-q", "--rm", "--pull", "always", name, "true").err == ""
    # A name without a host is nobody's, until the settings name registries to look at.
    result = tiffin("run", "--rm", "team/box:1", "true")
    assert result.code == 125 and "no such image: team/box:1" in result.err.lower()
    settings.write_text(f'unqualified-search-registries = ["{server.host}"]\n')
    result = tiffin("create", "team/box:1")
    assert result.code == 0, result.err
    assert "team/box:1" in engine.image("team/box:1").names


def test_push_refuses(engine: tiffin.Engine, busybox: str, server: RegistryServer) -> None:
    for name, kind, message in (
        ("busybox", UsageError, "cannot push 'busybox': the name says no registry"),
        (f"{server.host}/x@sha256:{'0' * 64}", UsageError, "cannot push a digest reference"),
        (
            f"{server.host}/missing:1",
            NotFoundError,
            f"an image does not exist locally with the tag: {server.host}/missing:1",
        ),
    ):
        with pytest.raises(kind) as caught:
            engine.push(name)
        assert caught.value.message == message
    with pytest.raises(RegistryError):
        engine.pull("localhost:1/nobody:1")


@pytest.mark.parametrize("columns", [100, 34])
def test_bars_on_a_terminal(
    terminal: Callable[..., Terminal], server: RegistryServer, tmp_path: Path, columns: int
) -> None:
    name = two_layers(tmp_path, server)
    with terminal("pull", name, size=(24, columns)) as screen:
        screen.wait()
    shown = _after_redraws(screen.text)
    assert [line.partition(": ")[2] for line in shown if "complete" in line] == ["Pull complete"] * 2
    assert all(len(line) < columns for line in shown if "complete" in line)
    assert shown[-1] == name


def _after_redraws(text: str) -> list[str]:
    """What a terminal shows in the end: cursor up, erasing, and line feeds are all that is used."""
    lines = [""]
    row = 0
    for part in re.findall(r"\x1b\[\d*[AKJ]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif part == "\x1b[J":
            del lines[row + 1 :]
        elif part not in ("\r", "\x1b[K"):
            lines[row] = part
    return [line for line in lines if line]
