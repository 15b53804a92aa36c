"""What images rest on, with containers, both storage drivers' views of new images, and a real registry."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tiffin as library
from harness.archives import MACHINE, OCI_INDEX, config_of, descriptor, docker_files, tar_of, to_json
from harness.registries import registry
from tiffin.images.lineage.bases import base_upon
from tiffin.model.container import ContainerConfig
from tiffin.state import blobs
from tiffin.state.blobs import Base

if TYPE_CHECKING:
    from integration.conftest import Runner

DIGEST = "sha256:" + "c" * 64


def _committed(engine: library.Engine, image: str, script: str, name: str) -> library.Image:
    container = engine.create(ContainerConfig(image=image, command=("sh", "-c", script)))
    try:
        engine.start(container.id)
        assert engine.wait(container.id) == 0
        return engine.commit(container.id, name)
    finally:
        engine.remove(container.id, force=True)


def _run(engine: library.Engine, image: str, script: str) -> str:
    return engine.run(image, ("sh", "-c", script)).stdout


def test_from_commit_to_rebase(engine: library.Engine, busybox: str, tiffin: Runner) -> None:
    """A base is updated: its children are found, rebased, run, and rolled back."""
    old = engine.image(busybox)
    app = _committed(engine, busybox, "mkdir /srv; echo mine >/srv/own; rm /etc/group", "app:1")
    top = _committed(engine, "app:1", "echo top >/srv/top", "top:1")
    database = engine._parts.database
    assert blobs.base_of(database, app.id) == Base(name="busybox:latest", base_id=old.id, layer_count=1)
    assert blobs.base_of(database, top.id) == Base(name="app:1", base_id=app.id, layer_count=2)
    tree = tiffin.ok("image", "tree", "--format", "{{.Depth}} {{.Names}} {{.Base}}")
    assert tree == "0 busybox:latest \n1 app:1 busybox:latest\n2 top:1 app:1"

    new = _committed(engine, busybox, "echo 2 >/version", "busybox")
    rows = tiffin.ok("image", "outdated", "--format", "{{.Image}} {{.Base}} {{.Via}} {{.Status}}").splitlines()
    assert rows == ["top:1 busybox:latest app:1 outdated", "app:1 busybox:latest  outdated"]
    assert tiffin("image", "outdated", "--exit-code").code == 1

    for name in ("app:1", "top:1"):
        onto = "busybox" if name == "app:1" else "app:1"
        assert tiffin.ok("image", "rebase", name, "--onto", onto) == engine.image(name).id
    assert engine.image("top:1").layers[:2] == new.layers
    assert _run(engine, "top:1", "cat /version /srv/own /srv/top; ls /etc/group 2>&1; true") == (
        "2\nmine\ntop\nls: /etc/group: No such file or directory\n"
    )
    assert tiffin("image", "outdated", "--exit-code").code == 0
    assert tiffin.ok("image", "rollback", "top:1") == top.id
    assert _run(engine, "top:1", "ls /version 2>&1; true") == "ls: /version: No such file or directory\n"
    # The old base's name is gone, and what rests on it is told.
    lines = tiffin.ok("rmi", old.id).splitlines()
    assert lines[0].startswith("Kept: 1 layer that ") and "top:1" in lines[0]


def test_flat_and_split_images_run(engine: library.Engine, debian: str, tiffin: Runner) -> None:
    made = {name: tiffin.ok("image", name, debian, "-t", f"debian:{name}") for name in ("flatten", "split")}
    script = (
        "cd /; find / -xdev | sort | sha256sum; stat -c '%a %u %g %Y %h %s' /tmp /usr/bin/* | sha256sum;"
        " stat -c '%a %u %g' / /etc"  # their times are those of the container's start
    )
    plain = _run(engine, debian, script)
    for name, image_id in made.items():
        image = engine.image(f"debian:{name}")
        assert image.id == image_id
        assert _run(engine, image_id, script) == plain
    assert len(engine.image("debian:flatten").layers) == 1
    assert len(engine.image("debian:split").layers) == 20
    assert tiffin.ok("image", "split", debian) == made["split"]


def test_digests_and_ids_wherever_images_are_named(
    engine: library.Engine, busybox: str, tiffin: Runner, tmp_path: Path
) -> None:
    """As pulled images have them: a digest reference beside the tag."""
    from tiffin.state import images as records

    image = engine.image(busybox)
    assert records.set_tag(engine._parts.database, f"busybox@{DIGEST}", image.id)
    digits = image.id.removeprefix("sha256:")
    ways = (f"busybox@{DIGEST}", f"busybox:latest@{DIGEST}", image.id, digits, digits[:12], f"sha256:{digits[:9]}")
    for number, way in enumerate(ways):
        assert tiffin.ok("run", "--rm", way, "echo", "here") == "here"
        created = tiffin.ok("create", way, "true")
        assert tiffin.ok("inspect", "-f", "{{.Image}}", created) == image.id
        tiffin.ok("rm", created)
        assert tiffin.ok("run", "--rm", "--mount", f"type=image,source={way},target=/i", way, "ls", "/i/bin/sh")
        assert tiffin.ok("image", "inspect", "-f", "{{.Id}}", way) == image.id
        assert tiffin.ok("history", "-q", "--no-trunc", way).splitlines()[0] == image.id
        assert tiffin.ok("image", "tree", way, "--no-trunc", "--format", "{{.ID}}") == image.id
        tiffin.ok("tag", way, f"other:{number}")
        assert engine.image(f"other:{number}").id == image.id
        archive = tmp_path / f"{number}.tar"
        tiffin.ok("save", "-o", str(archive), way)
        assert archive.stat().st_size > 0
        flat = tiffin.ok("image", "flatten", way)
        assert tiffin.ok("rmi", f"other:{number}") == f"Untagged: other:{number}"
        if number == 0:
            tiffin.ok("rmi", flat)
    assert tiffin.ok("images", "-q", "--no-trunc", f"busybox@{DIGEST}") == image.id
    wrong = "sha256:" + "d" * 64
    assert tiffin.ok("images", "-q", f"busybox@{wrong}") == ""
    assert tiffin("run", "--pull=never", f"busybox@{wrong}").err.startswith(f"tiffin: no such image: busybox@{wrong}\n")
    assert tiffin.ok("rmi", f"busybox@{DIGEST}") == f"Untagged: busybox@{DIGEST}"
    assert engine.image("busybox").id == image.id


def _push(archive: bytes, directory: Path, destination: str) -> str:
    """Give an image to the registry with another client; the manifest's digest."""
    path, told = directory / "image.tar", directory / "digest"
    path.write_bytes(archive)
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"--digestfile={told}",
         f"docker-archive:{path}", f"docker://{destination}"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return told.read_text().strip()


