"""`image copy` among files, and what its ends may be called."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.archives import (
    LAYER,
    MACHINE,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    UPPER,
    Layout,
    compressed,
    config_of,
    digest,
    docker_files,
    hexdigest,
    open_store,
    platforms,
    tar_of,
    to_json,
)
from tiffin.errors import (
    AmbiguousError,
    InvalidImageError,
    NotFoundError,
    NotSupportedError,
    TiffinError,
    UsageError,
)
from tiffin.images.load import load
from tiffin.images.transfer.copy import Copied, copy
from tiffin.images.transfer.documents import DOCKER_CONFIG, DOCKER_INDEX, DOCKER_LAYER, DOCKER_MANIFEST
from tiffin.images.transfer.transports import parse_location
from tiffin.registry.client import Registries
from tiffin.registry.settings import Settings

REF_NAME = "org.opencontainers.image.ref.name"


def run(source: str, destination: str, **options: Any) -> Copied:
    with Registries(Settings()) as client:
        return copy(client, source, destination, **options)


def named(descriptor: dict[str, Any], name: str) -> dict[str, Any]:
    return {**descriptor, "annotations": {REF_NAME: name}}


def layout(directory: Path, *, pack: str = "gzip") -> tuple[Layout, dict[str, Any]]:
    """A layout with one image, named "1"."""
    made = Layout()
    image = made.image((LAYER, UPPER), pack=pack)
    made.top(named(image, "1")).write(directory)
    return made, image


def several(directory: Path) -> tuple[Layout, dict[str, Any], list[dict[str, Any]]]:
    """A layout with an image for this machine and another one, named "multi"."""
    made = Layout()
    members = platforms(made, f"linux/{MACHINE}", "linux/s390x")
    index = made.index(*members)
    made.top(named(index, "multi")).write(directory)
    return made, index, members


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]


def test_what_names_no_transport() -> None:
    known = "docker://, oci:, oci-archive:, docker-archive: and dir:"
    with pytest.raises(UsageError) as caught:
        parse_location("app:1")
    assert str(caught.value) == f"the transport 'app' of 'app:1' is unknown (there are {known})"
    with pytest.raises(UsageError) as caught:
        parse_location("./app")
    assert str(caught.value) == f"'./app' names no transport (begin it with one of {known})"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("containers-storage:app:1", NotSupportedError, "stores of images are not copied from or to"),
        ("tiffin:app", NotSupportedError, "stores of images are not copied from or to"),
        ("docker-daemon:app:1", NotSupportedError, "stores of images are not copied from or to"),
        ("docker:app", UsageError, "it is not written as docker://HOST/NAME[:TAG|@DIGEST]"),
        ("docker://debian:12", UsageError, "it names no registry"),
        (f"docker://localhost/app:1@{digest(b'')}", UsageError, "it has both a tag and a digest"),
        ("oci:", UsageError, "it names no directory"),
        ("dir:", UsageError, "it names no directory"),
        ("oci-archive::1", UsageError, "it names no file"),
        (f"docker-archive:a:app@{digest(b'')}", UsageError, "an archive knows names with tags only"),
    ],
)
def test_ends_that_are_refused(text: str, kind: type[TiffinError], message: str) -> None:
    with pytest.raises(kind) as caught:
        parse_location(text)
    assert caught.value.message == f"{text!r}: {message}"
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("docker://localhost:5000/team/app", "docker://localhost:5000/team/app:latest"),
        ("docker://localhost:5000/team/app:1", "docker://localhost:5000/team/app:1"),
        (f"docker://localhost:5000/app@{digest(b'')}", f"docker://localhost:5000/app@{digest(b'')}"),
        ("oci:some/where", "oci:some/where"),
        ("oci:some/where:team/app:1", "oci:some/where:team/app:1"),
        ("docker-archive:a.tar:demo", "docker-archive:a.tar:demo:latest"),
        ("dir:with:colon", "dir:with:colon"),
    ],
)
def test_ends(text: str, back: str) -> None:
    assert str(parse_location(text)) == back


def test_a_round_through_everything_keeps_the_digest(tmp_path: Path) -> None:
    made, image = layout(tmp_path / "first")
    stations = ["oci:second:1", "dir:third", "oci-archive:fourth.tar:x", "oci:fifth", "oci-archive:sixth.tar"]
    before = f"oci:{tmp_path}/first:1"
    for station in stations:
        transport, _, rest = station.partition(":")
        after = f"{transport}:{tmp_path}/{rest}"
        assert run(before, after, preserve_digests=True) == Copied(
            digest=image["digest"], media_type=OCI_MANIFEST, size_bytes=image["size"]
        )
        before = after
    wanted = {name: data for name, data in made.files.items() if name != "index.json"}
    found = members(tmp_path / "sixth.tar")
    index = json.loads(found.pop("index.json"))
    assert found == wanted
    assert index == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image]}
    blobs = {name.rpartition("/")[2]: data for name, data in wanted.items() if name.startswith("blobs/")}
    manifest = blobs.pop(image["digest"][7:])
    assert files(tmp_path / "third") == {
        "version": b"Directory Transport Version: 1.1\n",
        "manifest.json": manifest,
        **blobs,
    }


def test_every_platform(tmp_path: Path) -> None:
    made, index, _ = several(tmp_path / "first")
    for transport, name in (("dir", "second"), ("oci-archive", "third.tar:m"), ("oci", "fourth:m")):
        assert run(f"oci:{tmp_path}/first", f"{transport}:{tmp_path}/{name}", all=True).digest == index["digest"]
        back = tmp_path / f"back-{transport}"
        assert run(f"{transport}:{tmp_path}/{name}", f"oci:{back}:multi", all=True).digest == index["digest"]
        found = files(back)
        assert json.loads(found.pop("index.json"))["manifests"] == [named(index, "multi")]
        assert found == {name: data for name, data in made.files.items() if name != "index.json"}


def test_one_platform(tmp_path: Path) -> None:
    _, index, (ours, other) = several(tmp_path / "first")
    assert run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/ours").digest == ours["digest"]
    assert run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/other", platform="s390x").digest == other["digest"]
    with pytest.raises(NotFoundError) as caught:
        run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/none", platform="linux/riscv64")
    assert caught.value.message == (
        f"index {index['digest']} has no image for linux/riscv64, it has linux/{MACHINE}, linux/s390x"
    )
    with pytest.raises(NotFoundError) as caught:
        run(f"dir:{tmp_path}/other", f"dir:{tmp_path}/none", platform="linux/riscv64")
    assert caught.value.message == (f"manifest {other['digest']} has no image for linux/riscv64, it is for linux/s390x")
    assert not (tmp_path / "none").exists()


def test_a_layout_is_extended(tmp_path: Path) -> None:
    layout(tmp_path / "one")
    _, index, (ours, _) = several(tmp_path / "several")
    target = tmp_path / "target"
    run(f"oci:{tmp_path}/one:1", f"oci:{target}:a")
    before = {name: os.stat(target / name).st_ino for name in files(target) if "blobs" in name}
    run(f"oci:{tmp_path}/several", f"oci:{target}:b", all=True)
    run(f"oci:{tmp_path}/several", f"oci:{target}:a")
    run(f"oci:{tmp_path}/several", f"oci:{target}")
    run(f"oci:{tmp_path}/several", f"oci:{target}")
    listed = json.loads((target / "index.json").read_bytes())["manifests"]
    plain = {key: ours[key] for key in ("mediaType", "digest", "size")}
    assert listed == [named(index, "b"), named(plain, "a"), plain]
    assert {name: os.stat(target / name).st_ino for name in before} == before, "blobs that are there are not written"
    assert not [name for name in files(target) if "unfinished" in name]
    with pytest.raises(AmbiguousError) as caught:
        run(f"oci:{target}", f"dir:{tmp_path}/none")
    assert caught.value.message == f"'{target}' has 3 images: b, a"
    with pytest.raises(NotFoundError) as missing:
        run(f"oci:{target}:c", f"dir:{tmp_path}/none")
    assert missing.value.message == f"'{target}' has no image 'c', it has b, a"


def test_what_else_a_layout_has_stays(tmp_path: Path) -> None:
    made, image = layout(tmp_path / "one")
    index = json.loads(made.files["index.json"])
    (tmp_path / "one" / "index.json").write_bytes(to_json({**index, "annotations": {"k": "v"}}))
    run(f"oci:{tmp_path}/one:1", f"oci:{tmp_path}/one:2")
    assert json.loads((tmp_path / "one" / "index.json").read_bytes()) == {
        "schemaVersion": 2,
        "manifests": [named(image, "1"), named(image, "2")],
        "annotations": {"k": "v"},
    }


def test_to_dockers_archive_and_back(tmp_path: Path) -> None:
    for pack in ("gzip", "zstd", ""):
        place = tmp_path / f"pack-{pack}"
        _, image = layout(place, pack=pack)
        target = place / "app.tar"
        assert run(f"oci:{place}", f"docker-archive:{target}:demo:1").digest == image["digest"]
        config = config_of((LAYER, UPPER))
        assert members(target) == {
            f"{hexdigest(config)}.json": config,
            f"{hexdigest(LAYER)}.tar": LAYER,
            f"{hexdigest(UPPER)}.tar": UPPER,
            "manifest.json": to_compact(
                [
                    {
                        "Config": f"{hexdigest(config)}.json",
                        "RepoTags": ["demo:1"],
                        "Layers": [f"{hexdigest(LAYER)}.tar", f"{hexdigest(UPPER)}.tar"],
                    }
                ]
            ),
        }
        store = open_store(place / "store")
        loaded = load(store, str(target))
        assert [(each.id, each.names) for each in loaded] == [(digest(config), ("demo:1",))]
    back = run(f"docker-archive:{target}", f"oci:{tmp_path}/back")
    manifest = json.loads((tmp_path / "back" / "blobs" / back.digest.replace(":", "/")).read_bytes())
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest(each), "size": len(each)} for each in (LAYER, UPPER)],
    }
    again = run(f"docker-archive:{target}:demo:1", f"docker-archive:{tmp_path}/again.tar")
    assert again.digest == back.digest
    assert json.loads(members(tmp_path / "again.tar")["manifest.json"])[0]["RepoTags"] is None


def to_compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.mark.parametrize("pack", ["", "gzip", "zstd"])
def test_from_an_old_docker_save(tmp_path: Path, pack: str) -> None:
    """A layer twice, and packed ones, which Docker takes as well."""
    source = tmp_path / "old.tar"
    source.write_bytes(tar_of(docker_files((LAYER, UPPER, LAYER), pack=pack)))
    copied = run(f"docker-archive:{source}", f"oci:{tmp_path}/layout")
    found = files(tmp_path / "layout")
    manifest = json.loads(found[f"blobs/{copied.digest.replace(':', '/')}"])
    assert [layer["digest"] for layer in manifest["layers"]] == [digest(LAYER), digest(UPPER), digest(LAYER)]
    assert found[f"blobs/sha256/{hexdigest(LAYER)}"] == LAYER


def test_names_in_dockers_archives(tmp_path: Path) -> None:
    source = tmp_path / "two.tar"
    one, two = docker_files((LAYER,), ("demo:1",)), docker_files((UPPER,), ("demo:2",))
    two = {name.replace("0" * 64, "f" * 64): data for name, data in two.items()}
    entries = [json.loads(files["manifest.json"])[0] for files in (one, two)]  # type: ignore[arg-type]
    entries[1]["Layers"] = [f"{'f' * 64}/layer.tar"]
    source.write_bytes(tar_of({**one, **two, "manifest.json": to_json(entries)}))
    run(f"docker-archive:{source}:demo:2", f"dir:{tmp_path}/two")
    assert (tmp_path / "two" / hexdigest(UPPER)).exists()
    with pytest.raises(AmbiguousError) as caught:
        run(f"docker-archive:{source}", f"dir:{tmp_path}/none")
    assert caught.value.message == f"'{source}' has 2 images: demo:1, demo:2"
    with pytest.raises(NotFoundError) as missing:
        run(f"docker-archive:{source}:demo", f"dir:{tmp_path}/none")
    assert missing.value.message == f"'{source}' has no image 'demo:latest', it has demo:1, demo:2"


def test_converting(tmp_path: Path) -> None:
    _, image = layout(tmp_path / "first")
    there = run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/docker", format="v2s2")
    config = config_of((LAYER, UPPER))
    packed = [compressed(each, "gzip") for each in (LAYER, UPPER)]
    assert json.loads((tmp_path / "docker" / "manifest.json").read_bytes()) == {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG, "size": len(config), "digest": digest(config)},
        "layers": [{"mediaType": DOCKER_LAYER, "size": len(each), "digest": digest(each)} for each in packed],
    }
    assert there.media_type == DOCKER_MANIFEST
    assert run(f"dir:{tmp_path}/docker", f"dir:{tmp_path}/same", format="v2s2") == there
    back = run(f"dir:{tmp_path}/docker", f"oci:{tmp_path}/back", format="oci")
    assert back.media_type == OCI_MANIFEST
    unchanged = run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/unchanged", format="oci", preserve_digests=True)
    assert unchanged.digest == image["digest"], "what is of that format already stays as it is"
    with pytest.raises(UsageError) as caught:
        run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/none", format="v2s2", preserve_digests=True)
    assert caught.value.message == (
        f"the digest {image['digest']} cannot be preserved: --format makes it {there.digest}"
    )
    assert not (tmp_path / "none").exists()


def test_converting_every_platform(tmp_path: Path) -> None:
    several(tmp_path / "first")
    there = run(f"oci:{tmp_path}/first", f"dir:{tmp_path}/docker", format="v2s2", all=True)
    assert there.media_type == DOCKER_INDEX
    listed = json.loads((tmp_path / "docker" / "manifest.json").read_bytes())["manifests"]
    assert [(entry["mediaType"], entry["platform"]["architecture"]) for entry in listed] == [
        (DOCKER_MANIFEST, MACHINE),
        (DOCKER_MANIFEST, "s390x"),
    ]
    back = run(f"dir:{tmp_path}/docker", f"oci:{tmp_path}/back:x", format="oci", all=True)
    assert back.media_type == OCI_INDEX
    assert run(f"oci:{tmp_path}/back", f"dir:{tmp_path}/one").media_type == OCI_MANIFEST


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    _, image = layout(tmp_path / "zstd", pack="zstd")
    layer = digest(compressed(LAYER, "zstd"))
    with pytest.raises(NotSupportedError) as caught:
        run(f"oci:{tmp_path}/zstd", f"dir:{tmp_path}/none", format="v2s2")
    assert caught.value.message == (
        f"manifest {image['digest']} cannot be converted: Docker's manifest has no layers like {layer},"
        f" which is '{OCI_LAYER}+zstd'"
    )
    made = Layout()
    artifact = made.blob(
        to_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": "application/x-chart",
                "config": made.blob(b"{}", "application/vnd.oci.empty.v1+json"),
                "layers": [made.blob(b"text", "text/plain")],
            }
        ),
        OCI_MANIFEST,
    )
    made.top(artifact).write(tmp_path / "artifact")
    assert run(f"oci:{tmp_path}/artifact", f"dir:{tmp_path}/any").digest == artifact["digest"]
    with pytest.raises(NotSupportedError) as caught:
        run(f"oci:{tmp_path}/artifact", f"dir:{tmp_path}/none", format="v2s2")
    assert caught.value.message == (
        f"manifest {artifact['digest']} cannot be converted: it is not of a container image"
    )
    with pytest.raises(InvalidImageError) as invalid:
        run(f"oci:{tmp_path}/artifact", f"docker-archive:{tmp_path}/none")
    assert invalid.value.message == (
        f"manifest {artifact['digest']} is not of a container image: its config is 'application/x-chart'"
    )
    assert not (tmp_path / "none").exists()