def _image_of(number: int) -> tuple[bytes, ...]:
    return (tar_of({"version": b"%d\n" % number}),)


def _archive(number: int, name: str, **more: str) -> bytes:
    layers = _image_of(number)
    return tar_of(docker_files(layers, [name], config=config_of(layers, **more)))


@pytest.fixture
def app(engine: library.Engine) -> str:
    """An image with two layers, whose base is not recorded yet."""
    layers = (*_image_of(1), tar_of({"app": b"app"}))
    engine.load(io.BytesIO(tar_of(docker_files(layers, ["app:1"], config=config_of(layers)))))
    return "app:1"


def _statuses(tiffin: Runner, *options: str) -> list[str]:
    return tiffin.ok("image", "outdated", "--format", "{{.Image}} {{.Status}} {{.Where}}", *options, "app:1").split()


def test_a_base_at_a_registry(engine: library.Engine, tiffin: Runner, app: str, tmp_path: Path) -> None:
    with registry(tmp_path) as server:
        name = f"{server.host}/team/base:1"
        _push(_archive(1, "base:1"), tmp_path, name)
        (base,) = engine.load(io.BytesIO(_archive(1, name)))
        image = engine.image(app)
        with engine._parts.database.transaction():
            blobs.set_base(engine._parts.database, image.id, base_upon(engine._parts.database, base, name))
        # The same image there, told by its config.
        assert _statuses(tiffin) == ["app:1", "current", server.host]
        moved = _push(_archive(2, "base:1"), tmp_path, name)
        assert _statuses(tiffin) == ["app:1", "outdated", server.host]
        assert tiffin.ok("image", "outdated", "--no-trunc", "--format", "{{.Now}}") == moved
        assert _statuses(tiffin, "--registry=false") == ["app:1", "current", "here"]
        assert tiffin("image", "outdated", "--exit-code").code == 1

        # An index there counts by what it has for the image's platform.
        _put_index(server.url, "team/base", "1", {MACHINE: _push(_archive(1, "base:1"), tmp_path, f"{name}-a"),
                                                  "riscv64": moved})  # fmt: skip
        assert _statuses(tiffin) == ["app:1", "current", server.host]
        _put_index(server.url, "team/base", "1", {"riscv64": moved})
        (status,) = json.loads("[" + tiffin.ok("image", "outdated", "--format", "json", app) + "]")
        assert status["Status"] == "unknown" and "it has linux/riscv64" in status["Reason"]
    found = tiffin("image", "outdated", "--exit-code", app)
    assert found.code == 0 and "unknown: " in found.out and server.host in found.out and found.err == ""


def test_short_names_at_registries(
    engine: library.Engine, tiffin: Runner, app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked for where the settings say, and only when that is wanted."""
    settings = tmp_path / "registries.toml"
    monkeypatch.setenv("TIFFIN_REGISTRIES", str(settings))
    settings.write_text("")
    (base,) = engine.load(io.BytesIO(_archive(1, "base:1")))
    image = engine.image(app)
    with engine._parts.database.transaction():
        blobs.set_base(engine._parts.database, image.id, base_upon(engine._parts.database, base, "base:1"))
    with registry(tmp_path) as server:
        assert _statuses(tiffin) == ["app:1", "current", "here"]
        found = tiffin("image", "outdated", "--registry", "--format", "{{.Status}} {{.Reason}}", app)
        assert found.code == 0 and found.out.startswith("unknown ") and "registr" in found.out
        settings.write_text(f'unqualified-search-registries = ["{server.host}"]\n')
        _push(_archive(2, "base:1"), tmp_path, f"{server.host}/base:1")
        assert _statuses(tiffin) == ["app:1", "current", "here"]
        assert _statuses(tiffin, "--registry")[:2] == ["app:1", "outdated"]


def test_pulled_and_pushed(engine: library.Engine, tiffin: Runner, busybox: str, tmp_path: Path) -> None:
    """From a base at a registry to an image on its next version there, and back to one that must be pulled again."""
    with registry(tmp_path) as server:
        base, app = f"{server.host}/team/base:1", f"{server.host}/team/app:1"
        tiffin.ok("tag", busybox, base)
        tiffin.ok("push", "-q", base)
        first = _committed(engine, base, "mkdir /srv; echo own >/srv/own", app)
        tiffin.ok("push", "-q", app)
        for name in (base, app):
            tiffin.ok("rmi", "--force", engine.image(name).id)

        # Pulled anew, the manifest tells the base; when that comes, too, the layers agree.
        tiffin.ok("pull", "-q", app)
        assert engine.image(app).id == first.id
        recorded = blobs.base_of(engine._parts.database, first.id)
        assert recorded is not None and recorded.name == base and recorded.digest.startswith("sha256:")
        assert tiffin.ok("image", "tree", "--format", "{{.Depth}} {{.Names}}") == f"1 {app}"
        assert "(not here)" in tiffin.ok("image", "tree")
        tiffin.ok("pull", "-q", base)
        assert tiffin.ok("image", "tree", "--format", "{{.Depth}} {{.Names}}") == f"0 {base}\n1 {app}"
        assert tiffin("image", "outdated", "--exit-code").code == 0

        # Somebody else pushes the base's next version.
        _push(_archive(7, "base:1"), tmp_path, base)
        assert tiffin.ok("image", "outdated", "--format", "{{.Image}} {{.Status}} {{.Where}}") == (
            f"{app} outdated {server.host}"
        )
        tiffin.ok("pull", "-q", base)
        assert tiffin.ok("image", "outdated", "--format", "{{.Image}} {{.Status}} {{.Where}}") == f"{app} outdated here"
        tiffin.ok("image", "rebase", app, "--onto", base)
        assert engine.image(app).layers == (*engine.image(base).layers, first.layers[-1])
        assert tiffin("image", "outdated", "--exit-code").code == 0
        tiffin.ok("push", "-q", app)

        # The first version is gone here, but its digest is known.
        tiffin.ok("rmi", "--force", first.id)
        refused = tiffin("image", "rollback", app)
        assert refused.code == 1
        pin = refused.err.split("`tiffin pull ")[1].split("`")[0]
        assert pin.startswith(f"{server.host}/team/app@sha256:")
        tiffin.ok("pull", "-q", pin)
        assert tiffin.ok("image", "rollback", app) == first.id
        assert engine.image(app).id == first.id


def _put_index(url: str, repository: str, tag: str, manifests: dict[str, str]) -> None:
    from urllib.request import Request, urlopen

    listed = []
    for architecture, digest in manifests.items():
        accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"}  # fmt: skip  # noqa: E501
        with urlopen(Request(f"{url}/v2/{repository}/manifests/{digest}", headers=accept), timeout=10) as reply:
            body, media_type = reply.read(), reply.headers["Content-Type"]
        platform = {"os": "linux", "architecture": architecture}
        listed.append({**descriptor(body, media_type), "platform": platform})
    body = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    request = Request(f"{url}/v2/{repository}/manifests/{tag}", data=body, headers={"Content-Type": OCI_INDEX}, method="PUT")  # fmt: skip  # noqa: E501
    with urlopen(request, timeout=10) as reply:
        assert reply.status == 201
